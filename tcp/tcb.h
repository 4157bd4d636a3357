// SPDX-License-Identifier: Apache-2.0
//
// Tcb: what an engine knows of one connection, the transmission control block of RFC 9293, 3.3.1.
// Part of the engine; users have a StreamId.
//
// All that an idle connection has is in here. What it needs while data is under way (received
// buffers, sent ones, the state of a recovery) hangs from it and is given back.
#ifndef WEFT_TCP_TCB_H_
#define WEFT_TCP_TCB_H_

#include <algorithm>
#include <cstdint>

#include "weft/core/rtt_estimator.h"
#include "weft/core/timer_wheel.h"
#include "weft/tcp/congestion/congestion_control.h"
#include "weft/tcp/flow.h"
#include "weft/tcp/loss_detection.h"
#include "weft/tcp/receive_queue.h"
#include "weft/tcp/send_queue.h"
#include "weft/tcp/seq.h"
#include "weft/tcp/tick.h"
#include "weft/transports/stream_options.h"

namespace weft::tcp {

class EngineCore;

struct Tcb {
  using State = StreamInfo::State;
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr uint16_t kNobody = UINT16_MAX;

  // What `retransmit_at` is for; data in flight has deadlines of its own (LossDetection).
  enum class Retransmit : uint8_t {
    kNone,
    kHandshake,    // the SYN, or the answer to one
    kFin,          // all data is acknowledged, the FIN is not
    kWindowProbe,  // the peer's window is closed (RFC 9293, 3.8.6.1)
    kCork,         // less than a segment is held back by the user
  };

  // Bits of `events`, in the order in which they are told.
  enum Event : uint8_t {
    kAccepted = 1 << 0,
    kConnected = 1 << 1,
    kReadable = 1 << 2,
    kWritable = 1 << 3,
    kRemoteClosed = 1 << 4,
    kClosed = 1 << 5,
  };

  Tcb(EngineCore* engine, Timer::Callback on_timer, uint32_t place)
      : timer(on_timer, this), core(engine), index(place) {}

  // --- Who it is.
  Timer timer;
  EngineCore* core;
  Flow flow;
  uint32_t index;                // its place in the slab, which knows the generation, too
  uint32_t listener = kNone;     // of one that was not accepted yet
  uint32_t next_event = kNone;   // in the list of those with events
  uint32_t next_output = kNone;  // in the list of those with something to send
  uint32_t previous_output = kNone;

  State state = State::kClosed;
  uint8_t events = 0;
  Retransmit retransmit = Retransmit::kNone;
  uint8_t retries = 0;  // of `retransmit`, in a row
  uint8_t keepalive_sent = 0;
  uint8_t quick_acks = 0;  // acknowledgements that are not held back
  uint8_t send_scale = 0;  // window scales (RFC 7323, 2)
  uint8_t receive_scale = 0;
  uint8_t dscp = 0;
  uint8_t ttl = 0;
  uint16_t error = 0;  // an errno, for kClosed; before that of the last ICMP error, if any
  uint16_t user = 0;   // who is told; kNobody: its user has gone, and it ends by itself

  bool in_events : 1 = false;
  bool in_output : 1 = false;
  bool in_table : 1 = false;      // of flows
  bool in_gaps : 1 = false;       // in the engine's list of those with gaps
  bool starving : 1 = false;      // in the engine's list of those that wait for buffers
  bool hungry : 1 = false;        // in that of those that have none
  bool announced : 1 = false;     // the user knows of it
  bool closed_told : 1 = false;   // kClosed was raised
  bool user_closed : 1 = false;   // Close(): what arrives is discarded
  bool write_closed : 1 = false;  // a FIN follows what was committed
  bool fin_sent : 1 = false;
  bool fin_received : 1 = false;
  bool wants_room : 1 = false;  // kWritable is due when there is some
  bool ack_now : 1 = false;
  bool syn_due : 1 = false;  // the SYN, or the answer to one, is to be sent
  bool timestamps : 1 = false;
  bool sack : 1 = false;
  bool window_scaling : 1 = false;
  bool ecn : 1 = false;
  bool ecn_echo : 1 = false;  // ECE until the peer says CWR (RFC 3168, 6.1.3)
  bool ce_state : 1 = false;  // the last data was marked (RFC 8257, 3.2)
  bool passive : 1 = false;
  bool no_delay : 1 = false;
  bool cork : 1 = false;
  bool keepalive : 1 = false;
  bool fixed_receive_buffer : 1 = false;  // the user has set it
  bool retransmitted_syn : 1 = false;

