// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/link_monitor.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace weft::linux_transport {
namespace {

constexpr int kAnswerTimeoutMs = 5000;
constexpr int kMessagesAtOnce = 64;

}  // namespace

absl::StatusOr<LinkMonitor> LinkMonitor::Open(int interface_index) {
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE));
  sockaddr_nl name = {};
  name.nl_family = AF_NETLINK;
  name.nl_groups = RTMGRP_LINK;
  if (!fd || bind(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name)) != 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot ask the kernel about links (netlink): ", std::strerror(errno)));
  }
  LinkMonitor monitor(std::move(fd), interface_index);
  pollfd event = {monitor.fd(), POLLIN, 0};
  if (!monitor.Ask() || poll(&event, 1, kAnswerTimeoutMs) != 1) {
    return absl::UnavailableError("the kernel does not say whether the link is up (netlink)");
  }
  monitor.Poll();
  return monitor;
}

// The answer comes as messages about changes do.
bool LinkMonitor::Ask() {
  struct {
    nlmsghdr header;
    ifinfomsg message;
  } request = {};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = RTM_GETLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST;
  request.message.ifi_family = AF_UNSPEC;
  request.message.ifi_index = index_;
  return send(fd_.get(), &request, sizeof(request), 0) == sizeof(request);
}

bool LinkMonitor::Poll() {
  const bool was_up = up();
  const bool was_gone = gone_;
  for (int i = 0; i < kMessagesAtOnce; ++i) {
    // Only the beginning of a message matters, and there is one in each datagram.
    alignas(nlmsghdr) char message[256];
    const ssize_t n = recv(fd_.get(), message, sizeof(message), 0);
    if (n > 0) {
      Take(message, static_cast<size_t>(n));
    } else if (n < 0 && errno == ENOBUFS) {
      lost_ = true;
    } else if (n == 0 || errno != EINTR) {
      // The present state makes up for what was lost. Before this there is no room for the answer.
      if (!std::exchange(lost_, false) || !Ask()) break;
    }
  }
  return up() != was_up || gone_ != was_gone;
}

void LinkMonitor::Take(const char* message, size_t size) {
  nlmsghdr header;
  if (size < sizeof(header)) return;
  std::memcpy(&header, message, sizeof(header));
  if (header.nlmsg_type == NLMSG_ERROR) {  // of Ask(), the only thing that is asked
    gone_ = true;
    return;
  }
  ifinfomsg link;
  if (size < NLMSG_HDRLEN + sizeof(link)) return;
  std::memcpy(&link, message + NLMSG_HDRLEN, sizeof(link));
  // Messages of other families say that it left a bridge, and the like.
  if (link.ifi_index != index_ || link.ifi_family != AF_UNSPEC) return;
  if (header.nlmsg_type == RTM_DELLINK) {
    gone_ = true;
  } else if (header.nlmsg_type == RTM_NEWLINK) {
    constexpr unsigned kUp = IFF_UP | IFF_RUNNING;
    up_ = (link.ifi_flags & kUp) == kUp;
  }
}

}  // namespace weft::linux_transport
