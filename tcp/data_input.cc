// SPDX-License-Identifier: Apache-2.0
//
// Data and the peer's FIN (RFC 9293, 3.10.7.4, "seventh, process the segment text" and "eighth,
// check the FIN bit"). Urgent data is data like all other, in line (RFC 6093, 5).
#include <algorithm>
#include <utility>

#include "weft/tcp/engine_core.h"

namespace weft::tcp {

using netstack::kTcpCwr;
using netstack::kTcpFin;
using netstack::kTcpPush;

namespace {

constexpr uint8_t kEcnCe = 3;  // RFC 3168, 5

// Less is taken for a peer that writes little at a time, as Linux has it (TCP_MIN_MSS).
constexpr uint16_t kFullSegmentLeast = 88;

}  // namespace

// False: the connection is over, and may be gone.
bool EngineCore::DataInput(Tcb& tcb, Segment& segment) {
  // After the peer's FIN there is nothing more (3.10.7.4, "this should not occur").
  if (tcb.fin_received) {
    ++stats_.window_dropped;
    return true;
  }
  EcnInput(tcb, segment);
  segment.buffer->TrimFront(segment.header_bytes);
  if (segment.length > 0) {
    LearnSegmentSize(tcb, segment);
    MeasureRoundTrip(tcb, segment);
  }
  ReceiveQueue::Room room = RoomToReceive();
  if (!room.in_order) {
    PruneGaps();
    room = RoomToReceive();
  }
  const ReceiveQueue::Added added =
      tcb.receive.Add(segment.seq, std::move(*segment.buffer), segment.has(kTcpFin), room);
  Hold(added.buffers);
  tcb.bytes_received += added.bytes;
  stats_.bytes_received += added.bytes;
  stats_.coalesced += added.coalesced;
  if (added.out_of_order) {
    ++stats_.out_of_order;
    ++Rare(tcb).out_of_order;
    if (!tcb.in_gaps) NoteGap(tcb);
  }
  if (added.duplicate) ++stats_.duplicate_data;
  if (added.dropped) {
    ++(segment.seq == tcb.receive.next() ? stats_.window_dropped : stats_.out_of_order_dropped);
  }
  if (added.bytes > 0) {
    if (tcb.user_closed) {
      // Nobody reads it. It is acknowledged, so that the peer gets to our end.
      ++stats_.data_after_close;
      Hold(-static_cast<int64_t>(tcb.receive.Consume(added.bytes)));
    } else {
      Raise(tcb, Tcb::kReadable);
    }
  }
  ScheduleAck(tcb, added);
  return !added.fin || FinInput(tcb);
}

// How long the peer's full segments are, for delayed acknowledgements: as long as the longest
// (several that a device has joined are no longer one), or, when the path has become narrower, as a
// shorter one that comes twice in a row while there is more to come (Linux:
// tcp_measure_rcv_mss()).
void EngineCore::LearnSegmentSize(Tcb& tcb, const Segment& segment) {
  const auto length =
      static_cast<uint16_t>(std::min<uint32_t>(segment.length, MssOf(tcb.flow.remote, world_.mtu)));
  const bool more_follows = !segment.has(kTcpPush) && !segment.has(kTcpFin);
  const bool again = more_follows && length == tcb.last_length && length >= kFullSegmentLeast;
  if (length > tcb.receive_mss || again) tcb.receive_mss = length;
  tcb.last_length = more_follows ? length : 0;
}

// The round trip as one who only receives can see it: a sender in full swing sends a segment as
// soon as it hears an acknowledgement, whose timestamp comes back with it.
void EngineCore::MeasureRoundTrip(Tcb& tcb, const Segment& segment) {
  if (!tcb.timestamps || !segment.options.has_timestamps) return;
  if (segment.length < tcb.receive_mss) return;
  constexpr uint32_t kAgeMsMax = 10'000;
  constexpr int64_t kNsPerMilli = 1'000'000;
  const uint32_t age_ms = TsNow(now_ns_, tcb.ts_offset) - segment.options.timestamp_echo;
  if (age_ms == 0 || age_ms > kAgeMsMax) return;
  const auto ticks = static_cast<uint32_t>(age_ms * kNsPerMilli / Tick::kNs);
  tcb.receive_rtt_ticks =
      tcb.receive_rtt_ticks == 0 ? ticks : (7 * tcb.receive_rtt_ticks + ticks) / 8;
}

// When to acknowledge (RFC 9293, 3.8.6.3; RFC 5681, 4.2): at once, every second full segment, or
// with what is sent anyhow.
void EngineCore::ScheduleAck(Tcb& tcb, const ReceiveQueue::Added& added) {
  if (added.out_of_order && !tcb.sack) {
    // Each one counts for a peer that has nothing else to see a loss by.
    if (!SendAck(tcb)) tcb.ack_now = true;
    Touch(tcb);
    return;
  }
  if (added.out_of_order || added.duplicate || added.dropped || added.filled ||
      tcb.receive.has_gaps()) {
    // Blocks tell of the last few segments only, so what is due goes before the next one.
    if (tcb.ack_now && added.out_of_order) SendAck(tcb);
    tcb.ack_now = true;
    Touch(tcb);
    return;
  }
  if (added.bytes == 0 && !added.fin) return;
  const auto unacked = static_cast<uint32_t>(tcb.receive.next() - tcb.last_ack_sent);
  const bool enough = unacked >= 2u * tcb.receive_mss;
  if (enough || added.fin || tcb.quick_acks > 0 || options_.delayed_ack_ns == 0) {
    tcb.ack_now = true;
    Touch(tcb);
    return;
  }
  if (!tcb.ack_at) {
    tcb.ack_at = Tick::AtLeast(now_ns_ + options_.delayed_ack_ns);
    ArmBy(tcb, tcb.ack_at.ToNs(now_ns_));
  }
}

// RFC 3168, 6.1.3; with an exact congestion control RFC 8257, 3.2.
void EngineCore::EcnInput(Tcb& tcb, const Segment& segment) {
  if (!tcb.ecn) return;
  const bool marked = segment.ecn == kEcnCe;
  if (marked) ++stats_.ecn_marked;
  if (tcb.congestion.algorithm->exact_ecn()) {
    if (marked != tcb.ce_state) {
      // What came before is acknowledged apart, as its mark was another one.
      if (tcb.receive.next() != tcb.last_ack_sent) SendAck(tcb);
      tcb.ce_state = marked;
      tcb.ack_now = true;
      Touch(tcb);
    }
    tcb.ecn_echo = marked;
    return;
  }
  if (segment.has(kTcpCwr)) tcb.ecn_echo = false;
  if (marked && !tcb.ecn_echo) {
    tcb.ecn_echo = true;
    tcb.ack_now = true;
    Touch(tcb);
  }
}

// Everything that the peer has sent is here. False: the connection is over.
bool EngineCore::FinInput(Tcb& tcb) {
  tcb.fin_received = true;
  tcb.ack_now = true;
  Touch(tcb);
  if (!tcb.user_closed) Raise(tcb, Tcb::kRemoteClosed);
  switch (tcb.state) {
    case State::kEstablished:
      tcb.state = State::kCloseWait;
      return true;
    case State::kFinWait1:
      // Its acknowledgement of ours was looked at before, so ours is still on its way.
      tcb.state = State::kClosing;
      return true;
    case State::kFinWait2:
      EnterTimeWait(tcb, /*fin_wait_2=*/false);
      return false;
    default:
      return true;
  }
}

}  // namespace weft::tcp
