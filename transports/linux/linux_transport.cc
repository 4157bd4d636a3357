// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/linux_transport.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "weft/transports/linux/linux_datagram_port.h"
#include "weft/transports/linux/linux_stream_port.h"
#include "weft/transports/linux/socket.h"
#include "weft/transports/registry.h"

namespace weft {
namespace {

// Of IPv4: 65535 less the headers of IPv4 and UDP. IPv6 would take 20 bytes more.
constexpr size_t kUdpPayloadMax = 65507;
constexpr size_t kMtuMax = 65521;
constexpr size_t kTapMtu = 1500;  // of a new device

Capabilities Offered(size_t buffer_payload_bytes) {
  Capabilities offered;
  offered.datagrams = true;
  offered.streams = true;
  offered.max_payload_bytes = std::min(kUdpPayloadMax, buffer_payload_bytes);
  offered.max_burst = 64;
  offered.gather = true;
  offered.can_wait = true;
  return offered;
}

BufferPoolOptions PoolOptions(const config::Buffers& config) {
  return {.count = config.count(), .bytes = config.bytes()};
}

size_t PayloadBytes(const BufferPoolOptions& buffers) { return buffers.bytes - buffers.headroom; }

absl::Status CheckQueue(const PortOptions& options) {
  if (options.queues >= 1 && options.queue >= 0 && options.queue < options.queues) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("queue ", options.queue, " of ", options.queues, " does not exist"));
}

absl::Status CheckOptions(const config::Linux& config, const PortOptions& options) {
  if (absl::Status status = CheckQueue(options); !status.ok()) return status;
  if (options.queues > 1 && !config.reuse_port()) {
    return absl::InvalidArgumentError(
        "several workers need `reuse_port: true` in the settings of transport 'linux'");
  }
  return options.local.kind() == Address::Kind::kNone ? absl::OkStatus()
                                                      : linux_transport::CheckIp(options.local);
}

// Frames of a device with that MTU.
void OfferFrames(size_t mtu, bool offload, const BufferPoolOptions& buffers,
                 Capabilities* offered) {
  constexpr size_t kEthernetBytes = 14;
  offered->frames = true;
  offered->max_frame_bytes = std::min(mtu + kEthernetBytes, buffers.bytes - buffers.headroom);
  offered->checksum_offload = offload;
  offered->segmentation_offload = offload && linux_transport::KernelSegmentsUdp();
}

// What it has with one setting or another.
Capabilities AtItsBest() {
  Capabilities offered = Offered(kUdpPayloadMax);
  OfferFrames(kMtuMax, true, {.bytes = 1 << 20}, &offered);
  offered.keeps_foreign_source = true;
  return offered;
}

absl::Status Probe() {
  if (UniqueFd(socket(AF_INET, SOCK_DGRAM, 0))) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot open a UDP socket: ", std::strerror(errno)));
}

const TransportRegistrar registrar(TransportPlugin{
    .name = "linux",
    .summary = "UDP and TCP through the kernel's sockets; frames through packet sockets or TAP",
    .address_kinds = {Address::Kind::kIpv4, Address::Kind::kIpv6},
    .capabilities = AtItsBest(),
    .probe = &Probe,
    .open = &LinuxTransport::Open,
});

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> LinuxTransport::Open(const config::Transport& config) {
  std::unique_ptr<LinuxTransport> transport(new LinuxTransport(config));
  if (absl::Status status = transport->FindFrames(); !status.ok()) return status;
  return transport;
}

LinuxTransport::LinuxTransport(const config::Transport& config)
    : config_(config.linux()),
      buffers_(PoolOptions(config.buffers())),
      capabilities_(Offered(PayloadBytes(buffers_))),
      tap_(config.linux().tap()) {
  capabilities_.keeps_foreign_source = config_.foreign_source();
}

// What the device for frames can do, if there is one. A TAP device that is still to be made has the
// MTU that the configuration says, or the kernel's default.
absl::Status LinuxTransport::FindFrames() {
  using linux_transport::FindInterface;
  if (config_.has_packet()) {
    const auto interface = linux_transport::PacketFramePort::FindDevice(config_.packet());
    if (!interface.ok()) return interface.status();
    OfferFrames(interface->mtu, true, buffers_, &capabilities_);
  } else if (config_.has_tap()) {
    if (absl::Status status = linux_transport::TapFramePort::Probe(); !status.ok()) return status;
    const auto interface = FindInterface(config_.tap().interface());
    size_t mtu = interface.ok() ? interface->mtu : kTapMtu;
    if (config_.tap().mtu() != 0) mtu = config_.tap().mtu();
    OfferFrames(mtu, config_.tap().offload(), buffers_, &capabilities_);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<DatagramPort>> LinuxTransport::OpenDatagramPort(
    const PortOptions& options) {
  if (absl::Status status = CheckOptions(config_, options); !status.ok()) return status;
  return linux_transport::LinuxDatagramPort::Open(config_, buffers_, capabilities_, options);
}

absl::StatusOr<std::unique_ptr<StreamPort>> LinuxTransport::OpenStreamPort(
    const PortOptions& options) {
  if (absl::Status status = CheckOptions(config_, options); !status.ok()) return status;
  return linux_transport::LinuxStreamPort::Open(config_, buffers_, capabilities_, options);
}

absl::StatusOr<std::unique_ptr<FramePort>> LinuxTransport::OpenFramePort(
    const PortOptions& options) {
  if (!capabilities_.frames) {
    return absl::UnimplementedError(
        absl::StrCat("transport 'linux' has no frames without an interface for them: give it "
                     "`packet { interface: \"eth0\" }` or `tap { }`; it offers ",
                     ContractNames(capabilities_)));
  }
  if (absl::Status status = CheckQueue(options); !status.ok()) return status;
  if (options.local.kind() != Address::Kind::kNone) {
    return absl::InvalidArgumentError(absl::StrCat("frames have no address to listen at, as ",
                                                   options.local.ToString(),
                                                   ": it is the stack above them that has it"));
  }
  if (config_.has_packet()) {
    return linux_transport::PacketFramePort::Open(config_.packet(), buffers_, capabilities_,
                                                  options, &fanout_);
  }
  return linux_transport::TapFramePort::Open(&tap_, buffers_, capabilities_, options);
}

}  // namespace weft
