// SPDX-License-Identifier: Apache-2.0
//
// What a server has of each method of its services: starts the method's coroutine for a call, and
// sends what it answers. Generated code names the kinds, in unary_method.h and stream_method.h. Not
// for users.
#ifndef WEFT_RPC_SERVICE_METHOD_HANDLER_H_
#define WEFT_RPC_SERVICE_METHOD_HANDLER_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "weft/rpc/handler_tasks.h"
#include "weft/rpc/server_call.h"
#include "weft/rpc/service/method.h"
#include "weft/rpc/service/observed_call.h"
#include "weft/rpc/service/server_context.h"
#include "weft/rpc/service/service_options.h"
#include "weft/rpc/service/service_stats.h"
#include "weft/rpc/service/service_wire.h"
#include "weft/rpc/service/trailer.h"
#include "weft/transports/datagram_port.h"

namespace weft::rpc {

class ServerStreams;

// What all methods of a server share.
struct ServiceCore {
  ServiceOptions options;
  ServiceStats stats;
  BufferPool* buffers = nullptr;  // of the server's port
  ServerStreams* streams = nullptr;
  const DatagramPort* port = nullptr;

  // Before the method is called: reads the request's metadata and takes it off `call`, asks who may
  // call what, and the interceptors, `*begun` of which agreed. An error is the reply.
  absl::Status Begin(ServerContext& context, const RequestHead& head, ServerCall& call,
                     size_t* begun) {
    if (head.metadata_bytes == 0 && options.interceptors.empty()) [[likely]]
      return absl::OkStatus();
    return BeginSlow(context, head, call, begun);
  }
  // Before the reply is sent.
  void End(ServerContext& context, size_t begun, absl::Status& status) {
    if (begun > 0 || !status.ok()) [[unlikely]]
      EndSlow(context, begun, status);
  }

  // Sends a reply without a body: the head, with `number` where it has one, and a trailer if there
  // is something to say. `context` may be null.
  void ReplyWithStatus(ServerCall& call, RequestKind kind, const absl::Status& status,
                       const ServerContext* context = nullptr, uint64_t number = 0);
  // After a reply that could not be sent because of `error`.
  void ReplyFailed(ServerCall& call, RequestKind kind, const absl::Status& error,
                   uint64_t number = 0);
  // Fills `trailer` for a reply; counts what was left out.
  void FillTrailerFor(const absl::Status& status, const ServerContext* context, size_t bytes_max,
                      wire::Trailer* trailer);

  absl::Status Unparsable(const Method& method);

  // The address of a peer, for traces, until the next one is asked for.
  absl::string_view NameOf(const Peer& peer);

 private:
  absl::Status BeginSlow(ServerContext& context, const RequestHead& head, ServerCall& call,
                         size_t* begun);
  void EndSlow(ServerContext& context, size_t begun, absl::Status& status);
  absl::Status ReadMetadata(ServerContext& context, const RequestHead& head, ServerCall& call);

  // The last one that was asked for, which is often the next.
  Peer named_;
  std::string name_;
};

class MethodHandler {
 public:
  MethodHandler(const Method& method, ServiceCore& core)
      : method_(method),
        observed_method_(core.options.observers, Side::kServer, method.full_name),
        core_(core) {}
  virtual ~MethodHandler() = default;
  MethodHandler(const MethodHandler&) = delete;
  MethodHandler& operator=(const MethodHandler&) = delete;

  // Starts the method for a call of UNARY or OPEN, whichever the method is of; `head` has been
  // taken off the request. Null if it has ended.
  virtual HandlerTasks::Running* Start(HandlerTasks& tasks, ServerCall&& call,
                                       const RequestHead& head) = 0;

  const Method& method() const { return method_; }
  RequestKind request_kind() const {
    return method_.kind == MethodKind::kUnary ? RequestKind::kUnary : RequestKind::kOpen;
  }

 protected:
  // Tells observers that a call begins, whose head has been taken off. A span that it gets is the
  // one that `context` hands on.
  void Observe(ObservedCall& observed, ServerContext& context) const {
    observed.Begin(observed_method_, context.loop());
    if (observed.BeginSpan(Span::Kind::kServer, observed_method_, context.trace()) != nullptr)
        [[unlikely]] {
      FillSpan(*observed.span(), context);
    }
  }

  const Method& method_;
  const ObservedMethod observed_method_;
  ServiceCore& core_;

 private:
  void FillSpan(Span& span, ServerContext& context) const;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_METHOD_HANDLER_H_
