// SPDX-License-Identifier: Apache-2.0
//
// How LinuxDatagramPort learns of failed peers, and tells.
#include <time.h>
// clang-format off: it would put this one, which needs <time.h>, first.
#include <linux/errqueue.h>
// clang-format on

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "weft/transports/linux/linux_datagram_port.h"

namespace weft::linux_transport {
namespace {

// Queued ICMP errors that one call looks at.
constexpr size_t kErrorsAtOnce = 64;

}  // namespace

// What a send failed with says nothing about the peer: this machine had no room for the message, or
// the message was too long for the path.
bool LinuxDatagramPort::IsAboutMessage(int error) {
  return error == ENOBUFS || error == ENOMEM || error == EMSGSIZE;
}

size_t LinuxDatagramPort::TakeSocketErrors() {
  size_t n = 0;
  for (; n < kErrorsAtOnce; ++n) {
    SocketAddress name;
    alignas(cmsghdr) char control[256];
    msghdr header = {};
    header.msg_name = &name.any;
    header.msg_namelen = name.length;
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    if (recvmsg(fd_.get(), &header, MSG_ERRQUEUE) < 0) break;
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
      if (!(c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) &&
          !(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR)) {
        continue;
      }
      sock_extended_err error;
      std::memcpy(&error, CMSG_DATA(c), sizeof(error));
      // The name is the address that the message was sent to.
      if (header.msg_namelen != 0 && !IsAboutMessage(static_cast<int>(error.ee_errno))) {
        AddEvent(PeerOf(name), static_cast<int>(error.ee_errno));
      }
    }
  }
  return n;
}

size_t LinuxDatagramPort::DoTakeEvents(absl::Span<PortEvent> events) {
  const size_t n = std::min(events.size(), events_.size());
  std::copy_n(events_.begin(), n, events.begin());
  events_.erase(events_.begin(), events_.begin() + n);
  has_events_ = !events_.empty();
  return n;
}

void LinuxDatagramPort::AddEvent(const Peer& peer, int error) {
  for (const PortEvent& event : events_) {
    if (event.peer == peer && event.error == error) return;
  }
  if (events_.size() == kEvents) events_.erase(events_.begin());
  events_.push_back({.kind = PortEvent::Kind::kPeerUnreachable, .peer = peer, .error = error});
  has_events_ = true;
}

}  // namespace weft::linux_transport
