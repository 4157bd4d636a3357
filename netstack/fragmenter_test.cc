// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/fragmenter.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/bytes.h"
#include "weft/core/prng.h"
#include "weft/netstack/reassembler.h"
#include "weft/netstack/test_packets.h"

namespace weft::netstack {
namespace {

constexpr uint8_t kFragmentHeader = 44;
constexpr uint8_t kHopByHop = 0;
constexpr size_t kFrontBytes = 18;

class FragmenterTest : public testing::Test {
 protected:
  Buffer Load(const Bytes& packet) {
    Buffer buffer = large_.Allocate();
    if (!packet.empty()) std::memcpy(buffer.Append(packet.size()), packet.data(), packet.size());
    return buffer;
  }
  // Nothing where it returns false.
  std::vector<Bytes> Cut(const Bytes& packet, size_t mtu, uint32_t id = 7) {
    return Cut(packet, mtu, id, pool_);
  }
  std::vector<Bytes> Cut(const Bytes& packet, size_t mtu, uint32_t id, BufferPool& pool) {
    std::vector<Bytes> fragments;
    const bool good = FragmentPacket(Load(packet), mtu, id, pool, [&](Buffer fragment) {
      EXPECT_GE(fragment.headroom(), kFrontBytes);
      EXPECT_LE(fragment.size(), mtu);
      EXPECT_EQ(fragment.offload().flags, 0);
      fragments.push_back(Slice(fragment.bytes(), 0));
    });
    EXPECT_EQ(good, !fragments.empty());
    return fragments;
  }

