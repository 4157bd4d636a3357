// SPDX-License-Identifier: Apache-2.0
//
// The peers of a port: a fixed number of places. A peer keeps its place, and its Peer, while
// connections to it come and go; a place is given to another when it is needed and its peer has
// neither a connection nor a question under way.
#ifndef WEFT_TRANSPORTS_RDMA_PEER_TABLE_H_
#define WEFT_TRANSPORTS_RDMA_PEER_TABLE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "weft/core/buffer_chain.h"
#include "weft/transports/address.h"
#include "weft/transports/port.h"
#include "weft/transports/rdma/credits.h"
#include "weft/transports/rdma/nic.h"

namespace weft::rdma {

struct PeerEntry {
  enum class State : uint8_t {
    kFree,
    kIdle,    // known, and nothing more
    kAsking,  // the question is under way, with `number` and `in` as they will be
    kConnected,
  };

  // What each datagram touches.
  Allowance out;
  Share in;
  uint32_t number = 0;         // what it calls us by; 0 when there is no connection, nor a question
  uint32_t remote_number = 0;  // what we call it by
  uint32_t qpn = 0;
  uint32_t qkey = 0;
  Path path = 0;
  uint16_t max_payload = 0;  // that it takes
  State state = State::kFree;
  bool credit_listed = false;  // in the list of those that are owed a kCredit
  bool flush_listed = false;   // in the list of those whose waiting datagrams may go
  uint32_t heard_at = 0;       // out.next when the peer was last heard of
  uint64_t generation = 0;     // of the place
  Gid gid;
  BufferChain waiting;  // datagrams, without headers, in order

  // The rest.
  Address address;
  int worker = -1;               // of several at that address; -1: not known yet
  uint32_t next_at_address = 0;  // index + 1 of another one, or 0
  uint64_t incarnation = 0;
  uint32_t connections = 0;    // so many times a number was made
  bool resuming = false;       // a question about the connection is under way
  bool recalling = false;      // that, or the last one, only asks for something back
  uint32_t heard_at_tick = 0;  // heard_at at the last tick
  uint32_t asked_at = 0;       // out.next when it was asked
  uint32_t limit_at_tick = 0;  // out.limit at the last tick
  uint32_t quiet_ticks = 0;
  uint32_t next_at_recall = 0;  // out.next when the peer last asked for something back
  // in.next when those who are silent were last looked for, for either purpose.
  std::array<uint32_t, 2> next_at_roll_call = {};
  uint64_t used = 0;  // order of use, of places to be given to others
  absl::Status why;   // it could not be reached
};

class PeerTable {
 public:
  static constexpr uint32_t kIndexBits = 14;
  static constexpr uint32_t kMaxPeers = 1u << kIndexBits;

  explicit PeerTable(uint32_t size) : size_(size), entries_(new PeerEntry[size]) {}

  // Of a Peer of this port, while its place is its own; else null.
  PeerEntry* Find(const Peer& peer) const {
    const uint64_t index = peer.words[0] - 1;
    if (index >= size_) return nullptr;
    PeerEntry& entry = entries_[index];
    return entry.generation == peer.words[1] && entry.state != PeerEntry::State::kFree ? &entry
                                                                                       : nullptr;
  }
  Peer PeerOf(const PeerEntry& entry) const { return {{IndexOf(entry) + 1u, entry.generation, 0}}; }
  uint32_t IndexOf(const PeerEntry& entry) const {
    return static_cast<uint32_t>(&entry - entries_.get());
  }
  PeerEntry& At(uint32_t index) const { return entries_[index]; }
  // Of the number in a header; null if there cannot be such a one.
  PeerEntry* WithNumber(uint32_t number) const {
    const uint32_t index = number & (kMaxPeers - 1);
    return index < size_ ? &entries_[index] : nullptr;
  }
  // Never 0.
  uint32_t NewNumber(PeerEntry& entry) const {
    uint32_t number;
    do number = IndexOf(entry) | (++entry.connections << kIndexBits);
    while (number == 0);
    return number;
  }

  // Any at that address, null if none is known.
  PeerEntry* At(const Address& address) const {
    const auto found = by_address_.find(address);
    return found == by_address_.end() ? nullptr : &entries_[found->second];
  }
  PeerEntry* NextAtAddress(const PeerEntry& entry) const {
    return entry.next_at_address == 0 ? nullptr : &entries_[entry.next_at_address - 1];
  }
  // A place for one more, kIdle. Null when all are in use.
  PeerEntry* Add(const Address& address);

  // Places that have been in use, from the first; those in between may be free.
  absl::Span<PeerEntry> used() const { return {entries_.get(), used_places_}; }
  uint32_t size() const { return size_; }

  void Touch(PeerEntry& entry) { entry.used = ++uses_; }

 private:
  void Unlink(PeerEntry& entry);

  const uint32_t size_;
  const std::unique_ptr<PeerEntry[]> entries_;
  uint32_t used_places_ = 0;
  uint64_t uses_ = 0;
  absl::flat_hash_map<Address, uint32_t> by_address_;
};

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_PEER_TABLE_H_
