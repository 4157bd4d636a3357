// SPDX-License-Identifier: Apache-2.0
#include "weft/host/worker_page.h"

#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace weft {
namespace {

constexpr int64_t kNsPerMs = 1'000'000;

std::string DescribeSilent(size_t worker) {
  JsonWriter json;
  json.BeginObject();
  json.Field("worker", worker);
  json.Field("error", absl::StrCat("did not answer within ", kWorkerAnswerNs / kNsPerMs, " ms"));
  json.EndObject();
  return json.text();
}

}  // namespace

absl::Status GetNumber(const HttpRequest& request, const std::string& name, int64_t min,
                       int64_t max, int64_t* value) {
  const auto found = request.query.find(name);
  if (found == request.query.end()) return absl::OkStatus();
  if (absl::SimpleAtoi(found->second, value) && *value >= min && *value <= max) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": '", found->second, "' is not a whole number from ", min, " to ", max));
}

WorkerPage::WorkerPage(std::vector<Loop*> loops, Describe describe)
    : answers_(std::move(loops), [describe = std::move(describe)](size_t worker, size_t limit) {
        JsonWriter json;
        json.BeginObject();
        json.Field("worker", worker);
        describe(worker, limit, json);
        json.EndObject();
        return json.text();
      }) {}

HttpResponse WorkerPage::Show(const HttpRequest& request) {
  int64_t limit = kLimitDefault;
  if (absl::Status status = GetNumber(request, "limit", 0, kLimitMax, &limit); !status.ok()) {
    return {.status = 400, .body = absl::StrCat(status.message(), "\n")};
  }
  return {.later = [round = answers_.Ask(
                        static_cast<size_t>(limit))]() mutable -> std::optional<HttpResponse> {
    if (!round.Done()) return std::nullopt;
    std::vector<std::string> texts;
    for (size_t i = 0; i < round.workers(); ++i) {
      const std::string* text = round.Get(i);
      texts.push_back(text != nullptr ? *text : DescribeSilent(i));
    }
    const std::string all = absl::StrCat("\n", absl::StrJoin(texts, ",\n"));
    return HttpResponse{
        .content_type = "application/json",
        .body = absl::StrCat("[", absl::StrReplaceAll(all, {{"\n", "\n  "}}), "\n]\n")};
  }};
}

}  // namespace weft
