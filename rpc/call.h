// SPDX-License-Identifier: Apache-2.0
//
// What a caller says of a call, and what it gets.
#ifndef WEFT_RPC_CALL_H_
#define WEFT_RPC_CALL_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "weft/core/buffer_chain.h"
#include "weft/rpc/wire.h"
#include "weft/transports/port.h"

namespace weft::rpc {

// Told how a call ended, once.
using Callback = absl::AnyInvocable<void(absl::StatusOr<BufferChain>)>;

struct CallOptions {
  // Zero: the client's default.
  absl::Duration timeout = absl::ZeroDuration();
  // A time of the loop's clock by which the caller must have the reply, if that is earlier:
  // ServerCall::deadline_ns() of the call that this one is made for.
  int64_t deadline_ns = INT64_MAX;
  // None: the client's default.
  std::optional<Policy> policy = std::nullopt;
  // The server may keep the answer back for as long as it likes, as of a request for news: how long
  // it takes says nothing of the network or of other calls. Such a call does not count against
  // `outstanding_max`: whoever makes them limits their number. Extended format only.
  bool held = false;
  // Where servers are chosen by affinity, calls with the same one go to the same server. 0: none.
  uint64_t affinity = 0;
};

// A call of a client; never the same again. Zero is no call.
struct CallId {
  uint64_t value = 0;
  explicit operator bool() const { return value != 0; }
  friend bool operator==(const CallId&, const CallId&) = default;
};

// A session that an application opened by Client::Connect(); never the same again. Zero is none.
struct SessionId {
  uint64_t value = 0;
  explicit operator bool() const { return value != 0; }
  friend bool operator==(const SessionId&, const SessionId&) = default;
};

// What client and server have agreed on for a session; zeros while it is not open.
struct SessionShape {
  size_t packet_payload_bytes = 0;  // the longest message of one packet
  size_t slots = 0;                 // calls in flight
};

// Whom a call goes to: a server, through the session that the client has with it, which is opened
// when it is needed; or one of the sessions that the application opened itself.
struct Target {
  Target(const Peer& server) : server(server) {}             // NOLINT(google-explicit-constructor)
  Target(SessionId session) : server(), session(session) {}  // NOLINT(google-explicit-constructor)
  Peer server;
  SessionId session;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_CALL_H_
