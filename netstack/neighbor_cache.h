// SPDX-License-Identifier: Apache-2.0
//
// NeighborCache: MAC addresses of the neighbours of one interface, of both families. The states are
// those of RFC 4861, 7.3.2, used for ARP as well, whose entries must age too (RFC 1122, 2.3.2.1).
//
//   NeighborCache cache(NeighborOptions::From(config.neighbor_cache()), &wheel, this);
//   if (const MacAddress* mac = cache.Lookup(next_hop, now_ns, &valid_until_ns)) {
//     Send(std::move(packet), *mac);
//   } else {
//     cache.Enqueue(next_hop, std::move(packet), now_ns);  // until it is resolved, or is not
//   }
//
// Who may change it. An answer is believed only while one is awaited. Whoever says without being
// asked that a known neighbour has another MAC address (gratuitous ARP, an unsolicited
// advertisement, a request from another address) does not change the entry: traffic goes on to the
// old address, which is probed; if it is silent for a retransmit interval everybody is asked, and
// the answer to that is taken. So an address that moves is followed within that time, and nobody
// can take over the address of a neighbour that is alive. This is stricter than RFC 4861, 7.2.5.
//
// Limits. The table has entries_max entries, allocated once. When it is full, the first to go are
// entries that only others' requests have made and neighbours known not to answer, then those that
// are being asked for, then the one not used for longest; static ones stay. A request never evicts
// more than an entry of its own kind: a flood of requests cannot touch entries in use.
#ifndef WEFT_NETSTACK_NEIGHBOR_CACHE_H_
#define WEFT_NETSTACK_NEIGHBOR_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "weft/config/config.h"
#include "weft/core/buffer.h"
#include "weft/core/buffer_chain.h"
#include "weft/core/metrics.h"
#include "weft/core/timer_wheel.h"
#include "weft/netstack/ip_address.h"

namespace weft::netstack {

struct NeighborOptions {
  size_t entries_max = 1024;
  size_t waiting_packets_max = 16;         // for one neighbour
  size_t waiting_packets_total_max = 256;  // for all of them; at least waiting_packets_max
  int64_t reachable_ns = 30'000'000'000;
  int64_t delay_first_probe_ns = 5'000'000'000;
  int64_t retransmit_ns = 1'000'000'000;
  int probes_max = 3;
  int64_t idle_ns = 600'000'000'000;

  // waiting_packets_total_max: 16 times waiting_packets_max.
  static NeighborOptions From(const config::NeighborCache& config);
};

enum class NeighborState : uint8_t {
  kIncomplete,  // asked for; packets wait
  kReachable,   // confirmed less than reachable_ns ago
  kStale,       // known, not confirmed of late, not in use
  kDelay,       // in use again: an upper layer has some time to confirm it
  kProbe,       // being asked
  kFailed,      // did not answer: for a retransmit interval it is not asked again
};
// "INCOMPLETE", "REACHABLE", ... as other tools show it.
absl::string_view NeighborStateName(NeighborState state);

struct NeighborStats {
  Counter solicitations;        // sent
  Counter answers;              // awaited, taken
  Counter requests;             // heard from neighbours, taken
  Counter unsolicited_ignored;  // answers that nobody awaited, and what is said of static entries
  Counter claims;           // of another MAC address for a known neighbour; it was probed instead
  Counter bad_addresses;    // groups, zeros and broadcasts that claimed to be a neighbour
  Counter unresolved;       // packets given up as their neighbour does not answer
  Counter waiting_dropped;  // packets dropped as too many waited
  Counter probes_failed;    // neighbours forgotten as they did not answer probes
  Counter evictions;        // entries that gave way to others
  Counter refused;          // entries that were not made for want of room
};

// One thread: that of the timer wheel.
class NeighborCache {
 public:
  // What the cache asks of its owner, from within Enqueue(), On...() and timers. It may call back
  // into the cache.
  class Delegate {
   public:
    virtual ~Delegate() = default;
    // Send an ARP request or neighbour solicitation for `target`; `to` null: to everybody (the
    // broadcast address, the solicited-node group), else to this address alone.
    virtual void Solicit(const IpAddress& target, const MacAddress* to) = 0;
    // A packet that waited can go now: an IP packet, as it was given to Enqueue().
    virtual void SendResolved(Buffer packet, const MacAddress& mac) = 0;
    // `packet` waited for a neighbour that does not answer. It is dropped after this call.
    virtual void Unresolved(const IpAddress& neighbor, const Buffer& packet) = 0;
  };

  // `timers` and `delegate` must outlive it.
  NeighborCache(const NeighborOptions& options, TimerWheel* timers, Delegate* delegate);
  NeighborCache(const NeighborCache&) = delete;
  NeighborCache& operator=(const NeighborCache&) = delete;

  // The MAC address to send to now, or null: then Enqueue() the packet. The pointer is good until
  // the next call. Notes that the neighbour is in use. Until `*valid_until_ns` (a second at most),
  // and while generation() stays the same, the address may be used without asking again: so the
  // path of a packet is free of the state machine.
  const MacAddress* Lookup(const IpAddress& neighbor, int64_t now_ns, int64_t* valid_until_ns);

