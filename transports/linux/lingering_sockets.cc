// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/lingering_sockets.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace weft::linux_transport {

void LingeringSockets::Add(UniqueFd fd, uint64_t id) {
  const size_t index = next_;
  next_ = (next_ + 1) % kSockets;
  if (index == sockets_.size()) sockets_.emplace_back();
  sockets_[index] = {id, std::move(fd), 0};
}

void LingeringSockets::OnReadable(uint64_t id) {
  const auto found = std::find_if(sockets_.begin(), sockets_.end(),
                                  [id](const Socket& socket) { return socket.id == id; });
  if (found == sockets_.end() || !found->fd) return;
  Socket& socket = *found;
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
