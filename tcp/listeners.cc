// SPDX-License-Identifier: Apache-2.0
//
// Who listens, and how much waits there.
#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/tcp/engine_core.h"

namespace weft::tcp {

absl::StatusOr<uint16_t> EngineCore::Listen(const netstack::IpAddress& local, uint16_t port,
                                            int backlog, uint16_t user) {
  if (backlog < 1) return absl::InvalidArgumentError("backlog: give at least 1");
  const auto taken = [&](uint16_t candidate) {
    const auto found = listeners_of_port_.find(candidate);
    if (found == listeners_of_port_.end()) return false;
    return std::any_of(found->second.begin(), found->second.end(),
                       [&](uint32_t index) { return listeners_[index].local == local; });
  };
  if (port == 0) {
    const uint32_t count = world_.port_max - world_.port_min + 1u;
    for (uint32_t i = 0; i < count && port == 0; ++i) {
      const auto candidate = static_cast<uint16_t>(world_.port_min + port_counter_++ % count);
      if (!listeners_of_port_.contains(candidate)) port = candidate;
    }
    if (port == 0) return absl::ResourceExhaustedError("no port is free");
  } else if (taken(port)) {
    return absl::AlreadyExistsError(
        absl::StrCat("somebody listens at ", local.ToString(), " port ", port, " already"));
  }
  const auto free = std::find_if(listeners_.begin(), listeners_.end(), [](const Listener& one) {
    return !one.open && one.waiting == 0 && one.half_open == 0;
  });
  const auto index = static_cast<uint32_t>(free - listeners_.begin());
  if (free == listeners_.end()) listeners_.emplace_back();
  listeners_[index] = Listener();
  listeners_[index].local = local;
  listeners_[index].port = port;
  listeners_[index].open = true;
  listeners_[index].user = user;
  listeners_[index].backlog = static_cast<uint32_t>(backlog);
  listeners_of_port_[port].push_back(index);
  return port;
}

absl::Status EngineCore::StopListening(const netstack::IpAddress& local, uint16_t port) {
  const auto found = listeners_of_port_.find(port);
  if (found != listeners_of_port_.end()) {
    std::vector<uint32_t>& indices = found->second;
    for (auto it = indices.begin(); it != indices.end(); ++it) {
      const uint32_t index = *it;
      if (listeners_[index].local != local) continue;
      listeners_[index].open = false;
      indices.erase(it);
      if (indices.empty()) listeners_of_port_.erase(found);
      if (listeners_[index].half_open > 0) {
        Search search;
        search.listener = index;
        Begin(search);
      }
      return absl::OkStatus();
    }
  }
  return absl::NotFoundError(absl::StrCat("nobody listens at ", local.ToString(), " port ", port));
}

// The one of exactly this address comes before that of all of its family, and this before "::",
// which takes IPv4 too.
Listener* EngineCore::FindListener(const netstack::IpAddress& local, uint16_t port,
                                   uint32_t* index) {
  const auto found = listeners_of_port_.find(port);
  if (found == listeners_of_port_.end()) return nullptr;
  Listener* of_all = nullptr;
  for (const uint32_t candidate : found->second) {
    Listener& listener = listeners_[candidate];
    if (listener.local == local) {
      *index = candidate;
      return &listener;
    }
    if (!listener.local.is_unspecified()) continue;
    if (listener.local.is_v4() == local.is_v4() || (of_all == nullptr && local.is_v4())) {
      *index = candidate;
      of_all = &listener;
    }
  }
  return of_all;
}

// A connection does not count for its listener any more: its handshake has ended, or it was
// accepted.
void EngineCore::LeaveListener(Tcb& tcb) {
  if (tcb.listener == Tcb::kNone) return;
  Listener& listener = listeners_[tcb.listener];
  if (tcb.is(State::kSynReceived)) {
    --listener.half_open;
    stats_.half_open.Add(-1);
  } else {
    --listener.waiting;
  }
  tcb.listener = Tcb::kNone;
}

void EngineCore::ForEachListener(absl::FunctionRef<void(const ListenerInfo&)> show) const {
  for (const Listener& listener : listeners_) {
    if (listener.open) show(listener);
  }
}

}  // namespace weft::tcp
