// SPDX-License-Identifier: Apache-2.0
//
// The base of services: generated code derives from it, and the application from that.
//
//   class Store final : public kv::KeyValueService {
//    public:
//     Task<absl::Status> Get(rpc::ServerContext& context, const kv::GetRequest& request,
//                            kv::GetResponse* response) override;
//   };
//
// A method is a coroutine on the loop of its server, and throws nothing. Its request, response and
// context live until it has ended. It is cancelled (destroyed) when nobody waits for it any more.
// One that is not overridden answers Unimplemented. One object may serve several servers, of one
// loop.
#ifndef WEFT_RPC_SERVICE_SERVICE_H_
#define WEFT_RPC_SERVICE_SERVICE_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "weft/core/task.h"
#include "weft/rpc/service/method.h"

namespace weft::rpc {

class MethodHandler;
class Service;
struct ServiceCore;

// Makes what runs one method of `service` for the server that `core` is of. `method` lives as long
// as the program.
using MakeHandler = std::unique_ptr<MethodHandler> (*)(Service& service, const Method& method,
                                                       ServiceCore& core);

class Service {
 public:
  virtual ~Service() = default;
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  const ServiceDescriptor& descriptor() const { return descriptor_; }
  // One a method, in the order of the descriptor.
  absl::Span<const MakeHandler> handlers() const { return handlers_; }

 protected:
  // Both live as long as the program.
  Service(const ServiceDescriptor& descriptor, absl::Span<const MakeHandler> handlers)
      : descriptor_(descriptor), handlers_(handlers) {}

  // What a method that is not overridden does.
  static Task<absl::Status> Unimplemented(const Method& method);

 private:
  const ServiceDescriptor& descriptor_;
  const absl::Span<const MakeHandler> handlers_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_SERVICE_H_
