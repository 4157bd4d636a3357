// SPDX-License-Identifier: Apache-2.0
//
// Frames as they come in, and ARP.
#include <cstring>
#include <utility>

#include "weft/netstack/stack.h"
#include "weft/netstack/wire/arp.h"

namespace weft::netstack {

void Stack::InputFrame(Buffer frame) {
  ++stats_.received;
  EthernetView ethernet;
  if (!EthernetView::Parse(frame.bytes(), &ethernet)) {
    ++stats_.malformed;
    return;
  }
  const bool to_group = ethernet.to_group();
  // A tag within a tag is a network within ours.
  if (ethernet.vlan() != interface_.vlan || ethernet.tags() > 1 ||
      (!to_group && std::memcmp(ethernet.destination(), interface_.mac.data(), 6) != 0)) {
    return Foreign(std::move(frame));
  }
  const size_t header = ethernet.header_bytes();
  switch (ethernet.type()) {
    case EtherType::kIpv4:
      frame.TrimFront(header);
      return InputIpv4(std::move(frame), {.ethernet_bytes = header, .to_group_mac = to_group});
    case EtherType::kIpv6:
      frame.TrimFront(header);
      return InputIpv6(std::move(frame), {.ethernet_bytes = header, .to_group_mac = to_group});
    case EtherType::kArp: {
      const absl::Span<const uint8_t> bytes = frame.bytes().subspan(header);
      InputArp(bytes, /*from_sibling=*/false);
      Arp arp;
      // The kernel behind the exception path asks and answers for addresses of its own.
      if (exception_ != nullptr && Arp::Parse(bytes, &arp) && !interface_.Has(arp.target)) {
        Foreign(std::move(frame));
      }
      return;
    }
    default:
      return Foreign(std::move(frame));
  }
}

void Stack::InputArp(absl::Span<const uint8_t> bytes, bool from_sibling) {
  Arp arp;
  if (!Arp::Parse(bytes, &arp)) {
    ++stats_.malformed;
    return;
  }
  if (interface_.Has(arp.sender)) {
    // What we have sent ourselves comes back from some switches.
    if (arp.sender_mac != interface_.mac) ++stats_.address_conflicts;
    return;
  }
  // A probe (RFC 5227) has no sender to learn, and is answered nevertheless.
  const bool has_sender = !arp.sender.is_unspecified();
  const bool for_us = interface_.Has(arp.target);
  const bool gratuitous = has_sender && arp.sender == arp.target;
  if (!for_us && !gratuitous) return;
  if ((has_sender && !routes_.IsConnected(arp.sender)) || IsGroup(arp.sender_mac)) {
    ++stats_.bad_source;
    return;
  }
  if (arp.operation == Arp::Operation::kRequest && for_us) {
    if (has_sender) neighbors_.OnRequest(arp.sender, arp.sender_mac, now_ns_);
    if (!from_sibling) ReplyToArp(arp.target, arp.sender, arp.sender_mac);
    return;
  }
  if (!has_sender) return;
  // The one who asked may be another worker.
  if (!from_sibling) HandToAll(bytes);
  neighbors_.OnAnswer(arp.sender, arp.sender_mac, /*solicited=*/!gratuitous, /*override=*/true,
                      now_ns_);
}

void Stack::ReplyToArp(const IpAddress& target, const IpAddress& asker, const MacAddress& mac) {
  Buffer reply = Allocate();
  if (!reply) {
    ++stats_.send_dropped;
    return;
  }
  Arp{.operation = Arp::Operation::kReply,
      .sender_mac = interface_.mac,
      .sender = target,
      .target_mac = mac,
      .target = asker}
      .Write(reply.Append(kArpBytes));
  SendTo(std::move(reply), mac, EtherType::kArp);
}

void Stack::Foreign(Buffer frame) {
  if (exception_ == nullptr) {
    ++stats_.not_for_us;
    return;
  }
  Buffer burst[] = {std::move(frame)};
  if (exception_->Send(absl::MakeSpan(burst)) == 1) {
    ++stats_.exception_received;
  } else {
    ++stats_.exception_dropped;
  }
}

void Stack::ShareWithKernel(Buffer packet, size_t ethernet_bytes) {
  if (exception_ != nullptr) ForeignPacket(std::move(packet), ethernet_bytes);
}

void Stack::ForeignPacket(Buffer packet, size_t ethernet_bytes) {
  if (exception_ == nullptr || ethernet_bytes == 0) {
    ++stats_.not_for_us;
    return;
  }
  packet.Prepend(ethernet_bytes);
  Foreign(std::move(packet));
}

}  // namespace weft::netstack
