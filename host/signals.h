// SPDX-License-Identifier: Apache-2.0
#ifndef WEFT_HOST_SIGNALS_H_
#define WEFT_HOST_SIGNALS_H_

#include <array>
#include <csignal>
#include <utility>

#include "absl/status/statusor.h"
#include "weft/core/unique_fd.h"

namespace weft {

// While it lives, the first SIGINT or SIGTERM writes to an eventfd instead of ending the process;
// another that comes more than 200 ms later ends it, should the clean way be stuck. Those in
// between are the same wish told twice: timeout(1), for one, signals its child and then their
// group. One at a time in a process.
class ShutdownSignals {
 public:
  // `event_fd` must outlive the object. FailedPrecondition if there is one already.
  static absl::StatusOr<ShutdownSignals> Catch(int event_fd);

  ShutdownSignals(ShutdownSignals&& other) noexcept;
  ShutdownSignals& operator=(ShutdownSignals&&) = delete;
  // The signals do what they did before: at once if none has come; else from the moment on at which
  // another would have ended the process.
  ~ShutdownSignals();

 private:
  static constexpr std::array kSignals = {SIGINT, SIGTERM};

  ShutdownSignals() = default;
  static void Handle(int signal);

  bool active_ = true;
};

// While it lives, SIGHUP writes to an eventfd instead of ending the process. One at a time in a
// process.
class HangUpSignal {
 public:
  // FailedPrecondition if there is one already.
  static absl::StatusOr<HangUpSignal> Catch();

  HangUpSignal(HangUpSignal&& other) noexcept = default;
  HangUpSignal& operator=(HangUpSignal&&) = delete;
  // The signal does what it did before.
  ~HangUpSignal();

  // Readable when there has been one.
  int event_fd() const { return event_.get(); }

 private:
  explicit HangUpSignal(UniqueFd event) : event_(std::move(event)) {}
  static void Handle(int signal);

  UniqueFd event_;
};

}  // namespace weft

#endif  // WEFT_HOST_SIGNALS_H_
