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
  // Takes over `fd`, whose events carry on by `id`, which is not 0; they are edge-triggered: what
  // they have told already has been read. When there are too many, the oldest is closed.
  void Add(UniqueFd fd, uint64_t id);

  // Discards what has arrived at that socket, if there still is one.
  void OnReadable(uint64_t id);

  // Closes all, to have their descriptors back; returns how many that were.
  size_t CloseAll();

 private:
  static constexpr size_t kSockets = 64;
  static constexpr size_t kDiscardedBytesMax = 4 << 20;

  struct Socket {
    uint64_t id = 0;
    UniqueFd fd;
    size_t discarded_bytes = 0;
  };
  std::vector<Socket> sockets_;
  size_t next_ = 0;  // the oldest, once there are kSockets
};

}  // namespace weft::linux_transport

#endif  // WEFT_TRANSPORTS_LINUX_LINGERING_SOCKETS_H_
