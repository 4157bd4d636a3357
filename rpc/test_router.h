// SPDX-License-Identifier: Apache-2.0
//
// For tests: a router with no more than what clients and servers can see of one. It has no queue
// and takes no FEEDBACK; it remembers where it has sent each client's latest requests until it
// ends.
#ifndef WEFT_RPC_TEST_ROUTER_H_
#define WEFT_RPC_TEST_ROUTER_H_

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "weft/core/bytes.h"
#include "weft/core/loop.h"
#include "weft/core/prng.h"
#include "weft/rpc/wire.h"
#include "weft/transports/datagram_port.h"

namespace weft::rpc {

class TestRouter final : public Pollable {
 public:
  struct Options {
    uint64_t seed = 1;
    uint16_t slots = 64;  // that clients get
    uint32_t timeout_us = 1'000'000;
    double refuse = 0;         // requests that are told that there is no server
    int64_t hold_ns_max = 0;   // for which a request may wait, as if in a queue
    int64_t remembers_ns = 0;  // of the past: since when it can have seen all requests
  };

  TestRouter(Loop& loop, std::unique_ptr<DatagramPort> port, const Options& options)
      : loop_(loop),
        port_(std::move(port)),
        options_(options),
        random_(options.seed),
        incarnation_(random_.Next() | 1),
        began_ns_(loop.now_ns()) {
    loop_.Add(this);
  }
  ~TestRouter() override { loop_.Remove(this); }

  void Add(const Address& server) { servers_.push_back(*port_->Resolve(server)); }
  // Gets no more requests.
  void Remove(const Address& server) { std::erase(servers_, *port_->Resolve(server)); }
  // Overrides the choice among the servers, by their number.
  std::function<size_t(const ExtendedHeader&, const Anycast&)> choose;

  uint64_t placed() const { return placed_; }
  uint64_t duplicates() const { return duplicates_; }
  uint64_t cancels() const { return cancels_; }
  uint64_t others() const { return others_; }  // packets that are not for routers
  DatagramPort& port() { return *port_; }

  size_t Poll() override {
    std::array<Datagram, 32> burst;
    const size_t n = port_->Receive(absl::MakeSpan(burst));
    for (size_t i = 0; i < n; ++i) OnDatagram(burst[i]);
    SendHeld();
    return n;
  }
  bool Arm() override { return port_->Arm(); }
  void Disarm() override { port_->Disarm(); }

 private:
  using Slot = std::tuple<uint64_t, uint32_t, uint16_t>;  // client, pool, slot
  struct Placement {
    uint64_t request_id = 0;
    std::optional<Peer> server;  // none: refused
  };
  struct Held {
    int64_t since_ns;
    int64_t until_ns;
    Peer client;
    Datagram datagram;
  };

  void OnDatagram(Datagram& datagram) {
    ExtendedHeader header;
    Anycast anycast;
    const absl::Span<const uint8_t> bytes = datagram.buffer.bytes();
    if (ReadAnycast(bytes, &header, &anycast)) {
      OnRequest(datagram, header, anycast);
    } else if (ReadExtendedHeader(bytes, &header) && header.kind == ControlKind::kHello) {
      uint8_t body[kHelloBytes];
      Hello hello;
      if (!ReadHello(bytes.subspan(kExtendedHeaderBytes), &hello)) return;
      WriteHello({.slots = std::min(hello.slots, options_.slots),
                  .packet_bytes = hello.packet_bytes,
                  .incarnation = incarnation_,
                  .timeout_us = options_.timeout_us,
                  .key = static_cast<uint32_t>(incarnation_)},
                 body);
      Answer(datagram.peer, header, MessageType::kAck, ControlKind::kPool, header.key,
             DropReason::kNone, body);
    } else if (header.kind == ControlKind::kPing) {
      Answer(datagram.peer, header, MessageType::kAck, ControlKind::kPong,
             static_cast<uint32_t>(incarnation_), DropReason::kNone, {});
    } else {
      ++others_;
    }
  }

