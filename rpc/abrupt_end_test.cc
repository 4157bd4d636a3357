// SPDX-License-Identifier: Apache-2.0
//
// Clients, servers and their ports that end at any moment, while calls are in every state: waiting
// for a session, sent, executing, with long requests and replies on their way, being cancelled.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/task.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/call_status.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/decorators/decorator.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {
namespace {

constexpr int64_t kTimeoutNs = 100'000'000;  // of a session
constexpr int64_t kCallTimeNs = 1'000'000'000;
constexpr size_t kCalls = 24;

// A port that can die.
class MortalPort final : public DatagramDecorator {
 public:
  explicit MortalPort(std::unique_ptr<DatagramPort> inner) : DatagramDecorator(std::move(inner)) {}

  void Die() { status_ = absl::UnavailableError("unplugged"); }
  size_t Receive(absl::Span<Datagram> burst) override {
    return status_.ok() ? DatagramDecorator::Receive(burst) : 0;
  }

 private:
  size_t SendWhole(absl::Span<Datagram> burst) override {
    if (status_.ok()) return DatagramDecorator::SendWhole(burst);
    for (Datagram& datagram : burst) datagram.buffer.Reset();
    return burst.size();
  }
};

enum class End { kClient, kServer, kServerCrash, kClientPort, kServerPort, kDisconnect };
constexpr End kEnds[] = {End::kClient,     End::kServer,     End::kServerCrash,
                         End::kClientPort, End::kServerPort, End::kDisconnect};

class AbruptRun {
 public:
  explicit AbruptRun(Wire wire) {
    auto server_port = std::make_unique<MortalPort>(Open("server"));
    auto client_port = std::make_unique<MortalPort>(Open("client"));
    server_port_ = server_port.get();
    client_port_ = client_port.get();
    const SessionOptions session = {.timeout = absl::Nanoseconds(kTimeoutNs), .slots = 12};
    server_ = *Server::Create(loop_, std::move(server_port), {.session = session, .key_seed = 1},
                              [this](ServerCall call) { return Serve(std::move(call)); });
    client_ = *Client::Create(loop_, std::move(client_port),
                              {.timeout = absl::Nanoseconds(kCallTimeNs),
                               .request_id_seed = 1,
                               .wire = wire,
                               .negotiation_timeout = absl::Milliseconds(5),
                               .session = session});
    peer_ = *client_->Resolve(Address::Sim("server"));
    session_ = *client_->Connect(peer_);
  }

  // Everything begins at 0; `end` happens at `end_ns`.
  void Go(End end, int64_t end_ns) {
    const int64_t begin_ns = network_.NowNs();
    for (size_t i = 0; i < kCalls; ++i) Begin(i);
    network_.events().At(begin_ns + 30'000, [this] {
      for (size_t i = 0; i < kCalls; i += 5) Cancel(i);
    });
    RunFor(end_ns);
    Happen(end);
    RunFor(kCallTimeNs + kTimeoutNs);  // in the original format nothing else ends a call
    Check(end);
  }

 private:
  struct Outcome {
    int ended = 0;
    int executed = 0;
    bool cancelled = false;
    absl::Status status;
    CallId id;
  };

  std::unique_ptr<DatagramPort> Open(const std::string& name) {
    return *transport_->OpenDatagramPort({.local = Address::Sim(name)});
  }

