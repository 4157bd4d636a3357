// SPDX-License-Identifier: Apache-2.0
//
// Messages with addresses: unreliable and unordered unless capabilities() says otherwise, never cut
// or joined.
//
//   ASSIGN_OR_RETURN(Peer server, port->Resolve(address));      // slow path, once
//   Datagram out[1] = {{server, port->pool().Allocate()}};
//   std::memcpy(out[0].buffer.Append(5), "hello", 5);
//   if (port->Send(absl::MakeSpan(out)) == 0) ...  // blocked: still ours, try again later
//
//   Datagram in[32];
//   const size_t n = port->Receive(absl::MakeSpan(in));
//   for (Datagram& d : absl::MakeSpan(in, n)) Handle(d.peer, d.buffer);
//
// A payload may lie in two places, so that a slice of a large message goes out from where it is,
// behind a small header of its own:
//
//   if (port->capabilities().gather) out[0].tail = slice;       // else append it to the buffer
//
// Whoever stands between two others may pass on what he receives so that it is answered past him:
//
//   for (size_t i = 0; i < n; ++i) {
//     sources[i] = std::exchange(in[i].peer, server);
//   }
//   port->Forward(absl::MakeSpan(in, n), absl::MakeSpan(sources, n));
#ifndef WEFT_TRANSPORTS_DATAGRAM_PORT_H_
#define WEFT_TRANSPORTS_DATAGRAM_PORT_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/transports/address.h"
#include "weft/transports/bulk_transfers.h"
#include "weft/transports/port.h"

namespace weft {

struct Datagram {
  Peer peer;      // to, when sent; from, when received
  Buffer buffer;  // the payload; with its tail 0 to max_payload_bytes
  // Sending, where capabilities().gather: bytes of the same message that follow the buffer's. Not
  // owned; they must stay as they are until Send() has taken the datagram, and are not looked at
  // afterwards. Receiving: empty, what arrives lies in the buffer.
  absl::Span<const uint8_t> tail = {};

  // Of the payload; `buffer` must not be null.
  size_t size() const { return buffer.size() + tail.size(); }
};

class DatagramPort : public Port {
 public:
  // Prepares to send to `address`. Does not wait for the other side: one that is not there may be
  // refused here (NotFound, Unavailable) or be reported as an event once something is sent.
  // InvalidArgument for an address that is not this transport's. Resolving the same address again
  // gives an equal Peer while the peer lives.
  virtual absl::StatusOr<Peer> Resolve(const Address& address) = 0;

  // The address of a peer that Resolve() or Receive() gave. NotFound when it has gone since.
  virtual absl::StatusOr<Address> AddressOf(const Peer& peer) const = 0;

  // The largest payload that reaches `peer` in one piece, as far as this side knows now: a larger
  // one may be cut below and is lost with any of its pieces. Never more than max_payload_bytes,
  // which it is where nothing is cut. May ask the system: for when a connection is set up.
  virtual size_t MaxPayloadTo(const Peer& peer) const {
    static_cast<void>(peer);
    return capabilities_.max_payload_bytes;
  }

  // Who the peer has proven to be; empty where peers prove nothing, and for a peer that has not yet
  // or has gone. Valid until the port is used again.
  virtual absl::string_view IdentityOf(const Peer& peer) const {
    static_cast<void>(peer);
    return {};
  }

  // Why the peer of a kPeerUnreachable cannot be reached, where more is known than the event's
  // errno: what it refused, or what was refused of it. Else ok.
  virtual absl::Status WhyUnreachable(const Peer& peer) const {
    static_cast<void>(peer);
    return absl::OkStatus();
  }

  // Sends a prefix of `burst` and returns its length. The buffers of the prefix are taken (null
  // afterwards) and its tails are empty; the rest is untouched and stays the caller's, who tries
  // again later. A message that can never be sent (too long, unknown peer, null buffer, a tail
  // without capabilities().gather) is taken, dropped and counted as send_failed, so that it does
  // not block those behind it.
  virtual size_t Send(absl::Span<Datagram> burst) = 0;

  // Where capabilities().keeps_foreign_source: as Send(), but each datagram arrives as if
  // `sources[i]` had sent it, who therefore gets the answer, and what else the network has to say
  // about it. `sources` is as long as `burst`; a source is a peer that this port has received from,
  // or resolved, of the same address family as the destination.
  //
  // It is cheapest for buffers that are exactly as this port received them from that source: their
  // headers, which still lie in the headroom, are rewritten in place, and the checksum is updated
  // by what changes (RFC 1624), so that it goes on protecting the payload from end to end. Buffers
  // of any other origin, and ones that were trimmed or grown, are given headers of their own. Of
  // one whose bytes were changed in place nothing can be seen: say so by `buffer.offload() = {}`,
  // or it will be taken for damaged.
  //
  // Over frames whoever sends on counts as a router: the hop limit of a datagram as it was received
  // goes down by one, and one that has passed too many is dropped as one that can never be sent;
  // its source is told (RFC 792, RFC 4443). Elsewhere nothing ends a circle of ports that send on
  // to each other: over kernel sockets the hop limit is not known and begins anew.
  //
  // Where the capability is missing, all datagrams are dropped as ones that can never be sent.
  virtual size_t Forward(absl::Span<Datagram> burst, absl::Span<const Peer> sources) {
    static_cast<void>(sources);
    AssertOwner();
    for (Datagram& datagram : burst) {
      datagram.buffer.Reset();
      datagram.tail = {};
    }
    stats_.send_failed += burst.size();
    return burst.size();
  }

  // Where capabilities().bulk_min_bytes is not 0: the way of long messages. Null elsewhere.
  virtual BulkTransfers* bulk() { return nullptr; }

  // Fills a prefix of `burst` and returns its length, without waiting. What the elements held
  // before is released. Fewer than burst.size() does not mean that nothing is left.
  virtual size_t Receive(absl::Span<Datagram> burst) = 0;

 protected:
  using Port::Port;
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_DATAGRAM_PORT_H_
