// SPDX-License-Identifier: Apache-2.0
//
// Puts IP packets together from their fragments: IPv4 (RFC 791, RFC 815) and IPv6 (RFC 8200, 4.5).
// It neither sends nor reads a clock.
//
//   Reassembler reassembler({.timeout_ns = 30'000'000'000});
//   if (packet.is_fragment()) {
//     Buffer whole = reassembler.Add(packet, now_ns);
//     if (whole) Receive(whole.bytes());
//   }
//   // Once NextDeadlineNs() has come:
//   reassembler.Expire(now_ns, [&](absl::Span<const uint8_t> start) { SendTimeExceeded(start); });
//
// Rules:
// - Fragments that overlap drop the whole packet, of both families, with what of it is still to
//   come (RFC 5722): until its time is up the packet keeps its place, without memory. Exact
//   duplicates, bytes included, are ignored.
// - The first fragment of an IPv6 packet has the whole chain of headers, that of the upper layer
//   included (RFC 7112), without another fragment header; an atomic fragment is a packet of its own
//   (RFC 6946).
// - A fragment that cannot be one is dropped alone: no payload; length not a multiple of 8 where
//   more follow; an end beyond 65535 bytes; headers of more than kHeaderBytesMax.
// - Congestion marks of the fragments are joined (RFC 3168, 5.3).
//
// Limits: packets_max packets of 64 KiB, memory that is touched when it is first used, and
// kPiecesMax fragments for each. What has begun is never given up for something new: beyond
// packets_max or packets_per_source_max the fragment that would begin one more packet is dropped,
// so that a flood of one source costs the others nothing but the common limit. Whole packets come
// in buffers of the same memory: whoever holds them holds up reassembly.
#ifndef WEFT_NETSTACK_REASSEMBLER_H_
#define WEFT_NETSTACK_REASSEMBLER_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/core/metrics.h"
#include "weft/netstack/fixed_hash_map.h"
#include "weft/netstack/ip_address.h"
#include "weft/netstack/wire/ipv4.h"
#include "weft/netstack/wire/ipv6.h"

namespace weft::netstack {

// As config::IpReassembly.
struct ReassemblyOptions {
  size_t packets_max = 64;             // at least 1
  size_t packets_per_source_max = 16;  // at least 1
  int64_t timeout_ns = 30'000'000'000;
  size_t headroom = 128;  // in front of a whole packet, for whoever forwards it
};

struct ReassemblyStats {
  Counter fragments;    // given to Add()
  Counter reassembled;  // packets that became whole, atomic fragments included
  // Packets that were dropped:
  Counter timed_out;        // not whole in time
  Counter overlapping;      // fragments overlap
  Counter inconsistent;     // bytes behind the end, two ends, too long as a whole, congestion marks
  Counter too_many_pieces;  // more than kPiecesMax fragments
  // Fragments that were dropped:
  Counter malformed;
  Counter duplicates;
  Counter too_many;            // would begin a packet beyond packets_max
  Counter too_many_of_source;  // ... beyond packets_per_source_max
  Counter no_buffer;           // all memory is held by whole packets
  Counter of_dropped;          // of a packet that had been dropped
};

// One thread at a time.
class Reassembler {
 public:
  static constexpr size_t kPiecesMax = 128;  // 64 KiB in fragments of 512 bytes
  // What stands in front of a fragment's payload.
  static constexpr size_t kHeaderBytesMax = 256;

  explicit Reassembler(const ReassemblyOptions& options);
  Reassembler(const Reassembler&) = delete;
  Reassembler& operator=(const Reassembler&) = delete;

  // Makes the calling thread the one that uses it.
  void BindToThisThread() { pool_.BindToThisThread(); }

