// SPDX-License-Identifier: Apache-2.0
//
// A server and clients that say anything at any time. The input is a list of steps of eight bytes:
// packets of a session, right or bent, time that passes, what becomes of fetches, and what the
// application does with the calls that it holds. Whatever happens, nothing is lost: once the server
// has gone, all buffers are back.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/r2p2/route_wire.h"
#include "weft/rpc/fuzz_port.h"
#include "weft/rpc/server.h"
#include "weft/rpc/wire.h"

namespace weft::rpc {
namespace {

// Learns of the session from what the server says.
class ClientPort final : public FuzzPort {
 public:
  ClientPort() : FuzzPort(/*bulk=*/true) {}

  absl::StatusOr<Peer> Resolve(const Address& address) override {
    return Peer{{address == Address::Sim("router") ? 1u : 2u}};
  }
  absl::StatusOr<Address> AddressOf(const Peer& peer) const override {
    return Address::Sim(peer.words[0] == 1 ? "router" : "client");
  }

  uint32_t session = 0;
  uint32_t key = 0;
  // Of the server's JOIN.
  uint64_t server = 0;
  uint32_t nonce = 0;

 private:
  void OnSent(absl::Span<const uint8_t> bytes) override {
    ExtendedHeader header;
    Hello hello;
    const bool extended = IsExtended(bytes);
    if (extended && !ReadExtendedHeader(bytes, &header)) std::abort();
    FeedbackBatch batch;
    if (IsFeedbackBatch(bytes) && !ReadFeedbackBatch(bytes, &batch)) std::abort();
    if (extended && (header.kind == ControlKind::kJoin || header.kind == ControlKind::kLeave)) {
      Membership membership;
      if (!ReadMembership(bytes.subspan(kExtendedHeaderBytes), &membership)) std::abort();
      server = membership.incarnation;
      nonce = header.key;
    }
    if (extended && header.kind == ControlKind::kHelloAck) {
      if (!ReadHello(bytes.subspan(kExtendedHeaderBytes), &hello)) std::abort();
      session = header.from_session;
      key = hello.key;
    }
  }
};

class Run {
 public:
  Run() : loop_({}, clock_) {
    auto port = std::make_unique<ClientPort>();
    port_ = port.get();
    auto server = Server::Create(loop_, std::move(port),
                                 {.reassembly_timeout = absl::Milliseconds(20),
                                  .router = {.control = {Address::Sim("router")}, .join = true},
                                  .session = {.timeout = absl::Seconds(1),
                                              .slots = 4,
                                              .credits = 8,
                                              .sessions_max = 3,
                                              .message_bytes_max = 20'000},
                                  .reply_cache_time = absl::Milliseconds(50),
                                  .reply_cache_bytes_max = 4096,
                                  .executing_max = 6,
                                  .key_seed = 1},
                                 [this](ServerCall call) { return Handle(std::move(call)); });
    if (!server.ok()) std::abort();
    server_ = *std::move(server);
  }

  void Step(const uint8_t* s) {
    const uint64_t id = uint64_t{s[2]} << 16 | (s[1] & 7u);
    const bool flag = (s[7] & 1) != 0;
    switch (s[0] % 16) {
      case 0: {
        std::vector<uint8_t> body(1000);
        WriteHello({.slots = s[2],
                    .packet_bytes = 4u * s[3],
                    .incarnation = s[5] & 1u,
                    .timeout_us = 2'000'000},
                   body.data());
        WriteHelloPool(s[6] & 3u, body.data() + kHelloBytes);
        WriteHelloFeatures(s[7], body.data());
        return Packet({.type = MessageType::kAck,
                       .first = true,
                       .last = true,
                       .from_session = s[1] & 3u,
                       .key = s[4],
                       .kind = ControlKind::kHello},
                      body.data(), body.size());
      }
      case 1:
        return InSession({.first = true, .last = true, .request_id = id}, s + 4, 4);
      case 2: {
        static constexpr uint8_t kZeros[900] = {};
        return InSession({.first = s[3] == 0,
                          .last = flag,
                          .resent = (s[7] & 2) != 0,
                          .packet_order = s[3] == 0 ? s[4] : s[3],
                          .deadline_us = s[5],
                          .request_id = id},
                         kZeros, 4u * s[6] % 900);
      }
      case 3: {
        uint8_t bits[4] = {s[4], s[5], 0, 0};
        uint8_t body[kProgressBytesMax];
        const size_t size = WriteProgress(
            {.granted = s[6], .bits = static_cast<uint16_t>(s[7] % 20), .bitmap = bits}, body);
        return InSession({.type = MessageType::kAck,
                          .first = true,
                          .last = (s[7] & 0x80) != 0,
                          .resent = (s[7] & 0x40) != 0,
                          .echo_valid = flag,
                          .packet_order = s[3],
                          .request_id = id,
                          .kind = ControlKind::kProgress},
                         body, size);
      }
      case 4:
        return InSession({.type = MessageType::kAck,
                          .first = true,
                          .last = true,
                          .request_id = id,
                          .kind = static_cast<ControlKind>(s[3] % 16)},
                         s, 4);
      case 5:
        clock_.Advance(int64_t{s[1]} << (s[2] % 20));
        break;
      case 6:
        if (!held_.empty()) ReplyToHeld(s[1] % held_.size(), s[3] * 40u);
        break;
      case 7:
        if (!held_.empty()) {
          std::swap(held_[s[1] % held_.size()], held_.back());
          const std::unique_ptr<ServerCall> doomed = std::move(held_.back());
          held_.pop_back();
        }
        break;
      case 8:
        if (!held_.empty()) {
          held_[s[1] % held_.size()]->OnCancel([this] {
            if (!held_.empty()) ReplyToHeld(held_.size() - 1, 10);
          });
        }
        break;
      case 9:
        bend_ = s[1] % 44;
        bend_by_ = s[2];
        break;
      case 12:
        // What comes next comes through a router, or from somebody who says so.
        routed_by_ = 1 + (s[1] & 1u);
        break;
      case 13:
        return Original({.type = static_cast<MessageType>(s[3] & 7),
                         .policy = static_cast<Policy>(s[2] & 1),
                         .first = (s[4] & 1) != 0,
                         .last = flag,
                         .request_id = static_cast<uint16_t>(s[1] & 7u),
                         .packet_order = static_cast<uint16_t>(s[5] & 3u)},
                        s[6]);
      case 14: {
        uint8_t body[kMembershipAckBytes];
        WriteMembershipAck({.incarnation = s[1],
                            .server = (s[2] & 3) != 0 ? port_->server : s[2],
                            .outstanding = s[3] & 1u,
                            .keepalive_us = uint32_t{s[4]} << 8},
                           body);
        return Packet({.type = MessageType::kAck,
                       .first = true,
                       .last = true,
                       .session = 1,
                       .key = (s[5] & 3) != 0 ? port_->nonce : s[5],
                       .kind = flag ? ControlKind::kJoinAck : ControlKind::kLeaveAck,
                       .code = static_cast<DropReason>(s[6] % 14 < 12 ? 0 : s[6] % 14)},
                      body, sizeof(body));
      }
      case 11: {
        // A router has picked this server. Sent before, perhaps.
        std::vector<uint8_t> bytes(kAnycastHeaderBytes + s[6]);
        WriteAnycast({.first = true,
                      .last = flag,
                      .resent = (s[7] & 2) != 0,
                      .packet_order = static_cast<uint16_t>(flag ? 1 : s[4]),
                      .from_session = s[3] & 3u,
                      .request_id = id},
                     {.incarnation = s[5] & 1u, .age_us = uint32_t{s[7]} << 8}, bytes.data());
        return Deliver(2, std::move(bytes));
      }
      case 10:
        if (s[1] == 0xFF && !server_->draining()) server_->Drain([] {});
        if ((s[7] & 3) == 0) return Announce(s, id);
        if ((s[7] & 3) == 1) port_->bulk()->EndAll(/*ok=*/(s[3] & 1) != 0);
        break;
      default:
        loop_.RunOnce();
    }
  }

  void End() {
    loop_.RunOnce();
    ClientPort& port = *port_;
    held_.clear();
    BufferPool& pool = port.pool();
    server_->ForEachSession([](const SessionInfo& info) {
      if (info.executing > info.slots) std::abort();
    });
    const size_t count = pool.count();
    port.bulk()->EndAll(/*ok=*/true);
    // All requests end, and all sessions.
    for (int i = 0; i < 100; ++i) {
      clock_.Advance(100'000'000);
      loop_.RunOnce();
      held_.clear();  // original requests that came only now, and nothing ends
    }
    loop_.RunOnce();  // sends the last JOIN
    if (server_->stats().sessions.value() != 0 || server_->stats().executing.value() != 0 ||
        server_->stats().kept_reply_bytes.value() != 0 || pool.available() != count ||
        !port.bulk()->IsIdle()) {
      std::abort();
    }
    server_.reset();
  }

 private:
  static inline const std::vector<uint8_t> reply_bytes_ = std::vector<uint8_t>(40 * 256);
  static inline const absl::Span<const uint8_t> kReply = reply_bytes_;

  void Announce(const uint8_t* s, uint64_t id) {
    port_->bulk()->fate = static_cast<FuzzBulk::Fate>(s[3] & 3);
    port_->bulk()->exposes = (s[3] & 4) == 0;
    uint8_t body[kAnnouncementBytes];
    WriteAnnouncement({.bytes = s[4] * 100u}, body);
    InSession({.first = true,
               .resent = (s[3] & 8) != 0,
               .packet_order = std::max<uint16_t>(s[5], 2),
               .deadline_us = s[6] * 100u,
               .request_id = id,
               .kind = ControlKind::kAnnouncement},
              body, (s[3] & 0x70) == 0x70 ? 8 : sizeof(body));
  }

  void ReplyToHeld(size_t index, size_t bytes) {
    std::swap(held_[index], held_.back());
    const std::unique_ptr<ServerCall> call = std::move(held_.back());
    held_.pop_back();
    (void)call->Reply(kReply.first(bytes));
  }

  Task<void> Handle(ServerCall call) {
    switch (call.request().size() % 4) {
      case 0:
        if (call.request().size() > 4) {
          (void)call.Reply(Payload(std::move(call.request())));
        } else {
          held_.push_back(std::make_unique<ServerCall>(std::move(call)));
        }
        break;
      case 1:
        co_await call.loop().Sleep(absl::Milliseconds(1));
        (void)call.Reply(kReply.first(3000));
        break;
      case 2:
        (void)call.Reply(kReply.first(5000));
        break;
      default:
        break;
    }
  }

  void InSession(ExtendedHeader header, const uint8_t* body, size_t size) {
    header.session = port_->session;
    header.from_session = 1;
    header.key = port_->key;
    header.credits = 4;
    Packet(header, body, size);
  }
  void Packet(const ExtendedHeader& header, const uint8_t* body, size_t size) {
    std::vector<uint8_t> bytes(kExtendedHeaderBytes + size);
    WriteExtendedHeader(header, bytes.data());
    std::memcpy(bytes.data() + kExtendedHeaderBytes, body, size);
    bytes[bend_] ^= std::exchange(bend_by_, 0);
    Deliver(1 + header.from_session, std::move(bytes));
  }
  void Original(const Header& header, size_t size) {
    std::vector<uint8_t> bytes(kHeaderBytes + size);
    WriteHeader(header, bytes.data());
    Deliver(2, std::move(bytes));
  }
  void Deliver(uint64_t peer, std::vector<uint8_t> bytes) {
    if (const uint64_t router = std::exchange(routed_by_, 0); router != 0) {
      const Address client = Address::Sim("client");
      std::vector<uint8_t> route(RouteBytes(client));
      WriteRoute(client, bytes, route.data());
      if (bend_ < route.size()) route[bend_] ^= static_cast<uint8_t>(bytes.back() & bend_);
      bytes.insert(bytes.begin(), route.begin(), route.end());
      peer = router;
    }
    port_->Deliver(peer, bytes);
  }

  ManualClock clock_;
  Loop loop_;
  ClientPort* port_ = nullptr;
  std::unique_ptr<Server> server_;
  std::vector<std::unique_ptr<ServerCall>> held_;
  size_t bend_ = 0;
  uint8_t bend_by_ = 0;
  uint64_t routed_by_ = 0;
};

}  // namespace
}  // namespace weft::rpc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  weft::rpc::Run run;
  for (; size >= 8; data += 8, size -= 8) run.Step(data);
  run.End();
  return 0;
}
