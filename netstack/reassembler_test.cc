// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/reassembler.h"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "weft/core/allocation_counter.h"
#include "weft/netstack/test_packets.h"

namespace weft::netstack {
namespace {

constexpr int64_t kTimeoutNs = 1000;
constexpr uint8_t kFragmentHeader = 44;
constexpr uint8_t kHopByHop = 0;
constexpr uint8_t kDestination = 60;

// Both families' packets from 10.0.0.1 or fd00::1 by one form.
struct Spec {
  uint32_t id = 1;
  size_t offset = 0;
  bool more = false;
  int source = 1;
  uint8_t ecn = 0;
  uint8_t protocol = 17;
};

class ReassemblerTest : public testing::TestWithParam<bool> {
 protected:
  bool v6() const { return GetParam(); }

  Bytes Packet(const Spec& spec, const Bytes& payload) const {
    const std::string source = (v6() ? "fd00::" : "10.0.0.") + std::to_string(spec.source);
    if (!v6()) {
      return Ipv4Packet({.source = source.c_str(),
                         .id = static_cast<uint16_t>(spec.id),
                         .offset = spec.offset,
                         .more = spec.more,
                         .protocol = spec.protocol,
                         .tos = spec.ecn},
                        payload);
    }
    return Ipv6Packet(
        {.source = source.c_str(), .next_header = kFragmentHeader, .traffic_class = spec.ecn},
        Ipv6FragmentPayload({spec.id, spec.offset, spec.more, spec.protocol}, payload));
  }
  // What the fragments of `payload` become.
  Bytes Whole(const Spec& spec, const Bytes& payload) const {
    Spec whole = spec;
    whole.offset = 0;
    whole.more = false;
    const Bytes packet = Packet(whole, payload);
    if (!v6()) return packet;
    const std::string source = "fd00::" + std::to_string(spec.source);
    return Ipv6Packet(
        {.source = source.c_str(), .next_header = spec.protocol, .traffic_class = spec.ecn},
        payload);
  }

  // What came out, no bytes if nothing.
  static Bytes AddTo(Reassembler& reassembler, const Bytes& packet, int64_t now_ns = 0) {
    Ipv4View v4;
    Ipv6View v6;
    Buffer whole;
    if (Ipv4View::Parse(packet, &v4)) {
      whole = reassembler.Add(v4, now_ns);
    } else {
      EXPECT_TRUE(Ipv6View::Parse(packet, &v6));
      const Ipv6Chain chain = WalkIpv6(v6);
      EXPECT_EQ(chain.verdict, Ipv6Chain::Verdict::kFragment);
      whole = reassembler.Add(v6, chain, now_ns);
    }
    return whole ? Slice(whole.bytes(), 0) : Bytes();
  }
  Bytes Add(const Bytes& packet, int64_t now_ns = 0) { return AddTo(reassembler_, packet, now_ns); }
  // The fragment with payload[from, to).
  Bytes Piece(const Bytes& payload, size_t from, size_t to, Spec spec = {}) const {
    spec.offset = from;
    spec.more = to < payload.size();
    return Packet(spec, Slice(payload, from, to - from));
  }

  std::vector<Bytes> Expire(int64_t now_ns) {
    std::vector<Bytes> starts;
    reassembler_.Expire(
        now_ns, [&](absl::Span<const uint8_t> start) { starts.push_back(Slice(start, 0)); });
    return starts;
  }
  const ReassemblyStats& stats() const { return reassembler_.stats(); }

