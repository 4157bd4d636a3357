// SPDX-License-Identifier: Apache-2.0

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "weft/benchmarks/floors/closed_loop.h"
#include "weft/benchmarks/floors/floors.h"
#include "weft/benchmarks/floors/roles.h"

namespace weft::benchmarks::floors {
namespace {

constexpr int kSegmentBytes = 1472;         // of UDP over IPv4 in an Ethernet frame
constexpr size_t kSendBytes = 44 * 1472;    // as many segments as a call takes
constexpr size_t kWindowBytes = 256 << 10;  // on their way: less than the socket holds
constexpr int kSocketBytes = 1 << 20;
constexpr size_t kMessageBytes = 8 << 20;
constexpr size_t kStretchBytes = 128 << 20;  // more than caches hold
constexpr int64_t kLostNs = 10'000'000;      // without progress: what is missing has been dropped

sockaddr* AsSockaddr(sockaddr_in& address) { return reinterpret_cast<sockaddr*>(&address); }

// How much the server has received.
absl::StatusOr<std::atomic<uint64_t>*> MapCount(Peer& peer) {
  void* const memory =
      mmap(nullptr, BulkMemoryBytes(), PROT_READ | PROT_WRITE, MAP_SHARED, peer.shared_fd(), 0);
  if (memory == MAP_FAILED) return absl::ErrnoToStatus(errno, "cannot map the shared counter");
  return static_cast<std::atomic<uint64_t>*>(memory);
}

// With CAP_NET_ADMIN the kernel's limit does not hold.
void SetSocketBytes(int fd, int force, int plain) {
  if (setsockopt(fd, SOL_SOCKET, force, &kSocketBytes, sizeof(kSocketBytes)) != 0) {
    setsockopt(fd, SOL_SOCKET, plain, &kSocketBytes, sizeof(kSocketBytes));
  }
}

// Bytes a second that `step()`, which returns how many it has moved, moves for as long.
template <typename Step>
double BytesPerSecond(int64_t duration_ns, Step step) {
  const Clock& clock = RealClock();
  const int64_t record_from_ns = clock.NowNs() + duration_ns / 10;
  while (clock.NowNs() < record_from_ns) step();
  const int64_t first_ns = clock.NowNs();
  int64_t now_ns = first_ns;
  for (uint64_t bytes = 0;;) {
    bytes += step();
    now_ns = clock.NowNs();
    if (now_ns - first_ns >= duration_ns - duration_ns / 10 && bytes > 0) {
      return static_cast<double>(bytes) * 1e9 / static_cast<double>(now_ns - first_ns);
    }
    if (now_ns - first_ns > duration_ns + kPatienceNs) return 0;
  }
}

}  // namespace

size_t BulkMemoryBytes() { return 4096; }

absl::Status ServeUdpBulk(Peer& peer) {
  const absl::StatusOr<std::atomic<uint64_t>*> count = MapCount(peer);
  if (!count.ok()) return count.status();
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  if (setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)) != 0) {
    return absl::UnimplementedError("this kernel has no UDP_GRO: Linux 5.0 has it");
  }
  SetSocketBytes(fd, SO_RCVBUFFORCE, SO_RCVBUF);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  if (bind(fd, AsSockaddr(address), length) != 0 ||
      getsockname(fd, AsSockaddr(address), &length) != 0) {
    return absl::ErrnoToStatus(errno, "cannot bind a UDP socket on loopback");
  }
  peer.Report(ntohs(address.sin_port));
  std::vector<char> bytes(65536);
  for (uint64_t received = 0;;) {
    const ssize_t size = recv(fd, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (size <= 0) continue;
    received += static_cast<uint64_t>(size);
    (*count)->store(received, std::memory_order_release);
  }
}

absl::Status AskUdpBulk(Peer& peer) {
  const absl::StatusOr<std::atomic<uint64_t>*> count = MapCount(peer);
  if (!count.ok()) return count.status();
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &kSegmentBytes, sizeof(kSegmentBytes)) != 0) {
    return absl::UnimplementedError("this kernel has no UDP_SEGMENT: Linux 4.18 has it");
  }
  SetSocketBytes(fd, SO_SNDBUFFORCE, SO_SNDBUF);
  sockaddr_in server = {};
  server.sin_family = AF_INET;
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  server.sin_port = htons(static_cast<uint16_t>(peer.Number(2)));
  if (connect(fd, AsSockaddr(server), sizeof(server)) != 0) {
    return absl::ErrnoToStatus(errno, "cannot connect a UDP socket to loopback");
  }
  const std::vector<char> message(kMessageBytes, 'x');
  size_t at = 0;
  uint64_t counted = 0;  // of what has arrived
  uint64_t sent = 0;     // less what was lost
  int64_t progress_ns = RealClock().NowNs();
  const double result = BytesPerSecond(peer.Number(0), [&]() -> uint64_t {
    const uint64_t arrived = (*count)->load(std::memory_order_acquire);
    const uint64_t news = arrived - std::exchange(counted, arrived);
    if (sent + kSendBytes > arrived + kWindowBytes) {
      const int64_t now_ns = RealClock().NowNs();
      if (news > 0) progress_ns = now_ns;
      if (now_ns - progress_ns > kLostNs) sent = arrived;
      return news;
    }
    if (at + kSendBytes > message.size()) at = 0;
    if (send(fd, message.data() + at, kSendBytes, MSG_DONTWAIT) > 0) {
      at += kSendBytes;
      sent += kSendBytes;
      progress_ns = RealClock().NowNs();
    }
    return news;
  });
  if (result == 0) return absl::UnavailableError("nothing has arrived");
  peer.Report(result);
  return absl::OkStatus();
}

absl::Status CopyMemory(Peer& peer) {
  const std::vector<char> from(kStretchBytes, 'x');
  std::vector<char> to(kStretchBytes);
  size_t at = 0;
  peer.Report(BytesPerSecond(peer.Number(0), [&]() -> uint64_t {
    std::memcpy(to.data() + at, from.data() + at, kMessageBytes);
    asm volatile("" : : "r"(to.data()) : "memory");
    at = (at + kMessageBytes) % kStretchBytes;
    return kMessageBytes;
  }));
  return absl::OkStatus();
}

}  // namespace weft::benchmarks::floors
