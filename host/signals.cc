// SPDX-License-Identifier: Apache-2.0
#include "weft/host/signals.h"

#include <sys/eventfd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <ctime>
#include <iterator>
#include <utility>

#include "absl/status/status.h"

namespace weft {
namespace {

constexpr int64_t kSameWishNs = 200'000'000;

// The handler has nothing else to reach these by.
std::atomic<int> caught_by{-1};    // -1: nobody catches
std::atomic<int64_t> first_ns{0};  // when the first signal came; 0: none has
struct sigaction before[2];        // read by the handler only while nobody catches
std::atomic<int> hang_up_event{-1};
struct sigaction before_hang_up;
static_assert(std::atomic<int>::is_always_lock_free);
static_assert(std::atomic<int64_t>::is_always_lock_free);

int64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

absl::StatusOr<ShutdownSignals> ShutdownSignals::Catch(int event_fd) {
  int nobody = -1;
  if (!caught_by.compare_exchange_strong(nobody, event_fd)) {
    return absl::FailedPreconditionError(
        "another host of this process catches SIGINT and SIGTERM; switch handle_signals off");
  }
  static_assert(std::size(before) == kSignals.size());
  first_ns = 0;
  struct sigaction action = {};
  action.sa_handler = &Handle;
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < kSignals.size(); ++i) {
    struct sigaction was;
    sigaction(kSignals[i], &action, &was);
    // It is, if signals ended the last one.
    if (was.sa_handler != &Handle) before[i] = was;
  }
  return ShutdownSignals();
}

ShutdownSignals::ShutdownSignals(ShutdownSignals&& other) noexcept
    : active_(std::exchange(other.active_, false)) {}

ShutdownSignals::~ShutdownSignals() {
  if (!active_) return;
  if (first_ns == 0) {
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before[i], nullptr);
  }
  caught_by = -1;
}

absl::StatusOr<HangUpSignal> HangUpSignal::Catch() {
  UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) return absl::ErrnoToStatus(errno, "eventfd");
  int nobody = -1;
  if (!hang_up_event.compare_exchange_strong(nobody, event.get())) {
    return absl::FailedPreconditionError("another host of this process catches SIGHUP");
  }
  struct sigaction action = {};
  action.sa_handler = &Handle;
  action.sa_flags = SA_RESTART;
  sigaction(SIGHUP, &action, &before_hang_up);
  return HangUpSignal(std::move(event));
}

HangUpSignal::~HangUpSignal() {
  if (!event_) return;
  sigaction(SIGHUP, &before_hang_up, nullptr);
  hang_up_event = -1;
}

void HangUpSignal::Handle(int) {
  const int saved = errno;
  if (const int event_fd = hang_up_event; event_fd >= 0) eventfd_write(event_fd, 1);
  errno = saved;
}

void ShutdownSignals::Handle(int signal) {
  const int saved = errno;
  const int64_t now_ns = NowNs();
  const int event_fd = caught_by;
  int64_t first = first_ns;
  if (event_fd >= 0 && first == 0 && first_ns.compare_exchange_strong(first, now_ns)) {
    eventfd_write(event_fd, 1);
  } else if (now_ns - first > kSameWishNs) {
    struct sigaction action = {};  // the default one
    if (event_fd < 0) action = before[signal == kSignals[0] ? 0 : 1];
    sigaction(signal, &action, nullptr);
    raise(signal);  // taken when this returns
  }
  errno = saved;
}

}  // namespace weft
