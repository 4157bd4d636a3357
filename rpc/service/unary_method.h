// SPDX-License-Identifier: Apache-2.0
//
// Runs a unary method: parses the request into a message that is used again, calls the method,
// sends the response. For generated code.
#ifndef WEFT_RPC_SERVICE_UNARY_METHOD_H_
#define WEFT_RPC_SERVICE_UNARY_METHOD_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "weft/rpc/call_status.h"
#include "weft/rpc/handler_tasks.h"
#include "weft/rpc/service/message_codec.h"
#include "weft/rpc/service/method_handler.h"
#include "weft/rpc/service/service.h"
#include "weft/rpc/service/typed_method.h"

namespace weft::rpc {

// `kMethod` is a member function of `S`:
//   Task<absl::Status> (ServerContext&, const Request&, Response*), where a raw request is a
//   BufferChain& and a raw response a Payload*.
template <typename S, typename Request, typename Response, auto kMethod>
class UnaryMethod final : public TypedMethod<Request, Response> {
  using Base = TypedMethod<Request, Response>;
  using Base::core_;

 public:
  UnaryMethod(S& service, const Method& method, ServiceCore& core)
      : Base(method, core), service_(service) {}

  HandlerTasks::Running* Start(HandlerTasks& tasks, ServerCall&& call,
                               const RequestHead& head) override {
    return tasks.Start([&] { Run(tasks, *this, call, head); });
  }

 private:
  // The one coroutine around the method's own. `started_call` and `head` live until it is suspended
  // for the first time.
  static HandlerTasks::Detached Run(HandlerTasks&, UnaryMethod& self, ServerCall& started_call,
                                    const RequestHead& head) {
    ServerCall call(std::move(started_call));
    ServerContext context(call, self.method_, head);
    size_t begun = 0;
    absl::Status status = self.core_.Begin(context, head, call, &begun);
    ObservedCall observed;
    self.Observe(observed, context);
    observed.AddRequestBytes(call.request().size());
    typename Base::PooledRequest request(self.requests_);
    typename Base::PooledResponse response(self.responses_);
    if constexpr (!kIsRaw<Response>) response->Clear();
    if (status.ok()) [[likely]] {
      if (Base::TakeRequest(call, request)) [[likely]] {
        status = co_await (self.service_.*kMethod)(context, *request, response.get());
        if (!status.ok()) status = PerhapsExecuted(std::move(status));
      } else {
        status = self.core_.Unparsable(self.method_);
      }
    }
    self.core_.End(context, begun, status);
    self.Reply(call, context, status, response, observed);
    observed.End(status);
  }

  void Reply(ServerCall& call, ServerContext& context, const absl::Status& status,
             typename Base::PooledResponse& response, ObservedCall& observed) {
    if (!status.ok()) [[unlikely]] {
      return core_.ReplyWithStatus(call, RequestKind::kUnary, status, &context);
    }
    absl::Status sent;
    if (context.reply_metadata_if_any() != nullptr) [[unlikely]] {
      sent = this->SendResponse(call, RequestKind::kUnary, context, response, observed);
    } else if constexpr (kIsRaw<Response>) {
      uint8_t head[kReplyHeadBytesMin];
      observed.AddResponseBytes((*response).size());
      WriteReplyHead({}, RequestKind::kUnary, head);
      sent = Base::Send(call, EncodeRaw(*core_.buffers, head, std::move(*response)));
    } else {
      const size_t size = kReplyHeadBytesMin + response->ByteSizeLong();
      response.set_bytes(size);
      observed.AddResponseBytes(size - kReplyHeadBytesMin);
      Buffer buffer;
      if (size <= core_.buffers->payload_bytes()) [[likely]]
        buffer = core_.buffers->Allocate();
      sent = buffer ? ReplyInBuffer(call, std::move(buffer), size, *response)
                    : ReplyInBlock(call, size, *response);
    }
    if (!sent.ok()) [[unlikely]]
      core_.ReplyFailed(call, RequestKind::kUnary, sent);
  }

  // The sizes within `response` are known.
  static absl::Status ReplyInBuffer(ServerCall& call, Buffer buffer, size_t size,
                                    const Response& response) {
    uint8_t* const out = buffer.Append(size);
    WriteReplyHead({}, RequestKind::kUnary, out);
    response.SerializeWithCachedSizesToArray(out + kReplyHeadBytesMin);
    return call.Reply(std::move(buffer));
  }
  absl::Status ReplyInBlock(ServerCall& call, size_t size, const Response& response) {
    // One that is fetched from where it is written, perhaps.
    if (Buffer whole = call.Allocate(size)) {
      return ReplyInBuffer(call, std::move(whole), size, response);
    }
    EncodedMessage encoded = AllocateMessage(*core_.buffers, size);
    if (encoded.head != nullptr) {
      WriteReplyHead({}, RequestKind::kUnary, encoded.head);
      response.SerializeWithCachedSizesToArray(encoded.head + kReplyHeadBytesMin);
    }
    return Base::Send(call, std::move(encoded.payload));
  }

  S& service_;
};

template <typename S, typename Request, typename Response, auto kMethod>
std::unique_ptr<MethodHandler> MakeUnary(Service& service, const Method& method,
                                         ServiceCore& core) {
  return std::make_unique<UnaryMethod<S, Request, Response, kMethod>>(static_cast<S&>(service),
                                                                      method, core);
}

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_UNARY_METHOD_H_
