// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/wire/ipv6.h"

namespace weft::netstack {
namespace {

using Verdict = Ipv6Chain::Verdict;

constexpr int kOptionsMax = 32;
constexpr uint8_t kPad1 = 0;
constexpr uint8_t kPadN = 1;
constexpr uint8_t kRouterAlert = 5;

bool IsOptions(IpProtocol protocol) {
  return protocol == IpProtocol::kHopByHop || protocol == IpProtocol::kDestination;
}

bool IsUpperLayer(IpProtocol protocol) {
  return protocol == IpProtocol::kUdp || protocol == IpProtocol::kIcmpv6 ||
         protocol == IpProtocol::kTcp || protocol == IpProtocol::kNoNext;
}

// The options of a header of `length` bytes. kUpperLayer: all are known or may be skipped.
Verdict WalkOptions(const uint8_t* header, size_t length, bool hop_by_hop, uint32_t header_offset,
                    Ipv6Chain* chain) {
  int options = 0;
  for (size_t at = 2; at < length;) {
    if (header[at] == kPad1) {
      ++at;
      continue;
    }
    if (++options > kOptionsMax || at + 2 > length || at + 2 + header[at + 1] > length) {
      return Verdict::kMalformed;
    }
    const uint8_t type = header[at];
    if (hop_by_hop && type == kRouterAlert) {
      chain->router_alert = true;
    } else if (type != kPadN && type >> 6 != 0) {
      if (type >> 6 == 1) return Verdict::kDropSilently;
      chain->problem_offset = header_offset + static_cast<uint32_t>(at);
      chain->problem_even_to_group = type >> 6 == 2;
      return Verdict::kUnknownOption;
    }
    at += 2u + header[at + 1];
  }
  return Verdict::kUpperLayer;
}

}  // namespace

Ipv6Chain WalkIpv6(const Ipv6View& packet) {
  Ipv6Chain chain;
  const uint8_t* const begin = packet.data();
  const uint8_t* at = packet.payload();
  const uint8_t* const end = at + packet.payload_bytes();
  IpProtocol next = packet.next_header();
  chain.next_header_offset = 6;
  const auto offset = [begin](const uint8_t* p) { return static_cast<uint32_t>(p - begin); };
  const auto stop = [&chain](Verdict verdict) {
    chain.verdict = verdict;
    return chain;
  };

  for (int headers = 0; !IsUpperLayer(next); ++headers) {
    const bool known =
        IsOptions(next) || next == IpProtocol::kRouting || next == IpProtocol::kFragment;
    const bool misplaced = next == IpProtocol::kHopByHop && headers > 0;
    if (!known || misplaced) {
      chain.problem_offset = static_cast<uint32_t>(chain.next_header_offset);
      return stop(Verdict::kUnknownHeader);
    }
    if (headers == kIpv6ExtensionHeadersMax || end - at < 8) return stop(Verdict::kMalformed);
    if (next == IpProtocol::kFragment) {
      chain.fragment = Ipv6Fragment::Read(at);
      chain.payload = at + kIpv6FragmentHeaderBytes;
      chain.payload_bytes = static_cast<size_t>(end - chain.payload);
      chain.protocol = chain.fragment.next_header;
      return stop(Verdict::kFragment);
    }
    const size_t length = 8 + size_t{at[1]} * 8;
    if (length > static_cast<size_t>(end - at)) return stop(Verdict::kMalformed);
    if (next == IpProtocol::kRouting) {
      if (at[3] != 0) {  // segments left, of a type that we do not route by (RFC 8200, 4.4)
        chain.problem_offset = offset(at) + 2;
        return stop(Verdict::kBadHeader);
      }
    } else {
      const Verdict verdict =
          WalkOptions(at, length, next == IpProtocol::kHopByHop, offset(at), &chain);
      if (verdict != Verdict::kUpperLayer) return stop(verdict);
    }
    chain.next_header_offset = offset(at);
    next = static_cast<IpProtocol>(at[0]);
    at += length;
  }
  chain.protocol = next;
  chain.payload = at;
  chain.payload_bytes = static_cast<size_t>(end - at);
  return stop(Verdict::kUpperLayer);
}

}  // namespace weft::netstack
