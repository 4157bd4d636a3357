// SPDX-License-Identifier: Apache-2.0
//
// A configuration brought to life: its transport, its workers, its metrics.
//
//   absl::StatusOr<std::unique_ptr<Host>> host = Host::Open(config);
//   if (!host.ok()) return host.status();
//   return (*host)->Run([&](Worker& worker) -> absl::StatusOr<std::shared_ptr<void>> {
//     auto port = worker.OpenDatagramPort(address);
//     if (!port.ok()) return port.status();
//     auto server = rpc::Server::Create(worker.loop(), *std::move(port), options, handler);
//     if (!server.ok()) return server.status();
//     worker.Show((*server)->port());
//     return std::shared_ptr<rpc::Server>(*std::move(server));
//   });
//
// Each worker is a thread, pinned if the configuration says so, with a loop and with ports of its
// own. On a transport with virtual time, all workers share one thread and that time.
//
// With `metrics.listen`, HTTP serves /metrics in Prometheus' text format and /healthz: 200 while
// all workers are up, else 503. A browser finds at /status (and /) a page that shows what goes on,
// and /host is what programs are told of the host itself: {"program", "pid", "uptime_ms",
// "transport", "workers", "state": "starting", "running" or "stopping", "pages": ["net", "rpc",
// ...], "control", "loops": [{"worker", "iterations", "idle_iterations", "sleeps", "busy_ns"},
// ...]}. Set-ups may add pages (Worker::Show()), as those of programs with RPC do: /rpc. Where they
// accept commands (Worker::Accept()), "control" is the name of the Unix socket that takes them.
// With `netstack`, there is also /net, the state of the network stacks as JSON, /net/ping, which
// sends echo requests from worker 0 (net_pages.h), and /tcp, listeners and connections
// (tcp_pages.h).
//
// The configuration's `log` section is the process's from then on (weft/core/log.h); its `tracing`
// section is for what workers tell of their calls (Worker::observers()).
#ifndef WEFT_HOST_HOST_H_
#define WEFT_HOST_HOST_H_

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/config/config.h"
#include "weft/core/metric_group.h"
#include "weft/core/metric_samples.h"
#include "weft/core/metrics.h"
#include "weft/core/unique_fd.h"
#include "weft/host/control.h"
#include "weft/host/http_server.h"
#include "weft/host/net_pages.h"
#include "weft/host/network.h"
#include "weft/host/tcp_pages.h"
#include "weft/host/worker.h"
#include "weft/host/worker_answers.h"
#include "weft/host/worker_page.h"
#include "weft/rpc/trace/tracer.h"
#include "weft/tcp/tcp_stats.h"
#include "weft/transports/transport.h"

namespace weft {

struct HostOptions {
  // The first SIGINT or SIGTERM stops Run(), which then returns OK, after what Worker::BeforeEnd()
  // asked for; one that comes more than 200 ms after it ends the process. One host of a process can
  // have this.
  bool handle_signals = true;

  // SIGHUP calls it, on the thread of Run(), and hands what it returns to Worker::OnReload(). An
  // error goes to the log, and nothing changes. Without it, or handle_signals, SIGHUP does what it
  // does.
  std::function<absl::StatusOr<config::Config>()> reload = nullptr;
};

class Host {
 public:
  // Makes the application's part of a worker, on the worker's thread. It is destroyed on that
  // thread when the loop has ended.
  using SetUp = std::function<absl::StatusOr<std::shared_ptr<void>>(Worker&)>;

  // Opens the network and the HTTP server. InvalidArgument for a configuration that
  // config::Validate() refuses; else the errors of OpenNetwork() and HttpServer::Start().
  static absl::StatusOr<std::unique_ptr<Host>> Open(const config::Config& config,
                                                    const HostOptions& options = {});
  ~Host();
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  // Starts the workers and waits for their end. `set_up` is called for each in turn, the next when
  // the last has returned; the loop of a worker runs as soon as its own is done. Returns when
  // Stop() or a signal asks for it, when a set-up fails, or when a simulation has nothing left to
  // do: with the first error, naming the worker. Once only.
  absl::Status Run(const SetUp& set_up);

