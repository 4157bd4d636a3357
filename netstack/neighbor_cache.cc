// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/neighbor_cache.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weft::netstack {
namespace {

constexpr int64_t kMsNs = 1'000'000;
// How long an answer of Lookup() may be used without asking: short against all that depends on
// knowing when an entry was last used.
constexpr int64_t kAnswerValidNs = 1'000'000'000;

bool IsHost(const IpAddress& ip) {
  return !ip.is_unspecified() && !ip.is_multicast() && !ip.is_limited_broadcast() &&
         !ip.is_loopback();
}

// The broadcast address is a group's, too.
bool IsHost(const MacAddress& mac) { return (mac[0] & 1) == 0 && mac != MacAddress{}; }

bool HasMac(NeighborState state) {
  return state != NeighborState::kIncomplete && state != NeighborState::kFailed;
}

}  // namespace

NeighborOptions NeighborOptions::From(const config::NeighborCache& config) {
  return {
      .entries_max = config.entries_max(),
      .waiting_packets_max = config.waiting_packets_max(),
      .waiting_packets_total_max = size_t{16} * config.waiting_packets_max(),
      .reachable_ns = config.reachable_ms() * kMsNs,
      .delay_first_probe_ns = config.delay_first_probe_ms() * kMsNs,
      .retransmit_ns = config.retransmit_ms() * kMsNs,
      .probes_max = static_cast<int>(config.probes_max()),
      .idle_ns = config.idle_ms() * kMsNs,
  };
}

absl::string_view NeighborStateName(NeighborState state) {
  switch (state) {
    case NeighborState::kIncomplete:
      return "INCOMPLETE";
    case NeighborState::kReachable:
      return "REACHABLE";
    case NeighborState::kStale:
      return "STALE";
    case NeighborState::kDelay:
      return "DELAY";
    case NeighborState::kProbe:
      return "PROBE";
    case NeighborState::kFailed:
      return "FAILED";
  }
  return "UNKNOWN";
}

NeighborCache::NeighborCache(const NeighborOptions& options, TimerWheel* timers, Delegate* delegate)
    : options_(options), timers_(timers), delegate_(delegate), free_(options.entries_max) {
  for (auto slot = free_.begin(); slot != free_.end(); ++slot) {
    slot->cache = this;
    slot->list = &free_;
    slot->self = slot;
  }
  // So much that a full table of which entries come and go never grows.
  by_address_.reserve(options.entries_max + options.entries_max / 8 + 1);
}

const MacAddress* NeighborCache::Lookup(const IpAddress& neighbor, int64_t now_ns,
                                        int64_t* valid_until_ns) {
  Slot* slot = Find(neighbor);
  if (slot == nullptr || !HasMac(slot->state)) return nullptr;
  Use(slot, now_ns);
  *valid_until_ns = now_ns + kAnswerValidNs;
  if (slot->state == NeighborState::kReachable && !slot->is_static) {
    *valid_until_ns = std::min(*valid_until_ns, slot->confirmed_ns + options_.reachable_ns);
  }
  return &slot->mac;
}

void NeighborCache::Enqueue(const IpAddress& neighbor, Buffer packet, int64_t now_ns) {
  if (!IsHost(neighbor)) {
    ++stats_.bad_addresses;
    return;
  }
  Slot* slot = Find(neighbor);
  if (slot != nullptr && HasMac(slot->state)) {
    Use(slot, now_ns);
    const MacAddress mac = slot->mac;
    delegate_->SendResolved(std::move(packet), mac);
    return;
  }
  if (slot != nullptr && slot->state == NeighborState::kFailed) {
    GiveUp(neighbor, packet);
    return;
  }
  const bool is_new = slot == nullptr;
  if (is_new) slot = Create(neighbor, NeighborState::kIncomplete, now_ns);
  if (slot == nullptr) return;
  MakeRoomToWait(slot);
  slot->waiting.Append(std::move(packet));
  ++waiting_;
  if (is_new) Solicit(slot, now_ns);
}

