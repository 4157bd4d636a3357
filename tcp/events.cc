// SPDX-License-Identifier: Apache-2.0
//
// What users are told. A connection keeps its events as bits, in the order in which they are told,
// so that they take no memory and none is lost.
#include <bit>

#include "weft/tcp/engine_core.h"

namespace weft::tcp {

void EngineCore::Raise(Tcb& tcb, Tcb::Event event) {
  if (tcb.closed_told || tcb.user == Tcb::kNobody) return;
  tcb.closed_told = event == Tcb::kClosed;
  tcb.events |= event;
  if (tcb.in_events) return;
  tcb.in_events = true;
  tcb.next_event = Tcb::kNone;
  User& user = users_[tcb.user];
  if (user.last_event == Tcb::kNone) {
    user.first_event = tcb.index;
  } else {
    slab_.At(user.last_event)->next_event = tcb.index;
  }
  user.last_event = tcb.index;
}

// There is room again, and somebody has asked.
void EngineCore::RaiseWritable(Tcb& tcb) {
  if (!tcb.wants_room || !tcb.can_write()) return;
  // Not for a little: the writer would come again and again.
  const uint32_t held = tcb.send.bytes();
  if (held >= tcb.send_limit_bytes - tcb.send_limit_bytes / 4 || !MaySendMore(tcb)) return;
  tcb.wants_room = false;
  Raise(tcb, Tcb::kWritable);
}

size_t EngineCore::TakeEvents(absl::Span<StreamEvent> events, uint16_t user_number) {
  using Kind = StreamEvent::Kind;
  static constexpr Kind kKinds[] = {Kind::kAccepted, Kind::kConnected,    Kind::kReadable,
                                    Kind::kWritable, Kind::kRemoteClosed, Kind::kClosed};
  User& user = users_[user_number];
  if (!user.taken.empty()) FreeTaken(user_number);
  size_t count = 0;
  while (user.first_event != Tcb::kNone && count < events.size()) {
    Tcb& tcb = *slab_.At(user.first_event);
    while (tcb.events != 0 && count < events.size()) {
      const int bit = std::countr_zero(tcb.events);
      tcb.events &= static_cast<uint8_t>(tcb.events - 1);
      const Kind kind = kKinds[bit];
      events[count++] = {kind, TcbSlab::IdOf(tcb), kind == Kind::kClosed ? tcb.error : 0};
      if (kind == Kind::kAccepted) LeaveListener(tcb);
      if (kind == Kind::kClosed) user.taken.push_back(tcb.index);
    }
    if (tcb.events != 0) break;
    tcb.in_events = false;
    user.first_event = tcb.next_event;
    if (user.first_event == Tcb::kNone) user.last_event = Tcb::kNone;
  }
  return count;
}

// The user has been told that they are closed, and has had the time to act on what came before.
void EngineCore::FreeTaken(uint16_t user) {
  std::vector<uint32_t>& taken = users_[user].taken;
  for (const uint32_t index : taken) Free(*slab_.At(index));
  taken.clear();
}

}  // namespace weft::tcp
