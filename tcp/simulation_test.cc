// SPDX-License-Identifier: Apache-2.0
//
// Two engines and a network that loses, doubles, delays, reorders and spoils what they say, breaks
// for a while and becomes narrower, for many seeds: byte streams arrive as they were sent, no
// connection is ever stuck, and all memory is back at the end. A failure names its seed; run it
// alone with --gtest_filter and WEFT_SEED=N. WEFT_SEEDS=N runs so many of each test.
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/tcp/simulation_fixture.h"

namespace weft::tcp {
namespace {

class SimulationTest : public ::testing::Test {
 protected:
  // `vary` changes conditions and options by the seed.
  template <typename F>
  void RunSeeds(uint64_t count, int connections, F vary) {
    uint64_t first = 1;
    if (const char* one = std::getenv("WEFT_SEED")) {
      first = std::strtoull(one, nullptr, 10);
      count = 1;
    } else if (const char* all = std::getenv("WEFT_SEEDS")) {
      count = std::strtoull(all, nullptr, 10);
    }
    for (uint64_t seed = first; seed < first + count; ++seed) {
      SCOPED_TRACE(absl::StrCat("seed ", seed));
      Prng random(seed * 1000);
      Conditions conditions;
      Options options[2];
      // Longer than the longest row of losses: a side that has forgotten the connection resets the
      // other.
      options[0].time_wait_ns = options[1].time_wait_ns = 600 * kS;
      vary(random, conditions, options);
      Simulation simulation(seed, conditions, options[0], options[1]);
      simulation.Run(connections);
      if (HasFailure()) return;
    }
  }
  static void VaryOptions(Prng& random, Options* options) {
    for (int i = 0; i < 2; ++i) {
      options[i].sack = random.Chance(0.7);
      options[i].rack = random.Chance(0.7);
      options[i].timestamps = random.Chance(0.7);
      options[i].window_scaling = random.Chance(0.7);
      options[i].ecn = random.Chance(0.5) ? EcnMode::kOn : EcnMode::kPassive;
      options[i].nagle = random.Chance(0.5);
      options[i].receive_buffer_bytes = 4096 << random.Below(6);
      options[i].receive_buffer_bytes_max = options[i].receive_buffer_bytes * 4;
      options[i].send_buffer_bytes_max = 4096 << random.Below(8);
      static constexpr const char* kNames[] = {"cubic", "new_reno", "dctcp"};
      options[i].congestion_control = kNames[random.Below(3)];
    }
  }
};

TEST_F(SimulationTest, GoodNetwork) {
  RunSeeds(20, 4, [](Prng&, Conditions&, Options*) {});
}

TEST_F(SimulationTest, AllFaults) {
  RunSeeds(150, 3, [](Prng& random, Conditions& conditions, Options* options) {
    conditions.loss = random.Unit() * 0.15;
    conditions.duplication = random.Unit() * 0.1;
    conditions.reordering = random.Unit() * 0.3;
    conditions.delay_ns = static_cast<int64_t>(100'000 + random.Below(50'000'000));
    conditions.mtu = 576 + random.Below(925);
    conditions.outbox = 1 + random.Below(64);
    conditions.bytes_max = 60'000;
    VaryOptions(random, options);
  });
}

// Everything together that is not forbidden by another test.
TEST_F(SimulationTest, WorstOfAll) {
  RunSeeds(100, 5, [](Prng& random, Conditions& conditions, Options* options) {
    conditions.loss = random.Unit() * 0.1;
    conditions.duplication = random.Unit() * 0.1;
    conditions.reordering = random.Unit() * 0.3;
    conditions.corruption = random.Unit() * 0.05;
    conditions.partitions = static_cast<int>(random.Below(3));
    conditions.delay_ns = static_cast<int64_t>(100'000 + random.Below(50'000'000));
    conditions.mtu = 576 + random.Below(925);
    if (random.Chance(0.5)) conditions.mtu_later = 576 + random.Below(conditions.mtu - 575);
    conditions.buffers = 128 + random.Below(4000);
    conditions.outbox = 1 + random.Below(64);
    conditions.bytes_max = 40'000;
    conditions.one_by_one = random.Chance(0.5);
    conditions.read_chance = random.Chance(0.5) ? 0.7 : 0.05;
    VaryOptions(random, options);
  });
}

TEST_F(SimulationTest, PathsBecomeNarrow) {
  RunSeeds(50, 3, [](Prng& random, Conditions& conditions, Options* options) {
    conditions.loss = random.Unit() * 0.03;
    conditions.reordering = random.Unit() * 0.1;
    conditions.mtu_later = 576 + random.Below(900);
    conditions.one_by_one = random.Chance(0.5);
    VaryOptions(random, options);
  });
}

TEST_F(SimulationTest, SmallWindowsAndSlowReaders) {
  RunSeeds(50, 3, [](Prng& random, Conditions& conditions, Options* options) {
    conditions.loss = random.Unit() * 0.1;
    conditions.reordering = random.Unit() * 0.2;
    conditions.read_chance = 0.02 + random.Unit() * 0.2;
    conditions.bytes_max = 20'000;
    VaryOptions(random, options);
    for (int i = 0; i < 2; ++i) {
      options[i].receive_buffer_bytes = static_cast<uint32_t>(64 + random.Below(3000));
      options[i].receive_buffer_bytes_max = options[i].receive_buffer_bytes;
    }
  });
}

TEST_F(SimulationTest, SomebodyElseForgesSegments) {
  RunSeeds(50, 3, [](Prng& random, Conditions& conditions, Options* options) {
    conditions.loss = random.Unit() * 0.05;
    conditions.forgery = 0.2;
    conditions.bytes_max = 40'000;
    VaryOptions(random, options);
  });
}

TEST_F(SimulationTest, ShortOfBuffers) {
  RunSeeds(60, 6, [](Prng& random, Conditions& conditions, Options* options) {
    conditions.loss = random.Unit() * 0.05;
    conditions.reordering = random.Unit() * 0.3;
    conditions.buffers = 64 + random.Below(64);
    conditions.outbox = 1 + random.Below(16);
    conditions.bytes_max = 60'000;
    VaryOptions(random, options);
  });
}

// In order: an acknowledgement that comes after the end of its connection begins another one, as
// cookies cannot tell.
TEST_F(SimulationTest, CookiesAndShortBacklogs) {
  RunSeeds(60, 8, [](Prng& random, Conditions& conditions, Options* options) {
    conditions.loss = random.Unit() * 0.1;
    conditions.bytes_max = 5'000;
    VaryOptions(random, options);
    options[1].syn_backlog = 2;
    options[1].syn_cookies = random.Chance(0.5) ? SynCookieMode::kAlways : SynCookieMode::kAuto;
  });
}

TEST_F(SimulationTest, Aborts) {
  RunSeeds(100, 4, [](Prng& random, Conditions& conditions, Options* options) {
    conditions.loss = random.Unit() * 0.1;
    conditions.reordering = random.Unit() * 0.2;
    conditions.abrupt = true;
    conditions.bytes_max = 60'000;
    options[0].keepalive = options[1].keepalive = {.all = true, .idle_s = 60, .interval_s = 10};
    VaryOptions(random, options);
  });
}

}  // namespace
}  // namespace weft::tcp
