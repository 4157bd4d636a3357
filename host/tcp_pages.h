// SPDX-License-Identifier: Apache-2.0
//
// What an operator sees over HTTP of weft's own TCP in a running host: /tcp; see host.h. `weft tcp`
// is its client.
#ifndef WEFT_HOST_TCP_PAGES_H_
#define WEFT_HOST_TCP_PAGES_H_

#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

#include "weft/core/loop.h"
#include "weft/host/http_server.h"
#include "weft/tcp/tcp_transport.h"

namespace weft {

// A worker may have a million connections: it looks at them in turns of its loop, some hundreds at
// once, and its other work goes on between.
class TcpPages {
 public:
  static constexpr size_t kLimitDefault = 100;
  static constexpr size_t kLimitMax = 10'000;

  // `loops`: one for each thread with a stack. `tcp` null: the page says that there is none. All
  // outlive the page.
  TcpPages(std::vector<Loop*> loops, tcp::TcpTransport* tcp);

  // A JSON array with an object for each worker: "worker", and "error" if it is silent for 4 s, or
  //   "stats"        what TcpStats has
  //   "listeners"    [{"local", "backlog", "waiting", "half_open"}, ...]; of "listeners_total"
  //   "connections"  [{"state", "local", "remote", and what StreamInfo has, ...}, ...], each in a
  //                  line; of "matching" that fit the query, of "connections_total" there are
  // In connections, what is 0 or false is left out. A worker that has no stream port open has
  // nothing but its number.
  //
  // Query: limit (0 to kLimitMax; kLimitDefault), of connections and listeners of each worker;
  // which connections: state, names of RFC 9293 or ss(8) with commas between them; local and
  // remote, an address, a network, a port or both: 10.0.0.1, 10.0.0.0/24:443, :80, [fd00::/64]:80.
  // 400 for what is none of these; 404 without `tcp`; 503 when too many others wait.
  HttpResponse Show(const HttpRequest& request);

 private:
  const std::vector<Loop*> loops_;
  tcp::TcpTransport* const tcp_;
  const std::shared_ptr<std::atomic<size_t>> looks_;  // under way
};

}  // namespace weft

#endif  // WEFT_HOST_TCP_PAGES_H_
