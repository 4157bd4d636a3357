// SPDX-License-Identifier: Apache-2.0
//
// Requests: each is executed at most once, and ends when its client wants it no more.
#include <utility>

#include "weft/rpc/extended_server.h"

namespace weft::rpc {
namespace {

using State = ServerSlot::State;

// Whether the end of the slot's request, if it is that one, is still to come.
bool WillTellRouter(const ServerSlot& slot, uint64_t request_id) {
  return slot.routed && slot.request_id == request_id &&
         (slot.state == State::kReceiving || slot.state == State::kExecuting);
}

}  // namespace

// All that a short request needs until its handler runs, in one piece of code.
[[gnu::flatten]] void ExtendedServer::OnRequest(ServerSession& session, Datagram& datagram,
                                                const ExtendedHeader& header) {
  ServerSlot* const found = SessionTable::SlotAt(session, header.slot());
  if (found == nullptr || header.request_id >> 16 == 0) [[unlikely]] {
    ++core_.stats.malformed;
    if (picked_) TellRouter(session, header.request_id);
    return;
  }
  ServerSlot& slot = *found;
  session.client_credits = header.credits;
  if (header.request_id <= slot.request_id) [[unlikely]] {
    if (picked_ && !WillTellRouter(slot, header.request_id)) {
      TellRouter(session, header.request_id);
    }
    if (header.request_id == slot.request_id) {
      return slot.state == State::kReceiving ? OnRequestPacket(session, slot, datagram, header)
                                             : OnDuplicate(session, slot, datagram, header);
    }
    ++core_.stats.duplicates;  // of a request that the client has the reply of
    return;
  }
  // The client would not use the slot again if it still wanted anything of the request before.
  if (slot.state == State::kExecuting || slot.state == State::kReceiving ||
      slot.state == State::kReplying) [[unlikely]] {
    Retire(session, slot);
  }
  slot.request_id = header.request_id;
  slot.routed = picked_;
  slot.echo_base = header.timestamp - static_cast<uint32_t>(now_ns_);
  const DropReason reason = ReasonToRefuse(session, datagram, header);
  if (reason != DropReason::kNone) [[unlikely]] {
    return Refuse(session, slot, reason, Recycle(datagram));
  }
  if (!header.first || !header.last) [[unlikely]] {
    const bool announced = header.kind == ControlKind::kAnnouncement;
    BeginRequest(session, slot, /*admitted=*/header.first && !announced);
    return OnRequestPacket(session, slot, datagram, header);
  }
  Execute(session, slot, header, BufferChain(std::move(datagram.buffer)), 1);
}

DropReason ExtendedServer::ReasonToRefuse(const ServerSession& session, const Datagram& datagram,
                                          const ExtendedHeader& header) {
  if (!core_.Authorises(session.peer)) [[unlikely]]
    return DropReason::kForbidden;
  if (header.policy == Policy::kReplicatedRoute || header.policy == Policy::kReplicatedRouteNoSe) {
    return DropReason::kUnsupported;
  }
  if (core_.draining) return DropReason::kShuttingDown;
  const bool whole = header.first && header.last;
  // Long ones are not let in before there are buffers; they may wait for them.
  if (whole ? core_.Overloaded() : core_.TooManyExecute()) return DropReason::kOverloaded;
  if (!whole && session.large >= core_.options.messages_per_peer_max) {
    return DropReason::kOverloaded;
  }
  // Of what is only announced there is nothing to be seen yet.
  if (core_.admission && header.first && header.kind == ControlKind::kNone &&
      !core_.admission(datagram.peer, datagram.buffer.bytes())) {
    return DropReason::kRefused;
  }
  return DropReason::kNone;
}

void ExtendedServer::Refuse(ServerSession& session, ServerSlot& slot, DropReason reason,
                            Buffer packet) {
  ServerStats& stats = core_.stats;
  switch (reason) {
    case DropReason::kForbidden:
      ++stats.refused_forbidden;
      break;
    case DropReason::kUnsupported:
      ++stats.refused_unsupported;
      break;
    case DropReason::kShuttingDown:
      ++stats.refused_shutting_down;
      break;
    case DropReason::kOverloaded:
      ++stats.refused_overloaded;
      break;
    case DropReason::kTooLarge:
      ++stats.refused_too_large;
      break;
    default:
      ++stats.refused_by_application;
  }
  ++stats.refused;
  ++session.refused;
  slot.state = State::kDropped;
  slot.code = reason;
  if (slot.routed) TellRouter(session, slot.request_id);
  SendDrop(session, slot, std::move(packet));
}

void ExtendedServer::Execute(ServerSession& session, ServerSlot& slot, const ExtendedHeader& header,
                             BufferChain request, uint16_t packets) {
  slot.state = State::kExecuting;
  slot.execution = nullptr;
  slot.size = packets;
  ++session.executing;
  ++session.requests;
  const int64_t deadline_ns =
      header.deadline_us == 0 ? ServerCall::kNever : now_ns_ + int64_t{header.deadline_us} * 1000;
  const ServerCall::Ids ids = {.request_id = header.request_id,
                               .session = session.number,
                               .key = session.key,
                               .pool_number = slot.routed ? session.pool_number : 0,
                               .policy = header.policy};
  running_ = &slot;
  HandlerTasks::Running* task = core_.Run(ids, session.peer, deadline_ns, std::move(request));
  if (std::exchange(running_, nullptr) == nullptr) [[likely]]
    return;
  const Place place = Find(ids.session, ids.key, ids.request_id);
  if (place.slot == nullptr) [[likely]]
    return;
  Execution& execution = ExecutionOf(*place.session, *place.slot);
  if (task != nullptr) task->Watch(&execution.task);
  if (deadline_ns != ServerCall::kNever) {
    core_.loop.timers().Schedule(execution.deadline, deadline_ns);
  }
}

Execution& ExtendedServer::ExecutionOf(ServerSession& session, ServerSlot& slot) {
  if (slot.execution == nullptr) {
    slot.execution = executions_.Take();
    slot.execution->server = this;
    slot.execution->session = session.number;
    slot.execution->key = session.key;
    slot.execution->request_id = slot.request_id;
  }
  return *slot.execution;
}

void ExtendedServer::OnCancel(const ServerCall& call, absl::AnyInvocable<void()> callback) {
  const Place place = Find(call);
  if (place.slot == nullptr) return callback();
  // What was registered before goes last, as it may hold calls.
  std::swap(ExecutionOf(*place.session, *place.slot).on_cancel, callback);
}

void ExtendedServer::CancelExecution(ServerSession& session, ServerSlot& slot, DropReason reason) {
  Execution* execution = slot.execution;
  slot.state = State::kDropped;
  slot.code = reason;
  slot.execution = nullptr;
  --session.executing;
  // From here on the application's code runs and finds the call cancelled. What the callback does
  // may end the coroutine, but not this session or server.
  if (execution == nullptr) return;
  core_.loop.timers().Cancel(execution->deadline);
  absl::AnyInvocable<void()> callback = std::exchange(execution->on_cancel, nullptr);
  if (callback) callback();
  if (execution->task != nullptr) execution->task->Cancel();
  executions_.Return(execution);
}

void ExtendedServer::Cancel(const ServerCall::Name& call) {
  const Place place = Find(call.session, call.key, call.request_id);
  if (place.slot == nullptr) return;
  ++core_.stats.cancelled;
  CancelExecution(*place.session, *place.slot, DropReason::kShuttingDown);
  SendDrop(*place.session, *place.slot, core_.port->pool().Allocate());
}

void ExtendedServer::Retire(ServerSession& session, ServerSlot& slot) {
  if (slot.state == State::kExecuting) [[unlikely]] {
    ++core_.stats.cancelled;
    CancelExecution(session, slot, DropReason::kCancelled);
  } else if (slot.state == State::kReceiving) {
    if (slot.routed) TellRouter(session, slot.request_id);
    EndRequest(session, slot);
  } else if (slot.state == State::kReplying) {
    EndReply(session, slot);
  }
}

void ExtendedServer::OnDeadline(void* self, int64_t) {
  const Execution& execution = *static_cast<Execution*>(self);
  ExtendedServer& server = *execution.server;
  const Place place = server.Find(execution.session, execution.key, execution.request_id);
  if (place.slot == nullptr) return;
  ++server.core_.stats.deadlines;
  server.CancelExecution(*place.session, *place.slot, DropReason::kDeadline);
  server.SendDrop(*place.session, *place.slot, server.core_.port->pool().Allocate());
}

void ExtendedServer::OnDuplicate(ServerSession& session, ServerSlot& slot, Datagram& datagram,
                                 const ExtendedHeader& header) {
  ++core_.stats.duplicates;
  // A reply yet to come answers the packet that the handler was started for.
  const uint32_t echo_base = slot.echo_base;
  slot.echo_base = header.timestamp - static_cast<uint32_t>(now_ns_);
  // Of a long request that is sent again, one packet a burst is answered.
  if (header.total() != 1) {
    if (session.answered_burst == burst_ && session.answered_slot == header.slot()) {
      if (slot.state == State::kExecuting) slot.echo_base = echo_base;
      return;
    }
    session.answered_burst = burst_;
    session.answered_slot = header.slot();
  }
  Buffer packet = Recycle(datagram);
  switch (slot.state) {
    case State::kUnused:
    case State::kReceiving:
      return;
    case State::kReplying:
      // Nothing of it has arrived.
      return RecoverReply(session, *slot.reply);
    case State::kExecuting:
      SendProgress(session, slot, slot.size, std::move(packet));
      slot.echo_base = echo_base;
      return;
    case State::kReplied:
      ++core_.stats.duplicates_answered;
      return ResendKept(session, slot, std::move(packet));
    case State::kDropped:
    case State::kGone:
      ++core_.stats.duplicates_answered;
      return SendDrop(session, slot, std::move(packet));
  }
}

void ExtendedServer::OnCancelPacket(ServerSession& session, Datagram& datagram,
                                    const ExtendedHeader& header) {
  ServerSlot* const found = SessionTable::SlotAt(session, header.slot());
  if (found == nullptr || header.request_id >> 16 == 0) {
    ++core_.stats.malformed;
    return;
  }
  ServerSlot& slot = *found;
  if (header.request_id < slot.request_id) {
    ++core_.stats.duplicates;
    return;
  }
  Retire(session, slot);
  // If the request has not come yet, it finds itself answered when it does.
  slot.request_id = header.request_id;
  slot.echo_base = header.timestamp - static_cast<uint32_t>(now_ns_);
  slot.state = State::kDropped;
  slot.code = DropReason::kCancelled;
  SendDrop(session, slot, Recycle(datagram));
}

}  // namespace weft::rpc
