// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/token_bucket.h"

#include "gtest/gtest.h"

namespace weft::netstack {
namespace {

constexpr int64_t kS = 1'000'000'000;

int TakeAll(TokenBucket& bucket, int64_t now_ns) {
  int taken = 0;
  while (bucket.Take(now_ns)) ++taken;
  return taken;
}

TEST(TokenBucketTest, ABurstThenTheRate) {
  TokenBucket bucket(10, 5, 0);
  EXPECT_EQ(TakeAll(bucket, 0), 5);
  EXPECT_FALSE(bucket.Take(kS / 10 - 1));
  EXPECT_TRUE(bucket.Take(kS / 10));
  EXPECT_EQ(TakeAll(bucket, 100 * kS), 5) << "never more than the burst";
}

TEST(TokenBucketTest, IsExactHoweverOftenItIsAsked) {
  // 3 a second is no whole number of nanoseconds each.
  TokenBucket bucket(3, 2, 0);
  ASSERT_EQ(TakeAll(bucket, 0), 2);
  int taken = 0;
  for (int64_t now_ns = 0; now_ns <= 100 * kS; now_ns += 99'991) taken += bucket.Take(now_ns);
  EXPECT_EQ(taken, 299) << "the 300th is due at the end, between two askings";
  EXPECT_TRUE(bucket.Take(100 * kS));
}

TEST(TokenBucketTest, ZeroIsNever) {
  TokenBucket bucket(0, 50, 0);
  EXPECT_FALSE(bucket.Take(0));
  EXPECT_FALSE(bucket.Take(INT64_MAX));
}

TEST(TokenBucketTest, LongTimesAndHighRatesDoNotOverflow) {
  TokenBucket bucket(1'000'000'000, 1'000'000'000, 0);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(bucket.Take(0));
  EXPECT_TRUE(bucket.Take(INT64_MAX));
}

TEST(TokenBucketTest, TimeThatStandsOrGoesBackAddsNothing) {
  TokenBucket bucket(1, 1, 10 * kS);
  EXPECT_TRUE(bucket.Take(10 * kS));
  EXPECT_FALSE(bucket.Take(10 * kS));
  EXPECT_FALSE(bucket.Take(5 * kS));
  EXPECT_FALSE(bucket.Take(10 * kS));
  EXPECT_TRUE(bucket.Take(11 * kS));
}

}  // namespace
}  // namespace weft::netstack
