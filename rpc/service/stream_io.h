// SPDX-License-Identifier: Apache-2.0
//
// Awaiters that read and write messages of a stream, for either end. Not for users.
//
// A message that is there, or finds room, needs no suspension. A coroutine that is destroyed while
// it waits withdraws.
#ifndef WEFT_RPC_SERVICE_STREAM_IO_H_
#define WEFT_RPC_SERVICE_STREAM_IO_H_

#include <algorithm>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/core/buffer_chain.h"
#include "weft/rpc/payload.h"
#include "weft/rpc/service/message_codec.h"
#include "weft/rpc/service/stream_receiver.h"
#include "weft/rpc/service/stream_sender.h"

namespace weft::rpc {

// `bytes` in buffers of `pool`. False: there are not enough.
inline bool CopyToChain(BufferPool& pool, absl::Span<const uint8_t> bytes, BufferChain* out) {
  out->Clear();
  do {
    Buffer buffer = pool.Allocate();
    if (!buffer) return false;
    const size_t n = std::min(bytes.size(), buffer.tailroom());
    if (n > 0) std::memcpy(buffer.Append(n), bytes.data(), n);
    out->Append(std::move(buffer));
    bytes.remove_prefix(n);
  } while (!bytes.empty());
  return true;
}

// `co_await` gives whether there was a message, which is then in `*message`. `State` is
// ServerStreamState or ClientStreamState; null is a stream that could not begin.
template <typename State, typename M>
class [[nodiscard]] StreamRead {
 public:
  StreamRead(State* state, Received<M>* message) : state_(state), message_(message) {}

  bool await_ready() { return Try(); }
  void await_suspend(std::coroutine_handle<> coroutine) {
    waiter_.Wait(state_->arrival(), coroutine);
  }
  bool await_resume() {
    if (!decided_) Try();
    return got_;
  }

 private:
  // False: it has not come yet.
  bool Try() {
    if (state_ == nullptr) [[unlikely]]
      return decided_ = true;
    switch (state_->Next()) {
      case StreamReceiver::Result::kWait:
        return false;
      case StreamReceiver::Result::kMessage:
        got_ = Take();
        if (got_) state_->Pop();
        break;
      case StreamReceiver::Result::kEnd:
        break;
      case StreamReceiver::Result::kMalformed:
        state_->Break(absl::InvalidArgumentError("a batch that is no sequence of messages"));
        break;
    }
    return decided_ = true;
  }

  bool Take() {
    if constexpr (kIsRaw<M>) {
      if (!state_->contiguous()) {
        *message_ = std::move(state_->chain());
        return true;
      }
      if (state_->TakeWhole(message_) || CopyToChain(state_->pool(), state_->bytes(), message_)) {
        return true;
      }
      state_->Break(absl::ResourceExhaustedError("no packet buffers left for a message"));
    } else {
      const bool good = state_->contiguous() ? DecodeMessage(state_->bytes(), message_)
                                             : DecodeMessage(state_->chain(), message_);
      if (good) [[likely]]
        return true;
      state_->Break(absl::InvalidArgumentError("a message that does not parse"));
    }
    return false;
  }

  State* const state_;
  Received<M>* const message_;
  bool decided_ = false;
  bool got_ = false;
  StreamWaiter waiter_;
};

// `co_await` gives whether the message has become part of the stream. It is not needed afterwards.
template <typename State, typename M>
class [[nodiscard]] StreamWrite {
 public:
  StreamWrite(State* state, const Sent<M>& message) : state_(state), message_(message) {}

  bool await_ready() { return state_ == nullptr || Try() || state_->over(); }
  void await_suspend(std::coroutine_handle<> coroutine) { waiter_.Wait(state_->room(), coroutine); }
  bool await_resume() { return written_ || (state_ != nullptr && Try()); }

 private:
  bool Try() {
    const size_t size = Size();
    if (size >= kStreamMessageBytesMax) [[unlikely]] {
      state_->Break(absl::InvalidArgumentError("a message of more than 2 GiB"));
      return false;
    }
    uint8_t* out = state_->Append(size);
    if (out == nullptr) return false;
    if constexpr (kIsRaw<M>) {
      message_.ForEachPiece([&out](absl::Span<const uint8_t> piece) {
        if (!piece.empty()) std::memcpy(out, piece.data(), piece.size());
        out += piece.size();
      });
    } else {
      message_.SerializeWithCachedSizesToArray(out);
    }
    return written_ = true;
  }
  size_t Size() const {
    if constexpr (kIsRaw<M>) {
      return message_.size();
    } else {
      return message_.ByteSizeLong();
    }
  }

  State* const state_;
  const Sent<M>& message_;
  bool written_ = false;
  StreamWaiter waiter_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_STREAM_IO_H_
