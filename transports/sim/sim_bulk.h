// SPDX-License-Identifier: Apache-2.0
//
// Long messages that are fetched (transports/bulk_transfers.h) over a simulated network: a fetch
// takes two latencies of the way and the time that its bytes take on the reader's wire, and loses
// nothing, as a device sends again by itself what the network loses. What else goes wrong, a test
// says, and the network's seed decides:
//
//   network.bulk().faults = {.fail = 0.2, .no_buffer = 0.1, .set_up_ns = 50'000};
//   ...
//   EXPECT_EQ(network.bulk().exposures.size(), 0u);   // nobody has forgotten to conceal
#ifndef WEFT_TRANSPORTS_SIM_SIM_BULK_H_
#define WEFT_TRANSPORTS_SIM_SIM_BULK_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/transports/bulk_transfers.h"
#include "weft/transports/sim/network.h"

namespace weft::sim {

struct BulkOptions {
  size_t count = 0;              // buffers of a port; 0: none, and no such way
  size_t bytes = 1024 * 1024;    // the longest message
  size_t min_bytes = 16 * 1024;  // Capabilities::bulk_min_bytes
};

// That of one port, whose thread uses it. The network outlives it.
class SimBulk final : public BulkTransfers {
 public:
  // In front of what an application writes, as in a packet.
  static constexpr size_t kHeadroom = 256;

  SimBulk(Network* network, const BulkOptions& options);
  ~SimBulk() override;

  // The node that the port is at; before anything else.
  void Attach(NodeId node) { node_ = node; }
  void BindToThisThread() { pool_.BindToThisThread(); }

  size_t max_bytes() const override { return options_.bytes; }
  size_t buffers() const override { return options_.count; }
  size_t available() const override { return pool_.available(); }
  Buffer Allocate(size_t bytes) override;
  bool Owns(const Buffer& buffer) const override { return pool_.Owns(buffer); }
  std::optional<BulkKey> Expose(const Peer& peer, const Buffer& message) override;
  bool IsExposed(const BulkKey& key) const override;
  void Conceal(const BulkKey& key) override;
  bool Fetch(const Peer& peer, const BulkKey& key, size_t bytes, Buffer& room,
             uint64_t context) override;
  size_t TakeFetched(absl::Span<Fetched> fetched) override;

  const BulkOptions& options() const { return options_; }
  // Fetches that have not been taken.
  size_t fetching() const { return under_way_ + ended_.size(); }

 private:
  struct Pending {
    EventQueue::Id end;
    NodeId owner = 0;
    uint64_t exposure = 0;  // 0: of no key
    size_t bytes = 0;
    uint64_t context = 0;
    Buffer room;  // null: not in use
  };

  // Whether the way to `peer` is there, which this may begin to make.
  bool HasWayTo(NodeId peer);
  void End(size_t index);
  bool Succeeds(const Pending& fetch);

  Network* const network_;
  const BulkOptions options_;
  NodeId node_ = 0;
  BufferPool pool_;
  absl::flat_hash_map<NodeId, int64_t> ways_;  // to the time at which they are ready
  std::vector<Pending> pending_;               // options_.count
  std::deque<Fetched> ended_;
  size_t under_way_ = 0;
  int64_t wire_free_ns_ = 0;
};

}  // namespace weft::sim

#endif  // WEFT_TRANSPORTS_SIM_SIM_BULK_H_
