// SPDX-License-Identifier: Apache-2.0
//
// Long messages that are not sent but fetched: whoever has one lets a peer read the buffer that it
// lies in, and tells it so in a small message of its own; the peer's device reads it into a buffer
// there. No processor touches the bytes, and nothing is cut or put together. Part of a DatagramPort
// whose capabilities().bulk_min_bytes is not 0.
//
//   // Who has the message:
//   Buffer message = port->bulk()->Allocate(bytes);           // null: too long, or none left
//   std::optional<BulkKey> key = port->bulk()->Expose(peer, message);
//   ... send `key` and message.size() to the peer; when it says that it has the message:
//   port->bulk()->Conceal(*key);                              // then the buffer may go or change
//
//   // Who wants it:
//   Buffer room = port->bulk()->Allocate(bytes);
//   if (!port->bulk()->Fetch(peer, key, bytes, room, context)) ...  // refused: ask for datagrams
//   n = port->bulk()->TakeFetched(fetched);                   // after Receive(), each round
//
// All of it may fail at any time: buffers run out, the path breaks. So a user has another way for
// the same message, in datagrams.
#ifndef WEFT_TRANSPORTS_BULK_TRANSFERS_H_
#define WEFT_TRANSPORTS_BULK_TRANSFERS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/transports/port.h"

namespace weft {

// What a peer needs to know to fetch a message; opaque bytes, to be carried as they are. It works
// for the peer that it was made for only, and until Conceal(). One that comes from a peer may be
// anything: Fetch() checks it.
struct BulkKey {
  std::array<uint8_t, 32> bytes = {};
  friend bool operator==(const BulkKey&, const BulkKey&) = default;
};

// Threads: that of its port.
class BulkTransfers {
 public:
  virtual ~BulkTransfers() = default;

  // The longest message; longer ones go in datagrams.
  virtual size_t max_bytes() const = 0;
  // Buffers in all, and those that nobody has.
  virtual size_t buffers() const = 0;
  virtual size_t available() const = 0;

  // An empty buffer, in memory that the device knows, with room for `bytes`. Null when that is more
  // than max_bytes() or no buffer is left: their number is fixed, which is what limits how much of
  // long messages a port holds. Does not allocate memory.
  virtual Buffer Allocate(size_t bytes) = 0;
  // Whether `buffer`, not null, is of Allocate(), so that it can be exposed.
  virtual bool Owns(const Buffer& buffer) const = 0;

  // Lets `peer` read the data of `message`, which Owns() and which must stay as it is until
  // Conceal(). Nothing when there is no such way to `peer`, not yet (the first call begins to make
  // one), or too much is exposed already.
  virtual std::optional<BulkKey> Expose(const Peer& peer, const Buffer& message) = 0;
  // Whether `key` still lets its peer at the message. False once it was concealed, and when it was
  // lost with the path to the peer: then expose anew, and tell the peer the new key.
  virtual bool IsExposed(const BulkKey& key) const = 0;
  // Ends it: afterwards nobody reads the buffer. An unknown key is ignored.
  virtual void Conceal(const BulkKey& key) = 0;

  struct Fetched {
    uint64_t context = 0;
    Buffer buffer;  // with `bytes` of data; as it was given, empty, when it failed
    bool ok = false;
  };
  // Begins to read `bytes`, at least 1, of what `peer` has exposed under `key`, into `room`, which
  // Owns() and has room for them. True: `room` is taken, and comes back by TakeFetched() once, with
  // `context`, in any case. False: it cannot be done, or too many are under way; `room` stays the
  // caller's.
  virtual bool Fetch(const Peer& peer, const BulkKey& key, size_t bytes, Buffer& room,
                     uint64_t context) = 0;

  // Takes fetches that have ended, as many as fit, and returns their number. They count as work of
  // the port: its wait_fd() wakes for them.
  virtual size_t TakeFetched(absl::Span<Fetched> fetched) = 0;
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_BULK_TRANSFERS_H_
