// SPDX-License-Identifier: Apache-2.0
//
// What one side of a session has in flight, and what the fate of its packets has told of the way:
// round trips, congestion, pacing. The same for the requests of a client and for the replies of a
// server. Not for users.
#ifndef WEFT_RPC_SEND_FLOW_H_
#define WEFT_RPC_SEND_FLOW_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "weft/core/rtt_estimator.h"
#include "weft/rpc/bulk_way.h"
#include "weft/rpc/congestion_control.h"
#include "weft/rpc/outgoing_message.h"
#include "weft/rpc/pacer.h"
#include "weft/rpc/wire.h"
#include "weft/transports/datagram_port.h"

namespace weft::rpc {

// Longer packets are sent from where they are, if the port can.
inline constexpr size_t kCopyMaxBytes = 512;
// Packets that may go out together where congestion control wants them apart.
inline constexpr uint32_t kPacedBurst = 4;

// For a flow over `port`. Null over one that neither loses nor drops packets: it holds its senders
// up by itself.
inline std::unique_ptr<CongestionControl> MakeCongestionControl(const DatagramPort& port,
                                                                const CongestionOptions& options) {
  return port.capabilities().reliable ? nullptr : MakeCongestionControl(options);
}

// The round trip that ends at `now_ns` with a packet of that header; 0 if it tells of none.
inline int64_t RoundTripNs(const ExtendedHeader& header, int64_t now_ns) {
  if (!header.echo_valid) return 0;
  // Modulo 2^32, and older than the network's memory if it looks negative.
  const auto elapsed = static_cast<int32_t>(static_cast<uint32_t>(now_ns) - header.echo);
  return elapsed > 0 ? elapsed : 0;
}

struct SendFlow {
  size_t in_flight = 0;  // packets that are neither acknowledged nor thought lost
  RttEstimator rtt;      // of the network alone
  std::unique_ptr<CongestionControl> congestion;  // null: none
  Pacer pacer;

  // Least time between two packets; 0: not paced.
  int64_t gap_ns() const { return congestion == nullptr ? 0 : congestion->pacing_ns(); }

  // Packet `index` of `message` has been sent.
  void OnSent(OutgoingMessage& message, size_t index, int64_t now_ns) {
    const size_t before = message.in_flight();
    message.OnSent(index, now_ns);
    in_flight += message.in_flight() - before;
  }

  // `header` acknowledges so many packets, which are not in flight any more. What waited behind
  // long messages on `way`, if it is given, says nothing of a congestion that fewer packets would
  // end: their delay is kept from congestion control, which would pace requests for megabytes as if
  // they were the load.
  void OnRoundTrip(const ExtendedHeader& header, uint32_t packets, int64_t now_ns,
                   const RttOptions& options, const BulkWay* way = nullptr) {
    const int64_t rtt_ns = RoundTripNs(header, now_ns);
    if (rtt_ns > 0) rtt.Add(options, now_ns, rtt_ns);
    if (congestion != nullptr && packets > 0) {
      const bool behind = way != nullptr && way->WasBusySince(now_ns - rtt_ns);
      congestion->OnAck({.now_ns = now_ns,
                         .rtt_ns = behind ? 0 : rtt_ns,
                         .packets = packets,
                         .in_flight = static_cast<uint32_t>(in_flight),
                         .excused = behind});
    }
  }

  // So many packets, still counted as in flight, are thought lost.
  void OnLoss(uint32_t packets, int64_t now_ns) {
    if (congestion == nullptr || packets == 0) return;
    congestion->OnLoss(
        {.now_ns = now_ns, .packets = packets, .in_flight = static_cast<uint32_t>(in_flight)});
  }

  // A PROGRESS about `message`; nothing has changed if it is not valid.
  OutgoingMessage::Acked OnProgress(OutgoingMessage& message, const ExtendedHeader& header,
                                    const Progress& progress, int64_t now_ns,
                                    const RttOptions& options, const BulkWay* way = nullptr) {
    const size_t before = message.in_flight();
    const OutgoingMessage::Acked acked =
        message.OnProgress(header, progress, now_ns, rtt.srtt_ns());
    if (!acked.valid) return acked;
    OnLoss(acked.lost, now_ns);
    in_flight -= before - message.in_flight();
    OnRoundTrip(header, acked.packets, now_ns, options, way);
    return acked;
  }
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SEND_FLOW_H_