  Reassembler reassembler_{
      {.packets_max = 8, .packets_per_source_max = 4, .timeout_ns = kTimeoutNs, .headroom = 50}};
};

INSTANTIATE_TEST_SUITE_P(Families, ReassemblerTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Ipv6" : "Ipv4"; });

TEST_P(ReassemblerTest, AnyOrder) {
  const Bytes payload = Pattern(100);
  const std::vector<size_t> cuts = {0, 32, 40, 72, 100};
  std::vector<size_t> order = {0, 1, 2, 3};
  uint64_t packets = 0;
  do {
    for (size_t i = 0; i < order.size(); ++i) {
      const Bytes out = Add(Piece(payload, cuts[order[i]], cuts[order[i] + 1]));
      EXPECT_EQ(out, i + 1 < order.size() ? Bytes() : Whole({}, payload));
    }
    EXPECT_EQ(reassembler_.packets(), 0u);
    EXPECT_EQ(stats().reassembled, ++packets);
  } while (std::next_permutation(order.begin(), order.end()));
  EXPECT_EQ(reassembler_.NextDeadlineNs(), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(stats().fragments, packets * 4);
}

TEST_P(ReassemblerTest, HeadroomInFrontOfWholePackets) {
  const Bytes payload = Pattern(64);
  Add(Piece(payload, 0, 32));
  const Bytes last = Piece(payload, 32, 64);
  Buffer whole;
  if (v6()) {
    Ipv6View view;
    ASSERT_TRUE(Ipv6View::Parse(last, &view));
    whole = reassembler_.Add(view, WalkIpv6(view), 0);
  } else {
    Ipv4View view;
    ASSERT_TRUE(Ipv4View::Parse(last, &view));
    whole = reassembler_.Add(view, 0);
  }
  ASSERT_TRUE(whole);
  EXPECT_GE(whole.headroom(), 50u);
  EXPECT_EQ(whole.offload().flags, 0);
}

TEST_P(ReassemblerTest, PacketsDifferBySourceAndId) {
  const Bytes payload = Pattern(64);
  const Bytes other = Pattern(64, 2);
  Add(Piece(payload, 0, 32, {.id = 1}));
  Add(Piece(other, 0, 32, {.id = 2}));
  EXPECT_EQ(Add(Piece(other, 32, 64, {.id = 1, .source = 2})), Bytes());
  EXPECT_EQ(Add(Piece(other, 32, 64, {.id = 2})), Whole({.id = 2}, other));
  EXPECT_EQ(Add(Piece(payload, 32, 64, {.id = 1})), Whole({.id = 1}, payload));
  EXPECT_EQ(reassembler_.packets(), 1u);
}

TEST_P(ReassemblerTest, TheProtocolIsPartOfTheNameForIpv4Only) {
  const Bytes payload = Pattern(64);
  Add(Piece(payload, 0, 32));
  const Bytes out = Add(Piece(payload, 32, 64, {.protocol = 99}));
  EXPECT_EQ(out, v6() ? Whole({}, payload) : Bytes());
}

TEST_P(ReassemblerTest, DuplicatesAreIgnored) {
  const Bytes payload = Pattern(96);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Add(Piece(payload, 0, 32)), Bytes());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Add(Piece(payload, 64, 96)), Bytes());
  EXPECT_EQ(Add(Piece(payload, 32, 64)), Whole({}, payload));
  EXPECT_EQ(stats().duplicates, 4u);
}

TEST_P(ReassemblerTest, OverlapsDropThePacketAndWhatIsStillToCome) {
  const Bytes payload = Pattern(160);
  const struct {
    size_t from, to;
  } kOverlaps[] = {{32, 72}, {72, 104}, {64, 72}, {72, 80},
                   {88, 96}, {32, 104}, {0, 96},  {88, 128}};
  uint64_t dropped = 0;
  for (const auto& overlap : kOverlaps) {
    const uint32_t id = static_cast<uint32_t>(++dropped);
    const Spec spec = {.id = id, .source = static_cast<int>(id)};
    Add(Piece(payload, 64, 96, spec));
    EXPECT_EQ(Add(Piece(payload, overlap.from, overlap.to, spec)), Bytes());
    EXPECT_EQ(stats().overlapping, dropped) << overlap.from;
    // Even all of them do not bring it back.
    for (size_t at = 0; at < 160; at += 32) {
      EXPECT_EQ(Add(Piece(payload, at, at + 32, spec)), Bytes());
    }
    EXPECT_EQ(stats().of_dropped, dropped * 5);
  }
  // No ICMP error for them (RFC 8200, 4.5), and they do not count twice.
  EXPECT_TRUE(Expire(kTimeoutNs).empty());
  EXPECT_EQ(stats().timed_out, 0u);
  EXPECT_EQ(reassembler_.packets(), 0u);
}

TEST_P(ReassemblerTest, TheSamePlaceWithOtherBytesIsAnOverlap) {
  const Bytes payload = Pattern(64);
  const Bytes other = Pattern(64, 2);
  Add(Piece(payload, 0, 32));
  Add(Piece(other, 0, 32));
  EXPECT_EQ(stats().overlapping, 1u);
  EXPECT_EQ(Add(Piece(payload, 32, 64)), Bytes());
}

TEST_P(ReassemblerTest, TwoEndsOrBytesBehindTheEnd) {
  const Bytes payload = Pattern(200);
  const Bytes shorter = Slice(payload, 0, 104);
  const auto spec = [](int n) { return Spec{.id = static_cast<uint32_t>(n), .source = n}; };
  // Ends at 200 and at 104, either first.
  Add(Piece(payload, 160, 200, spec(1)));
  Add(Piece(shorter, 96, 104, spec(1)));
  EXPECT_EQ(stats().inconsistent, 1u);
  Add(Piece(shorter, 96, 104, spec(2)));
  Add(Piece(payload, 160, 200, spec(2)));
  EXPECT_EQ(stats().inconsistent, 2u);
  // More behind the end, either first.
  Add(Piece(shorter, 96, 104, spec(3)));
  Add(Piece(payload, 104, 160, spec(3)));
  EXPECT_EQ(stats().inconsistent, 3u);
  Add(Piece(payload, 104, 160, spec(4)));
  Add(Piece(shorter, 96, 104, spec(4)));
  EXPECT_EQ(stats().inconsistent, 4u);
  // The end, which is not the end.
  Add(Piece(shorter, 96, 104, spec(5)));
  Add(Piece(payload, 88, 104, spec(5)));
  EXPECT_EQ(stats().inconsistent, 5u);
  EXPECT_EQ(stats().overlapping, 0u);
}

TEST_P(ReassemblerTest, FragmentsThatCannotBe) {
  EXPECT_EQ(Add(Packet({.offset = 0, .more = true}, Pattern(33))), Bytes());  // not times 8
  EXPECT_EQ(Add(Packet({.offset = 8, .more = false}, {})), Bytes());          // nothing
  EXPECT_EQ(Add(Packet({.offset = 8, .more = true}, {})), Bytes());
  EXPECT_EQ(Add(Packet({.offset = 65528}, Pattern(8))), Bytes());  // beyond 64 KiB
  EXPECT_EQ(Add(Packet({.offset = 65000, .more = true}, Pattern(536))), Bytes());
  EXPECT_EQ(stats().malformed, 5u);
  EXPECT_EQ(reassembler_.packets(), 0u);
  EXPECT_EQ(reassembler_.NextDeadlineNs(), std::numeric_limits<int64_t>::max());
}

TEST_P(ReassemblerTest, TheLongestPacket) {
  const size_t longest = v6() ? 65535 : 65515;
  for (const size_t length : {longest, longest + 1}) {
    const Bytes payload = Pattern(length);
    Bytes out;
    for (size_t at = 0; at < length; at += 1024) {
      out = Add(Piece(payload, at, std::min(at + 1024, length)));
    }
    EXPECT_EQ(out, length == longest ? Whole({}, payload) : Bytes());
  }
  EXPECT_EQ(stats().reassembled, 1u);
  EXPECT_EQ(stats().malformed, 1u);
}

TEST_P(ReassemblerTest, LimitOfPieces) {
  const Bytes payload = Pattern(8 * (Reassembler::kPiecesMax + 1));
  for (const size_t pieces : {Reassembler::kPiecesMax, Reassembler::kPiecesMax + 1}) {
    const Bytes part = Slice(payload, 0, pieces * 8);
    const Spec spec = {.id = static_cast<uint32_t>(pieces)};
    Bytes out;
    // From behind, which is the order that moves most.
    for (size_t i = pieces; i-- > 0;) out = Add(Piece(part, i * 8, i * 8 + 8, spec));
    EXPECT_EQ(out, pieces == Reassembler::kPiecesMax ? Whole(spec, part) : Bytes());
  }
  EXPECT_EQ(stats().too_many_pieces, 1u);
}

TEST_P(ReassemblerTest, BeyondItsShareASourceBeginsNothingNew) {
  const Bytes payload = Pattern(64);
  for (uint32_t id = 1; id <= 10; ++id) Add(Piece(payload, 0, 32, {.id = id}));
  EXPECT_EQ(reassembler_.packets(), 4u);
  EXPECT_EQ(stats().too_many_of_source, 6u);
  // What had begun goes on, and others have their room.
  EXPECT_EQ(Add(Piece(payload, 32, 64, {.id = 1})), Whole({.id = 1}, payload));
  Add(Piece(payload, 0, 32, {.id = 11}));
  EXPECT_EQ(stats().too_many_of_source, 6u) << "there is room again";
  Add(Piece(payload, 0, 32, {.id = 1, .source = 2}));
  EXPECT_EQ(Add(Piece(payload, 32, 64, {.id = 1, .source = 2})),
            Whole({.id = 1, .source = 2}, payload));
}

TEST_P(ReassemblerTest, BeyondThePacketsOfAllNothingNewBegins) {
  const Bytes payload = Pattern(64);
  for (int source = 1; source <= 12; ++source) Add(Piece(payload, 0, 32, {.source = source}));
  EXPECT_EQ(reassembler_.packets(), 8u);
  EXPECT_EQ(stats().too_many, 4u);
  for (int source = 1; source <= 8; ++source) {
    EXPECT_EQ(Add(Piece(payload, 32, 64, {.source = source})), Whole({.source = source}, payload));
  }
}

TEST_P(ReassemblerTest, WholePacketsThatAreHeldTakeItsMemory) {
  Reassembler reassembler({.packets_max = 2, .timeout_ns = kTimeoutNs});
  const Bytes payload = Pattern(64);
  std::vector<Buffer> held;
  for (uint32_t id = 1; id <= 3; ++id) {
    for (const size_t at : {0, 32}) {
      const Bytes packet = Piece(payload, at, at + 32, {.id = id});
      Ipv4View v4;
      Ipv6View v6;
      Buffer whole;
      if (Ipv4View::Parse(packet, &v4)) {
        whole = reassembler.Add(v4, 0);
      } else {
        ASSERT_TRUE(Ipv6View::Parse(packet, &v6));
        whole = reassembler.Add(v6, WalkIpv6(v6), 0);
      }
      if (whole) held.push_back(std::move(whole));
    }
  }
  EXPECT_EQ(held.size(), 2u);
  EXPECT_EQ(reassembler.stats().no_buffer, 2u);
  held.clear();
  EXPECT_EQ(AddTo(reassembler, Piece(payload, 0, 32)), Bytes());
  EXPECT_EQ(AddTo(reassembler, Piece(payload, 32, 64)), Whole({}, payload));
}

TEST_P(ReassemblerTest, TimeoutTellsOfTheFirstFragment) {
  const Bytes payload = Pattern(96);
  const Bytes first = Piece(payload, 0, 32, {.id = 1});
  Add(Piece(payload, 64, 96, {.id = 1}), 10);
  Add(first, 20);
  Add(Piece(payload, 64, 96, {.id = 2}), 30);  // without its first fragment: no error
  EXPECT_EQ(reassembler_.NextDeadlineNs(), 10 + kTimeoutNs) << "from the first that arrived";
  EXPECT_TRUE(Expire(9 + kTimeoutNs).empty());
  EXPECT_EQ(reassembler_.packets(), 2u);
  EXPECT_EQ(Expire(10 + kTimeoutNs), std::vector<Bytes>{first});
  EXPECT_EQ(reassembler_.NextDeadlineNs(), 30 + kTimeoutNs);
  EXPECT_TRUE(Expire(30 + kTimeoutNs).empty());
  EXPECT_EQ(stats().timed_out, 2u);
  EXPECT_EQ(reassembler_.packets(), 0u);
  // What comes late begins anew.
  EXPECT_EQ(Add(Piece(payload, 32, 64, {.id = 1}), 2000), Bytes());
  EXPECT_EQ(reassembler_.packets(), 1u);
}

TEST_P(ReassemblerTest, CongestionMarks) {
  // RFC 3168, 5.3: a mark on any fragment is one on the packet, unless some cannot have it.
  const struct {
    uint8_t first, second, whole;
    bool good;
  } kCases[] = {{0, 0, 0, true},  {1, 1, 1, true},  {2, 2, 2, true},
                {2, 3, 3, true},  {3, 2, 3, true},  {1, 3, 3, true},
                {0, 3, 0, false}, {3, 0, 0, false}, {3, 3, 3, true}};
  const Bytes payload = Pattern(64);
  uint64_t dropped = 0;
  uint32_t id = 0;
  for (const auto& c : kCases) {
    ++id;
    Add(Piece(payload, 0, 32, {.id = id, .ecn = c.first}));
    EXPECT_EQ(Add(Piece(payload, 32, 64, {.id = id, .ecn = c.second})),
              c.good ? Whole({.id = id, .ecn = c.whole}, payload) : Bytes())
        << int{c.first} << " " << int{c.second};
    if (!c.good) ++dropped;
    EXPECT_EQ(stats().inconsistent, dropped);
  }
}

TEST_P(ReassemblerTest, AllocatesNothing) {
  const Bytes payload = Pattern(64);
  const Bytes pieces[] = {Piece(payload, 0, 32), Piece(payload, 32, 64),
                          Piece(payload, 0, 32, {.id = 2}), Piece(payload, 0, 48, {.id = 2})};
  const int64_t before = AllocationsOfThisThread();
  for (int64_t round = 1; round <= 100; ++round) {
    for (const Bytes& piece : pieces) {
      Ipv4View v4;
      Ipv6View v6;
      if (Ipv4View::Parse(piece, &v4)) {
        reassembler_.Add(v4, round * kTimeoutNs);
      } else if (Ipv6View::Parse(piece, &v6)) {
        reassembler_.Add(v6, WalkIpv6(v6), round * kTimeoutNs);
      }
    }
    reassembler_.Expire((round + 1) * kTimeoutNs, [](absl::Span<const uint8_t>) {});
  }
  EXPECT_EQ(AllocationsOfThisThread(), before);
  EXPECT_EQ(stats().reassembled, 100u);
}

using Ipv4ReassemblerTest = ReassemblerTest;
INSTANTIATE_TEST_SUITE_P(Family, Ipv4ReassemblerTest, testing::Values(false),
                         [](const auto&) { return "Ipv4"; });
using Ipv6ReassemblerTest = ReassemblerTest;
INSTANTIATE_TEST_SUITE_P(Family, Ipv6ReassemblerTest, testing::Values(true),
                         [](const auto&) { return "Ipv6"; });

TEST_P(Ipv4ReassemblerTest, OptionsOfTheFirstFragmentStay) {
  const Bytes options = FromHex("94040000 01010101");
  const Bytes payload = Pattern(64);
  Add(Ipv4Packet({.offset = 32}, Slice(payload, 32)));
  EXPECT_EQ(Add(Ipv4Packet({.more = true, .options = options}, Slice(payload, 0, 32))),
            Ipv4Packet({.options = options}, payload));
}

TEST_P(Ipv4ReassemblerTest, TooLongWithTheOptionsOfTheFirstFragment) {
  const Bytes payload = Pattern(65515);
  for (size_t at = 1024; at < payload.size(); at += 1024) {
    Add(Piece(payload, at, std::min(at + 1024, payload.size())));
  }
  EXPECT_EQ(Add(Ipv4Packet({.more = true, .options = Bytes(4, 1)}, Slice(payload, 0, 1024))),
            Bytes());
  EXPECT_EQ(stats().inconsistent, 1u);
}

TEST_P(Ipv6ReassemblerTest, HeadersBeforeTheFragmentHeaderStay) {
  const Bytes hop_by_hop = {kFragmentHeader, 0, 1, 4, 0, 0, 0, 0};
  const Bytes hop_by_hop_after = {17, 0, 1, 4, 0, 0, 0, 0};
  const Bytes payload = Pattern(64);
  const auto piece = [&](const Bytes& front, uint8_t first, size_t from, size_t to) {
    const FragmentSpec spec = {.offset = from, .more = to < 64};
    return Ipv6Packet({.next_header = first},
                      Join({front, Ipv6FragmentPayload(spec, Slice(payload, from, to - from))}));
  };
  // Those of the first fragment, whatever the others have.
  Add(piece({}, kFragmentHeader, 32, 64));
  EXPECT_EQ(Add(piece(hop_by_hop, kHopByHop, 0, 32)),
            Ipv6Packet({.next_header = kHopByHop}, Join({hop_by_hop_after, payload})));
}

TEST_P(Ipv6ReassemblerTest, TooLongHeadersBeforeTheFragmentHeader) {
  Bytes options = {kFragmentHeader, 26};
  options.resize(8 * 27, 0);
  const Bytes packet =
      Ipv6Packet({.next_header = kDestination},
                 Join({options, Ipv6FragmentPayload({.more = true}, Pattern(32))}));
  EXPECT_EQ(Add(packet), Bytes());
  EXPECT_EQ(stats().malformed, 1u);
  EXPECT_EQ(Add(Ipv6Packet({.next_header = kDestination},
                           Join({options, Ipv6FragmentPayload({}, Pattern(32))}))),
            Bytes());
  EXPECT_EQ(stats().malformed, 2u);
}

TEST_P(Ipv6ReassemblerTest, AtomicFragmentsAreOnTheirOwn) {
  // RFC 6946: fragments of the same name have nothing to do with it.
  const Bytes payload = Pattern(64);
  Add(Piece(payload, 0, 32));
  const Bytes atomic = Pattern(24, 3);
  EXPECT_EQ(Add(Packet({}, atomic)), Whole({}, atomic));
  EXPECT_EQ(Add(Packet({.protocol = 59}, {})), Whole({.protocol = 59}, {}));
  EXPECT_EQ(Add(Piece(payload, 32, 64)), Whole({}, payload));
  EXPECT_EQ(stats().reassembled, 3u);
}

TEST_P(Ipv6ReassemblerTest, TheFirstFragmentHasAllHeaders) {
  const Bytes options = {17, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  Bytes tcp(64);
  tcp[12] = 0xa0;  // 40 bytes of header
  const struct {
    const char* what;
    uint8_t next_header;
    Bytes payload;
    bool good;
  } kCases[] = {
      {"UDP", 17, Bytes(8), true},
      {"TCP cut", 6, Slice(tcp, 0, 16), false},
      {"TCP without its options", 6, Slice(tcp, 0, 32), false},
      {"TCP", 6, Slice(tcp, 0, 40), true},
      {"ICMPv6", 58, Bytes(8), true},
      {"options cut", kDestination, Slice(options, 0, 8), false},
      {"options alone", kDestination, options, false},
      {"options and UDP", kDestination, Join({options, Bytes(8)}), true},
      {"another fragment header", kFragmentHeader, Bytes(64), false},
      {"hop-by-hop options", kHopByHop, Bytes(64), false},
      {"a protocol that only others know", 253, Bytes(8), true},
  };
  uint32_t id = 0;
  for (const auto& c : kCases) {
    for (const bool more : {true, false}) {
      ++id;
      Reassembler reassembler({.timeout_ns = kTimeoutNs});
      AddTo(reassembler, Packet({.id = id, .more = more, .protocol = c.next_header}, c.payload));
      EXPECT_EQ(reassembler.stats().malformed, c.good ? 0u : 1u) << c.what;
      EXPECT_EQ(reassembler.packets(), c.good && more ? 1u : 0u) << c.what;
    }
  }
}

}  // namespace
}  // namespace weft::netstack
