// SPDX-License-Identifier: Apache-2.0
//
// For tests and benchmarks of a server alone: a port that makes the requests of any number of
// clients itself, as fast as they are taken, and swallows the replies.
#ifndef WEFT_RPC_SERVER_WORKLOAD_H_
#define WEFT_RPC_SERVER_WORKLOAD_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/prng.h"
#include "weft/r2p2/route_wire.h"
#include "weft/rpc/wire.h"
#include "weft/transports/datagram_port.h"

namespace weft::rpc {

class WorkloadPort final : public DatagramPort {
 public:
  // `clients` of the extended format, in no particular order; 0: one of the original.
  explicit WorkloadPort(size_t clients, size_t request_bytes = 64)
      : DatagramPort({.datagrams = true, .max_payload_bytes = 1472},
                     BufferPoolOptions{.count = 1024}),
        clients_(clients),
        request_bytes_(request_bytes) {
    std::vector<uint32_t> numbers(clients);
    std::iota(numbers.begin(), numbers.end(), 1);
    Prng random(1);
    for (size_t i = clients; i > 1; --i) std::swap(numbers[i - 1], numbers[random.Below(i)]);
    for (size_t i = 0; i < clients; ++i) clients_[i].number = numbers[i];
    by_number_.resize(clients + 1);
    for (size_t i = 0; i < clients; ++i) by_number_[numbers[i]] = i;
  }

  // Requests are made until then; every client opens its session first.
  void Allow(uint64_t requests) { allowed_ += requests; }
  // From now on, what the client of the original format sends comes through a router, which puts
  // the client's address in front of it.
  void PassRouter() { routed_ = true; }
  uint64_t replies() const { return replies_; }
  size_t open() const { return open_; }

  Address local_address() const override { return Address::Ipv4({127, 0, 0, 1}, 7000); }
  absl::StatusOr<Peer> Resolve(const Address&) override { return Peer{{1}}; }
  absl::StatusOr<Address> AddressOf(const Peer&) const override { return local_address(); }

  size_t Receive(absl::Span<Datagram> burst) override {
    size_t n = 0;
    for (Datagram& datagram : burst) {
      if (hello_ == clients_.size() && allowed_ == 0) break;
      if (hello_ == clients_.size() && open_ < hello_) break;
      datagram.buffer = pool().Allocate();
      if (!datagram.buffer) break;
      ++n;
      if (hello_ < clients_.size()) {
        datagram.peer = {{clients_[hello_].number}};
        WriteHelloOf(clients_[hello_++], datagram.buffer);
        continue;
      }
      --allowed_;
      if (clients_.empty()) {
        datagram.peer = {{1}};
        WriteHeader({.first = true, .last = true, .request_id = ++rid_},
                    datagram.buffer.Append(kHeaderBytes + request_bytes_));
        if (routed_) {
          const absl::Span<const uint8_t> request = datagram.buffer.bytes();
          WriteRoute(client_address_, request,
                     datagram.buffer.Prepend(RouteBytes(client_address_)));
        }
        continue;
      }
      Client& client = clients_[next_];
      if (++next_ == clients_.size()) next_ = 0;
      datagram.peer = {{client.number}};
      WriteExtendedHeader({.first = true,
                           .last = true,
                           .session = client.server_number,
                           .from_session = client.number,
                           .key = client.key,
                           .deadline_us = 1'000'000,
                           .request_id = ++client.sequence << 16,
                           .credits = 16},
                          datagram.buffer.Append(kExtendedHeaderBytes + request_bytes_));
    }
    return n;
  }

  size_t Send(absl::Span<Datagram> burst) override {
    for (Datagram& datagram : burst) {
      const absl::Span<const uint8_t> bytes = datagram.buffer.bytes();
      if (open_ < clients_.size()) {
        OnHelloAck(bytes);
      } else if (bytes[2] >> 4 == static_cast<uint8_t>(MessageType::kResponse)) {
        ++replies_;
      }
      datagram.buffer.Reset();
    }
    return burst.size();
  }

 private:
  struct Client {
    uint32_t number = 0;
    uint32_t server_number = 0;
    uint32_t key = 0;
    uint64_t sequence = 0;
  };

  size_t DoTakeEvents(absl::Span<PortEvent>) override { return 0; }

  static void WriteHelloOf(const Client& client, Buffer& buffer) {
    constexpr size_t kBytes = 1472;
    uint8_t* const out = buffer.Append(kBytes);
    std::memset(out, 0, kBytes);
    WriteExtendedHeader({.type = MessageType::kAck,
                         .first = true,
                         .last = true,
                         .from_session = client.number,
                         .key = 1,
                         .kind = ControlKind::kHello},
                        out);
    WriteHello(
        {.slots = 128, .packet_bytes = kBytes, .incarnation = 7, .timeout_us = 3'600'000'000},
        out + kExtendedHeaderBytes);
  }

  void OnHelloAck(absl::Span<const uint8_t> bytes) {
    ExtendedHeader header;
    Hello hello;
    if (!ReadExtendedHeader(bytes, &header) ||
        !ReadHello(bytes.subspan(kExtendedHeaderBytes), &hello)) {
      return;
    }
    Client& client = clients_[by_number_[header.session]];
    client.server_number = header.from_session;
    client.key = hello.key;
    ++open_;
  }

  std::vector<Client> clients_;
  std::vector<size_t> by_number_;
  const size_t request_bytes_;
  size_t hello_ = 0;  // clients that have said hello
  size_t open_ = 0;
  size_t next_ = 0;
  uint16_t rid_ = 0;
  uint64_t allowed_ = 0;
  uint64_t replies_ = 0;
  bool routed_ = false;
  const Address client_address_ = Address::Ipv4({127, 0, 0, 1}, 7001);
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVER_WORKLOAD_H_
