// SPDX-License-Identifier: Apache-2.0
#include "weft/host/worker.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/core/log.h"
#include "weft/host/host.h"
#include "weft/rpc/security/security.h"
#include "weft/transports/port_metrics.h"
#include "weft/transports/remote_memory/open.h"

namespace weft {

Worker::Worker(Host& host, int index, const LoopOptions& options, const Clock& clock)
    : host_(host), index_(index), loop_(options, clock) {}

int Worker::count() const { return host_.workers(); }
const config::Config& Worker::config() const { return host_.config(); }
Transport& Worker::transport() { return host_.transport(); }
MetricRegistry& Worker::metrics() { return host_.metrics(); }
void Worker::Stop(absl::Status reason) { host_.Stop(std::move(reason)); }

MetricGroup::Labels Worker::labels() const { return {{"worker", absl::StrCat(index_)}}; }

absl::StatusOr<std::unique_ptr<DatagramPort>> Worker::OpenDatagramPort(const Address& local) {
  // Without an address there is nothing to share: each worker's port has one of its own.
  if (local.kind() == Address::Kind::kNone) return transport().OpenDatagramPort({});
  const PortOptions options = {.local = local, .queue = index_, .queues = count()};
  if (!local.is_ip() || local.port() != 0) return transport().OpenDatagramPort(options);
  size_t& asked = free_ports_[local];
  auto port = host_.OpenAtFreePort(options, asked);
  if (port.ok()) ++asked;
  return port;
}

absl::StatusOr<std::unique_ptr<RemoteMemory>> Worker::OpenRemoteMemory(const Address& local) {
  RemoteMemoryOptions options;
  if (config().has_security()) {
    auto security = rpc::Security::Open(config().security());
    if (!security.ok()) return security.status();
    if ((*security)->mode() == rpc::Security::Mode::kPlaintext) {
      options.beyond_machine = true;
    } else {
      // Either side may be the first to call the other, whoever has the memory.
      options.protect = [this,
                         security = *std::move(security)](std::unique_ptr<DatagramPort> port) {
        return security->Protect(loop_, std::move(port), rpc::Role::kServer);
      };
    }
  }
  return weft::OpenRemoteMemory(transport(), {.local = local}, options);
}

absl::StatusOr<std::unique_ptr<FramePort>> Worker::OpenFramePort() {
  return transport().OpenFramePort({.local = {}, .queue = index_, .queues = count()});
}

absl::StatusOr<std::unique_ptr<StreamPort>> Worker::OpenStreamPort() {
  auto port = transport().OpenStreamPort({.local = {}, .queue = index_, .queues = count()});
  if (port.ok()) show_status_.Update(host_.ShowTcp(labels()));
  return port;
}

void Worker::Show(const Port& port) {
  MetricGroup::Labels labels = this->labels();
  labels.emplace_back("transport", std::string(transport().name()));
  labels.emplace_back("port", absl::StrCat(ports_shown_++));
  Show(RegisterPortMetrics(metrics(), port, labels));
  if (const auto* const memory = dynamic_cast<const EmulatedMemory*>(&port)) {
    Show(memory->RegisterMetrics(metrics(), std::move(labels)));
  }
  Show("ports", [&port, transport = std::string(transport().name())](size_t, JsonWriter& json) {
    json.BeginObject();
    json.Field("transport", transport);
    json.Field("address", port.local_address().ToString());
    WritePortStats(port.stats(), json);
    json.EndObject();
  });
}

void Worker::Show(MetricGroup metrics) {
  show_status_.Update(metrics.status());
  shown_.push_back(std::move(metrics));
}

void Worker::Show(const std::string& page, Describe describe) {
  described_[page].push_back(std::move(describe));
  host_.AddPage(page);
}

void Worker::Sample(MetricSampler sampler) { samplers_.push_back(std::move(sampler)); }

void Worker::Accept(const std::string& command, Execute execute) {
  commands_[command] = std::move(execute);
  host_.AddCommand(command, static_cast<size_t>(index_));
}

absl::StatusOr<std::string> Worker::ExecuteCommand(const std::string& command,
                                                   const HttpRequest& request) const {
  const auto found = commands_.find(command);
  if (found == commands_.end()) return absl::UnavailableError("the program ends");
  return found->second(request);
}

void Worker::OnReload(Apply apply) { reload_.push_back(std::move(apply)); }

void Worker::Reload(const config::Config& config) const {
  for (const Apply& apply : reload_) {
    if (const absl::Status status = apply(config); !status.ok()) {
      WEFT_LOG(kError, "the configuration is not applied", {"worker", index_},
               {"error", status.message()});
    }
  }
}

std::vector<MetricSample> Worker::Samples(size_t limit) const {
  std::vector<MetricSample> samples;
  for (const MetricSampler& sampler : samplers_) sampler(limit, &samples);
  return samples;
}

rpc::CallObservers Worker::observers() {
  if (methods_ == nullptr) {
    methods_ = std::make_unique<rpc::MethodTable>();
    show_status_.Update(methods_->Register(metrics(), labels()));
    Show("rpc", [methods = methods_.get()](size_t limit, JsonWriter& json) {
      rpc::Describe(*methods, limit, json);
    });
    tracer_ = host_.MakeTracer(index_, loop_.clock());
    if (tracer_ != nullptr) Show(rpc::RegisterMetrics(metrics(), *tracer_, labels()));
  }
  return {.methods = methods_.get(), .tracer = tracer_.get()};
}

void Worker::DescribeAll(const std::string& page, size_t limit, JsonWriter& json) const {
  json.Key("items").BeginArray();
  if (const auto found = described_.find(page); found != described_.end()) {
    for (const Describe& describe : found->second) describe(limit, json);
  }
  json.EndArray();
}

void Worker::BeforeEnd(Finish finish) {
  finish_.push_back(std::move(finish));
  ++unfinished_;
}

void Worker::BeginEnd() {
  for (Finish& finish : finish_) {
    finish([this] {
      if (--unfinished_ == 0) host_.OnFinished();
    });
  }
}

void Worker::TearDown() {
  unfinished_ = 0;
  host_.OnFinished();
  described_.clear();
  samplers_.clear();
  commands_.clear();
  reload_.clear();
  shown_.clear();
  application_.reset();
  tracer_.reset();
  methods_.reset();
  finish_.clear();
}

}  // namespace weft
