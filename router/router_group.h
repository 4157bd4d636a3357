// SPDX-License-Identifier: Apache-2.0
//
// What the workers of one router share: a way to tell each other of servers, and of FEEDBACK that
// came to a worker which has not placed the request.
//
//   auto group = std::make_shared<RouterGroup>(/*workers=*/4);
//   // on each worker's thread:
//   auto router = Router::Create(loop, std::move(port), nullptr, options, group, worker);
//
// Each worker has slots and queues of its own (docs/adr/0020-slots-are-split-between-workers.md).
// FEEDBACK passes through a bounded ring of each worker; what finds it full is dropped and counted,
// and the lease returns the slot. Changes of servers are rare and go through the loops' mailboxes,
// up to kChangesMax at a time.
#ifndef WEFT_ROUTER_ROUTER_GROUP_H_
#define WEFT_ROUTER_ROUTER_GROUP_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "weft/core/mailbox.h"
#include "weft/core/mpsc_ring.h"

namespace weft::router {

class Router;

// Thread-safe.
class RouterGroup : public std::enable_shared_from_this<RouterGroup> {
 public:
  struct Feedback {
    uint64_t server = 0;  // Member::name
    uint64_t request = 0;
  };
  static constexpr size_t kRing = 8192;
  static constexpr size_t kChangesMax = 4096;  // of each worker, that wait for it

  explicit RouterGroup(size_t workers);
  RouterGroup(const RouterGroup&) = delete;
  RouterGroup& operator=(const RouterGroup&) = delete;

  size_t workers() const { return workers_.size(); }
  // Of the router: random, since it was made.
  uint64_t incarnation() const { return incarnation_; }

  // On the worker's thread.
  void Attach(size_t worker, std::shared_ptr<Mailbox> mailbox, Router* router);
  void Detach(size_t worker);

  // Runs `function` on the thread of `worker`, unless it has gone by then. False, and nothing
  // happens, when too much waits for it or it has not come yet.
  bool Post(size_t worker, absl::AnyInvocable<void(Router&)> function);

  // Tells all other workers. Returns how many had no room for it.
  size_t PassOn(size_t from, const Feedback& feedback);
  // After some PassOn(): wakes those that sleep.
  void Wake(size_t from);
  // On the worker's thread: the oldest that was passed on to it; null: none.
  Feedback* Front(size_t worker) { return workers_[worker]->ring.Front(); }
  void PopFront(size_t worker) { workers_[worker]->ring.PopFront(); }

 private:
  struct Worker {
    MpscRing<Feedback, kRing> ring;
    std::atomic<bool> passed_on{false};  // something is in the ring since the latest Wake()
    std::atomic<bool> woken{false};      // it has been told, and has not come yet
    std::atomic<size_t> changes{0};
    Router* router = nullptr;  // on its own thread only
    std::mutex mutex;
    std::shared_ptr<Mailbox> mailbox;  // guarded by mutex
  };
  std::shared_ptr<Mailbox> MailboxOf(size_t worker);

  const uint64_t incarnation_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace weft::router

#endif  // WEFT_ROUTER_ROUTER_GROUP_H_
