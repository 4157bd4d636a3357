// SPDX-License-Identifier: Apache-2.0
//
// What servers of one small page do with a second of a CPU: weft's httpd over several networks,
// nginx, and a server of one page on lwIP. Server and load are programs of their own, pinned to a
// core each.

#ifndef WEFT_BENCHMARKS_HTTP_WORKLOAD_H_
#define WEFT_BENCHMARKS_HTTP_WORKLOAD_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "weft/core/temp_directory.h"

namespace weft::benchmarks {

enum class HttpServer {
  kNginx,
  kHttpd,
  kLwip,           // with the TAP driver and the threads that it comes with
  kLwipOneThread,  // with a driver of the benchmark's, in its only thread
};

// How the load reaches the server.
enum class HttpPath {
  kLoopback,    // the kernel's TCP at both ends
  kVeth,        // the kernel's at the load's end, and at nginx's; httpd's end is AF_XDP
  kTap,         // the kernel's at the load's end
  kVirtioUser,  // weft's at both ends, over net_virtio_user and net_vhost; httpd only
};

struct HttpCase {
  HttpServer server;
  HttpPath path;
  bool new_connections = false;  // one for each request, closed by the server; else kept alive

  // "httpd over virtio-user", "nginx over loopback, new connections".
  std::string Name() const;
};

struct HttpOptions {
  int client_core = 0;
  int server_core = 1;
  absl::Duration duration = absl::Seconds(1);  // wrk knows seconds only, at least one
};

struct HttpFigures {
  double requests_per_s = 0;
  // For each second that the server's process had a core; of one that never sleeps, without what
  // went to rounds of its loop that found nothing.
  double requests_per_cpu_s = 0;
  // How much of its time that was: none when the server was what limited the load.
  double idle_percent = 0;
};

// A folder with a page of 64 bytes, and with the settings of the servers.
class HttpWorkload {
 public:
  static absl::StatusOr<std::unique_ptr<HttpWorkload>> Make();

  // Unimplemented, saying what to do, where a program or a right is missing.
  absl::StatusOr<HttpFigures> Measure(const HttpCase& what, const HttpOptions& options);

 private:
  class Run;
  TempDirectory directory_;
};

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_HTTP_WORKLOAD_H_
