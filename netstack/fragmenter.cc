// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/fragmenter.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "weft/core/buffer_chain.h"
#include "weft/core/bytes.h"
#include "weft/netstack/segmenter.h"
#include "weft/netstack/wire/checksum.h"
#include "weft/netstack/wire/ethernet.h"
#include "weft/netstack/wire/ipv4.h"
#include "weft/netstack/wire/ipv6.h"

namespace weft::netstack {
namespace {

constexpr size_t kFrontBytes = EthernetHeaderBytes(/*vlan=*/1);

// What each family makes of a packet.
struct Cut {
  bool v4;
  size_t header_bytes;      // of the packet, that stand in each fragment
  size_t new_header_bytes;  // of a fragment
  size_t next_header_offset;
};

bool PlanV4(absl::Span<const uint8_t> packet, size_t mtu, Cut* cut) {
  Ipv4View view;
  if (mtu < kIpv4MtuMin || !Ipv4View::Parse(packet, &view)) return false;
  if (view.total_bytes() != packet.size() || view.is_fragment()) return false;
  *cut = {true, kIpv4HeaderBytes, kIpv4HeaderBytes, 0};
  return view.header_bytes() == kIpv4HeaderBytes;
}

bool PlanV6(absl::Span<const uint8_t> packet, size_t mtu, Cut* cut) {
  Ipv6View view;
  if (mtu < kIpv6MtuMin || !Ipv6View::Parse(packet, &view)) return false;
  if (view.total_bytes() != packet.size()) return false;
  size_t header_bytes = kIpv6HeaderBytes;
  size_t next_header_offset = 6;
  IpProtocol next = view.next_header();
  // Hop-by-hop options stand in each fragment.
  if (next == IpProtocol::kHopByHop) {
    if (packet.size() < kIpv6HeaderBytes + 8) return false;
    next_header_offset = kIpv6HeaderBytes;
    header_bytes += 8 + size_t{packet[kIpv6HeaderBytes + 1]} * 8;
    next = static_cast<IpProtocol>(packet[kIpv6HeaderBytes]);
  }
  *cut = {false, header_bytes, header_bytes + kIpv6FragmentHeaderBytes, next_header_offset};
  // There must be something to cut, in pieces that are not absurdly small.
  return header_bytes < packet.size() && cut->new_header_bytes <= kIpv6MtuMin / 2 &&
         next != IpProtocol::kRouting && next != IpProtocol::kFragment;
}

void WriteHeaderV4(uint8_t* header, uint32_t id, size_t offset, bool more, size_t bytes) {
  StoreBig16(header + 2, static_cast<uint16_t>(kIpv4HeaderBytes + bytes));
  StoreBig16(header + 4, static_cast<uint16_t>(id));
  StoreBig16(header + 6, static_cast<uint16_t>(offset / 8 | (more ? 0x2000 : 0)));
  StoreBig16(header + 10, 0);
  StoreBig16(header + 10, Checksum({header, kIpv4HeaderBytes}));
}

void WriteHeaderV6(uint8_t* header, const Cut& cut, uint32_t id, size_t offset, bool more,
                   size_t bytes) {
  const auto next_header = static_cast<IpProtocol>(header[cut.next_header_offset]);
  header[cut.next_header_offset] = static_cast<uint8_t>(IpProtocol::kFragment);
  StoreBig16(header + 4, static_cast<uint16_t>(cut.new_header_bytes - kIpv6HeaderBytes + bytes));
  Ipv6Fragment{next_header, static_cast<uint16_t>(offset), more, id}.Write(header +
                                                                           cut.header_bytes);
}

}  // namespace

bool FragmentPacket(Buffer packet, size_t mtu, uint32_t id, BufferPool& pool,
                    absl::FunctionRef<void(Buffer)> emit) {
  if (!packet || packet.empty() || !FinishChecksums(packet)) return false;
  const absl::Span<const uint8_t> bytes = std::as_const(packet).bytes();
  Cut cut;
  if (!(bytes[0] >> 4 == 4 ? PlanV4(bytes, mtu, &cut) : PlanV6(bytes, mtu, &cut))) return false;
  if (bytes.size() <= mtu) {
    emit(std::move(packet));
    return true;
  }

  Buffer first = pool.Allocate();
  if (!first) return false;
  // A pool with too little headroom lends some of its payload.
  const size_t lent = kFrontBytes - std::min(kFrontBytes, first.headroom());
  const size_t fits = pool.payload_bytes();
  const size_t room = std::min(mtu, fits - std::min(lent, fits));
  if (room < cut.new_header_bytes + 8) return false;
  const size_t piece_bytes_max = (room - cut.new_header_bytes) / 8 * 8;
  const size_t payload_bytes = bytes.size() - cut.header_bytes;

  // All buffers are there before the first is emitted, as whoever takes it may allocate too.
  BufferChain fragments(std::move(first));
  while (fragments.pieces() * piece_bytes_max < payload_bytes) {
    Buffer another = pool.Allocate();
    if (!another) return false;
    fragments.Append(std::move(another));
  }
  for (size_t offset = 0; offset < payload_bytes; offset += piece_bytes_max) {
    const size_t n = std::min(piece_bytes_max, payload_bytes - offset);
    const bool more = offset + n < payload_bytes;
    Buffer fragment = fragments.PopFront();
    fragment.Append(lent);
    fragment.TrimFront(lent);
    uint8_t* const header = fragment.Append(cut.new_header_bytes + n);
    std::memcpy(header, bytes.data(), cut.header_bytes);
    if (cut.v4) {
      WriteHeaderV4(header, id, offset, more, n);
    } else {
      WriteHeaderV6(header, cut, id, offset, more, n);
    }
    std::memcpy(header + cut.new_header_bytes, bytes.data() + cut.header_bytes + offset, n);
    emit(std::move(fragment));
  }
  return true;
}

}  // namespace weft::netstack