  // --- When something is due; zero: it is not.
  Tick retransmit_at;
  Tick ack_at;
  Tick keepalive_at;

  // --- Send sequence space.
  Seq iss;
  Seq snd_una;
  Seq snd_nxt;  // behind everything that was ever sent, the FIN included
  Seq snd_wl1;
  Seq snd_wl2;
  uint32_t snd_wnd = 0;
  uint32_t snd_wnd_max = 0;
  uint16_t peer_mss = 0;  // as announced
  uint16_t path_mtu = 0;
  uint16_t mss = 0;          // payload of a full segment: all options of it taken off
  uint16_t receive_mss = 0;  // of the peer's segments, as seen
  uint16_t last_length = 0;  // of the peer's last one with data, if more was to follow it
  Tick progress;             // when the peer last acknowledged something, or had nothing to

  // --- Receive sequence space; RCV.NXT and the window are the queue's.
  Seq irs;
  Seq last_ack_sent;
  uint32_t ts_recent = 0;    // RFC 7323, 4.3
  uint32_t ts_recent_s = 0;  // when that came
  uint32_t ts_offset = 0;    // of our own
  uint32_t receive_rtt_ticks = 0;
  Tick last_received;
  Tick last_challenge;

  ReceiveQueue receive;
  SendQueue send;
  LossDetection loss;
  RttEstimator rtt;
  CongestionState congestion;

  // --- What users have set.
  uint32_t send_limit_bytes = 0;
  uint32_t user_timeout_ms = 0;
  uint16_t keepalive_idle_s = 0;
  uint16_t keepalive_interval_s = 0;
  uint8_t keepalive_probes = 0;

  uint8_t reachable_s = 0;  // when the stack was last told that the peer answers, modulo 256
  uint16_t raise_mtu_min =
      0;  // the minute when a narrow path may be so no more; 0: it is not narrow

  // --- Counts.
  uint64_t bytes_acked = 0;
  uint64_t bytes_received = 0;
  uint32_t segments_sent = 0;
  uint32_t segments_received = 0;
  uint32_t segments_delivered = 0;  // acknowledged, for the first time
  uint32_t busy = 0;                // time with data to send, in the engine's units
  uint32_t rare = kNone;            // RareCounts

  bool is(State which) const { return state == which; }
  // RFC 9293, 3.3.2: a SYN has gone both ways, and both sides know it.
  bool synchronized() const {
    return state != State::kClosed && state != State::kSynSent && state != State::kSynReceived;
  }
  // Whether the user may still send.
  bool can_write() const {
    return (state == State::kEstablished || state == State::kCloseWait) && !write_closed;
  }
  // Behind the last byte that was committed: where the FIN stands.
  Seq fin_seq() const { return send.end(); }
  bool fin_acked() const { return fin_sent && snd_una > fin_seq(); }
  // The right edge of the peer's window.
  Seq window_edge() const { return snd_una + snd_wnd; }
  // SND.NXT for segments without data. A peer that has taken back its window, as Linux does when it
  // runs out of memory, drops what lies beyond, acknowledgements and resets too (RFC 9293, 3.10.7.4
  // and 3.8.6). Less than a unit of the window is rounding (RFC 7323, 2.4).
  Seq next_taken_by_peer() const {
    const int32_t beyond = snd_nxt - window_edge();
    return beyond < (1 << send_scale) ? snd_nxt : window_edge();
  }
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_TCB_H_
