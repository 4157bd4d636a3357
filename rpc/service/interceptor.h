// SPDX-License-Identifier: Apache-2.0
//
// Code of the application's that sees every call of a channel or a server: to add or check
// metadata, to refuse, to write an audit log.
//
//   class Tenant final : public rpc::ClientInterceptor {
//     absl::Status Begin(rpc::ClientContext& context, const rpc::Method& method) override {
//       context.request_metadata().Add("tenant", "blue");
//       return absl::OkStatus();
//     }
//   };
//
// Hooks run on the loop's thread, in the path of the call, and must not wait. Begin() is called in
// the order in which interceptors are given, End() in the opposite one, for those whose Begin() was
// called and returned OK. A call that is cancelled (its coroutine destroyed, its deadline passed at
// the server) has no End().
#ifndef WEFT_RPC_SERVICE_INTERCEPTOR_H_
#define WEFT_RPC_SERVICE_INTERCEPTOR_H_

#include "absl/status/status.h"
#include "weft/rpc/service/method.h"

namespace weft::rpc {

class ClientContext;
class ServerContext;

class ClientInterceptor {
 public:
  virtual ~ClientInterceptor() = default;
  // Before the request is sent. An error ends the call, unsent.
  virtual absl::Status Begin(ClientContext&, const Method&) { return absl::OkStatus(); }
  // After the reply has come; may change `status`.
  virtual void End(ClientContext&, const Method&, absl::Status& status) {
    static_cast<void>(status);
  }
};

class ServerInterceptor {
 public:
  virtual ~ServerInterceptor() = default;
  // Before the request is parsed. An error is the reply, and the method is not called.
  virtual absl::Status Begin(ServerContext&, const Method&) { return absl::OkStatus(); }
  // Before the reply is sent; may change `status` and the reply's metadata.
  virtual void End(ServerContext&, const Method&, absl::Status& status) {
    static_cast<void>(status);
  }
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_INTERCEPTOR_H_
