// SPDX-License-Identifier: Apache-2.0
//
// What Connections remember of each connection and listener. Not for users.
#ifndef WEFT_TCP_CONNECTION_STATE_H_
#define WEFT_TCP_CONNECTION_STATE_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "weft/tcp/awaiters.h"
#include "weft/tcp/connection_handle.h"
#include "weft/transports/stream_port.h"

namespace weft::tcp::internal {

// It lives until the stream has ended and its handle is gone.
struct ConnectionState {
  Connections* owner = nullptr;
  StreamPort* port = nullptr;
  StreamId id;

  bool connecting = false;
  bool queued = false;  // waits to be accepted
  bool remote_closed = false;
  bool write_closed = false;    // CloseWrite()
  bool locally_closed = false;  // Close() or Abort(): only kClosed is still of interest
  bool closed = false;          // kClosed has come
  bool fresh = false;           // its handler has not been told yet what was before it
  bool unsettled = false;       // in the list of those
  bool busy = false;            // a handler or coroutine of it runs: must not be freed
  int error = 0;                // of kClosed

  Connection* handle = nullptr;  // null: nobody holds it
  Connection own;                // the handle, while a handler serves it
  std::unique_ptr<ConnectionHandler> handler;
  std::unique_ptr<ConnectionHandler> retired;  // replaced, perhaps by itself
  Waiter* reader = nullptr;
  Waiter* writer = nullptr;  // or that of Connect()

  ConnectionState* next = nullptr;            // free, or waiting to be accepted
  ConnectionState* next_unsettled = nullptr;  // to be told what has happened

  bool readable() const { return !closed && !locally_closed && !remote_closed; }
  bool writable() const { return !closed && !locally_closed && !write_closed && !connecting; }
  // Why it cannot go on; OK if it can.
  absl::Status Status() const;
};

struct ListenerState {
  Connections* owner = nullptr;  // null: gone
  Address address;
  size_t backlog = 0;
  absl::AnyInvocable<void(Connection)> on_connection;  // or, for coroutines:
  bool open = true;                                    // the Listener is there
  Waiter* waiter = nullptr;                            // the first that waits
  ConnectionState* first = nullptr;                    // connections that wait to be accepted
  ConnectionState* last = nullptr;
  size_t waiting = 0;

  void Push(ConnectionState& state) {
    state.next = nullptr;
    (last != nullptr ? last->next : first) = &state;
    last = &state;
    ++waiting;
  }
  ConnectionState* Pop() {
    ConnectionState* state = first;
    first = state->next;
    if (first == nullptr) last = nullptr;
    --waiting;
    return state;
  }
};

}  // namespace weft::tcp::internal

#endif  // WEFT_TCP_CONNECTION_STATE_H_
