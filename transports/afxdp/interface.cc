// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/afxdp/interface.h"

#include <linux/ethtool.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace weft::afxdp {
namespace {

// ETHTOOL_GCHANNELS, which veth and all drivers of several queues answer.
uint32_t CountQueues(const std::string& name) {
  const UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ethtool_channels channels = {};
  channels.cmd = ETHTOOL_GCHANNELS;
  ifreq request = {};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_data = reinterpret_cast<char*>(&channels);
  if (!fd || ioctl(fd.get(), SIOCETHTOOL, &request) != 0) return 0;
  return channels.combined_count + std::max(channels.rx_count, channels.tx_count);
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
  absl::StatusOr<linux_transport::Interface> found = linux_transport::FindInterface(name);
  if (!found.ok()) return found.status();
  if (!found->ethernet) {
    return absl::InvalidArgumentError(
        absl::StrCat("interface '", name, "' has no Ethernet frames; choose one that has"));
  }
  return Interface{*std::move(found), CountQueues(name)};
}

absl::StatusOr<KernelAddresses> KernelAddresses::Open(int interface_index) {
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd) return absl::ErrnoToStatus(errno, "cannot open a netlink socket");
  return KernelAddresses(std::move(fd), interface_index);
}

absl::StatusOr<std::vector<Address>> KernelAddresses::Read() const {
  struct {
    nlmsghdr header;
    ifaddrmsg body;
  } request = {};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = RTM_GETADDR;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  if (send(fd_.get(), &request, sizeof(request), 0) < 0) {
    return absl::ErrnoToStatus(errno, "cannot ask the kernel for its addresses");
  }
  std::vector<Address> addresses;
  alignas(nlmsghdr) char answer[32768];
  for (;;) {
    const ssize_t bytes = recv(fd_.get(), answer, sizeof(answer), 0);
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
