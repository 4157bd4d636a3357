// SPDX-License-Identifier: Apache-2.0
//
// A message on its way: which of its packets to send next, which have arrived and which are lost.
// Pure bookkeeping, the same for requests of a client and responses of a server: it has no port and
// no timer, and time is an argument. reassembly.h is the other half.
//
//   message.Start(std::move(payload), packet_payload_bytes, granted);
//   while (std::optional<size_t> index = message.Next()) {   // as far as congestion control allows
//     Send(message.packet(*index), {.resent = message.WasSent(*index)});
//     message.OnSent(*index, now_ns);
//   }
//   message.OnProgress(header, progress, now_ns, srtt_ns);   // and go on with Next()
//   if (message.OnTimeout() == 0 && !message.Next()) {       // silence: a probe, again and again
//     Send(message.packet(0), {.resent = true});
//     message.OnSent(0, now_ns);
//   }
//
// Which packets are lost is found as RACK does (RFC 8985), in the order in which packets were sent,
// so that a packet that was sent again and is lost again is found as well: three that were sent
// later have arrived, or one that was sent later by more than a quarter of the round trip. Once a
// packet turns out to have been late rather than lost, only time counts, and more of it.
//
// Whatever a PROGRESS says is checked; a hostile one may claim to have what it has not, but only
// of packets that were sent. Cost: O(1) a packet sent, amortised, and O(bits) a PROGRESS.
//
// Reusable: memory for up to kKeptPackets is kept from message to message. One thread.
#ifndef WEFT_RPC_OUTGOING_MESSAGE_H_
#define WEFT_RPC_OUTGOING_MESSAGE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "weft/rpc/payload.h"
#include "weft/rpc/wire.h"

namespace weft::rpc {

class OutgoingMessage {
 public:
  static constexpr size_t kKeptPackets = 1024;

  OutgoingMessage() = default;
  OutgoingMessage(OutgoingMessage&&) = delete;
  OutgoingMessage& operator=(OutgoingMessage&&) = delete;

  // Into how many packets Start() would cut `payload`, however many that are.
  static size_t PacketsOf(const Payload& payload, size_t packet_payload_bytes);

  // Cuts `payload` into packets of at most `packet_payload_bytes` (at least 1). Pieces of a chain
  // are cut at their ends as well, so that a packet is always one stretch of memory; empty pieces
  // are left out. No bytes at all are one empty packet. Packets below `granted` may be sent.
  // Whatever was in here before is dropped first. False, with `payload` gone and nothing begun, if
  // it were more than kExtendedPacketsMax packets.
  bool Start(Payload payload, size_t packet_payload_bytes, size_t granted);

  // Ends it, complete or not, and gives the memory of the payload back, or hands it on. No packet()
  // may be in use any more.
  void Reset() { Release().Clear(); }
  Payload Release();

  // Between Start() and Reset(). Without a message packets() is 0 and Next() nothing.
  bool active() const { return count_ != 0; }
  size_t packets() const { return count_; }
  size_t bytes() const { return payload_.size(); }
  // Sent, and neither acknowledged nor thought lost.
  size_t in_flight() const { return in_flight_; }
  // Thought lost and not sent again yet.
  size_t lost() const { return lost_count_; }
  // Acknowledged; all of the first cumulative() are.
  size_t acknowledged() const { return acknowledged_; }
  size_t cumulative() const { return cumulative_; }
  bool complete() const { return active() && acknowledged_ == count_; }
  // Packets below this index may be sent: never beyond packets().
  size_t granted() const { return granted_; }

  // The bytes of a packet, in the payload. `index` is below packets().
  absl::Span<const uint8_t> packet(size_t index) const {
    if (!pieces_.empty()) return pieces_[index];
    return contiguous_.subspan(index * packet_bytes_, packet_bytes_);
  }

  // The packet to send next: lost ones first, then new ones below the granted edge. None: nothing
  // may be sent until OnProgress() or OnTimeout().
  std::optional<size_t> Next() const {
    if (lost_.head != kNone) return lost_.head;
    if (next_new_ < granted_) return next_new_;
    return std::nullopt;
  }

  // Whether `index` has been sent before: flag R of the header.
  bool WasSent(size_t index) const { return index < states_.size(); }

  // `index` is what Next() said, or 0 for a probe. `now_ns` must be the time that the packet's
  // header has as its timestamp, as echoes of it are compared with this; it never goes back.
  void OnSent(size_t index, int64_t now_ns);

