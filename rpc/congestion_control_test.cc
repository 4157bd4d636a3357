// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/congestion_control.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"

namespace weft::rpc {
namespace {

TEST(CongestionOptionsTest, DefaultsAreRight) {
  EXPECT_TRUE(CongestionOptions().Validate().ok());
  EXPECT_EQ(CongestionOptions().algorithm, "swift");
}

TEST(CongestionOptionsTest, RefusesWhatIsOutOfRange) {
  using Change = std::function<void(CongestionOptions&)>;
  const struct {
    std::string field;
    Change change;
  } cases[] = {
      {"window_max_packets", [](auto& o) { o.window_max_packets = 0; }},
      {"window_max_packets", [](auto& o) { o.window_max_packets = 65537; }},
      {"window_initial_packets", [](auto& o) { o.window_initial_packets = 0; }},
      {"window_initial_packets", [](auto& o) { o.window_initial_packets = 257; }},
      {"window_min_packets", [](auto& o) { o.window_min_packets = 0; }},
      {"window_min_packets", [](auto& o) { o.window_min_packets = 1.5; }},
      {"window_min_packets", [](auto& o) { o.window_min_packets = std::nan(""); }},
      {"target_delay", [](auto& o) { o.target_delay_ns = 0; }},
      {"target_range", [](auto& o) { o.target_range_ns = -1; }},
      {"target_range_packets_min", [](auto& o) { o.target_range_packets_min = 0; }},
      {"target_range_packets_max", [](auto& o) { o.target_range_packets_max = 0.1; }},
      {"increase_packets", [](auto& o) { o.increase_packets = 0; }},
      {"decrease_factor", [](auto& o) { o.decrease_factor = 1.1; }},
      {"decrease_max", [](auto& o) { o.decrease_max = 1; }},
      {"timeouts_max", [](auto& o) { o.timeouts_max = 0; }},
  };
  for (const auto& [field, change] : cases) {
    CongestionOptions options;
    change(options);
    const absl::Status status = options.Validate();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_NE(status.message().find(field + ":"), std::string::npos) << status;
  }
}

TEST(CongestionOptionsTest, AnUnknownAlgorithmIsAnErrorThatSuggestsOne) {
  const absl::Status status = CongestionOptions{.algorithm = "newreno"}.Validate();
  EXPECT_NE(status.message().find("did you mean 'new_reno'?"), std::string::npos) << status;
}

TEST(CongestionControlTest, NoneIsNothing) {
  const CongestionOptions options{.algorithm = "none"};
  EXPECT_TRUE(options.Validate().ok());
  EXPECT_EQ(MakeCongestionControl(options), nullptr);
}

// What holds for all algorithms.
class CongestionControlAllTest : public testing::TestWithParam<std::string> {
 protected:
  CongestionOptions Options() const { return {.algorithm = GetParam()}; }
};

std::vector<std::string> Algorithms() {
  std::vector<std::string> names;
  for (const CongestionAlgorithm& algorithm : CongestionAlgorithms()) {
    if (algorithm.make != nullptr) names.emplace_back(algorithm.name);
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(Algorithms, CongestionControlAllTest, testing::ValuesIn(Algorithms()),
                         [](const auto& info) { return info.param; });

TEST_P(CongestionControlAllTest, BeginsWithTheInitialWindowUnpaced) {
  const CongestionOptions options = Options();
  const auto control = MakeCongestionControl(options);
  EXPECT_EQ(control->window_packets(), options.window_initial_packets);
  EXPECT_EQ(control->window(), options.window_initial_packets);
  EXPECT_EQ(control->pacing_ns(), 0);
}

TEST_P(CongestionControlAllTest, ReachesTheLargestWindowOnAQuietPath) {
  const CongestionOptions options = Options();
  const auto control = MakeCongestionControl(options);
  for (int i = 0; i < 100'000; ++i) {
    control->OnAck({.now_ns = i * 1000,
                    .rtt_ns = 10'000,
                    .packets = 1,
                    .in_flight = control->window_packets() - 1});
  }
  EXPECT_EQ(control->window_packets(), options.window_max_packets);
}

TEST_P(CongestionControlAllTest, RecoversFromAnyNumberOfTimeouts) {
  const CongestionOptions options = Options();
  const auto control = MakeCongestionControl(options);
  int64_t now_ns = 0;
  for (int i = 0; i < 100; ++i) control->OnTimeout(now_ns += 100'000'000, 1);
  EXPECT_EQ(control->window_packets(), 1u);
  for (int i = 0; i < 1000; ++i) {
    control->OnAck({.now_ns = now_ns += 10'000,
                    .rtt_ns = 10'000,
                    .packets = 1,
                    .in_flight = control->window_packets() - 1});
  }
  EXPECT_GT(control->window_packets(), 16u);
  EXPECT_EQ(control->pacing_ns(), 0);
}

int64_t AnyInt64(Prng& prng) {
  const auto value = static_cast<int64_t>(prng.Next() >> prng.Below(64) >> 1);
  return prng.Chance(0.1) ? -value : value;
}

CongestionOptions AnyOptions(Prng& prng, const std::string& algorithm) {
  CongestionOptions options{.algorithm = algorithm};
  options.window_max_packets = 1 + prng.Below(prng.Chance(0.5) ? 10 : 65536);
  options.window_initial_packets = 1 + prng.Below(options.window_max_packets);
  options.window_min_packets = 0.001 + 0.999 * prng.Unit();
  options.target_delay_ns = 1000 + static_cast<int64_t>(prng.Below(10'000'000));
  options.target_range_ns = static_cast<int64_t>(prng.Below(10'000'000));
  options.increase_packets = 0.01 + 10 * prng.Unit();
  options.decrease_max = 0.01 + 0.98 * prng.Unit();
  options.timeouts_max = 1 + prng.Below(10);
  return options;
}

// Whatever the network says, windows and gaps keep their limits.
TEST_P(CongestionControlAllTest, KeepsItsLimits) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Prng prng(seed);
    const CongestionOptions options = AnyOptions(prng, GetParam());
    ASSERT_TRUE(options.Validate().ok()) << options.Validate();
    const auto control = MakeCongestionControl(options);
    const double least = GetParam() == "swift" ? options.window_min_packets : 1;
    int64_t now_ns = 0;
    for (int i = 0; i < 1000; ++i) {
      now_ns += static_cast<int64_t>(prng.Below(prng.Chance(0.01) ? 1'000'000'000'000 : 50'000));
      const auto in_flight = static_cast<uint32_t>(prng.Next() >> (33 + prng.Below(31)));
      const auto packets = static_cast<uint32_t>(prng.Next() >> (33 + prng.Below(31)));
      switch (prng.Below(10)) {
        case 0:
          control->OnLoss({.now_ns = now_ns, .packets = packets, .in_flight = in_flight});
          break;
        case 1:
          control->OnTimeout(now_ns, in_flight);
          break;
        default:
          control->OnAck({.now_ns = now_ns,
                          .rtt_ns = AnyInt64(prng),
                          .packets = packets,
                          .in_flight = in_flight});
      }
      ASSERT_GE(control->window(), least) << "seed " << seed;
      ASSERT_LE(control->window(), options.window_max_packets) << "seed " << seed;
      ASSERT_EQ(control->window_packets(), std::max<uint32_t>(1, control->window()))
          << "seed " << seed;
      ASSERT_GE(control->pacing_ns(), 0) << "seed " << seed;
      ASSERT_EQ(control->pacing_ns() > 0, control->window() < 1) << "seed " << seed;
    }
  }
}

// Counts the bursts that are not passed over.
class Counting : public CongestionControl {
 public:
  Counting(double window, uint32_t window_max_packets, int64_t quiet_rtt_ns) {
    Publish(window, window_max_packets, quiet_rtt_ns, 0);
  }
  double window() const override { return window_packets(); }
  int handled() const { return handled_; }

 private:
  void HandleAck(const Acked&) override { ++handled_; }
  void HandleLoss(const Lost&) override {}
  void HandleTimeout(int64_t, uint32_t) override {}

  int handled_ = 0;
};

TEST(CongestionControlTest, AQuietPathIsPassedOver) {
  Counting largest(32, 32, 100'000);
  largest.OnAck({.now_ns = 0, .rtt_ns = 99'999, .packets = 32, .in_flight = 0});
  largest.OnAck({.now_ns = 0, .rtt_ns = 0, .packets = 1, .in_flight = 31});
  EXPECT_EQ(largest.handled(), 0);
  largest.OnAck({.now_ns = 0, .rtt_ns = 100'000, .packets = 1, .in_flight = 0});
  EXPECT_EQ(largest.handled(), 1);

  Counting smaller(16.5, 32, 100'000);
  smaller.OnAck({.now_ns = 0, .rtt_ns = 5000, .packets = 3, .in_flight = 12});
  EXPECT_EQ(smaller.handled(), 0) << "the window was not full";
  smaller.OnAck({.now_ns = 0, .rtt_ns = 5000, .packets = 3, .in_flight = 13});
  EXPECT_EQ(smaller.handled(), 1);
}

TEST_P(CongestionControlAllTest, AWindowThatIsNotFullStays) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Prng prng(seed);
    const CongestionOptions options = Options();
    const auto control = MakeCongestionControl(options);
    for (int i = 0; i < 1000; ++i) {
      const int64_t now_ns = i * 100'000;
      if (prng.Chance(0.02)) control->OnTimeout(now_ns, control->window_packets());
      control->OnAck({.now_ns = now_ns, .rtt_ns = 50'000, .packets = 1, .in_flight = 1000});
      const double window = control->window();
      if (control->window_packets() == 1) continue;
      control->OnAck({.now_ns = now_ns, .rtt_ns = 50'000, .packets = 1, .in_flight = 0});
      ASSERT_EQ(control->window(), window) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace weft::rpc
