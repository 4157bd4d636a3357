// SPDX-License-Identifier: Apache-2.0
//
// RecoveryState: what LossDetection knows of data in flight. It lies beside the data in SendQueue's
// memory, so that a connection without data does not pay for it. Of interest to LossDetection, its
// tests and whoever shows a connection's state.
#ifndef WEFT_TCP_RECOVERY_STATE_H_
#define WEFT_TCP_RECOVERY_STATE_H_

#include <cstdint>
#include <limits>

#include "weft/tcp/congestion/congestion_control.h"
#include "weft/tcp/seq.h"

namespace weft::tcp {

enum class RecoveryPhase : uint8_t {
  kOpen,      // nothing is known to be lost
  kReducing,  // the peer echoed an ECN mark: the window is led down (RFC 3168, 6.1.2)
  kRecovery,  // losses were seen by what came behind them (RFC 6675, RFC 6582)
  kTimeout,   // the retransmission timer fired (RFC 6298)
};

// What keeps data from being sent, for the times that StreamInfo tells of.
enum class SendLimit : uint8_t {
  kIdle,           // there is none
  kNetwork,        // the congestion window, the peer's delay: the rest
  kReceiveWindow,  // the peer's window
  kSendBuffer,     // all is sent, and the user waits for room to write more
};

// A measurement of how fast data is delivered, over a round trip: from when one piece, the first to
// be sent after the last measurement, went out until it is acknowledged
// (draft-ietf-ccwg-bbr, 4.1, with one piece of each round in place of all).
struct RateRound {
  uint32_t delivered_bytes = 0;  // since there was nothing in flight; counts round
  int64_t delivered_ns = 0;      // when that was last so
  int64_t first_sent_ns = 0;     // when that was sent which the last measurement ended with
  // Of the piece, when it was sent; valid while `open`.
  uint32_t delivered_before = 0;
  int64_t delivered_before_ns = 0;
  int64_t sent_before_ns = 0;
  int64_t sent_ns = 0;
  Seq end;
  bool open = false;
  bool user_limited = false;  // there was not always something to send
};

struct RecoveryState {
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  // When to do something if nothing is heard (kNever: not).
  int64_t rto_ns = kNever;      // RFC 6298
  int64_t probe_ns = kNever;    // tail loss probe (RFC 8985, 7)
  int64_t reorder_ns = kNever;  // a segment that may only be late counts as lost (RFC 8985, 6.3)
  int64_t forget_ns = kNever;   // all has been acknowledged; kept for a proof that nothing was lost

  // RACK (RFC 8985, 6): of what was delivered, what was sent last; valid if rack_rtt_ns > 0.
  int64_t rack_sent_ns = 0;
  int64_t rack_rtt_ns = 0;
  Seq rack_end;      // its end, by which the parts of one piece are told apart
  Seq forward;       // highest sequence number delivered (RACK.fack)
  Seq dsack_round;   // valid if in_dsack_round
  Seq resent_until;  // behind what was on the way at the last resending; valid if resent_lately

  // Recovery ends when all that had been sent when it began is acknowledged. While nothing is being
  // recovered: duplicates of what is before it say nothing (RFC 6582, 3.2).
  Seq recovery_point;
  // Proportional rate reduction (RFC 6937), in bytes.
  uint32_t prr_delivered = 0;
  uint32_t prr_sent = 0;
  uint32_t prr_flight = 0;  // RecoverFS

  // Undo: the window before the reduction, and what was sent again since that no DSACK has proved
  // needless yet (RFC 3708). Valid if can_undo.
  CongestionState before;
  Seq undo_from;
  Seq undo_until;  // after the recovery: what was sent before it may still bring proof
  uint32_t undo_resent_bytes = 0;
  int64_t first_resend_ns = 0;  // for timestamps (RFC 3522); 0: nothing was sent again

  Seq probe_end;      // of the data sent when a probe went out (TLP.end_seq); valid if probing
  Seq limited_until;  // what was sent before it filled the window; valid if was_limited
  Seq ecn_until;      // echoes for what was sent before it are of a mark that has been answered
  uint32_t duplicates = 0;  // acknowledgements that say nothing else, without SACK

  RateRound rate;
  uint32_t limit_since = 0;  // in the engine's units

  RecoveryPhase phase = RecoveryPhase::kOpen;
  SendLimit limit = SendLimit::kIdle;
  bool can_undo : 1 = false;
  bool marked : 1 = false;  // the reduction was needed, an ECN mark says: only the rest is undone
  bool in_dsack_round : 1 = false;
  bool resent_lately : 1 = false;  // for loss: what came twice may be that
  bool probe_due : 1 = false;      // the next piece that is sent is the probe
  bool probing : 1 = false;        // a probe is under way
  bool probe_resent : 1 = false;   // it was data sent again (TLP.is_retrans)
  bool was_limited : 1 = false;
  bool ecn_answered : 1 = false;    // ecn_until is valid
  bool spurious_check : 1 = false;  // F-RTO (RFC 5682): is the timeout real?
  bool prefer_new : 1 = false;      // F-RTO's step 2b: new data before what seems lost
  bool resend_head : 1 = false;     // the first resending goes out whatever the window says
};
static_assert(sizeof(RecoveryState) <= 256);

}  // namespace weft::tcp

#endif  // WEFT_TCP_RECOVERY_STATE_H_