  // Takes a packet that is to wait for the neighbour's answer, and asks for it unless that has
  // been done. If it is known not to answer, Unresolved() follows at once. Too many packets: the
  // oldest is dropped. `neighbor` must be no group, or the packet is dropped.
  void Enqueue(const IpAddress& neighbor, Buffer packet, int64_t now_ns);

  // Changes whenever an address that Lookup() gave may have become wrong.
  uint64_t generation() const { return generation_; }

  // An entry that stays as it is; replaces what was known. InvalidArgument for addresses that are
  // nobody's; ResourceExhausted if nothing can give way to it.
  absl::Status AddStatic(const IpAddress& neighbor, const MacAddress& mac);

  // An ARP reply to us (solicited, override), a gratuitous ARP (override) or a neighbour
  // advertisement with its flags.
  void OnAnswer(const IpAddress& neighbor, const MacAddress& mac, bool solicited, bool override,
                int64_t now_ns);

  // A neighbour advertisement that leaves the MAC address out, as an answer to a unicast
  // solicitation may (RFC 4861, 7.2.4): it confirms the known one while that is being asked, and
  // nothing else.
  void OnAnswerWithoutMac(const IpAddress& neighbor, bool solicited, int64_t now_ns);

  // A request from `neighbor` that was addressed to us: an ARP request for an address of ours
  // (RFC 826), a solicitation with source link-layer address (RFC 4861, 7.2.3). It makes a STALE
  // entry, or finds one.
  void OnRequest(const IpAddress& neighbor, const MacAddress& mac, int64_t now_ns);

  // An upper layer saw progress that shows that the neighbour receives what we send (RFC 4861,
  // 7.3.1). Nothing happens for one that is not known. Not meant for each packet.
  void ConfirmReachable(const IpAddress& neighbor, int64_t now_ns);

  // The link is there (again): whoever is being asked may not have heard it, and is asked at once.
  void OnLinkUp(int64_t now_ns);

  struct Entry {
    IpAddress address;
    MacAddress mac;  // zeros while it is not known
    NeighborState state;
    int64_t age_ns;  // since it was learnt or last confirmed; without MAC: since it was asked for;
                     // 0 of static ones
    size_t waiting_packets;
    bool is_static;
  };
  // In no order.
  std::vector<Entry> Snapshot(int64_t now_ns) const;

  size_t size() const { return by_address_.size(); }
  const NeighborStats& stats() const { return stats_; }

 private:
  struct Slot;
  using List = std::list<Slot>;
  struct Slot {
    Slot() : timer(&NeighborCache::OnTimer, this) {}
    NeighborCache* cache = nullptr;
    List* list = nullptr;  // the one that holds it
    List::iterator self;
    IpAddress address;
    MacAddress mac = {};
    NeighborState state = NeighborState::kStale;
    bool is_static = false;
    bool contested = false;    // kProbe: somebody says that the MAC address is another
    int probes = 0;            // kIncomplete, kProbe: solicitations sent
    int64_t confirmed_ns = 0;  // or learnt, or asked for
    int64_t used_ns = 0;       // or heard of
    BufferChain waiting;       // kIncomplete
    Timer timer;               // what the state waits for; kReachable and kStale: being forgotten
  };

  static void OnTimer(void* slot, int64_t now_ns);
  void OnTimer(Slot* slot, int64_t now_ns);

  Slot* Find(const IpAddress& address);
  Slot* Create(const IpAddress& address, NeighborState state, int64_t now_ns);
  bool MakeRoom(bool by_request);
  void Erase(Slot* slot);
  void Evict(Slot* slot);
  void MoveTo(List* list, Slot* slot);

  NeighborState StateAt(const Slot& slot, int64_t now_ns) const;
  void Use(Slot* slot, int64_t now_ns);
  void Learn(Slot* slot, const MacAddress& mac, bool confirmed, int64_t now_ns);
  void Confirm(Slot* slot, int64_t now_ns);
  void SendWaiting(Slot* slot);
  void Solicit(Slot* slot, int64_t now_ns);
  void Contest(Slot* slot, int64_t now_ns);
  void StartProbe(Slot* slot, bool contested, int64_t now_ns);
  void Fail(Slot* slot, int64_t now_ns);
  void GiveUp(const IpAddress& neighbor, const Buffer& packet);
  void MakeRoomToWait(Slot* slot);
  void DropOldestWaiting(Slot* slot);

  const NeighborOptions options_;
  TimerWheel* const timers_;
  Delegate* const delegate_;

  // Every slot is in one list, the oldest in front.
  List free_;
  List expendable_;  // made by requests only and never used, or kFailed
  List unresolved_;  // kIncomplete, in the order in which they were asked for
  List used_;        // in the order of their last use
  List static_;
  absl::flat_hash_map<IpAddress, Slot*> by_address_;
  size_t waiting_ = 0;  // packets, of all entries
  uint64_t generation_ = 1;
  NeighborStats stats_;
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_NEIGHBOR_CACHE_H_
