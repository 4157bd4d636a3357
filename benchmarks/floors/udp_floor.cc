// SPDX-License-Identifier: Apache-2.0

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <cstdint>

#include "weft/benchmarks/floors/closed_loop.h"
#include "weft/benchmarks/floors/floors.h"
#include "weft/benchmarks/floors/roles.h"

namespace weft::benchmarks::floors {
namespace {

sockaddr* AsSockaddr(sockaddr_in& address) { return reinterpret_cast<sockaddr*>(&address); }

sockaddr_in Loopback(int64_t port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

// Spins until a reply has come; false when none does.
bool SpinForReply(int fd, char* message) {
  const int64_t give_up_ns = RealClock().NowNs() + kPatienceNs;
  for (uint32_t turn = 1; recv(fd, message, kRequestBytes, MSG_DONTWAIT) < 0; ++turn) {
    if (turn % 1024 == 0 && RealClock().NowNs() > give_up_ns) return false;
  }
  return true;
}

}  // namespace

absl::Status ServeUdp(Peer& peer) {
  const int flags = peer.Number(0) != 0 ? 0 : MSG_DONTWAIT;
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = Loopback(0);
  socklen_t length = sizeof(address);
  if (bind(fd, AsSockaddr(address), length) != 0 ||
      getsockname(fd, AsSockaddr(address), &length) != 0) {
    return absl::ErrnoToStatus(errno, "cannot bind a UDP socket on loopback");
  }
  peer.Report(ntohs(address.sin_port));
  char message[kRequestBytes];
  while (true) {
    sockaddr_in from;
    length = sizeof(from);
    const ssize_t size = recvfrom(fd, message, sizeof(message), flags, AsSockaddr(from), &length);
    if (size < 0) continue;
    sendto(fd, message, static_cast<size_t>(size), MSG_DONTWAIT, AsSockaddr(from), length);
  }
}

absl::Status AskUdp(Peer& peer) {
  const int64_t duration_ns = peer.Number(0);
  const auto outstanding = static_cast<size_t>(peer.Number(1));
  sockaddr_in server = Loopback(peer.Number(2));
  const bool blocking = peer.Number(3) != 0;
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const timeval patience = {.tv_sec = kPatienceNs / 1'000'000'000, .tv_usec = 0};
  if (connect(fd, AsSockaddr(server), sizeof(server)) != 0 ||
      setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0) {
    return absl::ErrnoToStatus(errno, "cannot connect a UDP socket to loopback");
  }
  char message[kRequestBytes] = {};

  absl::StatusOr<double> result;
  if (outstanding == 1) {
    result = MedianRoundTripNs(duration_ns, [&] {
      send(fd, message, sizeof(message), MSG_DONTWAIT);
      return blocking ? recv(fd, message, sizeof(message), 0) >= 0 : SpinForReply(fd, message);
    });
  } else {
    result = RepliesPerSecond(duration_ns, outstanding, [&](size_t n) {
      for (size_t i = 0; i < n; ++i) send(fd, message, sizeof(message), MSG_DONTWAIT);
      size_t replies = 0;
      while (replies < outstanding && recv(fd, message, sizeof(message), MSG_DONTWAIT) >= 0)
        ++replies;
      return replies;
    });
  }
  if (result.ok()) peer.Report(*result);
  return result.status();
}

}  // namespace weft::benchmarks::floors
