// SPDX-License-Identifier: Apache-2.0
//
// Commands that change something in a running host, which each worker carries out on its own
// thread. They come through HttpServer::StartLocal(), whose name /host tells: "control".
#ifndef WEFT_HOST_CONTROL_H_
#define WEFT_HOST_CONTROL_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

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

  // Takes POST /<command> from now on, unless it does already. Any thread.
  void Add(const std::string& command);

  // "@NAME".
  const std::string& address() const { return http_->address(); }

 private:
  Control(std::vector<Loop*> loops, Execute execute);

  // The answer: a line for each worker, of those that refused it if there are any. 200 if all have
  // carried it out, 400 if one refused, 503 if one is silent for kWorkerAnswerNs: it may do it yet.
  HttpResponse Ask(const std::string& command, const HttpRequest& request) const;

  const std::vector<Loop*> loops_;
  const std::shared_ptr<const Execute> execute_;
  std::unique_ptr<HttpServer> http_;
};

}  // namespace weft

#endif  // WEFT_HOST_CONTROL_H_
