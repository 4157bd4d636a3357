// SPDX-License-Identifier: Apache-2.0
//
// UDP datagrams as they come in, and what is handed from worker to worker.
#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/netstack/stack.h"
#include "weft/netstack/udp_port.h"
#include "weft/netstack/wire/checksum.h"
#include "weft/netstack/wire/udp.h"

namespace weft::netstack {

void Stack::InputUdp(Buffer packet, size_t udp_offset, const IpAddress& source,
                     const IpAddress& destination, Cast cast, const From& from) {
  UdpView udp;
  if (!UdpView::Parse(packet.bytes().subspan(udp_offset), &udp)) {
    ++stats_.malformed;
    return;
  }
  const size_t length = udp.length_bytes();
  const bool v4 = source.is_v4();
  if (udp.checksum() == 0) {
    if (!v4) {  // RFC 8200, 8.1
      ++stats_.bad_checksum;
      return;
    }
  } else if ((packet.offload().flags & FrameOffload::kL4ChecksumGood) == 0 &&
             options_.udp_checksum) {
    const uint64_t sum =
        PseudoHeaderSum(source, destination, static_cast<uint8_t>(IpProtocol::kUdp), length);
    if (FinishChecksum(AddToChecksum(sum, {packet.data() + udp_offset, length})) != 0) {
      ++stats_.bad_checksum;
      return;
    }
  }
  UdpPort* const port = udp_.Find(destination, udp.destination_port());
  const uint16_t source_port = udp.source_port();
  if (port == nullptr) [[unlikely]] {
    if (!from.sibling && HandOver(destination, udp.destination_port(), packet)) return;
    ++stats_.no_port;
    if (cast != Cast::kUnicast) return ShareWithKernel(std::move(packet), from.ethernet_bytes);
    return SendError(packet.bytes(), cast, kIcmpPortUnreachable, kIcmpv6PortUnreachable);
  }
  // Nobody to answer to (RFC 768; RFC 1122, 3.2.1.3).
  if (source_port == 0 || source.is_unspecified()) {
    ++stats_.bad_source;
    return;
  }
  const Peer peer = UdpPort::PeerOf(source, source_port);
  if (options_.receive_packet_steering && !from.sibling && Steer(peer, port->binding(), packet)) {
    return;
  }
  // For Forward(), which finds the headers so.
  packet.offload() = {
      .flags = static_cast<uint16_t>((packet.offload().flags & FrameOffload::kL4ChecksumGood) |
                                     FrameOffload::kHeadersInFront),
      .l3_bytes = static_cast<uint16_t>(udp_offset)};
  packet.TrimFront(udp_offset + kUdpHeaderBytes);
  packet.TrimBack(packet.size() - (length - kUdpHeaderBytes));
  if (!Deliver(port, peer, std::move(packet))) ++stats_.queue_full;
}

bool Stack::Deliver(UdpPort* port, const Peer& peer, Buffer payload) {
  if (port == direct_port_ && direct_count_ < direct_.size()) [[likely]] {
    port->CountReceived(payload.size());
    Datagram& out = direct_[direct_count_++];
    out.peer = peer;
    out.tail = {};
    out.buffer = std::move(payload);
    return true;
  }
  return reassembler_.MayWait(payload) && port->Queue(peer, payload);
}

void Stack::PushTo(int worker, Buffer& packet) {
  if (world_.siblings->Push(world_.queue, worker, packet)) {
    ++stats_.handed_over;
  } else {
    ++stats_.hand_over_full;
  }
}

bool Stack::Steer(const Peer& from, const PortBinding& binding, Buffer& packet) {
  if (world_.siblings->count() == 1) return false;
  const auto takes = [&binding](const PortDirectory::Owner& owner) {
    return owner.shared && owner.binding == binding;
  };
  const std::vector<PortDirectory::Owner>& owners = udp_owners_.Get();
  const auto workers = static_cast<uint64_t>(std::count_if(owners.begin(), owners.end(), takes));
  if (workers < 2) return false;
  // Everything of one peer to one worker, as a device's hash of the flow has it.
  uint64_t hash = 0;
  for (const uint64_t word : from.words) hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
  uint64_t nth = (hash >> 32) % workers;
  for (const PortDirectory::Owner& owner : owners) {
    if (!takes(owner) || nth-- > 0) continue;
    if (owner.queue == world_.queue) return false;
    PushTo(owner.queue, packet);
    return true;
  }
  return false;
}

bool Stack::HandOver(const IpAddress& destination, uint16_t port, Buffer& packet) {
  if (world_.siblings->count() == 1) return false;
  const PortDirectory::Owner* best = nullptr;
  for (const PortDirectory::Owner& owner : udp_owners_.Get()) {
    if (owner.binding.port != port || owner.queue == world_.queue) continue;
    if (!owner.binding.Takes(destination)) continue;
    best = &owner;
    if (owner.binding.address == destination) break;
  }
  if (best == nullptr) return false;
  PushTo(best->queue, packet);
  return true;
}

// Copies: such packets are few, and each worker has to see them.
void Stack::HandToAll(absl::Span<const uint8_t> packet) {
  Siblings& siblings = *world_.siblings;
  for (int to = 0; to < siblings.count(); ++to) {
    if (to == world_.queue || !siblings.IsHere(to)) continue;
    Buffer copy = Allocate();
    if (!copy || copy.tailroom() < packet.size()) {
      ++stats_.hand_over_full;
      continue;
    }
    std::memcpy(copy.Append(packet.size()), packet.data(), packet.size());
    if (siblings.Push(world_.queue, to, copy)) {
      ++stats_.handed_over;
    } else {
      ++stats_.hand_over_full;
    }
  }
}

absl::Status Stack::CheckPortsMax() const {
  if (udp_.size() < UdpTable::kPortsMax) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("all ", UdpTable::kPortsMax, " ports of ",
                                                   interface_.name, " are open; close one first"));
}

absl::Status Stack::Bind(const PortBinding& binding, bool shared, UdpPort* port) {
  if (absl::Status status = CheckPortsMax(); !status.ok()) return status;
  const PortDirectory::Owner owner = {.binding = binding, .queue = world_.queue, .shared = shared};
  if (absl::Status status = world_.siblings->udp().Add(owner); !status.ok()) return status;
  udp_.Add(binding, port);
  return absl::OkStatus();
}

absl::StatusOr<PortBinding> Stack::BindEphemeral(const IpAddress& address, bool shared,
                                                 UdpPort* port) {
  if (absl::Status status = CheckPortsMax(); !status.ok()) return status;
  const uint32_t first = options_.ephemeral_port_min;
  const uint32_t count = options_.ephemeral_port_max - first + 1u;
  const uint32_t start = static_cast<uint32_t>(prng_.Next() % count);
  for (uint32_t i = 0; i < count; ++i) {
    const PortBinding binding = {address, static_cast<uint16_t>(first + (start + i) % count)};
    if (udp_.Has(binding.port)) continue;
    const PortDirectory::Owner owner = {binding, world_.queue, shared};
    if (!world_.siblings->udp().Add(owner, /*first=*/true).ok()) continue;
    udp_.Add(binding, port);
    return binding;
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("no UDP port between ", first, " and ", options_.ephemeral_port_max,
                   " is free; widen netstack.ephemeral_port_min and _max"));
}

void Stack::Unbind(UdpPort* port) {
  if (direct_port_ == port) direct_port_ = nullptr;
  udp_.Remove(port);
  world_.siblings->udp().Remove({.binding = port->binding(), .queue = world_.queue});
}

}  // namespace weft::netstack
