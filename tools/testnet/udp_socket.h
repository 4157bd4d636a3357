// SPDX-License-Identifier: Apache-2.0
//
// A UDP socket of the kernel, as the other side of a test.
#ifndef WEFT_TOOLS_TESTNET_UDP_SOCKET_H_
#define WEFT_TOOLS_TESTNET_UDP_SOCKET_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "weft/core/unique_fd.h"
#include "weft/tools/testnet/testnet.h"

namespace weft::testnet {

class UdpSocket {
 public:
  // Bound in `place`: to "10.0.0.1", "fd00::1", ...; port 0 takes a free one.
  static absl::StatusOr<UdpSocket> Bind(const Namespace& place, const std::string& ip,
                                        uint16_t port);

  // False, with errno set, if the kernel does not take it.
  bool Send(const std::string& ip, uint16_t port, const std::string& bytes) const;
  // The next datagram; none if none comes for so long.
  std::optional<std::string> Receive(absl::Duration timeout = absl::Seconds(20)) const;

  uint16_t port() const;
  int fd() const { return fd_.get(); }

 private:
  explicit UdpSocket(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace weft::testnet

#endif  // WEFT_TOOLS_TESTNET_UDP_SOCKET_H_
