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
#ifndef WEFT_TRANSPORTS_DATAGRAM_PORT_H_
#define WEFT_TRANSPORTS_DATAGRAM_PORT_H_

#include <cstddef>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/transports/address.h"
#include "weft/transports/port.h"

namespace weft {

struct Datagram {
  Peer peer;      // to, when sent; from, when received
  Buffer buffer;  // the payload, 0 to max_payload_bytes
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

  // Sends a prefix of `burst` and returns its length. The buffers of the prefix are taken (null
  // afterwards); the rest is untouched and stays the caller's, who tries again later. A message
  // that can never be sent (too long, unknown peer, null buffer) is taken, dropped and counted as
  // send_failed, so that it does not block those behind it.
  virtual size_t Send(absl::Span<Datagram> burst) = 0;

  // Fills a prefix of `burst` and returns its length, without waiting. What the elements held
  // before is released. Fewer than burst.size() does not mean that nothing is left.
  virtual size_t Receive(absl::Span<Datagram> burst) = 0;

 protected:
  using Port::Port;
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_DATAGRAM_PORT_H_
