// SPDX-License-Identifier: Apache-2.0
//
// A server of static files over HTTP/1.1, over whatever transport the configuration names. Each
// worker has connections, a cache and a listener of its own, at one address.
//
//   httpd --root /srv/www --listen 0.0.0.0:8080 --workers 4
//   httpd --config examples/configs/httpd.textproto
//
// Settings are those of the configuration's section `httpd` (config/config.proto); flags go before.
// examples/http/server_connection.h says what it does of HTTP.

#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "weft/config/flags.h"
#include "weft/core/metric_group.h"
#include "weft/examples/http/server_connection.h"
#include "weft/host/host.h"
#include "weft/host/network.h"
#include "weft/tcp/connections.h"

ABSL_FLAG(std::string, root, "", "folder to serve; instead of httpd.root");
ABSL_FLAG(std::string, listen, "", "address to listen at; instead of httpd.listen");
ABSL_FLAG(std::string, index, "", "file that is sent for a directory; instead of httpd.index");
ABSL_FLAG(uint32_t, workers, 0, "threads; instead of host.workers");
ABSL_FLAG(int64_t, cache_bytes, -1, "memory for contents, a worker; instead of httpd.cache_bytes");
ABSL_FLAG(uint32_t, connections_max, 0, "connections, a worker; instead of httpd.connections_max");
ABSL_FLAG(uint32_t, idle_timeout_ms, 0, "instead of httpd.idle_timeout_ms");
ABSL_FLAG(uint32_t, request_timeout_ms, 0, "instead of httpd.request_timeout_ms");
ABSL_FLAG(uint32_t, send_timeout_ms, 0, "instead of httpd.send_timeout_ms");

