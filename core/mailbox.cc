// SPDX-License-Identifier: Apache-2.0
#include "weft/core/mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace weft {

Mailbox::Mailbox() : wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (wake_fd_ >= 0) return;
  // A process that cannot get this descriptor cannot run a loop at all.
  std::perror("weft::Mailbox: eventfd");
  std::abort();
}

Mailbox::~Mailbox() { close(wake_fd_); }

void Mailbox::Post(Function function) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return;  // the caller destroys `function`, after the lock is gone
    posted_.push_back(std::move(function));
  }
  has_posted_.store(true, std::memory_order_seq_cst);
  if (asleep_.load(std::memory_order_seq_cst)) Wake();
}

void Mailbox::Wake() {
  const int saved_errno = errno;  // a signal handler must leave it as it was
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the loop is being woken anyway.
  [[maybe_unused]] const ssize_t put = write(wake_fd_, &one, sizeof(one));
  errno = saved_errno;
}

size_t Mailbox::RunPosted() {
  has_posted_.store(false, std::memory_order_seq_cst);
  {
    const std::lock_guard lock(mutex_);
    running_.swap(posted_);
  }
  const size_t count = running_.size();
  for (Function& function : running_) function();
  running_.clear();
  return count;
}

bool Mailbox::AnnounceSleep() {
  // Announce first, look second: work added after the look finds the announcement and wakes us.
  asleep_.store(true, std::memory_order_seq_cst);
  return !has_posted_.load(std::memory_order_seq_cst);
}

void Mailbox::DrainWake() {
  uint64_t count;
  [[maybe_unused]] const ssize_t got = read(wake_fd_, &count, sizeof(count));
}

void Mailbox::Close() {
  std::vector<Function> left;  // outlives the lock: what is destroyed may post
  const std::lock_guard lock(mutex_);
  closed_ = true;
  left.swap(posted_);
}

}  // namespace weft
