// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/socket.h"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <iterator>

#include "absl/strings/str_cat.h"

namespace weft::linux_transport {
namespace {

constexpr uint8_t kMappedPrefix[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

absl::string_view Advice(int error) {
  switch (error) {
    case EADDRINUSE:
      return "; another socket is bound to it: stop that program or choose another port";
    case EADDRNOTAVAIL:
      return "; no interface of this machine has that address: see `ip address`";
    case EACCES:
    case EPERM:
      return "; ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE";
    case EMFILE:
      return "; this process has too many open files: raise `ulimit -n`";
    case ENFILE:
      return "; the machine has too many open files: raise fs.file-max";
    case EAFNOSUPPORT:
      return "; this kernel runs without that address family";
    default:
      return "";
  }
}

absl::StatusCode Code(int error) {
  switch (error) {
    case EADDRINUSE:
      return absl::StatusCode::kAlreadyExists;
    case EACCES:
    case EPERM:
      return absl::StatusCode::kPermissionDenied;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
      return absl::StatusCode::kResourceExhausted;
    case EADDRNOTAVAIL:
    case EINVAL:
      return absl::StatusCode::kInvalidArgument;
    default:
      return absl::StatusCode::kUnavailable;
  }
}

}  // namespace

in6_addr MappedIpv4(in_addr ip) {
  in6_addr mapped;
  std::memcpy(&mapped, kMappedPrefix, sizeof(kMappedPrefix));
  std::memcpy(mapped.s6_addr + sizeof(kMappedPrefix), &ip, sizeof(ip));
  return mapped;
}

bool HasScope(const in6_addr& ip) {
  return IN6_IS_ADDR_LINKLOCAL(&ip) || IN6_IS_ADDR_MC_LINKLOCAL(&ip) ||
         IN6_IS_ADDR_MC_NODELOCAL(&ip);
}

SocketAddress ToSocketAddress(const Address& address) {
  assert(address.is_ip());
  SocketAddress result;
  if (address.kind() == Address::Kind::kIpv4) {
    const Address::Ipv4Bytes ip = address.ipv4();
    result.v4 = {
        .sin_family = AF_INET, .sin_port = htons(address.port()), .sin_addr = {}, .sin_zero = {}};
    std::memcpy(&result.v4.sin_addr, ip.data(), ip.size());
    result.length = sizeof(sockaddr_in);
  } else {
    result.v6.sin6_family = AF_INET6;
    result.v6.sin6_port = htons(address.port());
    std::memcpy(&result.v6.sin6_addr, address.ipv6().data(), sizeof(in6_addr));
    if (HasScope(result.v6.sin6_addr)) result.v6.sin6_scope_id = address.scope();
  }
  return result;
}

Address ToAddress(const SocketAddress& address) {
  Address::Ipv4Bytes ipv4;
  if (address.any.sa_family == AF_INET) {
    std::memcpy(ipv4.data(), &address.v4.sin_addr, ipv4.size());
    return Address::Ipv4(ipv4, ntohs(address.v4.sin_port));
  }
  const in6_addr& ip = address.v6.sin6_addr;
  const uint16_t port = ntohs(address.v6.sin6_port);
  if (IsMappedIpv4(ip)) {
    std::copy(std::begin(ip.s6_addr) + sizeof(kMappedPrefix), std::end(ip.s6_addr), ipv4.begin());
    return Address::Ipv4(ipv4, port);
  }
  Address::Ipv6Bytes ipv6;
  std::copy(std::begin(ip.s6_addr), std::end(ip.s6_addr), ipv6.begin());
  return Address::Ipv6(ipv6, port, address.v6.sin6_scope_id);
}

absl::Status SocketError(int error, absl::string_view tried, const Address& address) {
  return absl::Status(Code(error), absl::StrCat("cannot ", tried, " ", address.ToString(), ": ",
                                                std::strerror(error), Advice(error)));
}

absl::Status CheckIp(const Address& address) {
  if (address.is_ip()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("transport 'linux' takes IPv4 and IPv6 addresses, as 10.0.0.1:8000 or "
                   "[2001:db8::1]:8000, not ",
                   address.ToString()));
}

absl::StatusOr<UniqueFd> OpenBoundSocket(int type, const Address& local, bool reuse_port) {
  const SocketAddress address = ToSocketAddress(local);
  const int family = address.any.sa_family;
  UniqueFd fd(socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return SocketError(errno, "open a socket for", local);
  if (family == AF_INET6) SetOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  // A server that restarts need not wait for the connections of its former life.
  if (type == SOCK_STREAM) SetOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (reuse_port && !SetOption(fd, SOL_SOCKET, SO_REUSEPORT, 1)) {
    return SocketError(errno, "share among several workers", local);
  }
  if (bind(fd.get(), &address.any, address.length) != 0)
    return SocketError(errno, "bind to", local);
  return fd;
}

absl::StatusOr<SocketAddress> BoundAddress(const UniqueFd& fd) {
  SocketAddress address;
  if (getsockname(fd.get(), &address.any, &address.length) != 0) {
    return absl::InternalError(absl::StrCat("getsockname: ", std::strerror(errno)));
  }
  return address;
}

}  // namespace weft::linux_transport
