// SPDX-License-Identifier: Apache-2.0
//
// A router to which anybody says anything at any time. The input is a list of steps of eight bytes:
// packets of clients and servers, right or bent, time that passes, changes by people. Whatever
// happens, nothing is lost: once it is quiet, all slots and all buffers are back.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/r2p2/route_wire.h"
#include "weft/router/router.h"
#include "weft/rpc/fuzz_port.h"

namespace weft::router {
namespace {

using r2p2::ControlKind;

constexpr uint64_t kPeers = 8;  // the last four are servers

// Its peers have names, and what is sent must be what somebody could read.
class NamedPort final : public rpc::FuzzPort {
 public:
  NamedPort() { capabilities_.keeps_foreign_source = true; }
  Address local_address() const override { return Address::Sim("router"); }
  absl::StatusOr<Peer> Resolve(const Address& address) override {
    if (address.kind() != Address::Kind::kSim || address.name().size() != 2) {
      return absl::NotFoundError("nobody");
    }
    return Peer{{static_cast<uint64_t>(address.name()[1] - 'a' + 1)}};
  }
  absl::StatusOr<Address> AddressOf(const Peer& peer) const override {
    return NameOf(peer.words[0]);
  }
  static Address NameOf(uint64_t peer) {
    return Address::Sim(std::string("p") + static_cast<char>('a' + (peer - 1) % 26));
  }
  size_t Forward(absl::Span<Datagram> burst, absl::Span<const Peer> sources) override {
    for (const Peer& source : sources) {
      if (!source) std::abort();
    }
    return Send(burst);
  }

 private:
  void OnSent(absl::Span<const uint8_t> bytes) override {
    r2p2::ExtendedHeader header;
    r2p2::Header original;
    r2p2::Anycast anycast;
    Address client;
    const size_t route = r2p2::ReadRoute(bytes, &client);
    bytes.remove_prefix(route);
    if (!r2p2::ReadExtendedHeader(bytes, &header) && !r2p2::ReadHeader(bytes, &original) &&
        !r2p2::ReadAnycast(bytes, &header, &anycast)) {
      std::abort();
    }
  }
};

class Run {
 public:
  explicit Run(uint8_t mode) : loop_({}, clock_) {
    auto port = std::make_unique<NamedPort>();
    port_ = port.get();
    options_.listen = options_.control = Address::Sim("router");
    options_.policy = (mode & 1) != 0 ? "jbsq" : "power_of_two";
    options_.forwarding = (mode & 2) != 0 ? RouterOptions::Forwarding::kKeepSource
                                          : RouterOptions::Forwarding::kAddressInHeader;
    options_.join = true;
    options_.servers_max = 3;
    options_.queue_max = 8;
    options_.placements_max = 16;
    options_.lease = absl::Milliseconds(50);
    options_.keepalive = absl::Milliseconds(10);
    options_.tenants = {{.name = "a", .clients = {"sim:pa"}}};
    options_.seed = 1;
    options_.servers = {{.address = NamedPort::NameOf(5)}, {.address = NamedPort::NameOf(6)}};
    auto router = Router::Create(loop_, std::move(port), nullptr, options_);
    if (!router.ok()) std::abort();
    router_ = *std::move(router);
  }