absl::Status NeighborCache::AddStatic(const IpAddress& neighbor, const MacAddress& mac) {
  if (!IsHost(neighbor) || !IsHost(mac)) {
    return absl::InvalidArgumentError(
        absl::StrCat("neighbour ", neighbor.ToString(), " with MAC address ", MacToString(mac),
                     " cannot be: both must be addresses of a single host, not of a group, all "
                     "hosts or nobody"));
  }
  Slot* slot = Find(neighbor);
  if (slot == nullptr) slot = Create(neighbor, NeighborState::kIncomplete, 0);
  if (slot == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no room for neighbour ", neighbor.ToString(), ": all ", options_.entries_max,
                     " entries are static; raise neighbor_cache.entries_max"));
  }
  timers_->Cancel(slot->timer);
  slot->mac = mac;
  slot->state = NeighborState::kReachable;
  slot->is_static = true;
  MoveTo(&static_, slot);
  ++generation_;
  SendWaiting(slot);
  return absl::OkStatus();
}

void NeighborCache::OnAnswer(const IpAddress& neighbor, const MacAddress& mac, bool solicited,
                             bool override, int64_t now_ns) {
  if (!IsHost(neighbor) || !IsHost(mac)) {
    ++stats_.bad_addresses;
    return;
  }
  Slot* slot = Find(neighbor);
  if (slot == nullptr || slot->is_static) {
    ++stats_.unsolicited_ignored;
    return;
  }
  if (!HasMac(slot->state)) {
    ++stats_.answers;
    Learn(slot, mac, solicited, now_ns);
    return;
  }
  const bool awaited = solicited && slot->state == NeighborState::kProbe;
  // A probe to the old address alone can only be answered by the host that has it.
  const bool everybody_asked = slot->contested && slot->probes > 1;
  if (awaited && (mac == slot->mac || everybody_asked)) {
    ++stats_.answers;
    if (mac != slot->mac) {
      slot->mac = mac;
      ++generation_;
    }
    Confirm(slot, now_ns);
  } else if (mac == slot->mac) {
    ++stats_.unsolicited_ignored;
  } else if (override) {
    Contest(slot, now_ns);
  } else {
    // RFC 4861, 7.2.5, case I.
    ++stats_.claims;
    if (slot->state == NeighborState::kReachable) slot->state = NeighborState::kStale;
  }
}

void NeighborCache::OnAnswerWithoutMac(const IpAddress& neighbor, bool solicited, int64_t now_ns) {
  Slot* slot = Find(neighbor);
  // Once everybody was asked, whoever answers must say who it is.
  if (slot == nullptr || !solicited || slot->state != NeighborState::kProbe ||
      (slot->contested && slot->probes > 1)) {
    ++stats_.unsolicited_ignored;
    return;
  }
  ++stats_.answers;
  Confirm(slot, now_ns);
}

void NeighborCache::OnRequest(const IpAddress& neighbor, const MacAddress& mac, int64_t now_ns) {
  if (!IsHost(neighbor) || !IsHost(mac)) {
    ++stats_.bad_addresses;
    return;
  }
  Slot* slot = Find(neighbor);
  if (slot == nullptr) {
    slot = Create(neighbor, NeighborState::kStale, now_ns);
    if (slot == nullptr) return;
    ++stats_.requests;
    slot->mac = mac;
    timers_->Schedule(slot->timer, now_ns + options_.idle_ns);
  } else if (slot->is_static) {
    ++stats_.unsolicited_ignored;
  } else if (!HasMac(slot->state)) {
    ++stats_.requests;
    Learn(slot, mac, /*confirmed=*/false, now_ns);
  } else if (mac != slot->mac) {
    Contest(slot, now_ns);
  } else {
    ++stats_.requests;
    slot->used_ns = now_ns;
    if (slot->list == &expendable_) MoveTo(&expendable_, slot);
  }
}

void NeighborCache::ConfirmReachable(const IpAddress& neighbor, int64_t now_ns) {
  Slot* slot = Find(neighbor);
  if (slot == nullptr || slot->is_static || !HasMac(slot->state)) return;
  // The progress may be that of packets which the old host still received.
  if (slot->state == NeighborState::kProbe && slot->contested) return;
  Confirm(slot, now_ns);
}

