// SPDX-License-Identifier: Apache-2.0
//
// What an application's set-up sees of the thread that it runs on; see host.h.
#ifndef WEFT_HOST_WORKER_H_
#define WEFT_HOST_WORKER_H_

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/config/config.h"
#include "weft/core/loop.h"
#include "weft/core/metrics.h"
#include "weft/host/stats_metrics.h"
#include "weft/transports/transport.h"

namespace weft {

class Host;

// Used by its own thread only.
class Worker {
 public:
  // From 0, below count(), the number of workers.
  int index() const { return index_; }
  int count() const;

  Loop& loop() { return loop_; }
  const config::Config& config() const;
  Transport& transport();
  // For metrics of the application. Use the label worker={index} where each worker has its own.
  MetricRegistry& metrics();

  // Opens a port that is owned by the worker, shows its statistics as metrics, and lives until the
  // application's part of this worker is gone. Workers that open the same `local` address share it:
  // worker i gets queue i. Errors are the transport's.
  absl::StatusOr<DatagramPort*> OpenDatagramPort(const Address& local = {});
  absl::StatusOr<FramePort*> OpenFramePort();
  absl::StatusOr<StreamPort*> OpenStreamPort();

  // Ends all workers; Host::Run() returns `reason`. For failures after set-up, such as a dead port.
  void Stop(absl::Status reason = absl::OkStatus());

 private:
  friend class Host;
  struct OpenPort {
    std::unique_ptr<Port> port;
    std::unique_ptr<PortMetrics> metrics;
  };

  Worker(Host& host, int index, const LoopOptions& options, const Clock& clock);

  PortOptions OptionsFor(const Address& local) const;
  template <typename P>
  absl::StatusOr<P*> Keep(absl::StatusOr<std::unique_ptr<P>> port, const char* contract);

  absl::Status ShowLoop();
  // Copies statistics to where other threads may read them.
  void Publish();
  // Destroys the application's part, then the ports.
  void TearDown();

  Host& host_;
  const int index_;
  Loop loop_;
  std::unique_ptr<LoopMetrics> loop_metrics_;
  std::vector<OpenPort> ports_;
  std::shared_ptr<void> application_;
  std::atomic<bool> publishing_{false};  // Publish() is posted and has not run.
};

}  // namespace weft

#endif  // WEFT_HOST_WORKER_H_
