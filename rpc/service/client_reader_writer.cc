// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/client_reader_writer.h"

#include <memory>

#include "weft/rpc/call_status.h"

namespace weft::rpc {

StreamCallBase::StreamCallBase(Channel& channel, const Channel::BoundMethod& method,
                               ClientContext* context, const StreamDirections& directions)
    : UnaryCallBase(channel, method, context) {
  const uint64_t affinity = context != nullptr ? context->options().affinity : 0;
  absl::StatusOr<ClientStreams*> streams = channel.BeginStream(affinity, &picked_);
  status_ = streams.status();
  if (!status_.ok()) return;
  stream_.emplace(**streams, directions);
  status_ = stream_->status();
  if (!status_.ok()) Leave(nullptr);
}

// The bytes of the head with its metadata; 0: the call has ended, with status_.
size_t StreamCallBase::Begin() {
  if (!stream_.has_value()) return 0;
  head_.kind = RequestKind::kOpen;
  head_.number = stream_->id();
  if (Prepare() == 0) {
    Leave(nullptr);
    return 0;
  }
  return head_.bytes() + head_.metadata_bytes;
}

void StreamCallBase::StartWith(Payload request) {
  const size_t head_bytes = Begin();
  if (head_bytes == 0) return;
  const auto head = std::make_unique_for_overwrite<uint8_t[]>(head_bytes);
  WriteHead(head.get());
  observed_.AddRequestBytes(request.size());
  Payload open =
      EncodeRaw(channel_.client().port().pool(), {head.get(), head_bytes}, std::move(request));
  if (open.empty()) return Fail();
  Send(std::move(open));
}

void StreamCallBase::Send(Payload open) {
  stream_->state().set_observer(&observed_);
  stream_->Start(std::move(open), context_ != nullptr ? context_->options() : CallOptions());
}

void StreamCallBase::Fail() {
  NoBuffers();
  Leave(nullptr);
}

void StreamCallBase::OnEnd(absl::StatusOr<BufferChain> reply) {
  // What the method says tells nothing of the server.
  const absl::Status transport = reply.status();
  if (TakeHead(reply, RequestKind::kOpen) && decode_ != nullptr) {
    observed_.AddResponseBytes(reply->size());
    if (!decode_(*std::move(reply), response_)) ResponseDoesNotParse();
  }
  Leave(&transport);
  UnaryCallBase::Finish();
}

}  // namespace weft::rpc