std::vector<NeighborCache::Entry> NeighborCache::Snapshot(int64_t now_ns) const {
  std::vector<Entry> entries;
  entries.reserve(size());
  for (const List* list : {&static_, &used_, &unresolved_, &expendable_}) {
    for (const Slot& slot : *list) {
      entries.push_back({.address = slot.address,
                         .mac = slot.mac,
                         .state = StateAt(slot, now_ns),
                         .age_ns = slot.is_static ? 0 : now_ns - slot.confirmed_ns,
                         .waiting_packets = slot.waiting.pieces(),
                         .is_static = slot.is_static});
    }
  }
  return entries;
}

void NeighborCache::OnTimer(void* slot, int64_t now_ns) {
  auto* s = static_cast<Slot*>(slot);
  s->cache->OnTimer(s, now_ns);
}

void NeighborCache::OnLinkUp(int64_t now_ns) {
  for (Slot& slot : unresolved_) {
    slot.probes = 0;
    timers_->Schedule(slot.timer, now_ns);
  }
}

void NeighborCache::OnTimer(Slot* slot, int64_t now_ns) {
  switch (slot->state) {
    case NeighborState::kIncomplete:
      if (slot->probes < options_.probes_max) {
        Solicit(slot, now_ns);
      } else {
        Fail(slot, now_ns);
      }
      return;
    case NeighborState::kFailed:
      Erase(slot);
      return;
    case NeighborState::kDelay:
      StartProbe(slot, /*contested=*/false, now_ns);
      return;
    case NeighborState::kProbe:
      if (slot->probes < options_.probes_max) {
        Solicit(slot, now_ns);
      } else {
        // The next packet asks everybody (RFC 4861, 7.3.3).
        ++stats_.probes_failed;
        Erase(slot);
      }
      return;
    case NeighborState::kReachable:
    case NeighborState::kStale:
      if (now_ns - slot->used_ns >= options_.idle_ns) {
        Erase(slot);
      } else {
        timers_->Schedule(slot->timer, slot->used_ns + options_.idle_ns);
      }
      return;
  }
}

NeighborCache::Slot* NeighborCache::Find(const IpAddress& address) {
  const auto it = by_address_.find(address);
  return it == by_address_.end() ? nullptr : it->second;
}

NeighborCache::Slot* NeighborCache::Create(const IpAddress& address, NeighborState state,
                                           int64_t now_ns) {
  const bool by_request = state == NeighborState::kStale;
  if (!MakeRoom(by_request)) {
    ++stats_.refused;
    return nullptr;
  }
  Slot* slot = &free_.front();
  slot->address = address;
  slot->mac = {};
  slot->state = state;
  slot->is_static = slot->contested = false;
  slot->probes = 0;
  slot->confirmed_ns = slot->used_ns = now_ns;
  MoveTo(by_request ? &expendable_ : &unresolved_, slot);
  by_address_.emplace(address, slot);
  return slot;
}

bool NeighborCache::MakeRoom(bool by_request) {
  if (!free_.empty()) return true;
  for (List* list : {&expendable_, &unresolved_, &used_}) {
    if (list != &expendable_ && by_request) return false;
    if (list->empty()) continue;
    Evict(&list->front());
    return true;
  }
  return false;
}

void NeighborCache::Erase(Slot* slot) {
  // What was never looked up is in nobody's hands: a flood of requests does not touch generation().
  if (slot->list == &used_) ++generation_;
  timers_->Cancel(slot->timer);
  waiting_ -= slot->waiting.pieces();
  stats_.waiting_dropped += slot->waiting.pieces();
  slot->waiting.Clear();
  by_address_.erase(slot->address);
  MoveTo(&free_, slot);
}

void NeighborCache::Evict(Slot* slot) {
  ++stats_.evictions;
  Erase(slot);
}

void NeighborCache::MoveTo(List* list, Slot* slot) {
  list->splice(list->end(), *slot->list, slot->self);
  slot->list = list;
}

NeighborState NeighborCache::StateAt(const Slot& slot, int64_t now_ns) const {
  const bool expired = slot.state == NeighborState::kReachable && !slot.is_static &&
                       now_ns - slot.confirmed_ns >= options_.reachable_ns;
  return expired ? NeighborState::kStale : slot.state;
}

// A packet is sent to it.
void NeighborCache::Use(Slot* slot, int64_t now_ns) {
  if (slot->is_static) return;
  slot->used_ns = now_ns;
  MoveTo(&used_, slot);
  if (StateAt(*slot, now_ns) != NeighborState::kStale) return;
  slot->state = NeighborState::kDelay;
  timers_->Schedule(slot->timer, now_ns + options_.delay_first_probe_ns);
}

