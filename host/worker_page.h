// SPDX-License-Identifier: Apache-2.0
//
// A page of JSON to which each worker adds an object of its own, written on its own thread: what
// belongs to a worker is looked at by nobody else.
#ifndef WEFT_HOST_WORKER_PAGE_H_
#define WEFT_HOST_WORKER_PAGE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "weft/core/json_writer.h"
#include "weft/core/loop.h"
#include "weft/host/http_server.h"
#include "weft/host/worker_answers.h"

namespace weft {

// A worker is asked when its loop gets round to it; one that does not within a second is said to be
// silent, and the page is served all the same.
class WorkerPage {
 public:
  static constexpr size_t kLimitDefault = 20;
  static constexpr size_t kLimitMax = 1000;

  // Writes the fields of worker `worker`'s object, on its loop's thread. `limit`: of that of which
  // there may be any number, no more than so many.
  using Describe = std::function<void(size_t worker, size_t limit, JsonWriter& json)>;

  // `loops`: one for each worker; they outlive the page.
  WorkerPage(std::vector<Loop*> loops, Describe describe);

  // A JSON array with an object for each worker: "worker", and what Describe writes or "error".
  // Query: limit (0 to kLimitMax; kLimitDefault). 400 for another one.
  HttpResponse Show(const HttpRequest& request);

 private:
  WorkerAnswers<std::string> answers_;
};

// A number of the query from `min` to `max`; `*value` stays as it is when there is none.
absl::Status GetNumber(const HttpRequest& request, const std::string& name, int64_t min,
                       int64_t max, int64_t* value);

}  // namespace weft

#endif  // WEFT_HOST_WORKER_PAGE_H_