  struct Acked {
    // False: no correct receiver says this; nothing was changed.
    bool valid = false;
    // All of the message has arrived.
    bool complete = false;
    // More may be sent than before.
    bool moved_edge = false;
    // The receiver has no room for the message and has dropped all of it: nothing is in flight, and
    // all is sent again, from packet 0 on, once a PROGRESS grants something. No congestion.
    bool refused = false;
    uint32_t packets = 0;   // newly acknowledged
    uint32_t lost = 0;      // newly found lost
    uint32_t spurious = 0;  // of those acknowledged: thought lost, by order or time, but only late
  };
  // `header` is that of a PROGRESS about this message (the caller has compared session and request
  // id) and `progress` its body. `srtt_ns` is the smoothed round trip time; 0: not known, and
  // taken to be a millisecond.
  //  - Stale ones, which say less than is known, are valid and change nothing.
  //  - One that is flagged as sent before comes from a receiver that waits in vain: what was sent a
  //    round trip ago and is not acknowledged counts as lost. It stands in for OnTimeout() where
  //    the receiver has the timer, as clients have for responses.
  //  - The granted edge never goes back, with one exception: until something has been acknowledged
  //    or granted by a PROGRESS, 0 means `refused`. An edge beyond the end grants everything: the
  //    receiver may not have learnt of the length yet.
  Acked OnProgress(const ExtendedHeader& header, const Progress& progress, int64_t now_ns,
                   int64_t srtt_ns);

  // Nothing was heard for a retransmission timeout: all that was sent and not acknowledged counts
  // as lost. Returns how many packets are lost now, those found earlier included. 0, of a message
  // that is not complete and has nothing to send: its edge is in the way, and a packet 0 that is
  // sent once more makes the receiver say where it is.
  uint32_t OnTimeout();

  // All of it has arrived: a response came, say. Returns how many packets were in flight.
  uint32_t OnComplete();

 private:
  static constexpr uint16_t kNone = 0xFFFF;  // no index: they end at 65534
  static_assert(kExtendedPacketsMax <= kNone);

  enum class State : uint8_t {
    kWaiting,  // to be sent anew, as it was refused
    kInFlight,
    kLost,
    kAcknowledged,
  };
  // Of a packet that was sent at least once.
  struct PacketState {
    int64_t sent_ns = 0;  // the last time
    uint32_t order = 0;   // of sending, in this message
    uint16_t next = kNone;
    State state = State::kWaiting;
    bool resent : 1 = false;
    bool guessed : 1 = false;  // thought lost because of order or time, not because of a timeout
  };
  static_assert(sizeof(PacketState) == 16);

  // Packets linked through PacketState::next. None is ever in two lists.
  struct List {
    uint16_t head = kNone;
    uint16_t tail = kNone;
  };
  void Append(List& list, uint16_t index);
  uint16_t PopFront(List& list);

  void Cut(size_t packet_payload_bytes, size_t count);
  bool IsPossible(size_t cumulative, const Progress& progress) const;
  void Acknowledge(size_t index, const ExtendedHeader& header, int64_t now_ns, int64_t srtt_ns,
                   Acked& acked);
  void AcknowledgeBits(const ExtendedHeader& header, const Progress& progress, int64_t now_ns,
                       int64_t srtt_ns, Acked& acked);
  uint32_t FindLost(int64_t due_ns, int64_t srtt_ns);
  void Refuse();
  void SkipAcknowledged();

  Payload payload_;
  // Of payloads of one piece; the others have a table.
  absl::Span<const uint8_t> contiguous_;
  std::vector<absl::Span<const uint8_t>> pieces_;
  size_t packet_bytes_ = 1;

  std::vector<PacketState> states_;  // by index, of those that were sent
  List sent_;  // in the order of sending: in flight, or acknowledged and not taken out yet
  List lost_;  // the first one is lost, others may have been acknowledged since

  size_t count_ = 0;
  size_t granted_ = 0;
  size_t next_new_ = 0;    // the first packet that is to be sent and was never lost
  size_t cumulative_ = 0;  // all below are acknowledged
  size_t acknowledged_ = 0;
  size_t in_flight_ = 0;
  size_t lost_count_ = 0;
  bool edge_known_ = false;  // a PROGRESS has granted something

  uint32_t last_order_ = 0;
  // Of the acknowledged packets: the three orders that are highest, from the highest down (0: none)
  // and the time at which the last one was sent.
  uint32_t latest_orders_[3] = {};
  int64_t latest_sent_ns_ = 0;
  uint32_t reorderings_ = 0;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_OUTGOING_MESSAGE_H_
