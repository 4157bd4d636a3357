// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/syn_cookie.h"

#include "gtest/gtest.h"
#include "weft/core/prng.h"

namespace weft::tcp {
namespace {

using netstack::IpAddress;

constexpr int64_t kMinuteNs = 60'000'000'000;

const Flow kFlow = {IpAddress::V4(0x0a000001u), IpAddress::V4(0x0a000002u), 80, 40000};
const Seq kPeerIsn(0xfffffffe);

TEST(SynCookieTest, HoldsTheNextLowerSize) {
  const Secret secret(7);
  const struct {
    uint16_t asked;
    uint16_t kept;
  } cases[] = {{0, 64},      {1, 64},      {64, 64},     {535, 64},    {536, 536},
               {537, 536},   {1219, 536},  {1220, 1220}, {1439, 1400}, {1460, 1460},
               {8939, 1460}, {8940, 8940}, {65535, 8940}};
  for (const auto& c : cases) {
    const Seq cookie = MakeSynCookie(secret, kFlow, kPeerIsn, c.asked, 0);
    EXPECT_EQ(CheckSynCookie(secret, kFlow, cookie, kPeerIsn, 0), c.kept) << c.asked;
  }
}

TEST(SynCookieTest, IsGoodForTwoMinutesAndNotForThree) {
  const Secret secret(7);
  // Also where the count of minutes passes what the cookie has of it.
  for (const int64_t minute : {int64_t{0}, int64_t{254}, int64_t{255}, int64_t{100'000}}) {
    const int64_t made_ns = minute * kMinuteNs + 30'000'000'000;
    const Seq cookie = MakeSynCookie(secret, kFlow, kPeerIsn, 1460, made_ns);
    EXPECT_EQ(CheckSynCookie(secret, kFlow, cookie, kPeerIsn, made_ns + 2 * kMinuteNs), 1460);
    EXPECT_FALSE(CheckSynCookie(secret, kFlow, cookie, kPeerIsn, made_ns + 3 * kMinuteNs));
    if (minute > 0) {
      EXPECT_FALSE(CheckSynCookie(secret, kFlow, cookie, kPeerIsn, made_ns - kMinuteNs));
    }
  }
}

TEST(SynCookieTest, IsOfItsFlowSequenceNumberAndSecret) {
  const Secret secret(7);
  const Seq cookie = MakeSynCookie(secret, kFlow, kPeerIsn, 1460, 0);
  Flow other = kFlow;
  other.remote_port = 40001;
  EXPECT_FALSE(CheckSynCookie(secret, other, cookie, kPeerIsn, 0));
  other = kFlow;
  other.remote = IpAddress::V4(0x0a000003u);
  EXPECT_FALSE(CheckSynCookie(secret, other, cookie, kPeerIsn, 0));
  EXPECT_FALSE(CheckSynCookie(Secret(8), kFlow, cookie, kPeerIsn, 0));
  EXPECT_FALSE(CheckSynCookie(secret, kFlow, cookie, kPeerIsn + 1000, 0));
}

// The last segments of a connection on which as much was sent as received.
TEST(SynCookieTest, IsNotThatOfWhatIsAsFarBehindBoth) {
  const Secret secret(7);
  const Seq cookie = MakeSynCookie(secret, kFlow, kPeerIsn, 1460, 0);
  for (const uint32_t bytes : {1u, 2u, 300'001u, 0x80000000u}) {
    EXPECT_FALSE(CheckSynCookie(secret, kFlow, cookie + bytes, kPeerIsn + bytes, 0)) << bytes;
  }
}

TEST(SynCookieTest, GuessesAreRefused) {
  const Secret secret(7);
  Prng prng(1);
  int taken = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    const Seq guess(static_cast<uint32_t>(prng.Next()));
    if (CheckSynCookie(secret, kFlow, guess, kPeerIsn, 0)) ++taken;
  }
  // 3 of 256 minutes, 8 of 2^24 sizes: one in 180 million.
  EXPECT_LE(taken, 1);
}

TEST(SynCookieTest, TimestampsHoldOptionsAndAreNeverAheadOfTheClock) {
  for (const bool scaled : {false, true}) {
    for (uint8_t scale = 0; scale <= (scaled ? 14 : 0); ++scale) {
      for (int bits = 0; bits < 4; ++bits) {
        const CookieOptions options = {.has_window_scale = scaled,
                                       .window_scale = scale,
                                       .sack_permitted = (bits & 1) != 0,
                                       .ecn = (bits & 2) != 0};
        for (const uint32_t now : {0u, 1u, 63u, 64u, 1000u, 0x80000000u, 0xffffffffu}) {
          const uint32_t timestamp = CookieTimestamp(now, options);
          EXPECT_LT(now - timestamp, 128u) << now;
          EXPECT_EQ(OptionsOfCookieTimestamp(timestamp), options) << now;
        }
      }
    }
  }
}

}  // namespace
}  // namespace weft::tcp
