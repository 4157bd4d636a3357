// SPDX-License-Identifier: Apache-2.0
//
// The plugin: devices of this machine, and kernel UDP for the rendezvous.
#include <sys/random.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/transports/rdma/bulk_path.h"
#include "weft/transports/rdma/device.h"
#include "weft/transports/rdma/rdma_remote_memory.h"
#include "weft/transports/rdma/rdma_transport.h"
#include "weft/transports/rdma/verbs_nic.h"
#include "weft/transports/registry.h"

namespace weft::rdma {
namespace {

constexpr size_t kLargestMtu = 4096;

Capabilities AtItsBest() {
  Capabilities offered;
  offered.datagrams = true;
  offered.max_payload_bytes = kLargestMtu - kHeaderBytes;
  offered.headroom_bytes = kHeaderBytes;
  offered.max_burst = RdmaDatagramPort::kMaxBurst;
  offered.can_wait = true;
  offered.bulk_min_bytes = BulkPath::kDeviceMinBytes;
  offered.remote_memory = true;
  offered.max_operation_bytes = RdmaRemoteMemory::kMaxOperationBytes;
  offered.registers_any_memory = true;
  return offered;
}

// The IP address that a GID is, with that port.
absl::StatusOr<Address> AddressOfGid(const GidEntry& entry, uint16_t port) {
  if (IsIpv4(entry.gid)) {
    Address::Ipv4Bytes ip;
    std::copy(entry.gid.bytes.end() - 4, entry.gid.bytes.end(), ip.begin());
    return Address::Ipv4(ip, port);
  }
  if (entry.type == GidType::kInfiniBand) {
    return absl::InvalidArgumentError(
        "over InfiniBand, a port needs an IP address of the machine to be found at: "
        "give one in full, as in 10.0.0.1:8000");
  }
  const bool link_local = entry.gid.bytes[0] == 0xfe && (entry.gid.bytes[1] & 0xc0) == 0x80;
  return Address::Ipv6(entry.gid.bytes, port, link_local ? entry.interface_index : 0);
}

absl::StatusOr<Address> CompleteAddress(const config::Rdma& settings, const Address& wanted) {
  if (wanted.is_ip() && !wanted.is_any()) return wanted;
  const auto devices = ListDevices();
  if (!devices.ok()) return devices.status();
  const auto choice = ChoosePort(*devices, settings, Address());
  if (!choice.ok()) return choice.status();
  return AddressOfGid(choice->gid, wanted.port());
}

// Of ports that could be meant, the least: a program may open several.
absl::Status Survey(const config::Rdma& settings, RdmaWorld* world) {
  const auto devices = ListDevices();
  if (!devices.ok()) return devices.status();
  world->path_mtu_bytes = kLargestMtu;
  // Every device that is made today, and Soft-RoCE. One without them refuses to open remote memory,
  // and its datagram ports have no way for long messages.
  world->memory_windows = true;
  world->is_software = true;
  size_t ports = 0;
  for (const DeviceInfo& device : *devices) {
    if (!settings.device().empty() && device.name != settings.device()) continue;
    for (const PortInfo& port : device.ports) {
      if (settings.port() != 0 && port.number != settings.port()) continue;
      if (port.state != PortInfo::State::kActive || port.mtu_bytes == 0) continue;
      world->path_mtu_bytes = std::min(world->path_mtu_bytes, port.mtu_bytes);
      world->is_software &= device.is_software;
      ++ports;
    }
  }
  if (ports > 0) return absl::OkStatus();
  // Says what is wrong.
  const auto choice = ChoosePort(*devices, settings, Address());
  return choice.ok() ? absl::UnavailableError("no port of an RDMA device is up") : choice.status();
}

uint64_t Random() {
  uint64_t number = 0;
  while (getrandom(&number, sizeof(number), 0) != sizeof(number)) {
  }
  return number;
}

absl::StatusOr<std::shared_ptr<Transport>> OpenKernelUdp(bool shared) {
  config::Transport config;
  config.set_name("linux");
  config.mutable_linux()->set_reuse_port(shared);
  config.mutable_buffers()->set_count(512);
  auto transport = OpenPlainTransport(config);
  if (!transport.ok()) return transport.status();
  return std::shared_ptr<Transport>(*std::move(transport));
}

const TransportRegistrar registrar(TransportPlugin{
    .name = "rdma",
    .summary = "InfiniBand verbs: InfiniBand and RoCE devices, Soft-RoCE",
    .address_kinds = {Address::Kind::kIpv4, Address::Kind::kIpv6},
    .capabilities = AtItsBest(),
    .probe = &ProbeDevices,
    .open = &RdmaTransport::Open,
});

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> RdmaTransport::Open(const config::Transport& config) {
  const config::Rdma settings = config.rdma();
  RdmaWorld world;
  if (absl::Status status = Survey(settings, &world); !status.ok()) return status;
  const auto udp = OpenKernelUdp(false);
  if (!udp.ok()) return udp.status();
  const auto shared_udp = OpenKernelUdp(true);
  if (!shared_udp.ok()) return shared_udp.status();
  world.address_kinds = {Address::Kind::kIpv4, Address::Kind::kIpv6};
  world.choose_address = [settings](const Address& wanted) {
    return CompleteAddress(settings, wanted);
  };
  world.open_nic = [settings](const Address& local) -> absl::StatusOr<std::shared_ptr<Nic>> {
    auto nic = OpenNic(settings, local);
    if (!nic.ok()) return nic.status();
    return std::shared_ptr<Nic>(*std::move(nic));
  };
  world.open_rendezvous = [udp = *udp, shared = *shared_udp](const PortOptions& options) {
    return (options.queues > 1 ? shared : udp)->OpenDatagramPort(options);
  };
  world.random = &Random;
  world.clock = &RealClock();
  return Over(std::move(world), config);
}

}  // namespace weft::rdma
