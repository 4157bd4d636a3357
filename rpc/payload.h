// SPDX-License-Identifier: Apache-2.0
//
// The bytes of a message that is sent. They stay where they are, in buffers or in memory of the
// application, until the other side has them, so that a lost packet can be sent again without a
// copy having been made of it.
//
//   Payload(std::move(buffer));                       // one buffer
//   Payload(std::move(chain));                        // several: a message received, say
//   Payload::External(bytes, [file] { ... });         // memory of somebody else
//   Payload::Copy(bytes);                             // whatever happens to `bytes` afterwards
//   payload.Prepend(std::move(head));                 // a piece in front of whatever it has
//
// Move-only. One thread.
#ifndef WEFT_RPC_PAYLOAD_H_
#define WEFT_RPC_PAYLOAD_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/core/buffer_chain.h"

namespace weft::rpc {

class Payload {
 public:
  // No bytes.
  Payload() = default;
  // Implicit, as whoever has a buffer has a payload. Null buffers are no bytes.
  Payload(Buffer buffer) {  // NOLINT(google-explicit-constructor)
    if (buffer) chain_.Append(std::move(buffer));
  }
  Payload(BufferChain chain) : chain_(std::move(chain)) {}  // NOLINT(google-explicit-constructor)

  // `bytes` must stay as they are until `release` is called (or, without one, for as long as the
  // payload may be needed: a call, until it has ended). `release` runs once, on the thread of the
  // client or server, and may not call into it.
  static Payload External(absl::Span<const uint8_t> bytes,
                          absl::AnyInvocable<void()> release = nullptr) {
    Payload payload;
    payload.external_ = bytes;
    if (release != nullptr) payload.release_ = std::make_unique<Release>(std::move(release));
    return payload;
  }

  static Payload Copy(absl::Span<const uint8_t> bytes) {
    if (bytes.empty()) return Payload();
    auto copy = std::make_unique_for_overwrite<uint8_t[]>(bytes.size());
    std::memcpy(copy.get(), bytes.data(), bytes.size());
    const uint8_t* const data = copy.get();
    return External({data, bytes.size()}, [copy = std::move(copy)] {});
  }

  // Puts `head`, not null, in front of the bytes, as a piece of its own.
  void Prepend(Buffer head) { chain_.Prepend(std::move(head)); }

  Payload(Payload&& other) noexcept
      : chain_(std::move(other.chain_)),
        external_(std::exchange(other.external_, {})),
        release_(std::move(other.release_)) {}
  Payload& operator=(Payload&& other) noexcept {
    if (this != &other) {
      Clear();
      chain_ = std::move(other.chain_);
      external_ = std::exchange(other.external_, {});
      release_ = std::move(other.release_);
    }
    return *this;
  }
  ~Payload() { Clear(); }

  // Gives the memory back.
  void Clear() {
    chain_.Clear();
    external_ = {};
    if (release_ != nullptr) [[unlikely]]
      (*std::exchange(release_, nullptr))();
  }

  size_t size() const { return chain_.size() + external_.size(); }
  bool empty() const { return size() == 0; }

  // Calls `f` with each stretch of bytes, in order.
  template <typename F>
  void ForEachPiece(F f) const {
    for (const absl::Span<const uint8_t> piece : chain_) f(piece);
    if (!external_.empty()) f(external_);
  }

  // All bytes in a block of their own.
  std::unique_ptr<uint8_t[]> Join() const {
    auto joined = std::make_unique_for_overwrite<uint8_t[]>(size());
    size_t at = 0;
    ForEachPiece([&](absl::Span<const uint8_t> piece) {
      if (!piece.empty()) std::memcpy(joined.get() + at, piece.data(), piece.size());
      at += piece.size();
    });
    return joined;
  }

  // The buffer that it is, if it is exactly one; else null, and nothing changes.
  Buffer TakeBuffer() {
    return chain_.pieces() == 1 && external_.empty() ? chain_.PopFront() : Buffer();
  }

  // All bytes, if they are in one piece (or none); else only the first piece.
  absl::Span<const uint8_t> front() const {
    return chain_.pieces() == 0 ? external_ : chain_.front();
  }
  bool contiguous() const { return chain_.pieces() + (external_.empty() ? 0 : 1) <= 1; }

 private:
  using Release = absl::AnyInvocable<void()>;

  BufferChain chain_;
  absl::Span<const uint8_t> external_;  // behind the chain
  std::unique_ptr<Release> release_;    // apart, as few have one and all are moved
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_PAYLOAD_H_
