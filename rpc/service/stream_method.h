// SPDX-License-Identifier: Apache-2.0
//
// Runs a method with streams: opens the stream that the client asks for, calls the method, and ends
// the stream with what it returns. For generated code.
#ifndef WEFT_RPC_SERVICE_STREAM_METHOD_H_
#define WEFT_RPC_SERVICE_STREAM_METHOD_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "weft/rpc/call_status.h"
#include "weft/rpc/handler_tasks.h"
#include "weft/rpc/service/message_codec.h"
#include "weft/rpc/service/method_handler.h"
#include "weft/rpc/service/server_reader_writer.h"
#include "weft/rpc/service/server_streams.h"
#include "weft/rpc/service/service.h"
#include "weft/rpc/service/typed_method.h"

namespace weft::rpc {

// `kMethod` is a member function of `S`, a Task<absl::Status> of
//   kServerStreaming   (ServerContext&, const Request&, ServerWriter<Response>&)
//   kClientStreaming   (ServerContext&, ServerReader<Request>&, Response*)
//   kBidirectional     (ServerContext&, ServerReaderWriter<Request, Response>&)
// where a raw request is a BufferChain& and a raw response a Payload*.
template <typename S, typename Request, typename Response, auto kMethod, MethodKind kKind>
class StreamMethod final : public TypedMethod<Request, Response> {
  using Base = TypedMethod<Request, Response>;

 public:
  StreamMethod(S& service, const Method& method, ServiceCore& core)
      : Base(method, core), service_(service) {}

  HandlerTasks::Running* Start(HandlerTasks& tasks, ServerCall&& call,
                               const RequestHead& head) override {
    return tasks.Start([&] { Run(tasks, *this, std::move(call), head); });
  }

 private:
  // The one coroutine around the method's own.
  static HandlerTasks::Detached Run(HandlerTasks&, StreamMethod& self, ServerCall call,
                                    const RequestHead& first_head) {
    ServerContext context(call, self.method_, first_head);
    size_t begun = 0;
    uint64_t batches = 0;
    ObservedCall observed;  // outlives the stream, which tells it
    std::optional<ServerStream> stream;
    absl::Status status = self.core_.Begin(context, first_head, call, &begun);
    self.Observe(observed, context);
    observed.AddRequestBytes(call.request().size());
    if (status.ok()) {
      stream.emplace(*self.core_.streams, call, first_head.number);
      status = stream->status();
      if (!status.ok()) status = NotExecuted(std::move(status));
    }
    typename Base::PooledRequest request(self.requests_);
    typename Base::PooledResponse response(self.responses_);
    if constexpr (kKind == MethodKind::kServerStreaming) {
      if (status.ok() && !Base::TakeRequest(call, request)) {
        status = self.core_.Unparsable(self.method_);
      }
    } else {
      call.request().Clear();  // there should be nothing, and the stream may live for long
    }
    if (status.ok()) {
      stream->state().set_observer(&observed);
      if constexpr (kKind == MethodKind::kServerStreaming) {
        ServerWriter<Response> writer(*stream);
        status = co_await (self.service_.*kMethod)(context, *request, writer);
      } else if constexpr (kKind == MethodKind::kClientStreaming) {
        ServerReader<Request> reader(*stream);
        if constexpr (!kIsRaw<Response>) response->Clear();
        status = co_await (self.service_.*kMethod)(context, reader, response.get());
      } else {
        ServerReaderWriter<Request, Response> both(*stream);
        status = co_await (self.service_.*kMethod)(context, both);
      }
      if (!status.ok()) status = PerhapsExecuted(std::move(status));
      co_await stream->Flush();
      stream->receiver().TellObserver();
      status = stream->Close(std::move(status));
      batches = stream->batches_sent();
    }
    self.core_.End(context, begun, status);
    if (kKind == MethodKind::kClientStreaming && status.ok()) {
      const absl::Status sent =
          self.SendResponse(call, RequestKind::kOpen, context, response, observed);
      if (!sent.ok()) self.core_.ReplyFailed(call, RequestKind::kOpen, sent);
    } else {
      self.core_.ReplyWithStatus(call, RequestKind::kOpen, status, &context, batches);
    }
    observed.End(status);
  }

  S& service_;
};

template <typename S, typename Request, typename Response, auto kMethod>
std::unique_ptr<MethodHandler> MakeServerStreaming(Service& service, const Method& method,
                                                   ServiceCore& core) {
  return std::make_unique<
      StreamMethod<S, Request, Response, kMethod, MethodKind::kServerStreaming>>(
      static_cast<S&>(service), method, core);
}

template <typename S, typename Request, typename Response, auto kMethod>
std::unique_ptr<MethodHandler> MakeClientStreaming(Service& service, const Method& method,
                                                   ServiceCore& core) {
  return std::make_unique<
      StreamMethod<S, Request, Response, kMethod, MethodKind::kClientStreaming>>(
      static_cast<S&>(service), method, core);
}

template <typename S, typename Request, typename Response, auto kMethod>
std::unique_ptr<MethodHandler> MakeBidirectional(Service& service, const Method& method,
                                                 ServiceCore& core) {
  return std::make_unique<StreamMethod<S, Request, Response, kMethod, MethodKind::kBidirectional>>(
      static_cast<S&>(service), method, core);
}

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_STREAM_METHOD_H_
