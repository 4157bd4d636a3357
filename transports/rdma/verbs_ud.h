// SPDX-License-Identifier: Apache-2.0
#ifndef WEFT_TRANSPORTS_RDMA_VERBS_UD_H_
#define WEFT_TRANSPORTS_RDMA_VERBS_UD_H_

#include <infiniband/verbs.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/transports/rdma/nic.h"
#include "weft/transports/rdma/verbs_completion.h"
#include "weft/transports/rdma/verbs_device.h"
#include "weft/transports/rdma/verbs_objects.h"

namespace weft::rdma {

// What lies in front of a datagram that was received.
inline constexpr size_t kGrhBytes = 40;

// The GID of who sent it. The device wrote an IPv6-like header of 40 bytes there; over RoCEv2 and
// IPv4 the IPv4 header instead, into the last 20 of them, and anything into the first 20
// (InfiniBand specification, annex A17.4.5.2).
Gid SourceOf(const uint8_t* grh);

// One work request each, put together beforehand: a burst fills in what differs.
class VerbsUdQueue final : public UdQueue {
 public:
  static absl::StatusOr<std::unique_ptr<VerbsUdQueue>> Open(
      VerbsCompletionQueue& completions, const CompletionQueue::UdOptions& options);
  ~VerbsUdQueue() override;

  QueueAddress address() const override { return address_; }
  absl::StatusOr<Path> OpenPath(const QueueAddress& to) override;
  void ClosePath(Path path) override;
  size_t Send(absl::Span<const UdSend> sends) override;
  size_t TakeSent() override;
  size_t PostReceives(absl::Span<Buffer> buffers) override;
  size_t Receive(absl::Span<UdReceived> received) override;
  absl::Status status() const override { return status_; }
  Counts counts() const override { return counts_; }

  // As ArmedCq's, of both directions. That sends are complete is told only to who waits for slots.
  bool Arm();

 private:
  static constexpr size_t kBurst = 32;

  VerbsUdQueue(VerbsCompletionQueue& completions, const CompletionQueue::UdOptions& options);
  absl::Status Prepare();
  absl::Status ToReadyToSend();
  size_t PostSends(absl::Span<const UdSend> sends);
  void PollSends();
  void Fail(const ibv_wc& completion);
  // Once everything has come back that was under way in a queue pair that has failed.
  void Revive();
  size_t PostReceiveBurst(absl::Span<Buffer> buffers);
  size_t ReceiveBurst(absl::Span<UdReceived> received, size_t* polled);

  VerbsCompletionQueue& completions_;
  VerbsDevice& device_;
  const uint32_t send_slots_;
  const uint32_t receive_slots_;
  const uint32_t inline_bytes_;
  QueueAddress address_;
  absl::Status status_;
  bool is_failed_ = false;  // and to be revived; status_ is ok
  Counts counts_;

  // In this order, so that the queue pair goes first.
  std::unique_ptr<ArmedCq> send_cq_;
  std::unique_ptr<ArmedCq> receive_cq_;
  VerbsPtr<ibv_qp> pair_;

  // Sends are numbered from 1 on.
  uint64_t sent_ = 0;         // posted
  uint64_t completed_ = 0;    // of them, the first so many
  uint64_t told_ = 0;         // by TakeSent()
  uint32_t unsignalled_ = 0;  // in a row
  bool is_blocked_ = false;   // somebody waits for a slot
  std::array<ibv_send_wr, kBurst> send_requests_ = {};
  std::array<ibv_sge, 2 * kBurst> send_pieces_ = {};

  uint64_t posted_ = 0;          // receives
  uint64_t received_ = 0;        // of them, the first so many: they complete in order
  std::vector<Buffer> waiting_;  // receive number n: entry n modulo the size, a power of two
  std::vector<Buffer> flushed_;  // came back empty when the queue pair failed
  std::array<ibv_recv_wr, kBurst> receive_requests_ = {};
  std::array<ibv_sge, kBurst> receive_pieces_ = {};
  VerbsDevice::Memory memory_;  // that the last buffer lay in

  std::vector<ibv_ah*> paths_;  // by Path, less one
  std::vector<Path> free_paths_;
  // Closed ones; sends up to a number may still use them.
  struct ClosedPath {
    uint64_t last_send;
    ibv_ah* handle;
  };
  std::vector<ClosedPath> closed_paths_;
};

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_VERBS_UD_H_