namespace {

constexpr uint16_t kPort = 8080;
constexpr int64_t kMsNs = 1'000'000;

weft::http::FileCacheOptions CacheOptions(const weft::config::Httpd& config) {
  return {.root = config.root(),
          .index = config.index(),
          .bytes_max = config.cache_bytes(),
          .file_bytes_max = config.cached_file_bytes_max(),
          .files_max = config.cached_files_max(),
          .check_ns = config.cache_check_ms() * kMsNs};
}

weft::http::SiteOptions SiteOptionsOf(const weft::config::Httpd& config) {
  return {.head_bytes_max = config.head_bytes_max(),
          .body_bytes_max = config.body_bytes_max(),
          .idle_ns = config.idle_timeout_ms() * kMsNs,
          .request_ns = config.request_timeout_ms() * kMsNs,
          .send_ns = config.send_timeout_ms() * kMsNs};
}

// The application's part of a worker. Connections go before what they use.
struct Server {
  std::unique_ptr<weft::http::FileCache> cache;
  std::unique_ptr<weft::http::Site> site;
  std::unique_ptr<weft::tcp::Connections> connections;
};

weft::MetricGroup Metrics(weft::Worker& worker, const Server& server) {
  weft::MetricGroup group(worker.metrics(), "weft_httpd_", worker.labels());
  const weft::tcp::ConnectionsStats& connections = server.connections->stats();
  group.Add("connections_total", "Connections accepted.", &connections.accepted);
  group.Add("connections_refused_total", "Connections reset at connections_max.",
            &connections.refused);
  group.Add("connections_reset_total", "Connections that ended otherwise than in good order.",
            &connections.reset);
  const weft::http::SiteStats& site = server.site->stats;
  group.Add("requests_total", "Requests whose head was complete.", &site.requests);
  group.Add("answers_2xx_total", "Answers with a file.", &site.answers_2xx);
  group.Add("answers_3xx_total", "Answers: moved, or not modified.", &site.answers_3xx);
  group.Add("answers_4xx_total", "Answers to requests that are wrong.", &site.answers_4xx);
  group.Add("answers_5xx_total", "Answers to requests that cannot be served.", &site.answers_5xx);
  group.Add("body_bytes_total", "Bytes of files that were sent.", &site.body_bytes);
  group.Add("timeouts_total", "Connections ended because their client was slow or silent.",
            &site.timeouts);
  const weft::http::FileCacheStats& cache = server.cache->stats();
  group.Add("cache_hits_total", "Files found in the cache.", &cache.hits);
  group.Add("cache_misses_total", "Files opened, or looked for in vain.", &cache.misses);
  group.Add("cache_evicted_total", "Files that left the cache for others.", &cache.evicted);
  return group;
}

// The workers share the address: `*listen` becomes the one that the first has got.
absl::StatusOr<std::shared_ptr<void>> Serve(weft::Worker& worker, std::string* listen) {
  const weft::config::Httpd& config = worker.config().httpd();
  auto address = weft::Address::Parse(*listen);
  if (!address.ok()) return address.status();
  auto cache = weft::http::FileCache::Open(CacheOptions(config));
  if (!cache.ok()) return cache.status();
  auto port = worker.OpenStreamPort();
  if (!port.ok()) return port.status();
  auto server = std::make_shared<Server>();
  server->cache = *std::move(cache);
  server->site =
      std::make_unique<weft::http::Site>(worker.loop(), *server->cache, SiteOptionsOf(config));
  server->connections = std::make_unique<weft::tcp::Connections>(
      worker.loop(), *std::move(port),
      weft::tcp::ConnectionsOptions{
          .connections_max = config.connections_max(),
          .on_dead = [&worker](const absl::Status& status) { worker.Stop(status); }});
  auto bound = server->connections->Listen(
      *address, static_cast<int>(config.backlog()),
      [site = server->site.get()](weft::tcp::Connection connection) {
        std::move(connection).Serve(std::make_unique<weft::http::ServerConnection>(*site));
      });
  if (!bound.ok()) return bound.status();
  *listen = bound->ToString();
  worker.Show(server->connections->port());
  worker.Show(Metrics(worker, *server));
  std::printf("listening on %s (%s)\n", listen->c_str(),
              worker.config().transport().name().c_str());
  std::fflush(stdout);
  return server;
}

void ApplyFlags(weft::config::Config* config) {
  weft::config::Httpd& httpd = *config->mutable_httpd();
  if (const auto root = absl::GetFlag(FLAGS_root); !root.empty()) httpd.set_root(root);
  if (const auto listen = absl::GetFlag(FLAGS_listen); !listen.empty()) httpd.set_listen(listen);
  if (const auto index = absl::GetFlag(FLAGS_index); !index.empty()) httpd.set_index(index);
  if (const int64_t bytes = absl::GetFlag(FLAGS_cache_bytes); bytes >= 0) {
    httpd.set_cache_bytes(static_cast<uint64_t>(bytes));
  }
  if (const uint32_t n = absl::GetFlag(FLAGS_workers)) config->mutable_host()->set_workers(n);
  if (const uint32_t n = absl::GetFlag(FLAGS_connections_max)) httpd.set_connections_max(n);
  if (const uint32_t ms = absl::GetFlag(FLAGS_idle_timeout_ms)) httpd.set_idle_timeout_ms(ms);
  if (const uint32_t ms = absl::GetFlag(FLAGS_request_timeout_ms)) {
    httpd.set_request_timeout_ms(ms);
  }
  if (const uint32_t ms = absl::GetFlag(FLAGS_send_timeout_ms)) httpd.set_send_timeout_ms(ms);
}

absl::Status Run() {
  auto config = weft::config::FromFlags();
  if (!config.ok()) return config.status();
  ApplyFlags(&*config);
  auto host = weft::Host::Open(*config);
  if (!host.ok()) return host.status();
  if ((*host)->transport().virtual_time() != nullptr) {
    return absl::InvalidArgumentError("a simulated network lives within one process");
  }
  std::string listen = config->httpd().listen();
  if (listen.empty()) listen = weft::DefaultAddress(*config, kPort, "httpd");
  return (*host)->Run([&](weft::Worker& worker) { return Serve(worker, &listen); });
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Serves files over HTTP/1.1, until it is interrupted.");
  if (const std::vector<char*> words = absl::ParseCommandLine(argc, argv); words.size() > 1) {
    std::fprintf(stderr, "httpd: unexpected '%s'; the folder is given by --root\n", words[1]);
    return 2;
  }
  const absl::Status status = Run();
  if (status.ok()) return 0;
  std::fprintf(stderr, "httpd: %s\n", std::string(status.message()).c_str());
  return 1;
}
