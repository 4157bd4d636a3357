// SPDX-License-Identifier: Apache-2.0
//
// What a balancer does about servers that fail.
#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "weft/rpc/balancer_fixture.h"
#include "weft/rpc/call_status.h"

namespace weft::rpc {
namespace {

using State = BalancedServer::State;

class BalancerHealthTest : public BalancerFixture {
 protected:
  static ClientOptions Impatient() {
    return {.timeout = absl::Milliseconds(20),
            .wire = Wire::kExtended,
            .session = {.timeout = absl::Milliseconds(100)}};
  }
  // Opens the sessions.
  void Warm(int calls = 40) {
    ASSERT_TRUE(CallAll(calls));
    handled_.clear();
  }
};

TEST_F(BalancerHealthTest, AServerThatIsGoneGetsNoCallsUntilItIsBack) {
  Start(3, {.policy = "round_robin"}, Impatient());
  Warm();
  Kill(1);
  CallAll(60);
  EXPECT_LE(ended_.errors.size(), 3u);
  EXPECT_TRUE(StateOf(1) == State::kEjected || StateOf(1) == State::kProbed);
  EXPECT_EQ(balancer_->stats().ejections, 1u);
  EXPECT_TRUE(CallAll(60));  // by the others
  RunFor(absl::Milliseconds(500));
  EXPECT_TRUE(CallAll(60));  // nobody had to find out that it is still away
  EXPECT_EQ(balancer_->stats().trials, 0u);
  Serve(1);
  RunFor(absl::Seconds(2));
  EXPECT_TRUE(CallAll(60));
  EXPECT_EQ(StateOf(1), State::kUp);
  EXPECT_EQ(handled_[1], 20u);
  EXPECT_EQ(balancer_->stats().recoveries, 1u);
}

TEST_F(BalancerHealthTest, EjectionsGetLongerUpTo64Times) {
  Start(2, {.ejection = absl::Milliseconds(10)}, Impatient());
  Warm();
  Kill(0);
  CallAll(20);
  ASSERT_EQ(balancer_->stats().ejections, 1u);
  RunFor(absl::Seconds(10));
  const uint64_t ejections = balancer_->stats().ejections;
  // Each takes its time, and 50 ms for the probe: 10, 20, 40, ... 640 ms, then 690 ms each.
  EXPECT_GE(ejections, 15u);
  EXPECT_LE(ejections, 25u);
  RunFor(absl::Seconds(7));
  EXPECT_NEAR(static_cast<double>(balancer_->stats().ejections - ejections), 10, 1);
}

TEST_F(BalancerHealthTest, OneFailureIsNoReasonButSeveralInARowAre) {
  Start(2, {.policy = "round_robin", .failures_max = 3}, Impatient());
  Warm();
  mute_[0] = true;  // ends calls without a reply: Aborted
  CallAll(4);
  EXPECT_EQ(ended_.errors.size(), 2u);
  EXPECT_EQ(StateOf(0), State::kUp);
  mute_[0] = false;
  EXPECT_TRUE(CallAll(2));
  mute_[0] = true;
  CallAll(4);
  EXPECT_EQ(StateOf(0), State::kUp);
  CallAll(2);
  EXPECT_EQ(StateOf(0), State::kEjected);
  EXPECT_TRUE(CallAll(10));
}

TEST_F(BalancerHealthTest, AServerOnTrialGetsOneCall) {
  Start(2, {.policy = "jsq", .failures_max = 1}, Impatient());
  Warm();
  mute_[0] = true;
  CallAll(4);
  EXPECT_EQ(StateOf(0), State::kEjected);
  handled_.clear();
  RunFor(absl::Milliseconds(150));
  EXPECT_EQ(StateOf(0), State::kTrial);
  EXPECT_EQ(balancer_->stats().probes, 1u);
  hold_[0] = true;
  for (int i = 0; i < 10; ++i) Call();
  RunFor(absl::Milliseconds(5));
  EXPECT_EQ(handled_[0], 1u);
  EXPECT_EQ(handled_[1], 9u);
  AnswerHeld(0);
  hold_[0] = mute_[0] = false;
  RunFor(absl::Milliseconds(5));
  EXPECT_EQ(StateOf(0), State::kUp);
  EXPECT_TRUE(CallAll(10));
}

TEST_F(BalancerHealthTest, ATrialThatFailsEjectsForTwiceAsLong) {
  Start(2, {.policy = "jsq", .failures_max = 1}, Impatient());
  Warm();
  mute_[0] = true;
  CallAll(4);
  RunFor(absl::Milliseconds(150));
  ASSERT_EQ(StateOf(0), State::kTrial);
  CallAll(4);
  EXPECT_EQ(ended_.errors.size(), 1u);
  EXPECT_EQ(StateOf(0), State::kEjected);
  RunFor(absl::Milliseconds(150));
  EXPECT_EQ(StateOf(0), State::kEjected);
  RunFor(absl::Milliseconds(100));
  EXPECT_EQ(StateOf(0), State::kTrial);
}

TEST_F(BalancerHealthTest, ATrialThatIsCancelledLeavesTheNextCallToTry) {
  Start(1, {.failures_max = 1}, Impatient());
  Warm();
  mute_[0] = true;
  CallAll(1);
  RunFor(absl::Milliseconds(150));
  ASSERT_EQ(StateOf(0), State::kTrial);
  const CallId call = *balancer_->Call(kRequest, [](absl::StatusOr<BufferChain>) {});
  EXPECT_FALSE(balancer_->Call(kRequest, [](absl::StatusOr<BufferChain>) {}).ok());
  balancer_->Cancel(call);
  mute_[0] = false;
  EXPECT_TRUE(CallAll(3));
  EXPECT_EQ(StateOf(0), State::kUp);
}

TEST_F(BalancerHealthTest, AServerThatIsCutOffIsNotCalledForLong) {
  Start(3, {.policy = "round_robin"}, Impatient());
  Warm();
  Cut(2, true);
  CallAll(100);
  EXPECT_LE(ended_.errors.size(), 4u);
  EXPECT_TRUE(CallAll(50));
  Cut(2, false);
  RunFor(absl::Seconds(2));
  handled_.clear();
  EXPECT_TRUE(CallAll(60));
  EXPECT_GE(handled_[2], 15u);
}

TEST_F(BalancerHealthTest, WithoutServersCallsFailAtOnceAndServersAreFoundAgainSoon) {
  Start(2, {}, Impatient());
  Warm();
  Kill(0);
  Kill(1);
  CallAll(30);
  RunFor(absl::Seconds(5));  // ejections have got long
  const int64_t before_ns = network_.NowNs();
  CallAll(1);
  ASSERT_EQ(ended_.errors.size(), 1u);
  EXPECT_EQ(network_.NowNs(), before_ns);
  EXPECT_TRUE(absl::IsUnavailable(ended_.errors[0])) << ended_.errors[0];
  EXPECT_TRUE(WasNotExecuted(ended_.errors[0]));
  EXPECT_TRUE(absl::StrContains(ended_.errors[0].message(), "all 2 servers have failed"));
  Serve(0);
  RunFor(absl::Milliseconds(250));
  EXPECT_TRUE(CallAll(5));
}

TEST_F(BalancerHealthTest, AServerThatShutsDownGetsNoMoreCallsAndLosesNone) {
  Start(2, {.policy = "round_robin"}, Impatient());
  Warm();
  hold_[0] = true;
  for (int i = 0; i < 4; ++i) Call();
  RunFor(absl::Milliseconds(1));
  servers_[0]->Drain([] {});
  AnswerHeld(0);
  RunFor(absl::Milliseconds(1));
  hold_[0] = false;
  const size_t failed = ended_.errors.size();
  EXPECT_EQ(failed, 0u);
  CallAll(40);
  EXPECT_LE(ended_.errors.size(), 1u);
  for (const absl::Status& error : ended_.errors) EXPECT_TRUE(WasNotExecuted(error)) << error;
}

TEST_F(BalancerHealthTest, AServerThatIsFullIsSparedUntilItHasRoom) {
  server_options_.executing_max = 1;
  Start(2, {.policy = "jsq"}, Impatient());
  Warm();
  hold_[0] = hold_[1] = true;
  for (int i = 0; i < 3; ++i) Call();
  EXPECT_TRUE(RunUntil([&] { return ended_.errors.size() == 1; }));
  EXPECT_TRUE(absl::IsResourceExhausted(ended_.errors[0]));
  EXPECT_EQ(balancer_->stats().ejections, 0u);
  AnswerHeld(0);
  AnswerHeld(1);
  hold_.clear();
  RunFor(absl::Milliseconds(200));
  EXPECT_EQ(StateOf(0), State::kUp);
  EXPECT_EQ(StateOf(1), State::kUp);
  EXPECT_TRUE(CallAll(10));
}

TEST_F(BalancerHealthTest, ServersOfTheOriginalFormatAreTriedWithACall) {
  ClientOptions options = Impatient();
  options.wire = Wire::kOriginal;
  Start(2, {.policy = "jsq", .failures_max = 1}, options);
  Warm();
  hold_[0] = true;
  CallAll(2);  // one of them in vain
  EXPECT_EQ(StateOf(0), State::kEjected);
  hold_[0] = false;
  held_.clear();
  RunFor(absl::Milliseconds(150));
  EXPECT_EQ(StateOf(0), State::kTrial);
  EXPECT_TRUE(CallAll(4));
  EXPECT_EQ(StateOf(0), State::kUp);
}

}  // namespace
}  // namespace weft::rpc
