// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/sim/seeds.h"

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "gtest/gtest.h"

namespace weft::sim {
namespace {

// Of the command line.
std::optional<uint64_t> seed_count;
uint64_t first_seed = 1;

}  // namespace

Seeds SeedsToRun(uint64_t count) {
  return Seeds(first_seed, first_seed + std::max<uint64_t>(1, seed_count.value_or(count)));
}

}  // namespace weft::sim

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (argc > 1) weft::sim::seed_count = std::strtoull(argv[1], nullptr, 10);
  if (argc > 2) weft::sim::first_seed = std::strtoull(argv[2], nullptr, 10);
  return RUN_ALL_TESTS();
}
