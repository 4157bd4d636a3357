// SPDX-License-Identifier: Apache-2.0
//
// Sending by LinuxDatagramPort: at most one system call where one will do. Receiving is in
// linux_receive.cc.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "weft/transports/linux/linux_datagram_port.h"

namespace weft::linux_transport {
namespace {

// The kernel may refuse to segment: the segment does not fit the path's MTU (EINVAL, EMSGSIZE), or
// the route cannot (EIO: IPsec, or a device without checksums).
bool MayBeAboutSegmenting(int error) {
  return error == EINVAL || error == EMSGSIZE || error == EIO;
}

}  // namespace

size_t LinuxDatagramPort::Send(absl::Span<Datagram> burst) {
  AssertOwner();
  size_t done = 0;
  while (done < burst.size()) {
    absl::Span<Datagram> rest = burst.subspan(done);
    size_t taken;
    if (!Sendable(rest[0])) {
      Drop(rest.first(1));
      taken = 1;
    } else if (rest.size() == 1) {
      taken = SendOne(rest[0]);
    } else {
      taken = SendMany(rest);
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

// To somebody this socket can reach, and not too long.
bool LinuxDatagramPort::Sendable(const Datagram& datagram) const {
  const Peer& peer = datagram.peer;
  return datagram.buffer && datagram.size() <= capabilities_.max_payload_bytes &&
         PortOf(peer) != 0 && (family_ == AF_INET6 || IsIpv4(peer));
}

void LinuxDatagramPort::SetName(const Peer& peer, SocketAddress* name) const {
  if (family_ == AF_INET) {
    name->v4.sin_port = PortOf(peer);
    name->v4.sin_addr.s_addr = static_cast<uint32_t>(peer.words[1] >> 32);
  } else {
    name->v6 = NameOf(peer);
  }
}

// Its one or two pieces; returns how many.
size_t LinuxDatagramPort::LayOut(Datagram& datagram, iovec* pieces) {
  pieces[0] = {datagram.buffer.data(), datagram.buffer.size()};
  if (datagram.tail.empty()) return 1;
  pieces[1] = {const_cast<uint8_t*>(datagram.tail.data()), datagram.tail.size()};
  return 2;
}

size_t LinuxDatagramPort::SendOne(Datagram& datagram) {
  SocketAddress& name = send_names_[0];
  SetName(datagram.peer, &name);
  const auto send = [&] {
    const Buffer& buffer = datagram.buffer;
    if (datagram.tail.empty()) {
      return sendto(fd_.get(), buffer.data(), buffer.size(), 0, &name.any, name.length);
    }
    msghdr& header = send_headers_[0].msg_hdr;
    header.msg_iov = send_pieces_;
    header.msg_iovlen = LayOut(datagram, send_pieces_);
    header.msg_controllen = 0;
    return sendmsg(fd_.get(), &header, 0);
  };
  while (send() < 0) {
    const int error = errno;  // which RetrySend() may overwrite
    if (error == EAGAIN) return 0;
    if (RetrySend(error)) continue;
    Fail({&datagram, 1}, error);
    return 1;
  }
  Sent({&datagram, 1});
  return 1;
}

// One system call for as much of `burst` as goes into it.
size_t LinuxDatagramPort::SendMany(absl::Span<Datagram> burst) {
  const size_t messages = Gather(burst);
  for (;;) {
    const int sent = sendmmsg(fd_.get(), send_headers_, messages, 0);
    if (sent > 0) {
      size_t datagrams = 0;
      for (int i = 0; i < sent; ++i) datagrams += segments_[i];
      Sent(burst.first(datagrams));
      // The error that stopped it may have been another message's: one that is lost unless it is
      // looked for.
      if (static_cast<size_t>(sent) < messages) TakeSocketErrors();
      return datagrams;
    }
    const int error = errno;
    if (error == EAGAIN) return 0;
    absl::Span<Datagram> first = burst.first(segments_[0]);
    if (first.size() > 1 && MayBeAboutSegmenting(error)) return SendUnsegmented(first, error);
    if (RetrySend(error)) continue;
    Fail(first, error);
    return first.size();
  }
}

// Lays out the beginning of `burst` as messages for one system call; returns how many.
size_t LinuxDatagramPort::Gather(absl::Span<Datagram> burst) {
  size_t messages = 0;
  size_t datagrams = 0;
  iovec* piece = send_pieces_;
  const size_t limit = std::min(burst.size(), kSegments);
  while (datagrams < limit && messages < kSendMessages && Sendable(burst[datagrams])) {
    const absl::Span<Datagram> run =
        burst.subspan(datagrams, RunLength(burst.subspan(datagrams, limit - datagrams)));
    msghdr& header = send_headers_[messages].msg_hdr;
    SetName(run[0].peer, &send_names_[messages]);
    header.msg_iov = piece;
    for (Datagram& datagram : run) piece += LayOut(datagram, piece);
    header.msg_iovlen = static_cast<size_t>(piece - header.msg_iov);
    header.msg_controllen = 0;
    if (run.size() > 1) {
      const auto segment_bytes = static_cast<uint16_t>(run[0].size());
      std::memcpy(CMSG_DATA(reinterpret_cast<cmsghdr*>(gso_controls_[messages].bytes)),
                  &segment_bytes, sizeof(segment_bytes));
      header.msg_controllen = sizeof(gso_controls_[messages].bytes);
    }
    datagrams += run.size();
    segments_[messages++] = run.size();
  }
  return messages;
}

// How many from the front can go as one GSO message: to one peer and of one size, but for the last,
// which may be shorter.
size_t LinuxDatagramPort::RunLength(absl::Span<const Datagram> burst) const {
  const size_t segment_bytes = burst[0].size();
  if (segment_bytes == 0 || segment_bytes > gso_segment_max_) return 1;
  size_t total = segment_bytes;
  size_t n = 1;
  while (n < burst.size()) {
    const Datagram& next = burst[n];
    if (!next.buffer || next.peer != burst[0].peer) break;
    const size_t size = next.size();
    if (size == 0 || size > segment_bytes || total + size > kUdpPayloadMax) break;
    total += size;
    ++n;
    if (size < segment_bytes) break;
  }
  return n;
}

// Sends `run`, which the kernel refused as a GSO message with `error`, one by one. If that
// succeeds, it was the segmenting: it is not tried again for segments so long.
size_t LinuxDatagramPort::SendUnsegmented(absl::Span<Datagram> run, int error) {
  const size_t segment_bytes = run[0].size();
  const uint64_t failed = stats_.send_failed;
  size_t done = 0;
  while (done < run.size() && SendOne(run[done]) == 1) ++done;
  if (done > 0 && stats_.send_failed == failed) {
    gso_segment_max_ = error == EIO ? 0 : std::min(gso_segment_max_, segment_bytes - 1);
  }
  return done;
}

// Whether a send that failed with `error` is worth another try: the error may have been that of an
// earlier message, which the socket reports on the first call that comes along.
bool LinuxDatagramPort::RetrySend(int error) {
  return error == EINTR || (!IsAboutMessage(error) && TakeSocketErrors() > 0);
}

void LinuxDatagramPort::Sent(absl::Span<Datagram> datagrams) {
  size_t bytes = 0;
  for (Datagram& datagram : datagrams) {
    bytes += datagram.size();
    datagram.buffer.Reset();
    datagram.tail = {};
  }
  stats_.sent += datagrams.size();
  stats_.sent_bytes += bytes;
}

void LinuxDatagramPort::Drop(absl::Span<Datagram> datagrams) {
  stats_.send_failed += datagrams.size();
  for (Datagram& datagram : datagrams) {
    datagram.buffer.Reset();
    datagram.tail = {};
  }
}

void LinuxDatagramPort::Fail(absl::Span<Datagram> datagrams, int error) {
  if (!IsAboutMessage(error)) {
    events_.Add({PortEvent::Kind::kPeerUnreachable, datagrams[0].peer, error});
  }
  Drop(datagrams);
}

}  // namespace weft::linux_transport
