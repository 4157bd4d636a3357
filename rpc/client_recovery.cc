// SPDX-License-Identifier: Apache-2.0
//
// A client's calls in the extended format, when an answer does not come in time or nobody waits for
// it any more; and when packets have to wait for their time.
#include <algorithm>
#include <utility>

#include "weft/rpc/call_status.h"
#include "weft/rpc/client_sessions.h"

namespace weft::rpc {
namespace {

constexpr uint8_t kCancels = 5;
// How long a timeout waits for this thread to receive what has come.
constexpr int64_t kLateMaxNs = 10'000'000;

}  // namespace

void ClientSessions::Cancel(CallId id, bool quietly) {
  ClientCall* const call = Find(id);
  if (call == nullptr || call->state == ClientCall::State::kCancelling) return;
  ++base_.stats.cancelled;
  ClientSession& session = *call->session;
  const bool original = call->state == ClientCall::State::kOriginal;
  if (original) original_.Cancel(call->original);
  // Cancelling itself is bounded: what is beyond ends on the server by its deadline, or by the next
  // request in its slot.
  const bool tell = !original && call->state != ClientCall::State::kWaiting &&
                    WayOf(*call).is_open() &&
                    (call->held || cancelling_ < base_.options.outstanding_max);
  if (!tell) {
    return Discard(*call);
  }
  if (call->state == ClientCall::State::kSent) Landed(*call);
  if (call->state == ClientCall::State::kSending || call->state == ClientCall::State::kReceiving) {
    EndTransfer(*call);
  }
  Uncount(*call);
  ++cancelling_;
  call->state = ClientCall::State::kCancelling;
  call->tries = 0;
  // What it holds ends last of all: that may end the session, and begin a call in this one's place.
  const Callback callback = std::move(call->callback);
  ReleaseRequest(*call);
  call->deadline_ns = INT64_MAX;
  if (quietly) {
    Arm(*call, base_.loop.now_ns(), FirstRtoOf(*call));
  } else {
    OnRetransmissionTimeout(*call, base_.loop.now_ns());
  }
  Pump(session);
}

void ClientSessions::CountResent(CallId id, uint32_t* count) {
  if (ClientCall* const call = Find(id)) call->resent = count;
}

// --- Sending again

// What is held may be so for hours. Whoever has waited for seconds can wait for the moment longer
// that a lost answer takes when it is asked for less often.
int64_t ClientSessions::NextRtoOf(const ClientCall& call) const {
  constexpr uint8_t kOftenTries = 20;
  const ClientSession& session = *call.session;
  if (!call.held) return std::min(RtoOf(session.response_time, call.tries), session.timeout_ns / 4);
  if (call.tries > kOftenTries) return session.timeout_ns / 4;
  return std::min(RtoOf(session.rtt, call.tries), session.timeout_ns / 4);
}

void ClientSessions::OnCallTimer(void* context, int64_t now_ns) {
  auto& call = *static_cast<ClientCall*>(context);
  ClientSessions& sessions = *call.sessions;
  if (call.state == ClientCall::State::kFree || call.due_ns == INT64_MAX) return;
  if (now_ns < call.due_ns) {
    sessions.base_.loop.timers().Schedule(call.timer, call.due_ns);
    return;
  }
  if (now_ns < call.deadline_ns) {
    // What lies in the port may be the answer: it was this thread that was late, not the network.
    if (sessions.base_.more_to_receive && now_ns - call.due_ns < kLateMaxNs) {
      sessions.base_.loop.timers().Schedule(call.timer, now_ns);
      return;
    }
    return sessions.OnRetransmissionTimeout(call, now_ns);
  }
  ++sessions.base_.stats.timeouts;
  absl::Status error = absl::DeadlineExceededError("no complete reply within the timeout");
  const bool sent = call.state != ClientCall::State::kWaiting;
  sessions.End(call, sent ? std::move(error) : NotExecuted(std::move(error)));
}

void ClientSessions::OnRetransmissionTimeout(ClientCall& call, int64_t now_ns) {
  ClientSession& session = *call.session;
  if (call.member != nullptr && !call.member->is_open()) [[unlikely]] {
    // The server is being told of this client.
    if (call.state == ClientCall::State::kCancelling) return Discard(call);
    return Arm(call, now_ns, NextRtoOf(call));
  }
  const bool again = call.tries > 0 || call.state != ClientCall::State::kCancelling;
  if (again) {
    ++base_.stats.retransmissions;
    ++session.retransmissions;
    if (call.resent != nullptr) ++*call.resent;
  }
  call.tries = static_cast<uint8_t>(std::min(call.tries + 1, 255));
  // A server that executes a long request answers that it has it; it need not be asked often.
  int64_t wait_ns = NextRtoOf(call);
  switch (call.state) {
    case ClientCall::State::kSent:
      // What waits at a router is nothing that the network could be blamed for.
      if (!call.held && (!session.pooled || call.member != nullptr)) {
        SlowDown(call, now_ns, wait_ns);
      }
      [[fallthrough]];
    case ClientCall::State::kExecuting:
      call.sent_twice = true;
      SendRequest(call, now_ns);
      break;
    case ClientCall::State::kSending:
      OnTransferTimeout(call, now_ns);
      wait_ns = TransferRtoOf(call);
      break;
    case ClientCall::State::kReceiving:
      SendProgress(call, /*resent=*/true);
      wait_ns = TransferRtoOf(call);
      break;
    case ClientCall::State::kCancelling:
      if (call.tries > kCancels) return Discard(call);
      if (session.pooled && call.member == nullptr) {
        CancelInPool(call, now_ns);
      } else {
        SendControl(WayOf(call), ControlKind::kCancel, call.request_id);
      }
      break;
    default:
      return;
  }
  Arm(call, now_ns, wait_ns);
}

// No answer came for `wait_ns`: that is the network's fault only if nothing else came either, and
// no long message was in the way meanwhile.
void ClientSessions::SlowDown(const ClientCall& call, int64_t now_ns, int64_t wait_ns) {
  ClientSession& session = *call.session;
  if (session.congestion == nullptr || now_ns - WayOf(call).heard_ns < wait_ns ||
      now_ns - session.slowed_ns < wait_ns || base_.bulk.WasBusySince(now_ns - wait_ns)) {
    return;
  }
  session.slowed_ns = now_ns;
  session.congestion->OnTimeout(now_ns, static_cast<uint32_t>(session.in_flight));
}

// --- Sending later

// Where packets wait for their time rather than for an answer, nothing else would send them.
void ClientSessions::SchedulePacing(ClientSession& session) {
  const int64_t gap_ns = session.gap_ns();
  if (gap_ns == 0 || session.pacing.armed() ||
      (session.waiting.empty() && session.sending.empty())) {
    return;
  }
  // If it has come, they wait for an answer after all.
  const int64_t next_ns = session.pacer.NextNs(gap_ns);
  if (next_ns > base_.loop.now_ns()) base_.loop.timers().Schedule(session.pacing, next_ns);
}

void ClientSessions::OnPacingTimer(void* context, int64_t) {
  auto& session = *static_cast<ClientSession*>(context);
  session.sessions->Pump(session);
}

}  // namespace weft::rpc
