// SPDX-License-Identifier: Apache-2.0
#include "weft/host/control.h"

#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/core/clock.h"
#include "weft/host/worker_answers.h"

namespace weft {
namespace {

// What the workers have said to one command.
class Round {
 public:
  explicit Round(std::vector<size_t> workers)
      : workers_(std::move(workers)),
        answers_(workers_.size()),
        deadline_ns_(MonotonicClock().NowNs() + kWorkerAnswerNs) {}

  // Of the one at `index`.
  void Answer(size_t index, absl::StatusOr<std::string> answer) {
    const std::lock_guard<std::mutex> lock(mutex_);
    answers_[index] = std::move(answer);
  }

  // None while there is time and somebody has said nothing.
  std::optional<HttpResponse> Done() {
    const std::lock_guard<std::mutex> lock(mutex_);
    const bool late = MonotonicClock().NowNs() >= deadline_ns_;
    std::string done;
    std::string refused;
    std::string silent;
    for (size_t i = 0; i < answers_.size(); ++i) {
      const std::string who = answers_.size() > 1 ? absl::StrCat("worker ", workers_[i], ": ") : "";
      if (!answers_[i].has_value()) {
        if (!late) return std::nullopt;
        absl::StrAppend(&silent, "worker ", workers_[i],
                        " does not answer; it may carry it out later\n");
      } else if (answers_[i]->ok()) {
        absl::StrAppend(&done, who, **answers_[i], "\n");
      } else {
        absl::StrAppend(&refused, who, answers_[i]->status().message(), "\n");
      }
    }
    if (!refused.empty()) return HttpResponse{.status = 400, .body = refused + silent};
    if (!silent.empty()) return HttpResponse{.status = 503, .body = silent};
    return HttpResponse{.body = done};
  }

 private:
  const std::vector<size_t> workers_;
  std::mutex mutex_;
  std::vector<std::optional<absl::StatusOr<std::string>>> answers_;
  const int64_t deadline_ns_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Control>> Control::Start(std::vector<Loop*> loops, Execute execute) {
  std::unique_ptr<Control> control(new Control(std::move(loops), std::move(execute)));
  auto http = HttpServer::StartLocal({});
  if (!http.ok()) return http.status();
  control->http_ = *std::move(http);
  return control;
}

Control::Control(std::vector<Loop*> loops, Execute execute)
    : loops_(std::move(loops)), execute_(std::make_shared<const Execute>(std::move(execute))) {}

void Control::Add(const std::string& command, size_t worker) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    workers_[command].push_back(worker);
  }
  http_->Add(absl::StrCat("/", command),
             [this, command](const HttpRequest& request) { return Ask(command, request); });
}

HttpResponse Control::Ask(const std::string& command, const HttpRequest& request) {
  std::vector<size_t> workers;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    workers = workers_[command];
  }
  auto round = std::make_shared<Round>(workers);
  for (size_t i = 0; i < workers.size(); ++i) {
    loops_[workers[i]]->Post([round, i, worker = workers[i], command, request, execute = execute_] {
      round->Answer(i, (*execute)(worker, command, request));
    });
  }
  return {.later = [round] { return round->Done(); }};
}

}  // namespace weft
