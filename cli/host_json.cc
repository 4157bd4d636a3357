// SPDX-License-Identifier: Apache-2.0
#include "weft/cli/host_json.h"

#include <google/protobuf/util/json_util.h>

#include <cstdio>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
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

absl::StatusOr<std::vector<JsonObject>> ParseWorkers(const std::string& text) {
  const auto json = ParseJson(text);
  if (!json.ok()) return json.status();
  std::vector<JsonObject> workers;
  for (const auto& value : json->list_value().values()) workers.push_back(value.struct_value());
  if (workers.empty()) return absl::DataLossError("the host told of no worker; is it a weft host?");
  return workers;
}

}  // namespace

absl::StatusOr<std::string> Ask(const std::string& address, const std::string& target) {
  auto reply = HttpGet(address, target);
  if (!reply.ok()) return reply.status();
  if (reply->status == 200) return std::move(reply->body);
  if (absl::StartsWith(reply->body, "404 ")) {
    return absl::FailedPreconditionError(absl::StrCat(address, ": this program shows nothing at ",
                                                      target.substr(0, target.find('?'))));
  }
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

int ShowWorkers(Flags& flags, Arguments arguments, const std::function<std::string()>& target,
                const std::function<void(const std::vector<JsonObject>& workers)>& show) {
  std::string address;
  bool as_json = false;
  flags.Argument("HOST:PORT", "metrics.listen of the host; a bare port is one of 127.0.0.1",
                 &address);
  flags.Bool("json", "the host's own words, for programs", &as_json);
  if (std::optional<int> status = flags.Parse(arguments)) return *status;

  const absl::StatusOr<std::string> text = Ask(address, target());
  const auto workers = text.ok() ? ParseWorkers(*text) : text.status();
  if (!workers.ok()) {
    flags.Complain(workers.status().message());
    return ExitStatus(workers.status());
  }
  std::vector<JsonObject> answered;
  for (const JsonObject& worker : *workers) {
    const std::string error = TextOf(worker, "error");
    if (error.empty()) {
      answered.push_back(worker);
    } else {
      flags.Complain(absl::StrCat("worker ", Whole(NumberOf(worker, "worker")), " ", error));
    }
  }
  if (as_json) {
    std::fputs(text->c_str(), stdout);
  } else if (!answered.empty()) {
    show(answered);
  }
  return answered.size() == workers->size() ? kExitOk : kExitFailed;
}

}  // namespace weft::cli
