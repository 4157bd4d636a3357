// SPDX-License-Identifier: Apache-2.0
//
// Connections that rest: TIME-WAIT (RFC 9293, 3.10.7.4; RFC 6191; RFC 1337), and FIN-WAIT-2 of
// those that nobody uses any more.
#include <utility>

#include "weft/tcp/engine_core.h"

namespace weft::tcp {

using netstack::kTcpAck;
using netstack::kTcpFin;
using netstack::kTcpReset;
using netstack::kTcpSyn;

namespace {

// More than any window that is not scaled, as Linux has it.
constexpr uint32_t kAboveOld = 0x10002;

}  // namespace

// Makes a connection a resting one. It answers the peer's FIN first, if that is what is due.
void EngineCore::EnterTimeWait(Tcb& tcb, bool fin_wait_2) {
  if (tcb.ack_now) SendAck(tcb);
  TimeWaitEntry entry;
  entry.set_flow(tcb.flow);
  entry.rcv_nxt = tcb.receive.next();
  entry.snd_nxt = tcb.snd_nxt;
  entry.ts_recent = tcb.ts_recent;
  entry.window = tcb.receive.Advertise(tcb.receive_mss, tcb.receive_scale);
  entry.timestamps = tcb.timestamps;
  entry.fin_wait_2 = fin_wait_2;
  LeaveTable(tcb);
  if (time_wait_.full()) ++stats_.time_wait_evicted;
  time_wait_.Add(entry, now_ns_);
  ++stats_.time_waits;
  End(tcb, 0);
}

// True: the segment is done with. False: it goes on to a listener, as the entry has gone.
bool EngineCore::TimeWaitInput(uint32_t index, Segment& segment) {
  TimeWaitEntry& entry = time_wait_[index];
  const bool ts = entry.timestamps && segment.options.has_timestamps;
  const auto age = ts ? static_cast<int32_t>(segment.options.timestamp_value - entry.ts_recent) : 0;
  if (segment.has(kTcpReset)) {
    // In TIME-WAIT it would only undo the rest's purpose (RFC 1337, 3).
    if (entry.fin_wait_2 && segment.seq == entry.rcv_nxt) {
      ++stats_.resets_received;
      time_wait_.Remove(index);
    }
    return true;
  }
  if (segment.has(kTcpSyn) && !segment.has(kTcpAck) && !entry.fin_wait_2) {
    // RFC 6191, 2: a new connection, if its segments can be told from those of the old one: by
    // their timestamps, of which the old one's may have none, or by their numbers.
    const bool first_with_timestamps =
        !entry.timestamps && segment.options.has_timestamps && options_.timestamps;
    const bool newer =
        age > 0 || first_with_timestamps || (age == 0 && segment.seq > entry.rcv_nxt);
    uint32_t listener = 0;
    if (newer && FindListener(segment.flow.local, segment.flow.local_port, &listener) != nullptr) {
      ++stats_.time_wait_reused;
      segment.takes_over = true;
      segment.isn_above = entry.snd_nxt + kAboveOld;
      time_wait_.Remove(index);
      return false;
    }
  }
  if (ts && age < 0) ++stats_.paws_dropped;
  const bool in_order = segment.seq == entry.rcv_nxt && (!ts || age >= 0) && segment.has(kTcpAck) &&
                        !segment.has(kTcpSyn);
  if (in_order && ts) entry.ts_recent = segment.options.timestamp_value;
  if (entry.fin_wait_2 && in_order) {
    // Nobody reads it; it is acknowledged so that the peer gets to its end.
    if (segment.length > 0) ++stats_.data_after_close;
    entry.rcv_nxt += segment.length;
    if (segment.has(kTcpFin)) {
      entry.rcv_nxt += 1;
      entry.fin_wait_2 = false;
      time_wait_.Renew(index, now_ns_);
    }
  } else if (!entry.fin_wait_2 && segment.has(kTcpFin) && segment.end() == entry.rcv_nxt) {
    // The peer has not heard the acknowledgement of its FIN: the rest begins anew.
    time_wait_.Renew(index, now_ns_);
  }
  if (segment.seq == entry.rcv_nxt && segment.end() == segment.seq) return true;
  // An answer to whatever else comes, unless it may be in answer to ours.
  const bool bare = segment.length == 0 && !segment.has(kTcpFin | kTcpSyn);
  if (bare && !ChallengeAllowed()) {
    ++stats_.challenge_acks_limited;
    return true;
  }
  netstack::TcpFields fields;
  fields.sequence = entry.snd_nxt.value();
  fields.acknowledgment = entry.rcv_nxt.value();
  fields.flags = kTcpAck;
  fields.window = entry.window;
  SegmentOptions options;
  if (entry.timestamps) {
    options.has_timestamps = true;
    options.timestamp_value =
        TsNow(now_ns_, secret_.TimestampOffset(entry.flow().local, entry.flow().remote));
    options.timestamp_echo = entry.ts_recent;
  }
  SendPlain(entry.flow(), fields, options);
  return true;
}

}  // namespace weft::tcp
