// SPDX-License-Identifier: Apache-2.0
//
// What an operator sees over HTTP of the network stacks of a running host: /net and /net/ping; see
// host.h. `weft net` is their client.
#ifndef WEFT_HOST_NET_PAGES_H_
#define WEFT_HOST_NET_PAGES_H_

#include <atomic>
#include <memory>
#include <vector>

#include "weft/core/loop.h"
#include "weft/host/http_server.h"
#include "weft/host/pinger.h"
#include "weft/host/worker_page.h"
#include "weft/netstack/netstack_transport.h"

namespace weft {

class NetPages {
 public:
  // `loops`: one for each thread with a stack. `netstack` null: the pages say that there is none.
  // All outlive the pages. On the first loop's thread TearDown() must be called before that loop is
  // gone.
  NetPages(std::vector<Loop*> loops, netstack::NetstackTransport* netstack);
  ~NetPages();

  // A WorkerPage with what Stack::Describe() tells.
  HttpResponse Show(const HttpRequest& request);

  // Sends echo requests from the first worker. Query: address; count (1 to 100; 1), interval_ms (10
  // to 1000; 200), size (payload bytes, 0 to 65507; 56). JSON: {"address", "requests", "replies",
  // "echoes": [{"from", "bytes", "ttl", "rtt_us"} or {"error"}, ...]}. 400 for what is wrong or
  // would take longer than 4 s; 503 while another is under way.
  HttpResponse Ping(const HttpRequest& request);

  void TearDown() { pinger_.reset(); }

 private:
  const std::vector<Loop*> loops_;
  netstack::NetstackTransport* const netstack_;
  WorkerPage stacks_;
  std::unique_ptr<Pinger> pinger_;       // of the first loop's thread
  std::atomic<bool> ping_waits_{false};  // for that thread; further ones are refused
};

}  // namespace weft

#endif  // WEFT_HOST_NET_PAGES_H_
