// SPDX-License-Identifier: Apache-2.0
//
// An open device: its protection domain and registered memory, which all queues of it share.
#ifndef WEFT_TRANSPORTS_RDMA_VERBS_DEVICE_H_
#define WEFT_TRANSPORTS_RDMA_VERBS_DEVICE_H_

#include <infiniband/verbs.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "weft/config/config.h"
#include "weft/transports/rdma/device.h"
#include "weft/transports/rdma/nic.h"
#include "weft/transports/rdma/verbs_events.h"
#include "weft/transports/rdma/verbs_objects.h"

namespace weft::rdma {

class VerbsDevice final : public Nic {
 public:
  static absl::StatusOr<std::unique_ptr<VerbsDevice>> Open(const PortChoice& choice,
                                                           const config::Rdma& settings);

  const NicLimits& limits() const override { return limits_; }
  absl::StatusOr<std::unique_ptr<CompletionQueue>> OpenCompletionQueue() override;
  absl::StatusOr<std::unique_ptr<Registration>> Register(absl::Span<uint8_t> memory,
                                                         bool windows) override;
  absl::StatusOr<std::unique_ptr<Window>> OpenWindow() override;
  std::unique_ptr<Subscription> Subscribe() override { return events_->Subscribe(); }

  ibv_context* context() const { return context_.get(); }
  ibv_pd* domain() const { return domain_.get(); }
  const ibv_device_attr& attributes() const { return attributes_; }
  const config::Rdma& settings() const { return settings_; }
  uint8_t port() const { return choice_.port; }

  // The address of a queue pair here, without what belongs to its kind.
  QueueAddress AddressOf(const ibv_qp* pair) const;
  // How to get to `to`.
  ibv_ah_attr RouteTo(const QueueAddress& to) const;

  // Registered memory, as a thread knows it: the registration that it used last is found without a
  // lock, until any has ended.
  struct Memory {
    uint64_t epoch = 0;  // of this table when it was looked up
    uint64_t begin = 0, end = 0;
    ibv_mr* region = nullptr;  // null: none
    uint32_t local_key = 0;
  };
  // Makes `last` the registration that holds the `bytes` at `address`; false if there is none.
  bool Find(uint64_t address, size_t bytes, Memory& last) {
    if (last.epoch == epoch_.load(std::memory_order_acquire) && address >= last.begin &&
        address + bytes <= last.end) [[likely]] {
      return true;
    }
    return FindSlowly(address, bytes, /*local_key=*/nullptr, last);
  }
  // The one with that local key and no other: several may hold the same bytes, and what is bound to
  // one reaches, on Soft-RoCE, all of it.
  bool FindByKey(uint32_t local_key, uint64_t address, size_t bytes, Memory& last) {
    if (last.local_key == local_key && last.epoch == epoch_.load(std::memory_order_acquire) &&
        address >= last.begin && address + bytes <= last.end) [[likely]] {
      return true;
    }
    return FindSlowly(address, bytes, &local_key, last);
  }
  void Forget(ibv_mr* region);

 private:
  VerbsDevice(const PortChoice& choice, const config::Rdma& settings)
      : choice_(choice), settings_(settings) {}
  absl::Status OpenContext();
  absl::Status ReadLimits();
  bool FindSlowly(uint64_t address, size_t bytes, const uint32_t* local_key, Memory& last);

  const PortChoice choice_;
  const config::Rdma settings_;
  NicLimits limits_;
  ibv_device_attr attributes_ = {};
  uint16_t lid_ = 0;
  VerbsPtr<ibv_context> context_;
  VerbsPtr<ibv_pd> domain_;
  std::unique_ptr<VerbsEvents> events_;
  std::atomic<uint64_t> epoch_{1};  // counts registrations that ended
  absl::Mutex mutex_;
  std::vector<ibv_mr*> regions_ ABSL_GUARDED_BY(mutex_);
};

class VerbsRcQueue;

// Bound and invalidated by work requests of a connection, its home. Soft-RoCE holds a queue pair to
// which a window is bound, and blocks for most of a minute when that is destroyed: so a connection
// that ends has its windows renewed.
class VerbsWindow final : public Window {
 public:
  VerbsWindow(ibv_pd* domain, VerbsPtr<ibv_mw> window)
      : domain_(domain), window_(std::move(window)) {}
  ~VerbsWindow() override { SetHome(nullptr); }
  uint32_t remote_key() const override { return window_ == nullptr ? 0 : window_->rkey; }

  ibv_mw* get() const { return window_.get(); }
  // A new one in place of it, which makes its key void. False: there is none, until it succeeds.
  bool Renew();
  // To the list of its windows, if it is not there already.
  void SetHome(VerbsRcQueue* home);

  VerbsRcQueue* home = nullptr;  // that has bound it last
  size_t index = 0;              // in its home's list
  bool is_bound = false;         // by a bind that was posted, and not invalidated since
  uint32_t invalidated_at = 0;   // number of that request at its home
  bool is_posted = false;        // is part of the work requests that are being put together

 private:
  ibv_pd* const domain_;
  VerbsPtr<ibv_mw> window_;
};

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_VERBS_DEVICE_H_
