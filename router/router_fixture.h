// SPDX-License-Identifier: Apache-2.0
//
// For tests of routers: a router over a simulated network, and clients and servers whose every
// packet the test makes and sees.
#ifndef WEFT_ROUTER_ROUTER_FIXTURE_H_
#define WEFT_ROUTER_ROUTER_FIXTURE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/loop.h"
#include "weft/core/virtual_time.h"
#include "weft/r2p2/route_wire.h"
#include "weft/router/router.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::router {

using Bytes = std::vector<uint8_t>;

inline constexpr int64_t kMs = 1'000'000;

// An endpoint that is worked by hand.
class Endpoint {
 public:
  struct Packet {
    Address from;
    Bytes bytes;
    r2p2::Header original;
    r2p2::ExtendedHeader header;  // where it is in the extended format

    bool extended() const { return r2p2::IsExtended(bytes); }
    absl::Span<const uint8_t> body() const {
      return absl::MakeSpan(bytes).subspan(r2p2::kExtendedHeaderBytes);
    }
  };

  Endpoint(Transport& transport, const std::string& name)
      : port_(*transport.OpenDatagramPort({.local = Address::Sim(name)})),
        id_(r2p2::ClientIdOf(port_->local_address())) {}

  Address address() const { return port_->local_address(); }
  uint64_t id() const { return id_; }
  DatagramPort& port() { return *port_; }

  void Send(const Address& to, absl::Span<const uint8_t> bytes) {
    Datagram datagram[1] = {{*port_->Resolve(to), port_->pool().Allocate()}};
    uint8_t* const out = datagram[0].buffer.Append(bytes.size());
    if (!bytes.empty()) std::memcpy(out, bytes.data(), bytes.size());
    ASSERT_EQ(port_->Send(absl::MakeSpan(datagram)), 1u);
  }
  std::optional<Packet> TryReceive() {
    Datagram datagram[1];
    if (port_->Receive(absl::MakeSpan(datagram)) == 0) return std::nullopt;
    const absl::Span<const uint8_t> bytes = datagram[0].buffer.bytes();
    Packet packet = {*port_->AddressOf(datagram[0].peer), {bytes.begin(), bytes.end()}, {}, {}};
    if (packet.extended()) {
      EXPECT_TRUE(r2p2::ReadExtendedHeader(packet.bytes, &packet.header));
    } else {
      r2p2::ReadHeader(packet.bytes, &packet.original);
    }
    return packet;
  }
  // All that is there, but for questions whether it lives. Returns how many that was.
  size_t ReceiveAll() {
    size_t n = 0;
    while (const auto packet = TryReceive()) {
      n += packet->header.kind != r2p2::ControlKind::kPing;
    }
    return n;
  }

 private:
  std::unique_ptr<DatagramPort> port_;
  uint64_t id_;
};

inline Bytes OriginalRequest(uint16_t rid, r2p2::Policy policy = r2p2::Policy::kLbRoute,
                             const std::string& payload = "1234") {
  Bytes bytes(r2p2::kHeaderBytes + payload.size());
  r2p2::WriteHeader({.policy = policy, .first = true, .last = true, .request_id = rid},
                    bytes.data());
  std::memcpy(bytes.data() + r2p2::kHeaderBytes, payload.data(), payload.size());
  return bytes;
}

// Of the client's pool number 5.
inline Bytes AnycastRequest(uint64_t sequence, uint16_t slot = 1, uint32_t age_us = 0,
                            bool resent = false, r2p2::Policy policy = r2p2::Policy::kLbRoute,
                            uint64_t incarnation = 77) {
  Bytes bytes(r2p2::kAnycastHeaderBytes + 4, 'x');
  r2p2::WriteAnycast({.policy = policy,
                      .first = true,
                      .last = true,
                      .resent = resent,
                      .from_session = 5,
                      .request_id = sequence << 16 | slot,
                      .timestamp = 1000},
                     {.incarnation = incarnation, .age_us = age_us}, bytes.data());
  return bytes;
}

