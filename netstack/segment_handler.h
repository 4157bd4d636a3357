// SPDX-License-Identifier: Apache-2.0
//
// What a stack hands to a TCP and takes from it. The stack knows addresses, checksums, neighbours
// and paths; everything behind the TCP header is the handler's, whoever it is (tcp/tcp_port.h).
//
//   class Resets : public SegmentHandler { ... };   // answers each SYN with a RST
//   stack.SetSegmentHandler(&resets);
//   ...
//   OutgoingSegment segments[] = {{.buffer = ..., .source = ours, .destination = peer}};
//   size_t sent = stack.SendSegments(absl::MakeSpan(segments));
#ifndef WEFT_NETSTACK_SEGMENT_HANDLER_H_
#define WEFT_NETSTACK_SEGMENT_HANDLER_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/netstack/icmp_errors.h"
#include "weft/netstack/ip_address.h"

namespace weft::netstack {

// A segment that was received: its header is whole (TcpView::Parse), its checksum good, its source
// a single host and not ourselves unless we sent it, its destination an address of ours.
struct ReceivedSegment {
  Buffer buffer;  // from the TCP header to the last byte of payload
  IpAddress source;
  IpAddress destination;
  uint8_t ecn = 0;  // the two bits of the IP header (RFC 3168, 5)
  uint8_t ttl = 0;  // as it arrived: TTL or hop limit
};

// A segment to send. Addresses are of one family, `source` one of the stack's.
struct OutgoingSegment {
  // From the TCP header on, which is complete but for the checksum, with headroom for the headers
  // of IP and below (Stack::kSegmentHeadroom). Its payload may be shared (Buffer::Share).
  //
  // More payload than fits the path is cut into segments if offload() asks for it: kSegment with
  // segment_bytes, the payload of each, and l4_bytes, the TCP header's; by the device if it can.
  // Everything else in offload() is the stack's to say.
  Buffer buffer;
  IpAddress source;
  IpAddress destination;
  uint8_t ecn = 0;   // the two bits of the IP header
  uint8_t dscp = 0;  // 0 to 63
  uint8_t ttl = 0;   // TTL or hop limit; 0: the stack's (netstack.ttl)
};

// Called by the stack that it was given to, on its thread, while that is polled or its timers run.
// It may call SendSegments() meanwhile, but not poll.
class SegmentHandler {
 public:
  virtual ~SegmentHandler() = default;

  // Segments in the order of their arrival, all that one poll has found or up to 32 of them. Moves
  // out the buffers of those that are for a connection or a listener of its own; leaves the others
  // untouched, and with them the bytes in front of them: the stack hands each to the worker whose
  // it is.
  virtual void OnSegments(absl::Span<ReceivedSegment> burst) = 0;

  // Segments that OnSegments() has left, here or at another worker, and that are nobody's: to be
  // answered by a reset (RFC 9293, 3.10.7.1). What is not moved out is dropped.
  virtual void OnStraySegments(absl::Span<ReceivedSegment> burst) = 0;

  // An ICMP error about a segment of ours, or the news that its neighbour does not answer. True if
  // it is about a connection of this handler that has this sequence number in flight: others are
  // forged or late (RFC 5927, 4). Every worker hears of each.
  //
  // Of "packet too big" the stack draws the conclusion itself, if this says true: OnPathMtu().
  virtual bool OnIcmpError(const IcmpErrorReport& report) = 0;

  // IP packets to `destination` may have `mtu` bytes from now on, less than before; headers
  // included. Also where an error about something else than TCP has told so.
  virtual void OnPathMtu(const IpAddress& destination, size_t mtu) = 0;
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_SEGMENT_HANDLER_H_
