// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/router_curve.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "weft/benchmarks/endpoint.h"
#include "weft/benchmarks/service_times.h"
#include "weft/core/clock.h"
#include "weft/core/log.h"
#include "weft/core/loop.h"
#include "weft/core/prng.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/core/unique_fd.h"
#include "weft/router/router.h"
#include "weft/rpc/client.h"
#include "weft/rpc/load_generator.h"
#include "weft/rpc/server.h"

namespace weft::benchmarks {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(2);  // of the client, with each request
constexpr size_t kOutstandingMax = 1024;

// --- The router. Arguments: transport, where to listen, policy. Reports the port, or 0.
absl::Status Route(Peer& peer) {
  auto endpoint = OpenEndpoint({.transport = peer.arguments()[0], .local = peer.arguments()[1]});
  if (!endpoint.ok()) return endpoint.status();
  router::RouterOptions options;
  options.listen = options.control = endpoint->port->local_address();
  options.policy = peer.arguments()[2];
  options.join = true;
  Loop loop({.mode = LoopMode::kSleep}, RealClock());
  auto router = router::Router::Create(loop, std::move(endpoint->port), nullptr, options);
  if (!router.ok()) return router.status();
  peer.Report(options.listen.port());
  loop.Run();
  return absl::OkStatus();
}

// --- A server.

class SlowServer {
 public:
  SlowServer(Loop& loop, ServiceTimes times, double mean_ns, uint64_t seed,
             std::atomic<uint64_t>& served)
      : loop_(loop), times_(std::move(times)), mean_ns_(mean_ns), random_(seed), served_(served) {}

  // Requests that come while it serves another wait for their turn.
  Task<void> Serve(rpc::ServerCall call) {
    const int64_t now_ns = loop_.clock().NowNs();
    free_ns_ = std::max(free_ns_, now_ns) +
               static_cast<int64_t>(std::llround(times_.Draw(random_) * mean_ns_));
    co_await loop_.Sleep(absl::Nanoseconds(free_ns_ - now_ns));
    (void)call.Reply(std::move(call.request()));
    served_.fetch_add(1, std::memory_order_relaxed);
  }