  // Takes a copy of what it needs of a fragment: an IPv4 packet that is_fragment(), whose header
  // checksum was good, or an IPv6 packet whose chain's verdict is kFragment.
  //
  // Returns the whole packet once it is complete, null before and for what was dropped. Its headers
  // are put right: IPv4 length, flags and checksum; the IPv6 fragment header is gone. Checksums of
  // upper layers are still to be verified.
  Buffer Add(const Ipv4View& fragment, int64_t now_ns);
  Buffer Add(const Ipv6View& fragment, const Ipv6Chain& chain, int64_t now_ns);

  // Drops the packets whose time is up. `on_timeout` gets the first fragment, as it was received,
  // of each that has it (RFC 792, RFC 4443 3.3), except of packets that were dropped before; it
  // must not call back.
  void Expire(int64_t now_ns, absl::FunctionRef<void(absl::Span<const uint8_t>)> on_timeout);

  // Whether `packet` may wait for somebody who is slow: half of the memory is kept for packets that
  // are still to be put together. Buffers of others may.
  bool MayWait(const Buffer& packet) const {
    return !pool_.Owns(packet) || pool_.available() >= options_.packets_max / 2;
  }

  // When Expire() has something to do next; INT64_MAX when nothing waits.
  int64_t NextDeadlineNs() const;

  // Incomplete packets, and dropped ones whose time is not up.
  size_t packets() const { return packets_.size(); }
  const ReassemblyStats& stats() const { return stats_; }

 private:
  struct Key {
    IpAddress source;
    IpAddress destination;
    uint32_t id = 0;
    uint8_t protocol = 0;  // 0 for IPv6, whose fragments may differ in it
    friend bool operator==(const Key&, const Key&) = default;
    template <typename H>
    friend H AbslHashValue(H h, const Key& key) {
      return H::combine(std::move(h), key.source, key.destination, key.id, key.protocol);
    }
  };
  // What both families' fragments have.
  struct Fragment {
    Key key;
    absl::Span<const uint8_t> header;  // all in front of the payload
    absl::Span<const uint8_t> payload;
    size_t offset;
    bool more;
    size_t counted_header_bytes;  // of the whole packet's header, as far as its length counts them
    size_t next_header_offset;    // IPv6
    uint8_t ecn;
  };
  // The bytes [begin, end) of the whole packet's payload have come in one fragment.
  struct Piece {
    uint16_t begin;
    uint16_t end;
  };
  struct Packet {
    Key key;
    int64_t deadline_ns = 0;
    Packet* older = nullptr;
    Packet* newer = nullptr;
    // Empty, and yet its memory is written to: the payload from data(), the first fragment's
    // header as received in front of that. Null: the packet was dropped.
    Buffer buffer;
    uint16_t header_bytes = 0;          // 0: the first fragment is not here
    uint16_t counted_header_bytes = 0;  // as of the first fragment
    uint16_t next_header_offset = 0;
    uint16_t payload_bytes = 0;   // of the whole packet; 0: the last fragment is not here
    uint32_t received_bytes = 0;  // of the payload
    uint8_t ecn_seen = 0;         // bit 1 << ecn
    size_t pieces = 0;
    Piece piece[kPiecesMax] = {};  // in order
  };

  bool IsMalformed(const Fragment& fragment) const;
  Packet* Begin(const Key& key, int64_t now_ns);
  // The packet that `fragment` makes whole, null if none.
  Packet* Store(const Fragment& fragment, int64_t now_ns);
  bool Place(Packet& packet, const Fragment& fragment);
  bool Abandon(Packet& packet, Counter& why);
  // Writes the congestion mark of the whole packet to its header; false if there can be none.
  static bool JoinEcn(Packet& packet);
  // The buffer with headers as received and payload; the packet is gone.
  Buffer Finish(Packet& packet);
  Buffer Unwrap(const Fragment& atomic);
  void Remove(Packet& packet);

  const ReassemblyOptions options_;
  BufferPool pool_;
  FixedHashMap<Key, Packet> packets_;
  FixedHashMap<IpAddress, uint32_t> packets_of_source_;
  Packet* oldest_ = nullptr;
  Packet* newest_ = nullptr;
  ReassemblyStats stats_;
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_REASSEMBLER_H_
