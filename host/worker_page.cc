// SPDX-License-Identifier: Apache-2.0
#include "weft/host/worker_page.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "weft/core/clock.h"

namespace weft {
namespace {

constexpr int64_t kNsPerMs = 1'000'000;
constexpr int64_t kAnswerNs = 1'000 * kNsPerMs;  // how long a worker is waited for

std::string DescribeSilent(size_t worker) {
  JsonWriter json;
  json.BeginObject();
  json.Field("worker", worker);
  json.Field("error", absl::StrCat("did not answer within ", kAnswerNs / kNsPerMs, " ms"));
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
    : loops_(std::move(loops)), describe_(std::make_shared<const Describe>(std::move(describe))) {
  for (size_t i = 0; i < loops_.size(); ++i) answers_.push_back(std::make_shared<Answer>());
}

uint64_t WorkerPage::Ask(size_t worker, size_t limit) {
  const std::shared_ptr<Answer>& answer = answers_[worker];
  const std::lock_guard<std::mutex> lock(answer->mutex);
  answer->limit = answer->asked ? std::max(answer->limit, limit) : limit;
  if (!answer->asked) {
    answer->asked = true;
    loops_[worker]->Post([answer, worker, describe = describe_] {
      size_t most = 0;
      {
        const std::lock_guard<std::mutex> lock(answer->mutex);
        most = answer->limit;
      }
      JsonWriter json;
      json.BeginObject();
      json.Field("worker", worker);
      (*describe)(worker, most, json);
      json.EndObject();
      const std::lock_guard<std::mutex> lock(answer->mutex);
      answer->text = json.text();
      answer->asked = false;
      ++answer->count;
    });
  }
  return answer->count + 1;
}

HttpResponse WorkerPage::Show(const HttpRequest& request) {
  int64_t limit = kLimitDefault;
  if (absl::Status status = GetNumber(request, "limit", 0, kLimitMax, &limit); !status.ok()) {
    return {.status = 400, .body = absl::StrCat(status.message(), "\n")};
  }
  std::vector<uint64_t> wanted;
  for (size_t i = 0; i < loops_.size(); ++i) wanted.push_back(Ask(i, static_cast<size_t>(limit)));
  const int64_t deadline_ns = MonotonicClock().NowNs() + kAnswerNs;
  return {.later = [answers = answers_, wanted, deadline_ns]() -> std::optional<HttpResponse> {
    const bool late = MonotonicClock().NowNs() >= deadline_ns;
    std::vector<std::string> texts;
    for (size_t i = 0; i < wanted.size(); ++i) {
      const std::lock_guard<std::mutex> lock(answers[i]->mutex);
      const bool answered = answers[i]->count >= wanted[i];
      if (!answered && !late) return std::nullopt;
      texts.push_back(answered ? answers[i]->text : DescribeSilent(i));
    }
    const std::string all = absl::StrCat("\n", absl::StrJoin(texts, ",\n"));
    return HttpResponse{
        .content_type = "application/json",
        .body = absl::StrCat("[", absl::StrReplaceAll(all, {{"\n", "\n  "}}), "\n]\n")};
  }};
}

}  // namespace weft
