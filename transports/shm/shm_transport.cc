// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/shm/shm_transport.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/transports/registry.h"
#include "weft/transports/shm/barrier.h"
#include "weft/transports/shm/record_ring.h"
#include "weft/transports/shm/shm_datagram_port.h"
#include "weft/transports/shm/shm_remote_memory.h"
#include "weft/transports/shm/shm_stream_port.h"

namespace weft::shm {
namespace {

Capabilities Offered() {
  Capabilities capabilities;
  capabilities.datagrams = true;
  capabilities.streams = true;
  capabilities.remote_memory = true;
  capabilities.reliable = true;
  capabilities.ordered = true;
  // Small, so that the other side works on the first messages of a burst while this one makes the
  // rest.
  capabilities.max_burst = 16;
  capabilities.gather = true;
  capabilities.can_wait = true;
  capabilities.max_payload_bytes = config::Shm().max_message_bytes();
  capabilities.max_operation_bytes = ShmRemoteMemory::kMaxOperationBytes;
  capabilities.atomic_with_processor = true;
  return capabilities;
}

absl::Status Probe() {
  const UniqueFd memfd(memfd_create("weft-probe", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (memfd) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, "memfd_create does not work here");
}

absl::Status CheckOptions(const PortOptions& options) {
  if (options.local.kind() != Address::Kind::kNone && options.local.kind() != Address::Kind::kShm) {
    return absl::InvalidArgumentError(absl::StrCat(
        options.local.ToString(), " is not an address of shared memory: those look like shm:NAME"));
  }
  if (options.queue < 0 || options.queue >= options.queues) {
    return absl::InvalidArgumentError(
        absl::StrCat("queue ", options.queue, " of ", options.queues, " does not exist"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Transport>> OpenTransport(const config::Transport& config) {
  return ShmTransport::Open(config);
}

const TransportRegistrar kRegistrar({.name = "shm",
                                     .summary = "shared memory between processes of one machine",
                                     .address_kinds = {Address::Kind::kShm},
                                     .capabilities = Offered(),
                                     .probe = &Probe,
                                     .open = &OpenTransport});

}  // namespace

absl::StatusOr<std::unique_ptr<ShmTransport>> ShmTransport::Open(const config::Transport& config) {
  const config::Shm& shm = config.shm();
  absl::StatusOr<Directory> directory = Directory::FromConfig(shm);
  if (!directory.ok()) return directory.status();
  if (!std::has_single_bit(shm.ring_bytes()) || shm.ring_bytes() < kMinRingBytes ||
      shm.ring_bytes() > kMaxRingBytes) {
    return absl::InvalidArgumentError(absl::StrCat("transport.shm.ring_bytes is ", shm.ring_bytes(),
                                                   ": it must be a power of two from ",
                                                   kMinRingBytes, " to ", kMaxRingBytes));
  }
  Settings settings = {
      .directory = *std::move(directory),
      .capabilities = Offered(),
      .buffers = {.count = config.buffers().count(), .bytes = config.buffers().bytes()},
      .ring_bytes = shm.ring_bytes(),
      .max_peers = shm.max_peers()};
  settings.capabilities.max_payload_bytes =
      std::min({size_t{shm.max_message_bytes()}, size_t{MaxRecordPayload(shm.ring_bytes())},
                settings.buffers.bytes - settings.buffers.headroom});
  return std::unique_ptr<ShmTransport>(new ShmTransport(std::move(settings)));
}

absl::StatusOr<std::shared_ptr<Listener>> ShmTransport::Listen(const std::string& name,
                                                               Contract contract, int backlog,
                                                               int queue, int queues) {
  std::lock_guard lock(mutex_);
  std::erase_if(listeners_, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<Listener>& known = listeners_[settings_.directory.SocketPath(name, contract)];
  std::shared_ptr<Listener> listener = known.lock();
  if (listener == nullptr) {
    absl::StatusOr<std::shared_ptr<Listener>> opened =
        Listener::Open(settings_.directory, name, contract, backlog, queues);
    if (!opened.ok()) return opened.status();
    listener = *std::move(opened);
    known = listener;
  }
  if (listener->queues() != queues || !listener->TakeQueue(queue)) {
    return absl::AlreadyExistsError(absl::StrCat(
        "queue ", queue, " of ", queues, " of shm:", name,
        " is in use in this process: each port takes a queue of its own, of the same number"));
  }
  return listener;
}

absl::StatusOr<std::unique_ptr<DatagramPort>> ShmTransport::OpenDatagramPort(
    const PortOptions& options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  return ShmDatagramPort::Open(this, settings_, options);
}

absl::StatusOr<std::unique_ptr<StreamPort>> ShmTransport::OpenStreamPort(
    const PortOptions& options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  return ShmStreamPort::Open(this, settings_, options);
}

absl::StatusOr<std::unique_ptr<RemoteMemory>> ShmTransport::OpenRemoteMemory(
    const PortOptions& options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  return ShmRemoteMemory::Open(this, settings_, options);
}

}  // namespace weft::shm
