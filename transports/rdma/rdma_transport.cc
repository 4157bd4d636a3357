// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/rdma/rdma_transport.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/transports/rdma/rdma_remote_memory.h"

namespace weft::rdma {
namespace {

Capabilities Offered(const RdmaWorld& world, const config::Rdma& settings) {
  Capabilities offered;
  offered.datagrams = true;
  offered.max_payload_bytes = world.path_mtu_bytes - kHeaderBytes;
  offered.headroom_bytes = kHeaderBytes;
  offered.max_burst = RdmaDatagramPort::kMaxBurst;
  offered.can_wait = world.time == nullptr;
  offered.virtual_time = world.time != nullptr;
  if (world.memory_windows) {
    if (settings.bulk_count() > 0) {
      offered.bulk_min_bytes = settings.bulk_min_bytes() > 0 ? settings.bulk_min_bytes()
                               : world.is_software           ? BulkPath::kSoftwareMinBytes
                                                             : BulkPath::kDeviceMinBytes;
    }
    offered.remote_memory = true;
    offered.max_operation_bytes = RdmaRemoteMemory::kMaxOperationBytes;
    offered.registers_any_memory = true;
    offered.atomic_with_processor = world.atomic_with_processor;
  }
  return offered;
}

BufferPoolOptions BuffersOf(const config::Transport& config) {
  return {.count = config.buffers().count(), .bytes = config.buffers().bytes()};
}

// Pools take memory as it is used, so that one that nobody uses costs nothing.
size_t BytesOf(const BufferPoolOptions& options) { return BufferPool(options).region().size(); }

}  // namespace

size_t LockedBytesOfPort(const config::Transport& config, size_t path_mtu_bytes) {
  const config::Rdma& settings = config.rdma();
  size_t bytes = BytesOf(RdmaDatagramPort::PoolOptions(BuffersOf(config), path_mtu_bytes));
  if (settings.bulk_count() > 0) {
    bytes += BytesOf(BulkPath::PoolOptions(
        {.count = settings.bulk_count(), .max_bytes = settings.bulk_bytes()}));
  }
  return bytes;
}

std::unique_ptr<RdmaTransport> RdmaTransport::Over(RdmaWorld world,
                                                   const config::Transport& config) {
  return std::unique_ptr<RdmaTransport>(new RdmaTransport(std::move(world), config));
}

RdmaTransport::RdmaTransport(RdmaWorld world, const config::Transport& config)
    : world_(std::move(world)),
      settings_(config.rdma()),
      buffers_(BuffersOf(config)),
      capabilities_(Offered(world_, settings_)) {}

absl::Status RdmaTransport::Check(const PortOptions& options) const {
  const Address::Kind kind = options.local.kind();
  if (kind != Address::Kind::kNone &&
      std::find(world_.address_kinds.begin(), world_.address_kinds.end(), kind) ==
          world_.address_kinds.end()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a port of RDMA has no ", KindName(kind), " address such as '", options.local.ToString(),
        "'; give it that of a device and a UDP port, as in ", "10.0.0.1:8000"));
  }
  if (options.queues < 1 || options.queues > kMaxQueues || options.queue < 0 ||
      options.queue >= options.queues) {
    return absl::InvalidArgumentError(absl::StrCat("queue ", options.queue, " of ", options.queues,
                                                   " does not exist; up to ", kMaxQueues,
                                                   " ports can share an address"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<DatagramPort>> RdmaTransport::OpenDatagramPort(
    const PortOptions& options) {
  if (absl::Status status = Check(options); !status.ok()) return status;
  absl::StatusOr<Address> local = world_.choose_address(options.local);
  if (!local.ok()) return local.status();
  RdmaPortParts parts;
  // First, as it says which addresses there are.
  auto nic = world_.open_nic(*local);
  if (!nic.ok()) return nic.status();
  parts.nic = *std::move(nic);
  auto rendezvous =
      world_.open_rendezvous({.local = *local, .queue = options.queue, .queues = options.queues});
  if (!rendezvous.ok()) return rendezvous.status();
  parts.rendezvous = *std::move(rendezvous);
  if (options.queues > 1) {
    // Of the same IP address, any port.
    Address own;
    if (local->kind() == Address::Kind::kIpv4) own = Address::Ipv4(local->ipv4(), 0);
    if (local->kind() == Address::Kind::kIpv6) {
      own = Address::Ipv6(local->ipv6(), 0, local->scope());
    }
    auto asking = world_.open_rendezvous({.local = own});
    if (!asking.ok()) return asking.status();
    parts.asking = *std::move(asking);
  }
  parts.incarnation = std::max<uint64_t>(world_.random(), 1);
  parts.worker = static_cast<uint8_t>(options.queue);
  parts.clock = world_.clock;
  parts.time = world_.time;
  return RdmaDatagramPort::Open(settings_, buffers_, capabilities_, std::move(parts));
}

absl::StatusOr<std::unique_ptr<RemoteMemory>> RdmaTransport::OpenRemoteMemory(
    const PortOptions& options) {
  if (!capabilities_.remote_memory) return Transport::OpenRemoteMemory(options);
  if (absl::Status status = Check(options); !status.ok()) return status;
  if (options.queues != 1) {
    return absl::InvalidArgumentError("an address is that of one port of remote memory");
  }
  absl::StatusOr<Address> local = world_.choose_address(options.local);
  if (!local.ok()) return local.status();
  auto nic = world_.open_nic(*local);
  if (!nic.ok()) return nic.status();
  auto rendezvous = world_.open_rendezvous({.local = *local});
  if (!rendezvous.ok()) return rendezvous.status();
  RdmaRemoteMemory::Options opened;
  opened.clock = world_.clock;
  opened.virtual_time = world_.time;
  opened.incarnation = std::max<uint64_t>(world_.random(), 1);
  opened.connect_timeout_ns = int64_t{settings_.connect_timeout_ms()} * 1'000'000;
  // A simulation ends when nothing is left to happen.
  if (world_.time != nullptr) opened.keepalive_ns = RcConnections::kNever;
  opened.max_peers = settings_.max_peers();
  opened.buffers = buffers_;
  auto memory =
      RdmaRemoteMemory::Open(*std::move(nic), *std::move(rendezvous), capabilities_, opened);
  if (!memory.ok()) return memory.status();
  return *std::move(memory);
}

}  // namespace weft::rdma
