// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/outgoing_message.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <limits>
#include <utility>

namespace weft::rpc {
namespace {

// RFC 8985, section 6.2, step 4 begins with a quarter of the round trip too; the least is there for
// round trips so short that a burst of the receiver takes longer.
constexpr int64_t kReorderMinNs = 10'000;
// After as many reorderings the window is a whole round trip, RFC 8985's limit.
constexpr uint32_t kWindowShiftMax = 2;
constexpr int64_t kUnknownRttNs = 1'000'000;
constexpr int64_t kNever = std::numeric_limits<int64_t>::min();

}  // namespace

size_t OutgoingMessage::PacketsOf(const Payload& payload, size_t packet_payload_bytes) {
  size_t packets = 0;
  payload.ForEachPiece([&](absl::Span<const uint8_t> piece) {
    packets += (piece.size() + packet_payload_bytes - 1) / packet_payload_bytes;
  });
  return std::max<size_t>(packets, 1);
}

bool OutgoingMessage::Start(Payload payload, size_t packet_payload_bytes, size_t granted) {
  assert(packet_payload_bytes > 0);
  Reset();
  const size_t count = PacketsOf(payload, packet_payload_bytes);
  if (count > kExtendedPacketsMax) return false;
  payload_ = std::move(payload);
  Cut(packet_payload_bytes, count);
  states_.reserve(count);
  count_ = count;
  granted_ = std::min(granted, count);
  return true;
}

void OutgoingMessage::Cut(size_t packet_payload_bytes, size_t count) {
  packet_bytes_ = packet_payload_bytes;
  contiguous_ = payload_.front();
  if (payload_.contiguous()) return;
  pieces_.reserve(count);
  payload_.ForEachPiece([&](absl::Span<const uint8_t> piece) {
    for (; !piece.empty(); piece.remove_prefix(pieces_.back().size())) {
      pieces_.push_back(piece.first(std::min(piece.size(), packet_payload_bytes)));
    }
  });
}

Payload OutgoingMessage::Release() {
  pieces_.clear();
  states_.clear();
  if (pieces_.capacity() > kKeptPackets) pieces_ = decltype(pieces_)();
  if (states_.capacity() > kKeptPackets) states_ = decltype(states_)();
  contiguous_ = {};
  sent_ = {};
  lost_ = {};
  count_ = granted_ = next_new_ = cumulative_ = acknowledged_ = in_flight_ = lost_count_ = 0;
  edge_known_ = false;
  last_order_ = 0;
  std::fill(std::begin(latest_orders_), std::end(latest_orders_), 0);
  latest_sent_ns_ = 0;
  reorderings_ = 0;
  return std::move(payload_);
}

void OutgoingMessage::Append(List& list, uint16_t index) {
  states_[index].next = kNone;
  (list.tail != kNone ? states_[list.tail].next : list.head) = index;
  list.tail = index;
}

uint16_t OutgoingMessage::PopFront(List& list) {
  const uint16_t index = list.head;
  list.head = states_[index].next;
  if (list.head == kNone) list.tail = kNone;
  return index;
}

void OutgoingMessage::OnSent(size_t index, int64_t now_ns) {
  assert(index <= states_.size() && index < count_);
  if (index == states_.size()) {
    states_.emplace_back();
  } else {
    states_[index].resent = true;
  }
  // Below an edge of 0 it is a probe, which the receiver is not expected to keep.
  if (granted_ == 0) return;
  PacketState& packet = states_[index];
  if (packet.state == State::kLost && index == lost_.head) {
    PopFront(lost_);
    --lost_count_;
  } else if (packet.state == State::kWaiting && index == next_new_) {
    ++next_new_;
  } else {
    return;  // a probe with a packet that has arrived
  }
  packet.state = State::kInFlight;
  packet.sent_ns = now_ns;
  packet.order = ++last_order_;
  Append(sent_, static_cast<uint16_t>(index));
  ++in_flight_;
  SkipAcknowledged();
}

// Whether a receiver that has been sent what was sent can say this.
bool OutgoingMessage::IsPossible(size_t cumulative, const Progress& progress) const {
  if (cumulative > states_.size()) return false;
  if (progress.bits == 0) return true;
  if (cumulative + 1 + progress.bits > count_) return false;
  for (size_t bit = progress.bits; bit > 0 && cumulative + bit >= states_.size(); --bit) {
    if (progress.has(bit - 1)) return false;
  }
  return true;
}

OutgoingMessage::Acked OutgoingMessage::OnProgress(const ExtendedHeader& header,
                                                   const Progress& progress, int64_t now_ns,
                                                   int64_t srtt_ns) {
  Acked acked;
  const size_t cumulative = header.packet_order;
  if (!active() || !IsPossible(cumulative, progress)) return acked;
  acked.valid = true;
  acked.complete = complete();
  if (acked.complete) return acked;
  if (srtt_ns == 0) srtt_ns = kUnknownRttNs;
  if (cumulative >= cumulative_) {
    for (size_t i = cumulative_; i < cumulative; ++i) {
      Acknowledge(i, header, now_ns, srtt_ns, acked);
    }
    cumulative_ = cumulative;
    AcknowledgeBits(header, progress, now_ns, srtt_ns, acked);
    // One that is repeated says that the receiver waits in vain: for all that should have come.
    const int64_t due_ns = header.resent ? now_ns - srtt_ns : kNever;
    if (acked.packets > 0 || header.resent) acked.lost = FindLost(due_ns, srtt_ns);
  }
  if (progress.granted > 0) {
    edge_known_ = true;
    const size_t edge = std::min<size_t>(progress.granted, count_);
    acked.moved_edge = edge > granted_;
    granted_ = std::max(granted_, edge);
  } else if (!edge_known_ && acknowledged_ == 0) {
    if (granted_ > 0) Refuse();
    acked.refused = true;
  }
  SkipAcknowledged();
  acked.complete = complete();
  return acked;
}

void OutgoingMessage::AcknowledgeBits(const ExtendedHeader& header, const Progress& progress,
                                      int64_t now_ns, int64_t srtt_ns, Acked& acked) {
  for (size_t byte = 0; byte * 8 < progress.bits; ++byte) {
    uint8_t here = progress.bitmap[byte];
    // What is behind the last bit means nothing.
    if (progress.bits - byte * 8 < 8) here &= 0xFF00 >> (progress.bits - byte * 8);
    while (here != 0) {
      const int bit = std::countl_zero(here);
      here &= static_cast<uint8_t>(~(0x80 >> bit));
      Acknowledge(cumulative_ + 1 + byte * 8 + bit, header, now_ns, srtt_ns, acked);
    }
  }
}

void OutgoingMessage::Acknowledge(size_t index, const ExtendedHeader& header, int64_t now_ns,
                                  int64_t srtt_ns, Acked& acked) {
  PacketState& packet = states_[index];
  if (packet.state == State::kAcknowledged) return;
  const State before = std::exchange(packet.state, State::kAcknowledged);
  ++acknowledged_;
  ++acked.packets;
  if (before == State::kInFlight) --in_flight_;
  if (before == State::kLost) --lost_count_;

  // Of a packet that was sent twice, it may be the first that has arrived: surely so if the second
  // was sent after the packet which made the receiver answer. Such an answer says nothing of those
  // sent between the two (RFC 8985, section 6.2, step 2; RFC 3522 for the idea).
  bool latest_arrived = before == State::kInFlight;
  if (latest_arrived && packet.resent) {
    latest_arrived =
        header.echo_valid
            ? static_cast<int32_t>(header.echo - static_cast<uint32_t>(packet.sent_ns)) >= 0
            : now_ns - packet.sent_ns >= srtt_ns / 2;
  }
  if (!latest_arrived) {
    if (packet.guessed) {
      ++acked.spurious;
      ++reorderings_;
    }
    return;
  }
  const uint32_t order = packet.order;
  uint32_t(&latest)[3] = latest_orders_;
  if (order > latest[0]) {
    latest[2] = std::exchange(latest[1], std::exchange(latest[0], order));
    latest_sent_ns_ = packet.sent_ns;
  } else if (order > latest[1]) {
    latest[2] = std::exchange(latest[1], order);
  } else if (order > latest[2]) {
    latest[2] = order;
  }
}

// Of the packets in the order of sending, those that are lost are the first ones, by each rule.
uint32_t OutgoingMessage::FindLost(int64_t due_ns, int64_t srtt_ns) {
  const int64_t window_ns = std::max(
      srtt_ns >> (kWindowShiftMax - std::min(reorderings_, kWindowShiftMax)), kReorderMinNs);
  uint32_t found = 0;
  while (sent_.head != kNone) {
    PacketState& packet = states_[sent_.head];
    if (packet.state == State::kInFlight) {
      const bool overtaken = reorderings_ == 0 && packet.order < latest_orders_[2];
      const bool late = latest_sent_ns_ - packet.sent_ns > window_ns;
      if (!overtaken && !late && packet.sent_ns > due_ns) break;
      packet.state = State::kLost;
      packet.guessed = overtaken || late;
      Append(lost_, PopFront(sent_));
      ++found;
    } else {
      PopFront(sent_);
    }
  }
  in_flight_ -= found;
  lost_count_ += found;
  return found;
}

// Nothing has been acknowledged: all begins anew, but that packets have been sent before.
void OutgoingMessage::Refuse() {
  for (PacketState& packet : states_) packet = {.resent = packet.resent};
  sent_ = {};
  lost_ = {};
  in_flight_ = lost_count_ = 0;
  next_new_ = granted_ = 0;
}

// What Next() says is not acknowledged.
void OutgoingMessage::SkipAcknowledged() {
  while (lost_.head != kNone && states_[lost_.head].state == State::kAcknowledged) {
    PopFront(lost_);
  }
  while (next_new_ < states_.size() && states_[next_new_].state != State::kWaiting) ++next_new_;
}

uint32_t OutgoingMessage::OnTimeout() {
  sent_ = {};
  lost_ = {};
  lost_count_ = 0;
  in_flight_ = 0;
  // In their order, as nothing is kept of a message before its first packet has come.
  for (size_t index = cumulative_; index < states_.size(); ++index) {
    PacketState& packet = states_[index];
    if (packet.state != State::kInFlight && packet.state != State::kLost) continue;
    if (packet.state == State::kInFlight) packet.guessed = false;
    packet.state = State::kLost;
    Append(lost_, static_cast<uint16_t>(index));
    ++lost_count_;
  }
  return static_cast<uint32_t>(lost_count_);
}

uint32_t OutgoingMessage::OnComplete() {
  const size_t in_flight = std::exchange(in_flight_, 0);
  sent_ = {};
  lost_ = {};
  lost_count_ = 0;
  next_new_ = cumulative_ = acknowledged_ = granted_ = count_;
  return static_cast<uint32_t>(in_flight);
}

}  // namespace weft::rpc