// The first MAC address of an entry that had none.
void NeighborCache::Learn(Slot* slot, const MacAddress& mac, bool confirmed, int64_t now_ns) {
  slot->mac = mac;
  slot->state = confirmed ? NeighborState::kReachable : NeighborState::kStale;
  slot->confirmed_ns = now_ns;
  MoveTo(&used_, slot);
  timers_->Schedule(slot->timer, slot->used_ns + options_.idle_ns);
  if (slot->waiting.pieces() > 0) Use(slot, now_ns);
  SendWaiting(slot);
}

void NeighborCache::Confirm(Slot* slot, int64_t now_ns) {
  slot->state = NeighborState::kReachable;
  slot->contested = false;
  slot->confirmed_ns = now_ns;
  timers_->Schedule(slot->timer, slot->used_ns + options_.idle_ns);
}

// The delegate may call back, and the slot may become another's: it is not used after that.
void NeighborCache::SendWaiting(Slot* slot) {
  const MacAddress mac = slot->mac;
  BufferChain waiting = std::move(slot->waiting);
  waiting_ -= waiting.pieces();
  while (waiting.pieces() > 0) delegate_->SendResolved(waiting.PopFront(), mac);
}

// Somebody says that the MAC address is another.
void NeighborCache::Contest(Slot* slot, int64_t now_ns) {
  ++stats_.claims;
  if (slot->state == NeighborState::kProbe) {
    // So far only the old address was asked, and whoever claims it must not answer for it.
    if (!slot->contested) slot->probes = 1;
    slot->contested = true;
    return;
  }
  // It has just been asked: whoever repeats the claim does not make us ask more often than that.
  if (slot->state == NeighborState::kReachable &&
      now_ns - slot->confirmed_ns < options_.retransmit_ns) {
    return;
  }
  StartProbe(slot, /*contested=*/true, now_ns);
}

void NeighborCache::StartProbe(Slot* slot, bool contested, int64_t now_ns) {
  slot->state = NeighborState::kProbe;
  slot->contested = contested;
  slot->probes = 0;
  Solicit(slot, now_ns);
}

// Asks (again), and waits for the answer.
void NeighborCache::Solicit(Slot* slot, int64_t now_ns) {
  const bool everybody =
      slot->state == NeighborState::kIncomplete || (slot->contested && slot->probes > 0);
  ++slot->probes;
  ++stats_.solicitations;
  timers_->Schedule(slot->timer, now_ns + options_.retransmit_ns);
  const IpAddress target = slot->address;
  const MacAddress mac = slot->mac;
  delegate_->Solicit(target, everybody ? nullptr : &mac);
}

// Nobody has answered.
void NeighborCache::Fail(Slot* slot, int64_t now_ns) {
  slot->state = NeighborState::kFailed;
  MoveTo(&expendable_, slot);
  timers_->Schedule(slot->timer, now_ns + options_.retransmit_ns);
  // As in SendWaiting().
  const IpAddress neighbor = slot->address;
  BufferChain waiting = std::move(slot->waiting);
  waiting_ -= waiting.pieces();
  while (waiting.pieces() > 0) GiveUp(neighbor, waiting.PopFront());
}

void NeighborCache::GiveUp(const IpAddress& neighbor, const Buffer& packet) {
  ++stats_.unresolved;
  delegate_->Unresolved(neighbor, packet);
}

void NeighborCache::MakeRoomToWait(Slot* slot) {
  if (slot->waiting.pieces() >= options_.waiting_packets_max) DropOldestWaiting(slot);
  while (waiting_ >= options_.waiting_packets_total_max) {
    Slot* oldest = &unresolved_.front();
    if (oldest != slot) {
      Evict(oldest);
    } else if (slot->waiting.pieces() > 0) {
      DropOldestWaiting(slot);
    } else {
      return;
    }
  }
}

void NeighborCache::DropOldestWaiting(Slot* slot) {
  slot->waiting.PopFront();
  --waiting_;
  ++stats_.waiting_dropped;
}

}  // namespace weft::netstack
