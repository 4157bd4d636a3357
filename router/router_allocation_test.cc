// SPDX-License-Identifier: Apache-2.0
//
// Once everything has been used, neither requests nor FEEDBACK, waiting nor DROP allocate.
#include <cstdint>
#include <memory>
#include <utility>

#include "gtest/gtest.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/router/burst_port.h"
#include "weft/router/router.h"

namespace weft::router {
namespace {

struct Case {
  const char* name;
  bool anycast;
  bool keep_source;
  uint32_t slots;  // few: requests wait, and are refused
};

class RouterAllocationTest : public testing::TestWithParam<Case> {};

TEST_P(RouterAllocationTest, ARequestAllocatesNothing) {
  ManualClock clock(1);
  Loop loop({.mode = LoopMode::kBusy}, clock);
  RouterOptions options;
  options.listen = options.control = Address::Ipv4({10, 0, 0, 1}, 8000);
  options.slots = GetParam().slots;
  options.queue_max = 64;
  options.tenants = {{.name = "some", .clients = {"10.0.2.0/24"}, .weight = 3}};
  for (size_t i = 0; i < kServers; ++i) options.servers.push_back({.address = ServerAddress(i)});
  auto owned = std::make_unique<BurstPort>(GetParam().anycast, GetParam().keep_source);
  BurstPort& port = *owned;
  const auto router = *Router::Create(loop, std::move(owned), nullptr, options);
  const auto run = [&](int bursts) {
    for (int i = 0; i < bursts; ++i) {
      clock.Advance(1000);
      port.Refill();
      loop.RunOnce();
    }
  };
  run(20'000);
  const int64_t before = AllocationsOfThisThread();
  run(20'000);
  EXPECT_EQ(AllocationsOfThisThread() - before, 0);
  EXPECT_GT(router->dispatcher().stats().done.value(), 20'000u);
  EXPECT_EQ(router->stats().drops.value() > 0, GetParam().slots < 10);
}

INSTANTIATE_TEST_SUITE_P(All, RouterAllocationTest,
                         testing::Values(Case{"Original", false, true, 64},
                                         Case{"Anycast", true, true, 64},
                                         Case{"AddressInHeader", true, false, 64},
                                         Case{"OriginalOverload", false, true, 4},
                                         Case{"AnycastOverload", true, true, 4}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace weft::router
