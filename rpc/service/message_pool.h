// SPDX-License-Identifier: Apache-2.0
//
// Messages that are used again, so that requests and responses allocate nothing once strings and
// repeated fields have grown to what is usual. Not for users.
//
//   MessagePool<GetRequest> pool;
//   PooledMessage<GetRequest> request(pool);  // as it was left, for what clears it first
//   DecodeMessage(bytes, request.get());
//   request.set_bytes(bytes.size());
//
// Each message lies on an arena of its own. Bounded: at most kMessagesMax wait to be used again,
// and one that holds more than kBytesMax does not. Messages are looked at after they were long, and
// all of them now and then, for strings that have grown one after the other.
//
// Raw bytes are no messages and are not pooled. One thread.
#ifndef WEFT_RPC_SERVICE_MESSAGE_POOL_H_
#define WEFT_RPC_SERVICE_MESSAGE_POOL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "google/protobuf/arena.h"
#include "google/protobuf/message.h"
#include "google/protobuf/message_lite.h"

namespace weft::rpc {

template <typename M>
inline constexpr bool kIsMessage = std::is_base_of_v<google::protobuf::MessageLite, M>;

template <typename M>
class MessagePool {
 public:
  static constexpr size_t kMessagesMax = 1024;
  static constexpr size_t kBytesMax = 64 << 10;

  // Messages that wait to be used again.
  size_t unused() const { return unused_.size(); }

 private:
  template <typename>
  friend class PooledMessage;
  static constexpr uint32_t kUsesPerLook = 64;
  // Of an encoded message that cannot make much of itself.
  static constexpr size_t kSmallBytes = 1024;

  struct Slot {
    google::protobuf::Arena arena;
    M* const message = google::protobuf::Arena::CreateMessage<M>(&arena);
    uint32_t uses = 0;
  };

  std::unique_ptr<Slot> Take() {
    if (unused_.empty()) [[unlikely]]
      return std::make_unique<Slot>();
    std::unique_ptr<Slot> slot = std::move(unused_.back());
    unused_.pop_back();
    return slot;
  }
  // `bytes`: as how many it was encoded.
  void Return(std::unique_ptr<Slot> slot, size_t bytes) {
    if (bytes > kSmallBytes || ++slot->uses % kUsesPerLook == 0) [[unlikely]] {
      if (!IsWorthKeeping(*slot, bytes)) return;
    }
    if (unused_.size() >= kMessagesMax) [[unlikely]]
      return;
    unused_.push_back(std::move(slot));
  }
  static bool IsWorthKeeping(const Slot& slot, size_t bytes) {
    if (bytes > kBytesMax || slot.arena.SpaceAllocated() > kBytesMax) return false;
    if constexpr (std::is_base_of_v<google::protobuf::Message, M>) {
      return slot.message->SpaceUsedLong() <= kBytesMax;
    }
    return true;
  }

  std::vector<std::unique_ptr<Slot>> unused_;
};

// Holds a message of a pool while it lives.
template <typename M>
class PooledMessage {
 public:
  explicit PooledMessage(MessagePool<M>& pool) : pool_(pool), slot_(pool.Take()) {}
  ~PooledMessage() { pool_.Return(std::move(slot_), bytes_); }
  PooledMessage(const PooledMessage&) = delete;
  PooledMessage& operator=(const PooledMessage&) = delete;

  M* get() { return slot_->message; }
  M& operator*() { return *slot_->message; }
  M* operator->() { return slot_->message; }
  void set_bytes(size_t bytes) { bytes_ = bytes; }

 private:
  MessagePool<M>& pool_;
  std::unique_ptr<typename MessagePool<M>::Slot> slot_;
  size_t bytes_ = 0;
};

// A BufferChain or a Payload.
template <typename M>
  requires(!kIsMessage<M>)
class MessagePool<M> {};

template <typename M>
  requires(!kIsMessage<M>)
class PooledMessage<M> {
 public:
  explicit PooledMessage(MessagePool<M>&) {}
  M* get() { return &bytes_; }
  M& operator*() { return bytes_; }

 private:
  M bytes_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_MESSAGE_POOL_H_
