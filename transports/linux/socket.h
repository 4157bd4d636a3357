// SPDX-License-Identifier: Apache-2.0
//
// Kernel sockets and their addresses, for the datagram and the stream port.
#ifndef WEFT_TRANSPORTS_LINUX_SOCKET_H_
#define WEFT_TRANSPORTS_LINUX_SOCKET_H_

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstring>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/core/unique_fd.h"
#include "weft/transports/address.h"

namespace weft::linux_transport {

struct SocketAddress {
  union {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6 = {};
  };
  socklen_t length = sizeof(sockaddr_in6);
};

// `address` must be IPv4 or IPv6.
SocketAddress ToSocketAddress(const Address& address);
// An IPv4-mapped IPv6 address becomes IPv4: that is what its user typed.
Address ToAddress(const SocketAddress& address);

// IPv4 in IPv6's form, ::ffff:a.b.c.d, which an IPv6 socket takes and gives for IPv4 peers.
in6_addr MappedIpv4(in_addr ip);
inline bool IsMappedIpv4(const in6_addr& ip) { return IN6_IS_ADDR_V4MAPPED(&ip); }

// A scope says something about link-local addresses only; the kernel gives 0 for all others.
bool HasScope(const in6_addr& ip);

// The status for `error`, an errno of what was tried with `address`, saying what to do about it.
absl::Status SocketError(int error, absl::string_view tried, const Address& address);

// InvalidArgument unless `address` is IPv4 or IPv6.
absl::Status CheckIp(const Address& address);

// A non-blocking socket of `type` bound to `local`. One bound to [::] takes IPv4 peers too.
absl::StatusOr<UniqueFd> OpenBoundSocket(int type, const Address& local, bool reuse_port);

// Where `fd` is bound, port included.
absl::StatusOr<SocketAddress> BoundAddress(const UniqueFd& fd);

// False, with errno set, when the kernel does not take it.
inline bool SetOption(const UniqueFd& fd, int level, int name, int value) {
  return setsockopt(fd.get(), level, name, &value, sizeof(value)) == 0;
}

// SO_RCVBUF or SO_SNDBUF; 0 leaves it. With CAP_NET_ADMIN, by `force`, the kernel's limit does not
// hold.
inline void SetBufferBytes(const UniqueFd& fd, int force, int plain, uint32_t bytes) {
  if (bytes == 0) return;
  const int value = static_cast<int>(bytes);
  if (!SetOption(fd, SOL_SOCKET, force, value)) SetOption(fd, SOL_SOCKET, plain, value);
}

}  // namespace weft::linux_transport

#endif  // WEFT_TRANSPORTS_LINUX_SOCKET_H_
