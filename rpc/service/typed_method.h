// SPDX-License-Identifier: Apache-2.0
//
// What handlers of methods of all kinds do with the messages of one method. Not for users.
#ifndef WEFT_RPC_SERVICE_TYPED_METHOD_H_
#define WEFT_RPC_SERVICE_TYPED_METHOD_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "weft/rpc/payload.h"
#include "weft/rpc/server_call.h"
#include "weft/rpc/service/message_codec.h"
#include "weft/rpc/service/message_pool.h"
#include "weft/rpc/service/method_handler.h"
#include "weft/rpc/service/observed_call.h"
#include "weft/rpc/service/server_context.h"
#include "weft/rpc/service/service_wire.h"

namespace weft::rpc {

template <typename Request, typename Response>
class TypedMethod : public MethodHandler {
 public:
  using MethodHandler::MethodHandler;

 protected:
  using PooledRequest = PooledMessage<Received<Request>>;
  using PooledResponse = PooledMessage<Sent<Response>>;

  // Takes the request, whose head and metadata have been taken off. False: it does not parse.
  static bool TakeRequest(ServerCall& call, PooledRequest& request) {
    if constexpr (kIsRaw<Request>) {
      *request = std::move(call.request());
      return true;
    } else {
      const bool good = DecodeMessage(call.request(), request.get());
      request.set_bytes(call.request().size());
      call.request().Clear();
      return good;
    }
  }

  // Replies to a request of `kind` with a response, and a trailer if the method has metadata.
  absl::Status SendResponse(ServerCall& call, RequestKind kind, ServerContext& context,
                            PooledResponse& response, ObservedCall& observed) {
    wire::Trailer trailer;
    if (context.reply_metadata_if_any() != nullptr) {
      core_.FillTrailerFor(absl::OkStatus(), &context, SIZE_MAX, &trailer);
    }
    const auto trailer_bytes = static_cast<uint32_t>(trailer.ByteSizeLong());
    const size_t fixed_bytes = ReplyHead::Bytes(kind);
    const size_t head_bytes = fixed_bytes + trailer_bytes;
    const auto head = std::make_unique<uint8_t[]>(head_bytes);
    WriteReplyHead({.trailer_bytes = trailer_bytes}, kind, head.get());
    trailer.SerializeWithCachedSizesToArray(head.get() + fixed_bytes);
    if constexpr (kIsRaw<Response>) {
      observed.AddResponseBytes((*response).size());
      return Send(call, EncodeRaw(*core_.buffers, {head.get(), head_bytes}, std::move(*response)));
    } else {
      EncodedMessage encoded = EncodeMessage(*core_.buffers, head_bytes, *response);
      if (encoded.head != nullptr) {
        std::memcpy(encoded.head, head.get(), head_bytes);
        observed.AddResponseBytes(encoded.payload.size() - head_bytes);
      }
      response.set_bytes(encoded.payload.size());
      return Send(call, std::move(encoded.payload));
    }
  }

  // `reply` has no bytes if there was no memory for it.
  static absl::Status Send(ServerCall& call, Payload reply) {
    if (reply.empty()) return absl::ResourceExhaustedError("no packet buffers left");
    return call.Reply(std::move(reply));
  }

  MessagePool<Received<Request>> requests_;
  MessagePool<Sent<Response>> responses_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_TYPED_METHOD_H_
