// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/afxdp/interface.h"

#include <linux/ethtool.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weft::afxdp {
namespace {

// Messages that one look at the news takes at most; the rest waits for the next.
constexpr int kNewsAtOnce = 64;

ifreq Request(const std::string& name) {
  ifreq request = {};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  return request;
}

// ETHTOOL_GCHANNELS, which veth and all drivers of several queues answer.
std::optional<uint32_t> CountQueues(int fd, const std::string& name) {
  ethtool_channels channels = {};
  channels.cmd = ETHTOOL_GCHANNELS;
  ifreq request = Request(name);
  request.ifr_data = reinterpret_cast<char*>(&channels);
  if (ioctl(fd, SIOCETHTOOL, &request) != 0) return std::nullopt;
  const uint32_t queues = channels.combined_count + std::max(channels.rx_count, channels.tx_count);
  return queues == 0 ? std::nullopt : std::optional(queues);
}

absl::StatusOr<UniqueFd> OpenNetlink(uint32_t groups, int flags) {
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_ROUTE));
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  if (!fd || bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return absl::ErrnoToStatus(errno, "cannot open a netlink socket");
  }
  return fd;
}

// The address that one RTM_NEWADDR message speaks of, if it is one of interface `index`.
std::optional<Address> AddressOf(const nlmsghdr* message, int index) {
  const auto* head = static_cast<const ifaddrmsg*>(NLMSG_DATA(message));
  if (static_cast<int>(head->ifa_index) != index) return std::nullopt;
  std::optional<Address> found;
  auto left = static_cast<int>(IFA_PAYLOAD(message));
  for (const rtattr* a = IFA_RTA(head); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
    // IFA_ADDRESS is the other end's on a point-to-point link, where IFA_LOCAL is ours.
    if (a->rta_type != IFA_LOCAL && (a->rta_type != IFA_ADDRESS || found)) continue;
    if (head->ifa_family == AF_INET && RTA_PAYLOAD(a) == 4) {
      Address::Ipv4Bytes ip;
      std::memcpy(ip.data(), RTA_DATA(a), ip.size());
      found = Address::Ipv4(ip, 0);
    } else if (head->ifa_family == AF_INET6 && RTA_PAYLOAD(a) == 16) {
      Address::Ipv6Bytes ip;
      std::memcpy(ip.data(), RTA_DATA(a), ip.size());
      found = Address::Ipv6(ip, 0);
    }
  }
  return found;
}

}  // namespace

absl::StatusOr<Interface> FindInterface(const std::string& name) {
  const UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return absl::ErrnoToStatus(errno, "cannot ask for network interfaces");
  Interface found;
  found.name = name;
  ifreq request = Request(name);
  if (name.size() >= IFNAMSIZ || ioctl(fd.get(), SIOCGIFINDEX, &request) != 0) {
    return absl::NotFoundError(
        absl::StrCat("there is no interface '", name, "'; `ip link` shows those there are"));
  }
  found.index = request.ifr_ifindex;
  request = Request(name);
  if (ioctl(fd.get(), SIOCGIFHWADDR, &request) != 0) return absl::ErrnoToStatus(errno, name);
  if (request.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
    return absl::InvalidArgumentError(
        absl::StrCat("interface '", name, "' has no Ethernet frames; choose one that has"));
  }
  std::memcpy(found.mac.data(), request.ifr_hwaddr.sa_data, found.mac.size());
  request = Request(name);
  if (ioctl(fd.get(), SIOCGIFMTU, &request) != 0) return absl::ErrnoToStatus(errno, name);
  found.mtu_bytes = static_cast<size_t>(request.ifr_mtu);
  found.queues = CountQueues(fd.get(), name);
  return found;
}

absl::StatusOr<LinkMonitor> LinkMonitor::Open(int interface_index) {
  absl::StatusOr<UniqueFd> news = OpenNetlink(RTMGRP_LINK, SOCK_NONBLOCK);
  if (!news.ok()) return news.status();
  absl::StatusOr<UniqueFd> requests = OpenNetlink(0, 0);
  if (!requests.ok()) return requests.status();
  return LinkMonitor(*std::move(news), *std::move(requests), interface_index);
}

bool LinkMonitor::Changed() {
  bool changed = false;
  for (int i = 0; i < kNewsAtOnce; ++i) {
    char message[256];  // What it says is not read; Read() asks.
    if (recv(fd_.get(), message, sizeof(message), MSG_TRUNC) >= 0 || errno == ENOBUFS) {
      changed = true;
    } else {
      break;
    }
  }
  return changed;
}

LinkMonitor::Link LinkMonitor::Read() const {
  // By index: an interface may be renamed.
  ifreq request = {};
  request.ifr_ifindex = index_;
  if (ioctl(fd_.get(), SIOCGIFNAME, &request) != 0 ||
      ioctl(fd_.get(), SIOCGIFFLAGS, &request) != 0) {
    return Link::kGone;
  }
  constexpr int kRunning = IFF_UP | IFF_RUNNING;
  return (request.ifr_flags & kRunning) == kRunning ? Link::kUp : Link::kDown;
}

absl::StatusOr<std::vector<Address>> LinkMonitor::KernelAddresses() const {
  struct {
    nlmsghdr header;
    ifaddrmsg body;
  } request = {};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = RTM_GETADDR;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  if (send(requests_.get(), &request, sizeof(request), 0) < 0) {
    return absl::ErrnoToStatus(errno, "cannot ask the kernel for its addresses");
  }
  std::vector<Address> addresses;
  alignas(nlmsghdr) char answer[32768];
  for (;;) {
    const ssize_t bytes = recv(requests_.get(), answer, sizeof(answer), 0);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) return absl::ErrnoToStatus(errno, "cannot read the kernel's addresses");
    auto left = static_cast<unsigned>(bytes);
    for (auto* m = reinterpret_cast<const nlmsghdr*>(answer); NLMSG_OK(m, left);
         m = NLMSG_NEXT(m, left)) {
      if (m->nlmsg_type == NLMSG_DONE) return addresses;
      if (m->nlmsg_type == NLMSG_ERROR) {
        return absl::InternalError("the kernel does not tell its addresses");
      }
      if (m->nlmsg_type != RTM_NEWADDR) continue;
      if (std::optional<Address> address = AddressOf(m, index_)) addresses.push_back(*address);
    }
  }
}

}  // namespace weft::afxdp
