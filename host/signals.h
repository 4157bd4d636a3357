// SPDX-License-Identifier: Apache-2.0
#ifndef WEFT_HOST_SIGNALS_H_
#define WEFT_HOST_SIGNALS_H_

#include <array>
#include <csignal>

#include "absl/status/statusor.h"

namespace weft {

// While it lives, the first SIGINT or SIGTERM writes to an eventfd instead of ending the process;
// the second ends it, should the clean way be stuck. One at a time in a process.
class ShutdownSignals {
 public:
  // `event_fd` must outlive the object. FailedPrecondition if there is one already.
  static absl::StatusOr<ShutdownSignals> Catch(int event_fd);

  ShutdownSignals(ShutdownSignals&& other) noexcept;
  ShutdownSignals& operator=(ShutdownSignals&&) = delete;
  // Restores what the signals did before.
  ~ShutdownSignals();

 private:
  static constexpr std::array kSignals = {SIGINT, SIGTERM};

  ShutdownSignals() = default;
  static void Handle(int);

  bool active_ = true;
  std::array<struct sigaction, kSignals.size()> before_;
};

}  // namespace weft

#endif  // WEFT_HOST_SIGNALS_H_
