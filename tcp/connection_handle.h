// SPDX-License-Identifier: Apache-2.0
//
// A connection and a listener as applications hold them. Programs include weft/tcp/connections.h,
// which has the examples.
#ifndef WEFT_TCP_CONNECTION_HANDLE_H_
#define WEFT_TCP_CONNECTION_HANDLE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/tcp/awaiters.h"
#include "weft/transports/stream_port.h"

namespace weft::tcp {

class Connection;
class Connections;

namespace internal {
struct ConnectionState;
struct ListenerState;
}  // namespace internal

// What an application does when something happens to a connection: one object for each, or one that
// forwards to others. Calls for a connection come in the order of the events.
class ConnectionHandler {
 public:
  virtual ~ConnectionHandler() = default;

  // The first call, unless there is no connection (any more): what Connections::Connect() began has
  // succeeded, or Connection::Serve() has handed the connection over. Data may be sent.
  virtual void OnConnected(Connection&) {}
  // There are new bytes to read. What is not consumed is there the next time, together with what
  // has come since; nobody calls again because of it alone, and the sender stops when the window is
  // full: that is how to hold it up.
  virtual void OnData(Connection& connection) = 0;
  // The other side will send no more; all it sent has been told of by OnData(). The default closes.
  virtual void OnRemoteClose(Connection& connection);
  // After a Send() that took less than it was given: there is room again.
  virtual void OnWritable(Connection&) {}

  // The last call, one of these two; the handler is destroyed afterwards. OnClose(): in good order.
  // OnReset(): otherwise; `error` is an errno: ECONNRESET, ECONNREFUSED, ETIMEDOUT, and
  // ECONNABORTED for Connection::Abort().
  virtual void OnClose(Connection&) {}
  virtual void OnReset(Connection&, int /*error*/) {}
};

// The owner of one connection; or of none, which is harmless to use. Destroying it closes the
// connection in good order: what was sent still arrives.
class Connection {
 public:
  Connection() = default;
  Connection(Connection&& other) noexcept { Take(other); }
  Connection& operator=(Connection&& other) noexcept {
    if (this != &other) {
      Reset();
      Take(other);
    }
    return *this;
  }
  ~Connection() { Reset(); }

  explicit operator bool() const { return state_ != nullptr; }

  // From now on `handler` is told what happens, beginning with what has happened already: within
  // the loop's next round at the earliest. The connection belongs to its Connections then, until it
  // is closed.
  void Serve(std::unique_ptr<ConnectionHandler> handler) &&;

  // Whether data can still come, and be sent, as far as is known.
  bool readable() const;
  bool writable() const;
  // The other side will send no more.
  bool remote_closed() const;

  // Reading in place. As in StreamPort: bytes in one piece, valid until the next call for this
  // connection, `co_await`, or return from the handler. Behind the piece there may be another,
  // which shows when this one is consumed.
  absl::Span<const uint8_t> ReadView() const;
  void Consume(size_t n);

  // Sending, as far as there is room: how much of `bytes`, which are copied; how much `writer`
  // wrote (StreamPort::Send()); whether the whole buffer (StreamPort::SendBuffer()). After less
  // than all, OnWritable() or Writable() tells when to go on.
  size_t Send(absl::Span<const uint8_t> bytes);
  size_t Send(size_t bytes, StreamWriter writer);
  bool SendBuffer(Buffer* buffer);

  // Half-close: what was sent arrives, then the end; reading goes on.
  void CloseWrite();
  // What was sent arrives, what still comes is discarded.
  void Close();
  // Everything is discarded, and the other side gets a reset.
  void Abort();

  // For coroutines, at most one that reads and one that writes at a time. A timeout ends the wait
  // with DeadlineExceeded and leaves the connection as it is; destroying the coroutine withdraws
  // it. Errors: Unavailable when the connection failed (reset, timed out), FailedPrecondition when
  // this side has closed it.
  //
  //   absl::StatusOr<absl::Span<const uint8_t>>: at least one byte, or none: the other side has
  //   closed. Bytes that were not consumed come again, at once.
  ReadAwaiter Read(absl::Duration timeout = absl::InfiniteDuration());
  //   absl::Status, when all of `bytes`, which must stay until then, is on its way; after an error
  //   any part of them may be.
  WriteAwaiter Write(absl::Span<const uint8_t> bytes,
                     absl::Duration timeout = absl::InfiniteDuration());
  //   absl::Status, when there is room to send.
  WritableAwaiter Writable(absl::Duration timeout = absl::InfiniteDuration());

  // Ok while it is open; Unavailable, saying why, when it has failed; FailedPrecondition when it
  // was closed by this side, or in good order by both.
  absl::Status status() const;

  // Slow path; see StreamPort. NotFound when it is gone.
  absl::Status SetOptions(const StreamOptions& options);
  absl::StatusOr<StreamInfo> Info() const;
  absl::StatusOr<Address> PeerAddress() const;
  absl::StatusOr<Address> LocalAddress() const;

  StreamId id() const;
  Connections* connections() const;

 private:
  friend class Connections;
  friend class ConnectAwaiter;
  friend class Listener;
  friend class AcceptAwaiter;
  friend struct internal::ConnectionState;
  explicit Connection(internal::ConnectionState* state);
  void Take(Connection& other);
  void Reset();

  internal::ConnectionState* state_ = nullptr;
};

// Where coroutines accept connections. Destroying it resets those that wait and those that still
// come; the address stays in use until the Connections go. It may outlive them.
class Listener {
 public:
  Listener(Listener&& other) noexcept = default;
  Listener& operator=(Listener&& other) noexcept {
    if (this != &other) {
      Reset();
      state_ = std::move(other.state_);
    }
    return *this;
  }
  ~Listener() { Reset(); }

  // `co_await` gives an absl::StatusOr<Connection>: the one that has waited longest, or the next
  // that comes. DeadlineExceeded after `timeout`, FailedPrecondition when its Connections are gone.
  // Coroutines that wait get theirs in turn.
  AcceptAwaiter Accept(absl::Duration timeout = absl::InfiniteDuration());

  // Where it listens, the port number included.
  const Address& address() const;

 private:
  friend class Connections;
  explicit Listener(std::shared_ptr<internal::ListenerState> state) : state_(std::move(state)) {}
  void Reset();

  std::shared_ptr<internal::ListenerState> state_;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_CONNECTION_HANDLE_H_
