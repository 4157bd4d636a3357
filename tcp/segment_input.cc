// SPDX-License-Identifier: Apache-2.0
//
// Segments to a connection (RFC 9293, 3.10.7.4), in the order of the RFC's steps.
#include <cerrno>

#include "weft/tcp/engine_core.h"

namespace weft::tcp {

using netstack::kTcpAck;
using netstack::kTcpFin;
using netstack::kTcpReset;
using netstack::kTcpSyn;

namespace {

// A timestamp that is older says nothing any more (RFC 7323, 5.5).
constexpr uint32_t kTimestampLifeS = 24 * 24 * 3600;

}  // namespace

void EngineCore::SegmentInput(Tcb& tcb, Segment& segment) {
  if (tcb.is(State::kSynReceived) && !tcb.passive && segment.has(kTcpAck) &&
      segment.ack == tcb.snd_nxt &&
      ((segment.has(kTcpSyn) && segment.seq != tcb.irs) || segment.has(kTcpReset))) {
    // The SYN that this seemed to be begun by at the same time proved nothing; this one knows ours.
    ForgetCrossingSyn(tcb);
    SynSentInput(tcb, segment);
    return;
  }
  if (tcb.is(State::kSynReceived) && segment.has(kTcpSyn) && segment.seq == tcb.irs) {
    if (!segment.has(kTcpAck)) {
      // The peer has not heard our answer.
      tcb.syn_due = true;
      Touch(tcb);
      return;
    }
    // The answer to our SYN while we have answered its: as an ACK of it (RFC 9293, 3.5, figure 7).
    segment.flags &= static_cast<uint8_t>(~kTcpSyn);
    segment.seq += 1;
    // Never scaled in a SYN (RFC 7323, 2.2).
    const uint32_t unit = 1u << tcb.send_scale;
    segment.window = static_cast<uint16_t>((segment.window + unit - 1) >> tcb.send_scale);
  }
  if (!CheckPaws(tcb, segment)) return;
  if (!CheckSequence(tcb, segment)) return;
  if (segment.has(kTcpReset)) {
    ResetInput(tcb, segment);
    return;
  }
  if (segment.has(kTcpSyn)) {
    // RFC 5961, 4: whatever its number. An honest peer that has restarted answers by a reset.
    Challenge(tcb);
    return;
  }
  if (!segment.has(kTcpAck)) {
    ++stats_.no_ack;
    return;
  }
  if (tcb.is(State::kSynReceived) && !SynReceivedInput(tcb, segment)) return;
  // What follows is believed: the peer has heard from us.
  if (!CheckAck(tcb, segment)) return;
  tcb.last_received = Tick::AtMost(now_ns_);
  tcb.keepalive_sent = 0;
  tcb.error = 0;
  // RFC 7323, 4.3: of what begins before, or at, the last acknowledgement that was sent. A forged
  // one from far ahead would make all that the peer sends seem old.
  if (tcb.timestamps && segment.options.has_timestamps && segment.seq <= tcb.last_ack_sent) {
    tcb.ts_recent = segment.options.timestamp_value;
    tcb.ts_recent_s = static_cast<uint32_t>(now_ns_ / 1'000'000'000);
  }
  if (!AckInput(tcb, segment)) return;
  if ((segment.length > 0 || segment.has(kTcpFin)) && !DataInput(tcb, segment)) return;
  RestIfAlone(tcb);
}

// Back to SYN-SENT.
void EngineCore::ForgetCrossingSyn(Tcb& tcb) {
  tcb.state = State::kSynSent;
  tcb.syn_due = false;
}

// What nobody uses any more and only waits for the peer's FIN needs little, and not for ever.
void EngineCore::RestIfAlone(Tcb& tcb) {
  if (tcb.is(State::kFinWait2) && tcb.user_closed) EnterTimeWait(tcb, /*fin_wait_2=*/true);
}

// "First, check sequence number". False: the segment is done with, and may have been the end of the
// connection.
bool EngineCore::CheckSequence(Tcb& tcb, const Segment& segment) {
  const Seq next = tcb.receive.next();
  const Seq edge = Max(tcb.receive.edge(), next);
  // A little more is let through than the RFC's table has: what ends at RCV.NXT, and what begins at
  // the edge, so that acknowledgements count while the window is closed ("special allowance should
  // be made to accept valid ACKs and RSTs").
  if (segment.end() >= next && segment.seq <= edge) {
    // Of old data the acknowledgement is sent again, as the peer may not have heard it.
    const bool old = segment.end() == next && segment.end() != segment.seq;
    if (!old) return true;
    if (segment.length > 0) tcb.receive.NoteDuplicate(segment.seq, segment.seq + segment.length);
    ++stats_.duplicate_data;
    if (segment.has(kTcpReset)) return false;
    tcb.ack_now = true;
    Touch(tcb);
    // What it acknowledges may be news.
    if (tcb.synchronized() && segment.has(kTcpAck) && !segment.has(kTcpSyn) &&
        CheckAck(tcb, segment)) {
      tcb.last_received = Tick::AtMost(now_ns_);
      if (AckInput(tcb, segment)) RestIfAlone(tcb);
    }
    return false;
  }
  ++stats_.out_of_window;
  if (segment.has(kTcpReset)) return false;
  if (segment.length > 0 && segment.seq < next) {
    tcb.receive.NoteDuplicate(segment.seq, segment.seq + segment.length);
    ++stats_.duplicate_data;
    tcb.ack_now = true;  // data that came twice
    Touch(tcb);
    return false;
  }
  AnswerProbe(tcb);
  return false;
}

// Protection against wrapped sequence numbers (RFC 7323, 5).
bool EngineCore::CheckPaws(Tcb& tcb, const Segment& segment) {
  if (!tcb.timestamps || segment.has(kTcpReset)) return true;
  if (!segment.options.has_timestamps) {
    // RFC 7323, 3.2. A SYN is looked at further: it is answered by a challenge in any case.
    if (segment.has(kTcpSyn)) return true;
    ++stats_.paws_dropped;
    return false;
  }
  const auto age = static_cast<int32_t>(segment.options.timestamp_value - tcb.ts_recent);
  if (age >= 0) return true;
  const auto now_s = static_cast<uint32_t>(now_ns_ / 1'000'000'000);
  if (now_s - tcb.ts_recent_s > kTimestampLifeS) return true;
  ++stats_.paws_dropped;
  if (segment.length > 0 || segment.has(kTcpFin)) {
    // Only of what is here: of anything else the peer would believe that it had arrived.
    const Seq end = Min(segment.seq + segment.length, tcb.receive.next());
    if (segment.seq < end) tcb.receive.NoteDuplicate(segment.seq, end);
    if (tcb.synchronized()) {
      tcb.ack_now = true;
      Touch(tcb);
    }
  } else {
    AnswerProbe(tcb);
  }
  return false;
}

// "Second, check the RST bit", as RFC 5961, 3.2 has it. True: the connection is over.
bool EngineCore::ResetInput(Tcb& tcb, const Segment& segment) {
  if (segment.seq != tcb.receive.next()) {
    Challenge(tcb);
    return false;
  }
  ++stats_.resets_received;
  if (tcb.is(State::kSynReceived) && !tcb.passive) {
    // It does not know our SYN. The one that crossed it may be forged, and then so is this: who
    // really has begun at the same time, and gone, refuses our SYN when it comes again.
    ForgetCrossingSyn(tcb);
    return false;
  }
  if (tcb.is(State::kSynReceived)) {
    End(tcb, 0);  // back to LISTEN; nobody was told of it
    return true;
  }
  // When both sides have said everything there is nothing to complain of.
  const bool over = (tcb.is(State::kClosing) || tcb.is(State::kLastAck)) && tcb.send.empty();
  End(tcb, over ? 0 : ECONNRESET);
  return true;
}

// "Fifth, check the ACK field", in SYN-RECEIVED. False: the segment is done with.
bool EngineCore::SynReceivedInput(Tcb& tcb, Segment& segment) {
  if (tcb.passive && !listeners_[tcb.listener].open) {
    // Nobody listens any more, and the search for such handshakes has not come to this one yet.
    SendResetOf(tcb);
    End(tcb, 0);
    return false;
  }
  if (!(segment.ack > tcb.iss && segment.ack <= tcb.snd_nxt)) {
    // It may be in answer to a cookie, sent for an earlier copy of the SYN: that is what the peer
    // goes by.
    const uint32_t listener = tcb.listener;
    if (tcb.passive && IsCookie(listener, segment)) {
      End(tcb, 0);
      CookieInput(listener, segment);
      return false;
    }
    ++stats_.bad_acks;
    SendResetFor(segment);
    return false;
  }
  if (tcb.passive) {
    Listener& listener = listeners_[tcb.listener];
    if (listener.waiting >= listener.backlog) {
      // It stays half-open; our answer is sent again, and acknowledged again.
      ++stats_.accept_overflows;
      return false;
    }
    --listener.half_open;
    stats_.half_open.Add(-1);
    ++listener.waiting;
    ++stats_.passive_opens;
  }
  tcb.snd_una = tcb.iss + 1;
  tcb.snd_wl1 = segment.seq - 1;  // so that this segment's window counts
  tcb.snd_wl2 = segment.ack;
  Establish(tcb, &segment);
  const bool known = tcb.announced;
  Announce(tcb);
  Raise(tcb, known ? Tcb::kConnected : Tcb::kAccepted);
  // What the user has committed or ended meanwhile.
  Touch(tcb);
  Arm(tcb);
  return true;
}

// An acknowledgement in answer to what may be forged (RFC 5961, 7): not too often, for a connection
// and for all.
void EngineCore::Challenge(Tcb& tcb) {
  if (ChallengedLately(tcb) || !ChallengeAllowed()) {
    ++stats_.challenge_acks_limited;
    return;
  }
  SendChallenge(tcb);
}

// An acknowledgement in answer to what is out of turn (RFC 9293, 3.10.7.4): not too often for a
// connection, or two engines would answer each other for ever. The limit of all does not count: it
// may be probes, of closed windows or of connections that are idle, and who does nothing but use
// that limit up would have all of these ended by their peers.
void EngineCore::AnswerProbe(Tcb& tcb) {
  if (ChallengedLately(tcb)) {
    ++stats_.challenge_acks_limited;
    return;
  }
  SendChallenge(tcb);
}

bool EngineCore::ChallengedLately(const Tcb& tcb) const {
  // One that seems to lie ahead is of hours ago: a Tick has gone once around.
  const int64_t ago_ns = now_ns_ - tcb.last_challenge.ToNs(now_ns_);
  return tcb.last_challenge && ago_ns >= -Tick::kNs && ago_ns < kChallengeIntervalNs;
}

void EngineCore::SendChallenge(Tcb& tcb) {
  tcb.last_challenge = Tick::AtLeast(now_ns_);
  ++stats_.challenge_acks;
  if (tcb.is(State::kSynReceived)) {
    // The answer to the SYN says as much.
    tcb.syn_due = true;
    Touch(tcb);
    return;
  }
  tcb.ack_now = true;
  Touch(tcb);
}

// The limit of a second is not told by the rate at which it is met: it is drawn anew each second
// (what a fixed one gives away: Cao et al., "Off-Path TCP Exploits", USENIX Security 2016).
bool EngineCore::ChallengeAllowed() {
  const int64_t second = now_ns_ / 1'000'000'000;
  if (second != challenge_second_) {
    challenge_second_ = second;
    const uint32_t limit = options_.challenge_acks_per_s;
    challenges_left_ = limit / 2 + static_cast<uint32_t>(random_.Below(uint64_t{limit} + 1));
  }
  if (challenges_left_ == 0) return false;
  --challenges_left_;
  return true;
}

}  // namespace weft::tcp
