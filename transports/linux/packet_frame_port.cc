// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/packet_frame_port.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace weft::linux_transport {
namespace {

constexpr char kCapability[] = "cap_net_raw";
constexpr int kJoinedBytesQueued = 16 << 20;

bool Set(const UniqueFd& fd, int option, int value) {
  return setsockopt(fd.get(), SOL_PACKET, option, &value, sizeof(value)) == 0;
}

sockaddr_ll Name(int interface_index, uint16_t protocol) {
  sockaddr_ll name = {};
  name.sll_family = AF_PACKET;
  name.sll_protocol = htons(protocol);
  name.sll_ifindex = interface_index;
  return name;
}

bool Bind(const UniqueFd& fd, int interface_index, uint16_t protocol) {
  const sockaddr_ll name = Name(interface_index, protocol);
  return bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0;
}

bool SetMembership(const UniqueFd& fd, int option, int interface_index, uint16_t type,
                   const MacAddress& group = {}) {
  packet_mreq request = {};
  request.mr_ifindex = interface_index;
  request.mr_type = type;
  request.mr_alen = static_cast<uint16_t>(group.size());
  std::copy(group.begin(), group.end(), request.mr_address);
  return setsockopt(fd.get(), SOL_PACKET, option, &request, sizeof(request)) == 0;
}

// What this machine sends itself is never received; what is for other stations, which devices and
// switches let through now and then, only on request.
bool Filter(const UniqueFd& fd, bool promiscuous) {
  const unsigned unwanted = promiscuous ? PACKET_OUTGOING : PACKET_OTHERHOST;
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, static_cast<unsigned>(SKF_AD_OFF + SKF_AD_PKTTYPE)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, unwanted, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  const sock_fprog program = {static_cast<unsigned short>(std::size(code)), code};
  return setsockopt(fd.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0;
}

int FanoutType(config::Packet::Fanout mode) {
  switch (mode) {
    case config::Packet::QUEUE_MAPPING:
      return PACKET_FANOUT_QM;
    case config::Packet::CPU:
      return PACKET_FANOUT_CPU;
    case config::Packet::HASH:
      break;
  }
  return PACKET_FANOUT_HASH;
}

// What the device itself sends and receives; what the kernel has joined is longer.
size_t SlotBytes(const Interface& interface, const BufferPoolOptions& buffers) {
  constexpr size_t kEthernetAndTagBytes = 18;
  return std::min<size_t>(buffers.bytes - buffers.headroom,
                          size_t{interface.mtu} + kEthernetAndTagBytes);
}

absl::StatusOr<UniqueFd> OpenSocket(const std::string& interface) {
  // Of no protocol: it receives nothing before it is bound.
  UniqueFd fd(socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd) return fd;
  return DeviceError(errno, absl::StrCat("open a packet socket on '", interface, "'"), kCapability);
}

}  // namespace

absl::Status PacketFanout::Join(const UniqueFd& socket, config::Packet::Fanout mode) {
  const std::lock_guard<std::mutex> lock(mutex_);
  // For the first, the kernel finds a number that nobody has, in this program or in another.
  const int type = FanoutType(mode) | (members_ == 0 ? PACKET_FANOUT_FLAG_UNIQUEID : 0);
  const int id = members_ == 0 ? 0 : id_;
  if (!Set(socket, PACKET_FANOUT, id | type << 16)) {
    return DeviceError(errno, "share what arrives among several queues (PACKET_FANOUT)",
                       kCapability);
  }
  if (members_ == 0) {
    int value = 0;
    socklen_t size = sizeof(value);
    if (getsockopt(socket.get(), SOL_PACKET, PACKET_FANOUT, &value, &size) != 0) {
      return DeviceError(errno, "ask for PACKET_FANOUT", "");
    }
    id_ = value & 0xffff;
  }
  ++members_;
  return absl::OkStatus();
}

void PacketFanout::Leave() {
  const std::lock_guard<std::mutex> lock(mutex_);
  --members_;
}

absl::StatusOr<Interface> PacketFramePort::FindDevice(const config::Packet& config) {
  absl::StatusOr<Interface> interface = FindInterface(config.interface());
  if (!interface.ok()) return interface;
  if (!interface->ethernet) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", config.interface(), "' is no Ethernet device: it has no frames"));
  }
  return interface;
}

