// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/prng.h"
#include "weft/tcp/connections.h"
#include "weft/tcp/connections_fixture.h"

namespace weft::tcp {
namespace {

// What a handler does is set by the test; what it was told is in `log`: "connected data end
// writable closed reset destroyed".
struct Script {
  std::string log;
  std::string received;
  int error = 0;
  std::function<void(Connection&)> on_connected = [](Connection&) {};
  std::function<void(Connection&)> on_data;  // null: reads everything
  std::function<void(Connection&)> on_remote_close = [](Connection& c) { c.Close(); };
  std::function<void(Connection&)> on_writable = [](Connection&) {};
  std::function<void(Connection&)> on_end = [](Connection&) {};

  void Read(Connection& connection) {
    for (auto in = connection.ReadView(); !in.empty(); in = connection.ReadView()) {
      received += TextOf(in);
      connection.Consume(in.size());
    }
  }
  bool ended() const { return absl::StrContains(log, "destroyed"); }
};

class Scripted : public ConnectionHandler {
 public:
  explicit Scripted(Script& script) : script_(script) {}
  ~Scripted() override { script_.log += "destroyed "; }
  void OnConnected(Connection& c) override {
    script_.log += "connected ";
    script_.on_connected(c);
  }
  void OnData(Connection& c) override {
    if (!absl::EndsWith(script_.log, "data ")) script_.log += "data ";
    if (script_.on_data == nullptr) return script_.Read(c);
    script_.on_data(c);
  }
  void OnRemoteClose(Connection& c) override {
    script_.log += "end ";
    script_.on_remote_close(c);
  }
  void OnWritable(Connection& c) override { script_.on_writable(c); }
  void OnClose(Connection& c) override {
    script_.log += "closed ";
    script_.on_end(c);
  }
  void OnReset(Connection& c, int error) override {
    script_.log += "reset ";
    script_.error = error;
    script_.on_end(c);
  }

 private:
  Script& script_;
};

class HandlersTest : public ConnectionsTest {
 protected:
  // One that serves each connection by `server_script_`.
  Address Listen() {
    const absl::StatusOr<Address> address =
        server_->Listen(AnyAddress(), 64, [this](Connection connection) {
          accepted_.push_back(connection.id());
          std::move(connection).Serve(std::make_unique<Scripted>(server_script_));
        });
    EXPECT_TRUE(address.ok()) << address.status();
    return address.value_or(Address());
  }
  void Connect(const Address& address, Script& script) {
    EXPECT_EQ(client_->Connect(address, std::make_unique<Scripted>(script)), absl::OkStatus());
  }

