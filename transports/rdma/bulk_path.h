// SPDX-License-Identifier: Apache-2.0
//
// Long messages of an RDMA port (bulk_transfers.h): they lie in registered buffers, a window lets
// the one peer at the one, and the peer's device reads it.
//
//   auto bulk = *BulkPath::Open(nic, completion_queue, rendezvous, peers, {.count = 64});
//   ... each round: bulk->Poll(now_ns);
//
// Expose() binds a window to the connection on which this port is owner and the peer user;
// Conceal() invalidates it, and holds a share of the buffer until that is complete. A connection
// that breaks takes no exposure with it unless its peer has gone or the window was not known to be
// bound yet: the queue pair may have failed before that, as it does when its user is denied.
// Fetch() posts a read on the other connection, on which this port is user, as far as
// reads_in_flight go; others wait their turn. Whatever ends a connection ends its fetches, whose
// buffers come back.
//
// A key that a peer sends may hold anything. What is read goes nowhere but into the fetch's buffer,
// and no further than the length that it was begun with; a wrong address or key is refused by the
// peer's device, at the price of the connection from here to that very peer.
//
// Threads: that of its port. Steady state: no allocation, no copy.
#ifndef WEFT_TRANSPORTS_RDMA_BULK_PATH_H_
#define WEFT_TRANSPORTS_RDMA_BULK_PATH_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "weft/core/buffer.h"
#include "weft/core/metrics.h"
#include "weft/transports/bulk_transfers.h"
#include "weft/transports/rdma/nic.h"
#include "weft/transports/rdma/rc_connections.h"

namespace weft::rdma {

class BulkPath final : public BulkTransfers, private RcConnections::Handler {
 public:
  // From which length on fetching is faster than datagrams, for Capabilities::bulk_min_bytes:
  // measured on Soft-RoCE, a guess for other devices (README).
  static constexpr size_t kSoftwareMinBytes = 16'384;
  static constexpr size_t kDeviceMinBytes = 16'384;

  // Whom a Peer of the port stands for; nobody: nullopt.
  class Peers {
   public:
    virtual ~Peers() = default;
    virtual std::optional<RcPeer> RcPeerOf(const Peer& peer) const = 0;
  };

  struct Options {
    size_t count = 64;             // buffers; twice as many may be exposed at once
    size_t max_bytes = 1'048'576;  // longest message
    size_t headroom = 256;
    size_t max_connections = 2048;
    int64_t idle_ns = 60'000'000'000;
  };

  struct Stats {
    Counter exposed, concealed;
    Counter not_exposed;  // no connection yet, no window, no slot
    Counter fetched, fetched_bytes;
    Counter not_fetched;   // refused: no connection, a key of an earlier one
    Counter malformed;     // refused: a key that no honest peer sends
    Counter fetch_failed;  // begun, and ended without success
    Counter windows_opened;
  };

  // Its buffers: locked while it is open or, on software devices, from their first use on.
  static BufferPoolOptions PoolOptions(const Options& options);

  // What is passed outlives it. FailedPrecondition where the device has no memory windows.
  static absl::StatusOr<std::unique_ptr<BulkPath>> Open(Nic* nic, CompletionQueue* queue,
                                                        Rendezvous* rendezvous, const Peers* peers,
                                                        const Options& options);
  ~BulkPath() override;

  size_t max_bytes() const override { return options_.max_bytes; }
  size_t buffers() const override { return options_.count; }
  size_t available() const override { return pool_.available(); }
  Buffer Allocate(size_t bytes) override;
  bool Owns(const Buffer& buffer) const override { return pool_.Owns(buffer); }
  std::optional<BulkKey> Expose(const Peer& peer, const Buffer& message) override;
  bool IsExposed(const BulkKey& key) const override { return FindExposure(key) != nullptr; }
  void Conceal(const BulkKey& key) override;
  bool Fetch(const Peer& peer, const BulkKey& key, size_t bytes, Buffer& room,
             uint64_t context) override;
  size_t TakeFetched(absl::Span<Fetched> fetched) override;

  // Cheap while there are no connections.
  size_t Poll(int64_t now_ns) {
    now_ns_ = now_ns;
    return connections_.size() == 0 ? 0 : PollConnections();
  }
  int64_t NextNs() const { return connections_.NextNs(); }
  // Whether TakeFetched() has something to give.
  bool has_fetched() const { return !ended_.empty(); }
  void OnQueueFailed(uint32_t qpn) { connections_.OnQueueFailed(qpn); }
  void BindToThisThread() { pool_.BindToThisThread(); }

  // What is in use.
  size_t exposures() const { return exposures_.size() - free_exposures_.size(); }
  size_t fetches() const { return fetches_.size() - free_fetches_.size(); }
  const RcConnections& connections() const { return connections_; }
  BufferPool& pool() { return pool_; }
  const Stats& stats() const { return stats_; }

 private:
  struct Exposure {
    enum class State : uint8_t { kFree, kExposed, kEnding } state = State::kFree;
    bool bound = false;     // the window is for certain, or was until it was invalidated
    bool doubtful = false;  // the connection has broken since
    uint32_t generation = 1;
    ConnectionId connection;
    std::unique_ptr<Window> window;
    Buffer message;
  };
  struct FetchState {
    bool ok = false;
    bool ended = false;
    ConnectionId connection;
    Buffer room;
    uint64_t context = 0;
    uint64_t address = 0;
    uint32_t key = 0;
    uint32_t local_key = 0;
    uint32_t bytes = 0;
    uint32_t posted = 0;  // bytes, as next
    uint32_t done = 0;
  };
  struct KeyFields;

  BulkPath(Nic* nic, CompletionQueue* queue, Rendezvous* rendezvous, const Peers* peers,
           const Options& options);
  size_t PollConnections();
  absl::Status RegisterBuffers();
  std::optional<uint32_t> LocalKeyOf(const Buffer& buffer);
  std::optional<ConnectionId> ConnectionTo(const Peer& peer, RcConnections::Role role);
  Exposure* FindExposure(const BulkKey& key);
  const Exposure* FindExposure(const BulkKey& key) const {
    return const_cast<BulkPath*>(this)->FindExposure(key);
  }
  void EndExposure(Exposure& exposure);
  void PostWaiting();
  bool PostReads(uint32_t index);
  void EndFetch(uint32_t index, bool ok);
  uint32_t& ReadsOf(ConnectionId id);

  void OnDone(ConnectionId id, uint32_t context) override;
  void OnUp(ConnectionId id) override;
  void OnDown(ConnectionId id, RcConnections::Loss loss, const absl::Status& why) override;

  Nic* const nic_;
  Rendezvous* const rendezvous_;
  const Peers* const peers_;
  const Options options_;
  BufferPool pool_;
  // One, or, on software devices, one a buffer, made when it is first needed: Soft-RoCE checks the
  // bounds of a registration and not those of a window.
  std::vector<std::unique_ptr<Registration>> registrations_;
  RcConnections connections_;
  std::vector<Exposure> exposures_;  // behind the connections that their windows are bound to
  std::vector<uint32_t> free_exposures_;
  std::vector<FetchState> fetches_;
  std::vector<uint32_t> free_fetches_;
  std::vector<uint32_t> waiting_;  // fetches that are not wholly posted, oldest first
  std::vector<uint32_t> ended_;    // that are to be taken, oldest first
  std::vector<uint32_t> reads_;    // under way, by the index of their connection
  int64_t now_ns_ = 0;
  Stats stats_;
};

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_BULK_PATH_H_
