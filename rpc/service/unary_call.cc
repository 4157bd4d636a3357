// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/unary_call.h"

#include <array>

#include "absl/strings/str_cat.h"
#include "weft/rpc/call_status.h"
#include "weft/rpc/service/service.pb.h"
#include "weft/rpc/service/trailer.h"

namespace weft::rpc {

UnaryCallBase::~UnaryCallBase() {
  if (call_) [[unlikely]]
    channel_.Cancel(call_);
  if (own_context_ != nullptr) [[unlikely]]
    channel_.ReturnContext(std::move(own_context_));
}

void UnaryCallBase::FillTrace(const TraceParent* parent) {
  head_.traced = true;
  Span* const span = observed_.span();
  if (span == nullptr) {
    head_.trace = *parent;
    return;
  }
  head_.trace = span->context;
  span->peer.Set(channel_.peer_name());
  if (context_ != nullptr) {
    span->state.Set(context_->request_metadata().Find(kTraceStateKey).value_or(""));
  }
}

size_t UnaryCallBase::PrepareWithContext() {
  if (context_ == nullptr) {
    own_context_ = channel_.TakeContext();
    context_ = own_context_.get();
  }
  context_->mutable_reply_metadata().Clear();
  status_ = channel_.BeginInterceptors(*context_, method_, &begun_);
  if (status_.ok() && !context_->request_metadata().empty()) {
    const size_t bytes = context_->request_metadata().proto().ByteSizeLong();
    const size_t bytes_max =
        std::min<size_t>(channel_.options().metadata_bytes_max, kMetadataBytesLimit);
    if (bytes > bytes_max) {
      status_ = NotExecuted(absl::ResourceExhaustedError(absl::StrCat(
          "the request has ", bytes, " bytes of metadata; metadata_bytes_max allows ", bytes_max)));
    }
    head_.metadata_bytes = static_cast<uint32_t>(bytes);
  }
  if (!status_.ok()) {
    Finish();
    return 0;
  }
  BeginSpan(context_->trace().has_value() ? &*context_->trace() : nullptr);
  return head_.bytes() + head_.metadata_bytes;
}

CallOptions UnaryCallBase::OptionsOfContext() const {
  CallOptions options = context_->options();
  if (options.timeout == absl::ZeroDuration()) options.timeout = channel_.options().timeout;
  return options;
}

void UnaryCallBase::WriteHead(uint8_t* out) const {
  out += WriteRequestHead(head_, out);
  if (head_.metadata_bytes > 0) {
    context_->request_metadata().proto().SerializeWithCachedSizesToArray(out);
  }
}

bool UnaryCallBase::TakeHead(absl::StatusOr<BufferChain>& reply, RequestKind kind) {
  if (!reply.ok()) [[unlikely]] {
    status_ = reply.status();
    return false;
  }
  ReplyHead head;
  if (!ReadReplyHead(reply->front(), kind, &head) || head.trailer_bytes > 0 ||
      head.code != absl::StatusCode::kOk) [[unlikely]] {
    return TakeSlowHead(*reply, kind);
  }
  reply->TrimFront(ReplyHead::Bytes(kind));
  return true;
}

// One that lies in several pieces, or has a trailer, or is an error, or none at all.
bool UnaryCallBase::TakeSlowHead(BufferChain& reply, RequestKind kind) {
  std::array<uint8_t, kReplyHeadBytesMax> first;
  const size_t got = reply.CopyTo(absl::MakeSpan(first));
  ReplyHead head;
  wire::Trailer trailer;
  if (!ReadReplyHead(absl::MakeSpan(first).first(got), kind, &head)) {
    status_ = absl::InternalError(
        absl::StrCat("the reply to ", method_.full_name, " is not that of a service"));
    return false;
  }
  reply.TrimFront(ReplyHead::Bytes(kind));
  if (head.trailer_bytes > 0 && !TakeMessage(reply, head.trailer_bytes, &trailer)) {
    status_ = absl::InternalError(
        absl::StrCat("the trailer of the reply to ", method_.full_name, " does not parse"));
    return false;
  }
  if (context_ != nullptr && trailer.has_metadata()) {
    context_->mutable_reply_metadata().proto().Swap(trailer.mutable_metadata());
  }
  status_ = StatusOf(head.code, trailer);
  return status_.ok();
}

void UnaryCallBase::ResponseDoesNotParse() {
  status_ =
      absl::InternalError(absl::StrCat("the response of ", method_.full_name, " does not parse"));
}

void UnaryCallBase::NoBuffers() {
  status_ = NotExecuted(absl::ResourceExhaustedError("no packet buffers left"));
  Finish();
}

}  // namespace weft::rpc
