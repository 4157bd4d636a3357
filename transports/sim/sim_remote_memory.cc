// SPDX-License-Identifier: Apache-2.0
//
// Regions, keys and peers; what happens for each operation is in sim_memory_datapath.cc.
#include "weft/transports/sim/sim_remote_memory.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/transports/sim/sim_ports.h"

namespace weft::sim {
namespace {

constexpr size_t kPageBytes = 4096;

Peer PeerOf(NodeId node) { return {{uint64_t{node} + 1, 0, 0}}; }

}  // namespace

absl::StatusOr<std::unique_ptr<SimRemoteMemory>> SimRemoteMemory::Open(
    Network* network, const PortOptions& options, const Capabilities& capabilities,
    const BufferPoolOptions& buffers) {
  if (options.queue != 0 || options.queues != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("queue ", options.queue, " of ", options.queues,
                     ": an address of remote memory belongs to one port"));
  }
  std::unique_ptr<SimRemoteMemory> port(new SimRemoteMemory(network, capabilities, buffers));
  auto attachment = AttachPort(network, options, Channel::kMemory, port.get());
  if (!attachment.ok()) return attachment.status();
  port->attachment_ = *std::move(attachment);
  port->incarnation_ = network->NextUnique();
  for (size_t slot = kMaxOperations; slot-- > 0;) {
    port->free_slots_.push_back(static_cast<uint32_t>(slot));
  }
  return port;
}

SimRemoteMemory::~SimRemoteMemory() {
  for (auto& [node, remote] : remotes_) {
    network_->events().Cancel(remote->timer);
    network_->events().Cancel(remote->rest);
    if (remote->incarnation != 0) Send(*remote, {.kind = MemoryPacket::Kind::kBye});
  }
}

Address SimRemoteMemory::local_address() const {
  return Address::Sim(network_->NameOf(attachment_.node()));
}

absl::StatusOr<MemoryRegion> SimRemoteMemory::Allocate(size_t bytes) {
  AssertOwner();
  if (bytes == 0) return absl::InvalidArgumentError("a region has at least one byte");
  if (regions_.full()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("this port has its ", MemoryRegions::kMaxRegions,
                     " regions: deregister some, or make them larger and fewer"));
  }
  const size_t whole = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  void* const memory = bytes <= kMaxAllocation ? std::aligned_alloc(kPageBytes, whole) : nullptr;
  if (memory == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no ", bytes, " bytes of memory: a region of the simulation has at most ",
                     kMaxAllocation, ", and what the machine has free"));
  }
  std::memset(memory, 0, whole);
  auto* const begin = static_cast<uint8_t*>(memory);
  const MemoryRegion region = regions_.Add({begin, bytes});
  allocated_.emplace(region.id, std::unique_ptr<uint8_t[], void (*)(void*)>(begin, &std::free));
  return region;
}

absl::StatusOr<MemoryRegion> SimRemoteMemory::Register(absl::Span<uint8_t> memory) {
  AssertOwner();
  if (memory.empty()) return absl::InvalidArgumentError("a region has at least one byte");
  if (regions_.full()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("this port has its ", MemoryRegions::kMaxRegions,
                     " regions: deregister some, or make them larger and fewer"));
  }
  return regions_.Add(memory);
}

void SimRemoteMemory::Deregister(const MemoryRegion& region) {
  AssertOwner();
  if (!regions_.Remove(region.id)) return;
  std::erase_if(keys_, [&](const auto& entry) { return entry.second.region == region.id; });
  allocated_.erase(region.id);
}

absl::StatusOr<Peer> SimRemoteMemory::Resolve(const Address& address) {
  AssertOwner();
  const absl::StatusOr<NodeId> node = NodeAt(network_, address);
  if (!node.ok()) return node.status();
  return PeerOf(*node);
}

absl::StatusOr<Address> SimRemoteMemory::AddressOf(const Peer& peer) const {
  if (!network_->IsNode(peer.words[0] - 1)) {
    return absl::NotFoundError("the peer is not one of this port's");
  }
  return Address::Sim(network_->NameOf(static_cast<NodeId>(peer.words[0] - 1)));
}

// A key: its number, a secret, and the range.
absl::StatusOr<RemoteKey> SimRemoteMemory::Grant(const Peer& peer, const MemoryRegion& region,
                                                 size_t offset, size_t bytes, MemoryAccess access) {
  AssertOwner();
  if (!network_->IsNode(peer.words[0] - 1)) {
    return absl::NotFoundError("the peer is not one of this port's");
  }
  const MemoryRegion* known = regions_.Find(region.id);
  if (known == nullptr || bytes == 0 || !RangeFits(offset, bytes, known->bytes.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat(bytes, " bytes from ", offset, " on are not within a region of this port's",
                     known == nullptr ? "" : absl::StrCat(", which has ", known->bytes.size())));
  }
  if (keys_.size() >= kMaxKeys) {
    return absl::ResourceExhaustedError(
        absl::StrCat("this port has granted its ", kMaxKeys, " keys: revoke some"));
  }
  const auto node = static_cast<NodeId>(peer.words[0] - 1);
  Remote& remote = RemoteAt(node);
  if (remote.incarnation == 0) {
    if (remote.state == Remote::State::kIdle) Ask(remote);
    return absl::UnavailableError("there is no connection to the peer yet");
  }
  const uint64_t number = network_->NextUnique();
  const uint64_t secret = network_->random().Next();
  keys_.emplace(number, Key{node, region.id, known->bytes.subspan(offset, bytes), access, secret});
  RemoteKey key;
  const uint64_t words[5] = {number, secret, offset, bytes, static_cast<uint64_t>(access)};
  std::memcpy(key.bytes.data(), words, sizeof(words));
  return key;
}

void SimRemoteMemory::Revoke(const RemoteKey& key) {
  AssertOwner();
  uint64_t words[2];
  std::memcpy(words, key.bytes.data(), sizeof(words));
  const auto known = keys_.find(words[0]);
  if (known != keys_.end() && known->second.secret == words[1]) keys_.erase(known);
}

SimRemoteMemory::Remote& SimRemoteMemory::RemoteAt(NodeId node) {
  std::unique_ptr<Remote>& remote = remotes_[node];
  if (remote == nullptr) {
    remote = std::make_unique<Remote>();
    remote->node = node;
  }
  return *remote;
}

void SimRemoteMemory::Ask(Remote& remote) {
  remote.state = Remote::State::kAsking;
  remote.session = network_->NextUnique();
  remote.attempt = 1;
  Send(remote, {.kind = MemoryPacket::Kind::kAsk, .session = remote.session});
  StartTimer(remote);
}

// Operations end, and so do the keys that the peer was granted.
void SimRemoteMemory::Lose(Remote& remote, PortEvent::Kind kind, int error) {
  network_->events().Cancel(remote.timer);
  remote.state = Remote::State::kIdle;
  remote.session = 0;
  remote.incarnation = 0;
  remote.its_session = 0;
  std::erase_if(keys_, [&](const auto& entry) { return entry.second.node == remote.node; });
  for (const uint32_t slot : remote.under_way) Complete(slot, absl::StatusCode::kUnavailable);
  remote.under_way.clear();
  events_.Add({kind, PeerOf(remote.node), error});
}

void SimRemoteMemory::StartTimer(Remote& remote) {
  network_->events().Cancel(remote.timer);
  remote.timer = network_->events().At(network_->NowNs() + kTimeoutNs, [this, &remote] {
    Lose(remote, PortEvent::Kind::kPeerUnreachable, ETIMEDOUT);
  });
}

}  // namespace weft::sim
