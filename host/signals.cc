// SPDX-License-Identifier: Apache-2.0
#include "weft/host/signals.h"

#include <sys/eventfd.h>

#include <atomic>
#include <cerrno>
#include <utility>

#include "absl/status/status.h"

namespace weft {
namespace {

// The handler has nothing else to reach it by. -1: nobody catches.
std::atomic<int> caught_by{-1};
static_assert(std::atomic<int>::is_always_lock_free);

}  // namespace

absl::StatusOr<ShutdownSignals> ShutdownSignals::Catch(int event_fd) {
  int nobody = -1;
  if (!caught_by.compare_exchange_strong(nobody, event_fd)) {
    return absl::FailedPreconditionError(
        "another host of this process catches SIGINT and SIGTERM; switch handle_signals off");
  }
  ShutdownSignals signals;
  struct sigaction action = {};
  action.sa_handler = &Handle;
  // The second signal finds the default action.
  action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
  for (size_t i = 0; i < kSignals.size(); ++i) {
    sigaction(kSignals[i], &action, &signals.before_[i]);
  }
  return signals;
}

ShutdownSignals::ShutdownSignals(ShutdownSignals&& other) noexcept
    : active_(std::exchange(other.active_, false)), before_(other.before_) {}

ShutdownSignals::~ShutdownSignals() {
  if (!active_) return;
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before_[i], nullptr);
  caught_by = -1;
}

void ShutdownSignals::Handle(int) {
  const int saved = errno;
  eventfd_write(caught_by.load(std::memory_order_relaxed), 1);
  errno = saved;
}

}  // namespace weft
