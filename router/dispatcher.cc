// SPDX-License-Identifier: Apache-2.0
#include "weft/router/dispatcher.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "weft/core/prng.h"

namespace weft::router {

absl::StatusOr<std::unique_ptr<Dispatcher>> Dispatcher::Create(const DispatcherOptions& options) {
  if (options.tenant_weights.empty() || std::ranges::count(options.tenant_weights, 0u) > 0) {
    return absl::InvalidArgumentError("tenants: each needs a weight of 1 or more");
  }
  auto policy = r2p2::MakePolicy(options.policy, options.seed);
  if (!policy.ok()) return policy.status();
  return std::unique_ptr<Dispatcher>(new Dispatcher(options, *std::move(policy)));
}

Dispatcher::Dispatcher(const DispatcherOptions& options,
                       std::unique_ptr<r2p2::BalancingPolicy> policy)
    : seed_(options.seed),
      lease_ns_(options.lease_ns),
      servers_(options.servers_max),
      policy_(std::move(policy)),
      epochs_(servers_.servers_max()),
      table_(std::max<size_t>(options.placements_max, 2), options.seed ^ 0x7461626c65),
      live_max_(table_.capacity() - std::max<size_t>(table_.capacity() / 8, 1)),
      leases_(table_.placements()),
      remembered_(table_.placements()),
      queue_(options.queue_max, options.tenant_weights),
      forgotten_ns_(options.now_ns) {}

void Dispatcher::Arrive(absl::Span<const Arrival> burst, int64_t now_ns,
                        absl::Span<Decision> decisions) {
  assert(burst.size() <= kBurstMax && decisions.size() >= burst.size());
  for (const Arrival& arrival : burst) table_.PrefetchHead(arrival.key);
  for (const Arrival& arrival : burst) table_.PrefetchPlacement(arrival.key);
  new_count_ = 0;
  for (uint32_t i = 0; i < burst.size(); ++i) {
    const Arrival& arrival = burst[i];
    Decision& decision = decisions[i];
    decision = {};
    Placement* placement = table_.Find(arrival.key);
    if (placement != nullptr) {
      if (OnKnown(arrival, *placement, &decision)) continue;
    } else {
      placement = Begin(arrival, now_ns, &decision);
      if (placement == nullptr) continue;
    }
    placement->request_id = arrival.request_id;
    placement->client = arrival.client;
    placement->since_ns = now_ns;
    if (IsFull()) [[unlikely]] {
      Refuse(Fate::kTableFull, &decision);
      RememberRefused(*placement, Fate::kTableFull);
      continue;
    }
    placement->state = Placement::State::kNew;
    new_[new_count_] = {i, table_.IndexOf(*placement)};
    affinities_[new_count_] = arrival.affinity != 0 ? arrival.affinity : arrival.key;
    ++new_count_;
  }
  if (new_count_ > 0) PickServers(burst, now_ns, decisions);
  // Copies of requests of this very burst have learnt by now where those went. (Of others it was
  // clear; a later request of the same slot of the client may be elsewhere.)
  for (uint32_t i = 0; i < burst.size(); ++i) {
    if (decisions[i].fate != Fate::kRepeat) continue;
    if (decisions[i].server != kNoServerIndex) {
      ++stats_.repeated;
      continue;
    }
    const Placement* const placement = table_.Find(burst[i].key);
    if (placement == nullptr || placement->state == Placement::State::kQueued ||
        placement->state == Placement::State::kRefused) {
      decisions[i].fate = Fate::kIgnore;
      ++stats_.ignored;
    } else {
      decisions[i].server = placement->server;
      ++stats_.repeated;
    }
  }
}

bool Dispatcher::OnKnown(const Arrival& arrival, Placement& known, Decision* decision) {
  const bool original = arrival.request_id == 0;
  // A client has one request at a time in a slot: a later one tells that the earlier has ended. So
  // does one of another client, which has the address of a former one and numbers of its own.
  const bool same_client = arrival.client == known.client;
  if (same_client && !original && arrival.request_id < known.request_id) {
    ++stats_.ignored;
    return true;  // kIgnore
  }
  const bool same = same_client && arrival.request_id == known.request_id;
  switch (known.state) {
    case Placement::State::kNew:
      known.request_id = arrival.request_id;
      known.client = arrival.client;
      decision->fate = Fate::kRepeat;
      return true;
    case Placement::State::kQueued:
      if (same) {
        ++stats_.ignored;
        return true;  // kIgnore
      }
      known.request_id = arrival.request_id;
      known.client = arrival.client;
      *decision = {.fate = Fate::kQueueInstead, .ticket = known.ticket};
      ++stats_.superseded;
      return true;
    case Placement::State::kPlaced:
      if (same && !IsLost(known)) {
        *decision = {.fate = Fate::kRepeat, .server = known.server};
        return true;
      }
      if (same && !original) {
        Refuse(Fate::kServerLost, decision);
        return true;
      }
      leases_.Remove(table_.IndexOf(known));
      if (!IsLost(known)) {
        servers_.Return(known.server);
        ++returned_;
        ++stats_.overtaken;
      }
      return false;
    case Placement::State::kDone:
      if (same) {
        if (IsLost(known)) {
          Refuse(Fate::kServerLost, decision);
        } else {
          *decision = {.fate = Fate::kRepeat, .server = known.server};
        }
        return true;
      }
      remembered_.Remove(table_.IndexOf(known));
      return false;
    case Placement::State::kRefused:
      if (same) {
        Refuse(static_cast<Fate>(known.ticket), decision);
        return true;
      }
      remembered_.Remove(table_.IndexOf(known));
      return false;
    case Placement::State::kFree:
      break;
  }
  return false;
}

Placement* Dispatcher::Begin(const Arrival& arrival, int64_t now_ns, Decision* decision) {
  if (arrival.age_ns != Arrival::kSentOnce && arrival.request_id != 0 &&
      now_ns - arrival.age_ns - kPacketLifeNs <= forgotten_ns_) [[unlikely]] {
    Refuse(Fate::kReplyGone, decision);
    return nullptr;
  }
  // A full table has some that are only remembered.
  if (table_.size() == table_.capacity()) ForgetOldest();
  return table_.Insert(arrival.key);
}

void Dispatcher::ForgetOldest() {
  const uint32_t oldest = remembered_.front();
  remembered_.Remove(oldest);
  // It may have come as late as it went to its server.
  forgotten_ns_ = std::max(forgotten_ns_, table_[oldest].since_ns);
  table_.Erase(table_[oldest]);
  ++stats_.forgotten;
}

void Dispatcher::PickServers(absl::Span<const Arrival> burst, int64_t now_ns,
                             absl::Span<Decision> decisions) {
  const bool none = servers_.available().empty();
  // Nobody overtakes those that wait.
  size_t picked = 0;
  if (!none && queue_.empty()) {
    // FIXED_ROUTE has no choice; such bursts are rare enough to be picked for in pieces.
    while (picked < new_count_) {
      size_t end = picked;
      while (end < new_count_ && !burst[new_[end].arrival].fixed) ++end;
      if (end > picked) {
        const size_t n = policy_->Pick({affinities_ + picked, end - picked}, servers_,
                                       {picked_ + picked, end - picked});
        picked += n;
        if (picked < end) break;
      } else {
        picked_[picked] = servers_.FirstAvailable();
        servers_.Take(picked_[picked]);
        ++picked;
      }
    }
  }
  for (size_t i = 0; i < new_count_; ++i) {
    const Arrival& arrival = burst[new_[i].arrival];
    Decision& decision = decisions[new_[i].arrival];
    Placement& placement = table_[new_[i].placement];
    if (i >= picked && !none && arrival.fixed) {
      picked_[i] = servers_.FirstAvailable();
      servers_.Take(picked_[i]);
    } else if (i >= picked) {
      if (none) {
        Refuse(Fate::kNoServer, &decision);
        RememberRefused(placement, Fate::kNoServer);
      } else {
        Queue(arrival, placement, now_ns, &decision);
      }
      continue;
    }
    decision = {.fate = Fate::kForward, .server = picked_[i]};
    Place(placement, picked_[i], now_ns);
  }
}

void Dispatcher::Queue(const Arrival& arrival, Placement& placement, int64_t now_ns,
                       Decision* decision) {
  decision->fate = Fate::kQueue;
  const uint16_t tenant = arrival.tenant < queue_.tenants() ? arrival.tenant : 0;
  if (queue_.full()) {
    const uint32_t victim = queue_.Victim(tenant);
    if (victim == kNoIndex) {
      Refuse(Fate::kQueueFull, decision);
      RememberRefused(placement, Fate::kQueueFull);
      return;
    }
    RememberRefused(table_[queue_[victim].placement], Fate::kQueueFull);
    queue_.Remove(victim);
    ++stats_.refused_queue_full;
    ++stats_.refused_tenant;
    decision->fate = Fate::kQueueEvict;
  }
  decision->ticket =
      queue_.Push({.placement = table_.IndexOf(placement),
                   .tenant = tenant,
                   .since_ns = now_ns,
                   .affinity = arrival.affinity != 0 ? arrival.affinity : arrival.key});
  placement.state = Placement::State::kQueued;
  placement.ticket = decision->ticket;
  ++stats_.queued;
}

void Dispatcher::Place(Placement& placement, ServerIndex server, int64_t now_ns) {
  placement.state = Placement::State::kPlaced;
  placement.server = server;
  placement.epoch = epochs_[server];
  placement.since_ns = now_ns;
  leases_.PushBack(table_.IndexOf(placement));
  ++stats_.forwarded;
}

DoneResult Dispatcher::Done(ServerIndex server, uint64_t key, int64_t now_ns) {
  static_cast<void>(now_ns);
  Placement* const placement = table_.Find(key);
  if (placement == nullptr || placement->state != Placement::State::kPlaced || IsLost(*placement)) {
    return DoneResult::kUnknown;
  }
  if (placement->server != server) return DoneResult::kOtherServer;
  servers_.Return(server);
  ++returned_;
  ++stats_.done;
  End(*placement);
  return DoneResult::kDone;
}

Cancellation Dispatcher::Cancel(uint64_t key, uint64_t request_id) {
  using Where = Cancellation::Where;
  Placement* const placement = table_.Find(key);
  if (placement == nullptr || placement->request_id != request_id) return {};
  switch (placement->state) {
    case Placement::State::kQueued: {
      const uint32_t ticket = placement->ticket;
      queue_.Remove(ticket);
      RememberRefused(*placement, Fate::kCancelled);
      ++stats_.cancelled;
      return {.where = Where::kWaited, .ticket = ticket};
    }
    case Placement::State::kPlaced:
    case Placement::State::kDone:
      if (IsLost(*placement)) return {.where = Where::kEnded};
      return {.where = Where::kAtServer, .server = placement->server};
    case Placement::State::kRefused:
      return {.where = Where::kEnded};
    case Placement::State::kFree:
    case Placement::State::kNew:
      break;
  }
  return {};
}

void Dispatcher::End(Placement& placement) {
  const uint32_t index = table_.IndexOf(placement);
  leases_.Remove(index);
  if (placement.request_id == 0) {
    // The next one with the same 16 bits is as likely a new request.
    table_.Erase(placement);
    return;
  }
  placement.state = Placement::State::kDone;
  remembered_.PushBack(index);
}

void Dispatcher::RememberRefused(Placement& placement, Fate fate) {
  if (placement.request_id == 0) {
    table_.Erase(placement);
    return;
  }
  placement.state = Placement::State::kRefused;
  placement.ticket = static_cast<uint32_t>(fate);
  remembered_.PushBack(table_.IndexOf(placement));
}

size_t Dispatcher::Expire(int64_t now_ns) {
  size_t expired = 0;
  while (!leases_.empty()) {
    Placement& oldest = table_[leases_.front()];
    if (now_ns - oldest.since_ns < lease_ns_) break;
    if (!IsLost(oldest)) {
      servers_.Return(oldest.server);
      ++returned_;
      ++stats_.leases_expired;
      ++expired;
    }
    End(oldest);
  }
  return expired;
}

int64_t Dispatcher::NextDeadlineNs() const {
  if (leases_.empty()) return INT64_MAX;
  const int64_t since_ns = table_[leases_.front()].since_ns;
  return lease_ns_ < INT64_MAX - since_ns ? since_ns + lease_ns_ : INT64_MAX;
}

size_t Dispatcher::TakeReady(int64_t now_ns, absl::Span<Ready> ready) {
  if (queue_.empty() || returned_ == 0) return 0;
  if (servers_.available().empty()) return RefuseWaiting(ready);
  size_t count = 0;
  while (count < ready.size() && !queue_.empty()) {
    // As many as there may be slots for: what is popped in vain is put back.
    const size_t wanted = std::min({queue_.size(), returned_, ready.size() - count, kBurstMax});
    for (size_t i = 0; i < wanted; ++i) {
      taken_[i] = queue_.Pop();
      affinities_[i] = queue_[taken_[i]].affinity;
    }
    const size_t picked = policy_->Pick({affinities_, wanted}, servers_, {picked_, wanted});
    for (size_t i = wanted; i > picked; --i) queue_.Unpop(taken_[i - 1]);
    for (size_t i = 0; i < picked; ++i) {
      const Waiting& waiting = queue_[taken_[i]];
      const int64_t waited_ns = std::max<int64_t>(now_ns - waiting.since_ns, 0);
      ready[count++] = {taken_[i], picked_[i], waited_ns};
      stats_.waits_ns.Record(waited_ns);
      Place(table_[waiting.placement], picked_[i], now_ns);
    }
    if (picked < wanted) {
      returned_ = 0;
      break;
    }
    // There may be more room than was thought.
    returned_ = std::max<size_t>(returned_ - picked, 1);
  }
  return count;
}

size_t Dispatcher::RefuseWaiting(absl::Span<Ready> ready) {
  size_t count = 0;
  while (count < ready.size() && !queue_.empty()) {
    const uint32_t ticket = queue_.Pop();
    RememberRefused(table_[queue_[ticket].placement], Fate::kNoServer);
    ready[count++] = {.ticket = ticket};
    ++stats_.refused_no_server;
  }
  return count;
}

ServerIndex Dispatcher::AddServer(uint64_t name, uint32_t slots, uint32_t weight) {
  ++returned_;
  return servers_.Add(name, slots, weight);
}

void Dispatcher::SetAvailable(ServerIndex server, bool available) {
  ++returned_;
  servers_.SetAvailable(server, available);
}

void Dispatcher::Lose(ServerIndex server) {
  stats_.placements_lost += servers_.outstanding(server);
  servers_.ReturnAll(server);
  ++epochs_[server];
  ++returned_;
}

void Dispatcher::RemoveServer(ServerIndex server) {
  Lose(server);
  servers_.Remove(server);
}

absl::Status Dispatcher::SetPolicy(absl::string_view name) {
  if (name == policy_->name()) return absl::OkStatus();
  auto policy = r2p2::MakePolicy(name, seed_);
  if (!policy.ok()) return policy.status();
  policy_ = *std::move(policy);
  ++returned_;
  return absl::OkStatus();
}

void Dispatcher::Refuse(Fate fate, Decision* decision) {
  decision->fate = fate;
  switch (fate) {
    case Fate::kNoServer:
      ++stats_.refused_no_server;
      return;
    case Fate::kQueueFull:
      ++stats_.refused_queue_full;
      return;
    case Fate::kTableFull:
      ++stats_.refused_table_full;
      return;
    case Fate::kServerLost:
      ++stats_.refused_server_lost;
      return;
    case Fate::kReplyGone:
      ++stats_.refused_reply_gone;
      return;
    default:
      return;
  }
}

void Dispatcher::UpdateGauges() {
  stats_.queue_length.Set(static_cast<int64_t>(queue_.size()));
  stats_.outstanding.Set(static_cast<int64_t>(servers_.outstanding()));
  stats_.remembered.Set(static_cast<int64_t>(remembered_.size()));
}

}  // namespace weft::router
