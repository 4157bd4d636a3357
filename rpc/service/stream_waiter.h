// SPDX-License-Identifier: Apache-2.0
//
// A coroutine that waits for something of a stream. Part of an awaiter: when the coroutine is
// destroyed while it waits, nothing will resume it. Not for users.
#ifndef WEFT_RPC_SERVICE_STREAM_WAITER_H_
#define WEFT_RPC_SERVICE_STREAM_WAITER_H_

#include <cassert>
#include <coroutine>
#include <utility>

namespace weft::rpc {

class StreamWaiter {
 public:
  // Where one waiter at a time is known to the stream.
  using Place = StreamWaiter*;

  StreamWaiter() = default;
  StreamWaiter(const StreamWaiter&) = delete;
  StreamWaiter& operator=(const StreamWaiter&) = delete;
  ~StreamWaiter() {
    if (place_ != nullptr) *place_ = nullptr;
  }

  void Wait(Place& place, std::coroutine_handle<> coroutine) {
    assert(place == nullptr && "one coroutine at a time");
    place_ = &place;
    place = this;
    coroutine_ = coroutine;
  }

  // Nobody who waits there will be resumed.
  static void Forget(Place& place) {
    if (place != nullptr) std::exchange(place, nullptr)->place_ = nullptr;
  }

  // Resumes who waits there, if anybody does. The coroutine may then do to the stream whatever it
  // likes.
  static void Wake(Place& place) {
    StreamWaiter* const waiter = std::exchange(place, nullptr);
    if (waiter == nullptr) return;
    waiter->place_ = nullptr;
    waiter->coroutine_.resume();
  }

 private:
  Place* place_ = nullptr;
  std::coroutine_handle<> coroutine_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_STREAM_WAITER_H_
