// SPDX-License-Identifier: Apache-2.0
//
// What an application's set-up sees of the thread that it runs on; see host.h.
#ifndef WEFT_HOST_WORKER_H_
#define WEFT_HOST_WORKER_H_

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/config/config.h"
#include "weft/core/json_writer.h"
#include "weft/core/loop.h"
#include "weft/core/metric_group.h"
#include "weft/core/metric_samples.h"
#include "weft/core/metrics.h"
#include "weft/host/http_server.h"
#include "weft/rpc/service/call_observers.h"
#include "weft/transports/transport.h"

namespace weft {

class Host;

// Used by its own thread only, but for Stop().
class Worker {
 public:
  // From 0, below count(), the number of workers.
  int index() const { return index_; }
  int count() const;

  Loop& loop() { return loop_; }
  const config::Config& config() const;
  Transport& transport();

  // Opens a port. Workers that open the same `local` address share it: worker i gets queue i; with
  // port number 0 the first worker gets a free port, and the others the same one. Workers whose
  // stream ports listen at the same address share it too, but there port number 0 gives each
  // another one: listen at what the first got. Errors are the transport's.
  absl::StatusOr<std::unique_ptr<DatagramPort>> OpenDatagramPort(const Address& local = {});
  // Opens a port of this worker alone on any free address, as servers do for themselves whose
  // `rpc.router.security` has keys:
  //
  //   options->router.open_port = worker.PortOpener();
  std::function<absl::StatusOr<std::unique_ptr<DatagramPort>>()> PortOpener() {
    return [this] { return OpenDatagramPort(); };
  }
  // Opens remote memory of this worker alone: the transport's own, or emulated over its datagrams
  // (transports/remote_memory/open.h). `local`: none, for any free address. Polled by a loop
  // through a MemoryClient; shown as other ports are:
  //
  //   auto memory = worker.OpenRemoteMemory(address);
  //   auto client = std::make_shared<MemoryClient>(worker.loop(), *std::move(memory));
  //   worker.Show(client->memory());
  //
  // The configuration's `security` says how it is protected: with keys, which must be those of a
  // server, memory is emulated over protected datagrams, whatever the transport has; `plaintext`
  // lets peers be beyond this machine; without the section they must be of this machine, or the
  // error is FailedPrecondition.
  absl::StatusOr<std::unique_ptr<RemoteMemory>> OpenRemoteMemory(const Address& local = {});
  absl::StatusOr<std::unique_ptr<FramePort>> OpenFramePort();
  absl::StatusOr<std::unique_ptr<StreamPort>> OpenStreamPort();

  // For metrics that workers have in common. Each worker's own have the label worker.
  MetricRegistry& metrics();
  MetricGroup::Labels labels() const;

  // Shows the metrics of a port, or of anything else, until just before the application's part of
  // this worker is destroyed. Another thread reads them: show them at the end of the set-up, when
  // nothing can fail any more. Labels that are taken or wrong make the set-up fail.
  //
  //   worker.Show(server->port());
  //   worker.Show(rpc::RegisterMetrics(worker.metrics(), *server, worker.labels()));
  void Show(const Port& port);
  void Show(MetricGroup metrics);

  // Adds one JSON value, which `describe` writes, to this worker's items of the page
  // http://<metrics.listen>/<page> (worker_page.h), until just before the application's part is
  // destroyed. `describe` runs on this worker's thread when somebody looks; it writes about no more
  // than `limit` of what there may be any number of. Called by set-ups.
  //
  //   worker.Show("rpc", rpc::Description(*server));
  using Describe = std::function<void(size_t limit, JsonWriter& json)>;
  void Show(const std::string& page, Describe describe);

  // Adds to /metrics what `sampler` finds when somebody looks (core/metric_samples.h), on this
  // worker's thread, until just before the application's part is destroyed. Its limit is the
  // configuration's metrics.peers_max; it is not called where that is 0. Called by set-ups.
  //
  //   worker.Sample(rpc::PeerSampler(*server, worker.labels()));
  void Sample(MetricSampler sampler);

  // Carries out a command that changes something, when its user or root asks for it:
  // `weft router drain` and so on. `execute` runs on this worker's thread, after the set-up, and
  // returns a line to tell of it; the command goes to each worker that accepts it. Nothing comes
  // where metrics.listen is empty. Called by set-ups.
  //
  //   worker.Accept("router/drain", [router](const HttpRequest& request) { ... });
  using Execute = std::function<absl::StatusOr<std::string>(const HttpRequest& request)>;
  void Accept(const std::string& command, Execute execute);

  // `apply` gets the configuration that HostOptions::reload has read, on this worker's thread: the
  // one in force is still config(). An error stays in the log. Called by set-ups.
  using Apply = std::function<absl::Status(const config::Config& config)>;
  void OnReload(Apply apply);

  // Whom channels and services of this worker are to tell of their calls, so that methods are shown
  // in /metrics and /rpc, and traced where the configuration has `tracing`. Called by set-ups.
  //
  //   service_options.observers = worker.observers();
  rpc::CallObservers observers();

  // Lets the application do what others would miss before it ends: when a signal or Stop(), without
  // an error, has asked for the end, `finish` is called on this thread, and the loop runs on until
  // it has called `done`, on this thread too, or a second has passed. Not in virtual time. Called
  // by set-ups.
  //
  //   worker.BeforeEnd([server = server->get()](auto done) { server->Drain(std::move(done)); });
  using Finish = absl::AnyInvocable<void(absl::AnyInvocable<void()> done)>;
  void BeforeEnd(Finish finish);

  // Ends all workers; Host::Run() returns `reason`. For failures after set-up, such as a dead port.
  // Any thread.
  void Stop(absl::Status reason = absl::OkStatus());

 private:
  friend class Host;

  Worker(Host& host, int index, const LoopOptions& options, const Clock& clock);

  // Writes the items of `page`.
  void DescribeAll(const std::string& page, size_t limit, JsonWriter& json) const;
  // What all samplers find.
  std::vector<MetricSample> Samples(size_t limit) const;
  absl::StatusOr<std::string> ExecuteCommand(const std::string& command,
                                             const HttpRequest& request) const;
  // Has the configuration applied that was read.
  void Reload(const config::Config& config) const;
  // Calls what BeforeEnd() was given.
  void BeginEnd();
  bool has_finished() const { return unfinished_.load() == 0; }
  // Destroys the application's part, and first what other threads see of it.
  void TearDown();

  Host& host_;
  const int index_;
  Loop loop_;
  absl::flat_hash_map<Address, size_t> free_ports_;  // asked for, by address
  std::shared_ptr<void> application_;
  std::vector<MetricGroup> shown_;
  absl::flat_hash_map<std::string, std::vector<Describe>> described_;  // by page
  std::vector<MetricSampler> samplers_;
  absl::flat_hash_map<std::string, Execute> commands_;
  std::vector<Apply> reload_;
  std::unique_ptr<rpc::MethodTable> methods_;  // with the first observers()
  std::unique_ptr<rpc::Tracer> tracer_;        // likewise, if the host traces
  std::vector<Finish> finish_;
  std::atomic<int> unfinished_{0};  // of those that BeforeEnd() was given
  int ports_shown_ = 0;
  absl::Status show_status_;  // The first error of Show().
};

}  // namespace weft

#endif  // WEFT_HOST_WORKER_H_
