// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/reassembler.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "weft/core/bytes.h"
#include "weft/netstack/wire/checksum.h"
#include "weft/netstack/wire/tcp.h"
#include "weft/netstack/wire/udp.h"

namespace weft::netstack {
namespace {

// What the length field of either family can count.
constexpr size_t kLengthMax = 65535;

// Explicit congestion notification (RFC 3168, 5).
constexpr uint8_t kNotEct = 0;
constexpr uint8_t kCongestion = 3;

// Whether `bytes`, which begin with a header of `protocol`, hold all headers up to that of the
// upper layer (RFC 7112). Headers that must not stand behind a fragment header are none.
bool HasWholeHeaderChain(IpProtocol protocol, absl::Span<const uint8_t> bytes) {
  for (int headers = 0; headers < kIpv6ExtensionHeadersMax; ++headers) {
    switch (protocol) {
      case IpProtocol::kHopByHop:
      case IpProtocol::kFragment:
        return false;
      case IpProtocol::kUdp:
        return bytes.size() >= kUdpHeaderBytes;
      case IpProtocol::kTcp:
        return bytes.size() >= kTcpHeaderBytes &&
               bytes.size() >= size_t{bytes[kTcpDataOffsetOffset]} / 16 * 4;
      case IpProtocol::kRouting:
      case IpProtocol::kDestination: {
        if (bytes.size() < 8) return false;
        const size_t length = 8 + size_t{bytes[1]} * 8;
        if (length > bytes.size()) return false;
        protocol = static_cast<IpProtocol>(bytes[0]);
        bytes.remove_prefix(length);
        break;
      }
      case IpProtocol::kIcmpv6:
        return bytes.size() >= 4;
      default:
        return true;
    }
  }
  return false;
}

// Takes the fragment header out of a whole IPv6 packet in which it ends at `header_bytes`.
void RemoveFragmentHeader(Buffer& packet, size_t header_bytes, size_t next_header_offset) {
  const size_t kept = header_bytes - kIpv6FragmentHeaderBytes;
  const uint8_t next_header = packet.data()[kept];
  std::memmove(packet.data() + kIpv6FragmentHeaderBytes, packet.data(), kept);
  packet.TrimFront(kIpv6FragmentHeaderBytes);
  packet.data()[next_header_offset] = next_header;
  StoreBig16(packet.data() + 4, static_cast<uint16_t>(packet.size() - kIpv6HeaderBytes));
}

}  // namespace

Reassembler::Reassembler(const ReassemblyOptions& options)
    : options_(options),
      pool_({.count = options.packets_max,
             .bytes = options.headroom + kHeaderBytesMax + kLengthMax,
             .headroom = options.headroom + kHeaderBytesMax}),
      packets_(options.packets_max),
      packets_of_source_(options.packets_max) {}

Buffer Reassembler::Add(const Ipv4View& fragment, int64_t now_ns) {
  ++stats_.fragments;
  const size_t header_bytes = fragment.header_bytes();
  Packet* const packet = Store({.key = {fragment.source(), fragment.destination(), fragment.id(),
                                        static_cast<uint8_t>(fragment.protocol())},
                                .header = {fragment.data(), header_bytes},
                                .payload = {fragment.payload(), fragment.payload_bytes()},
                                .offset = fragment.fragment_offset_bytes(),
                                .more = fragment.more_fragments(),
                                .counted_header_bytes = header_bytes,
                                .next_header_offset = 0,
                                .ecn = static_cast<uint8_t>(fragment.tos() & 3)},
                               now_ns);
  if (packet == nullptr) return {};
  const size_t whole_header_bytes = packet->header_bytes;
  Buffer whole = Finish(*packet);
  uint8_t* const header = whole.data();
  StoreBig16(header + 2, static_cast<uint16_t>(whole.size()));
  StoreBig16(header + 6, 0);
  StoreBig16(header + 10, 0);
  StoreBig16(header + 10, Checksum({header, whole_header_bytes}));
  return whole;
}

Buffer Reassembler::Add(const Ipv6View& fragment, const Ipv6Chain& chain, int64_t now_ns) {
  ++stats_.fragments;
  const auto header_bytes = static_cast<size_t>(chain.payload - fragment.data());
  const Fragment part = {
      .key = {fragment.source(), fragment.destination(), chain.fragment.id},
      .header = {fragment.data(), header_bytes},
      .payload = {chain.payload, chain.payload_bytes},
      .offset = chain.fragment.offset_bytes,
      .more = chain.fragment.more,
      .counted_header_bytes = header_bytes - kIpv6HeaderBytes - kIpv6FragmentHeaderBytes,
      .next_header_offset = chain.next_header_offset,
      .ecn = static_cast<uint8_t>(fragment.traffic_class() & 3)};
  if (part.offset == 0 && !HasWholeHeaderChain(chain.fragment.next_header, part.payload)) {
    ++stats_.malformed;
    return {};
  }
  if (part.offset == 0 && !part.more) return Unwrap(part);
  Packet* const packet = Store(part, now_ns);
  if (packet == nullptr) return {};
  const size_t whole_header_bytes = packet->header_bytes;
  const size_t next_header_offset = packet->next_header_offset;
  Buffer whole = Finish(*packet);
  RemoveFragmentHeader(whole, whole_header_bytes, next_header_offset);
  return whole;
}

Buffer Reassembler::Unwrap(const Fragment& atomic) {
  if (atomic.header.size() > kHeaderBytesMax) {
    ++stats_.malformed;
    return {};
  }
  Buffer packet = pool_.Allocate();
  if (!packet) {
    ++stats_.no_buffer;
    return {};
  }
  std::memcpy(packet.Prepend(atomic.header.size()), atomic.header.data(), atomic.header.size());
  if (!atomic.payload.empty()) {
    std::memcpy(packet.Append(atomic.payload.size()), atomic.payload.data(), atomic.payload.size());
  }
  RemoveFragmentHeader(packet, atomic.header.size(), atomic.next_header_offset);
  ++stats_.reassembled;
  return packet;
}

bool Reassembler::IsMalformed(const Fragment& fragment) const {
  const size_t bytes = fragment.payload.size();
  return bytes == 0 || (fragment.more && bytes % 8 != 0) ||
         fragment.counted_header_bytes + fragment.offset + bytes > kLengthMax ||
         fragment.header.size() > kHeaderBytesMax;
}

Reassembler::Packet* Reassembler::Begin(const Key& key, int64_t now_ns) {
  uint32_t* of_source = packets_of_source_.Find(key.source);
  if (of_source != nullptr && *of_source >= options_.packets_per_source_max) {
    ++stats_.too_many_of_source;
    return nullptr;
  }
  if (packets_.size() == packets_.capacity()) {
    ++stats_.too_many;
    return nullptr;
  }
  Buffer buffer = pool_.Allocate();
  if (!buffer) {
    ++stats_.no_buffer;
    return nullptr;
  }
  // There is room: no more sources than packets.
  if (of_source == nullptr) of_source = packets_of_source_.Insert(key.source);
  ++*of_source;
  Packet* const packet = packets_.Insert(key);
  packet->key = key;
  packet->deadline_ns = now_ns + options_.timeout_ns;
  packet->buffer = std::move(buffer);
  packet->older = newest_;
  (newest_ == nullptr ? oldest_ : newest_->newer) = packet;
  newest_ = packet;
  return packet;
}

Reassembler::Packet* Reassembler::Store(const Fragment& fragment, int64_t now_ns) {
  if (IsMalformed(fragment)) {
    ++stats_.malformed;
    return nullptr;
  }
  Packet* packet = packets_.Find(fragment.key);
  if (packet == nullptr) packet = Begin(fragment.key, now_ns);
  if (packet == nullptr) return nullptr;
  if (!packet->buffer) {
    ++stats_.of_dropped;
    return nullptr;
  }
  if (!Place(*packet, fragment)) return nullptr;

  if (fragment.offset == 0) {
    packet->header_bytes = static_cast<uint16_t>(fragment.header.size());
    packet->counted_header_bytes = static_cast<uint16_t>(fragment.counted_header_bytes);
    packet->next_header_offset = static_cast<uint16_t>(fragment.next_header_offset);
    std::memcpy(packet->buffer.data() - fragment.header.size(), fragment.header.data(),
                fragment.header.size());
  }
  packet->ecn_seen = static_cast<uint8_t>(packet->ecn_seen | 1 << fragment.ecn);
  // Pieces do not overlap, so the sum of their lengths says whether all are here.
  if (packet->payload_bytes == 0 || packet->received_bytes != packet->payload_bytes) return nullptr;
  // The first fragment may have a longer header than those that were checked.
  if (size_t{packet->counted_header_bytes} + packet->payload_bytes > kLengthMax ||
      !JoinEcn(*packet)) {
    Abandon(*packet, stats_.inconsistent);
    return nullptr;
  }
  return packet;
}

// Copies the payload to its place; false where it is not wanted.
bool Reassembler::Place(Packet& packet, const Fragment& fragment) {
  const size_t begin = fragment.offset;
  const size_t end = begin + fragment.payload.size();
  Piece* const first = packet.piece;
  Piece* const last = first + packet.pieces;
  Piece* at = last;  // the first piece that begins at `begin` or behind; mostly there is none
  while (at != first && at[-1].begin >= begin) --at;

  uint8_t* const to = packet.buffer.data() + begin;
  if (at != last && at->begin == begin && at->end == end &&
      std::memcmp(to, fragment.payload.data(), end - begin) == 0) {
    ++stats_.duplicates;
    return false;
  }
  const bool end_known = packet.payload_bytes != 0;
  if (fragment.more
          ? end_known && end >= packet.payload_bytes
          : (end_known && end != packet.payload_bytes) || (last != first && last[-1].end > end)) {
    return Abandon(packet, stats_.inconsistent);
  }
  if ((at != first && at[-1].end > begin) || (at != last && at->begin < end)) {
    return Abandon(packet, stats_.overlapping);
  }
  if (packet.pieces == kPiecesMax) return Abandon(packet, stats_.too_many_pieces);

  std::memcpy(to, fragment.payload.data(), end - begin);
  std::copy_backward(at, last, last + 1);
  *at = {static_cast<uint16_t>(begin), static_cast<uint16_t>(end)};
  ++packet.pieces;
  packet.received_bytes += static_cast<uint32_t>(end - begin);
  if (!fragment.more) packet.payload_bytes = static_cast<uint16_t>(end);
  return true;
}

bool Reassembler::Abandon(Packet& packet, Counter& why) {
  ++why;
  packet.buffer.Reset();
  return false;
}

bool Reassembler::JoinEcn(Packet& packet) {
  if ((packet.ecn_seen & 1 << kCongestion) == 0) return true;
  uint8_t* const header = packet.buffer.data() - packet.header_bytes;
  const bool v4 = header[0] >> 4 == 4;
  header[1] = static_cast<uint8_t>(header[1] | (v4 ? kCongestion : kCongestion << 4));
  return (packet.ecn_seen & 1 << kNotEct) == 0;
}

Buffer Reassembler::Finish(Packet& packet) {
  Buffer whole = std::move(packet.buffer);
  whole.Append(packet.payload_bytes);
  whole.Prepend(packet.header_bytes);
  ++stats_.reassembled;
  Remove(packet);
  return whole;
}

void Reassembler::Remove(Packet& packet) {
  (packet.older == nullptr ? oldest_ : packet.older->newer) = packet.newer;
  (packet.newer == nullptr ? newest_ : packet.newer->older) = packet.older;
  const Key key = packet.key;
  packets_.Erase(key);
  if (--*packets_of_source_.Find(key.source) == 0) packets_of_source_.Erase(key.source);
}

void Reassembler::Expire(int64_t now_ns,
                         absl::FunctionRef<void(absl::Span<const uint8_t>)> on_timeout) {
  while (oldest_ != nullptr && oldest_->deadline_ns <= now_ns) {
    Packet& packet = *oldest_;
    if (packet.buffer) {
      ++stats_.timed_out;
      if (packet.header_bytes != 0) {
        // The first piece is the first fragment's.
        on_timeout({packet.buffer.data() - packet.header_bytes,
                    size_t{packet.header_bytes} + packet.piece[0].end});
      }
    }
    Remove(packet);
  }
}

int64_t Reassembler::NextDeadlineNs() const {
  return oldest_ == nullptr ? std::numeric_limits<int64_t>::max() : oldest_->deadline_ns;
}

}  // namespace weft::netstack
