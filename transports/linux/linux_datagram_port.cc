// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/linux_datagram_port.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace weft::linux_transport {
namespace {

// A coalesced message is at most this long, its first bytes in a buffer included.
constexpr size_t kTailBytes = 65536;

// What a packet of 1280 bytes carries, which every link with IPv6 takes (RFC 8200, 5), and in
// practice every other.
constexpr size_t kAnyPathPayload = 1280 - 40 - 8;

// The UDP payload of the largest packet that the kernel would send whole from `local` to `to`, by
// the route and by what errors have told it of the path; 0 when it knows no route. Only a connected
// socket says so.
size_t PathPayload(const Address& local, const Address& to) {
  const bool ipv4 = to.kind() == Address::Kind::kIpv4;
  Address from = ipv4 ? Address::Ipv4({}, 0) : Address::Ipv6({}, 0);
  if (local.kind() == to.kind()) {
    from = ipv4 ? Address::Ipv4(local.ipv4(), 0) : Address::Ipv6(local.ipv6(), 0, local.scope());
  }
  const absl::StatusOr<UniqueFd> fd = OpenBoundSocket(SOCK_DGRAM, from, false);
  if (!fd.ok()) return 0;
  const SocketAddress name = ToSocketAddress(to);
  int mtu = 0;
  socklen_t length = sizeof(mtu);
  if (connect(fd->get(), &name.any, name.length) != 0 ||
      getsockopt(fd->get(), ipv4 ? IPPROTO_IP : IPPROTO_IPV6, ipv4 ? IP_MTU : IPV6_MTU, &mtu,
                 &length) != 0) {
    return 0;
  }
  const int headers = (ipv4 ? 20 : 40) + 8;
  return mtu > headers ? static_cast<size_t>(mtu - headers) : 0;
}

// A client does not know yet whom it will talk to: [::] reaches IPv6 and IPv4, the latter at the
// same cost as an IPv4 socket.
absl::StatusOr<UniqueFd> OpenAnywhere() {
  absl::StatusOr<UniqueFd> fd = OpenBoundSocket(SOCK_DGRAM, Address::Ipv6({}, 0), false);
  return fd.ok() ? std::move(fd) : OpenBoundSocket(SOCK_DGRAM, Address::Ipv4({}, 0), false);
}

}  // namespace

absl::StatusOr<std::unique_ptr<DatagramPort>> LinuxDatagramPort::Open(
    const config::Linux& config, const BufferPoolOptions& buffers, const Capabilities& capabilities,
    const PortOptions& options) {
  absl::StatusOr<UniqueFd> fd;
  if (options.local.kind() == Address::Kind::kNone) {
    fd = OpenAnywhere();
  } else {
    fd = OpenBoundSocket(SOCK_DGRAM, options.local, options.queues > 1);
  }
  if (!fd.ok()) return fd.status();
  absl::StatusOr<SocketAddress> local = BoundAddress(*fd);
  if (!local.ok()) return local.status();
  std::unique_ptr<LinuxDatagramPort> port(
      new LinuxDatagramPort(config, buffers, capabilities, *std::move(fd), *local));
  if (config.foreign_source()) {
    auto raw = RawSender::Open(port->family_ == AF_INET6, config.send_buffer_bytes());
    if (!raw.ok()) return raw.status();
    port->raw_ = *std::move(raw);
  }
  return port;
}

LinuxDatagramPort::LinuxDatagramPort(const config::Linux& config, const BufferPoolOptions& buffers,
                                     const Capabilities& capabilities, UniqueFd fd,
                                     const SocketAddress& local)
    : DatagramPort(capabilities, buffers),
      fd_(std::move(fd)),
      family_(local.any.sa_family),
      local_address_(ToAddress(local)) {
  SetSocketOptions(config);
  BuildHeaders();
}

