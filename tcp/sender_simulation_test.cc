// SPDX-License-Identifier: Apache-2.0
//
// Sender and receiver over a bad network: whatever happens, all bytes arrive, nothing is sent again
// that was SACKed, the scoreboard is right at each step, and all memory comes back.
#include <cstdint>

#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "weft/tcp/sender_model.h"

namespace weft::tcp {
namespace {

void ExpectSound(const SenderModelOptions& options) {
  SenderModel model(options);
  const bool done = model.Run();
  EXPECT_TRUE(done) << "seed " << options.seed;
  EXPECT_EQ(absl::StrJoin(model.violations(), "\n"), "");
  EXPECT_TRUE(model.all_buffers_are_back());
}

// Faults, modes and sizes of a seed.
SenderModelOptions Random(uint64_t seed) {
  Prng prng(seed * 0x9e3779b97f4a7c15);
  SenderModelOptions options;
  options.seed = seed;
  const char* const algorithms[] = {"cubic", "new_reno", "dctcp"};
  options.congestion_control = algorithms[prng.Below(3)];
  options.total_bytes = 1 + static_cast<uint32_t>(prng.Below(60'000));
  options.write_bytes_max = 1 + static_cast<uint32_t>(prng.Below(6'000));
  options.send_buffer_bytes = 2'000 + static_cast<uint32_t>(prng.Below(60'000));
  if (prng.Chance(0.3)) options.window_bytes = 1'000 + static_cast<uint32_t>(prng.Below(20'000));
  options.sack = prng.Chance(0.8);
  options.rack = prng.Chance(0.8);
  options.timestamps = prng.Chance(0.7);
  options.delayed_acks = prng.Chance(0.7);
  options.piece_segments = prng.Chance(0.3) ? 3 : 1;
  options.delay_ns = 100'000 + static_cast<int64_t>(prng.Below(20'000'000));
  if (prng.Chance(0.7)) options.loss = prng.Unit() * 0.3;
  if (prng.Chance(0.5)) options.ack_loss = prng.Unit() * 0.3;
  if (prng.Chance(0.5)) options.reordering = prng.Unit() * 0.5;
  options.reordering_ns = 1 + static_cast<int64_t>(prng.Below(60'000'000));
  if (prng.Chance(0.3)) options.duplication = prng.Unit() * 0.2;
  if (prng.Chance(0.2)) options.spike = 0.02;
  if (prng.Chance(0.2)) options.shrinking = 0.1;
  if (prng.Chance(0.3)) {
    options.bottleneck_ns_per_byte = 1 + static_cast<int64_t>(prng.Below(2'000));
    options.bottleneck_bytes = 3'000 + static_cast<uint32_t>(prng.Below(50'000));
    if (prng.Chance(0.5)) options.mark_bytes = options.bottleneck_bytes / 3;
  }
  return options;
}

TEST(SenderSimulationTest, AllBytesArriveWhateverHappens) {
  for (uint64_t seed = 1; seed <= 4000; ++seed) {
    ExpectSound(Random(seed));
    if (HasFailure()) return;
  }
}

TEST(SenderSimulationTest, ReceiversMayTakeBackWhatTheySacked) {
  uint64_t renegings = 0;
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    SenderModelOptions options = Random(seed);
    options.sack = true;
    options.loss = 0.1;
    options.reneging = 0.05;
    SenderModel model(options);
    EXPECT_TRUE(model.Run()) << "seed " << seed;
    EXPECT_EQ(absl::StrJoin(model.violations(), "\n"), "");
    if (HasFailure()) return;
    renegings += model.renegings();
  }
  EXPECT_GT(renegings, 0u);
}

TEST(SenderSimulationTest, ReceiversMayLie) {
  uint64_t bad = 0;
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    SenderModelOptions options = Random(seed);
    options.sack = true;
    options.lies = 0.2;
    SenderModel model(options);
    EXPECT_TRUE(model.Run()) << "seed " << seed;
    EXPECT_EQ(absl::StrJoin(model.violations(), "\n"), "");
    if (HasFailure()) return;
    bad += model.bad_sacks();
  }
  EXPECT_GT(bad, 0u);
}

}  // namespace
}  // namespace weft::tcp
