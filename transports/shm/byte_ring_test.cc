// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/shm/byte_ring.h"

#include <gtest/gtest.h>

#include <cstring>

namespace weft::shm {
namespace {

struct Ring {
  uint8_t memory[4096] = {};
  std::atomic<uint64_t> produced{0}, consumed{0};
  ByteWriter writer{memory, sizeof(memory), &produced, &consumed};
  ByteReader reader{memory, sizeof(memory), &produced, &consumed};
};

TEST(ByteRingTest, GoesRoundInPieces) {
  Ring ring;
  uint8_t next_in = 0, next_out = 0;
  for (int round = 0; round < 1000; ++round) {
    for (int piece = 0; piece < 2; ++piece) {
      const auto room = ring.writer.Reserve(1500);
      for (uint8_t& byte : room) byte = next_in++;
      ring.writer.Commit(room.size());
    }
    ASSERT_TRUE(ring.reader.Look());
    uint8_t out[4096];
    const size_t n = ring.reader.CopyOut(out, sizeof(out));
    ASSERT_GT(n, 0u);
    for (size_t i = 0; i < n; ++i) ASSERT_EQ(out[i], next_out++);
  }
}

TEST(ByteRingTest, PositionsThatCannotBeTrueAreFoundOut) {
  // Too far, back, and on after the end.
  for (const uint64_t lie : {uint64_t{5000}, uint64_t{1} << 61, uint64_t{50}, uint64_t{200}}) {
    Ring ring;
    ring.produced = lie == 200 ? 100 | kFin : 100;
    ASSERT_TRUE(ring.reader.Look());
    ring.produced = lie;
    EXPECT_FALSE(ring.reader.Look()) << lie;
    EXPECT_TRUE(ring.reader.corrupt());
  }
  Ring ring;
  ring.consumed = 1;  // of nothing
  EXPECT_TRUE(ring.writer.Reserve(1).empty());
  EXPECT_TRUE(ring.writer.corrupt());
}

}  // namespace
}  // namespace weft::shm
