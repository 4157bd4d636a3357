// SPDX-License-Identifier: Apache-2.0
//
// What an operator sees over HTTP of the network stacks of a running host: /net and /net/ping; see
// host.h. `weft net` is their client.
#ifndef WEFT_HOST_NET_PAGES_H_
#define WEFT_HOST_NET_PAGES_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "weft/core/loop.h"
#include "weft/host/http_server.h"
#include "weft/host/pinger.h"
#include "weft/netstack/netstack_transport.h"

namespace weft {

// A stack is looked at by its own thread only, when its loop gets round to it; one that does not
// within a second is said to be silent, and the page is served all the same.
class NetPages {
 public:
  // `loops`: one for each thread with a stack. `netstack` null: the pages say that there is none.
  // All outlive the pages. On the first loop's thread TearDown() must be called before that loop is
  // gone.
  NetPages(std::vector<Loop*> loops, netstack::NetstackTransport* netstack);
  ~NetPages();

  // A JSON array with an object for each stack: what Stack::Describe() tells, and "worker"; or
  // "worker" and "error".
  HttpResponse Show(const HttpRequest& request);

  // Sends echo requests from the first worker. Query: address; count (1 to 100; 1), interval_ms (10
  // to 1000; 200), size (payload bytes, 0 to 65507; 56). JSON: {"address", "requests", "replies",
  // "echoes": [{"from", "bytes", "ttl", "rtt_us"} or {"error"}, ...]}. 400 for what is wrong or
  // would take longer than 4 s; 503 while another is under way.
  HttpResponse Ping(const HttpRequest& request);

  void TearDown() { pinger_.reset(); }

 private:
  // A worker's last answer. Asked for again only when it has come, so that a worker that is stuck
  // has one question waiting, whatever the number of requests.
  struct Answer {
    std::mutex mutex;
    bool asked = false;
    uint64_t count = 0;  // answers so far
    std::string text;
  };

  // Returns the `count` that the worker's next answer will have.
  uint64_t Ask(size_t worker);

  const std::vector<Loop*> loops_;
  netstack::NetstackTransport* const netstack_;
  std::vector<std::shared_ptr<Answer>> answers_;  // by worker
  std::unique_ptr<Pinger> pinger_;                // of the first loop's thread
  std::atomic<bool> ping_waits_{false};           // for that thread; further ones are refused
};

}  // namespace weft

#endif  // WEFT_HOST_NET_PAGES_H_
