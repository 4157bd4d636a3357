// SPDX-License-Identifier: Apache-2.0
//
// Ports that die, peers that cannot be reached and clients and servers that are destroyed, at any
// instant of calls of all kinds; and how both sides of a session notice that the other is gone.
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/task.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/decorators/decorator.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {
namespace {

using Kind = SessionEvent::Kind;

constexpr int64_t kTimeoutNs = 100'000'000;
constexpr int64_t kCallTimeNs = 1'000'000'000;

// A port that dies, or says that a peer cannot be reached, when it is told to.
class MortalPort final : public DatagramDecorator {
 public:
  explicit MortalPort(std::unique_ptr<DatagramPort> inner) : DatagramDecorator(std::move(inner)) {}

  void Die() { status_ = absl::UnavailableError("unplugged"); }
  void ReportUnreachable(const Peer& peer) {
    event_ = {.kind = PortEvent::Kind::kPeerUnreachable, .peer = peer, .error = ECONNREFUSED};
    mine_ = has_events_ = true;
  }
  size_t Receive(absl::Span<Datagram> burst) override {
    return status_.ok() ? DatagramDecorator::Receive(burst) : 0;
  }

 private:
  size_t SendWhole(absl::Span<Datagram> burst) override {
    return status_.ok() ? DatagramDecorator::SendWhole(burst) : 0;
  }
  size_t DoTakeEvents(absl::Span<PortEvent> events) override {
    if (!std::exchange(mine_, false)) return DatagramDecorator::DoTakeEvents(events);
    has_events_ = false;
    events[0] = event_;
    return 1;
  }

  PortEvent event_{};
  bool mine_ = false;
};

class DeadPeersTest : public testing::Test {
 protected:
  void Start(Wire wire = Wire::kExtended) {
    const SessionOptions session = {.timeout = absl::Nanoseconds(kTimeoutNs), .slots = 8};
    auto server_port = std::make_unique<MortalPort>(Open("server"));
    server_port_ = server_port.get();
    server_ = *Server::Create(loop_, std::move(server_port), {.session = session, .key_seed = 1},
                              [this](ServerCall call) { return Serve(std::move(call)); });
    server_->set_session_events([this](const SessionEvent& e) { server_events_.push_back(e); });
    auto client_port = std::make_unique<MortalPort>(Open("client"));
    client_port_ = client_port.get();
    client_ = *Client::Create(loop_, std::move(client_port),
                              {.timeout = absl::Nanoseconds(kCallTimeNs),
                               .request_id_seed = 1,
                               .wire = wire,
                               .session = session});
    client_->set_session_events([this](const SessionEvent& e) { client_events_.push_back(e); });
    peer_ = *client_->Resolve(Address::Sim("server"));
  }
  std::unique_ptr<DatagramPort> Open(const std::string& name) {
    return *transport_->OpenDatagramPort({.local = Address::Sim(name)});
  }

  // Of a request, the length says how long it executes and how long the reply is.
  Task<void> Serve(ServerCall call) {
    const size_t size = call.request().size();
    if (size % 3 == 0) co_await loop_.Sleep(absl::Microseconds(50 * (size % 10)));
    const std::string reply(size % 2 == 0 ? 20'000 : 10, 'r');
    (void)call.Reply({reinterpret_cast<const uint8_t*>(reply.data()), reply.size()});
  }

  CallId Begin(size_t size, bool again = false) {
    const std::string request(size, 'q');
    const size_t number = ended_.size();
    const absl::StatusOr<CallId> begun =
        client_->Call(peer_, {reinterpret_cast<const uint8_t*>(request.data()), request.size()},
                      [this, number, again](absl::StatusOr<BufferChain> reply) {
                        ++ended_[number];
                        if (!reply.ok() && again) Begin(5);
                      });
    if (!begun.ok()) return CallId();
    ended_.push_back(0);
    return *begun;
  }
  // More than there are slots, and of all kinds.
  void BeginMany() {
    for (size_t i = 0; i < 4; ++i) {
      for (const size_t size : {6, 7, 30'000, 30'003, 8}) {
        const CallId id = Begin(size, /*again=*/i == 1);
        if (i % 2 == 0 || size != 7) continue;
        network_.events().At(network_.NowNs() + 20'000, [this, id, number = ended_.size() - 1] {
          if (client_ == nullptr || ended_[number] > 0) return;
          client_->Cancel(id);
          ++ended_[number];
        });
      }
    }
  }
  void RunFor(int64_t ns) {
    bool over = false;
    network_.events().At(network_.NowNs() + ns, [&over] { over = true; });
    RunVirtual(network_, {&loop_}, [&over] { return over; });
  }
  void CutOff() {
    const std::vector<sim::NodeId> alone = {*network_.AddNode("client")};
    ASSERT_TRUE(network_.Partition({alone}).ok());
  }

  sim::Network network_{1, {.latency_ns = 5000, .bandwidth_bps = 1'000'000'000}};
  std::unique_ptr<Transport> transport_ = sim::OpenTransport(&network_, {.count = 1024});
  Loop loop_{{}, network_};
  MortalPort* server_port_ = nullptr;
  MortalPort* client_port_ = nullptr;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
  Peer peer_;
  std::vector<int> ended_;
  std::vector<SessionEvent> server_events_;
  std::vector<SessionEvent> client_events_;
};

enum class Blow {
  kClientPortDies,
  kServerPortDies,
  kClientCannotReach,
  kServerCannotReach,
  kClientEnds,
  kServerEnds,
};

struct Case {
  Blow blow;
  Wire wire;
};

class DeathTest : public DeadPeersTest, public testing::WithParamInterface<Case> {
 protected:
  void Strike() {
    switch (GetParam().blow) {
      case Blow::kClientPortDies:
        return client_port_->Die();
      case Blow::kServerPortDies:
        return server_port_->Die();
      case Blow::kClientCannotReach:
        return client_port_->ReportUnreachable(peer_);
      case Blow::kServerCannotReach:
        return server_port_->ReportUnreachable(*server_port_->Resolve(Address::Sim("client")));
      case Blow::kClientEnds:
        return client_.reset();
      case Blow::kServerEnds:
        return server_.reset();
    }
  }
  void RunOnce(int64_t strike_ns) {
    SetUpAgain();
    Start(GetParam().wire);
    BeginMany();
    RunFor(strike_ns);
    Strike();
    RunFor(2 * kCallTimeNs);
    const bool healthy =
        GetParam().blow == Blow::kClientCannotReach || GetParam().blow == Blow::kServerCannotReach;
    for (const int ended : ended_) {
      EXPECT_LE(ended, 1);
      EXPECT_TRUE(ended == 1 || client_ == nullptr) << "a call that never ended";
    }
    if (client_ != nullptr && healthy) {
      const size_t number = ended_.size();
      EXPECT_TRUE(Begin(6));
      RunFor(kTimeoutNs / 10);
      EXPECT_EQ(ended_[number], 1) << "calls work again at once";
      EXPECT_EQ(client_->port().pool().available(), client_->port().pool().count());
    }
    if (client_ != nullptr) {
      EXPECT_EQ(client_->outstanding(), 0u);
    }
    if (server_ != nullptr) {
      EXPECT_EQ(server_->stats().executing.value(), 0);
      EXPECT_EQ(server_->incomplete(), 0u);
    }
    client_.reset();
    server_.reset();
    EXPECT_EQ(loop_.timers().size(), 0u);
  }
  void SetUpAgain() {
    ended_.clear();
    client_events_.clear();
    server_events_.clear();
  }
};

TEST_P(DeathTest, EveryCallEndsOnceWhateverItWasAt) {
  for (int64_t strike_ns = 0; strike_ns < 3'000'000 && !HasFailure();
       strike_ns += strike_ns < 300'000 ? 7'000 : 100'000) {
    SCOPED_TRACE(absl::StrCat("struck after ", strike_ns, " ns"));
    RunOnce(strike_ns);
  }
}

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const Wire wire : {Wire::kExtended, Wire::kAuto, Wire::kOriginal}) {
    for (int blow = 0; blow <= static_cast<int>(Blow::kServerEnds); ++blow) {
      cases.push_back({static_cast<Blow>(blow), wire});
    }
  }
  return cases;
}

std::string NameOf(const testing::TestParamInfo<Case>& info) {
  constexpr const char* kBlows[] = {"ClientPortDies",    "ServerPortDies", "ClientCannotReach",
                                    "ServerCannotReach", "ClientEnds",     "ServerEnds"};
  constexpr const char* kWires[] = {"Auto", "Original", "Extended"};
  return absl::StrCat(kBlows[static_cast<int>(info.param.blow)],
                      kWires[static_cast<int>(info.param.wire)]);
}

INSTANTIATE_TEST_SUITE_P(All, DeathTest, testing::ValuesIn(Cases()), &NameOf);

TEST_F(DeadPeersTest, BothSidesNoticeASilentPeerWithinTwiceTheTimeout) {
  Start();
  Begin(7);
  RunFor(10 * kTimeoutNs);
  ASSERT_EQ(client_events_.size(), 1u) << "a session without calls is kept alive";
  ASSERT_EQ(server_events_.size(), 1u);
  CutOff();
  RunFor(2 * kTimeoutNs);
  ASSERT_EQ(client_events_.size(), 2u);
  EXPECT_EQ(client_events_[0].kind, Kind::kOpened);
  EXPECT_EQ(client_events_[1].kind, Kind::kLost);
  EXPECT_GE(client_events_[1].age_ns, 10 * kTimeoutNs);
  ASSERT_EQ(server_events_.size(), 2u);
  EXPECT_EQ(server_events_[1].kind, Kind::kLost);
  network_.Heal();
  Begin(7);
  RunFor(kTimeoutNs / 10);
  ASSERT_EQ(client_events_.size(), 3u);
  EXPECT_EQ(client_events_[2].kind, Kind::kOpened) << "opened anew by the next call";
  ASSERT_EQ(server_events_.size(), 3u);
  EXPECT_EQ(ended_, (std::vector{1, 1}));
}

TEST_F(DeadPeersTest, AShorterTimeoutOfOneSideHoldsForBoth) {
  Start();
  client_ = *Client::Create(
      loop_, std::make_unique<MortalPort>(Open("hasty")),
      {.wire = Wire::kExtended, .session = {.timeout = absl::Nanoseconds(kTimeoutNs / 10)}});
  Begin(7);
  RunFor(kTimeoutNs / 10);
  server_events_.clear();
  const std::vector<sim::NodeId> alone = {*network_.AddNode("hasty")};
  ASSERT_TRUE(network_.Partition({alone}).ok());
  RunFor(kTimeoutNs / 2);
  ASSERT_EQ(server_events_.size(), 1u);
  EXPECT_EQ(server_events_[0].kind, Kind::kLost);
}

}  // namespace
}  // namespace weft::rpc
