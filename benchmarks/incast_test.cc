// SPDX-License-Identifier: Apache-2.0
//
// Many senders to one do not collapse, and share the wire evenly. The simulation is deterministic:
// these are properties of the protocol, not of the machine that runs the test.

#include "weft/benchmarks/incast.h"

#include "gtest/gtest.h"

namespace weft::benchmarks {
namespace {

using Direction = IncastOptions::Direction;

class IncastTest : public testing::TestWithParam<IncastOptions> {};

TEST_P(IncastTest, NoCollapseAndNobodyStarves) {
  const absl::StatusOr<IncastResult> result = RunIncast(GetParam());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GE(result->goodput, 0.9);
  if (GetParam().queue_packets >= 1024) {
    EXPECT_GE(result->fairness, 0.9);
  }
  EXPECT_EQ(result->failures, 0u);
}

INSTANTIATE_TEST_SUITE_P(All, IncastTest,
                         testing::Values(IncastOptions{.duration = absl::Milliseconds(50)},
                                         IncastOptions{.queue_packets = 128,
                                                       .duration = absl::Milliseconds(50)},
                                         IncastOptions{.direction = Direction::kReplies,
                                                       .duration = absl::Milliseconds(50)},
                                         IncastOptions{.direction = Direction::kReplies,
                                                       .queue_packets = 128,
                                                       .duration = absl::Milliseconds(50)},
                                         IncastOptions{.message_bytes = 1400,
                                                       .outstanding = 32,
                                                       .duration = absl::Milliseconds(20)}));

TEST(IncastDeterminismTest, TheSameSeedGivesTheSameRun) {
  const IncastOptions options = {
      .senders = 8, .warm_up = absl::Milliseconds(1), .duration = absl::Milliseconds(5)};
  const absl::StatusOr<IncastResult> first = RunIncast(options);
  const absl::StatusOr<IncastResult> second = RunIncast(options);
  ASSERT_TRUE(first.ok() && second.ok()) << first.status() << second.status();
  EXPECT_EQ(first->calls, second->calls);
  EXPECT_EQ(first->queue_mean, second->queue_mean);
  EXPECT_GT(first->calls, 0u);
}

TEST(IncastErrorTest, NothingToSendIsAnError) {
  EXPECT_EQ(RunIncast({.senders = 0}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace weft::benchmarks