inline Bytes Control(r2p2::ControlKind kind, uint32_t key, absl::Span<const uint8_t> body = {},
                     uint32_t from_session = 1) {
  Bytes bytes(r2p2::kExtendedHeaderBytes + body.size());
  r2p2::WriteExtendedHeader({.type = r2p2::MessageType::kAck,
                             .first = true,
                             .last = true,
                             .from_session = from_session,
                             .key = key,
                             .kind = kind},
                            bytes.data());
  if (!body.empty()) std::memcpy(&bytes[r2p2::kExtendedHeaderBytes], body.data(), body.size());
  return bytes;
}

inline Bytes MembershipPacket(r2p2::ControlKind kind, const r2p2::Membership& membership,
                              uint32_t key = 9) {
  uint8_t body[r2p2::kMembershipBytesMax];
  const size_t size = r2p2::WriteMembership(membership, body);
  return Control(kind, key, {body, size});
}

inline Bytes FeedbackPacket(uint64_t incarnation, uint64_t first,
                            absl::Span<const uint64_t> requests) {
  Bytes bytes(r2p2::kFeedbackBatchHeaderBytes + requests.size() * r2p2::kFeedbackEntryBytes);
  r2p2::WriteFeedbackBatch({incarnation, first, requests.size()}, bytes.data());
  for (size_t i = 0; i < requests.size(); ++i) {
    r2p2::WriteFeedbackEntry(
        {.request = requests[i], .service_ns = 1000},
        &bytes[r2p2::kFeedbackBatchHeaderBytes + i * r2p2::kFeedbackEntryBytes]);
  }
  return bytes;
}

// A router "sim:router", with as many endpoints as the test likes.
class RouterNetwork {
 public:
  explicit RouterNetwork(uint64_t seed = 1, const sim::LinkOptions& link = {.latency_ns = 5000})
      : network_(seed, link), transport_(sim::OpenTransport(&network_)), loop_({}, network_) {}

  static RouterOptions Options() {
    RouterOptions options;
    options.listen = options.control = Address::Sim("router");
    options.seed = 1;
    return options;
  }
  void Start(const RouterOptions& options) {
    auto router = Router::Create(loop_, *transport_->OpenDatagramPort({.local = options.listen}),
                                 nullptr, options);
    ASSERT_TRUE(router.ok()) << router.status();
    router_ = *std::move(router);
  }
  // Makes servers "server0", "server1" ..., configured.
  void StartWithServers(size_t count, RouterOptions options = Options()) {
    for (size_t i = 0; i < count; ++i) {
      servers_.push_back(std::make_unique<Endpoint>(*transport_, "server" + std::to_string(i)));
      options.servers.push_back({servers_[i]->address()});
    }
    Start(options);
  }
  void RunFor(int64_t ns = kMs) {
    const int64_t end_ns = network_.NowNs() + ns;
    network_.events().At(end_ns, [] {});  // time does not stop before
    RunVirtual(
        network_, {&loop_}, [] { return false; }, end_ns);
  }
  Address router_address() const { return Address::Sim("router"); }
  const RouterStats& stats() const { return router_->stats(); }
  const DispatcherStats& dispatcher_stats() const { return router_->dispatcher().stats(); }
  uint64_t outstanding() const { return router_->dispatcher().servers().outstanding(); }
  std::string StateOf(const Address& server) const {
    std::string state = "none";
    router_->ForEachMember([&](const Member& member) {
      if (member.server.address == server) state = NameOf(member.state);
    });
    return state;
  }
  void ExpectNothingHeld() {
    EXPECT_EQ(outstanding(), 0u);
    EXPECT_EQ(router_->dispatcher().queue_length(), 0u);
    EXPECT_EQ(router_->port().pool().available(), router_->port().pool().count());
  }

  sim::Network network_;
  std::unique_ptr<Transport> transport_;
  Loop loop_;
  std::vector<std::unique_ptr<Endpoint>> servers_;
  std::unique_ptr<Router> router_;
};

class RouterTest : public testing::Test, protected RouterNetwork {};

}  // namespace weft::router

#endif  // WEFT_ROUTER_ROUTER_FIXTURE_H_
