// SPDX-License-Identifier: Apache-2.0
//
// IP packets on their way out: to ourselves, to a neighbour that is known or has to be asked for,
// in fragments where the path demands it.
#include <cstring>
#include <utility>

#include "weft/netstack/fragmenter.h"
#include "weft/netstack/stack.h"

namespace weft::netstack {
namespace {

using Kind = Destination::Kind;

}  // namespace

IpAddress Stack::SourceOf(absl::Span<const uint8_t> packet) {
  return packet[0] >> 4 == 4 ? IpAddress::V4(packet.data() + 12) : IpAddress::V6(packet.data() + 8);
}

IpAddress Stack::DestinationOf(absl::Span<const uint8_t> packet) {
  return packet[0] >> 4 == 4 ? IpAddress::V4(packet.data() + 16)
                             : IpAddress::V6(packet.data() + 24);
}

bool Stack::HasRoute(const IpAddress& ip) const {
  if (interface_.Has(ip)) return true;
  if (!interface_.SourceFor(ip)) return false;
  return ip.is_multicast() || interface_.IsBroadcast(ip) || routes_.Lookup(ip).has_value();
}

void Stack::Output(Buffer packet) {
  const Destination& to = destinations_.Look(DestinationOf(packet.bytes()), now_ns_);
  switch (to.kind) {
    case Kind::kLocal:
      return LoopBack(std::move(packet));
    case Kind::kReady:
    case Kind::kUnresolved:
      if (packet.size() > to.mtu) return OutputFragments(std::move(packet), to);
      return OutputTo(std::move(packet), to);
    case Kind::kNoRoute:
    case Kind::kNone:
      ++stats_.no_route;
  }
}

void Stack::OutputTo(Buffer packet, const Destination& to) {
  if (to.kind == Kind::kUnresolved) {
    // The answer to an echo request may lie in memory that reassembly needs.
    if (!reassembler_.MayWait(packet)) {
      ++stats_.send_dropped;
      return;
    }
    return neighbors_.Enqueue(to.next_hop, std::move(packet), now_ns_);
  }
  if (packet.headroom() < to.ethernet_bytes) {
    ++stats_.send_dropped;
    return;
  }
  std::memcpy(packet.Prepend(to.ethernet_bytes), to.header, to.ethernet_bytes);
  SendFrame(std::move(packet));
}

void Stack::OutputFragments(Buffer packet, const Destination& to) {
  // The neighbour's queue may change the cache while the fragments are handed to it.
  const Destination fixed = to;
  const bool sent =
      FragmentPacket(std::move(packet), fixed.mtu, NextFragmentId(fixed.ip), device_->pool(),
                     [this, &fixed](Buffer fragment) { OutputTo(std::move(fragment), fixed); });
  ++(sent ? stats_.fragmented : stats_.send_dropped);
}

uint32_t Stack::NextFragmentId(const IpAddress& destination) {
  uint64_t hash = fragment_secret_;
  for (const uint64_t word : destination.words()) hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
  return fragment_ids_[hash >> 58]++;
}

void Stack::LoopBack(Buffer packet) {
  if (loopback_.size() >= kLoopbackMax) {
    ++stats_.send_dropped;
    return;
  }
  // Whoever receives it may write to it, and its sender still needs it.
  if (packet.is_shared()) {
    Buffer copy = CopyOf(device_->pool(), packet);
    packet = copy ? std::move(copy) : CopyOf(large_, packet);
    if (!packet) {
      ++stats_.send_dropped;
      return;
    }
  }
  packet.offload() = {.flags = FrameOffload::kIpChecksumGood | FrameOffload::kL4ChecksumGood};
  loopback_.push_back(std::move(packet));
}

void Stack::SendResolved(Buffer packet, const MacAddress& mac) {
  const bool v4 = packet.data()[0] >> 4 == 4;
  SendTo(std::move(packet), mac, v4 ? EtherType::kIpv4 : EtherType::kIpv6);
}

void Stack::SendTo(Buffer packet, const MacAddress& mac, EtherType type) {
  const size_t header = EthernetHeaderBytes(interface_.vlan);
  if (packet.headroom() < header) {
    ++stats_.send_dropped;
    return;
  }
  WriteEthernet(packet.Prepend(header), mac, interface_.mac, interface_.vlan, type);
  SendFrame(std::move(packet));
}

void Stack::SendFrame(Buffer frame) {
  Buffer burst[] = {std::move(frame)};
  if (device_->Send(absl::MakeSpan(burst)) == 0) ++stats_.send_dropped;
}

}  // namespace weft::netstack
