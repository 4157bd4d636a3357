// SPDX-License-Identifier: Apache-2.0
//
// Completion queues of a real device: one for the connections of a port, two for each UD queue, all
// of which wake through one completion channel.
#ifndef WEFT_TRANSPORTS_RDMA_VERBS_COMPLETION_H_
#define WEFT_TRANSPORTS_RDMA_VERBS_COMPLETION_H_

#include <infiniband/verbs.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/transports/rdma/nic.h"
#include "weft/transports/rdma/verbs_device.h"
#include "weft/transports/rdma/verbs_objects.h"

namespace weft::rdma {

// A completion queue of the device that can be armed: its next completion then makes the channel
// readable, once. A completion that came just before that is found by polling again, and kept here.
class ArmedCq {
 public:
  explicit ArmedCq(VerbsPtr<ibv_cq> cq) : cq_(std::move(cq)) { cq_->cq_context = this; }
  ArmedCq(const ArmedCq&) = delete;

  ibv_cq* get() const { return cq_.get(); }

  size_t Poll(absl::Span<ibv_wc> completions) {
    if (has_kept_ && !completions.empty()) [[unlikely]] {
      has_kept_ = false;
      completions[0] = kept_;
      return 1 + PollDevice(completions.subspan(1));
    }
    return PollDevice(completions);
  }

  // False: there is a completion already.
  bool Arm();
  // The channel has become readable for this one.
  void Fired() { armed_ = false; }

 private:
  size_t PollDevice(absl::Span<ibv_wc> completions) {
    const int count =
        ibv_poll_cq(cq_.get(), static_cast<int>(completions.size()), completions.data());
    return count > 0 ? static_cast<size_t>(count) : 0;
  }

  VerbsPtr<ibv_cq> cq_;
  bool armed_ = false;
  bool has_kept_ = false;
  ibv_wc kept_;
};

class VerbsRcQueue;
class VerbsUdQueue;

class VerbsCompletionQueue final : public CompletionQueue {
 public:
  static absl::StatusOr<std::unique_ptr<VerbsCompletionQueue>> Open(VerbsDevice& device);
  ~VerbsCompletionQueue() override;

  absl::StatusOr<std::unique_ptr<RcQueue>> OpenRcQueue(const RcOptions& options) override;
  absl::StatusOr<std::unique_ptr<UdQueue>> OpenUdQueue(const UdOptions& options) override;
  size_t Poll(absl::Span<RcCompletion> completions) override;
  int wait_fd() const override { return channel_->fd; }
  bool Arm() override;
  void Disarm() override;

  VerbsDevice& device() const { return device_; }
  ibv_cq* connections_cq() const { return connections_->get(); }
  // A completion queue of `slots` that wakes by the channel.
  absl::StatusOr<std::unique_ptr<ArmedCq>> MakeCq(uint32_t slots);

  // What a work request of a connection is called: the connection's number with its generation, and
  // its own number among the connection's. Completions of connections that have ended may still
  // lie in the queue; the generation tells.
  static uint64_t WorkId(uint32_t connection, uint32_t sequence) {
    return uint64_t{connection} << 32 | sequence;
  }

  // Takes all completions that are there off the device, for Poll().
  void TakeAll();
  // By the queues' destructors.
  void Remove(VerbsRcQueue* queue, uint32_t connection, uint32_t slots);
  void Remove(VerbsUdQueue* queue);

 private:
  static constexpr uint32_t kIndexBits = 16;
  static constexpr size_t kConnectionsMax = size_t{1} << kIndexBits;
  struct Connection {
    VerbsRcQueue* queue = nullptr;
    uint16_t generation = 0;
  };

  explicit VerbsCompletionQueue(VerbsDevice& device) : device_(device) {}
  // Makes room for all completions of `slots` work requests more.
  absl::Status Reserve(uint32_t slots);
  // `owners`, if it is not null: the number of the connection of each.
  size_t PollDevice(absl::Span<RcCompletion> completions, uint32_t* owners);

  VerbsDevice& device_;
  VerbsPtr<ibv_comp_channel> channel_;
  std::unique_ptr<ArmedCq> connections_;  // completion queue of all RC queues
  uint32_t slots_in_use_ = 0;             // of its entries, at most, if all fail at once
  std::vector<Connection> rc_queues_;
  std::vector<uint16_t> free_connections_;
  std::vector<VerbsUdQueue*> ud_queues_;
  struct Kept {
    uint32_t connection;
    RcCompletion completion;
  };
  std::vector<Kept> kept_;  // by TakeAll(); oldest first
};

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_VERBS_COMPLETION_H_
