// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/sim/sim_transport.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "weft/config/config.h"
#include "weft/transports/registry.h"
#include "weft/transports/sim/sim_ports.h"
#include "weft/transports/sim/sim_remote_memory.h"
#include "weft/transports/sim/sim_stream_port.h"

namespace weft::sim {
namespace {

constexpr size_t kMaxPayloadBytes = 1472;  // of UDP over IPv4 in an Ethernet frame
constexpr size_t kMaxFrameBytes = 1514;    // an MTU of 1500 and the header

Capabilities Offered(const BufferPoolOptions& buffers, const BulkOptions& bulk) {
  const size_t room = buffers.bytes - std::min(buffers.headroom, buffers.bytes);
  Capabilities offered;
  offered.datagrams = true;
  offered.streams = true;
  offered.frames = true;
  offered.remote_memory = true;
  offered.max_payload_bytes = std::min(kMaxPayloadBytes, room);
  offered.max_frame_bytes = std::min(kMaxFrameBytes, room);
  offered.gather = true;
  offered.keeps_foreign_source = true;
  offered.virtual_time = true;
  offered.max_operation_bytes = SimRemoteMemory::kMaxOperationBytes;
  offered.registers_any_memory = true;
  offered.atomic_with_processor = true;  // one thread is all there is
  if (bulk.count > 0) offered.bulk_min_bytes = bulk.min_bytes;
  return offered;
}

class SimTransport final : public Transport {
 public:
  SimTransport(std::shared_ptr<Network> network, const BufferPoolOptions& buffers,
               const BulkOptions& bulk)
      : network_(std::move(network)),
        buffers_(buffers),
        bulk_(bulk),
        capabilities_(Offered(buffers, bulk)) {}

  absl::string_view name() const override { return "sim"; }
  const Capabilities& capabilities() const override { return capabilities_; }
  VirtualTime* virtual_time() override { return network_.get(); }

  absl::StatusOr<std::unique_ptr<DatagramPort>> OpenDatagramPort(
      const PortOptions& options) override {
    return SimDatagramPort::Open(network_.get(), options, capabilities_, buffers_, bulk_);
  }
  absl::StatusOr<std::unique_ptr<StreamPort>> OpenStreamPort(const PortOptions& options) override {
    return SimStreamPort::Open(network_.get(), options, capabilities_, buffers_);
  }
  absl::StatusOr<std::unique_ptr<FramePort>> OpenFramePort(const PortOptions& options) override {
    return SimFramePort::Open(network_.get(), options, capabilities_, buffers_);
  }
  absl::StatusOr<std::unique_ptr<RemoteMemory>> OpenRemoteMemory(
      const PortOptions& options) override {
    return SimRemoteMemory::Open(network_.get(), options, capabilities_, buffers_);
  }

 private:
  const std::shared_ptr<Network> network_;
  const BufferPoolOptions buffers_;
  const BulkOptions bulk_;
  const Capabilities capabilities_;
};

LinkOptions LinkFrom(const config::Sim& settings) {
  LinkOptions link;
  link.latency_ns = int64_t{settings.latency_us()} * 1000;
  link.jitter_ns = int64_t{settings.jitter_us()} * 1000;
  link.bandwidth_bps = uint64_t{settings.bandwidth_mbps()} * 1'000'000;
  link.queue_packets = settings.queue_packets();
  link.loss = settings.loss();
  link.duplicate = settings.duplicate();
  link.reorder = settings.reorder();
  link.corrupt = settings.corrupt();
  return link;
}

// The process's networks by name. One lives as long as a transport is open on it.
class NamedNetworks {
 public:
  absl::StatusOr<std::shared_ptr<Network>> Find(const config::Sim& settings) {
    const LinkOptions link = LinkFrom(settings);
    std::lock_guard<std::mutex> lock(mutex_);
    Entry& entry = by_name_[settings.network()];
    std::shared_ptr<Network> network = entry.network.lock();
    if (network == nullptr) {
      network = std::make_shared<Network>(settings.seed(), link);
      entry = {network, settings.seed(), link};
    } else if (entry.seed != settings.seed() || entry.link != link) {
      return absl::FailedPreconditionError(
          absl::StrCat("the simulated network '", settings.network(),
                       "' is open with another seed or other settings; give all of its transports "
                       "the same, or name another network"));
    }
    return network;
  }

 private:
  struct Entry {
    std::weak_ptr<Network> network;
    uint64_t seed = 0;
    LinkOptions link;
  };
  std::mutex mutex_;
  std::map<std::string, Entry> by_name_;  // guarded by mutex_
};

absl::StatusOr<std::unique_ptr<Transport>> Open(const config::Transport& config) {
  static auto* networks = new NamedNetworks;
  absl::StatusOr<std::shared_ptr<Network>> network = networks->Find(config.sim());
  if (!network.ok()) return network.status();
  BufferPoolOptions buffers;
  buffers.count = config.buffers().count();
  buffers.bytes = config::EthernetBytes(config.buffers());
  const BulkOptions bulk = {.count = config.sim().bulk_count(),
                            .bytes = config.sim().bulk_bytes(),
                            .min_bytes = config.sim().bulk_min_bytes()};
  return std::make_unique<SimTransport>(*std::move(network), buffers, bulk);
}

const TransportRegistrar registrar({
    .name = "sim",
    .summary = "a simulated network within one process, on a virtual clock",
    .address_kinds = {Address::Kind::kSim},
    .capabilities = Offered({}, {}),
    .probe = [] { return absl::OkStatus(); },
    .open = &Open,
});

}  // namespace

std::unique_ptr<Transport> OpenTransport(Network* network, const BufferPoolOptions& buffers,
                                         const BulkOptions& bulk) {
  return std::make_unique<SimTransport>(std::shared_ptr<Network>(network, [](Network*) {}), buffers,
                                        bulk);
}

}  // namespace weft::sim
