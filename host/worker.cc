// SPDX-License-Identifier: Apache-2.0
#include "weft/host/worker.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/host/host.h"

namespace weft {

Worker::Worker(Host& host, int index, const LoopOptions& options, const Clock& clock)
    : host_(host), index_(index), loop_(options, clock) {}

int Worker::count() const { return host_.workers(); }
const config::Config& Worker::config() const { return host_.config(); }
Transport& Worker::transport() { return host_.transport(); }
MetricRegistry& Worker::metrics() { return host_.metrics(); }
void Worker::Stop(absl::Status reason) { host_.Stop(std::move(reason)); }

PortOptions Worker::OptionsFor(const Address& local) const {
  // Without an address there is nothing to share: each worker's port has one of its own.
  if (local.kind() == Address::Kind::kNone) return {};
  return {.local = local, .queue = index_, .queues = count()};
}

template <typename P>
absl::StatusOr<P*> Worker::Keep(absl::StatusOr<std::unique_ptr<P>> port, const char* contract) {
  if (!port.ok()) return port.status();
  P* const kept = port->get();
  const MetricLabels labels = {{"transport", std::string(transport().name())},
                               {"contract", contract},
                               {"worker", absl::StrCat(index_)},
                               {"port", absl::StrCat(ports_.size())}};
  auto port_metrics = PortMetrics::Register(kept->stats(), labels, metrics());
  if (!port_metrics.ok()) return port_metrics.status();
  ports_.push_back({*std::move(port), *std::move(port_metrics)});
  return kept;
}

absl::StatusOr<DatagramPort*> Worker::OpenDatagramPort(const Address& local) {
  return Keep(transport().OpenDatagramPort(OptionsFor(local)), "datagrams");
}

absl::StatusOr<FramePort*> Worker::OpenFramePort() {
  return Keep(transport().OpenFramePort({.queue = index_, .queues = count()}), "frames");
}

absl::StatusOr<StreamPort*> Worker::OpenStreamPort() {
  return Keep(transport().OpenStreamPort({.queue = index_, .queues = count()}), "streams");
}

absl::Status Worker::ShowLoop() {
  auto metrics =
      LoopMetrics::Register(loop_.stats(), {{"worker", absl::StrCat(index_)}}, host_.metrics());
  if (metrics.ok()) loop_metrics_ = *std::move(metrics);
  return metrics.status();
}

void Worker::Publish() {
  loop_metrics_->Publish();
  for (const OpenPort& open : ports_) open.metrics->Publish();
}

void Worker::TearDown() {
  application_.reset();
  ports_.clear();
}

}  // namespace weft
