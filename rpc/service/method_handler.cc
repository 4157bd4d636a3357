// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/method_handler.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/rpc/call_status.h"
#include "weft/rpc/service/message_codec.h"

namespace weft::rpc {

absl::Status ServiceCore::BeginSlow(ServerContext& context, const RequestHead& head,
                                    ServerCall& call, size_t* begun) {
  absl::Status status = ReadMetadata(context, head, call);
  for (*begun = 0; status.ok() && *begun < options.interceptors.size(); ++*begun) {
    status = options.interceptors[*begun]->Begin(context, context.method());
    if (!status.ok()) {
      ++stats.refused;
      break;
    }
  }
  return status;
}

absl::Status ServiceCore::ReadMetadata(ServerContext& context, const RequestHead& head,
                                       ServerCall& call) {
  if (head.metadata_bytes == 0) return absl::OkStatus();
  if (head.metadata_bytes > options.metadata_bytes_max) {
    ++stats.metadata_too_large;
    return NotExecuted(absl::ResourceExhaustedError(
        absl::StrCat("the request has ", head.metadata_bytes,
                     " bytes of metadata; the server's metadata_bytes_max allows ",
                     options.metadata_bytes_max)));
  }
  if (!TakeMessage(call.request(), head.metadata_bytes,
                   &context.mutable_request_metadata().proto())) {
    ++stats.malformed;
    return NotExecuted(absl::InvalidArgumentError("the metadata of the request do not parse"));
  }
  return absl::OkStatus();
}

void ServiceCore::EndSlow(ServerContext& context, size_t begun, absl::Status& status) {
  while (begun > 0) options.interceptors[--begun]->End(context, context.method(), status);
}

void MethodHandler::FillSpan(Span& span, ServerContext& context) const {
  context.set_trace(span.context);
  span.state.Set(context.request_metadata().Find(kTraceStateKey).value_or(""));
  span.peer.Set(core_.NameOf(context.peer()));
}

absl::string_view ServiceCore::NameOf(const Peer& peer) {
  if (peer != named_) {
    const absl::StatusOr<Address> address = port->AddressOf(peer);
    named_ = address.ok() ? peer : Peer();
    name_ = address.ok() ? address->ToString() : "";
  }
  return name_;
}

absl::Status ServiceCore::Unparsable(const Method& method) {
  ++stats.unparsable;
  return NotExecuted(absl::InvalidArgumentError(
      absl::StrCat("the request of ", method.full_name, " does not parse")));
}

void ServiceCore::FillTrailerFor(const absl::Status& status, const ServerContext* context,
                                 size_t bytes_max, wire::Trailer* trailer) {
  const Metadata* metadata = context == nullptr ? nullptr : context->reply_metadata_if_any();
  if (!FillTrailer(status, metadata,
                   std::min({options.metadata_bytes_max, bytes_max, size_t{kMetadataBytesLimit}}),
                   trailer)) {
    ++stats.trailers_cut;
  }
}

void ServiceCore::ReplyWithStatus(ServerCall& call, RequestKind kind, const absl::Status& status,
                                  const ServerContext* context, uint64_t number) {
  wire::Trailer trailer;
  FillTrailerFor(status, context, SIZE_MAX, &trailer);
  const ReplyHead head = {.code = status.code(),
                          .trailer_bytes = static_cast<uint32_t>(trailer.ByteSizeLong()),
                          .number = number};
  const size_t head_bytes = ReplyHead::Bytes(kind);
  EncodedMessage encoded = EncodeMessage(*buffers, head_bytes, trailer);
  absl::Status sent = absl::ResourceExhaustedError("no packet buffers left");
  if (encoded.head != nullptr) {
    WriteReplyHead(head, kind, encoded.head);
    sent = call.Reply(std::move(encoded.payload));
  }
  if (sent.ok() || absl::IsCancelled(sent)) return;
  ++stats.replies_failed;
  call.Drop();
}

void ServiceCore::ReplyFailed(ServerCall& call, RequestKind kind, const absl::Status& error,
                              uint64_t number) {
  if (absl::IsCancelled(error)) return;
  ++stats.replies_failed;
  // What is wrong with it for the server is not the client's fault.
  const absl::Status status =
      absl::IsInvalidArgument(error) ? absl::OutOfRangeError(error.message()) : error;
  ReplyWithStatus(call, kind, status, nullptr, number);
}

}  // namespace weft::rpc
