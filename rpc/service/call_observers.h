// SPDX-License-Identifier: Apache-2.0
//
// Who is told of the calls of channels and services. Programs that have a weft::Host take what the
// worker has, which /metrics, /rpc and the configuration's `tracing` show:
//
//   channel_options.observers = worker.observers();
//   service_options.observers = worker.observers();
#ifndef WEFT_RPC_SERVICE_CALL_OBSERVERS_H_
#define WEFT_RPC_SERVICE_CALL_OBSERVERS_H_

#include "weft/rpc/service/method_stats.h"
#include "weft/rpc/trace/tracer.h"

namespace weft::rpc {

// Not owned; of the same thread as those who tell them, whom they must outlive.
struct CallObservers {
  MethodTable* methods = nullptr;  // null: nothing is counted
  Tracer* tracer = nullptr;        // null: nothing is traced
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_CALL_OBSERVERS_H_
