// SPDX-License-Identifier: Apache-2.0
//
// For tests: a client and a server of the extended format which come, go and are cut off.
#ifndef WEFT_RPC_RESTART_FIXTURE_H_
#define WEFT_RPC_RESTART_FIXTURE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/task.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/call_status.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {

class RestartFixture : public testing::Test {
 protected:
  // A call, and how often its request has run.
  struct Outcome {
    int ended = 0;
    int executed = 0;
    absl::Status status;
    CallId id;
  };
  static constexpr int64_t kTimeoutNs = 200'000'000;  // of a session

  ~RestartFixture() override {
    for (const Outcome& outcome : outcomes_) {
      EXPECT_LE(outcome.ended, 1) << "a call ends exactly once";
      EXPECT_LE(outcome.executed, 1) << "a request is executed at most once";
      if (outcome.ended == 1 && outcome.status.ok()) {
        EXPECT_EQ(outcome.executed, 1);
      }
      if (outcome.ended == 1 && WasNotExecuted(outcome.status)) {
        EXPECT_EQ(outcome.executed, 0) << outcome.status;
      }
    }
  }

  std::unique_ptr<DatagramPort> Open(const std::string& name) {
    return *transport_->OpenDatagramPort({.local = Address::Sim(name)});
  }
  void StartServer() {
    server_ = *Server::Create(loop_, Open("server"), {.session = session_, .key_seed = ++seed_},
                              [this](ServerCall call) { return Serve(std::move(call)); });
  }
  void StartClient() {
    client_ = *Client::Create(loop_, Open("client"),
                              {.timeout = absl::Seconds(1),
                               .request_id_seed = ++seed_,
                               .wire = Wire::kExtended,
                               .session = session_});
    peer_ = *client_->Resolve(Address::Sim("server"));
  }
  // The server ends without a word to anybody, as if its machine had.
  void CrashServer() {
    CutOff("server");
    server_.reset();
    RunFor(20'000);
    network_.Heal();
  }
  void CutOff(const std::string& name) {
    const std::vector<sim::NodeId> alone = {*network_.AddNode(name)};
    EXPECT_TRUE(network_.Partition({alone}).ok());
  }

  // A call whose handler sleeps for so long. Returns its number.
  size_t Begin(const Target& target, uint32_t handler_us = 0, std::function<void()> then = nullptr,
               const CallOptions& options = {}) {
    const auto number = static_cast<uint32_t>(outcomes_.size());
    outcomes_.emplace_back();
    const uint32_t words[] = {number, handler_us};
    absl::StatusOr<CallId> begun = client_->Call(
        target, {reinterpret_cast<const uint8_t*>(words), sizeof(words)},
        [this, number, then = std::move(then)](absl::StatusOr<BufferChain> reply) {
          ++outcomes_[number].ended;
          outcomes_[number].status = reply.status();
          if (then != nullptr) then();
        },
        options);
    if (begun.ok()) {
      outcomes_[number].id = *begun;
    } else {
      ++outcomes_[number].ended;
      outcomes_[number].status = begun.status();
    }
    return number;
  }
  size_t Begin(uint32_t handler_us = 0, std::function<void()> then = nullptr) {
    return Begin(peer_, handler_us, std::move(then));
  }
  bool AllEnded() const {
    for (const Outcome& outcome : outcomes_) {
      if (outcome.ended == 0) return false;
    }
    return true;
  }
  // Runs until all calls have ended, for so long at most.
  bool Finish(int64_t ns = 10'000'000'000) {
    return RunVirtual(
        network_, {&loop_}, [this] { return AllEnded(); }, network_.NowNs() + ns);
  }
  void RunFor(int64_t ns) {
    bool over = false;
    network_.events().At(network_.NowNs() + ns, [&over] { over = true; });
    RunVirtual(network_, {&loop_}, [&over] { return over; });
  }
  const absl::Status& StatusOf(size_t call) const { return outcomes_[call].status; }

  // All memory is where it was.
  void ExpectNothingLeft() {
    if (client_ != nullptr) {
      EXPECT_EQ(client_->outstanding(), 0u);
      EXPECT_EQ(client_->port().pool().available(), client_->port().pool().count());
    }
    if (server_ == nullptr) return;
    EXPECT_EQ(server_->port().pool().available(), server_->port().pool().count());
    EXPECT_EQ(server_->stats().executing.value(), 0);
    EXPECT_EQ(server_->incomplete(), 0u);
  }

  Task<void> Serve(ServerCall call) {
    uint32_t words[2];
    const std::string request = call.request().ToString();
    if (request.size() < sizeof(words)) co_return;
    std::memcpy(words, request.data(), sizeof(words));
    if (words[0] < outcomes_.size()) ++outcomes_[words[0]].executed;
    if (words[1] > 0) co_await loop_.Sleep(absl::Microseconds(words[1]));
    (void)call.Reply({reinterpret_cast<const uint8_t*>(request.data()), request.size()});
  }

  SessionOptions session_ = {.timeout = absl::Nanoseconds(kTimeoutNs), .slots = 8};
  uint64_t seed_ = 0;
  sim::Network network_{1, {.latency_ns = 5'000}};
  std::unique_ptr<Transport> transport_ = sim::OpenTransport(&network_);
  Loop loop_{{}, network_};
  std::vector<Outcome> outcomes_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
  Peer peer_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_RESTART_FIXTURE_H_