  void Step(const uint8_t* s) {
    const uint64_t peer = 1 + s[1] % kPeers;
    const uint64_t id = uint64_t{s[2]} << 16 | (s[3] & 3u);
    uint8_t body[1000] = {};
    switch (s[0] % 12) {
      case 0: {
        r2p2::WriteHeader({.policy = static_cast<r2p2::Policy>(s[2] % 4),
                           .first = (s[4] & 1) == 0,
                           .last = (s[4] & 2) == 0,
                           .request_id = s[3],
                           .packet_order = static_cast<uint16_t>(1 + (s[4] & 1))},
                          body);
        return Packet(peer, body, 8u + s[5]);
      }
      case 1:
      case 2:
        r2p2::WriteAnycast({.policy = static_cast<r2p2::Policy>(s[4] % 2),
                            .first = true,
                            .last = true,
                            .resent = (s[5] & 1) != 0,
                            .from_session = 1 + (s[5] & 2u),
                            .request_id = id,
                            .timestamp = s[6]},
                           {.incarnation = 1, .affinity = s[7], .age_us = s[6] * 1000u}, body);
        return Packet(peer, body, r2p2::kAnycastHeaderBytes + s[7]);
      case 3:
      case 4: {
        const size_t count = 1 + s[2] % 3u;
        r2p2::WriteFeedbackBatch({.incarnation = s[3] & 3u, .first = s[4], .count = count}, body);
        for (size_t i = 0; i < count; ++i) {
          const uint64_t client = r2p2::ClientIdOf(NamedPort::NameOf(1 + s[5 + i] % kPeers));
          r2p2::WriteFeedbackEntry(
              {r2p2::RequestKey(client, s[3] & 3u, s[2] & 3u), 0},
              body + r2p2::kFeedbackBatchHeaderBytes + i * r2p2::kFeedbackEntryBytes);
        }
        return Packet(peer, body,
                      r2p2::kFeedbackBatchHeaderBytes + count * r2p2::kFeedbackEntryBytes);
      }
      case 5: {
        const size_t size = r2p2::WriteMembership(
            {.incarnation = s[2] & 3u,
             .slots = s[3],
             .weight = static_cast<uint16_t>(s[4] + 1),
             .keepalive_us = 1 + s[5] * 1000u,
             .address = (s[6] & 1) != 0 ? Address() : NamedPort::NameOf(1 + s[6] % kPeers)},
            body + r2p2::kExtendedHeaderBytes);
        return Control(peer, (s[7] & 1) != 0 ? ControlKind::kJoin : ControlKind::kLeave, body, size,
                       s[7]);
      }
      case 6:
        r2p2::WriteHello({.slots = s[2], .packet_bytes = 4u * s[3], .timeout_us = s[4]},
                         body + r2p2::kExtendedHeaderBytes);
        return Control(peer, static_cast<ControlKind>(1 + s[5] % 15), body, s[6] * 3u, s[7]);
      case 7:
        clock_.Advance(int64_t{s[1]} << (s[2] % 20));
        break;
      case 8:
        bend_ = s[1] % 64;
        bend_by_ = s[2];
        break;
      case 9:
        return Change(s);
      case 10:
        return Packet(peer, s, 8);
      default:
        loop_.RunOnce();
    }
  }

  void End() {
    // Those that wait get their turn, or are told that there is no server.
    for (int i = 0; i < 300; ++i) {
      clock_.Advance(5'000'000);
      loop_.RunOnce();
    }
    const Dispatcher& dispatcher = router_->dispatcher();
    BufferPool& pool = port_->pool();
    if (dispatcher.servers().outstanding() != 0 || dispatcher.outstanding() != 0 ||
        dispatcher.queue_length() != 0 || pool.available() != pool.count() ||
        dispatcher.servers().size() > 3) {
      std::abort();
    }
    JsonWriter json;
    router_->Describe(json);
    router_.reset();
  }

 private:
  void Change(const uint8_t* s) {
    const Address address = NamedPort::NameOf(1 + s[1] % kPeers);
    switch (s[2] % 4) {
      case 0:
        (void)router_->Add({.address = address, .slots = s[3]});
        break;
      case 1:
        (void)router_->Drain(address);
        break;
      case 2:
        (void)router_->Remove(address);
        break;
      default:
        options_.servers = {{.address = address, .slots = s[3]}};
        options_.queue_max = 1 + s[4] % 16u;
        options_.policy = (s[5] & 1) != 0 ? "affinity" : "jbsq";
        options_.tenants.resize(1 + s[6] % 2u, {.name = "b", .clients = {"sim:pb"}, .weight = 3});
        // There may be no room for it beside those that joined.
        const absl::Status applied = router_->Apply(options_);
        if (!applied.ok() && !absl::IsResourceExhausted(applied)) std::abort();
    }
  }
  void Control(uint64_t peer, ControlKind kind, uint8_t* packet, size_t body_bytes, uint8_t key) {
    r2p2::WriteExtendedHeader({.type = r2p2::MessageType::kAck,
                               .first = true,
                               .last = true,
                               .from_session = 1,
                               .key = key,
                               .kind = kind},
                              packet);
    Packet(peer, packet, r2p2::kExtendedHeaderBytes + body_bytes);
  }
  void Packet(uint64_t peer, const uint8_t* packet, size_t size) {
    std::vector<uint8_t> bytes(packet, packet + size);
    if (bend_ < size) bytes[bend_] ^= std::exchange(bend_by_, 0);
    port_->Deliver(peer, bytes);
  }

  ManualClock clock_;
  Loop loop_;
  NamedPort* port_ = nullptr;
  RouterOptions options_;
  std::unique_ptr<Router> router_;
  size_t bend_ = 0;
  uint8_t bend_by_ = 0;
};

}  // namespace
}  // namespace weft::router

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  weft::router::Run run(size > 0 ? data[0] : 0);
  for (; size >= 8; data += 8, size -= 8) run.Step(data);
  run.End();
  return 0;
}
