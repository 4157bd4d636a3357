// SPDX-License-Identifier: Apache-2.0
//
// Opening, names, events. Sending and receiving are in udp_datapath.cc.
#include "weft/netstack/udp_port.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/netstack/wire/ipv4.h"
#include "weft/netstack/wire/ipv6.h"
#include "weft/netstack/wire/udp.h"

namespace weft::netstack {
namespace {

absl::Status CheckIp(const Address& address) {
  if (address.is_ip()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("a network stack has no ", KindName(address.kind()), " addresses such as '",
                   address.ToString(), "'; give it one like 10.0.0.2:8000 or [fd00::2]:8000"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<UdpPort>> UdpPort::Open(std::shared_ptr<Stack> stack,
                                                       const Address& local, bool shared,
                                                       const Capabilities& capabilities) {
  std::unique_ptr<UdpPort> port(new UdpPort(std::move(stack), capabilities));
  const Interface& interface = port->stack_->interface();
  PortBinding binding;  // "::", which takes IPv4 too
  if (local.kind() != Address::Kind::kNone) {
    if (absl::Status status = CheckIp(local); !status.ok()) return status;
    binding = {IpAddress::From(local), local.port()};
    const IpAddress& ip = binding.address;
    if (!ip.is_unspecified() && !ip.is_multicast() && !interface.Has(ip)) {
      return absl::InvalidArgumentError(absl::StrCat(
          ip.ToString(), " is no address of ", interface.ToString(), "; listen at one of these"));
    }
    if (!ip.is_unspecified() || ip.is_v4()) {
      port->capabilities_.max_payload_bytes =
          std::min(port->capabilities_.max_payload_bytes, port->stack_->PayloadMax(ip.is_v4()));
    }
  }
  if (binding.port == 0) {
    auto chosen = port->stack_->BindEphemeral(binding.address, shared, port.get());
    if (!chosen.ok()) return chosen.status();
    port->binding_ = *chosen;
  } else {
    if (absl::Status status = port->stack_->Bind(binding, shared, port.get()); !status.ok()) {
      return status;
    }
    port->binding_ = binding;
  }
  // A port without an address of its own is reached at the first of the interface.
  const bool anywhere = local.kind() == Address::Kind::kNone && !interface.addresses.empty();
  port->local_address_ =
      (anywhere ? interface.addresses[0].address : binding.address).ToAddress(port->binding_.port);
  auto wait_fd = port->stack_->DuplicateWaitFd();
  if (!wait_fd.ok()) return wait_fd.status();
  port->wait_fd_ = *std::move(wait_fd);
  if (binding.address.is_multicast()) {
    if (absl::Status status = port->JoinGroup(binding.address); !status.ok()) return status;
  }
  return port;
}

UdpPort::UdpPort(std::shared_ptr<Stack> stack, const Capabilities& capabilities)
    : DatagramPort(capabilities, &stack->device().pool()),
      stack_(std::move(stack)),
      queue_max_(stack_->options().receive_queue_packets) {}

UdpPort::~UdpPort() {
  stack_->CountQueued(-static_cast<ptrdiff_t>(queue_.size()));
  for (const IpAddress& group : groups_) stack_->Leave(group);
  if (binding_.port != 0) stack_->Unbind(this);
}

Address UdpPort::local_address() const { return local_address_; }

absl::StatusOr<Peer> UdpPort::Resolve(const Address& address) {
  AssertOwner();
  if (absl::Status status = CheckIp(address); !status.ok()) return status;
  const IpAddress ip = IpAddress::From(address);
  if (address.port() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot send to ", address.ToString(), ": port 0 is no port"));
  }
  if (ip.is_unspecified()) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot send to ", address.ToString(), ": it is any address"));
  }
  const IpAddress& own = binding_.address;
  if (ip.is_v4() != own.is_v4() && !(own.is_unspecified() && own.is_v6())) {
    return absl::InvalidArgumentError(absl::StrCat("cannot send to ", address.ToString(), " from ",
                                                   local_address_.ToString(),
                                                   ", which is of the other family"));
  }
  if (!stack_->HasRoute(ip)) {
    return absl::UnavailableError(absl::StrCat("no route to ", ip.ToString(), " from ",
                                               stack_->interface().ToString(),
                                               "; add one to netstack.routes"));
  }
  return PeerOf(ip, address.port());
}

absl::StatusOr<Address> UdpPort::AddressOf(const Peer& peer) const {
  const IpAddress ip = IpOf(peer);
  if (ip.is_unspecified() || peer.words[2] == 0 || peer.words[2] > UINT16_MAX) {
    return absl::NotFoundError("the peer is not one of this port's");
  }
  return ip.ToAddress(PortOf(peer));
}

size_t UdpPort::MaxPayloadTo(const Peer& peer) const {
  AssertOwner();
  const IpAddress ip = IpOf(peer);
  const Destination& to = stack_->LookAtDestination(ip);
  size_t payload;
  if (to.kind == Destination::Kind::kLocal) {  // comes back whole
    payload = stack_->PayloadMax(ip.is_v4());
  } else {
    const bool has_route = to.kind != Destination::Kind::kNoRoute;
    const size_t mtu = has_route ? to.mtu : stack_->interface().mtu;
    payload = mtu - (ip.is_v4() ? kIpv4HeaderBytes : kIpv6HeaderBytes) - kUdpHeaderBytes;
  }
  return std::min(payload, capabilities_.max_payload_bytes);
}

bool UdpPort::Arm() {
  if (!queue_.empty() || events_.KeepsAwake()) return false;
  // To a dead port nothing comes any more, and nobody should stay awake for it.
  return !status_.ok() || stack_->Arm();
}

void UdpPort::BindToThisThread() {
  Port::BindToThisThread();
  stack_->BindToThisThread();
}

absl::Status UdpPort::JoinGroup(const IpAddress& group) {
  AssertOwner();
  if (absl::Status status = stack_->Join(group); !status.ok()) return status;
  groups_.push_back(group);
  return absl::OkStatus();
}

absl::Status UdpPort::LeaveGroup(const IpAddress& group) {
  AssertOwner();
  const auto it = std::find(groups_.begin(), groups_.end(), group);
  if (it == groups_.end()) {
    return absl::NotFoundError(absl::StrCat("the port is no member of ", group.ToString()));
  }
  groups_.erase(it);
  stack_->Leave(group);
  return absl::OkStatus();
}

bool UdpPort::Queue(const Peer& peer, Buffer& payload) {
  if (queue_.size() >= std::min(queue_max_, stack_->QueueRoom())) {
    ++stats_.receive_dropped;
    return false;
  }
  queue_.push_back({peer, std::move(payload)});
  stack_->CountQueued(1);
  return true;
}

}  // namespace weft::netstack
