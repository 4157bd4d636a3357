// SPDX-License-Identifier: Apache-2.0
//
// LossDetection: what of a connection's data is lost, when to send it again, and how fast.
//
//   RACK-TLP           RFC 8985   losses by time, with SACK; probes for a lost tail
//   DupThresh          RFC 6675   losses by counting: SACK without RACK
//   NewReno            RFC 6582   partial acknowledgements: peers without SACK
//   limited transmit   RFC 3042   new data for the first duplicates
//   PRR                RFC 6937   the window led down during a recovery
//   RTO                RFC 6298   with backoff
//   F-RTO, Eifel, DSACK           RFC 5682, 3522, 3708: was it needed? If not, it is undone (4015)
//   ECN                RFC 3168   once for each window of data
//
// An engine owns one Sender's worth of parts a connection and does:
//
//   write:   queue.Append(...)
//   output:  loss.BeforeFirst(sender, now_ns);
//            while ((next = loss.NextToSend(sender)) != kNothing) {
//              piece = next == kResend ? queue.ResendLost(...) : queue.SendNext(...);
//              build and send it; loss.OnSent(sender, piece, now_ns);
//            }
//            kNew, but nothing new may go: if (!loss.CannotSendNew(sender)) break;
//   input:   outcome = loss.OnAck(sender, {...}); then output
//   timer:   at loss.deadline_ns(queue): action = loss.OnTimer(sender, now_ns);
//              kProbe: SendNext(), or if there is nothing new or no window ResendLast(), once,
//                      whatever NextToSend() says, and OnSent()
//              kOutput: output
//
// What it knows of data in flight lies in the queue's memory (RecoveryState).
#ifndef WEFT_TCP_LOSS_DETECTION_H_
#define WEFT_TCP_LOSS_DETECTION_H_

#include <cstdint>
#include <utility>

#include "absl/types/span.h"
#include "weft/core/rtt_estimator.h"
#include "weft/tcp/congestion/congestion_control.h"
#include "weft/tcp/recovery_state.h"
#include "weft/tcp/send_queue.h"
#include "weft/tcp/seq.h"
#include "weft/tcp/tick.h"

namespace weft::tcp {

// What all connections of an engine share.
struct LossOptions {
  // The variation counts for rto_min_ns at least, as Linux has it: with a sample for each segment
  // it shrinks to nothing within a few round trips (RFC 7323, appendix G), and the first
  // acknowledgement that is held back would come too late.
  RttOptions rtt = {.granularity_ns = 200'000'000,
                    .rto_initial_ns = 1'000'000'000,
                    .rto_min_ns = 200'000'000,
                    .rto_max_ns = 120'000'000'000,
                    .min_window_ns = 300'000'000'000};
  bool rack = true;  // false: DupThresh, with SACK
  // The longest that a peer holds an acknowledgement back (WCDelAckT of RFC 8985, 7.2).
  int64_t peer_delayed_ack_ns = 200'000'000;
  uint32_t initial_window_packets = 10;
};

// A connection's parts, put together for a call.
struct Sender {
  SendQueue& queue;
  RttEstimator& rtt;
  CongestionState& congestion;
  const LossOptions& options;
  uint32_t mss;  // bytes of payload of a full segment
};

// One thread. 16 bytes.
class LossDetection {
 public:
  static constexpr int64_t kNever = RecoveryState::kNever;

  // What was negotiated.
  void Start(bool sack) {
    *this = LossDetection();
    sack_ = sack;
  }

  // An acknowledgement, checked: ack <= next of the queue, and before una by a window at most: then
  // another one has overtaken it. (One that acknowledges a SYN or FIN beside data is given without
  // them.)
  struct Ack {
    int64_t now_ns = 0;
    Seq ack;  // as in the segment: it tells what of `sacks` came twice (RFC 2883, 4)
    absl::Span<const SeqRange> sacks;  // as in the segment
    bool ece = false;                  // ECN echo, if ECN is in use
    // The segment has no data, no SYN or FIN, and the window that the last one had: without SACK
    // it is a duplicate if it acknowledges nothing (RFC 5681, 2).
    bool may_be_duplicate = false;
    // The latest time at which the segment whose timestamp is echoed may have been sent; 0: without
    // timestamps. Of a clock of 1 ms: the last nanosecond of the echoed one.
    int64_t echoed_ns = 0;
    static constexpr int64_t kEchoTickNs = 1'000'000;
  };

  struct Outcome {
    uint32_t acked_bytes = 0;      // that are not in the queue any more
    uint32_t delivered_bytes = 0;  // for the first time, SACKed ones included
    int64_t rtt_ns = 0;            // the sample that was taken; 0: none
    uint32_t delivered_segments = 0;
    uint32_t bad_sacks = 0;        // blocks that cannot be, ignored
    uint32_t duplicate_bytes = 0;  // the peer had twice (DSACK)
    bool recovery_began = false;   // fast recovery
    bool reordered = false;        // something overtook what was sent before it
    bool undone = false;           // a recovery or timeout turned out to be needless
    bool ecn_reduced = false;      // the window was, for an ECN echo (RFC 3168, 6.1.2)
  };

