// SPDX-License-Identifier: Apache-2.0
#include "weft/tools/testnet/udp_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace weft::testnet {
namespace {

struct Name {
  union {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
  };
  socklen_t length;
};

std::optional<Name> NameOf(const std::string& ip, uint16_t port) {
  Name name;
  std::memset(&name, 0, sizeof(name));
  if (inet_pton(AF_INET, ip.c_str(), &name.v4.sin_addr) == 1) {
    name.v4.sin_family = AF_INET;
    name.v4.sin_port = htons(port);
    name.length = sizeof(name.v4);
    return name;
  }
  if (inet_pton(AF_INET6, ip.c_str(), &name.v6.sin6_addr) == 1) {
    name.v6.sin6_family = AF_INET6;
    name.v6.sin6_port = htons(port);
    name.length = sizeof(name.v6);
    return name;
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<UdpSocket> UdpSocket::Bind(const Namespace& place, const std::string& ip,
                                          uint16_t port) {
  const std::optional<Name> name = NameOf(ip, port);
  if (!name) return absl::InvalidArgumentError(absl::StrCat("'", ip, "' is no IP address"));
  const ScopedNamespace there(place);
  UdpSocket made(UniqueFd(socket(name->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0)));
  if (!made.fd_ || bind(made.fd(), &name->any, name->length) != 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot bind to ", ip, " port ", port, ": ", std::strerror(errno)));
  }
  return made;
}

bool UdpSocket::Send(const std::string& ip, uint16_t port, const std::string& bytes) const {
  const std::optional<Name> to = NameOf(ip, port);
  if (!to) {
    errno = EINVAL;
    return false;
  }
  return sendto(fd(), bytes.data(), bytes.size(), 0, &to->any, to->length) ==
         static_cast<ssize_t>(bytes.size());
}

std::optional<std::string> UdpSocket::Receive(absl::Duration timeout) const {
  pollfd event = {fd(), POLLIN, 0};
  if (poll(&event, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) != 1) {
    return std::nullopt;
  }
  std::string bytes(65536, '\0');
  const ssize_t n = recv(fd(), bytes.data(), bytes.size(), 0);
  if (n < 0) return std::nullopt;
  bytes.resize(static_cast<size_t>(n));
  return bytes;
}

uint16_t UdpSocket::port() const {
  Name name;
  name.length = sizeof(name.v6);
  if (getsockname(fd(), &name.any, &name.length) != 0) return 0;
  return ntohs(name.any.sa_family == AF_INET ? name.v4.sin_port : name.v6.sin6_port);
}

}  // namespace weft::testnet
