// SPDX-License-Identifier: Apache-2.0
//
// For fuzz tests: a port that delivers what it is given, and shows what is sent through it.
#ifndef WEFT_RPC_FUZZ_PORT_H_
#define WEFT_RPC_FUZZ_PORT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/rpc/fuzz_bulk.h"
#include "weft/transports/datagram_port.h"

namespace weft::rpc {

class FuzzPort : public DatagramPort {
 public:
  // `bulk`: with a way for long messages.
  explicit FuzzPort(bool bulk = false)
      : DatagramPort({.datagrams = true,
                      .max_payload_bytes = 1472,
                      .bulk_min_bytes = bulk ? FuzzBulk::kMinBytes : 0},
                     BufferPoolOptions{.count = 64}) {}

  // Is received as from that peer; lost if there is no buffer left.
  void Deliver(uint64_t peer, absl::Span<const uint8_t> bytes) {
    Buffer buffer = pool().Allocate();
    if (!buffer) return;
    std::memcpy(buffer.Append(bytes.size()), bytes.data(), bytes.size());
    arriving_.push_back({{{peer}}, std::move(buffer)});
  }

  FuzzBulk* bulk() override { return capabilities_.bulk_min_bytes != 0 ? &bulk_ : nullptr; }
  Address local_address() const override { return Address::Sim("fuzz"); }
  absl::StatusOr<Peer> Resolve(const Address&) override { return Peer{{1}}; }
  absl::StatusOr<Address> AddressOf(const Peer&) const override { return local_address(); }
  size_t Receive(absl::Span<Datagram> burst) final {
    const size_t n = std::min(burst.size(), arriving_.size());
    std::move(arriving_.begin(), arriving_.begin() + static_cast<ptrdiff_t>(n), burst.begin());
    arriving_.erase(arriving_.begin(), arriving_.begin() + static_cast<ptrdiff_t>(n));
    return n;
  }
  size_t Send(absl::Span<Datagram> burst) final {
    for (Datagram& datagram : burst) {
      OnSent(datagram.buffer.bytes());
      datagram.buffer.Reset();
    }
    return burst.size();
  }

 private:
  // Looks at what was sent.
  virtual void OnSent(absl::Span<const uint8_t> bytes) = 0;

  size_t DoTakeEvents(absl::Span<PortEvent>) override { return 0; }

  std::vector<Datagram> arriving_;
  FuzzBulk bulk_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_FUZZ_PORT_H_
