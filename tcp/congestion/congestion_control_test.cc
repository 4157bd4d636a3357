// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/congestion/congestion_control.h"

#include <cstdint>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "weft/tcp/congestion/cubic.h"
#include "weft/tcp/congestion/new_reno.h"

namespace weft::tcp {
namespace {

using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

constexpr uint32_t kMss = 1000;

class Fixed : public CongestionAlgorithm {
 public:
  explicit Fixed(absl::string_view name) : name_(name) {}
  absl::string_view name() const override { return name_; }
  void Init(CongestionState& state, uint32_t mss) const override { state.SetWindow(7 * mss); }
  void OnAck(CongestionState&, const AckSample&) const override {}
  void OnLoss(CongestionState&, const CongestionEvent&) const override {}
  void OnTimeout(CongestionState&, const CongestionEvent&) const override {}
  void OnEcn(CongestionState&, const CongestionEvent&) const override {}

 private:
  absl::string_view name_;
};

TEST(CongestionControlTest, AlgorithmsAreFoundByName) {
  EXPECT_THAT(CongestionAlgorithmNames(), IsSupersetOf({"cubic", "dctcp", "new_reno"}));
  for (const std::string& name : CongestionAlgorithmNames()) {
    const auto found = FindCongestionAlgorithm(name);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ((*found)->name(), name);
  }
}

TEST(CongestionControlTest, AnUnknownNameIsAnErrorThatNamesTheNearestOne) {
  const absl::Status status = FindCongestionAlgorithm("cubbic").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("'cubic'"));
}

TEST(CongestionControlTest, OnesOwnCanBeRegisteredOnce) {
  static const Fixed mine("fixed_7");
  ASSERT_TRUE(RegisterCongestionAlgorithm(&mine).ok());
  EXPECT_EQ(RegisterCongestionAlgorithm(&mine).code(), absl::StatusCode::kAlreadyExists);
  const auto found = FindCongestionAlgorithm("fixed_7");
  ASSERT_TRUE(found.ok());
  CongestionState state;
  state.Start(**found, kMss, 10);
  EXPECT_EQ(state.cwnd_bytes, 7 * kMss);
}

TEST(CongestionControlTest, NamesHaveAForm) {
  static const Fixed bad("Not A Name");
  EXPECT_EQ(RegisterCongestionAlgorithm(&bad).code(), absl::StatusCode::kInvalidArgument);
}

TEST(CongestionControlTest, StartsWithTheInitialWindowAndNoThreshold) {
  CongestionState state;
  state.Start(Cubic(), kMss, 10);
  EXPECT_EQ(state.cwnd_bytes, 10 * kMss);
  EXPECT_TRUE(state.in_slow_start());
  EXPECT_EQ(state.ssthresh_bytes, CongestionState::kNoThreshold);
}

TEST(CongestionControlTest, UndoPutsBackWindowThresholdAndMemory) {
  CongestionState state;
  state.Start(NewReno(), kMss, 40);
  const CongestionState before = state;
  state.OnTimeout({.in_flight_bytes = 40 * kMss, .mss = kMss});
  state.SetWindow(kMss);
  EXPECT_EQ(state.ssthresh_bytes, 20 * kMss);
  state.Undo(before);
  EXPECT_EQ(state.cwnd_bytes, 40 * kMss);
  EXPECT_EQ(state.ssthresh_bytes, CongestionState::kNoThreshold);
}

TEST(CongestionControlTest, UndoDoesNotShrinkAWindowThatHasGrownSince) {
  CongestionState state;
  state.Start(NewReno(), kMss, 10);
  const CongestionState before = state;
  state.OnLoss({.in_flight_bytes = 10 * kMss, .mss = kMss});
  state.SetWindow(50 * kMss);
  state.Undo(before);
  EXPECT_EQ(state.cwnd_bytes, 50 * kMss);
}

TEST(CongestionControlTest, UndoAcrossAChangeOfAlgorithmLeavesTheNewOne) {
  CongestionState state;
  state.Start(NewReno(), kMss, 40);
  const CongestionState before = state;
  state.OnLoss({.in_flight_bytes = 40 * kMss, .mss = kMss});
  state.SetWindow(20 * kMss);
  state.Use(Cubic(), kMss);
  state.Undo(before);
  EXPECT_EQ(state.algorithm, &Cubic());
  EXPECT_EQ(state.cwnd_bytes, 40 * kMss);
}

// RFC 5681, 4.1, and RFC 7661, 4.4.
TEST(CongestionControlTest, AnOldWindowBeginsAnewAndIsRemembered) {
  CongestionState state;
  state.Start(NewReno(), kMss, 10);
  state.SetWindow(100 * kMss);
  state.ssthresh_bytes = 50 * kMss;
  state.AfterIdle(kMss, 10);
  EXPECT_EQ(state.cwnd_bytes, 10 * kMss);
  EXPECT_EQ(state.ssthresh_bytes, 75 * kMss);
  state.SetWindow(4 * kMss);
  state.AfterIdle(kMss, 10);
  EXPECT_EQ(state.cwnd_bytes, 4 * kMss) << "idleness must not open a window";
}

TEST(CongestionControlTest, WindowsHaveALimit) {
  CongestionState state;
  state.Start(NewReno(), 65535, 1000);
  state.SetWindow(uint64_t{1} << 40);
  EXPECT_EQ(state.cwnd_bytes, CongestionState::kWindowMaxBytes);
}

}  // namespace
}  // namespace weft::tcp
