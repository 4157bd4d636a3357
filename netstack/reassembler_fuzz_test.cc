// SPDX-License-Identifier: Apache-2.0
//
// Fragments in any order, from a byte string. What becomes whole is well formed and has each byte
// from its place; the limits hold; in the end nothing is left.
//
// Input: four bytes a step. 0: what (bits 0 and 1: flow; 2: IPv6; 3: more; 4: other contents; 5:
// hop-by-hop options or IPv4 options; 6: time passes first; 7: the headers lie about the length).
// 1 and 2: offset; 3: length, in units of 8 where more follow.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include "weft/core/buffer.h"
#include "weft/core/bytes.h"
#include "weft/netstack/ip_address.h"
#include "weft/netstack/reassembler.h"

namespace weft::netstack {
namespace {

constexpr size_t kPackets = 4;
constexpr size_t kHeadroom = 32;
constexpr int64_t kTimeoutNs = 1000;

void Require(bool holds) {
  if (!holds) std::abort();
}

// What stands at each offset, and its variant.
struct Contents {
  Contents() {
    for (size_t i = 0; i < sizeof(bytes[0]); ++i) {
      bytes[0][i] = static_cast<uint8_t>(i * 37 % 127);
      bytes[1][i] = static_cast<uint8_t>(bytes[0][i] | 0x80);
    }
  }
  uint8_t bytes[2][65536 + 255 * 8];
};
const Contents kContents;

std::vector<uint8_t> Payload(const uint8_t* step, size_t offset) {
  const size_t length = (step[0] & 8) != 0 ? size_t{step[3]} * 8 : step[3];
  const uint8_t* const from = kContents.bytes[(step[0] & 0x10) != 0 ? 1 : 0] + offset;
  return {from, from + length};
}

std::vector<uint8_t> V4(const uint8_t* step, size_t offset, const std::vector<uint8_t>& payload) {
  const size_t header_bytes = (step[0] & 0x20) != 0 ? 60 : 20;
  std::vector<uint8_t> packet(header_bytes + payload.size());
  const uint8_t source[4] = {10, 0, 0, static_cast<uint8_t>(step[0] & 1)};
  Ipv4Fields{.tos = static_cast<uint8_t>(step[2] & 3),
             .total_bytes = static_cast<uint16_t>(packet.size() - ((step[0] & 0x80) != 0 ? 1 : 0)),
             .id = static_cast<uint16_t>(step[0] >> 1 & 1),
             .more_fragments = (step[0] & 8) != 0,
             .fragment_offset_bytes = static_cast<uint16_t>(offset),
             .source = IpAddress::V4(source),
             .destination = IpAddress::V4(0x0a0000ffu)}
      .Write(packet.data());
  packet[0] = static_cast<uint8_t>(0x40 | header_bytes / 4);
  std::copy(payload.begin(), payload.end(), packet.begin() + static_cast<ptrdiff_t>(header_bytes));
  return packet;
}

std::vector<uint8_t> V6(const uint8_t* step, size_t offset, const std::vector<uint8_t>& payload) {
  const size_t options = (step[0] & 0x20) != 0 ? 16 : 0;
  const size_t header_bytes = kIpv6HeaderBytes + options + kIpv6FragmentHeaderBytes;
  std::vector<uint8_t> packet(header_bytes + payload.size());
  uint8_t source[16] = {0xfd};
  source[15] = step[0] & 1;
  const bool lie = (step[0] & 0x80) != 0;
  Ipv6Fields{.payload_bytes = static_cast<uint16_t>(packet.size() - kIpv6HeaderBytes - lie),
             .next_header = options != 0 ? IpProtocol::kHopByHop : IpProtocol::kFragment,
             .source = IpAddress::V6(source),
             .destination = IpAddress::V6(source)}
      .Write(packet.data());
  uint8_t* at = packet.data() + kIpv6HeaderBytes;
  if (options != 0) {
    at[0] = static_cast<uint8_t>(IpProtocol::kFragment);
    at[1] = 1;
    at += options;
  }
  // Now and then a chain that goes on behind the fragment header.
  const auto next = (step[2] & 7) == 7 ? IpProtocol::kDestination : IpProtocol::kUdp;
  Ipv6Fragment{next, static_cast<uint16_t>(offset), (step[0] & 8) != 0, uint32_t{step[0]} >> 1 & 1}
      .Write(at);
  if (!payload.empty()) {
    std::memcpy(at + kIpv6FragmentHeaderBytes, payload.data(), payload.size());
  }
  return packet;
}

void CheckContent(const uint8_t* payload, size_t bytes) {
  if (bytes == 0 || std::memcmp(payload, kContents.bytes[0], bytes) == 0) return;
  for (size_t i = 0; i < bytes; ++i) Require((payload[i] & 0x7f) == kContents.bytes[0][i]);
}

// Returns whether it was a fragment.
bool Add(Reassembler& reassembler, const std::vector<uint8_t>& packet, int64_t now_ns) {
  Ipv4View v4;
  Ipv6View v6;
  if (Ipv4View::Parse(packet, &v4)) {
    if (!v4.is_fragment()) return false;
    const Buffer whole = reassembler.Add(v4, now_ns);
    if (!whole) return true;
    Ipv4View view;
    Require(Ipv4View::Parse(whole.bytes(), &view) && view.total_bytes() == whole.size());
    Require(view.ChecksumIsGood() && !view.is_fragment() && whole.headroom() >= kHeadroom);
    CheckContent(view.payload(), view.payload_bytes());
    return true;
  }
  if (!Ipv6View::Parse(packet, &v6)) return false;
  const Ipv6Chain chain = WalkIpv6(v6);
  if (chain.verdict != Ipv6Chain::Verdict::kFragment) return false;
  const Buffer whole = reassembler.Add(v6, chain, now_ns);
  if (!whole) return true;
  Ipv6View view;
  Require(Ipv6View::Parse(whole.bytes(), &view) && view.total_bytes() == whole.size());
  Require(whole.headroom() >= kHeadroom);
  Require(WalkIpv6(view).verdict != Ipv6Chain::Verdict::kFragment);
  const size_t front = view.next_header() == IpProtocol::kHopByHop ? 16 : 0;
  CheckContent(view.payload() + front, view.payload_bytes() - front);
  return true;
}

}  // namespace

void Run(const uint8_t* data, size_t size) {
  // One for all inputs, as each leaves it empty.
  static Reassembler reassembler({.packets_max = kPackets,
                                  .packets_per_source_max = kPackets - 1,
                                  .timeout_ns = kTimeoutNs,
                                  .headroom = kHeadroom});
  int64_t now_ns = 0;
  uint64_t fragments = reassembler.stats().fragments;
  const auto check_start = [](absl::Span<const uint8_t> start) {
    Ipv4View v4;
    Ipv6View v6;
    Require(Ipv4View::Parse(start, &v4)
                ? v4.total_bytes() == start.size() && v4.is_fragment()
                : Ipv6View::Parse(start, &v6) && v6.total_bytes() == start.size());
  };
  for (; size >= 4; data += 4, size -= 4) {
    if ((data[0] & 0x40) != 0) {
      now_ns += data[3];
      reassembler.Expire(now_ns, check_start);
      Require(reassembler.NextDeadlineNs() > now_ns);
    }
    const size_t offset = size_t{LoadBig16(data + 1)} & 0xfff8;
    const std::vector<uint8_t> payload = Payload(data, offset);
    const bool v6 = (data[0] & 4) != 0;
    fragments +=
        Add(reassembler, v6 ? V6(data, offset, payload) : V4(data, offset, payload), now_ns) ? 1
                                                                                             : 0;
    Require(reassembler.packets() <= kPackets && reassembler.stats().fragments == fragments);
    Require((reassembler.packets() == 0) ==
            (reassembler.NextDeadlineNs() == std::numeric_limits<int64_t>::max()));
  }
  reassembler.Expire(now_ns + kTimeoutNs, check_start);
  Require(reassembler.packets() == 0);
}

}  // namespace weft::netstack

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  weft::netstack::Run(data, size);
  return 0;
}
