// SPDX-License-Identifier: Apache-2.0
//
// Segments to a connection whose SYN was sent (RFC 9293, 3.10.7.3).
#include <cerrno>

#include "weft/tcp/engine_core.h"

namespace weft::tcp {

using netstack::kTcpAck;
using netstack::kTcpCwr;
using netstack::kTcpEce;
using netstack::kTcpReset;
using netstack::kTcpSyn;

void EngineCore::SynSentInput(Tcb& tcb, Segment& segment) {
  // "First, check the ACK bit".
  const bool acked = segment.has(kTcpAck);
  if (acked && !(segment.ack > tcb.iss && segment.ack <= tcb.snd_nxt)) {
    ++stats_.bad_acks;
    if (!segment.has(kTcpReset)) SendResetFor(segment);
    return;
  }
  // "Second, check the RST bit": without an acceptable ACK it may be from anybody (RFC 5961, 3).
  if (segment.has(kTcpReset)) {
    if (!acked) return;
    ++stats_.resets_received;
    ++stats_.connect_failures;
    End(tcb, ECONNREFUSED);
    return;
  }
  // "Fourth, check the SYN bit".
  if (!segment.has(kTcpSyn)) return;
  tcb.irs = segment.seq;
  Agree(tcb, segment.options, now_ns_);
  tcb.receive.Start(segment.seq + 1, options_.receive_buffer_bytes);
  tcb.snd_wnd = tcb.snd_wnd_max = segment.window;
  tcb.snd_wl1 = segment.seq;
  tcb.last_received = Tick::AtMost(now_ns_);
  tcb.error = 0;
  if (!acked) {
    // Both sides have begun at once (RFC 9293, 3.5, figure 7).
    tcb.ecn = options_.ecn != EcnMode::kOff && segment.has(kTcpEce) && segment.has(kTcpCwr);
    tcb.state = State::kSynReceived;
    tcb.syn_due = true;
    Touch(tcb);
    return;
  }
  tcb.snd_una = segment.ack;
  tcb.snd_wl2 = segment.ack;
  // RFC 3168, 6.1.1: ECE alone in answer to ECE with CWR.
  tcb.ecn = options_.ecn == EcnMode::kOn && segment.has(kTcpEce) && !segment.has(kTcpCwr);
  Establish(tcb, &segment);
  tcb.ack_now = true;
  Raise(tcb, Tcb::kConnected);
  // Data in the segment is not acknowledged, and comes again; a FIN likewise.
  Touch(tcb);
  Arm(tcb);
}

}  // namespace weft::tcp
