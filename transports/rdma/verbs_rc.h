// SPDX-License-Identifier: Apache-2.0
#ifndef WEFT_TRANSPORTS_RDMA_VERBS_RC_H_
#define WEFT_TRANSPORTS_RDMA_VERBS_RC_H_

#include <infiniband/verbs.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/transports/rdma/nic.h"
#include "weft/transports/rdma/verbs_completion.h"
#include "weft/transports/rdma/verbs_device.h"
#include "weft/transports/rdma/verbs_objects.h"

namespace weft::rdma {

// A reliable connection on which only this side's reads, writes and atomics travel.
class VerbsRcQueue final : public RcQueue {
 public:
  // `number` is what completions are known by: VerbsCompletionQueue::WorkId().
  static absl::StatusOr<std::unique_ptr<VerbsRcQueue>> Open(
      VerbsCompletionQueue& completions, uint32_t number,
      const CompletionQueue::RcOptions& options);
  ~VerbsRcQueue() override;

  QueueAddress address() const override { return address_; }
  absl::Status Connect(const QueueAddress& to) override;
  bool failed() const override;
  size_t Post(absl::Span<const RcRequest> requests) override;

  // Gives back the slots that `completion` tells of. False: nobody wants to know of it.
  bool Complete(const ibv_wc& completion, RcCompletion& result);

 private:
  friend class VerbsWindow;
  static constexpr size_t kBurst = 32;
  struct Slot {
    uint64_t context;
    bool silent;  // is signalled for the slots' sake only
  };

  VerbsRcQueue(VerbsCompletionQueue& completions, uint32_t number, uint32_t slots);
  absl::Status Prepare();
  absl::Status ToInitialized();
  // From any state; forgets what is unfinished.
  absl::Status Reset();
  // Puts a prefix of `requests` together, as long as they may be posted in one go, and posts it.
  size_t PostBurst(absl::Span<const RcRequest> requests, bool* refused);
  bool Fill(const RcRequest& request, ibv_send_wr& work, ibv_sge& piece);
  bool FillWindow(const RcRequest& request, ibv_send_wr& work);
  void NoteWindow(const RcRequest& request, const ibv_send_wr& work, uint32_t sequence);
  // Whether a window whose home this is has been invalidated for certain.
  bool HasLetGo(const VerbsWindow& window) const;

  VerbsCompletionQueue& completions_;
  VerbsDevice& device_;
  const uint32_t number_;
  const uint32_t slots_;
  uint32_t inline_bytes_ = 0;
  QueueAddress address_;
  VerbsPtr<ibv_qp> pair_;

  uint32_t posted_ = 0;
  uint32_t completed_ = 0;          // of them, the first so many
  uint32_t unsignalled_ = 0;        // in a row
  std::vector<Slot> slots_in_use_;  // request number n: entry n modulo the size, a power of two
  std::array<ibv_send_wr, kBurst> work_ = {};
  std::array<ibv_sge, kBurst> pieces_ = {};
  bool is_connected_ = false;
  bool has_failed_ = false;            // a request has
  std::vector<VerbsWindow*> windows_;  // whose home this is
  VerbsDevice::Memory memory_;         // that the last window was bound to
};

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_VERBS_RC_H_