  void OnRequest(Datagram& datagram, const ExtendedHeader& header, const Anycast& anycast) {
    Placement& placement = placements_[{anycast.incarnation, header.from_session, header.slot()}];
    if (header.request_id < placement.request_id) return;  // late
    if (header.kind == ControlKind::kCancel) {
      if (header.request_id == placement.request_id && placement.server.has_value()) {
        ++cancels_;
        Pass(datagram, *placement.server);
      }
      return;
    }
    if (header.request_id == placement.request_id) {
      ++duplicates_;
      return placement.server.has_value() ? Pass(datagram, *placement.server)
                                          : Drop(datagram.peer, header, DropReason::kNoServer);
    }
    const int64_t remembers_ns = loop_.now_ns() - began_ns_ + options_.remembers_ns;
    if (header.resent && anycast.age_us * int64_t{1000} >= remembers_ns) {
      return Drop(datagram.peer, header, DropReason::kReplyGone);
    }
    placement = {header.request_id, std::nullopt};
    if (servers_.empty() || random_.Chance(options_.refuse)) {
      return Drop(datagram.peer, header, DropReason::kNoServer);
    }
    const size_t index =
        (choose ? choose(header, anycast) : random_.Below(servers_.size())) % servers_.size();
    placement.server = servers_[index];
    ++placed_;
    if (options_.hold_ns_max == 0) return Pass(datagram, *placement.server);
    const int64_t now_ns = loop_.now_ns();
    const auto until_ns = now_ns + static_cast<int64_t>(random_.Below(options_.hold_ns_max));
    held_.push_back({now_ns, until_ns, datagram.peer, std::move(datagram)});
    held_.back().datagram.peer = *placement.server;
    loop_.timers().Schedule(wake_, until_ns);
  }

  void Pass(Datagram& datagram, const Peer& server) {
    const Peer client[] = {std::exchange(datagram.peer, server)};
    port_->Forward({&datagram, 1}, client);
  }

  // The time for which it waited here is not the network's.
  void SendHeld() {
    const int64_t now_ns = loop_.now_ns();
    std::vector<Held> waiting;
    for (Held& held : std::exchange(held_, {})) {
      if (held.until_ns > now_ns) {
        waiting.push_back(std::move(held));
        continue;
      }
      uint8_t* const timestamp = held.datagram.buffer.data() + 32;
      StoreBig32(timestamp, LoadBig32(timestamp) + static_cast<uint32_t>(now_ns - held.since_ns));
      held.datagram.buffer.offload() = {};
      port_->Forward({&held.datagram, 1}, {&held.client, 1});
    }
    held_ = std::move(waiting);
    for (const Held& held : held_) {
      if (!wake_.armed() || wake_.deadline_ns() > held.until_ns) {
        loop_.timers().Schedule(wake_, held.until_ns);
      }
    }
  }

  void Drop(const Peer& client, const ExtendedHeader& header, DropReason reason) {
    uint8_t body[kDropBytes];
    WriteDrop(reason == DropReason::kNoServer ? 500 : 0, body);
    Answer(client, header, MessageType::kDrop, ControlKind::kNone,
           static_cast<uint32_t>(incarnation_), reason, body);
  }

  void Answer(const Peer& client, const ExtendedHeader& question, MessageType type,
              ControlKind kind, uint32_t key, DropReason code, absl::Span<const uint8_t> body) {
    Datagram datagram[1] = {{client, port_->pool().Allocate()}};
    if (!datagram[0].buffer) return;
    uint8_t* const out = datagram[0].buffer.Append(kExtendedHeaderBytes + body.size());
    WriteExtendedHeader({.type = type,
                         .first = true,
                         .last = true,
                         .echo_valid = true,
                         .session = question.from_session,
                         .key = key,
                         .request_id = question.request_id,
                         .echo = question.timestamp,
                         .credits = options_.slots,
                         .kind = kind,
                         .code = code},
                        out);
    if (!body.empty()) std::memcpy(out + kExtendedHeaderBytes, body.data(), body.size());
    port_->Send(absl::MakeSpan(datagram));
  }

  Loop& loop_;
  const std::unique_ptr<DatagramPort> port_;
  const Options options_;
  Prng random_;
  const uint64_t incarnation_;
  const int64_t began_ns_;
  std::vector<Peer> servers_;
  std::map<Slot, Placement> placements_;
  std::vector<Held> held_;
  Timer wake_{[](void* self, int64_t) { static_cast<TestRouter*>(self)->SendHeld(); }, this};
  uint64_t placed_ = 0;
  uint64_t duplicates_ = 0;
  uint64_t cancels_ = 0;
  uint64_t others_ = 0;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_TEST_ROUTER_H_
