// SPDX-License-Identifier: Apache-2.0
//
// Who an engine is for: those that listen, those that share it, and what is looked for among all
// their connections. Part of the engine.
#ifndef WEFT_TCP_ENGINE_USERS_H_
#define WEFT_TCP_ENGINE_USERS_H_

#include <cstdint>
#include <vector>

#include "weft/netstack/ip_address.h"
#include "weft/tcp/engine.h"
#include "weft/tcp/tcb.h"

namespace weft::tcp {

struct Listener : ListenerInfo {
  bool open = false;
  uint16_t user = 0;
  int64_t overflowed_ns = INT64_MIN / 2;  // when a cookie was sent last
};

// One of those that share an engine.
struct User {
  bool here = true;
  uint32_t streams = 0;
  // Of its connections, those that have events.
  uint32_t first_event = Tcb::kNone;
  uint32_t last_event = Tcb::kNone;
  std::vector<uint32_t> taken;  // whose kClosed was taken
};

// What is looked for: connections to `remote`, whose path has become narrower, or handshakes of a
// listener that is no more.
struct Search {
  uint32_t place = 0;  // where to go on
  uint32_t listener = Tcb::kNone;
  netstack::IpAddress remote;
  uint16_t path_mtu = 0;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_ENGINE_USERS_H_
