// SPDX-License-Identifier: Apache-2.0
//
// Commands that change something in a running host, which its workers carry out on their own
// threads. They come through HttpServer::StartLocal(), whose name /host tells: "control".
#ifndef WEFT_HOST_CONTROL_H_
#define WEFT_HOST_CONTROL_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "weft/core/loop.h"
#include "weft/host/http_server.h"

namespace weft {

class Control {
 public:
  // Carries out `command` on the thread of worker `worker`. Returns what is to be told of it.
  using Execute = std::function<absl::StatusOr<std::string>(
      size_t worker, const std::string& command, const HttpRequest& request)>;

  // `loops`: one for each worker; they outlive this. Errors are those of HttpServer::StartLocal().
  static absl::StatusOr<std::unique_ptr<Control>> Start(std::vector<Loop*> loops, Execute execute);

  // Takes POST /<command> from now on; it goes to `worker`, and to those for which it was added
  // before. Any thread.
  void Add(const std::string& command, size_t worker);

  // "@NAME".
  const std::string& address() const { return http_->address(); }

 private:
  Control(std::vector<Loop*> loops, Execute execute);

  // The answer: a line for each worker, of those that refused it if there are any. 200 if all have
  // carried it out, 400 if one refused, 503 if one is silent for kWorkerAnswerNs: it may do it yet.
  HttpResponse Ask(const std::string& command, const HttpRequest& request);

  const std::vector<Loop*> loops_;
  const std::shared_ptr<const Execute> execute_;
  std::mutex mutex_;
  // Guarded by mutex_: of each command, those who carry it out.
  absl::flat_hash_map<std::string, std::vector<size_t>> workers_;
  std::unique_ptr<HttpServer> http_;
};

}  // namespace weft

#endif  // WEFT_HOST_CONTROL_H_
