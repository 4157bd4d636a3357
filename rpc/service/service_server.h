// SPDX-License-Identifier: Apache-2.0
//
// A server of typed services: an rpc::Server whose handler finds the method that a request asks for
// and runs it.
//
//   Store store;
//   auto server = rpc::ServiceServer::Create(loop, std::move(port), server_options,
//                                            service_options, {&store});
//   if (!server.ok()) return server.status();
//   (*server)->server().Drain([&] { ... });
//
// A request that cannot be served is answered, and counted in stats():
//   Unimplemented      no such method here
//   InvalidArgument    the request does not parse, or is not one of this protocol
//   ResourceExhausted  more metadata than allowed
//   OutOfRange         the response is longer than messages may be
// Requests that are longer than messages may be are refused below (ServerStats).
//
// Threads: as a Server. The services belong to the application and must outlive the server.
#ifndef WEFT_RPC_SERVICE_SERVICE_SERVER_H_
#define WEFT_RPC_SERVICE_SERVICE_SERVER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/loop.h"
#include "weft/rpc/options.h"
#include "weft/rpc/security/authorisation.h"
#include "weft/rpc/server.h"
#include "weft/rpc/service/method_handler.h"
#include "weft/rpc/service/reflection.h"
#include "weft/rpc/service/server_streams.h"
#include "weft/rpc/service/service.h"
#include "weft/rpc/service/service_options.h"
#include "weft/rpc/service/service_stats.h"
#include "weft/transports/datagram_port.h"

namespace weft::rpc {

class ServiceServer {
 public:
  // InvalidArgument when a service is given twice, or two methods have the same id (rename one);
  // else the errors of Server::Create().
  static absl::StatusOr<std::unique_ptr<ServiceServer>> Create(
      Loop& loop, std::unique_ptr<DatagramPort> port, const ServerOptions& server_options,
      const ServiceOptions& service_options, absl::Span<Service* const> services);
  ~ServiceServer();

  Server& server() { return *server_; }
  const ServiceStats& stats() const { return core_.stats; }
  const ServerStreams& streams() const { return *streams_; }
  absl::Span<Service* const> services() const { return services_; }

 private:
  ServiceServer() = default;

  absl::Status AddMethods(Service& service);
  void FillTable();

  // By method id, with open addressing; at least half of it is empty.
  struct Place {
    uint64_t id = 0;
    MethodHandler* handler = nullptr;
    size_t index = 0;  // of the handler
  };
  // Without a handler if there is no such method.
  const Place& Find(uint64_t method_id) const {
    for (size_t i = method_id & mask_;; i = (i + 1) & mask_) {
      const Place& place = table_[i];
      if (place.handler == nullptr || place.id == method_id) return place;
    }
  }
  HandlerTasks::Running* OnCall(HandlerTasks& tasks, ServerCall&& call);
  void Refuse(ServerCall& call, const RequestHead& head);
  void Forbid(ServerCall& call, const MethodHandler& handler);

  ServiceCore core_;
  std::unique_ptr<Reflection> reflection_;
  std::vector<Service*> services_;
  std::vector<std::unique_ptr<MethodHandler>> handlers_;
  std::vector<Place> table_;
  size_t mask_ = 0;
  std::unique_ptr<Authorisation> authorisation_;  // null: everybody may call everything
  std::unique_ptr<ServerStreams> streams_;
  std::unique_ptr<Server> server_;  // last: its coroutines use all of the above
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_SERVICE_SERVER_H_
