// SPDX-License-Identifier: Apache-2.0
//
// A client whose server says anything at any time. The input is a list of steps of eight bytes: the
// first of them is the wire mode, the others are calls, packets of the session, right or bent, what
// becomes of fetches, and time that passes. Each call that is not cancelled ends exactly once, by
// its deadline, and all buffers come back.
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
#include "weft/rpc/client.h"
#include "weft/rpc/fuzz_port.h"
#include "weft/rpc/wire.h"

namespace weft::rpc {
namespace {

// Learns of the session and its calls from what the client says.
class ServerPort final : public FuzzPort {
 public:
  ServerPort() : FuzzPort(/*bulk=*/true) {}

  uint32_t number = 0;
  uint32_t key = 0;
  uint64_t ids[4] = {};
  uint32_t pool_number = 0;       // of a client that takes this for a router
  std::vector<uint8_t> original;  // header of the latest request in that format

 private:
  void OnSent(absl::Span<const uint8_t> bytes) override {
    ExtendedHeader header;
    Anycast anycast;
    if (IsAnycast(bytes)) {
      if (!ReadAnycast(bytes, &header, &anycast)) std::abort();
      pool_number = header.from_session;
      ids[header.slot() % 4] = header.request_id;
    } else if (IsExtended(bytes)) {
      if (!ReadExtendedHeader(bytes, &header)) std::abort();
      number = header.from_session;
      key = header.key;
      if (header.type == MessageType::kRequest) ids[header.slot() % 4] = header.request_id;
    } else if (bytes.size() >= 8) {
      original.assign(bytes.begin(), bytes.begin() + 8);
    }
  }
};

class Run {
 public:
  explicit Run(Wire wire) : loop_({}, clock_) {
    auto port = std::make_unique<ServerPort>();
    port_ = port.get();
    auto client = Client::Create(loop_, std::move(port),
                                 {.timeout = absl::Milliseconds(200),
                                  .outstanding_max = 12,
                                  .request_id_seed = 1,
                                  .wire = wire,
                                  .negotiation_timeout = absl::Milliseconds(10),
                                  .session = {.timeout = absl::Seconds(1),
                                              .slots = 4,
                                              .credits = 8,
                                              .sessions_max = 3,
                                              .message_bytes_max = 20'000}});
    if (!client.ok()) std::abort();
    client_ = *std::move(client);
  }

  void Step(const uint8_t* s) {
    const uint64_t id = port_->ids[s[1] % 4];
    switch (s[0] % 13) {
      case 0:
        return Begin(s[1] % 3 == 0 ? s[2] * 70u : s[2], s[3]);
      case 1: {
        uint8_t body[kHelloFeaturesAt + kHelloFeaturesBytes] = {};
        WriteHello({.slots = s[1],
                    .packet_bytes = 100u + 8 * s[2],
                    .timeout_us = (s[3] + 1u) * 4000,
                    .key = s[4]},
                   body);
        WriteHelloFeatures(s[6], body);
        return Packet({.type = MessageType::kAck,
                       .first = true,
                       .last = true,
                       .credits = s[5],
                       .kind = ControlKind::kHelloAck},
                      body, sizeof(body));
      }
      case 2: {
        static constexpr uint8_t kZeros[900] = {};
        const uint16_t order = s[3] == 0 ? s[4] : s[3];
        if ((s[7] & 0x30) == 0x30) return Announce(s, id);
        if ((s[7] & 0x30) == 0x20) port_->bulk()->EndAll(/*ok=*/(s[7] & 0x40) != 0);
        return Packet({.type = MessageType::kResponse,
                       .first = s[3] == 0 || (s[7] & 4) != 0,
                       .last = (s[7] & 1) != 0,
                       .echo_valid = (s[7] & 2) != 0,
                       .packet_order = order,
                       .request_id = id,
                       .credits = s[5]},
                      kZeros, 4u * s[6] % 900);
      }
      case 3: {
        uint8_t bits[4] = {s[4], s[5], 0, 0};
        uint8_t body[kProgressBytesMax];
        const size_t size = WriteProgress(
            {.granted = s[6], .bits = static_cast<uint16_t>(s[7] % 20), .bitmap = bits}, body);
        return Packet({.type = MessageType::kAck,
                       .first = true,
                       .last = (s[7] & 0x80) == 0,
                       .echo_valid = (s[7] & 0x20) != 0,
                       .packet_order = s[3],
                       .request_id = id,
                       .credits = s[2],
                       .kind = ControlKind::kProgress},
                      body, size);
      }
      case 4:
        return Packet({.type = MessageType::kAck,
                       .first = true,
                       .last = true,
                       .request_id = id,
                       .kind = static_cast<ControlKind>(s[3] % 16)},
                      s, 4);
      case 5:
        return Packet({.type = MessageType::kDrop,
                       .first = true,
                       .last = true,
                       .request_id = id,
                       .code = static_cast<DropReason>(s[3] % (kDropReasonMax + 1))},
                      s, 4);
      case 6:
        clock_.Advance(int64_t{s[1]} << (s[2] % 20));
        break;
      case 7:
        if (calls_.empty()) break;
        Cancel(s[1] % calls_.size());
        break;
      case 8: {
        std::vector<uint8_t> bytes = port_->original;
        if ((s[1] & 1) != 0 || bytes.size() < 8)
          return port_->Deliver(1, absl::MakeConstSpan(s + 1, 7));
        bytes[2] = static_cast<uint8_t>(s[2] << 4);
        bytes[3] = s[3] & 0xC0;
        bytes[7] = s[4] % 8;
        bytes.insert(bytes.end(), s, s + 4);
        return port_->Deliver(1, bytes);
      }
      case 10: {
        // A router answers, or another one in its place.
        uint8_t body[kHelloBytes];
        WriteHello({.slots = s[1],
                    .packet_bytes = 176u + 8 * s[2],
                    .incarnation = s[4] & 1u,
                    .timeout_us = (s[3] + 1u) * 4000},
                   body);
        return Packet({.type = MessageType::kAck,
                       .first = true,
                       .last = true,
                       .credits = s[5],
                       .kind = ControlKind::kPool},
                      body, sizeof(body));
      }
      case 11:
        // One of the servers behind it has never heard of the client.
        return ToPool({.type = MessageType::kAck,
                       .from_session = s[3] & 1u,
                       .request_id = id,
                       .kind = ControlKind::kReset},
                      2 + (s[2] & 1u));
      case 12:
        return ToPool(
            {.type = (s[3] & 1) != 0 ? MessageType::kDrop : MessageType::kAck,
             .key = s[4] & 1u,
             .request_id = id,
             .kind = (s[3] & 1) != 0 ? ControlKind::kNone : ControlKind::kPong,
             .code = (s[3] & 1) != 0 ? static_cast<DropReason>(s[5] % 14) : DropReason::kNone},
            1);
      default:
        bend_ = s[1] % 44;
        bend_by_ = (s[2] & 1) != 0 ? s[3] : 0;
        loop_.RunOnce();
    }
  }

  void End() {
    again_ = false;
    loop_.RunOnce();  // what came last
    port_->bulk()->EndAll(/*ok=*/true);
    for (int i = 0; i < 100; ++i) {
      clock_.Advance(100'000'000);
      loop_.RunOnce();
    }
    if (client_->outstanding() != 0) std::abort();
    for (const auto& call : calls_) {
      if (call->ended != (call->cancelled ? 0 : 1)) std::abort();
    }
    if (port_->pool().available() != port_->pool().count()) std::abort();
    if (!port_->bulk()->IsIdle()) std::abort();
  }

 private:
  struct Outcome {
    CallId id;
    int ended = 0;
    bool cancelled = false;
  };

  void Announce(const uint8_t* s, uint64_t id) {
    port_->bulk()->fate = static_cast<FuzzBulk::Fate>(s[4] & 3);
    port_->bulk()->exposes = (s[4] & 4) == 0;
    uint8_t body[kAnnouncementBytes];
    WriteAnnouncement({.bytes = s[6] * 100u}, body);
    Packet({.type = MessageType::kResponse,
            .first = true,
            .resent = (s[4] & 8) != 0,
            .packet_order = std::max<uint16_t>(s[3], 2),
            .request_id = id,
            .credits = s[5],
            .kind = ControlKind::kAnnouncement},
           body, (s[4] & 0x70) == 0x70 ? 8 : sizeof(body));
  }

  // Some in a buffer that can be fetched.
  Payload RequestOf(size_t bytes, bool bulk) {
    static const std::vector<uint8_t> request(256 * 70);
    Buffer buffer = bulk ? client_->Allocate(bytes) : Buffer();
    if (!buffer) return Payload::External({request.data(), bytes});
    std::memset(buffer.Append(bytes), 0, bytes);
    return Payload(std::move(buffer));
  }

  void Begin(size_t bytes, uint8_t what) {
    calls_.push_back(std::make_unique<Outcome>());
    Outcome* const outcome = calls_.back().get();
    absl::StatusOr<CallId> id = client_->Call(Peer{{1}}, RequestOf(bytes, (what & 0x10) != 0),
                                              [this, outcome, what](absl::StatusOr<BufferChain>) {
                                                if (++outcome->ended > 1 || outcome->cancelled)
                                                  std::abort();
                                                if (again_ && what % 4 == 1 && calls_.size() < 1000)
                                                  Begin(what, 0);
                                                if (again_ && what % 4 == 2)
                                                  Cancel(what % calls_.size());
                                              });
    if (id.ok()) {
      outcome->id = *id;
    } else {
      std::erase_if(calls_, [outcome](const auto& call) { return call.get() == outcome; });
    }
  }
  void Cancel(size_t index) {
    Outcome& call = *calls_[index];
    client_->Cancel(call.id);
    if (call.ended == 0) call.cancelled = true;
  }
  void ToPool(ExtendedHeader header, uint64_t peer) {
    header.first = header.last = true;
    header.session = port_->pool_number;
    uint8_t bytes[kExtendedHeaderBytes];
    WriteExtendedHeader(header, bytes);
    port_->Deliver(peer, bytes);
  }
  void Packet(ExtendedHeader header, const uint8_t* body, size_t size) {
    header.session = port_->number;
    header.from_session = 5;
    header.key = port_->key;
    std::vector<uint8_t> bytes(kExtendedHeaderBytes + size);
    WriteExtendedHeader(header, bytes.data());
    std::memcpy(bytes.data() + kExtendedHeaderBytes, body, size);
    bytes[bend_] ^= std::exchange(bend_by_, 0);
    port_->Deliver(1, bytes);
  }

  ManualClock clock_;
  Loop loop_;
  ServerPort* port_ = nullptr;
  std::vector<std::unique_ptr<Outcome>> calls_;
  std::unique_ptr<Client> client_;
  bool again_ = true;
  size_t bend_ = 0;
  uint8_t bend_by_ = 0;
};

}  // namespace
}  // namespace weft::rpc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using weft::rpc::Wire;
  weft::rpc::Run run(size > 1 && (data[1] & 1) != 0 ? Wire::kExtended : Wire::kAuto);
  for (; size >= 8; data += 8, size -= 8) run.Step(data);
  run.End();
  return 0;
}
