// SPDX-License-Identifier: Apache-2.0
//
// Where the workers of a program that measures wait until all of them are ready, so that what it
// takes to get ready is in no figure.
//
//   StartLine line(host.workers());  // outlives the workers
//   // In a coroutine of each worker:
//   const absl::Status status = co_await AskOnce();  // whatever it takes
//   if (!status.ok()) co_return worker.Stop(status);  // and the others with it
//   co_await line.Await(worker.loop());
#ifndef WEFT_EXAMPLES_START_LINE_H_
#define WEFT_EXAMPLES_START_LINE_H_

#include <atomic>

#include "absl/time/time.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"

namespace weft {

class StartLine {
 public:
  explicit StartLine(int workers) : awaited_(workers) {}

  // Called once by each worker, with its loop; ends within a millisecond or so of the last call.
  Task<void> Await(Loop& loop) {
    --awaited_;
    while (awaited_ > 0) co_await loop.Sleep(absl::Milliseconds(1));
  }

 private:
  std::atomic<int> awaited_;  // workers that are not ready
};

}  // namespace weft

#endif  // WEFT_EXAMPLES_START_LINE_H_
