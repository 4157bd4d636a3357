// SPDX-License-Identifier: Apache-2.0
//
// What a protected port keeps of a peer. Not for users.
#ifndef WEFT_RPC_SECURITY_CONNECTION_H_
#define WEFT_RPC_SECURITY_CONNECTION_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "weft/core/timer_wheel.h"
#include "weft/rpc/security/tls_handshake.h"
#include "weft/rpc/security/traffic_keys.h"
#include "weft/transports/datagram_port.h"

namespace weft::rpc {

class SecurePort;
struct Connection;

// Of a connection with keys, of which somebody says that they are of no use any more.
struct Doubt {
  int64_t began_ns = std::numeric_limits<int64_t>::min();
  uint64_t number = 0;  // that was next then
  std::optional<int64_t> silent_since_ns = {};
};

// Of a connection that this side begins: how, and what waits for it.
struct Dialing {
  Dialing(SecurePort* owner, Connection* dialed, Timer::Callback on_timer)
      : port(owner), connection(dialed), timer(on_timer, this) {}

  SecurePort* const port;
  Connection* const connection;
  Address address;
  std::string server_name;

  // The handshake under way, if there is one.
  bool under_way = false;
  std::unique_ptr<TlsHandshake> handshake;  // once there is a cookie
  uint64_t attempt = 0;
  uint32_t number = 0;  // ours, of the keys that it makes
  bool has_cookie = false;
  Cookie cookie;
  int64_t deadline_ns = 0;
  int64_t retry_ns = 0;  // until what was sent is sent again; doubled each time
  Timer timer;

  // The next one does not begin before; after failures, after longer and longer times.
  int64_t not_before_ns = 0;
  int64_t pause_ns = 0;
  Doubt doubt;
  absl::Status failed;  // ok, or why the last handshake failed

  // The peer below has gone: the address may be another one's by now.
  bool resolve_again = false;

  // Datagrams that wait for the first keys.
  std::vector<Datagram> held;
};

// Keys of both directions, and the numbers that go with them.
struct ConnectionKeys {
  uint32_t number = 0;         // in what the peer sends
  uint32_t remote_number = 0;  // in what this side sends
  SendKeys send;
  ReceiveKeys receive;
};

struct Connection {
  // Below: whom the peer's records come from. Above: as the port shows it.
  Peer below;
  uint64_t generation = 0;
  uint32_t index = 0;
  bool established = false;  // has keys
  bool client = false;       // this side began it
  int64_t heard_ns = 0;
  ConnectionKeys keys;
  // Of a server, keys that the client has asked for, until it uses them: it does not have them yet,
  // and perhaps never will.
  std::unique_ptr<ConnectionKeys> next_keys;
  std::string identity;
  std::unique_ptr<Dialing> dialing;  // if this side began it

  Peer peer() const { return {{uint64_t{index} + 1, generation, 0}}; }
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SECURITY_CONNECTION_H_
