// SPDX-License-Identifier: Apache-2.0
//
// A call of a unary method: what a stub returns and a coroutine awaits.
//
//   absl::Status status = co_await store.Get(request, &response);
//
// Request, response and context must live until the call has ended. The call begins when it is
// awaited; a coroutine that is destroyed while it waits cancels it. Errors: those of the method; of
// Client::Call() (client.h); ResourceExhausted for metadata beyond the limit; Internal for a reply
// that is none of this protocol or does not parse; what interceptors make of these.
//
// Allocates nothing in steady state, but for requests of more than one packet, and for metadata and
// details of errors.
#ifndef WEFT_RPC_SERVICE_UNARY_CALL_H_
#define WEFT_RPC_SERVICE_UNARY_CALL_H_

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/core/buffer_chain.h"
#include "weft/rpc/client.h"
#include "weft/rpc/service/channel.h"
#include "weft/rpc/service/message_codec.h"
#include "weft/rpc/service/observed_call.h"
#include "weft/rpc/service/service_wire.h"

namespace weft::rpc {

// What does not depend on the messages' types.
class UnaryCallBase {
 public:
  UnaryCallBase(const UnaryCallBase&) = delete;
  UnaryCallBase& operator=(const UnaryCallBase&) = delete;

 protected:
  // Requests up to this length, head included, lie in the call itself.
  static constexpr size_t kInlineBytes = 256;

  UnaryCallBase(Channel& channel, const Channel::BoundMethod& method, ClientContext* context)
      : channel_(channel),
        method_(*method.method),
        observed_method_(method.observed),
        context_(context) {}
  ~UnaryCallBase();

  // Tells observers, asks interceptors and fills `head_`. The bytes of the head with its metadata;
  // 0: the call has ended, with status_.
  size_t Prepare() {
    head_.id = method_.id;
    observed_.Begin(observed_method_, channel_.loop());
    if (context_ == nullptr && !channel_.intercepts()) [[likely]] {
      BeginSpan(nullptr);
      return head_.traced ? head_.bytes() : kRequestHeadBytesMin;
    }
    return PrepareWithContext();
  }
  // The call is outstanding.
  void OnBegun(CallId call) {
    call_ = call;
    if (Span* const span = observed_.span()) [[unlikely]]
      channel_.Observe(call, *span);
  }
  void WriteHead(uint8_t* out) const;
  CallOptions options() const {
    if (context_ != nullptr) [[unlikely]]
      return OptionsOfContext();
    return {.timeout = channel_.options().timeout};
  }

  // Takes head and trailer off a reply to a request of that kind. True: a response is what is left
  // in `reply`.
  bool TakeHead(absl::StatusOr<BufferChain>& reply, RequestKind kind = RequestKind::kUnary);
  // Tells interceptors and observers how it ended.
  void Finish() {
    if (begun_ > 0) [[unlikely]]
      channel_.EndInterceptors(*context_, method_, begun_, status_);
    observed_.End(status_);
  }
  void ResponseDoesNotParse();
  void NoBuffers();

  Channel& channel_;
  const Method& method_;
  const ObservedMethod& observed_method_;
  ClientContext* context_;
  std::unique_ptr<ClientContext> own_context_;  // for interceptors
  size_t begun_ = 0;                            // interceptors
  RequestHead head_;
  ObservedCall observed_;
  CallId call_;  // while it is outstanding
  std::coroutine_handle<> awaiting_;
  absl::Status status_;

