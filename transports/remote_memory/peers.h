// SPDX-License-Identifier: Apache-2.0
//
// Those whom an emulated port knows: a bounded table, in which a peer keeps its number, and so its
// weft::Peer, from session to session.
//
//   words[0]  number + 1
//   words[1]  how many others had the number before, + 1
//   words[2]  0
#ifndef WEFT_TRANSPORTS_REMOTE_MEMORY_PEERS_H_
#define WEFT_TRANSPORTS_REMOTE_MEMORY_PEERS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "weft/core/timer_wheel.h"
#include "weft/transports/address.h"
#include "weft/transports/port.h"
#include "weft/transports/remote_memory/session.h"

namespace weft::emulated {

struct PeerRecord {
  enum class State : uint8_t {
    kIdle,        // nothing is under way
    kGreeting,    // kHello was sent
    kConfirming,  // kConfirm was sent
    kUp,
  };

  PeerRecord(SessionShared* shared, Timer::Callback on_time, void* context)
      : session(shared), timer(on_time, this), context(context) {}

  uint32_t number = 0;
  uint64_t generation = 1;
  State state = State::kIdle;
  bool resolved = false;  // the application has its Peer by Resolve()
  bool dirty = false;     // in the port's list of those to be pumped
  Address address;
  Peer wire;  // as the datagram port knows it

  uint64_t nonce = 0;          // ours: the token of packets from the peer
  uint64_t their_nonce = 0;    // the token of packets to it
  uint32_t their_index = 0;    // their number of us
  uint32_t packet_max = 0;     // what we told it
  uint64_t sessions = 0;       // that there have been: makes cookies old
  int64_t begun_ns = 0;        // greeting it
  int64_t greeted_ns = 0;      // last
  int64_t greet_again_ns = 0;  // and again so much later
  Session session;
  Timer timer;
  void* const context;  // the port

  Peer handle() const { return Peer{{uint64_t{number} + 1, generation, 0}}; }
};

class Peers {
 public:
  using Make = std::unique_ptr<PeerRecord> (*)(void* context);

  // `make` makes an empty record.
  Peers(size_t peers_max, Make make, void* context)
      : peers_max_(peers_max), make_(make), context_(context) {}

  PeerRecord* ByNumber(uint32_t number) const {
    return number < records_.size() ? records_[number].get() : nullptr;
  }
  PeerRecord* ByHandle(const Peer& peer) const {
    if (peer.words[0] == 0 || peer.words[0] > records_.size() || peer.words[2] != 0) return nullptr;
    PeerRecord* const record = records_[peer.words[0] - 1].get();
    return record->generation == peer.words[1] ? record : nullptr;
  }
  // Whether it once was somebody.
  bool HasGone(const Peer& peer) const {
    return peer.words[0] != 0 && peer.words[0] <= records_.size() && peer.words[2] == 0 &&
           peer.words[1] != 0 && peer.words[1] < records_[peer.words[0] - 1]->generation;
  }
  PeerRecord* ByWire(const Peer& wire) const {
    const auto found = by_wire_.find(wire);
    return found == by_wire_.end() ? nullptr : records_[found->second].get();
  }
  PeerRecord* ByAddress(const Address& address) const {
    const auto found = by_address_.find(address);
    return found == by_address_.end() ? nullptr : records_[found->second].get();
  }

  // Room for one more: there is a free number, or a peer that nobody has resolved and to whom there
  // is no session.
  bool HasRoom() const { return records_.size() < peers_max_ || Unneeded() != nullptr; }
  // Null without room. Where another has the address already, it keeps it.
  PeerRecord* Add(const Address& address, const Peer& wire) {
    PeerRecord* record = nullptr;
    if (records_.size() < peers_max_) {
      record = records_.emplace_back(make_(context_)).get();
      record->number = static_cast<uint32_t>(records_.size() - 1);
    } else if (record = Unneeded(); record != nullptr) {
      if (ByAddress(record->address) == record) by_address_.erase(record->address);
      by_wire_.erase(record->wire);
      ++record->generation;
      record->sessions = 0;
    } else {
      return nullptr;
    }
    record->address = address;
    record->wire = wire;
    by_address_.try_emplace(address, record->number);
    by_wire_[wire] = record->number;
    return record;
  }
  // The datagram port knows the peer by another name since it came back.
  void Rename(PeerRecord* record, const Peer& wire) {
    if (record->wire == wire) return;
    by_wire_.erase(record->wire);
    record->wire = wire;
    by_wire_[wire] = record->number;
  }

  const std::vector<std::unique_ptr<PeerRecord>>& all() const { return records_; }

 private:
  PeerRecord* Unneeded() const {
    for (const auto& record : records_) {
      if (!record->resolved && record->state == PeerRecord::State::kIdle) return record.get();
    }
    return nullptr;
  }

  const size_t peers_max_;
  const Make make_;
  void* const context_;
  std::vector<std::unique_ptr<PeerRecord>> records_;
  absl::flat_hash_map<Peer, uint32_t> by_wire_;
  absl::flat_hash_map<Address, uint32_t> by_address_;
};

}  // namespace weft::emulated

#endif  // WEFT_TRANSPORTS_REMOTE_MEMORY_PEERS_H_
