// SPDX-License-Identifier: Apache-2.0
//
// Where other threads leave functions for a loop to run. A loop has one and is usually posted to by
// Loop::Post(); whoever may still want to post when the loop is gone holds its mailbox instead:
//
//   std::shared_ptr<Mailbox> mailbox = loop.mailbox();  // on a thread that knows the loop to exist
//   library.OnEvent([mailbox] { mailbox->Post([] { ... }); });  // whenever, on whatever thread
//
// Once the loop is destroyed, what is posted is destroyed unrun, at once and on the posting thread.
#ifndef WEFT_CORE_MAILBOX_H_
#define WEFT_CORE_MAILBOX_H_

#include <atomic>
#include <cstddef>
#include <mutex>
#include <vector>

#include "absl/functional/any_invocable.h"

namespace weft {

class Mailbox {
 public:
  using Function = absl::AnyInvocable<void()>;

  ~Mailbox();
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  // Runs `function` on the loop's thread, soon. Any thread.
  void Post(Function function);

 private:
  friend class Loop;
  Mailbox();

  // Makes wake_fd() readable. Any thread, also from a signal handler.
  void Wake();

  // What follows is called by the loop, on its thread.
  bool has_posted() const { return has_posted_.load(std::memory_order_relaxed); }
  size_t RunPosted();
  // Has whoever posts from now on Wake() the loop. False: something was posted already.
  bool AnnounceSleep();
  void EndSleep() { asleep_.store(false, std::memory_order_relaxed); }
  int wake_fd() const { return wake_fd_; }
  // Takes the woken loop's token out of wake_fd().
  void DrainWake();
  // Destroys what was posted and refuses more.
  void Close();

  const int wake_fd_;
  std::atomic<bool> has_posted_{false};
  std::atomic<bool> asleep_{false};  // or about to be: whoever adds work must write wake_fd_
  std::mutex mutex_;
  bool closed_ = false;            // guarded by mutex_
  std::vector<Function> posted_;   // guarded by mutex_
  std::vector<Function> running_;  // the loop's; keeps its memory between rounds
};

}  // namespace weft

#endif  // WEFT_CORE_MAILBOX_H_
