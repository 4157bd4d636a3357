// SPDX-License-Identifier: Apache-2.0
//
// Those that share an engine: how they come and go.
#include <algorithm>
#include <cerrno>

#include "absl/status/status.h"
#include "weft/tcp/engine_core.h"

namespace weft::tcp {

absl::StatusOr<uint16_t> EngineCore::AddUser() {
  constexpr size_t kUsersMax = 65'000;
  const auto free =
      std::find_if(users_.begin(), users_.end(), [](const User& u) { return !u.here; });
  const auto number = static_cast<size_t>(free - users_.begin());
  if (number >= kUsersMax) return absl::ResourceExhaustedError("an engine has too many users");
  if (free == users_.end()) users_.emplace_back();
  users_[number].here = true;
  return static_cast<uint16_t>(number);
}

void EngineCore::RemoveUser(uint16_t user, int64_t now_ns) {
  now_ns_ = now_ns;
  for (size_t i = 0; i < listeners_.size(); ++i) {
    const Listener& listener = listeners_[i];
    if (listener.open && listener.user == user) (void)StopListening(listener.local, listener.port);
  }
  for (uint32_t place = 0; place < slab_.places(); ++place) {
    Tcb* tcb = slab_.At(place);
    if (tcb == nullptr || tcb->user != user || !tcb->announced) continue;
    if (tcb->is(State::kClosed)) {
      LeaveListener(*tcb);
      Free(*tcb);
      continue;
    }
    // From now on nobody knows of it, and it is gone when it has ended.
    LeaveListener(*tcb);
    tcb->user = Tcb::kNobody;
    tcb->announced = false;
    tcb->in_events = false;
    tcb->events = 0;
    if (tcb->user_closed) continue;
    if (!tcb->is(State::kSynSent)) SendResetOf(*tcb);
    End(*tcb, ECONNABORTED);
  }
  users_[user] = User();
  users_[user].here = user == 0;
}

void EngineCore::EndAll(int error, int64_t now_ns) {
  now_ns_ = now_ns;
  for (uint32_t place = 0; place < slab_.places(); ++place) {
    Tcb* tcb = slab_.At(place);
    if (tcb != nullptr && !tcb->is(State::kClosed)) End(*tcb, error);
  }
  outbox_.clear();
  outbox_begin_ = 0;
}

}  // namespace weft::tcp