absl::StatusOr<std::unique_ptr<FramePort>> PacketFramePort::Open(const config::Packet& config,
                                                                 const BufferPoolOptions& buffers,
                                                                 const Capabilities& capabilities,
                                                                 const PortOptions& options,
                                                                 PacketFanout* fanout) {
  const absl::StatusOr<Interface> interface = FindDevice(config);
  if (!interface.ok()) return interface.status();
  if (!interface->up) {
    return absl::FailedPreconditionError(absl::StrCat(
        "'", interface->name, "' is down; `ip link set ", interface->name, " up` brings it up"));
  }
  Sockets sockets;
  for (UniqueFd* const fd : {&sockets.receive, &sockets.send}) {
    absl::StatusOr<UniqueFd> opened = OpenSocket(interface->name);
    if (!opened.ok()) return opened.status();
    *fd = *std::move(opened);
  }
  absl::StatusOr<PacketRing> ring =
      PacketRing::Make(sockets.receive, {.bytes = config.ring_bytes(),
                                         .frame_bytes = SlotBytes(*interface, buffers),
                                         .block_timeout_ms = config.block_timeout_ms()});
  if (!ring.ok()) return ring.status();
  if (!Filter(sockets.receive, config.promiscuous()) || !Set(sockets.send, PACKET_VNET_HDR, 1)) {
    return DeviceError(errno, absl::StrCat("set up '", interface->name, "'"), kCapability);
  }
  // Better performance only; kernels may not have them.
  Set(sockets.receive, PACKET_IGNORE_OUTGOING, 1);
  Set(sockets.send, PACKET_QDISC_BYPASS, 1);
  if (!Bind(sockets.send, interface->index, 0) ||
      !Bind(sockets.receive, interface->index, ETH_P_ALL) ||
      !SetMembership(sockets.receive, PACKET_ADD_MEMBERSHIP, interface->index,
                     PACKET_MR_ALLMULTI) ||
      (config.promiscuous() && !SetMembership(sockets.receive, PACKET_ADD_MEMBERSHIP,
                                              interface->index, PACKET_MR_PROMISC))) {
    return DeviceError(errno, absl::StrCat("use '", interface->name, "'"), kCapability);
  }
  absl::StatusOr<LinkMonitor> link = LinkMonitor::Open(interface->index);
  if (!link.ok()) return link.status();
  absl::StatusOr<UniqueFd> wait_fd = WaitForAnyOf({sockets.receive.get(), link->fd()});
  if (!wait_fd.ok()) return wait_fd.status();
  std::unique_ptr<PacketFramePort> port(new PacketFramePort(buffers, capabilities, *interface,
                                                            std::move(sockets), *std::move(ring),
                                                            *std::move(link), *std::move(wait_fd)));
  if (options.queues > 1) {
    absl::Status status = fanout->Join(port->sockets_.receive, config.fanout());
    if (!status.ok()) return status;
    port->fanout_ = fanout;
    // What came before was for all of them.
    while (!port->ring_.empty()) port->ring_.Pop();
  }
  port->keeps_joined_ = options.joined_segments;
  // Joined segments that no slot of the ring holds wait in the socket's own queue, beside their
  // first bytes in the ring. Without the right to a long one, more of them get lost in a burst.
  const int queued_bytes = kJoinedBytesQueued;
  if (setsockopt(port->sockets_.receive.get(), SOL_SOCKET, SO_RCVBUFFORCE, &queued_bytes,
                 sizeof(queued_bytes)) != 0) {
    setsockopt(port->sockets_.receive.get(), SOL_SOCKET, SO_RCVBUF, &queued_bytes,
               sizeof(queued_bytes));
  }
  Set(port->sockets_.receive, PACKET_COPY_THRESH, 1);
  return port;
}

PacketFramePort::PacketFramePort(const BufferPoolOptions& buffers, const Capabilities& capabilities,
                                 const Interface& interface, Sockets sockets, PacketRing ring,
                                 LinkMonitor link, UniqueFd wait_fd)
    : KernelFramePort(capabilities, buffers, interface, std::move(link), std::move(wait_fd)),
      interface_index_(interface.index),
      sockets_(std::move(sockets)),
      ring_(std::move(ring)) {}

PacketFramePort::~PacketFramePort() {
  sockets_ = {};
  if (fanout_ != nullptr) fanout_->Leave();
}

absl::Status PacketFramePort::SetFilter(absl::Span<const Address>,
                                        absl::Span<const MacAddress> groups) {
  AssertOwner();
  const UniqueFd& fd = sockets_.receive;
  for (const MacAddress& group : groups) {
    if (std::find(groups_.begin(), groups_.end(), group) != groups_.end()) continue;
    if (!SetMembership(fd, PACKET_ADD_MEMBERSHIP, interface_index_, PACKET_MR_MULTICAST, group)) {
      return DeviceError(errno, absl::StrCat("receive one more group from '", device_name(), "'"),
                         kCapability);
    }
    groups_.push_back(group);
  }
  std::erase_if(groups_, [&](const MacAddress& group) {
    if (std::find(groups.begin(), groups.end(), group) != groups.end()) return false;
    SetMembership(fd, PACKET_DROP_MEMBERSHIP, interface_index_, PACKET_MR_MULTICAST, group);
    return true;
  });
  if (std::exchange(all_groups_, false)) {
    SetMembership(fd, PACKET_DROP_MEMBERSHIP, interface_index_, PACKET_MR_ALLMULTI);
  }
  return absl::OkStatus();
}

bool PacketFramePort::Arm() {
  AssertOwner();
  // A full device is not waited for: whoever has something to send tries again in the next round.
  return ring_.empty() && !std::exchange(send_blocked_, false);
}

}  // namespace weft::linux_transport