  // Ends Run(), which returns the first `reason` that is an error. Any thread, any time.
  void Stop(absl::Status reason = absl::OkStatus());

  const config::Config& config() const { return config_; }
  Transport& transport() { return *network_.transport; }
  // What it is made of where it is weft's own stack, for what goes beyond datagrams; else null.
  netstack::NetstackTransport* netstack() { return network_.netstack; }
  // The same with its TCP, for what goes beyond streams.
  tcp::TcpTransport* tcp() { return network_.tcp; }
  MetricRegistry& metrics() { return metrics_; }
  int workers() const { return static_cast<int>(workers_.size()); }
  // Where HTTP is served, the port included; empty if it is off.
  std::string http_address() const { return http_ ? http_->address() : ""; }

 private:
  friend class Worker;
  Host(const config::Config& config, const HostOptions& options, Network network,
       std::vector<int> cores, UniqueFd stop_event, std::shared_ptr<rpc::SpanWriter> spans);

  absl::Status Serve();
  HttpResponse Metrics();
  HttpResponse Health() const;
  HttpResponse DescribeSelf();
  const char* StateName() const;

  void StartWorkers(const SetUp& set_up, std::vector<std::thread>* threads);
  bool SetUpWorker(Worker& worker, const SetUp& set_up);
  void RunWorker(Worker& worker);
  void RunAllVirtually(const SetUp& set_up);
  void TearDownWorker(Worker& worker);
  // For a worker's calls; null if the configuration has no `tracing`.
  std::unique_ptr<rpc::Tracer> MakeTracer(int worker, const Clock& clock) const;
  // Adds a page that all workers write, unless it is there already or HTTP is off.
  void AddPage(const std::string& name);
  // Shows the metrics of weft's own TCP of the calling thread, if it has one, for good.
  absl::Status ShowTcp(const MetricGroup::Labels& labels);
  // Takes a command that `worker` carries out, unless HTTP is off.
  void AddCommand(const std::string& command, size_t worker);
  // Waits for the end, and reads the configuration again when it is told to.
  void WaitForEnd(int hang_up_fd);
  void Reload();
  // Lets workers do what they were to do before their end, and waits for it.
  void FinishWorkers();
  // A worker has done so.
  void OnFinished();
  bool stopping() const { return stopping_.load(std::memory_order_relaxed); }

  // Opens `options.local`, whose port is 0, with the port number that the first worker got which
  // asked for its `nth` free port at that address.
  absl::StatusOr<std::unique_ptr<DatagramPort>> OpenAtFreePort(PortOptions options, size_t nth);

  const config::Config config_;
  const HostOptions options_;
  const std::vector<int> cores_;
  const int64_t opened_ns_;
  const UniqueFd stop_event_;  // An eventfd: readable when Run() is to end.
  MetricRegistry metrics_;
  const Network network_;
  const std::shared_ptr<rpc::SpanWriter> spans_;  // null: nothing is traced
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<MetricGroup> loop_metrics_;
  // Guarded by mutex_: by what they show.
  absl::flat_hash_map<const tcp::TcpStats*, MetricGroup> tcp_metrics_;

  std::atomic<bool> started_{false};
  std::atomic<bool> ready_{false};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  // Guarded by mutex_: the first error.
  absl::Status status_;
  std::condition_variable finished_;
  // Guarded by pages_mutex_, by name.
  std::mutex pages_mutex_;
  absl::flat_hash_map<std::string, std::unique_ptr<WorkerPage>> pages_;
  // Guarded by free_ports_mutex_: for each address with port 0, the complete ones chosen so far.
  std::mutex free_ports_mutex_;
  absl::flat_hash_map<Address, std::vector<Address>> free_ports_;

  std::unique_ptr<WorkerAnswers<std::vector<MetricSample>>> samples_;
  std::unique_ptr<NetPages> net_pages_;
  std::unique_ptr<TcpPages> tcp_pages_;
  std::unique_ptr<Control> control_;  // Guarded by pages_mutex_; null: there are no commands.
  std::unique_ptr<HttpServer> http_;  // Last: its thread uses the others.
};

}  // namespace weft

#endif  // WEFT_HOST_HOST_H_
