// SPDX-License-Identifier: Apache-2.0
//
// How users end connections (RFC 9293, 3.10.4 and 3.10.5).
#include <cerrno>

#include "weft/tcp/engine_core.h"

namespace weft::tcp {

void EngineCore::CloseWrite(StreamId stream, int64_t now_ns) {
  now_ns_ = now_ns;
  Tcb* tcb = Find(stream);
  if (tcb == nullptr || tcb->write_closed || tcb->is(State::kClosed)) return;
  tcb->write_closed = true;
  tcb->wants_room = false;
  if (tcb->synchronized()) BeginClosing(*tcb);
}

// The FIN goes behind what was committed.
void EngineCore::BeginClosing(Tcb& tcb) {
  if (tcb.is(State::kEstablished)) {
    tcb.state = State::kFinWait1;
  } else if (tcb.is(State::kCloseWait)) {
    tcb.state = State::kLastAck;
  }
  Touch(tcb);
}

void EngineCore::Close(StreamId stream, int64_t now_ns) {
  now_ns_ = now_ns;
  Tcb* tcb = Find(stream);
  if (tcb == nullptr || tcb->user_closed) return;
  tcb->user_closed = true;
  Hold(-static_cast<int64_t>(tcb->receive.Consume(tcb->receive.bytes())));
  tcb->events &= static_cast<uint8_t>(~(Tcb::kReadable | Tcb::kWritable | Tcb::kRemoteClosed));
  if (tcb->is(State::kClosed)) {
    Raise(*tcb, Tcb::kClosed);
    return;
  }
  if (tcb->is(State::kSynSent) || tcb->is(State::kSynReceived)) {
    // Nobody at the other side has heard of it, or will not be told more than this (3.10.4).
    if (tcb->is(State::kSynReceived)) SendResetOf(*tcb);
    End(*tcb, 0);
    return;
  }
  tcb->wants_room = false;
  tcb->progress = Tick::AtMost(now_ns);  // from here on it has user_timeout_ms to get on
  if (!tcb->write_closed) {
    tcb->write_closed = true;
    BeginClosing(*tcb);
  } else if (tcb->is(State::kFinWait2)) {
    EnterTimeWait(*tcb, /*fin_wait_2=*/true);
    return;
  }
  // The window is open again for what nobody reads.
  if (tcb->receive.WindowUpdateDue(tcb->receive_mss, tcb->receive_scale)) {
    tcb->ack_now = true;
    Touch(*tcb);
  }
}

void EngineCore::Abort(StreamId stream, int64_t now_ns) {
  now_ns_ = now_ns;
  Tcb* tcb = Find(stream);
  if (tcb == nullptr || tcb->closed_told) return;
  Hold(-static_cast<int64_t>(tcb->receive.Consume(tcb->receive.bytes())));
  tcb->events &= static_cast<uint8_t>(~(Tcb::kReadable | Tcb::kWritable | Tcb::kRemoteClosed));
  tcb->user_closed = true;
  if (tcb->is(State::kClosed)) {
    Raise(*tcb, Tcb::kClosed);
    return;
  }
  if (!tcb->is(State::kSynSent)) SendResetOf(*tcb);
  End(*tcb, ECONNABORTED);
}

}  // namespace weft::tcp
