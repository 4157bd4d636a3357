// SPDX-License-Identifier: Apache-2.0
//
// What happens to a device, handed to each subscriber. There is one descriptor of the kernel's for
// a device; whichever subscriber asks first reads it for all, and wakes the others.
#ifndef WEFT_TRANSPORTS_RDMA_VERBS_EVENTS_H_
#define WEFT_TRANSPORTS_RDMA_VERBS_EVENTS_H_

#include <infiniband/verbs.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "weft/core/unique_fd.h"
#include "weft/transports/rdma/nic.h"

namespace weft::rdma {

// Threads: any. Outlives its subscriptions.
class VerbsEvents {
 public:
  VerbsEvents(ibv_context* context, uint8_t port);
  std::unique_ptr<Nic::Subscription> Subscribe();

 private:
  class Subscriber;
  // Events that nobody takes: the oldest goes.
  static constexpr size_t kWaitingMax = 64;

  void ReadAll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Deliver(const NicEvent& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  ibv_context* const context_;
  const uint8_t port_;
  absl::Mutex mutex_;
  bool removed_ ABSL_GUARDED_BY(mutex_) = false;  // nothing more comes
  std::vector<Subscriber*> subscribers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_VERBS_EVENTS_H_
