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

// From here on it has a StreamId.
void EngineCore::Announce(Tcb& tcb) {
  if (tcb.announced) return;
  tcb.announced = true;
  ++users_[tcb.user].streams;
}

void EngineCore::RemoveUser(uint16_t user, int64_t now_ns) {
  now_ns_ = now_ns;
  for (size_t i = 0; i < listeners_.size(); ++i) {
    const Listener& listener = listeners_[i];
    if (listener.open && listener.user == user) (void)StopListening(listener.local, listener.port);
  }
  for (uint32_t place = 0; users_[user].streams > 0 && place < slab_.places(); ++place) {
    Tcb* tcb = slab_.At(place);
    if (tcb == nullptr || tcb->user != user || !tcb->announced) continue;
    if (tcb->is(State::kClosed)) {
      LeaveListener(*tcb);
      Free(*tcb);
      continue;
    }
    // From now on nobody knows of it, and it is gone when it has ended.
    LeaveListener(*tcb);
    --users_[user].streams;
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

// A search begins at once, so that among few connections it is done at once, and goes on with each
// Flush(). When there are too many, the oldest is given up: connections whose path has become
// narrower are told by the path once more, and handshakes that nobody waits for time out.
void EngineCore::Begin(const Search& search) {
  const auto same = [&](const Search& other) {
    return other.listener == search.listener && other.remote == search.remote;
  };
  std::erase_if(searches_, same);
  if (searches_.size() == kSearchesMax) searches_.erase(searches_.begin());
  searches_.push_back(search);
  if (searches_.size() == 1) SearchSome();
}

void EngineCore::SearchSome() {
  Search& search = searches_.front();
  const uint32_t end = std::min(search.place + kPlacesSearched, slab_.places());
  for (; search.place < end; ++search.place) {
    Tcb* tcb = slab_.At(search.place);
    if (tcb != nullptr) Found(search, *tcb);
  }
  const bool all_found =
      search.listener != Tcb::kNone &&
      (listeners_[search.listener].half_open == 0 || listeners_[search.listener].open);
  if (search.place >= slab_.places() || all_found) searches_.erase(searches_.begin());
}

// A connection, if it is what is searched for.
void EngineCore::Found(const Search& search, Tcb& tcb) {
  if (search.listener == Tcb::kNone) {
    if (tcb.flow.remote == search.remote && search.path_mtu < tcb.path_mtu) {
      NarrowPath(tcb, search.path_mtu);
    }
  } else if (tcb.is(State::kSynReceived) && tcb.listener == search.listener &&
             !listeners_[search.listener].open) {
    SendResetOf(tcb);
    End(tcb, 0);
  }
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
