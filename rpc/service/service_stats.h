// SPDX-License-Identifier: Apache-2.0
//
// What the services of one server refused, and what they could not send.
#ifndef WEFT_RPC_SERVICE_SERVICE_STATS_H_
#define WEFT_RPC_SERVICE_SERVICE_STATS_H_

#include "weft/core/metrics.h"

namespace weft::rpc {

struct ServiceStats {
  Counter malformed;           // no head of this protocol, or metadata that does not parse
  Counter unknown_methods;     // or streams, or a method of another kind
  Counter unparsable;          // requests that are not what the method takes
  Counter metadata_too_large;  // requests
  Counter forbidden;           // calls of methods that the peer may not call (security.allow)
  Counter refused;             // by an interceptor
  Counter trailers_cut;        // details or metadata of a reply were too much
  Counter replies_failed;      // too large, or no buffers: the client was told so, if possible
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_SERVICE_STATS_H_
