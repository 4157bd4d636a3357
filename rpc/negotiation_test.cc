// SPDX-License-Identifier: Apache-2.0
//
// Peers that speak the original format only, in every position, beside those that speak both.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/decorators/decorator.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {
namespace {

using Result = absl::StatusOr<BufferChain>;

absl::Span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// As the original does: an ACK of a request that is not known here is ignored.
class OriginalOnlyPort final : public DatagramDecorator {
 public:
  OriginalOnlyPort(std::unique_ptr<DatagramPort> inner, const bool& learnt)
      : DatagramDecorator(std::move(inner)), learnt_(learnt) {}

  size_t Receive(absl::Span<Datagram> burst) override {
    const size_t n = DatagramDecorator::Receive(burst);
    size_t kept = 0;
    for (size_t i = 0; i < n; ++i) {
      const absl::Span<const uint8_t> bytes = burst[i].buffer.bytes();
      if (!learnt_ && bytes.size() >= 2 && bytes[1] != kHeaderBytes) {
        EXPECT_EQ(bytes[2] >> 4, static_cast<int>(MessageType::kAck)) << "it would be executed";
        burst[i].buffer.Reset();
        continue;
      }
      if (kept != i) burst[kept] = std::move(burst[i]);
      ++kept;
    }
    return kept;
  }

 private:
  const bool& learnt_;
};

class NegotiationTest : public testing::Test {
 protected:
  std::unique_ptr<DatagramPort> Open(const std::string& name) {
    return *transport_->OpenDatagramPort({.local = Address::Sim(name)});
  }
  std::unique_ptr<Server> StartServer(std::unique_ptr<DatagramPort> port) {
    return *Server::Create(loop_, std::move(port), {}, [this](ServerCall call) {
      ++executed_;
      EXPECT_TRUE(call.Reply(std::move(call.request())).ok());
    });
  }
  std::unique_ptr<Client> StartClient(const std::string& name, Wire wire) {
    auto client = *Client::Create(loop_, Open(name),
                                  {.wire = wire, .session = {.timeout = absl::Milliseconds(300)}});
    client->set_session_events(
        [this](const SessionEvent& event) { events_.push_back(event.kind); });
    return client;
  }
  Result Call(Client& client, const std::string& request) {
    std::optional<Result> result;
    const absl::StatusOr<CallId> begun =
        client.Call(*client.Resolve(Address::Sim("server")), Bytes(request),
                    [&](Result r) { result = std::move(r); });
    if (!begun.ok()) return begun.status();
    RunVirtual(network_, {&loop_}, [&] { return result.has_value(); });
    return result.has_value() ? *std::move(result) : absl::InternalError("it never ended");
  }
  void RunFor(int64_t ns) {
    bool over = false;
    network_.events().At(network_.NowNs() + ns, [&over] { over = true; });
    RunVirtual(network_, {&loop_}, [&] { return over; });
  }

  sim::Network network_{1, {.latency_ns = 5000}};
  std::unique_ptr<Transport> transport_ = sim::OpenTransport(&network_);
  Loop loop_{{}, network_};
  int executed_ = 0;
  bool learnt_ = false;
  std::vector<SessionEvent::Kind> events_;
};

TEST_F(NegotiationTest, AServerOfTheOriginalFormatIsServedInIt) {
  auto server = StartServer(std::make_unique<OriginalOnlyPort>(Open("server"), learnt_));
  auto client = StartClient("client", Wire::kAuto);
  for (const size_t size : {0, 10, 1464, 20'000}) {
    const std::string text(size, 'x');
    const Result result = Call(*client, text);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->ToString(), text);
  }
  EXPECT_EQ(executed_, 4);
  EXPECT_EQ(client->stats().fallbacks, 1u);
  EXPECT_EQ(client->stats().sessions_opened, 0u);
  EXPECT_EQ(events_, std::vector{SessionEvent::Kind::kOriginal});
}

TEST_F(NegotiationTest, AServerThatLearnsTheExtendedFormatIsAskedAgain) {
  auto server = StartServer(std::make_unique<OriginalOnlyPort>(Open("server"), learnt_));
  auto client = StartClient("client", Wire::kAuto);
  ASSERT_TRUE(Call(*client, "before").ok());
  learnt_ = true;
  RunFor(2'000'000'000);
  ASSERT_TRUE(Call(*client, "the question travels with it").ok());
  RunFor(1'000'000);
  ASSERT_TRUE(Call(*client, "after").ok());
  EXPECT_EQ(client->stats().sessions_opened, 1u);
  EXPECT_EQ(client->sessions().outstanding(), 0u);
}

TEST_F(NegotiationTest, AClientThatInsistsIsToldThatTheServerIsNotThere) {
  auto server = StartServer(std::make_unique<OriginalOnlyPort>(Open("server"), learnt_));
  auto client = StartClient("client", Wire::kExtended);
  const int64_t begin_ns = network_.NowNs();
  const Result result = Call(*client, "x");
  EXPECT_TRUE(absl::IsUnavailable(result.status())) << result.status();
  EXPECT_LE(network_.NowNs() - begin_ns, 700'000'000) << "twice the session's timeout";
  EXPECT_EQ(executed_, 0);
}

TEST_F(NegotiationTest, AServerThatHasSpokenTheExtendedFormatIsNotTakenForAnother) {
  auto server = StartServer(Open("server"));
  auto client = StartClient("client", Wire::kAuto);
  ASSERT_TRUE(Call(*client, "x").ok());
  const std::vector<sim::NodeId> alone = {*network_.AddNode("server")};
  ASSERT_TRUE(network_.Partition({alone}).ok());
  EXPECT_FALSE(Call(*client, "into the void").ok());
  network_.Heal();
  ASSERT_TRUE(Call(*client, "y").ok());
  EXPECT_EQ(client->stats().fallbacks, 0u);
}

TEST_F(NegotiationTest, ClientsOfBothFormatsShareAServer) {
  auto server = StartServer(Open("server"));
  auto old_client = StartClient("old", Wire::kOriginal);
  auto new_client = StartClient("new", Wire::kAuto);
  for (int i = 0; i < 20; ++i) {
    const std::string text(static_cast<size_t>(i) * 500, static_cast<char>('a' + i));
    for (Client* client : {old_client.get(), new_client.get()}) {
      const Result result = Call(*client, text);
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_EQ(result->ToString(), text);
    }
  }
  EXPECT_EQ(executed_, 40);
  EXPECT_EQ(server->stats().malformed, 0u);
}

}  // namespace
}  // namespace weft::rpc
