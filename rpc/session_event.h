// SPDX-License-Identifier: Apache-2.0
//
// What clients and servers tell an application about their sessions.
#ifndef WEFT_RPC_SESSION_EVENT_H_
#define WEFT_RPC_SESSION_EVENT_H_

#include <cstdint>

#include "weft/transports/port.h"

namespace weft::rpc {

struct SessionEvent {
  enum class Kind : uint8_t {
    kOpened,    // requests go, or come, through it; again after kLost: it was opened anew
    kDraining,  // client: the server wants no more requests
    kClosed,    // by one side or the other, in good order
    kLost,      // the peer was not heard of, cannot be reached, or has restarted
    kRefused,   // client: the server takes no more sessions
    kOriginal,  // client: the server speaks the original format only, so there is no session
  };
  Kind kind = Kind::kOpened;
  uint32_t session = 0;  // this side's number
  Peer peer;
  int64_t age_ns = 0;  // since it was opened; 0 if it never was
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SESSION_EVENT_H_