  enum class Next : uint8_t { kNothing, kResend, kNew };
  enum class Action : uint8_t {
    kNone,
    kOutput,   // losses were found: send what the window has room for
    kProbe,    // send one segment, new or the last one again (RFC 8985, 7.3)
    kTimeout,  // as kOutput; the retransmission timer fired: counts towards giving up
    kReneged,  // as kTimeout; the peer has taken back what it had SACKed (RFC 2018, 8)
  };

  // Before something is sent. When nothing is in flight, and nothing was for long, be it that
  // nothing was written or that the peer's window was closed, the congestion window is old (RFC
  // 5681, 4.1).
  void BeforeFirst(const Sender& sender, int64_t now_ns);

  // What the congestion window has room for. kNew: for min(mss, what is unsent) bytes at least; the
  // peer's window, Nagle and the like are the caller's. budget_bytes(): for how many.
  Next NextToSend(const Sender& sender) const;
  uint32_t budget_bytes(const Sender& sender) const;

  // kNew was the answer, and nothing new can go: the peer's window, Nagle or the like. True: there
  // is something to be sent again instead, ask NextToSend() once more (RFC 5682, 2.1, step 2b).
  bool CannotSendNew(const Sender& sender);

  // A piece of the queue has been sent. Not of pieces that are null.
  void OnSent(const Sender& sender, const SendQueue::Piece& piece, int64_t now_ns);

  Outcome OnAck(const Sender& sender, const Ack& ack);

  // Whether the window was reduced, for whatever reason, since this was asked last: if ECN is in
  // use the next new segment carries CWR (RFC 3168, 6.1.2).
  bool TakeReduced() { return std::exchange(reduced_, false); }

  // At deadline_ns() or later. The deadline moves; another one may be due already.
  Action OnTimer(const Sender& sender, int64_t now_ns);

  // When OnTimer() wants to be called; kNever while nothing is in flight.
  int64_t deadline_ns(const SendQueue& queue) const;

  // How often the RTO has doubled.
  uint8_t backoff() const { return backoff_; }
  // The SYN was sent again and no round trip is known: no timeout below 3 s (RFC 6298, 5.7).
  void BackOffAfterSyn(const RttOptions& options);
  int64_t rto_ns(const Sender& sender) const {
    return sender.rtt.rto_ns(sender.options.rtt, backoff_);
  }

  // Bytes on the way as far as we know, with what duplicates say without SACK.
  uint32_t pipe_bytes(const Sender& sender) const;

  RecoveryPhase phase(const SendQueue& queue) const {
    return queue.recovery() == nullptr ? RecoveryPhase::kOpen : queue.recovery()->phase;
  }
  bool reordering_seen() const { return reordering_seen_; }
  // When bytes of the queue were sent last.
  bool has_sent() const { return has_sent_; }
  Tick last_sent() const { return last_sent_; }

  // Bytes a second, as last measured; 0 before. What a user sends who has not enough to fill the
  // path is no measure of it, unless it is more than what was known.
  uint64_t delivery_rate_bytes() const { return static_cast<uint64_t>(delivery_rate_); }
  // Not all that the windows have room for could be sent, as there was no more.
  void NoteUserLimited(const Sender& sender) {
    if (sender.queue.recovery() != nullptr) sender.queue.recovery()->rate.user_limited = true;
  }

 private:
  struct Context;  // an acknowledgement that is being looked at

  // on_ack.cc
  void TakeRttSample(Context& c);
  void LeadBackoff(Context& c);
  void LearnFromDelivery(Context& c);
  void LearnFromDuplicate(Context& c);
  void CountDuplicates(Context& c);
  void EndProbe(Context& c);
  void Advance(Context& c);
  void ForgetPast(Context& c);
  void AdvanceTimeout(Context& c);
  void AdvanceRecovery(Context& c);
  void AnswerEcn(Context& c);
  void MoveWindow(Context& c);
  void ArmAfterAck(Context& c);
  void MeasureRate(Context& c);

  // loss_detection.cc
  bool DetectLosses(const Sender& sender, int64_t now_ns);
  void DetectByTime(const Sender& sender, int64_t now_ns);
  int64_t ReorderWindowNs(const Sender& sender, int64_t now_ns) const;
  void EnterRecovery(const Sender& sender, int64_t now_ns);
  Action Timeout(const Sender& sender, int64_t now_ns);
  void MarkAtTimeout(const Sender& sender, int64_t now_ns);
  void SaveForUndo(const Sender& sender);
  void BeginReduction(const Sender& sender);
  void ReduceInProportion(const Sender& sender, uint32_t delivered_bytes, bool safe);
  void ArmProbe(const Sender& sender, int64_t now_ns);
  CongestionEvent EventOf(const Sender& sender, int64_t now_ns) const;
  bool UsesRack(const Sender& sender) const { return sack_ && sender.options.rack; }

  Tick last_sent_;  // valid if has_sent_
  float delivery_rate_ = 0;
  uint8_t backoff_ = 0;       // timeouts since something was acknowledged
  uint8_t kept_backoff_ = 0;  // for new data, until a round trip was measured
  uint8_t reorder_mult_ = 1;  // RACK.reo_wnd_mult
  uint8_t reorder_persist_ = 0;
  bool sack_ = false;
  bool reordering_seen_ = false;
  bool has_sent_ = false;
  bool reduced_ = false;  // for TakeReduced()
};
static_assert(sizeof(LossDetection) <= 16, "there may be millions of them");

}  // namespace weft::tcp

#endif  // WEFT_TCP_LOSS_DETECTION_H_
