// SPDX-License-Identifier: Apache-2.0
//
// A server that calls another one to answer: what its callers do, give up or wait no longer for,
// goes on to that one.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/call_status.h"
#include "weft/rpc/client.h"
#include "weft/rpc/retry.h"
#include "weft/rpc/server.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {
namespace {

constexpr absl::Span<const uint8_t> kNothing;

// What the server at the back saw.
struct Seen {
  int begun = 0;
  int left = 0;  // coroutines that have ended, either way
  int answered = 0;
  absl::Duration remaining = absl::ZeroDuration();
};

struct Leave {
  ~Leave() { ++seen->left; }
  Seen* seen;
};

Task<void> AnswerLate(Seen* seen, absl::Duration delay, ServerCall call) {
  const Leave leave{seen};
  ++seen->begun;
  seen->remaining = call.remaining();
  co_await call.loop().Sleep(delay);
  if (call.Reply(kNothing).ok()) ++seen->answered;
}

Task<void> Relay(Client& client, Peer next, ServerCall call) {
  absl::StatusOr<BufferChain> reply =
      co_await client.Call(next, kNothing, {.deadline_ns = call.deadline_ns()});
  if (reply.ok()) (void)call.Reply(*std::move(reply));
}

Task<void> RelayWithRetries(Caller& caller, ServerCall call) {
  const RetryPolicy policy{.idempotent = true, .hedge_after = absl::Milliseconds(1)};
  absl::StatusOr<BufferChain> reply =
      co_await caller.Call(kNothing, policy, {.deadline_ns = call.deadline_ns()});
  if (reply.ok()) (void)call.Reply(*std::move(reply));
}

Task<void> Ask(Client& client, Peer server, CallOptions options,
               std::optional<absl::Status>* ended) {
  *ended = (co_await client.Call(server, kNothing, options)).status();
}

// Whether the server in the middle makes one call or several, with hedges.
class NestedCallTest : public testing::TestWithParam<bool> {
 protected:
  static inline const ClientOptions kExtended = {.timeout = absl::Seconds(10),
                                                 .wire = Wire::kExtended};

  NestedCallTest() {
    for (const char* name : {"back", "back2"}) {
      (name == std::string("back") ? back_ : back2_) = *Server::Create(
          loop_, OpenPort(name), {},
          [this](ServerCall call) { return AnswerLate(&seen_, delay_, std::move(call)); });
    }
    middle_client_ = *Client::Create(loop_, OpenPort("middle-client"), kExtended);
    const Peer back = *middle_client_->Resolve(Address::Sim("back"));
    caller_ = std::make_unique<Caller>(
        *middle_client_, std::vector<Peer>{back, *middle_client_->Resolve(Address::Sim("back2"))});
    middle_ = *Server::Create(loop_, OpenPort("middle"), {}, [this, back](ServerCall call) {
      return GetParam() ? RelayWithRetries(*caller_, std::move(call))
                        : Relay(*middle_client_, back, std::move(call));
    });
    client_ = *Client::Create(loop_, OpenPort("client"), kExtended);
    server_ = *client_->Resolve(Address::Sim("middle"));
  }

  std::unique_ptr<DatagramPort> OpenPort(const std::string& name) {
    return *transport_->OpenDatagramPort({.local = Address::Sim(name)});
  }
  template <typename F>
  bool RunUntil(F done) {
    return RunVirtual(network_, {&loop_}, done, network_.NowNs() + 60'000'000'000);
  }
  int backs() const { return GetParam() ? 2 : 1; }

  sim::Network network_{1};
  std::unique_ptr<Transport> transport_ = sim::OpenTransport(&network_);
  Loop loop_{{}, network_};
  Seen seen_;
  absl::Duration delay_ = absl::Hours(1);
  std::unique_ptr<Client> client_;
  std::unique_ptr<Client> middle_client_;
  std::unique_ptr<Caller> caller_;
  std::unique_ptr<Server> back_;
  std::unique_ptr<Server> back2_;
  std::unique_ptr<Server> middle_;
  Peer server_;
  TaskGroup tasks_;
  std::optional<absl::Status> ended_;
};

INSTANTIATE_TEST_SUITE_P(Faces, NestedCallTest, testing::Bool(),
                         [](const testing::TestParamInfo<bool>& info) {
                           return info.param ? "WithRetries" : "Plain";
                         });

TEST_P(NestedCallTest, TheDeadlineOfTheFirstCallerIsThatOfTheLastServer) {
  delay_ = absl::Milliseconds(2);
  tasks_.Spawn(Ask(*client_, server_, {.timeout = absl::Milliseconds(300)}, &ended_));
  ASSERT_TRUE(RunUntil([&] { return ended_.has_value(); }));
  EXPECT_TRUE(ended_->ok()) << *ended_;
  EXPECT_LT(seen_.remaining, absl::Milliseconds(300));
  EXPECT_GT(seen_.remaining, absl::Milliseconds(250));
}

TEST_P(NestedCallTest, WhenTheCallerGoesAwayEverybodyStops) {
  tasks_.Spawn(Ask(*client_, server_, {}, &ended_));
  ASSERT_TRUE(RunUntil([&] { return seen_.begun == backs(); }));
  EXPECT_EQ(seen_.left, 0);
  tasks_.Cancel();
  ASSERT_TRUE(RunUntil([&] { return seen_.left == backs(); })) << "long before it would answer";
  EXPECT_FALSE(ended_.has_value());
  EXPECT_EQ(seen_.answered, 0);
  EXPECT_EQ(middle_client_->outstanding(), 0u);
  EXPECT_EQ(caller_->outstanding(), 0u);
  EXPECT_EQ(middle_->stats().cancelled, 1u);
}

TEST_P(NestedCallTest, WhenTheDeadlinePassesEverybodyStops) {
  tasks_.Spawn(Ask(*client_, server_, {.timeout = absl::Milliseconds(20)}, &ended_));
  ASSERT_TRUE(RunUntil([&] { return ended_.has_value() && seen_.left == backs(); }));
  EXPECT_TRUE(absl::IsDeadlineExceeded(*ended_)) << *ended_;
  EXPECT_EQ(seen_.begun, backs());
  EXPECT_EQ(seen_.answered, 0);
  ASSERT_TRUE(RunUntil([&] { return middle_client_->outstanding() == 0; }));
}

TEST_P(NestedCallTest, WhenTheServerInTheMiddleEndsTheOneBehindStops) {
  tasks_.Spawn(Ask(*client_, server_, {}, &ended_));
  ASSERT_TRUE(RunUntil([&] { return seen_.begun == backs(); }));
  middle_.reset();
  ASSERT_TRUE(RunUntil([&] { return ended_.has_value() && seen_.left == backs(); }));
  EXPECT_FALSE(ended_->ok());
  EXPECT_EQ(middle_client_->outstanding(), 0u);
}

TEST_P(NestedCallTest, ACallBegunAfterItsDeadlineAsksNobody) {
  tasks_.Spawn(Ask(*client_, server_, {.deadline_ns = network_.NowNs()}, &ended_));
  ASSERT_TRUE(RunUntil([&] { return ended_.has_value(); }));
  EXPECT_TRUE(absl::IsDeadlineExceeded(*ended_)) << *ended_;
  EXPECT_TRUE(WasNotExecuted(*ended_));
  EXPECT_EQ(client_->stats().calls, 0u);
  EXPECT_EQ(network_.stats().sent, 0u);
}

}  // namespace
}  // namespace weft::rpc
