// SPDX-License-Identifier: Apache-2.0
//
// For tests that simulate: the seeds that they go through, which their command line may choose, and
// the main() that reads it. A test links this instead of gtest_main.
//
//   constexpr uint64_t kSeeds = 8;
//   for (const uint64_t seed : sim::SeedsToRun(kSeeds)) Simulate(seed);
//
//   bazel run //my:simulation_test -- 100         a hundred of them
//   bazel run //my:simulation_test -- 1 4711      one, which is 4711
#ifndef WEFT_TRANSPORTS_SIM_SEEDS_H_
#define WEFT_TRANSPORTS_SIM_SEEDS_H_

#include <cstdint>
#include <ranges>

namespace weft::sim {

// One after the other, never none.
using Seeds = std::ranges::iota_view<uint64_t, uint64_t>;

// As many as the command line asks for, else `count`, from the first that it names on, else from 1.
Seeds SeedsToRun(uint64_t count);

}  // namespace weft::sim

#endif  // WEFT_TRANSPORTS_SIM_SEEDS_H_