void LinuxDatagramPort::SetSocketOptions(const config::Linux& config) {
  SetBufferBytes(fd_, SO_RCVBUFFORCE, SO_RCVBUF, config.receive_buffer_bytes());
  SetBufferBytes(fd_, SO_SNDBUFFORCE, SO_SNDBUF, config.send_buffer_bytes());
  // Without these an unconnected socket never hears that nobody listens at a peer.
  SetOption(fd_, IPPROTO_IP, IP_RECVERR, 1);
  if (family_ == AF_INET6) SetOption(fd_, IPPROTO_IPV6, IPV6_RECVERR, 1);
  // Setting to 0 what is 0 changes nothing, and fails where the kernel does not have it.
  if (config.gso() && SetOption(fd_, IPPROTO_UDP, UDP_SEGMENT, 0))
    gso_segment_max_ = kUdpPayloadMax;
  if (config.gro() && SetOption(fd_, IPPROTO_UDP, UDP_GRO, 0)) gro_ = Gro::kOnDemand;
}

// All that stays the same from call to call.
void LinuxDatagramPort::BuildHeaders() {
  for (size_t i = 0; i < kSendMessages; ++i) {
    send_names_[i] = SocketAddress();
    send_names_[i].any.sa_family = family_;
    send_names_[i].length = family_ == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    msghdr& header = send_headers_[i].msg_hdr;
    header.msg_name = &send_names_[i].any;
    header.msg_namelen = send_names_[i].length;
    header.msg_control = gso_controls_[i].bytes;
    auto* control = reinterpret_cast<cmsghdr*>(gso_controls_[i].bytes);
    control->cmsg_level = IPPROTO_UDP;
    control->cmsg_type = UDP_SEGMENT;
    control->cmsg_len = CMSG_LEN(sizeof(uint16_t));
  }
  const bool may_coalesce = gro_ != Gro::kOff;
  if (may_coalesce) {  // the memory is not touched before it is needed
    tails_ = std::make_unique_for_overwrite<uint8_t[]>(kReceiveMessages * kTailBytes);
  }
  for (size_t i = 0; i < kReceiveMessages; ++i) {
    if (may_coalesce) receive_pieces_[i][1] = {tails_.get() + i * kTailBytes, kTailBytes};
    msghdr& header = receive_headers_[i].msg_hdr;
    header.msg_name = &receive_names_[i].any;
    header.msg_iov = receive_pieces_[i];
    header.msg_iovlen = 1;
    header.msg_control = gro_controls_[i].bytes;
    RenewHeader(i);
  }
}

absl::StatusOr<Peer> LinuxDatagramPort::Resolve(const Address& address) {
  if (absl::Status status = CheckIp(address); !status.ok()) return status;
  if (address.port() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot send to ", address.ToString(), ": port 0 is no port"));
  }
  SocketAddress name = ToSocketAddress(address);
  if (address.kind() == Address::Kind::kIpv4) {
    const sockaddr_in ipv4 = name.v4;
    name.v6 = {.sin6_family = AF_INET6,
               .sin6_port = ipv4.sin_port,
               .sin6_flowinfo = 0,
               .sin6_addr = MappedIpv4(ipv4.sin_addr),
               .sin6_scope_id = 0};
  }
  if (family_ == AF_INET && !IsMappedIpv4(name.v6.sin6_addr)) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot send to ", address.ToString(), " from ", local_address_.ToString(),
                     ", which is IPv4: open the port at [::]:", local_address_.port()));
  }
  return PeerOf(name.v6);
}

absl::StatusOr<Address> LinuxDatagramPort::AddressOf(const Peer& peer) const {
  if (!peer) return absl::NotFoundError("nobody has no address");
  SocketAddress name;
  name.v6 = NameOf(peer);
  return ToAddress(name);
}

size_t LinuxDatagramPort::MaxPayloadTo(const Peer& peer) const {
  const absl::StatusOr<Address> address = AddressOf(peer);
  const size_t known = address.ok() ? PathPayload(local_address_, *address) : 0;
  return std::min(known == 0 ? kAnyPathPayload : known, capabilities_.max_payload_bytes);
}

bool LinuxDatagramPort::Arm() {
  AssertOwner();
  // The descriptor says neither that messages are left of the last system call, nor that an error
  // was taken from the socket, nor that a full one has room again. The latter is short-lived:
  // whoever waits for it tries again in the next round.
  return receive_next_ == receive_filled_ && !events_.KeepsAwake() &&
         !std::exchange(send_blocked_, false);
}

}  // namespace weft::linux_transport
