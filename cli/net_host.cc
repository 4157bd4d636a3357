// SPDX-License-Identifier: Apache-2.0
#include "weft/cli/net_host.h"

#include <google/protobuf/util/json_util.h>

#include <cstdio>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "weft/cli/endpoint.h"
#include "weft/host/http_client.h"

namespace weft::cli {
namespace {

absl::StatusCode CodeOf(int http_status) {
  switch (http_status) {
    case 400:
      return absl::StatusCode::kInvalidArgument;
    case 503:
      return absl::StatusCode::kUnavailable;
    default:
      return absl::StatusCode::kFailedPrecondition;
  }
}

absl::StatusOr<std::vector<JsonObject>> ParseStacks(const std::string& text) {
  const auto json = ParseJson(text);
  if (!json.ok()) return json.status();
  std::vector<JsonObject> stacks;
  for (const auto& value : json->list_value().values()) stacks.push_back(value.struct_value());
  if (stacks.empty()) return absl::DataLossError("the host told of no worker; is it a weft host?");
  return stacks;
}

}  // namespace

absl::StatusOr<std::string> Ask(const std::string& address, const std::string& target) {
  auto reply = HttpGet(address, target);
  if (!reply.ok()) return reply.status();
  if (reply->status == 200) return std::move(reply->body);
  const std::string line = reply->body.substr(0, reply->body.find('\n'));
  return absl::Status(CodeOf(reply->status), absl::StrCat(address, ": ", line));
}

absl::StatusOr<google::protobuf::Value> ParseJson(const std::string& text) {
  google::protobuf::Value value;
  if (google::protobuf::util::JsonStringToMessage(text, &value).ok()) return value;
  return absl::DataLossError("the answer is no JSON; is it a weft host?");
}

std::string TextOf(const JsonObject& object, const std::string& name) {
  const auto found = object.fields().find(name);
  return found == object.fields().end() ? "" : found->second.string_value();
}

double NumberOf(const JsonObject& object, const std::string& name) {
  const auto found = object.fields().find(name);
  return found == object.fields().end() ? 0 : found->second.number_value();
}

const JsonObject& ObjectOf(const JsonObject& object, const std::string& name) {
  const auto found = object.fields().find(name);
  return found == object.fields().end() ? JsonObject::default_instance()
                                        : found->second.struct_value();
}

const google::protobuf::ListValue& ListOf(const JsonObject& object, const std::string& name) {
  const auto found = object.fields().find(name);
  return found == object.fields().end() ? google::protobuf::ListValue::default_instance()
                                        : found->second.list_value();
}

std::string Whole(double number) { return absl::StrFormat("%.0f", number); }

int ShowStacks(Flags& flags, Arguments arguments, void (*show)(const std::vector<JsonObject>&)) {
  std::string address;
  bool as_json = false;
  flags.Argument("HOST:PORT", "metrics.listen of the host; a bare port is one of 127.0.0.1",
                 &address);
  flags.Bool("json", "the host's own words, for programs", &as_json);
  if (std::optional<int> status = flags.Parse(arguments)) return *status;

  const absl::StatusOr<std::string> text = Ask(address, "/net");
  const auto stacks = text.ok() ? ParseStacks(*text) : text.status();
  if (!stacks.ok()) {
    flags.Complain(stacks.status().message());
    return ExitStatus(stacks.status());
  }
  std::vector<JsonObject> answered;
  for (const JsonObject& stack : *stacks) {
    const std::string error = TextOf(stack, "error");
    if (error.empty()) {
      answered.push_back(stack);
    } else {
      flags.Complain(absl::StrCat("worker ", Whole(NumberOf(stack, "worker")), " ", error));
    }
  }
  if (as_json) {
    std::fputs(text->c_str(), stdout);
  } else if (!answered.empty()) {
    show(answered);
  }
  return answered.size() == stacks->size() ? kExitOk : kExitFailed;
}

}  // namespace weft::cli
