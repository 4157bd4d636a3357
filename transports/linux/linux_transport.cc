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

Capabilities Offered(size_t buffer_payload_bytes) {
  Capabilities offered;
  offered.datagrams = true;
  offered.streams = true;
  offered.max_payload_bytes = std::min(kUdpPayloadMax, buffer_payload_bytes);
  offered.max_burst = 64;
  offered.can_wait = true;
  return offered;
}

BufferPoolOptions PoolOptions(const config::Buffers& config) {
  return {.count = config.count(), .bytes = config.bytes()};
}

size_t PayloadBytes(const BufferPoolOptions& buffers) { return buffers.bytes - buffers.headroom; }

absl::Status CheckOptions(const config::Linux& config, const PortOptions& options) {
  if (options.queues < 1 || options.queue < 0 || options.queue >= options.queues) {
    return absl::InvalidArgumentError(
        absl::StrCat("queue ", options.queue, " of ", options.queues, " does not exist"));
  }
  if (options.queues > 1 && !config.reuse_port()) {
    return absl::InvalidArgumentError(
        "several workers need `reuse_port: true` in the settings of transport 'linux'");
  }
  return options.local.kind() == Address::Kind::kNone ? absl::OkStatus()
                                                      : linux_transport::CheckIp(options.local);
}

absl::Status Probe() {
  if (UniqueFd(socket(AF_INET, SOCK_DGRAM, 0))) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot open a UDP socket: ", std::strerror(errno)));
}

const TransportRegistrar registrar(TransportPlugin{
    .name = "linux",
    .summary = "UDP and TCP through the kernel's sockets",
    .address_kinds = {Address::Kind::kIpv4, Address::Kind::kIpv6},
    .capabilities = Offered(kUdpPayloadMax),
    .probe = &Probe,
    .open = &LinuxTransport::Open,
});

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> LinuxTransport::Open(const config::Transport& config) {
  return std::unique_ptr<Transport>(new LinuxTransport(config));
}

LinuxTransport::LinuxTransport(const config::Transport& config)
    : config_(config.linux()),
      buffers_(PoolOptions(config.buffers())),
      capabilities_(Offered(PayloadBytes(buffers_))) {}

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

}  // namespace weft
