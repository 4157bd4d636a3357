// SPDX-License-Identifier: Apache-2.0
//
// How a client's sessions end, and the calls with them.
#include <vector>

#include "weft/rpc/call_status.h"
#include "weft/rpc/client_sessions.h"

namespace weft::rpc {

void ClientSessions::Lose(ClientSession& session, const absl::Status& error,
                          SessionEvent::Kind kind, Waiting waiting) {
  const bool was_open = session.is_open();
  if (kind == SessionEvent::Kind::kLost && was_open) ++base_.stats.sessions_lost;
  session.state = ClientSession::State::kIdle;
  base_.loop.timers().Cancel(session.timer);
  base_.loop.timers().Cancel(session.pacing);
  const uint32_t generation = session.generation;
  Report(session, kind);
  if (session.pool != nullptr) {
    const std::vector<CallId> ending = CallsOf(session, waiting);
    Detach(session);
    EndCalls(ending, error);
    return FreeSession(session);
  }
  EndCallsOf(session, error, waiting);
  // The callbacks may have used it, or given it up.
  if (session.generation != generation || session.state != ClientSession::State::kIdle) return;
  if (!session.waiting.empty() || (session.own && waiting == Waiting::kReconnect)) {
    StartConnecting(session);
  }
}

void ClientSessions::EndCallsOf(ClientSession& session, const absl::Status& error,
                                Waiting waiting) {
  EndCalls(CallsOf(session, waiting), error);
}

std::vector<CallId> ClientSessions::CallsOf(const ClientSession& session, Waiting waiting) const {
  std::vector<CallId> ending;
  // Behind a router each server has some of the calls, and the router those that are left.
  const ClientSession* const member = session.pool != nullptr ? &session : nullptr;
  for (const ClientSession::Slot& slot : (member != nullptr ? *session.pool : session).slots) {
    if (slot.call != nullptr && slot.call->member == member) ending.push_back(IdOf(*slot.call));
  }
  if (waiting == Waiting::kEnd) {
    for (ClientCall* call = session.waiting.front(); call != nullptr; call = call->next) {
      ending.push_back(IdOf(*call));
    }
  }
  return ending;
}

void ClientSessions::EndCalls(absl::Span<const CallId> ending, const absl::Status& error) {
  for (const CallId id : ending) {
    ClientCall* call = Find(id);
    if (call == nullptr) continue;
    if (call->state == ClientCall::State::kCancelling) {
      Release(*call);
      Free(*call);
    } else {
      Fail(*call, call->state == ClientCall::State::kWaiting ? NotExecuted(error) : error);
    }
  }
}

void ClientSessions::Disconnect(SessionId id) {
  ClientSession* session = Find(id);
  if (session == nullptr || !session->own || session->state == ClientSession::State::kClosing) {
    return;
  }
  const bool open = session->is_open() && !session->is_pool();  // routers keep no sessions
  session->state = ClientSession::State::kClosing;
  session->tries = 0;
  const absl::Status error = absl::CancelledError("the session was disconnected");
  EndCallsOf(*session, error, Waiting::kEnd);
  if (session->is_pool()) LeavePool(*session, error);
  if (!open) return Forget(*session);
  OnSessionTimer(session, base_.loop.now_ns());
}

void ClientSessions::Forget(ClientSession& session) {
  base_.loop.timers().Cancel(session.timer);
  base_.loop.timers().Cancel(session.pacing);
  Report(session, SessionEvent::Kind::kClosed);
  if (session.is_pool()) LeavePool(session, absl::OkStatus());
  if (!session.own) {
    session.state = ClientSession::State::kIdle;
    return;
  }
  FreeSession(session);
}

void ClientSessions::FreeSession(ClientSession& session) {
  session.state = ClientSession::State::kFree;
  session.slots.clear();
  session.free_slots.clear();
  free_sessions_.push_back(session.number);
}

void ClientSessions::CloseIfDrained(ClientSession& session) {
  if (session.state != ClientSession::State::kDraining || session.slots_in_use() > 0 ||
      session.pinned > 0) {
    return;
  }
  if (session.pool != nullptr) return CloseMember(session, absl::OkStatus());
  session.state = ClientSession::State::kClosing;
  session.tries = 0;
  OnSessionTimer(&session, base_.loop.now_ns());
}

void ClientSessions::Report(const ClientSession& session, SessionEvent::Kind kind) {
  if (events_ == nullptr) return;
  const int64_t age_ns = session.opened_ns == 0 ? 0 : base_.loop.now_ns() - session.opened_ns;
  events_({.kind = kind, .session = session.number, .peer = session.peer, .age_ns = age_ns});
}

void ClientSessions::OnPeerEvent(const Peer& peer, const absl::Status& error) {
  for (size_t i = 1; i < sessions_.size(); ++i) {  // which callbacks may lengthen
    ClientSession& session = *sessions_[i];
    if (session.peer != peer) continue;
    switch (session.state) {
      case ClientSession::State::kConnecting:
      case ClientSession::State::kOpen:
      case ClientSession::State::kChoosing:
      case ClientSession::State::kDraining:
        Lose(session, error, SessionEvent::Kind::kLost, Waiting::kEnd);
        break;
      case ClientSession::State::kClosing:
        Forget(session);
        break;
      default:
        break;
    }
  }
}

void ClientSessions::FailAll(const absl::Status& error) {
  for (size_t i = 1; i < sessions_.size(); ++i) {
    EndCallsOf(*sessions_[i], error, Waiting::kEnd);
  }
}

}  // namespace weft::rpc
