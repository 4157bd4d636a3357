// SPDX-License-Identifier: Apache-2.0
//
// Bursts of segments, and to whom each belongs.
#include <utility>

#include "weft/tcp/engine_core.h"

namespace weft::tcp {

using netstack::kTcpAck;
using netstack::kTcpFin;
using netstack::kTcpReset;
using netstack::kTcpSyn;

// Takes the header apart. False for one that no TCP sends.
bool EngineCore::Take(const netstack::ReceivedSegment& received, Segment* segment) {
  netstack::TcpView view;
  if (!netstack::TcpView::Parse(received.buffer.bytes(), &view)) return false;
  segment->flow = {received.destination, received.source, view.destination_port(),
                   view.source_port()};
  if (segment->flow.local_port == 0 || segment->flow.remote_port == 0) return false;
  segment->seq = Seq(view.sequence());
  segment->ack = Seq(view.acknowledgment());
  segment->flags = view.flags();
  segment->window = view.window();
  segment->length = static_cast<uint32_t>(view.payload_bytes());
  segment->header_bytes = view.header_bytes();
  segment->ecn = received.ecn;
  // SYN with FIN or RST is of no use but to those who look for holes in filters.
  if (segment->has(kTcpSyn) && segment->has(kTcpFin | kTcpReset)) return false;
  segment->options = ParseSegmentOptions(view.options());
  stats_.bad_options += segment->options.malformed;
  return true;
}

void EngineCore::Receive(absl::Span<netstack::ReceivedSegment> burst, int64_t now_ns) {
  now_ns_ = now_ns;
  for (netstack::ReceivedSegment& received : burst) {
    if (!received.buffer) continue;
    Segment segment;
    if (!Take(received, &segment)) {
      ++stats_.segments_received;
      ++stats_.malformed;
      received.buffer.Reset();
      continue;
    }
    segment.buffer = &received.buffer;
    segment.hash = HashOf(segment.flow, table_secret_);
    if (!Dispatch(segment)) continue;
    ++stats_.segments_received;
    received.buffer.Reset();
  }
  Flush(now_ns);
}

// False: it is nobody's here.
bool EngineCore::Dispatch(Segment& segment) {
  const uint32_t index =
      table_.Find(segment.hash, [&](uint32_t i) { return slab_.At(i)->flow == segment.flow; });
  if (index != ConnectionTable::kNone) {
    Tcb& tcb = *slab_.At(index);
    ++tcb.segments_received;
    if (tcb.is(State::kSynSent)) {
      SynSentInput(tcb, segment);
    } else {
      SegmentInput(tcb, segment);
    }
    return true;
  }
  if (time_wait_.size() > 0) {
    const uint32_t rests = time_wait_.Find(segment.flow, segment.hash);
    if (rests != TimeWaitTable::kNone && TimeWaitInput(rests, segment)) return true;
  }
  uint32_t listener = 0;
  if (FindListener(segment.flow.local, segment.flow.local_port, &listener) == nullptr) {
    return false;
  }
  ListenInput(listener, segment);
  return true;
}

// RFC 9293, 3.10.7.1.
void EngineCore::Reject(absl::Span<netstack::ReceivedSegment> burst, int64_t now_ns) {
  now_ns_ = now_ns;
  for (netstack::ReceivedSegment& received : burst) {
    if (!received.buffer) continue;
    ++stats_.segments_received;
    Segment segment;
    if (Take(received, &segment)) {
      ++stats_.no_connection;
      SendResetFor(segment);
    } else {
      ++stats_.malformed;
    }
    received.buffer.Reset();
  }
}

}  // namespace weft::tcp