 private:
  // Decides whether it is traced, and hands on what it belongs to.
  void BeginSpan(const TraceParent* parent) {
    const Span* const span = observed_.BeginSpan(Span::Kind::kClient, observed_method_, parent);
    if (span != nullptr || parent != nullptr) [[unlikely]]
      FillTrace(parent);
  }
  void FillTrace(const TraceParent* parent);
  size_t PrepareWithContext();
  CallOptions OptionsOfContext() const;
  bool TakeSlowHead(BufferChain& reply, RequestKind kind);
};

template <typename Request, typename Response>
class [[nodiscard]] UnaryCall : public UnaryCallBase {
 public:
  // For generated code. Of a raw method, `request` is moved from when the call begins.
  using RequestArgument = std::conditional_t<kIsRaw<Request>, Payload, const Request&>;
  UnaryCall(Channel& channel, const Channel::BoundMethod& method, RequestArgument request,
            Received<Response>* response, ClientContext* context)
      : UnaryCallBase(channel, method, context),
        request_(static_cast<RequestArgument&&>(request)),
        response_(response) {}

  bool await_ready() const { return false; }
  bool await_suspend(std::coroutine_handle<> awaiting) {
    const size_t head_bytes = Prepare();
    if (head_bytes == 0) [[unlikely]]
      return false;
    Payload request = Encode(head_bytes);
    if (request.empty()) [[unlikely]] {
      NoBuffers();
      return false;
    }
    awaiting_ = awaiting;
    absl::StatusOr<CallId> begun = channel_.Call(
        std::move(request),
        [this](absl::StatusOr<BufferChain> reply) { OnReply(std::move(reply)); }, options());
    if (!begun.ok()) [[unlikely]] {
      status_ = begun.status();
      Finish();
      return false;
    }
    OnBegun(*begun);
    return true;
  }
  absl::Status await_resume() { return std::move(status_); }

 private:
  Payload Encode(size_t head_bytes) {
    const size_t request_bytes = RequestBytes();
    const size_t size = head_bytes + request_bytes;
    observed_.AddRequestBytes(request_bytes);
    if (size <= kInlineBytes) [[likely]] {
      WriteHead(inline_);
      if constexpr (kIsRaw<Request>) {
        uint8_t* at = inline_ + head_bytes;
        request_.ForEachPiece([&at](absl::Span<const uint8_t> piece) {
          if (!piece.empty()) std::memcpy(at, piece.data(), piece.size());
          at += piece.size();
        });
      } else {
        request_.SerializeWithCachedSizesToArray(inline_ + head_bytes);
      }
      return Payload::External({inline_, size});
    }
    BufferPool& pool = channel_.client().port().pool();
    if constexpr (kIsRaw<Request>) {
      const auto head = std::make_unique<uint8_t[]>(head_bytes);
      WriteHead(head.get());
      return EncodeRaw(pool, {head.get(), head_bytes}, std::move(request_));
    } else {
      // A long one may be fetched from where it is written.
      Buffer whole = size > pool.payload_bytes() ? channel_.client().Allocate(size) : Buffer();
      EncodedMessage encoded =
          whole ? EncodedIn(std::move(whole), size) : AllocateMessage(pool, size);
      if (encoded.head == nullptr) return Payload();
      WriteHead(encoded.head);
      request_.SerializeWithCachedSizesToArray(encoded.head + head_bytes);
      return std::move(encoded.payload);
    }
  }
  size_t RequestBytes() const {
    if constexpr (kIsRaw<Request>) {
      return request_.size();
    } else {
      return request_.ByteSizeLong();
    }
  }

  void OnReply(absl::StatusOr<BufferChain>&& reply) {
    call_ = CallId();
    if (TakeHead(reply)) [[likely]] {
      observed_.AddResponseBytes(reply->size());
      if constexpr (kIsRaw<Response>) {
        *response_ = *std::move(reply);
      } else if (!DecodeMessage(*reply, response_)) {
        ResponseDoesNotParse();
      }
    }
    if (reply.ok()) reply->Clear();  // its buffers are of use to what goes on
    Finish();
    awaiting_.resume();
  }

  // A message stays the caller's, a Payload is the call's.
  std::conditional_t<kIsRaw<Request>, Payload, const Request&> request_;
  Received<Response>* const response_;
  uint8_t inline_[kInlineBytes];
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_UNARY_CALL_H_
