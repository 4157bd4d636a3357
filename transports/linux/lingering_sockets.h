// SPDX-License-Identifier: Apache-2.0
//
// TCP sockets that have sent everything, their end included, while the other side may still be
// sending.
//
// To close such a socket at once makes the kernel answer what arrives with a reset, on which it
// also throws away what it had not delivered yet: the last words of this side. So these sockets
// stay for a while, and what arrives is discarded, until the other side has ended too or a limit is
// met.
#ifndef WEFT_TRANSPORTS_LINUX_LINGERING_SOCKETS_H_
#define WEFT_TRANSPORTS_LINUX_LINGERING_SOCKETS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "weft/core/unique_fd.h"

namespace weft::linux_transport {

class LingeringSockets {
 public:
  // Takes over `fd`, which is registered with `epoll_fd`, edge-triggered; events for it will carry
  // `tag` plus an index. When there are too many, the oldest is closed.
  void Add(UniqueFd fd, int epoll_fd, uint64_t tag);

  // Discards what has arrived at the socket of that index.
  void OnEvent(size_t index);

  // Closes all, to have their descriptors back; returns how many that were.
  size_t CloseAll();

 private:
  static constexpr size_t kSockets = 64;
  static constexpr size_t kDiscardedBytesMax = 4 << 20;

  struct Socket {
    UniqueFd fd;
    size_t discarded_bytes = 0;
  };
  std::vector<Socket> sockets_;
  size_t next_ = 0;  // the oldest, once there are kSockets
};

}  // namespace weft::linux_transport

#endif  // WEFT_TRANSPORTS_LINUX_LINGERING_SOCKETS_H_
