// SPDX-License-Identifier: Apache-2.0
//
// RemoteMemory over a simulated network, as a device would do it: the far end of an operation is
// carried out when its packet arrives, without the help of whoever has the memory, and what the
// wires lose is repeated by the devices. Reads and writes of more than 8 bytes are carried out in
// two pieces, cut and ordered at random, with some time in between: what else happens then may be
// seen half. Programs open it through sim_transport.h.
//
// Each packet is a MemoryPacket, and behind it the bytes that are written or were read.
//
//   user                         owner
//    kAsk ────────────────────────►      who the user is now; ends what it had under way before
//    ◄──────────────────── kAnswer
//    kOperation ──────────────────►      carried out, in order
//    ◄───────────────────── kReply
//    kBye ────────────────────────►      its keys end
#ifndef WEFT_TRANSPORTS_SIM_SIM_REMOTE_MEMORY_H_
#define WEFT_TRANSPORTS_SIM_SIM_REMOTE_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/transports/event_queue.h"
#include "weft/transports/memory_regions.h"
#include "weft/transports/remote_memory.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/transport.h"

namespace weft::sim {

struct MemoryPacket {
  enum class Kind : uint8_t { kAsk, kAnswer, kOperation, kReply, kBye };
  Kind kind = Kind::kAsk;
  MemoryOperation::Kind operation = MemoryOperation::Kind::kRead;
  uint16_t code = 0;         // kReply: an absl::StatusCode
  uint32_t slot = 0;         // of the operation, with its user
  uint64_t incarnation = 0;  // of the sender: two ports at one address are told apart by it
  uint64_t session = 0;      // counts the asks of a user
  uint64_t attempt = 0;      // within a session: grows when an operation was denied
  uint64_t offset = 0;
  uint64_t bytes = 0;  // to read
  uint64_t compare = 0;
  uint64_t operand = 0;  // kReply: the old value
  RemoteKey key = {};
};

class SimRemoteMemory final : public RemoteMemory, private Receiver {
 public:
  static constexpr size_t kMaxOperations = 256;  // under way, or ended and not taken
  static constexpr size_t kMaxKeys = 65536;
  static constexpr size_t kMaxOperationBytes = 1 << 20;
  static constexpr size_t kMaxAllocation = size_t{1} << 32;
  // Bound of the time between the pieces of an operation.
  static constexpr int64_t kPieceNs = 2'000;
  // A peer that says nothing for so long is unreachable.
  static constexpr int64_t kTimeoutNs = 2'000'000'000;

  static absl::StatusOr<std::unique_ptr<SimRemoteMemory>> Open(Network* network,
                                                               const PortOptions& options,
                                                               const Capabilities& capabilities,
                                                               const BufferPoolOptions& buffers);
  ~SimRemoteMemory() override;

  Address local_address() const override;
  absl::StatusOr<MemoryRegion> Allocate(size_t bytes) override;
  absl::StatusOr<MemoryRegion> Register(absl::Span<uint8_t> memory) override;
  void Deregister(const MemoryRegion& region) override;
  absl::StatusOr<Peer> Resolve(const Address& address) override;
  absl::StatusOr<Address> AddressOf(const Peer& peer) const override;
  absl::StatusOr<RemoteKey> Grant(const Peer& peer, const MemoryRegion& region, size_t offset,
                                  size_t bytes, MemoryAccess access) override;
  void Revoke(const RemoteKey& key) override;
  size_t Post(absl::Span<const MemoryOperation> operations) override;
  size_t Poll(absl::Span<MemoryCompletion> completions) override;
  void BindToThisThread() override {
    Port::BindToThisThread();
    network_->BindToThisThread();
  }

 private:
  // What this port knows of another.
  struct Remote {
    NodeId node = 0;
    uint64_t incarnation = 0;  // 0: nothing is known of it
    int64_t last_ns = 0;       // of packets to it
    // As a user of its memory.
    enum class State : uint8_t { kIdle, kAsking, kOpen } state = State::kIdle;
    uint64_t session = 0;
    uint64_t attempt = 0;
    std::deque<uint32_t> under_way;  // slots, in the order in which they were posted
    EventQueue::Id timer;
    // As the owner of memory that it uses.
    uint64_t its_session = 0;
    uint64_t denied_attempt = 0;    // whose further operations are aborted
    std::deque<PacketPtr> arrived;  // the first may be half done
    std::vector<uint8_t> read;
    EventQueue::Id rest;
  };
  // A part of what an operation reads or writes.
  struct Piece {
    uint64_t offset;
    uint64_t bytes;
  };
  struct Key {
    NodeId node;
    uint32_t region;
    absl::Span<uint8_t> bytes;
    MemoryAccess access;
    uint64_t secret;
  };

  SimRemoteMemory(Network* network, const Capabilities& capabilities,
                  const BufferPoolOptions& buffers)
      : RemoteMemory(capabilities, buffers), network_(network), regions_(pool_) {}

  // Peers come and go (sim_remote_memory.cc).
  Remote& RemoteAt(NodeId node);
  void Ask(Remote& remote);
  void Lose(Remote& remote, PortEvent::Kind kind, int error);
  void StartTimer(Remote& remote);
  size_t DoTakeEvents(absl::Span<PortEvent> events) override {
    AssertOwner();
    return events_.Take(events);
  }

  // Packets (sim_memory_datapath.cc).
  void OnPacket(PacketPtr packet) override;
  void OnUnreachable(PacketPtr packet) override;
  void OnAsk(Remote& remote, const MemoryPacket& packet);
  void OnAnswer(Remote& remote, const MemoryPacket& packet);
  void OnReply(Remote& remote, const MemoryPacket& packet, absl::Span<const uint8_t> payload);
  void PerformArrived(Remote& remote);
  bool BeginFirst(Remote& remote);
  void EndFirst(Remote& remote, Piece rest, absl::StatusCode code);
  absl::StatusCode Perform(Remote& remote, const MemoryPacket& packet,
                           absl::Span<const uint8_t> payload, Piece piece, uint64_t* old_value);
  void SendOperation(Remote& remote, uint32_t slot);
  void Send(Remote& remote, MemoryPacket packet, absl::Span<const uint8_t> payload = {});
  void Complete(uint32_t slot, absl::StatusCode code, uint64_t old_value = 0);

  Network* const network_;
  uint64_t incarnation_ = 0;
  MemoryRegions regions_;
  std::map<uint32_t, std::unique_ptr<uint8_t[], void (*)(void*)>> allocated_;  // by region
  std::map<NodeId, std::unique_ptr<Remote>> remotes_;
  std::map<uint64_t, Key> keys_;  // by number
  std::vector<MemoryOperation> slots_{kMaxOperations};
  std::vector<uint32_t> free_slots_;
  std::deque<MemoryCompletion> done_;
  PortEventQueue events_{&has_events_};
  Attachment attachment_;  // last, so that nothing arrives once the rest is going
};

}  // namespace weft::sim

#endif  // WEFT_TRANSPORTS_SIM_SIM_REMOTE_MEMORY_H_