 private:
  Loop& loop_;
  const ServiceTimes times_;
  const double mean_ns_;
  Prng random_;
  std::atomic<uint64_t>& served_;
  int64_t free_ns_ = 0;
};

// Arguments: transport, where to listen, the router, service times, their mean in nanoseconds,
// seed, its place among the counts. Reports 0 when it is up.
absl::Status Serve(Peer& peer) {
  auto endpoint = OpenEndpoint({.transport = peer.arguments()[0], .local = peer.arguments()[1]});
  if (!endpoint.ok()) return endpoint.status();
  auto router = Address::Parse(peer.arguments()[2]);
  if (!router.ok()) return router.status();
  auto times = ServiceTimes::Parse(peer.arguments()[3]);
  if (!times.ok()) return times.status();
  (void)ConfigureLog({.level = LogLevel::kWarning});
  Loop loop({.mode = LoopMode::kSleep}, RealClock());
  const auto place = static_cast<size_t>(peer.Number(6));
  auto served = ServedCounts::Map(peer.shared_fd(), place + 1);
  if (!served.ok()) return served.status();
  SlowServer slow(loop, *std::move(times), static_cast<double>(peer.Number(4)),
                  static_cast<uint64_t>(peer.Number(5)), (*served)->at(place));
  rpc::ServerOptions options;
  options.router.control = {*router};
  options.router.join = true;
  auto server =
      rpc::Server::Create(loop, std::move(endpoint->port), options,
                          [&slow](rpc::ServerCall call) { return slow.Serve(std::move(call)); });
  if (!server.ok()) return server.status();
  peer.Report(0);
  loop.Run();
  return absl::OkStatus();
}

// --- The client.

// Servers may not have joined yet.
Task<void> RunFor(rpc::Client& client, ::weft::Peer router, rpc::LoadGenerator& load,
                  absl::Duration duration, absl::Status* status) {
  Loop& loop = client.loop();
  const std::vector<uint8_t> request(64);
  for (int i = 0; i < 1000; ++i) {
    *status = (co_await client.Call(router, request)).status();
    if (status->ok()) break;
    co_await loop.Sleep(absl::Milliseconds(5));
  }
  if (status->ok()) {
    load.Start(nullptr);
    co_await loop.Sleep(duration);
    load.Stop();
    while (!load.done()) co_await loop.Sleep(absl::Milliseconds(1));
  }
  loop.Stop();
}

// Arguments: transport, the router, thousandths of a request a second, duration in nanoseconds,
// seed. Reports p50, p99, p99.9 (nanoseconds), replies a second, and how many were sent, refused,
// failed.
absl::Status Ask(Peer& peer) {
  auto router = Address::Parse(peer.arguments()[1]);
  if (!router.ok()) return router.status();
  auto endpoint = OpenEndpoint({.transport = peer.arguments()[0]});
  if (!endpoint.ok()) return endpoint.status();
  Loop loop({.mode = LoopMode::kSleep}, RealClock());
  auto client = rpc::Client::Create(
      loop, std::move(endpoint->port),
      {.timeout = kPatience, .outstanding_max = kOutstandingMax, .wire = rpc::Wire::kOriginal});
  if (!client.ok()) return client.status();
  auto to = (*client)->Resolve(*router);
  if (!to.ok()) return to.status();
  rpc::LoadGenerator load(**client, *to,
                          {.outstanding_max = kOutstandingMax,
                           .rate_per_s = static_cast<double>(peer.Number(2)) / 1e3,
                           .poisson_seed = static_cast<uint64_t>(peer.Number(4))});
  absl::Status there;
  TaskGroup tasks;
  tasks.Spawn(RunFor(**client, *to, load, absl::Nanoseconds(peer.Number(3)), &there));
  loop.Run();
  if (!there.ok()) return there;
  const rpc::LoadStats& stats = load.stats();
  const HistogramSnapshot latency = load.latency().Snapshot();
  for (const double percent : {50.0, 99.0, 99.9}) {
    peer.Report(static_cast<double>(latency.Percentile(percent)));
  }
  peer.Report(static_cast<double>(stats.replies) * 1e9 /
              static_cast<double>(std::max<int64_t>(stats.end_ns - stats.begin_ns, 1)));
  peer.Report(static_cast<double>(stats.sent));
  peer.Report(static_cast<double>(stats.refused));
  peer.Report(static_cast<double>(stats.timeouts + stats.failed));
  return absl::OkStatus();
}

constexpr char kRouterRole[] = "curve-router";
constexpr char kServerRole[] = "curve-server";
constexpr char kClientRole[] = "curve-client";
constexpr PeerRole kRoles[] = {{kRouterRole, &Route}, {kServerRole, &Serve}, {kClientRole, &Ask}};

// A place of its own for each part.
std::string PlaceFor(const std::string& transport, absl::string_view part) {
  const std::string listen = ListenAddress(transport);
  if (!absl::StartsWith(listen, "shm:")) return listen;
  return absl::StrCat("shm:curve-", part, "-", getpid());
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServedCounts>> ServedCounts::Map(int fd, size_t count) {
  void* const memory =
      mmap(nullptr, count * sizeof(Count), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return absl::ErrnoToStatus(errno, "mmap");
  return std::unique_ptr<ServedCounts>(new ServedCounts(static_cast<Count*>(memory), count));
}

ServedCounts::~ServedCounts() { munmap(counts_, count_ * sizeof(Count)); }

std::vector<uint64_t> ServedCounts::Read() const {
  std::vector<uint64_t> values;
  for (size_t i = 0; i < count_; ++i) values.push_back(counts_[i].load(std::memory_order_relaxed));
  return values;
}

absl::StatusOr<std::unique_ptr<RoutedServers>> RoutedServers::Start(const Options& options,
                                                                    const RpcOptions& cores) {
  auto routed = std::make_unique<RoutedServers>();
  routed->options_ = options;
  const UniqueFd counts(memfd_create("weft-served", MFD_CLOEXEC));
  const size_t bytes = options.servers * sizeof(ServedCounts::Count);
  if (!counts || ftruncate(counts.get(), static_cast<off_t>(bytes)) != 0) {
    return absl::ErrnoToStatus(errno, "memory for counts");
  }
  auto served = ServedCounts::Map(counts.get(), options.servers);
  if (!served.ok()) return served.status();
  routed->served_ = *std::move(served);
  const std::string listen = PlaceFor(options.transport, "router");
  auto router = PeerProcess::Start({.role = kRouterRole,
                                    .core = cores.server_core,
                                    .arguments = {options.transport, listen, options.policy},
                                    .lifetime = options.lifetime});
  if (!router.ok()) return router.status();
  const auto port = (*router)->AwaitReport(kStartTimeout);
  if (!port.ok()) return port.status();
  routed->router_ = *std::move(router);
  routed->address_ = ServerAddress(listen, *port);
  for (size_t i = 0; i < options.servers; ++i) {
    auto server = PeerProcess::Start(
        {.role = kServerRole,
         .core = i % 2 == 0 ? cores.server_core : cores.client_core,
         .arguments = {options.transport, PlaceFor(options.transport, absl::StrCat(i)),
                       routed->address_, options.service,
                       absl::StrCat(absl::ToInt64Nanoseconds(options.service_mean)),
                       absl::StrCat(i + 1), absl::StrCat(i)},
         .shared_fd = counts.get(),
         .lifetime = options.lifetime});
    if (!server.ok()) return server.status();
    if (auto ready = (*server)->AwaitReport(kStartTimeout); !ready.ok()) return ready.status();
    routed->servers_.push_back(*std::move(server));
  }
  return routed;
}

absl::StatusOr<CurvePoint> RoutedServers::Measure(double load, const RpcOptions& options) const {
  const double rate_per_s =
      load * static_cast<double>(options_.servers) / absl::ToDoubleSeconds(options_.service_mean);
  const std::vector<uint64_t> before = served_->Read();
  auto client = PeerProcess::Start(
      {.role = kClientRole,
       .core = options.client_core,
       .arguments = {options_.transport, address_, absl::StrCat(std::llround(rate_per_s * 1e3)),
                     absl::StrCat(absl::ToInt64Nanoseconds(options.duration)),
                     absl::StrCat(std::llround(load * 1000) + 1)},
       .lifetime = options.duration + 3 * kStartTimeout});
  if (!client.ok()) return client.status();
  std::vector<double> values;
  while (values.size() < 7) {
    const auto value = (*client)->AwaitReport(options.duration + 2 * kStartTimeout);
    if (!value.ok()) return value.status();
    values.push_back(*value);
  }
  std::vector<uint64_t> served = served_->Read();
  for (size_t i = 0; i < served.size(); ++i) served[i] -= before[i];
  const auto [least, most] = std::minmax_element(served.begin(), served.end());
  const double seconds = absl::ToDoubleSeconds(options.duration);
  return CurvePoint{.load = load,
                    .p50_us = values[0] / 1e3,
                    .p99_us = values[1] / 1e3,
                    .p999_us = values[2] / 1e3,
                    .replies_per_s = values[3],
                    .refused_percent = 100 * values[5] / std::max(values[4], 1.0),
                    .failed = values[6],
                    .server_per_s_min = static_cast<double>(*least) / seconds,
                    .server_per_s_max = static_cast<double>(*most) / seconds};
}

absl::Span<const PeerRole> CurveRoles() { return kRoles; }

}  // namespace weft::benchmarks
