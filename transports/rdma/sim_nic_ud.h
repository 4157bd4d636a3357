// SPDX-License-Identifier: Apache-2.0
//
// Datagram queues of the simulated device (sim_nic.h).
#ifndef WEFT_TRANSPORTS_RDMA_SIM_NIC_UD_H_
#define WEFT_TRANSPORTS_RDMA_SIM_NIC_UD_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/transports/rdma/nic.h"
#include "weft/transports/rdma/sim_nic.h"
#include "weft/transports/sim/event_queue.h"

namespace weft::rdma {

class SimUdQueue final : public UdQueue, private SimQueuePair {
 public:
  SimUdQueue(SimNic* nic, const CompletionQueue::UdOptions& options);
  ~SimUdQueue() override;

  QueueAddress address() const override;
  absl::StatusOr<Path> OpenPath(const QueueAddress& to) override;
  void ClosePath(Path path) override;
  size_t Send(absl::Span<const UdSend> sends) override;
  size_t TakeSent() override;
  size_t PostReceives(absl::Span<Buffer> buffers) override;
  size_t Receive(absl::Span<UdReceived> received) override;
  absl::Status status() const override { return status_; }
  Counts counts() const override { return counts_; }

 private:
  // A queue of fixed capacity, all of whose memory is there from the beginning.
  template <typename T>
  struct Ring {
    explicit Ring(size_t capacity) : slots(capacity) {}
    bool full() const { return size == slots.size(); }
    T& Push() { return slots[(head + size++) % slots.size()]; }
    T& front() { return slots[head]; }
    void Pop() {
      head = (head + 1) % slots.size();
      --size;
    }
    std::vector<T> slots;
    size_t head = 0;
    size_t size = 0;
  };
  struct Work {
    UdSend send;
    Gid to;
    bool is_inline = false;
    std::vector<uint8_t> bytes;  // of an inline one
  };

  void OnPacket(const Gid& from, uint32_t from_qpn, uint32_t qkey,
                absl::Span<const uint8_t> body) override;
  void OnRemoved() override;
  bool Accept(const UdSend& send);
  void Gather(const UdSend& send, bool is_inline, std::vector<uint8_t>* bytes);
  void WorkOnNext();

  SimNic* const nic_;
  const CompletionQueue::UdOptions options_;
  uint32_t qpn_ = 0;
  uint32_t qkey_ = 0;
  absl::Status status_;
  Counts counts_;

  std::vector<Gid> paths_;  // by Path; none where one was closed
  std::vector<Path> free_paths_;

  Ring<Work> work_;         // posted, not yet on the wire
  size_t in_use_ = 0;       // send slots: given back by completions
  size_t unsignalled_ = 0;  // done since the last that was signalled
  size_t completed_ = 0;    // since TakeSent()
  sim::EventQueue::Id next_work_;
  std::vector<uint8_t> gathered_;

  Ring<Buffer> posted_;
  Ring<UdReceived> received_;
};

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_SIM_NIC_UD_H_
