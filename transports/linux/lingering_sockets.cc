// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/lingering_sockets.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace weft::linux_transport {

void LingeringSockets::Add(UniqueFd fd, int epoll_fd, uint64_t tag) {
  const size_t index = next_;
  next_ = (next_ + 1) % kSockets;
  if (index == sockets_.size()) sockets_.emplace_back();
  // The new registration reports what has arrived already.
  epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data = {.u64 = tag + index}};
  if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd.get(), &event) != 0) fd.Reset();
  sockets_[index] = {std::move(fd), 0};
}

void LingeringSockets::OnEvent(size_t index) {
  if (index >= sockets_.size() || !sockets_[index].fd) return;
  Socket& socket = sockets_[index];
  while (socket.discarded_bytes < kDiscardedBytesMax) {
    // MSG_TRUNC: TCP drops the bytes instead of copying them.
    const ssize_t n = recv(socket.fd.get(), nullptr, kDiscardedBytesMax, MSG_TRUNC);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) break;
    socket.discarded_bytes += static_cast<size_t>(n);
  }
  socket.fd.Reset();
}

size_t LingeringSockets::CloseAll() {
  size_t closed = 0;
  for (Socket& socket : sockets_) {
    if (!socket.fd) continue;
    socket.fd.Reset();
    ++closed;
  }
  return closed;
}

}  // namespace weft::linux_transport
