// SPDX-License-Identifier: Apache-2.0
//
// Asks each worker for something that it works out on its own thread, for the pages of HTTP: what
// belongs to a worker is looked at by nobody else.
//
//   WorkerAnswers<std::string> answers(loops, [](size_t worker, size_t limit) { ... });
//   auto round = answers.Ask(limit);                 // on the thread of the HTTP server
//   ... once round.Done(): for each worker round.Get(worker), null if it has not answered
#ifndef WEFT_HOST_WORKER_ANSWERS_H_
#define WEFT_HOST_WORKER_ANSWERS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "weft/core/clock.h"
#include "weft/core/loop.h"

namespace weft {

// How long a worker, which answers when its loop gets round to it, is waited for.
inline constexpr int64_t kWorkerAnswerNs = 1'000'000'000;

// One thread asks. What is asked for must not change with the asker, but for `limit`: who asks
// while a worker has not answered yet gets the same answer.
template <typename T>
class WorkerAnswers {
  // A worker's last answer. Asked for again only when it has come, so that a worker that is stuck
  // has one question waiting, whatever the number of requests.
  struct Answer {
    std::mutex mutex;
    bool asked = false;
    size_t limit = 0;    // the greatest of those who wait
    uint64_t count = 0;  // answers so far
    std::shared_ptr<const T> value;
  };

 public:
  // Works out the answer of `worker` on its loop's thread: of that of which there may be any
  // number, no more than `limit`.
  using Work = std::function<T(size_t worker, size_t limit)>;

  // `loops`: one for each worker; they outlive this.
  WorkerAnswers(std::vector<Loop*> loops, Work work)
      : loops_(std::move(loops)), work_(std::make_shared<const Work>(std::move(work))) {
    for (size_t i = 0; i < loops_.size(); ++i) answers_.push_back(std::make_shared<Answer>());
  }

  // What one asker waits for. May outlive the WorkerAnswers; copies wait for the same.
  class Round {
   public:
    // Whether all workers have answered, or kWorkerAnswerNs have passed.
    bool Done() {
      const bool late = MonotonicClock().NowNs() >= deadline_ns_;
      bool done = true;
      for (size_t i = 0; i < wanted_.size(); ++i) {
        if (values_[i] != nullptr) continue;
        const std::lock_guard<std::mutex> lock(answers_[i]->mutex);
        if (answers_[i]->count >= wanted_[i]) values_[i] = answers_[i]->value;
        done = done && values_[i] != nullptr;
      }
      return done || late;
    }

    size_t workers() const { return values_.size(); }
    const T* Get(size_t worker) const { return values_[worker].get(); }

   private:
    friend class WorkerAnswers;
    std::vector<std::shared_ptr<Answer>> answers_;
    std::vector<uint64_t> wanted_;  // `count` of each worker's next answer
    std::vector<std::shared_ptr<const T>> values_;
    int64_t deadline_ns_ = 0;
  };

  Round Ask(size_t limit) {
    Round round;
    round.answers_ = answers_;
    for (size_t i = 0; i < loops_.size(); ++i) round.wanted_.push_back(AskOne(i, limit));
    round.values_.resize(loops_.size());
    round.deadline_ns_ = MonotonicClock().NowNs() + kWorkerAnswerNs;
    return round;
  }

 private:
  uint64_t AskOne(size_t worker, size_t limit) {
    const std::shared_ptr<Answer>& answer = answers_[worker];
    const std::lock_guard<std::mutex> lock(answer->mutex);
    answer->limit = answer->asked ? std::max(answer->limit, limit) : limit;
    if (!answer->asked) {
      answer->asked = true;
      loops_[worker]->Post([answer, worker, work = work_] {
        size_t most = 0;
        {
          const std::lock_guard<std::mutex> lock(answer->mutex);
          most = answer->limit;
        }
        auto value = std::make_shared<const T>((*work)(worker, most));
        const std::lock_guard<std::mutex> lock(answer->mutex);
        answer->value = std::move(value);
        answer->asked = false;
        ++answer->count;
      });
    }
    return answer->count + 1;
  }

  const std::vector<Loop*> loops_;
  const std::shared_ptr<const Work> work_;
  std::vector<std::shared_ptr<Answer>> answers_;  // by worker
};

}  // namespace weft

#endif  // WEFT_HOST_WORKER_ANSWERS_H_
