// SPDX-License-Identifier: Apache-2.0
#include "weft/router/router_group.h"

#include <algorithm>
#include <utility>

#include "absl/random/random.h"
#include "weft/router/router.h"

namespace weft::router {

RouterGroup::RouterGroup(size_t workers) : incarnation_(absl::Uniform<uint64_t>(absl::BitGen())) {
  for (size_t i = 0; i < std::max<size_t>(workers, 1); ++i) {
    workers_.push_back(std::make_unique<Worker>());
  }
}

void RouterGroup::Attach(size_t worker, std::shared_ptr<Mailbox> mailbox, Router* router) {
  Worker& attached = *workers_[worker];
  attached.router = router;
  const std::lock_guard lock(attached.mutex);
  attached.mailbox = std::move(mailbox);
}

void RouterGroup::Detach(size_t worker) {
  workers_[worker]->router = nullptr;
  const std::lock_guard lock(workers_[worker]->mutex);
  workers_[worker]->mailbox = nullptr;
}

std::shared_ptr<Mailbox> RouterGroup::MailboxOf(size_t worker) {
  const std::lock_guard lock(workers_[worker]->mutex);
  return workers_[worker]->mailbox;
}

bool RouterGroup::Post(size_t worker, absl::AnyInvocable<void(Router&)> function) {
  const std::shared_ptr<Mailbox> mailbox = MailboxOf(worker);
  if (mailbox == nullptr) return false;
  Worker& to = *workers_[worker];
  if (to.changes.fetch_add(1, std::memory_order_relaxed) >= kChangesMax) {
    to.changes.fetch_sub(1, std::memory_order_relaxed);
    return false;
  }
  mailbox->Post([group = shared_from_this(), &to, function = std::move(function)]() mutable {
    to.changes.fetch_sub(1, std::memory_order_relaxed);
    if (to.router != nullptr) function(*to.router);
  });
  return true;
}

size_t RouterGroup::PassOn(size_t from, const Feedback& feedback) {
  size_t overflows = 0;
  for (size_t i = 0; i < workers_.size(); ++i) {
    if (i == from) continue;
    const bool taken = workers_[i]->ring.TryPush([&feedback](Feedback& slot) { slot = feedback; });
    if (taken) {
      workers_[i]->passed_on.store(true, std::memory_order_relaxed);
    } else {
      ++overflows;
    }
  }
  return overflows;
}

void RouterGroup::Wake(size_t from) {
  for (size_t i = 0; i < workers_.size(); ++i) {
    Worker& worker = *workers_[i];
    if (i == from || !worker.passed_on.exchange(false, std::memory_order_relaxed)) continue;
    if (worker.woken.exchange(true, std::memory_order_acq_rel)) continue;
    const std::shared_ptr<Mailbox> mailbox = MailboxOf(i);
    if (mailbox == nullptr) continue;
    mailbox->Post([group = shared_from_this(), &worker] {
      worker.woken.store(false, std::memory_order_release);
      if (worker.router != nullptr) worker.router->TakePassedOn();
    });
  }
}

}  // namespace weft::router
