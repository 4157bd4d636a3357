// SPDX-License-Identifier: Apache-2.0
//
// RemoteMemory (remote_memory.h) by the device itself: operations are posted to the reliable
// connection to their peer, and a key is a memory window that is bound to the connection from it.
// Programs open it through rdma_transport.h.
//
// What the device would refuse is refused here first, as far as the key tells: range, access, whom
// and which connection it is for. So an honest mistake costs nothing. What only the owner knows,
// that a key was revoked, costs the connection: operations behind it end with Aborted, and a new
// one is there a round trip later. Keys outlast that, since the owner's end stays
// (rc_connections.h).
//
// Operations to a peer wait here, in order, until the connection is up and has room. Writes and
// atomics are fenced behind reads and atomics that are not done: without it their order is not
// promised (InfiniBand Architecture Specification, volume 1, 10.8.3.3).
//
// Revoke() destroys the window, which ends the key at once and whatever the connection does; the
// device is told by a system call.
#ifndef WEFT_TRANSPORTS_RDMA_RDMA_REMOTE_MEMORY_H_
#define WEFT_TRANSPORTS_RDMA_RDMA_REMOTE_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/clock.h"
#include "weft/core/timer_wheel.h"
#include "weft/core/unique_fd.h"
#include "weft/core/virtual_time.h"
#include "weft/transports/event_queue.h"
#include "weft/transports/rdma/nic.h"
#include "weft/transports/rdma/rc_connections.h"
#include "weft/transports/rdma/rendezvous.h"
#include "weft/transports/remote_memory.h"

namespace weft::rdma {

class RdmaRemoteMemory final : public RemoteMemory, private RcConnections::Handler {
 public:
  static constexpr size_t kMaxOperationBytes = 1 << 30;
  static constexpr size_t kMaxOperations = 1024;  // under way, or ended and not yet taken
  static constexpr size_t kMaxRegions = 4096;
  static constexpr size_t kMaxKeys = 16'384;

  struct Options {
    const Clock* clock = nullptr;
    VirtualTime* virtual_time = nullptr;  // where there is one, it is the clock
    uint64_t incarnation = 0;             // random; not 0
    int64_t connect_timeout_ns = 1'000'000'000;
    int64_t idle_ns = 60'000'000'000;
    // Between two questions to a peer with keys whether it is there; see RcConnections.
    int64_t keepalive_ns = 10'000'000'000;
    size_t max_peers = 1024;
    BufferPoolOptions buffers;
  };

  // `out_of_band` is bound to the port's address; peers meet over it. `nic` is shared with whoever
  // keeps it. FailedPrecondition for a device without memory windows.
  static absl::StatusOr<std::unique_ptr<RdmaRemoteMemory>> Open(
      std::shared_ptr<Nic> nic, std::unique_ptr<DatagramPort> out_of_band,
      const Capabilities& capabilities, const Options& options);
  ~RdmaRemoteMemory() override;

  Address local_address() const override { return rendezvous_.local_address(); }
  int wait_fd() const override { return epoll_ ? epoll_.get() : -1; }
  bool Arm() override;
  void Disarm() override;
  void BindToThisThread() override {
    Port::BindToThisThread();
    rendezvous_.BindToThisThread();
  }

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

