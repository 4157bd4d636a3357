// SPDX-License-Identifier: Apache-2.0
//
// Settings of typed services, by hand or from `rpc.service` of a configuration (config/config.proto
// has the meaning and range of each).
#ifndef WEFT_RPC_SERVICE_SERVICE_OPTIONS_H_
#define WEFT_RPC_SERVICE_SERVICE_OPTIONS_H_

#include <cstddef>
#include <vector>

#include "weft/config/config.h"
#include "weft/rpc/service/call_observers.h"
#include "weft/rpc/service/interceptor.h"
#include "weft/rpc/service/stream_options.h"

namespace weft::rpc {

struct ServiceOptions {
  // Metadata of a request, and the trailer of a reply. A request with more is answered with
  // ResourceExhausted; of a trailer, what is too much is left out.
  size_t metadata_bytes_max = 8192;
  StreamOptions streams = {};
  // Whether clients may ask which services there are: `weft rpc list`, `weft rpc call`.
  bool reflection = true;
  // Not owned; they must outlive the server.
  std::vector<ServerInterceptor*> interceptors = {};
  // Who counts and traces calls.
  CallObservers observers = {};

  static ServiceOptions From(const config::Rpc& config);
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_SERVICE_OPTIONS_H_