  Script server_script_;
  Script script_;
  std::vector<StreamId> accepted_;
};

INSTANTIATE_TEST_SUITE_P(Handlers, HandlersTest, testing::Values("linux", "shm", "sim"),
                         TransportName);

TEST_P(HandlersTest, AnEchoOfManyBytesInPlace) {
  const auto echo = [](Connection& c) {
    for (auto in = c.ReadView(); !in.empty(); in = c.ReadView()) {
      const size_t n = c.Send(in);
      c.Consume(n);
      if (n < in.size()) return;
    }
    if (c.remote_closed()) c.CloseWrite();
  };
  server_script_.on_data = server_script_.on_writable = server_script_.on_remote_close = echo;
  std::string bytes(3'000'000, '\0');
  Prng prng(1);
  for (char& byte : bytes) byte = static_cast<char>(prng.Next());
  size_t sent = 0;
  const auto fill = [&](Connection& c) {
    c.Send(bytes.size() - sent, [&](absl::Span<uint8_t> room) {
      std::memcpy(room.data(), bytes.data() + sent, room.size());
      sent += room.size();
      return room.size();
    });
    if (sent == bytes.size()) c.CloseWrite();
  };
  script_.on_connected = script_.on_writable = fill;
  Connect(Listen(), script_);
  EXPECT_TRUE(Until([&] { return script_.ended() && server_script_.ended(); }));
  EXPECT_EQ(script_.received.size(), bytes.size());
  EXPECT_TRUE(script_.received == bytes);
  EXPECT_EQ(script_.log, "connected data end closed destroyed ");
  EXPECT_EQ(server_script_.log, "connected data end closed destroyed ");
  EXPECT_EQ(server_->stats().accepted.value(), 1u);
  EXPECT_EQ(server_->stats().closed.value(), 1u);
  EXPECT_EQ(client_->stats().connected.value(), 1u);
  EXPECT_EQ(client_->size(), 0u);
  EXPECT_EQ(server_->size(), 0u);
}

TEST_P(HandlersTest, NobodyListens) {
  const Address address = Listen();
  server_.reset();
  Connect(address, script_);
  EXPECT_TRUE(Until([&] { return script_.ended(); }));
  EXPECT_EQ(script_.log, "reset destroyed ");
  EXPECT_NE(script_.error, 0);
}

TEST_P(HandlersTest, AnAbortIsAResetOnBothSides) {
  script_.on_connected = [](Connection& c) { c.Send(BytesOf("x")); };
  server_script_.on_data = [](Connection& c) {
    c.Abort();
    EXPECT_TRUE(c.ReadView().empty());
    EXPECT_EQ(c.Send(BytesOf("no more")), 0u);
    c.Close();
    c.Abort();
  };
  Connect(Listen(), script_);
  EXPECT_TRUE(Until([&] { return script_.ended() && server_script_.ended(); }));
  EXPECT_EQ(server_script_.log, "connected data reset destroyed ");
  EXPECT_EQ(server_script_.error, ECONNABORTED);
  EXPECT_EQ(script_.log, "connected reset destroyed ");
  EXPECT_NE(script_.error, 0);
}

// A handler that closes others, among them those whose events came in the same burst.
TEST_P(HandlersTest, AHandlerMayEndAnyConnection) {
  constexpr int kConnections = 20;
  std::map<uint64_t, Connection*> open;
  int ended = 0;
  server_script_.on_data = [&](Connection& c) {
    open[c.id().value] = &c;
    if (open.size() < kConnections) return;
    int n = 0;
    for (const auto& [id, connection] : open)
      ++n % 2 == 0 ? connection->Close() : connection->Abort();
  };
  server_script_.on_end = [&](Connection& c) {
    open.erase(c.id().value);
    ++ended;
  };
  const Address address = Listen();
  std::vector<Script> scripts(kConnections);
  for (Script& script : scripts) {
    script.on_connected = [](Connection& c) { c.Send(BytesOf("x")); };
    Connect(address, script);
  }
  EXPECT_TRUE(Until([&] {
    for (const Script& script : scripts) {
      if (!script.ended()) return false;
    }
    return ended == kConnections;
  }));
  EXPECT_TRUE(open.empty());
  EXPECT_EQ(server_->size(), 0u);
}

// Those of others that a handler owns may go while that other one's events are being handed out.
TEST_P(HandlersTest, AHandlerMayDestroyHandlesOfOthers) {
  std::vector<Connection> kept;
  const absl::StatusOr<Address> address =
      server_->Listen(AnyAddress(), 64, [&](Connection connection) {
        kept.push_back(std::move(connection));
        if (kept.size() == 5) kept.clear();
      });
  ASSERT_TRUE(address.ok());
  std::vector<Script> scripts(5);
  for (Script& script : scripts) Connect(*address, script);
  EXPECT_TRUE(Until([&] {
    for (const Script& script : scripts) {
      if (!script.ended()) return false;
    }
    return true;
  }));
  for (const Script& script : scripts) EXPECT_EQ(script.log, "connected end closed destroyed ");
}

// Handlers that replace themselves, as a protocol that is upgraded does.
TEST_P(HandlersTest, AnotherHandlerTakesOverWithWhatIsUnread) {
  Script second;
  server_script_.on_data = [&](Connection& c) {
    c.Consume(1);
    std::move(c).Serve(std::make_unique<Scripted>(second));
  };
  script_.on_connected = [](Connection& c) {
    c.Send(BytesOf("uvw"));
    c.Close();
  };
  Connect(Listen(), script_);
  EXPECT_TRUE(Until([&] { return second.ended() && script_.ended(); }));
  EXPECT_EQ(server_script_.log, "connected data destroyed ");
  EXPECT_EQ(second.received, "vw");
  EXPECT_EQ(second.log, "connected data end closed destroyed ");
}

// Data and end that came before anybody served the connection.
TEST_P(HandlersTest, AHandlerIsToldOfWhatWasBefore) {
  Connection kept;
  const absl::StatusOr<Address> address = server_->Listen(
      AnyAddress(), 64, [&](Connection connection) { kept = std::move(connection); });
  ASSERT_TRUE(address.ok());
  script_.on_connected = [](Connection& c) {
    c.Send(BytesOf("early"));
    c.CloseWrite();
  };
  Connect(*address, script_);
  ASSERT_TRUE(Until([&] { return kept.remote_closed(); }));
  std::move(kept).Serve(std::make_unique<Scripted>(server_script_));
  EXPECT_FALSE(kept);
  EXPECT_EQ(server_script_.log, "");
  EXPECT_TRUE(Until([&] { return server_script_.ended(); }));
  EXPECT_EQ(server_script_.received, "early");
  EXPECT_EQ(server_script_.log, "connected data end closed destroyed ");
}

TEST_P(HandlersTest, WhatIsNotConsumedStopsTheSenderUntilItIs) {
  server_script_.on_data = [](Connection&) {};
  size_t sent = 0;
  int blocked = 0;
  Connection* at_client = nullptr;
  const auto fill = [&](Connection& c) {
    at_client = &c;
    while (sent < (64 << 20)) {
      const size_t n = c.Send(8192, [](absl::Span<uint8_t> room) {
        std::memset(room.data(), 'a', room.size());
        return room.size();
      });
      sent += n;
      if (n < 8192) {
        ++blocked;
        return;
      }
    }
  };
  script_.on_connected = script_.on_writable = fill;
  Connect(Listen(), script_);
  int rounds = 0;
  Until([&] { return blocked > 0 && ++rounds > 1000; });  // in virtual time nothing is left to do
  EXPECT_GT(blocked, 0);
  EXPECT_LT(sent, size_t{64} << 20);
  const size_t before = sent;
  // From outside of any handler, too.
  server_script_.on_data = nullptr;
  script_.on_writable = [&](Connection& c) {
    sent += c.Send(BytesOf("b"));
    c.Close();
  };
  auto in = server_->port().ReadView(accepted_.at(0));
  while (!in.empty()) {
    server_script_.received += TextOf(in);
    server_->port().Consume(accepted_[0], in.size());
    in = server_->port().ReadView(accepted_[0]);
  }
  EXPECT_TRUE(Until([&] { return server_script_.ended(); }));
  EXPECT_EQ(sent, before + 1);
  EXPECT_EQ(server_script_.received.size(), sent);
}

TEST_P(HandlersTest, BeyondTheLimitConnectionsAreReset) {
  server_.reset();
  server_ = Open({.connections_max = 2});
  server_script_.on_data = [](Connection&) {};
  const Address address = Listen();
  std::vector<Script> scripts(4);
  for (Script& script : scripts) Connect(address, script);
  EXPECT_TRUE(Until([&] { return server_->stats().refused.value() == 2; }));
  int reset = 0;
  EXPECT_TRUE(Until([&] {
    reset = 0;
    for (const Script& script : scripts) reset += script.ended();
    return reset == 2;
  }));
  EXPECT_EQ(server_->size(), 2u);
  EXPECT_EQ(server_->Connect(address, std::make_unique<Scripted>(script_)).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(script_.ended());
  client_.reset();  // before what its handlers write to
}

TEST_P(HandlersTest, ListenersAreToldApart) {
  std::string log;
  const absl::StatusOr<Address> a =
      server_->Listen(AnyAddress(), 4, [&](Connection) { log += 'a'; });
  const absl::StatusOr<Address> b =
      server_->Listen(AnyAddress(), 4, [&](Connection) { log += 'b'; });
  ASSERT_TRUE(a.ok() && b.ok()) << a.status() << b.status();
  for (const Address& address : {*b, *a, *b}) {
    Script script;
    Connect(address, script);
    EXPECT_TRUE(Until([&] { return script.ended(); }));
  }
  EXPECT_EQ(log, "bab");
}

TEST_P(HandlersTest, TheEndOfAllEndsHandlersAndLeavesHandlesHarmless) {
  Connection kept;
  const absl::StatusOr<Address> address = server_->Listen(
      AnyAddress(), 64, [&](Connection connection) { kept = std::move(connection); });
  ASSERT_TRUE(address.ok());
  Connect(*address, script_);
  ASSERT_TRUE(Until([&] { return kept && script_.log == "connected "; }));
  server_.reset();
  EXPECT_FALSE(kept);
  EXPECT_TRUE(kept.ReadView().empty());
  kept.Close();
  client_.reset();
  EXPECT_EQ(script_.log, "connected destroyed ");
}

TEST_P(HandlersTest, EventsAllocateNothing) {
  int64_t rounds = 0;
  const auto answer = [](Connection& c) {
    const auto in = c.ReadView();
    c.Consume(c.Send(in));
  };
  server_script_.log.reserve(1 << 20);
  script_.log.reserve(1 << 20);
  server_script_.on_data = answer;
  script_.on_connected = [](Connection& c) { c.Send(BytesOf("ping")); };
  script_.on_data = [&](Connection& c) {
    ++rounds;
    answer(c);
  };
  Connect(Listen(), script_);
  ASSERT_TRUE(Until([&] { return rounds == 500; }));
  if (GetParam() == "sim") GTEST_SKIP() << "the simulated network itself allocates";
  const int64_t before = AllocationsOfThisThread();
  EXPECT_TRUE(Until([&] { return rounds == 1000; }));
  EXPECT_EQ(AllocationsOfThisThread() - before, 0);
}

}  // namespace
}  // namespace weft::tcp
