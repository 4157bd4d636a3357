// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/dpdk/dpdk_transport.h"

#include "weft/transports/dpdk/dpdk_frame_port.h"
#include "weft/transports/dpdk/mbuf_pool.h"
#include "weft/transports/registry.h"

namespace weft {
namespace {

Capabilities AtBest() {
  Capabilities offered;
  offered.frames = true;
  offered.max_frame_bytes = dpdk::kMbufMemoryMax - RTE_PKTMBUF_HEADROOM;
  offered.checksum_offload = true;
  offered.segmentation_offload = true;
  return offered;
}

// Virtual devices need nothing but memory, so that there is always one that can be opened. What a
// physical one lacks is told when it is opened.
absl::Status Probe() { return absl::OkStatus(); }

const TransportRegistrar registrar(TransportPlugin{
    .name = "dpdk",
    .summary = "frames through DPDK's poll-mode drivers, physical and virtual",
    .address_kinds = {Address::Kind::kNone},
    .capabilities = AtBest(),
    .probe = &Probe,
    .open = &DpdkTransport::Open,
});

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> DpdkTransport::Open(const config::Transport& config) {
  absl::StatusOr<std::unique_ptr<dpdk::Device>> device = dpdk::Device::Open(config);
  if (!device.ok()) return device.status();
  return std::unique_ptr<Transport>(new DpdkTransport(*std::move(device)));
}

absl::StatusOr<std::unique_ptr<FramePort>> DpdkTransport::OpenFramePort(
    const PortOptions& options) {
  return dpdk::DpdkFramePort::Open(device_.get(), options);
}

}  // namespace weft
