// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/linux_transport.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "weft/transports/linux/linux_datagram_port.h"
#include "weft/transports/linux/socket.h"
#include "weft/transports/registry.h"

namespace weft {
namespace {

// Of IPv4: 65535 less the headers of IPv4 and UDP. IPv6 would take 20 bytes more.
constexpr size_t kUdpPayloadMax = 65507;

Capabilities Offered(size_t buffer_payload_bytes) {
  Capabilities offered;
  offered.datagrams = true;
  offered.max_payload_bytes = std::min(kUdpPayloadMax, buffer_payload_bytes);
  offered.max_burst = 64;
  offered.can_wait = true;
  return offered;
}

BufferPoolOptions PoolOptions(const config::Buffers& config) {
  return {.count = config.count(), .bytes = config.bytes()};
}

size_t PayloadBytes(const BufferPoolOptions& buffers) { return buffers.bytes - buffers.headroom; }

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
  return linux_transport::LinuxDatagramPort::Open(config_, buffers_, capabilities_, options);
}

absl::StatusOr<std::unique_ptr<StreamPort>> LinuxTransport::OpenStreamPort(
    const PortOptions& options) {
  return Transport::OpenStreamPort(options);
}

}  // namespace weft
