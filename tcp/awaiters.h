// SPDX-License-Identifier: Apache-2.0
//
// What `co_await` of connections is made of. Not for users: Connection, Listener and Connections
// return them.
#ifndef WEFT_TCP_AWAITERS_H_
#define WEFT_TCP_AWAITERS_H_

#include <coroutine>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/core/loop.h"
#include "weft/core/timer_wheel.h"
#include "weft/transports/address.h"

namespace weft::tcp {

class Connection;
class Connections;

namespace internal {

struct ConnectionState;
struct ListenerState;

// A coroutine that waits at a place, which points to it meanwhile, alone or as one of a queue. It
// is withdrawn by its destructor.
class Waiter {
 public:
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  // Goes on if what it waits for is there.
  void Try() {
    if (IsReady()) Resume();
  }
  void Resume() {
    Leave();
    awaiting_.resume();
  }
  // Takes it out of its place. It is not resumed any more unless it is by the caller.
  void Leave();
  Waiter* next() const { return next_; }

 protected:
  explicit Waiter(absl::Duration timeout) : timeout_(timeout), timer_(&Waiter::OnTimeout, this) {}
  ~Waiter() { Leave(); }

  virtual bool IsReady() = 0;
  // Waits as the last at `place`.
  void WaitAt(Waiter** place, Loop& loop, std::coroutine_handle<> awaiting);
  bool waits() const { return place_ != nullptr; }
  bool timed_out() const { return timed_out_; }
  absl::Status TimedOut(const char* waited_for) const;

 private:
  static void OnTimeout(void* self, int64_t now_ns);

  const absl::Duration timeout_;
  Loop* loop_ = nullptr;
  Waiter** place_ = nullptr;  // null while it does not wait
  Waiter* next_ = nullptr;
  Timer timer_;
  std::coroutine_handle<> awaiting_;
  bool timed_out_ = false;
};

}  // namespace internal

class [[nodiscard]] ReadAwaiter : private internal::Waiter {
 public:
  ReadAwaiter(internal::ConnectionState* state, absl::Duration timeout)
      : Waiter(timeout), state_(state) {}
  bool await_ready() { return IsReady(); }
  void await_suspend(std::coroutine_handle<> awaiting);
  absl::StatusOr<absl::Span<const uint8_t>> await_resume();

 private:
  bool IsReady() override;
  internal::ConnectionState* const state_;
};

class [[nodiscard]] WriteAwaiter : private internal::Waiter {
 public:
  WriteAwaiter(internal::ConnectionState* state, absl::Span<const uint8_t> bytes,
               absl::Duration timeout)
      : Waiter(timeout), state_(state), left_(bytes) {}
  bool await_ready() { return IsReady(); }
  void await_suspend(std::coroutine_handle<> awaiting);
  absl::Status await_resume();

 private:
  bool IsReady() override;  // sends what there is room for
  internal::ConnectionState* const state_;
  absl::Span<const uint8_t> left_;
};

class [[nodiscard]] WritableAwaiter : private internal::Waiter {
 public:
  WritableAwaiter(internal::ConnectionState* state, absl::Duration timeout)
      : Waiter(timeout), state_(state) {}
  bool await_ready() { return IsReady(); }
  void await_suspend(std::coroutine_handle<> awaiting);
  absl::Status await_resume();

 private:
  bool IsReady() override;
  internal::ConnectionState* const state_;
};

class [[nodiscard]] ConnectAwaiter : private internal::Waiter {
 public:
  ConnectAwaiter(Connections& connections, const Address& address, absl::Duration timeout)
      : Waiter(timeout), connections_(connections), address_(address) {}
  ~ConnectAwaiter();  // gives the attempt up
  bool await_ready() const { return false; }
  bool await_suspend(std::coroutine_handle<> awaiting);
  absl::StatusOr<Connection> await_resume();

 private:
  bool IsReady() override;
  Connections& connections_;
  const Address address_;
  internal::ConnectionState* state_ = nullptr;  // until the coroutine has got it
  absl::Status begun_;
};

class [[nodiscard]] AcceptAwaiter : private internal::Waiter {
 public:
  AcceptAwaiter(internal::ListenerState* listener, absl::Duration timeout)
      : Waiter(timeout), listener_(listener) {}
  bool await_ready() { return IsReady(); }
  void await_suspend(std::coroutine_handle<> awaiting);
  absl::StatusOr<Connection> await_resume();

 private:
  bool IsReady() override;
  internal::ListenerState* const listener_;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_AWAITERS_H_
