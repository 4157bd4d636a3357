// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/wire/checksum.h"

#include <algorithm>

#include "gtest/gtest.h"
#include "weft/core/bytes.h"
#include "weft/core/prng.h"
#include "weft/netstack/test_packets.h"

namespace weft::netstack {
namespace {

Bytes RandomBytes(Prng& prng, size_t n) {
  Bytes bytes(n);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(prng.Next());
  return bytes;
}

TEST(ChecksumTest, ExampleOfRfc1071) {
  // Section 3: the sum of these words is ddf2.
  const Bytes bytes = FromHex("0001 f203 f4f5 f6f7");
  EXPECT_EQ(FoldChecksum(AddToChecksum(0, bytes)), 0xddf2);
  EXPECT_EQ(Checksum(bytes), 0x220d);
}

TEST(ChecksumTest, ExtremesOfTheSum) {
  EXPECT_EQ(Checksum({}), 0xffff);
  EXPECT_EQ(Checksum(Bytes(1000, 0)), 0xffff);
  for (size_t n = 2; n <= 65536; n *= 2) EXPECT_EQ(Checksum(Bytes(n, 0xff)), 0) << n;
  EXPECT_EQ(FoldChecksum(0xffffffffffffffff), 0xffff);
}

TEST(ChecksumTest, AsTheNaiveOneAtEveryLengthAndAlignment) {
  Prng prng(1);
  const Bytes bytes = RandomBytes(prng, 300);
  for (size_t from = 0; from < 16; ++from) {
    for (size_t n = 0; n <= 257; ++n) {
      const absl::Span<const uint8_t> piece(bytes.data() + from, n);
      ASSERT_EQ(Checksum(piece), NaiveChecksum(piece)) << from << " " << n;
    }
  }
}

TEST(ChecksumTest, AsTheNaiveOneOfLongMessages) {
  Prng prng(2);
  for (int i = 0; i < 50; ++i) {
    const Bytes bytes = RandomBytes(prng, prng.Below(65536));
    ASSERT_EQ(Checksum(bytes), NaiveChecksum(bytes)) << bytes.size();
  }
}

TEST(ChecksumTest, PiecesOfEvenLengthAddUp) {
  Prng prng(3);
  for (int i = 0; i < 500; ++i) {
    const Bytes bytes = RandomBytes(prng, prng.Below(400));
    uint64_t sum = 0;
    for (size_t at = 0; at < bytes.size();) {
      const size_t n = std::min(bytes.size() - at, size_t{2} * prng.Below(60));
      // The last piece alone may be odd.
      sum = AddToChecksum(sum, Slice(bytes, at, n));
      at += n;
      if (bytes.size() - at == 1) {
        sum = AddToChecksum(sum, Slice(bytes, at, 1));
        ++at;
      }
    }
    ASSERT_EQ(FinishChecksum(sum), NaiveChecksum(bytes)) << "case " << i;
  }
}

TEST(ChecksumTest, WordsOfHostOrder) {
  const Bytes bytes = FromHex("1234 fedc");
  EXPECT_EQ(FinishChecksum(AddBig16ToChecksum(AddBig16ToChecksum(0, 0x1234), 0xfedc)),
            NaiveChecksum(bytes));
}

TEST(ChecksumTest, UpdateIsAsComputedAfresh) {
  Prng prng(4);
  for (int i = 0; i < 20000; ++i) {
    Bytes bytes = RandomBytes(prng, 2 + 2 * prng.Below(20));
    // The corner cases of RFC 1624 are where words are 0 and ffff.
    for (uint8_t& byte : bytes) {
      if (prng.Chance(0.3)) byte = prng.Chance(0.5) ? 0 : 0xff;
    }
    bytes[0] |= 1;  // all zero is no header
    const uint16_t before_sum = NaiveChecksum(bytes);
    const size_t at = 2 * prng.Below(bytes.size() / 2);
    const uint16_t before = LoadBig16(&bytes[at]);
    const auto after = static_cast<uint16_t>(prng.Chance(0.2) ? 0 : prng.Next());
    StoreBig16(&bytes[at], after);
    if (bytes == Bytes(bytes.size(), 0)) continue;
    ASSERT_EQ(UpdateChecksum(before_sum, before, after), NaiveChecksum(bytes)) << "case " << i;
  }
}

TEST(ChecksumTest, ExampleOfRfc1624) {
  // Section 4: a field goes from 5555 to 3285.
  EXPECT_EQ(UpdateChecksum(0xdd2f, 0x5555, 0x3285), 0x0000);
}

TEST(ChecksumTest, PseudoHeadersOfBothFamilies) {
  Prng prng(5);
  for (int i = 0; i < 1000; ++i) {
    const Bytes a = RandomBytes(prng, 16);
    const Bytes b = RandomBytes(prng, 16);
    const Bytes message = RandomBytes(prng, prng.Below(100));
    const bool v4 = i % 2 == 0;
    const IpAddress source = v4 ? IpAddress::V4(a.data()) : IpAddress::V6(a.data());
    const IpAddress destination = v4 ? IpAddress::V4(b.data()) : IpAddress::V6(b.data());
    const uint64_t sum = PseudoHeaderSum(source, destination, 17, message.size());
    ASSERT_EQ(FinishChecksum(AddToChecksum(sum, message)),
              NaiveL4Checksum(source, destination, 17, message));
  }
}

TEST(ChecksumTest, LengthOfMoreThan16BitsCounts) {
  const IpAddress ip = IpAddress::Parse("fd00::1").value();
  const Bytes message(70001, 0x5a);
  EXPECT_EQ(FinishChecksum(AddToChecksum(PseudoHeaderSum(ip, ip, 17, message.size()), message)),
            NaiveL4Checksum(ip, ip, 17, message));
}

TEST(ChecksumTest, GoldenUdpOverIpv4) {
  // "Hi" from port 20 to port 10.
  const IpAddress source = IpAddress::Parse("192.168.0.31").value();
  const IpAddress destination = IpAddress::Parse("192.168.0.30").value();
  const Bytes message = FromHex("0014 000a 000a 35c5 4869");
  EXPECT_EQ(FinishChecksum(
                AddToChecksum(PseudoHeaderSum(source, destination, 17, message.size()), message)),
            0);
}

}  // namespace
}  // namespace weft::netstack
