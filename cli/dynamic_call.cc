// SPDX-License-Identifier: Apache-2.0
#include "weft/cli/dynamic_call.h"

#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "weft/core/task_group.h"
#include "weft/rpc/payload.h"
#include "weft/rpc/service/client_reader_writer.h"
#include "weft/rpc/service/raw_bytes.pb.h"
#include "weft/rpc/service/unary_call.h"

namespace weft::cli {
namespace {

using google::protobuf::MethodDescriptor;

rpc::MethodKind KindOf(const MethodDescriptor& method) {
  if (method.client_streaming()) {
    return method.server_streaming() ? rpc::MethodKind::kBidirectional
                                     : rpc::MethodKind::kClientStreaming;
  }
  return method.server_streaming() ? rpc::MethodKind::kServerStreaming : rpc::MethodKind::kUnary;
}

rpc::Payload PayloadOf(const std::string& bytes) {
  return rpc::Payload::External({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

}  // namespace

// The messages are bytes to the channel: it neither encodes nor decodes them.
DynamicCall::Described::Described(const MethodDescriptor& described)
    : full_name(FullName(described)),
      service(described.service()->full_name()),
      method(full_name, KindOf(described), true, true),
      descriptor{service, {&method, 1}} {}

DynamicCall::DynamicCall(std::string method, std::string json, DynamicCallOptions options,
                         std::function<void(const std::string& json)> print)
    : name_(std::move(method)),
      requests_(std::move(json)),
      options_(std::move(options)),
      print_(std::move(print)) {}

Task<absl::Status> DynamicCall::Run(rpc::Channel& channel) {
  if (absl::Status status = co_await services_.Ask(channel); !status.ok()) co_return status;
  const absl::StatusOr<const Method*> method = services_.FindMethod(name_);
  if (!method.ok()) co_return method.status();
  method_ = *method;
  described_ = std::make_unique<Described>(*method_);
  const rpc::Channel::BoundMethod* const bound = channel.Bind(described_->descriptor);
  for (const auto& [key, value] : options_.metadata) context_.request_metadata().Add(key, value);
  if (options_.trace.has_value()) context_.set_trace(*options_.trace);
  context_.set_timeout(options_.timeout);
  switch (KindOf(*method_)) {
    case rpc::MethodKind::kUnary:
      co_return co_await RunUnary(channel, bound[0]);
    case rpc::MethodKind::kServerStreaming:
      co_return co_await RunServerStreaming(channel, bound[0]);
    case rpc::MethodKind::kClientStreaming:
      co_return co_await RunClientStreaming(channel, bound[0]);
    case rpc::MethodKind::kBidirectional:
      break;
  }
  co_return co_await RunBidirectional(channel, bound[0]);
}

Task<absl::Status> DynamicCall::RunUnary(rpc::Channel& channel,
                                         const rpc::Channel::BoundMethod& bound) {
  const absl::StatusOr<std::string> request = co_await OneRequest(channel.loop());
  if (!request.ok()) co_return request.status();
  BufferChain response;
  rpc::UnaryCall<rpc::RawBytes, rpc::RawBytes> call(channel, bound, PayloadOf(*request), &response,
                                                    &context_);
  outcome_ = co_await call;
  co_return outcome_.ok() ? Print(response, JsonStyle::kIndented) : absl::OkStatus();
}

Task<absl::Status> DynamicCall::RunServerStreaming(rpc::Channel& channel,
                                                   const rpc::Channel::BoundMethod& bound) {
  const absl::StatusOr<std::string> request = co_await OneRequest(channel.loop());
  if (!request.ok()) co_return request.status();
  rpc::ClientReader<rpc::RawBytes> stream(channel, bound, PayloadOf(*request), &context_);
  if (absl::Status status = co_await ReadAll(stream); !status.ok()) co_return status;
  outcome_ = co_await stream.Finish();
  co_return absl::OkStatus();
}

Task<absl::Status> DynamicCall::RunClientStreaming(rpc::Channel& channel,
                                                   const rpc::Channel::BoundMethod& bound) {
  BufferChain response;
  rpc::ClientWriter<rpc::RawBytes> stream(channel, bound, &response, &context_);
  co_await WriteAll(channel.loop(), stream);
  if (!request_error_.ok()) co_return request_error_;
  outcome_ = co_await stream.Finish();
  co_return outcome_.ok() ? Print(response, JsonStyle::kIndented) : absl::OkStatus();
}

Task<absl::Status> DynamicCall::RunBidirectional(rpc::Channel& channel,
                                                 const rpc::Channel::BoundMethod& bound) {
  rpc::ClientReaderWriter<rpc::RawBytes, rpc::RawBytes> stream(channel, bound, &context_);
  // Ends with this coroutine, though standard input may have more to say.
  TaskGroup writer;
  writer.Spawn(WriteAll(channel.loop(), stream));
  if (absl::Status status = co_await ReadAll(stream); !status.ok()) co_return status;
  outcome_ = co_await stream.Finish();
  co_return request_error_;
}

Task<absl::StatusOr<std::string>> DynamicCall::OneRequest(Loop& loop) {
  absl::StatusOr<std::string> json = co_await requests_.All(loop);
  if (!json.ok()) co_return json.status();
  if (absl::StripAsciiWhitespace(*json).empty()) *json = "{}";
  co_return json_.Encode(*method_->input_type(), *json);
}

template <typename Stream>
Task<void> DynamicCall::WriteAll(Loop& loop, Stream& stream) {
  for (int number = 1;; ++number) {
    const absl::StatusOr<std::optional<std::string>> json = co_await requests_.Next(loop);
    if (json.ok() && !json->has_value()) break;
    const absl::StatusOr<std::string> request =
        json.ok() ? json_.Encode(*method_->input_type(), **json) : json.status();
    if (!request.ok()) {
      request_error_ = absl::InvalidArgumentError(
          absl::StrCat("message ", number, ": ", request.status().message()));
      break;
    }
    const rpc::Payload payload = PayloadOf(*request);
    if (!co_await stream.Write(payload)) break;
  }
  stream.WritesDone();
}

template <typename Stream>
Task<absl::Status> DynamicCall::ReadAll(Stream& stream) {
  BufferChain response;
  while (co_await stream.Read(&response)) {
    if (absl::Status status = Print(response, JsonStyle::kLine); !status.ok()) co_return status;
  }
  co_return absl::OkStatus();
}

absl::Status DynamicCall::Print(const BufferChain& response, JsonStyle style) {
  const absl::StatusOr<std::string> shown =
      json_.Decode(*method_->output_type(), response.ToString(), style);
  if (shown.ok()) print_(*shown);
  return shown.status();
}

std::string DynamicCall::DescribeOutcome() {
  std::string text = absl::StrCat(absl::StatusCodeToString(outcome_.code()),
                                  outcome_.message().empty() ? "" : ": ", outcome_.message());
  outcome_.ForEachPayload([&](absl::string_view type_url, const absl::Cord& payload) {
    // What the runtime knows of the call itself (call_status.h) is no detail of the server's.
    if (absl::StartsWith(type_url, "weft.rpc/")) return;
    absl::StrAppend(&text, "\n  ", type_url, ": ", DescribeDetail(type_url, std::string(payload)));
  });
  return text;
}

std::string DynamicCall::DescribeDetail(absl::string_view type_url, const std::string& bytes) {
  const absl::string_view name = type_url.substr(type_url.rfind('/') + 1);
  if (const google::protobuf::Descriptor* type = services_.FindType(name)) {
    absl::StatusOr<std::string> json = json_.Decode(*type, bytes, JsonStyle::kLine);
    if (json.ok()) return *std::move(json);
  }
  return absl::StrCat("\"", absl::CHexEscape(bytes), "\"");
}

}  // namespace weft::cli