  // What is in use.
  size_t keys() const { return grants_.size() - free_grants_.size(); }
  size_t operations() const { return in_use_; }
  const RcConnections& connections() const { return connections_; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  struct Mapping;  // pages of this port's
  struct Region {
    MemoryRegion region;
    std::unique_ptr<Mapping> mapping;  // null: memory of the caller's
    std::unique_ptr<Registration> registration;
  };
  struct GrantState {
    Peer peer;
    ConnectionId connection;
    std::unique_ptr<Registration> registration;  // of software devices; see Grant()
    std::unique_ptr<Window> window;              // null: free
    uint32_t region = 0;
    uint32_t generation = 1;
    RemoteKey key;
  };
  struct PeerState {
    uint32_t index = 0;  // of peers_
    Address address;
    uint32_t generation = 1;
    uint64_t used = 0;                     // when it was, last, in the order of use; 0: is not
    uint32_t keys = 0;                     // that it was granted and that have not ended
    bool dirty = false;                    // in dirty_
    ConnectionId user;                     // its memory is used over this one
    uint32_t reads = 0;                    // posted reads and atomics that are not done
    uint32_t first = kNone, last = kNone;  // operations that have not ended, in order
    uint32_t next = kNone;                 // the first of them that is not wholly posted
  };
  struct Operation {
    MemoryOperation request;
    uint32_t next = kNone;
    uint32_t local_key = 0;
    uint64_t posted = 0;                                 // bytes
    absl::StatusCode code = absl::StatusCode::kUnknown;  // how it has ended, once it has
  };

  RdmaRemoteMemory(std::shared_ptr<Nic> nic, std::unique_ptr<CompletionQueue> queue,
                   std::unique_ptr<DatagramPort> out_of_band, const Capabilities& capabilities,
                   const Options& options);
  absl::Status Start();

  // Set-up (rdma_remote_memory.cc).
  absl::StatusOr<MemoryRegion> AddRegion(absl::Span<uint8_t> memory,
                                         std::unique_ptr<Mapping> mapping);
  const Region* FindRegion(const MemoryRegion& region) const;
  PeerState* FindPeer(const Peer& peer);
  Peer PeerOf(const PeerState& state) const;
  PeerState* FindPeer(ConnectionId id);
  bool ForgetIdlePeer();
  static absl::Status CheckRange(const Region& region, size_t offset, size_t bytes);
  absl::Status ReserveGrant();
  void EndGrant(GrantState& grant);
  size_t DoTakeEvents(absl::Span<PortEvent> events) override {
    AssertOwner();
    return events_.Take(events);
  }
  void TakeNicEvents();
  int64_t NextNs() const;

  // Data path (rdma_memory_datapath.cc).
  bool FindLocalKey(absl::Span<const uint8_t> local, uint32_t* key);
  absl::StatusCode Check(const MemoryOperation& operation, uint32_t* local_key);
  void Finish(const MemoryCompletion& completion);
  void Enqueue(PeerState& peer, const MemoryOperation& operation, uint32_t local_key);
  void Connect(PeerState& peer);
  void Pump(PeerState& peer);
  absl::StatusCode CheckKey(const PeerState& peer, const Operation& operation) const;
  RcRequest RequestOf(const Operation& operation, uint32_t index, uint64_t at,
                      uint64_t bytes) const;
  void SkipPosted(PeerState& peer);
  void PopEnded(PeerState& peer);
  void EndAll(PeerState& peer, absl::StatusCode first, absl::StatusCode others);
  void MarkDirty(PeerState& peer);
  void PumpDirty();
  size_t TakeEnded(absl::Span<MemoryCompletion> completions);

  void OnDone(ConnectionId id, uint32_t context) override;
  void OnUp(ConnectionId id) override;
  void OnDown(ConnectionId id, RcConnections::Loss loss, const absl::Status& why) override;

  const std::shared_ptr<Nic> nic_;
  const Options options_;
  const size_t chunk_bytes_;  // longest request
  std::unique_ptr<CompletionQueue> queue_;
  Rendezvous rendezvous_;
  std::unique_ptr<Registration> pool_registration_;  // null: none of its buffers was used yet
  const std::unique_ptr<uint64_t[]> results_;  // of atomics, by operation; outlive connections_
  std::unique_ptr<Registration> results_registration_;
  std::vector<Region> regions_;
  size_t region_used_ = 0;  // the one that was found last
  uint32_t last_region_ = 0;
  RcConnections connections_;
  std::vector<GrantState> grants_;  // behind the connections that their windows are bound to
  std::vector<uint32_t> free_grants_;

  std::deque<PeerState> peers_;
  uint64_t uses_ = 0;  // of peers
  absl::flat_hash_map<Address, uint32_t> by_address_;
  std::vector<uint32_t> peer_of_connection_;  // by its index: of those that this side uses
  std::vector<uint32_t> dirty_;               // peers that may go on
  std::vector<Operation> operations_;
  std::vector<uint32_t> free_operations_;
  std::vector<MemoryCompletion> ended_;  // a ring
  size_t ended_head_ = 0, ended_count_ = 0;
  size_t in_use_ = 0;

  std::unique_ptr<Nic::Subscription> news_;
  PortEventQueue events_{&has_events_};
  UniqueFd epoll_;
  UniqueFd timer_;
  Timer wake_;                    // in virtual time
  int64_t timer_ns_ = INT64_MAX;  // when timer_ fires
  int64_t now_ns_ = 0;
  int64_t met_ns_ = INT64_MIN / 2;   // when peers were last met
  int64_t news_ns_ = INT64_MIN / 2;  // when the device was last asked for news
};

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_RDMA_REMOTE_MEMORY_H_
