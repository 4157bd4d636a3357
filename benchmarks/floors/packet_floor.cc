// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/floors/packet_floor.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "weft/benchmarks/floors/closed_loop.h"
#include "weft/benchmarks/veth_pair.h"

namespace weft::benchmarks::floors {
namespace {

constexpr uint16_t kEtherType = 0x88b5;  // for experiments (IEEE 802)

// A socket for frames of kEtherType. Never given back: its process ends with it.
absl::StatusOr<int> OpenSocket(const char* interface) {
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  sockaddr_ll address = {};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(kEtherType);
  address.sll_ifindex = static_cast<int>(if_nametoindex(interface));
  const int yes = 1;
  if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof(yes)) != 0 ||
      setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof(yes)) != 0 ||
      bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot open a packet socket on ", interface));
  }
  return fd;
}

// Reports 0 when it is ready.
absl::Status ServePacket(Peer& peer) {
  const absl::StatusOr<int> fd = OpenSocket(VethPair::kServer);
  if (!fd.ok()) return fd.status();
  peer.Report(0);
  uint8_t frame[kRequestBytes];
  for (;;) {
    if (recv(*fd, frame, sizeof(frame), MSG_DONTWAIT) < 0) continue;
    send(*fd, frame, sizeof(frame), MSG_DONTWAIT);
  }
}

// Argument: the duration in nanoseconds. Reports the median round trip in nanoseconds.
absl::Status AskPacket(Peer& peer) {
  const absl::StatusOr<int> fd = OpenSocket(VethPair::kClient);
  if (!fd.ok()) return fd.status();
  uint8_t frame[kRequestBytes] = {};
  std::memset(frame, 0xff, 2 * ETH_ALEN);  // to all
  frame[2 * ETH_ALEN] = kEtherType >> 8;
  frame[2 * ETH_ALEN + 1] = kEtherType & 0xff;
  const absl::StatusOr<double> result = MedianRoundTripNs(peer.Number(0), [&] {
    send(*fd, frame, sizeof(frame), MSG_DONTWAIT);
    const int64_t give_up_ns = RealClock().NowNs() + kPatienceNs;
    for (uint32_t turn = 1; recv(*fd, frame, sizeof(frame), MSG_DONTWAIT) < 0; ++turn) {
      if (turn % 1024 == 0 && RealClock().NowNs() > give_up_ns) return false;
    }
    return true;
  });
  if (result.ok()) peer.Report(*result);
  return result.status();
}

constexpr PeerRole kRoles[] = {{"floor-packet-server", &ServePacket},
                               {"floor-packet-client", &AskPacket}};

}  // namespace

absl::Span<const PeerRole> PacketRoles() { return kRoles; }

absl::StatusOr<double> PacketRoundTripNs(const Options& options) {
  const absl::Duration lifetime = options.duration + 3 * kStartTimeout;
  auto server = PeerProcess::Start({.role = "floor-packet-server",
                                    .core = options.server_core,
                                    .arguments = {},
                                    .lifetime = lifetime});
  if (!server.ok()) return server.status();
  if (absl::StatusOr<double> ready = (*server)->AwaitReport(kStartTimeout); !ready.ok()) {
    return ready;
  }
  auto client =
      PeerProcess::Start({.role = "floor-packet-client",
                          .core = options.client_core,
                          .arguments = {absl::StrCat(absl::ToInt64Nanoseconds(options.duration))},
                          .lifetime = lifetime});
  if (!client.ok()) return client.status();
  return (*client)->AwaitReport(options.duration + kStartTimeout);
}

}  // namespace weft::benchmarks::floors