  BufferPool large_{{.count = 4, .bytes = 70000, .headroom = 128}};
  BufferPool pool_{{.count = 64, .bytes = 2048, .headroom = 128}};
};

TEST_F(FragmenterTest, GoldenIpv4) {
  const Bytes payload = Pattern(2000);
  const Bytes packet =
      Ipv4Packet({.id = 99, .dont_fragment = true, .protocol = 1, .tos = 0xb8}, payload);
  const std::vector<Bytes> fragments = Cut(packet, 1000, 0x12345);
  ASSERT_EQ(fragments.size(), 3u);
  // (1000 - 20) / 8 * 8 bytes each, DF cleared, 16 bits of the id.
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(
        fragments[i],
        Ipv4Packet({.id = 0x2345, .offset = 976 * i, .more = i < 2, .protocol = 1, .tos = 0xb8},
                   Slice(payload, 976 * i, 976)))
        << i;
  }
}

TEST_F(FragmenterTest, GoldenIpv6) {
  const Bytes payload = Pattern(3000);
  const std::vector<Bytes> fragments =
      Cut(Ipv6Packet({.traffic_class = 0xb8}, payload), 1280, 0x12345678);
  ASSERT_EQ(fragments.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(fragments[i],
              Ipv6Packet({.next_header = kFragmentHeader, .traffic_class = 0xb8},
                         Ipv6FragmentPayload({.id = 0x12345678, .offset = 1232 * i, .more = i < 2},
                                             Slice(payload, 1232 * i, 1232))))
        << i;
  }
}

TEST_F(FragmenterTest, HopByHopOptionsStandInEachFragment) {
  const Bytes payload = Pattern(2000);
  const Bytes before = {17, 0, 1, 4, 0, 0, 0, 0};
  const Bytes after = {kFragmentHeader, 0, 1, 4, 0, 0, 0, 0};
  const std::vector<Bytes> fragments =
      Cut(Ipv6Packet({.next_header = kHopByHop}, Join({before, payload})), 1280);
  ASSERT_EQ(fragments.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(
        fragments[i],
        Ipv6Packet({.next_header = kHopByHop},
                   Join({after, Ipv6FragmentPayload({.id = 7, .offset = 1224 * i, .more = i < 1},
                                                    Slice(payload, 1224 * i, 1224))})))
        << i;
  }
}

TEST_F(FragmenterTest, WhatFitsStaysAsItIs) {
  const Bytes v4 = Ipv4Packet({.dont_fragment = true}, Pattern(980));
  EXPECT_EQ(Cut(v4, 1000), std::vector<Bytes>{v4});
  EXPECT_EQ(Cut(v4, 999).size(), 2u);
  const Bytes v6 = Ipv6Packet({}, Pattern(1240));
  EXPECT_EQ(Cut(v6, 1280), std::vector<Bytes>{v6});
  EXPECT_EQ(Cut(Ipv6Packet({}, Pattern(1241)), 1280).size(), 2u);
}

TEST_F(FragmenterTest, RefusesWhatCannotBeCut) {
  const Bytes payload = Pattern(2000);
  Bytes longer = Ipv4Packet({}, payload);
  longer.push_back(0);
  const Bytes v6 = Ipv6Packet({}, payload);
  const Bytes options = {43, 0, 1, 4, 0, 0, 0, 0};
  const struct {
    const char* what;
    Bytes packet;
    size_t mtu;
  } kCases[] = {
      {"nothing", {}, 1280},
      {"no IP", Pattern(2000), 1280},
      {"longer than it says", longer, 1280},
      {"cut", Slice(v6, 0, v6.size() - 1), 1280},
      {"a fragment", Ipv4Packet({.more = true}, payload), 1280},
      {"an IPv6 fragment", Ipv6Packet({.next_header = kFragmentHeader}, payload), 1280},
      {"IPv4 options", Ipv4Packet({.options = Bytes(4, 1)}, payload), 1280},
      {"a routing header", Ipv6Packet({.next_header = 43}, payload), 1280},
      {"one behind options", Ipv6Packet({.next_header = kHopByHop}, Join({options, payload})),
       1280},
      {"options without end", Ipv6Packet({.next_header = kHopByHop}, Bytes(2000, 0xff)), 1280},
      {"an IPv4 MTU below 68", Ipv4Packet({}, payload), 67},
      {"an IPv6 MTU below 1280", v6, 1279},
  };
  for (const auto& c : kCases) EXPECT_TRUE(Cut(c.packet, c.mtu).empty()) << c.what;
  EXPECT_FALSE(FragmentPacket(Buffer(), 1500, 1, pool_, [](Buffer) {}));
  EXPECT_EQ(pool_.available(), pool_.count());
  EXPECT_EQ(large_.available(), large_.count());
  EXPECT_EQ(Cut(Ipv4Packet({}, Pattern(480)), 68, 1).size(), 10u);
}

TEST_F(FragmenterTest, AllOrNothingWhenThePoolIsShort) {
  const Bytes packet = Ipv4Packet({}, Pattern(4000));
  for (size_t count = 1; count <= 6; ++count) {
    BufferPool pool({.count = count, .bytes = 2048, .headroom = 128});
    EXPECT_EQ(Cut(packet, 1000, 1, pool).size(), count < 5 ? 0u : 5u) << count;
    EXPECT_EQ(pool.available(), count);
  }
  BufferPool taken({.count = 1, .bytes = 2048, .headroom = 128});
  const Buffer all = taken.Allocate();
  EXPECT_TRUE(Cut(packet, 1000, 1, taken).empty());
}

TEST_F(FragmenterTest, WhoTakesFragmentsMayEmptyThePool) {
  std::vector<Buffer> held;
  size_t fragments = 0;
  EXPECT_TRUE(FragmentPacket(Load(Ipv4Packet({}, Pattern(4000))), 1000, 1, pool_, [&](Buffer) {
    ++fragments;
    while (Buffer buffer = pool_.Allocate()) held.push_back(std::move(buffer));
  }));
  EXPECT_EQ(fragments, 5u);
}

TEST_F(FragmenterTest, PoolsOfOtherShapes) {
  const Bytes packet = Ipv4Packet({}, Pattern(4000));
  // Without headroom: some of the payload is lent.
  BufferPool bare({.count = 64, .bytes = 1024, .headroom = 0});
  const std::vector<Bytes> fragments = Cut(packet, 1500, 1, bare);
  ASSERT_EQ(fragments.size(), 5u);  // (1024 - 18 - 20) / 8 * 8 = 984 each
  EXPECT_EQ(fragments[0].size(), 1004u);
  BufferPool tiny({.count = 64, .bytes = 64, .headroom = 64});
  EXPECT_TRUE(Cut(packet, 1500, 1, tiny).empty());
}

TEST_F(FragmenterTest, FinishesChecksumsThatWereLeftToADevice) {
  Bytes udp = Join({FromHex("1f90 0035 07d8 0000"), Pattern(2000)});
  const IpAddress source = IpAddress::Parse("10.0.0.1").value();
  const IpAddress destination = IpAddress::Parse("10.0.0.2").value();
  // The sum of the pseudo-header, not complemented.
  Bytes pseudo = FromHex("0a000001 0a000002 0011 07d8");
  StoreBig16(&udp[6], static_cast<uint16_t>(~NaiveChecksum(pseudo)));
  Buffer buffer = Load(Ipv4Packet({}, udp));
  buffer.offload() = {.flags = FrameOffload::kIpv4 | FrameOffload::kUdp |
                               FrameOffload::kSendIpChecksum | FrameOffload::kSendL4Checksum,
                      .l3_bytes = 20};
  Bytes message;
  EXPECT_TRUE(FragmentPacket(std::move(buffer), 1000, 1, pool_, [&](Buffer fragment) {
    message = Join({message, Slice(fragment.bytes(), 20)});
  }));
  EXPECT_EQ(NaiveL4Checksum(source, destination, 17, message), 0);
}

TEST_F(FragmenterTest, AllocatesNothing) {
  const Bytes packet = Ipv6Packet({}, Pattern(4000));
  for (int round = 0; round < 10; ++round) {
    Buffer buffer = Load(packet);
    const int64_t before = AllocationsOfThisThread();
    EXPECT_TRUE(FragmentPacket(std::move(buffer), 1280, 1, pool_, [](Buffer) {}));
    EXPECT_EQ(AllocationsOfThisThread(), before);
  }
}

// What arrives of many packets' fragments in any order, some lost, some twice, is what was sent.
class RoundTripTest : public FragmenterTest, public testing::WithParamInterface<uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Seeds, RoundTripTest, testing::Range<uint64_t>(0, 40));

