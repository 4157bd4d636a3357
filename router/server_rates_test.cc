// SPDX-License-Identifier: Apache-2.0
#include "weft/router/server_rates.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace weft::router {
namespace {

constexpr int64_t kSecondNs = ServerRates::kPeriodNs;

TEST(ServerRatesTest, TellsOfTheLastSecondThatHasEnded) {
  ServerRates rates;
  rates.Update(100, 5 * kSecondNs);  // what was before does not count
  rates.Served(2000);
  rates.Served(4000);
  rates.Served(0);  // not executed
  rates.Update(400, 5 * kSecondNs + kSecondNs / 2);
  EXPECT_EQ(rates.requests_per_s(), 0);
  EXPECT_EQ(rates.service_us(), 0);
  rates.Update(600, 6 * kSecondNs);
  EXPECT_EQ(rates.requests_per_s(), 500);
  EXPECT_EQ(rates.service_us(), 3);
}

TEST(ServerRatesTest, FallsToNothingWithTheRequests) {
  ServerRates rates;
  rates.Update(0, kSecondNs);
  rates.Served(1000);
  rates.Update(10, 2 * kSecondNs);
  EXPECT_EQ(rates.requests_per_s(), 10);
  rates.Update(10, 4 * kSecondNs);
  EXPECT_EQ(rates.requests_per_s(), 0);
  EXPECT_EQ(rates.service_us(), 0);
}

TEST(ServerRatesTest, LongerPeriodsCountAsLongAsTheyAre) {
  ServerRates rates;
  rates.Update(0, kSecondNs);
  rates.Update(30, 4 * kSecondNs);
  EXPECT_EQ(rates.requests_per_s(), 10);
}

}  // namespace
}  // namespace weft::router
