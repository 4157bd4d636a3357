// SPDX-License-Identifier: Apache-2.0
//
// How LinuxDatagramPort learns of failed peers, and tells.
#include <time.h>
// clang-format off: it would put this one, which needs <time.h>, first.
#include <linux/errqueue.h>
// clang-format on

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
        events_.Add(
            {PortEvent::Kind::kPeerUnreachable, PeerOf(name), static_cast<int>(error.ee_errno)});
      }
    }
  }
  return n;
}

}  // namespace weft::linux_transport
