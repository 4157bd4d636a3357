// SPDX-License-Identifier: Apache-2.0
//
// For benchmarks and tests of what a router costs: a port that itself costs next to nothing. It
// hands out bursts of requests of many clients, each with a FEEDBACK for those of an earlier burst,
// and throws away what is sent.
#ifndef WEFT_ROUTER_BURST_PORT_H_
#define WEFT_ROUTER_BURST_PORT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/r2p2/route_wire.h"
#include "weft/transports/datagram_port.h"

namespace weft::router {

inline constexpr size_t kRequests = 31;
inline constexpr size_t kServers = 4;

inline Address ServerAddress(size_t i) {
  return Address::Ipv4({10, 0, 1, static_cast<uint8_t>(i)}, 8000);
}

class BurstPort final : public DatagramPort {
 public:
  explicit BurstPort(bool anycast, bool keep_source)
      : DatagramPort({.datagrams = true,
                      .max_payload_bytes = 1472,
                      .max_burst = 32,
                      .keeps_foreign_source = keep_source},
                     BufferPoolOptions{.count = 1024}),
        anycast_(anycast) {}

  static Peer PeerOf(const Address& address) {
    const Address::Ipv4Bytes ip = address.ipv4();
    Peer peer;
    uint8_t bytes[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ip[0], ip[1], ip[2], ip[3]};
    std::memcpy(peer.words, bytes, sizeof(bytes));
    uint8_t port[2];
    StoreBig16(port, address.port());
    uint16_t stored;
    std::memcpy(&stored, port, sizeof(stored));
    peer.words[2] = stored;
    return peer;
  }

  Address local_address() const override { return Address::Ipv4({10, 0, 0, 1}, 8000); }
  absl::StatusOr<Peer> Resolve(const Address& address) override { return PeerOf(address); }
  absl::StatusOr<Address> AddressOf(const Peer& peer) const override {
    const auto* const bytes = reinterpret_cast<const uint8_t*>(peer.words);
    return Address::Ipv4({bytes[12], bytes[13], bytes[14], bytes[15]}, LoadBig16(bytes + 16));
  }
  size_t Receive(absl::Span<Datagram> burst) override {
    if (!full_) return 0;
    full_ = false;
    for (size_t i = 0; i < kRequests; ++i) {
      burst[i].peer = clients_[next_ % clients_.size()];
      burst[i].buffer = pool().Allocate();
      WriteRequest(burst[i].buffer);
      ++next_;
    }
    size_t n = kRequests;
    const size_t server = turn_++ % kServers;
    std::vector<uint64_t>& done = done_[server];
    const size_t count = std::min<size_t>(done.size(), 100);
    if (count > 0) {
      burst[n].peer = servers_[server];
      burst[n].buffer = pool().Allocate();
      WriteFeedback(burst[n].buffer, server, count);
      ++n;
    }
    return n;
  }
  size_t Send(absl::Span<Datagram> burst) override {
    for (Datagram& datagram : burst) {
      Address client;
      const absl::Span<const uint8_t> bytes = datagram.buffer.bytes();
      const size_t route = r2p2::ReadRoute(bytes, &client);
      if (route > 0) Sent(datagram, r2p2::ClientIdOf(client), route);
      datagram.buffer.Reset();  // of others: an answer
    }
    return burst.size();
  }
  size_t Forward(absl::Span<Datagram> burst, absl::Span<const Peer> sources) override {
    for (size_t i = 0; i < burst.size(); ++i) Sent(burst[i], r2p2::ClientIdOf(sources[i]), 0);
    return burst.size();
  }

  void Refill() { full_ = true; }

 private:
  size_t DoTakeEvents(absl::Span<PortEvent>) override { return 0; }

  void WriteRequest(Buffer& buffer) {
    const auto rid = static_cast<uint16_t>(next_ / clients_.size() % 64);
    if (anycast_) {
      r2p2::WriteAnycast({.policy = r2p2::Policy::kLbRoute,
                          .first = true,
                          .last = true,
                          .from_session = 1,
                          .request_id = (next_ / (64 * clients_.size()) + 1) << 16 | rid},
                         {.incarnation = 1}, buffer.Append(r2p2::kAnycastHeaderBytes));
    } else {
      r2p2::WriteHeader(
          {.policy = r2p2::Policy::kLbRoute, .first = true, .last = true, .request_id = rid},
          buffer.Append(r2p2::kHeaderBytes));
    }
    std::memset(buffer.Append(32), 0, 32);
  }
  void WriteFeedback(Buffer& buffer, size_t server, size_t count) {
    std::vector<uint64_t>& done = done_[server];
    r2p2::WriteFeedbackBatch({.incarnation = 1, .first = sent_[server], .count = count},
                             buffer.Append(r2p2::kFeedbackBatchHeaderBytes));
    for (size_t i = 0; i < count; ++i) {
      r2p2::WriteFeedbackEntry({done[i], 1000}, buffer.Append(r2p2::kFeedbackEntryBytes));
    }
    sent_[server] += count;
    done.erase(done.begin(), done.begin() + static_cast<ptrdiff_t>(count));
  }
  void Sent(Datagram& datagram, uint64_t client, size_t route) {
    const uint16_t rid = LoadBig16(datagram.buffer.data() + route + 4);
    const size_t server = reinterpret_cast<const uint8_t*>(datagram.peer.words)[15] % kServers;
    done_[server].push_back(r2p2::RequestKey(client, anycast_ ? 1 : 0, rid));
    datagram.buffer.Reset();
  }

  const bool anycast_;
  bool full_ = false;
  uint64_t next_ = 0;
  size_t turn_ = 0;
  std::vector<Peer> clients_ = [] {
    std::vector<Peer> clients;
    for (uint16_t i = 0; i < 64; ++i) {
      clients.push_back(PeerOf(Address::Ipv4({10, 0, 2, 1}, static_cast<uint16_t>(1000 + i))));
    }
    return clients;
  }();
  std::vector<Peer> servers_ = [] {
    std::vector<Peer> servers;
    for (size_t i = 0; i < kServers; ++i) servers.push_back(PeerOf(ServerAddress(i)));
    return servers;
  }();
  std::vector<uint64_t> done_[kServers];
  uint64_t sent_[kServers] = {};
};

}  // namespace weft::router

#endif  // WEFT_ROUTER_BURST_PORT_H_
