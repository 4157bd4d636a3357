// SPDX-License-Identifier: Apache-2.0
//
// Sending on by LinuxDatagramPort, under the address of the first sender.
#include <algorithm>
#include <cassert>
#include <cerrno>

#include "weft/transports/linux/linux_datagram_port.h"

namespace weft::linux_transport {

size_t LinuxDatagramPort::Forward(absl::Span<Datagram> burst, absl::Span<const Peer> sources) {
  AssertOwner();
  assert(sources.size() == burst.size());
  if (raw_ == nullptr) return DatagramPort::Forward(burst, sources);
  size_t done = 0;
  while (done < burst.size()) {
    size_t taken = 1;
    if (!Forwardable(burst[done], sources[done])) {
      Drop(burst.subspan(done, 1));
    } else {
      taken = ForwardMany(burst.subspan(done), sources.subspan(done));
    }
    if (taken == 0) {
      ++stats_.send_blocked;
      send_blocked_ = true;
      break;
    }
    done += taken;
  }
  return done;
}

bool LinuxDatagramPort::Forwardable(const Datagram& datagram, const Peer& source) const {
  if (!Sendable(datagram) || PortOf(source) == 0) return false;
  const bool v4 = IsIpv4(datagram.peer);
  if (IsIpv4(source) != v4 || !(v4 || raw_->has_ipv6())) return false;
  // The kernel would put an address of its own in the place of none.
  return v4 ? source.words[1] >> 32 != 0 : (source.words[0] | source.words[1]) != 0;
}

// One system call for as much of the beginning as goes into it, of which the first can be sent on.
// 0: the socket is full.
size_t LinuxDatagramPort::ForwardMany(absl::Span<Datagram> burst, absl::Span<const Peer> sources) {
  const bool v4 = IsIpv4(burst[0].peer);
  const size_t limit = std::min(burst.size(), RawSender::kMessages);
  for (size_t i = 0; i < limit; ++i) {
    const Datagram& datagram = burst[i];
    if (!Forwardable(datagram, sources[i]) || IsIpv4(datagram.peer) != v4) break;
    raw_->Add(NameOf(sources[i]), NameOf(datagram.peer), datagram.buffer.bytes(), datagram.tail);
  }
  const int sent = raw_->Send();
  if (sent > 0) {
    Sent(burst.first(static_cast<size_t>(sent)));
    return static_cast<size_t>(sent);
  }
  if (errno == EAGAIN) return 0;
  Fail(burst.first(1), errno);
  return 1;
}

}  // namespace weft::linux_transport
