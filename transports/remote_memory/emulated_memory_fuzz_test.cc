// SPDX-License-Identifier: Apache-2.0
//
// A peer that has shaken hands and then sends anything: it never writes beyond what it was granted,
// and operations to it end at most once.
//
// The input is a row of packets, each a byte that says how it is made, a length, and so many bytes:
//   0      as they are
//   1 - 10 of that kind: fields that are honest, or else from the bytes, and a good checksum
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "weft/transports/remote_memory/emulated_memory.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft {
namespace {

using emulated::Kind;
using emulated::Packet;

class Victim {
 public:
  Victim() {
    transport_ = sim::OpenTransport(&network_, {.count = 64, .bytes = 1024});
    hostile_ = *transport_->OpenDatagramPort({.local = Address::Sim("hostile")});
    memory_ = *EmulatedMemory::Create(
        *transport_->OpenDatagramPort({.local = Address::Sim("victim")}), network_, &network_,
        {.operations_max = 16, .window = 8});
    to_ = *hostile_->Resolve(Address::Sim("victim"));
    region_ = *memory_->Allocate(sizeof(Layout));
    ShakeHands();
    peer_ = *memory_->Resolve(Address::Sim("hostile"));
    const auto key = memory_->Grant(peer_, region_, offsetof(Layout, granted), kGranted,
                                    MemoryAccess::kRead | MemoryAccess::kWrite |
                                        MemoryAccess::kAtomic);
    if (!key.ok()) std::abort();
    key_ = *key;
    std::memset(region_.bytes.data(), 0x5a, region_.bytes.size());
    Post();
  }

  void Receive(uint8_t how, const uint8_t* bytes, size_t size) {
    Datagram datagram = {.peer = to_, .buffer = hostile_->pool().Allocate()};
    if (!datagram.buffer) return;
    size = std::min(size, datagram.buffer.tailroom() - emulated::kRequestHeaderBytes - 16);
    if (how == 0 || how > 10) {
      std::memcpy(datagram.buffer.Append(size), bytes, size);
    } else {
      emulated::Append(Make(static_cast<Kind>(how), bytes, size), &datagram.buffer);
    }
    hostile_->Send({&datagram, 1});
    Step();
  }

  void Step() {
    const int64_t next_ns =
        std::min({network_.NextEventNs(), network_.timers().NextDeadlineNs(),
                  network_.NowNs() + 5'000'000});
    network_.AdvanceTo(std::max(next_ns, network_.NowNs()));
    network_.timers().Advance(network_.NowNs());
    MemoryCompletion done[4];
    ended_ += memory_->Poll(absl::MakeSpan(done));
    PortEvent events[4];
    memory_->TakeEvents(absl::MakeSpan(events));
    Datagram received[8];
    hostile_->Receive(absl::MakeSpan(received));
    if (ended_ > posted_) std::abort();
    const auto* const layout = reinterpret_cast<const Layout*>(region_.bytes.data());
    for (const uint8_t byte : layout->before) {
      if (byte != 0x5a) std::abort();
    }
    for (const uint8_t byte : layout->behind) {
      if (byte != 0x5a) std::abort();
    }
  }

 private:
  static constexpr size_t kGranted = 64;
  struct Layout {
    uint8_t before[512];
    uint8_t granted[kGranted];
    uint8_t behind[512];
  };

  void ShakeHands() {
    nonce_ = 0x1234;
    Exchange({.kind = Kind::kHello, .packet_max = 512, .nonce = nonce_, .window = 8});
    token_ = answer_.nonce;
    Exchange({.kind = Kind::kConfirm,
              .token = token_,
              .packet_max = 512,
              .nonce = nonce_,
              .window = 8});
    index_ = answer_.sender_index;
    if (answer_.kind != Kind::kReady) std::abort();
  }
  void Exchange(const Packet& packet) {
    Datagram datagram = {.peer = to_, .buffer = hostile_->pool().Allocate()};
    emulated::Append(packet, &datagram.buffer);
    hostile_->Send({&datagram, 1});
    for (int i = 0; i < 100; ++i) {
      network_.AdvanceTo(std::min(network_.NextEventNs(), network_.NowNs() + 100'000));
      memory_->Poll({});
      Datagram received[1];
      if (hostile_->Receive(absl::MakeSpan(received)) == 0) continue;
      if (!emulated::Parse(received[0].buffer.bytes(), &answer_)) std::abort();
      answer_.data = {};
      return;
    }
    std::abort();
  }

  // Operations that the hostile side may answer.
  void Post() {
    local_ = *memory_->Allocate(4096);
    RemoteKey everything = key_;
    std::memset(everything.bytes.data() + 8, 0x7f, 8);  // any length
    for (const auto kind : {MemoryOperation::Kind::kRead, MemoryOperation::Kind::kFetchAdd,
                            MemoryOperation::Kind::kWrite}) {
      const MemoryOperation operation = {
          .kind = kind, .peer = peer_, .key = everything, .local = local_.bytes};
      posted_ += memory_->Post({&operation, 1});
    }
    Step();
  }

  Packet Make(Kind kind, const uint8_t* bytes, size_t size) {
    uint8_t field[8] = {};
    std::memcpy(field, bytes, std::min<size_t>(size, 8));
    const absl::Span<const uint8_t> rest(bytes + std::min<size_t>(size, 8),
                                         size - std::min<size_t>(size, 8));
    Packet packet = {.kind = kind, .token = token_, .index = index_};
    if ((field[7] & 1) != 0) packet.token = field[6];
    if ((field[7] & 2) != 0) packet.index = field[5];
    packet.nonce = (field[7] & 4) != 0 ? nonce_ : field[4];
    packet.packet_max = 256 + field[3];
    packet.window = static_cast<uint16_t>(1 + field[2]);
    packet.sequence = static_cast<uint32_t>(field[0]) - 2;
    packet.answered_below = static_cast<uint32_t>(field[1]);
    packet.key = emulated::ShapeOf(key_).name;
    if ((field[7] & 8) != 0) packet.key.index = field[5];
    packet.action = static_cast<emulated::Action>(field[2] % 5);
    packet.offset = (field[7] & 16) != 0 ? UINT64_MAX - field[3] : field[3];
    packet.bytes = (field[7] & 32) != 0 ? uint32_t{field[4]} << 24 : field[4];
    packet.piece_offset = field[5];
    packet.piece_bytes = (field[7] & 64) != 0 ? field[6] : static_cast<uint32_t>(rest.size());
    packet.result = static_cast<emulated::Result>(field[2] % 3);
    const bool carries = kind == Kind::kResponse ||
                         (kind == Kind::kRequest && packet.action == emulated::Action::kWrite);
    if (carries && !rest.empty()) packet.data = rest;
    return packet;
  }

  sim::Network network_{1};
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<DatagramPort> hostile_;
  std::unique_ptr<EmulatedMemory> memory_;
  Peer to_, peer_;
  MemoryRegion region_, local_;
  RemoteKey key_;
  Packet answer_;
  uint64_t nonce_ = 0, token_ = 0;
  uint32_t index_ = 0;
  size_t posted_ = 0, ended_ = 0;
};

}  // namespace
}  // namespace weft

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  weft::Victim victim;
  while (size >= 2) {
    const uint8_t how = data[0];
    const size_t length = std::min<size_t>(data[1], size - 2);
    victim.Receive(how, data + 2, length);
    data += 2 + length;
    size -= 2 + length;
  }
  for (int i = 0; i < 10; ++i) victim.Step();
  return 0;
}
