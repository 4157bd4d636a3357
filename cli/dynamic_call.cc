// SPDX-License-Identifier: Apache-2.0
#include "weft/cli/dynamic_call.h"

#include <memory>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "weft/core/buffer_chain.h"
#include "weft/rpc/payload.h"
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

// What a channel wants to know of a method, for the life of the program. The messages are bytes to
// the channel: it neither encodes nor decodes them.
const rpc::ServiceDescriptor& DescriptorOf(const MethodDescriptor& method) {
  const auto* const names = new std::pair<std::string, std::string>(
      FullName(method), method.service()->full_name());
  const auto* const bound = new rpc::Method(names->first, KindOf(method), true, true);
  return *new rpc::ServiceDescriptor{names->second, {bound, 1}};
}

rpc::Payload PayloadOf(const std::string& bytes) {
  return rpc::Payload::External({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

}  // namespace

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
  const rpc::Channel::BoundMethod* const bound = channel.Bind(DescriptorOf(*method_));
  for (const auto& [key, value] : options_.metadata) context_.request_metadata().Add(key, value);
  if (options_.trace.has_value()) context_.set_trace(*options_.trace);
  context_.set_timeout(options_.timeout);
  co_return co_await RunUnary(channel, bound[0]);
}

Task<absl::Status> DynamicCall::RunUnary(rpc::Channel& channel,
                                         const rpc::Channel::BoundMethod& bound) {
  const absl::StatusOr<std::string> json = co_await requests_.All(channel.loop());
  if (!json.ok()) co_return json.status();
  const absl::StatusOr<std::string> request = json_.Encode(*method_->input_type(), *json);
  if (!request.ok()) co_return request.status();
  BufferChain response;
  rpc::UnaryCall<rpc::RawBytes, rpc::RawBytes> call(channel, bound, PayloadOf(*request), &response,
                                                    &context_);
  outcome_ = co_await call;
  if (!outcome_.ok()) co_return absl::OkStatus();
  const absl::StatusOr<std::string> shown =
      json_.Decode(*method_->output_type(), response.ToString(), JsonStyle::kIndented);
  if (!shown.ok()) co_return shown.status();
  print_(*shown);
  co_return absl::OkStatus();
}

std::string DynamicCall::DescribeOutcome() {
  std::string text = absl::StrCat(absl::StatusCodeToString(outcome_.code()),
                                  outcome_.message().empty() ? "" : ": ", outcome_.message());
  outcome_.ForEachPayload([&](absl::string_view type_url, const absl::Cord& payload) {
    absl::StrAppend(&text, "\n  ", type_url, ": ",
                    DescribeDetail(type_url, std::string(payload)));
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