  void Begin(size_t i) {
    constexpr size_t kSizes[] = {8, 20'000, 3000};
    std::string request(kSizes[i % 3], 'r');
    const auto number = static_cast<uint32_t>(i);
    std::memcpy(request.data(), &number, sizeof(number));
    const Target target = i % 4 == 0 ? Target(session_) : Target(peer_);
    absl::StatusOr<CallId> begun =
        client_->Call(target, {reinterpret_cast<const uint8_t*>(request.data()), request.size()},
                      [this, i](absl::StatusOr<BufferChain> reply) {
                        ++outcomes_[i].ended;
                        outcomes_[i].status = reply.status();
                      });
    ASSERT_TRUE(begun.ok()) << begun.status();
    outcomes_[i].id = *begun;
  }

  void Cancel(size_t i) {
    if (client_ == nullptr || outcomes_[i].ended > 0) return;
    client_->Cancel(outcomes_[i].id);
    outcomes_[i].cancelled = true;
  }

  Task<void> Serve(ServerCall call) {
    uint32_t number = 0;
    const std::string request = call.request().ToString();
    std::memcpy(&number, request.data(), sizeof(number));
    ++outcomes_[number].executed;
    if (number % 2 == 0) co_await loop_.Sleep(absl::Microseconds(10 * number));
    const std::string reply(number % 4 < 2 ? 10 : 15'000, 'x');
    (void)call.Reply({reinterpret_cast<const uint8_t*>(reply.data()), reply.size()});
  }

  void Happen(End end) {
    switch (end) {
      case End::kClient:
        client_.reset();
        return;
      case End::kServer:
        server_.reset();
        return;
      case End::kServerCrash: {
        // What it says at its end is lost; then whatever comes is told that nobody is there.
        const std::vector<sim::NodeId> alone = {*network_.AddNode("server")};
        EXPECT_TRUE(network_.Partition({alone}).ok());
        server_.reset();
        network_.Heal();
        return;
      }
      case End::kClientPort:
        client_port_->Die();
        return;
      case End::kServerPort:
        server_port_->Die();
        return;
      case End::kDisconnect:
        client_->Disconnect(session_);
        return;
    }
  }

  void RunFor(int64_t ns) {
    bool over = false;
    network_.events().At(network_.NowNs() + ns, [&over] { over = true; });
    RunVirtual(network_, {&loop_}, [&over] { return over; });
  }

  void Check(End end) {
    for (size_t i = 0; i < kCalls; ++i) {
      const Outcome& outcome = outcomes_[i];
      EXPECT_LE(outcome.executed, 1) << "call " << i << " was executed more than once";
      if (outcome.cancelled || end == End::kClient) {
        EXPECT_LE(outcome.ended, 1) << "call " << i;
      } else {
        EXPECT_EQ(outcome.ended, 1) << "call " << i << " ends exactly once";
      }
      if (outcome.ended == 0) continue;
      if (outcome.status.ok()) {
        EXPECT_EQ(outcome.executed, 1) << "call " << i;
      } else if (WasNotExecuted(outcome.status)) {
        EXPECT_EQ(outcome.executed, 0) << "call " << i << ": " << outcome.status;
      }
    }
    if (client_ != nullptr) {
      EXPECT_EQ(client_->outstanding(), 0u);
      EXPECT_EQ(client_->port().pool().available(), client_->port().pool().count());
    }
    if (server_ != nullptr) {
      EXPECT_EQ(server_->port().pool().available(), server_->port().pool().count());
      EXPECT_EQ(server_->stats().executing.value(), 0);
      EXPECT_EQ(server_->incomplete(), 0u);
    }
    // The one that is left has understood.
    if (end == End::kClient || end == End::kClientPort || end == End::kServerPort) {
      EXPECT_EQ(server_->stats().sessions.value(), 0);
    }
  }

  sim::Network network_{1, {.latency_ns = 5'000}};
  std::unique_ptr<Transport> transport_ = sim::OpenTransport(&network_, {.count = 512});
  Loop loop_{{}, network_};
  std::vector<Outcome> outcomes_ = std::vector<Outcome>(kCalls);
  MortalPort* server_port_ = nullptr;
  MortalPort* client_port_ = nullptr;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
  Peer peer_;
  SessionId session_;
};

class AbruptEndTest : public testing::TestWithParam<Wire> {};

TEST_P(AbruptEndTest, AtAnyMomentEveryCallEndsOnceAndNothingIsLeft) {
  for (const End end : kEnds) {
    for (int64_t end_ns = 1; end_ns < 600'000; end_ns += 2'900) {
      SCOPED_TRACE(absl::StrCat("end ", static_cast<int>(end), " at ", end_ns, " ns"));
      AbruptRun(GetParam()).Go(end, end_ns);
      if (HasFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Wires, AbruptEndTest, testing::Values(Wire::kExtended, Wire::kAuto));

}  // namespace
}  // namespace weft::rpc
