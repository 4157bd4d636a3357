// SPDX-License-Identifier: Apache-2.0
//
// Reliable byte streams, without a copy at the contract: received bytes are looked at where they
// lie and consumed, bytes to send are written into room that was reserved and then committed.
//
//   while ((n = port->Poll(absl::MakeSpan(events))) > 0) for each event e:
//     case kReadable:
//       absl::Span<const uint8_t> in = port->ReadView(e.stream);
//       absl::Span<uint8_t> out = port->Reserve(e.stream, in.size());  // may be shorter
//       std::memcpy(out.data(), in.data(), out.size());
//       port->Commit(e.stream, out.size());
//       port->Consume(e.stream, out.size());
#ifndef WEFT_TRANSPORTS_STREAM_PORT_H_
#define WEFT_TRANSPORTS_STREAM_PORT_H_

#include <cstddef>
#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/transports/address.h"
#include "weft/transports/port.h"
#include "weft/transports/stream_options.h"

namespace weft {

// A stream of one port. Zero is no stream; values are not used again while the port lives.
struct StreamId {
  uint64_t value = 0;
  explicit operator bool() const { return value != 0; }
  friend bool operator==(const StreamId&, const StreamId&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const StreamId& id) {
    return H::combine(std::move(h), id.value);
  }
};

struct StreamEvent {
  enum class Kind : uint8_t {
    kAccepted,      // a new stream from a listener of this port
    kConnected,     // what Connect() began has succeeded
    kReadable,      // bytes have arrived since the last such event
    kWritable,      // after a Reserve() that gave less than was wanted: there is room again
    kRemoteClosed,  // the other side will send no more; comes after the last kReadable
    kClosed,        // last event: the stream is gone, in good order when `error` is 0, else reset,
                    // refused, timed out
  };
  Kind kind;
  StreamId stream;
  int error = 0;  // an errno
};

// Fills `room`, or the front of it, with bytes to be sent and returns how many it wrote.
using StreamWriter = absl::FunctionRef<size_t(absl::Span<uint8_t> room)>;

// Events and views of a stream stay in order. A StreamId that is unknown or closed is harmless:
// views are empty, calls do nothing or return NotFound.
class StreamPort : public Port {
 public:
  // Accepts streams at `address` from now on, `backlog` of them waiting at most; returns the
  // complete address.
  virtual absl::StatusOr<Address> Listen(const Address& address, int backlog) = 0;

  // Begins to connect: kConnected or kClosed follows. Bytes may be reserved and committed only
  // after kConnected.
  virtual absl::StatusOr<StreamId> Connect(const Address& address) = 0;

  // Does the port's work, without waiting, and takes the oldest events, up to as many as fit.
  virtual size_t Poll(absl::Span<StreamEvent> events) = 0;

  // The bytes received and not consumed, as far as they lie in one piece; valid until the next call
  // for this stream or Poll(). Not consuming them stops the sender when its window is full.
  // Consume() takes at most what ReadView() shows. When a piece ends before the data does,
  // ReadView() shows the next one after Consume().
  virtual absl::Span<const uint8_t> ReadView(StreamId stream) = 0;
  virtual void Consume(StreamId stream, size_t n) = 0;

  // Room for up to `wanted` bytes, in one piece, possibly less or none; valid until the next call
  // for this stream or Poll(). Commit() sends the first `n` of it; they leave at the latest in the
  // next Poll().
  virtual absl::Span<uint8_t> Reserve(StreamId stream, size_t wanted) = 0;
  virtual void Commit(StreamId stream, size_t n) = 0;

  // Sends what was committed now, instead of in the next Poll(), as far as the port can. A hint.
  virtual void Flush() {}

  // Reserves and commits up to `bytes`, which `writer` writes where they leave from: it is called
  // for each piece of room, at once, until there is no more room or it fills less than it was
  // given. Returns how many bytes that were. When room ran out, kWritable follows.
  virtual size_t Send(StreamId stream, size_t bytes, StreamWriter writer);

  // Sends the data of `*buffer`, any pool's. True: it has taken all of it, and `*buffer` is null.
  // False: there is no room, or the stream is closed for writing; `*buffer` holds what was not
  // taken, and in the first case kWritable follows. This default copies, and counts it in
  // copied_buffers; a port that can keeps the buffer until its bytes are acknowledged.
  virtual bool SendBuffer(StreamId stream, Buffer* buffer);

  // Half-close: everything committed is sent, then the end. Reading goes on.
  virtual void CloseWrite(StreamId stream) = 0;
  // Sends what is committed, discards what arrives, then kClosed.
  virtual void Close(StreamId stream) = 0;
  // Discards everything in both directions, tells the other side (a reset), kClosed follows.
  virtual void Abort(StreamId stream) = 0;

  // NotFound for a stream that is gone. May be known, to be reported with kClosed, until the next
  // Poll().
  virtual absl::StatusOr<Address> PeerAddress(StreamId stream) const = 0;
  // This side's address of the stream: of one that was accepted, where its peer connected to. The
  // same errors.
  virtual absl::StatusOr<Address> LocalAddress(StreamId stream) const;

  // Sets what has a value in `options`. InvalidArgument, naming the field, for a value out of
  // range, and Unimplemented, naming those that the transport has not: then nothing has changed.
  // NotFound for a stream that is gone or a congestion control that there is not; others are the
  // system's, and fields before the one named may have changed. Slow path.
  virtual absl::Status SetOptions(StreamId stream, const StreamOptions& options);

  // What is known of the stream. NotFound for one that is gone, Unimplemented where the transport
  // knows nothing. Slow path.
  virtual absl::StatusOr<StreamInfo> Info(StreamId stream) const;

 protected:
  using Port::Port;
  size_t DoTakeEvents(absl::Span<PortEvent>) override { return 0; }
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_STREAM_PORT_H_
