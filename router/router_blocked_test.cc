// SPDX-License-Identifier: Apache-2.0
//
// A router whose port takes nothing for a while.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/loop.h"
#include "weft/router/burst_port.h"
#include "weft/router/router.h"
#include "weft/transports/sim/network.h"

namespace weft::router {
namespace {

// Keeps what is sent from leaving as long as it is shut.
class SluicePort final : public DatagramPort {
 public:
  SluicePort()
      : DatagramPort({.datagrams = true,
                      .max_payload_bytes = 1472,
                      .max_burst = 32,
                      .keeps_foreign_source = true},
                     BufferPoolOptions{.count = 8192}) {}

  Address local_address() const override { return Address::Ipv4({10, 0, 0, 1}, 8000); }
  absl::StatusOr<Peer> Resolve(const Address& address) override {
    return BurstPort::PeerOf(address);
  }
  absl::StatusOr<Address> AddressOf(const Peer&) const override {
    return Address::Ipv4({10, 0, 2, 1}, 1000);
  }
  size_t Receive(absl::Span<Datagram> burst) override {
    const size_t n = std::min<size_t>({burst.size(), 32, static_cast<size_t>(arriving_)});
    for (size_t i = 0; i < n; ++i) {
      burst[i].peer = BurstPort::PeerOf(Address::Ipv4({10, 0, 2, 1}, 1000));
      burst[i].buffer = pool().Allocate();
      r2p2::WriteHeader(
          {.policy = r2p2::Policy::kLbRoute, .first = true, .last = true, .request_id = next_++},
          burst[i].buffer.Append(r2p2::kHeaderBytes));
    }
    arriving_ -= static_cast<int>(n);
    return n;
  }
  size_t Send(absl::Span<Datagram> burst) override { return Take(burst); }
  size_t Forward(absl::Span<Datagram> burst, absl::Span<const Peer>) override {
    return Take(burst);
  }

  int arriving_ = 0;
  bool shut_ = false;
  size_t sent_ = 0;

 private:
  size_t Take(absl::Span<Datagram> burst) {
    if (shut_) return 0;
    for (Datagram& datagram : burst) datagram.buffer.Reset();
    sent_ += burst.size();
    return burst.size();
  }
  size_t DoTakeEvents(absl::Span<PortEvent>) override { return 0; }

  uint16_t next_ = 0;
};

TEST(RouterBlockedTest, WhatCannotLeaveWaitsAndIsNotLost) {
  sim::Network network(1);
  Loop loop({.mode = LoopMode::kBusy}, network);
  auto owned = std::make_unique<SluicePort>();
  SluicePort& port = *owned;
  RouterOptions options;
  options.listen = options.control = port.local_address();
  options.servers = {{.address = ServerAddress(0), .slots = 1}};
  options.lease = absl::Seconds(1000);
  auto router = *Router::Create(loop, std::move(owned), nullptr, options);
  const auto run = [&] {
    for (int i = 0; i < 500; ++i) loop.RunOnce();
  };

  constexpr size_t kArriving = 3001;
  port.arriving_ = kArriving;
  run();
  ASSERT_EQ(router->dispatcher().queue_length(), kArriving - 1);
  port.shut_ = true;
  options.servers[0].slots = 60'000;
  ASSERT_TRUE(router->Apply(options).ok());
  run();
  EXPECT_GT(router->dispatcher().queue_length(), 0u);
  EXPECT_EQ(router->stats().send_overflows.value(), 0u);
  EXPECT_EQ(port.sent_, 1u);
  port.shut_ = false;
  run();
  EXPECT_EQ(port.sent_, kArriving);
  EXPECT_EQ(router->dispatcher().queue_length(), 0u);
  EXPECT_EQ(port.pool().available(), port.pool().count());
}

}  // namespace
}  // namespace weft::router