TEST_P(RoundTripTest, WithLossDuplicatesAndReordering) {
  SCOPED_TRACE("seed " + std::to_string(GetParam()));
  Prng prng(GetParam());
  const bool v6 = prng.Chance(0.5);
  const double loss = prng.Chance(0.3) ? 0 : prng.Unit() * 0.1;
  const double duplication = prng.Unit() * 0.3;
  BufferPool pool({.count = 1500, .bytes = 2048, .headroom = 128});
  Reassembler reassembler({.packets_max = 16, .packets_per_source_max = 16, .timeout_ns = 1000});

  struct Sent {
    Bytes packet;
    size_t whole = 0;          // how often it came out
    size_t copies = SIZE_MAX;  // that arrive of the fragment of which the fewest do
  };
  std::map<uint32_t, Sent> sent;
  std::vector<std::pair<uint32_t, Bytes>> wire;
  for (uint32_t id = 1; id <= 12; ++id) {
    const size_t mtu = 1280 + prng.Below(221);
    const Bytes payload = Pattern(1500 + prng.Below(prng.Chance(0.2) ? 60000 : 5000), prng.Next());
    Sent& s = sent[id];
    s.packet = v6 ? Ipv6Packet({.next_header = 253}, payload)
                  : Ipv4Packet({.id = static_cast<uint16_t>(id), .protocol = 253}, payload);
    ASSERT_TRUE(FragmentPacket(Load(s.packet), mtu, id, pool, [&](Buffer fragment) {
      const size_t copies = prng.Chance(loss) ? 0 : prng.Chance(duplication) ? 2 : 1;
      s.copies = std::min(s.copies, copies);
      wire.insert(wire.end(), copies, {id, Slice(fragment.bytes(), 0)});
    }));
  }
  for (size_t i = wire.size(); i > 1; --i) std::swap(wire[i - 1], wire[prng.Below(i)]);

  for (const auto& [id, fragment] : wire) {
    Ipv4View v4;
    Ipv6View view;
    Buffer whole;
    if (Ipv4View::Parse(fragment, &v4)) {
      whole = reassembler.Add(v4, 0);
    } else {
      ASSERT_TRUE(Ipv6View::Parse(fragment, &view));
      whole = reassembler.Add(view, WalkIpv6(view), 0);
    }
    if (!whole) continue;
    ++sent[id].whole;
    EXPECT_EQ(Slice(whole.bytes(), 0), sent[id].packet) << id;
  }
  for (const auto& [id, s] : sent) {
    // Where all came twice, the second ones may make it whole once more.
    EXPECT_GE(s.whole, std::min<size_t>(s.copies, 1)) << id;
    EXPECT_LE(s.whole, s.copies) << id;
  }
  reassembler.Expire(1000, [](absl::Span<const uint8_t>) {});
  EXPECT_EQ(reassembler.packets(), 0u);
  EXPECT_EQ(reassembler.stats().overlapping, 0u);
  EXPECT_EQ(reassembler.stats().inconsistent, 0u);
  EXPECT_EQ(pool.available(), pool.count());
}

}  // namespace
}  // namespace weft::netstack
