// SPDX-License-Identifier: Apache-2.0
//
// The sending half of a stream, at either end: messages gather in a batch of the length of a
// packet, which goes when it is full, or at the end of the loop's round. Not for users:
// ServerWriter and ClientWriter are.
//
//   if (uint8_t* out = sender.Append(message.size())) {
//     std::memcpy(out, ...);                  // it is part of the batch
//   } else if (!sender.over()) {
//     waiter.Wait(sender.room(), coroutine);  // once it is woken, Append() succeeds, or it is over
//   }
//
// Memory is bounded: one batch that gathers, beside those that the derived class keeps until the
// other side has room. A message that does not fit a packet is a batch of its own.
#ifndef WEFT_RPC_SERVICE_STREAM_SENDER_H_
#define WEFT_RPC_SERVICE_STREAM_SENDER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "weft/rpc/service/observed_call.h"
#include "weft/rpc/service/stream_batch.h"
#include "weft/rpc/service/stream_waiter.h"

namespace weft::rpc {

// Memory for batches of one packet, used again and again.
class StreamBlocks {
 public:
  using Block = std::unique_ptr<uint8_t[]>;

  explicit StreamBlocks(size_t bytes) : bytes_(bytes) {}
  size_t bytes() const { return bytes_; }
  Block Take() {
    if (unused_.empty()) return std::make_unique_for_overwrite<uint8_t[]>(bytes_);
    Block block = std::move(unused_.back());
    unused_.pop_back();
    return block;
  }
  void Return(Block block) {
    if (block != nullptr && unused_.size() < kUnusedMax) unused_.push_back(std::move(block));
  }

 private:
  static constexpr size_t kUnusedMax = 4096;
  const size_t bytes_;
  std::vector<Block> unused_;
};

class StreamSender {
 public:
  // In front of the messages of a batch there is room for the head of a request or reply.
  static constexpr size_t kHeadBytes = 24;

  // A batch that is ready to go.
  struct Outgoing {
    StreamBlocks::Block block;  // the messages begin at kHeadBytes
    size_t bytes = 0;           // of messages
    bool large = false;         // the block was made for it, not one of StreamBlocks
    bool last = false;          // no more will follow
  };

  explicit StreamSender(StreamBlocks& blocks) : blocks_(blocks) {}
  virtual ~StreamSender() = default;
  StreamSender(const StreamSender&) = delete;
  StreamSender& operator=(const StreamSender&) = delete;

  // Makes a message of `size` bytes, below kStreamMessageBytesMax, part of the stream, and returns
  // where they are to be written, before anything else is done with the sender. Null: there is no
  // room now, or it is over().
  uint8_t* Append(size_t size) {
    const size_t needed = LengthBytes(size) + size;
    if (needed > static_cast<size_t>(limit_ - end_) && !MakeRoom(needed)) [[unlikely]] {
      return nullptr;
    }
    uint8_t* const message = WriteLength(size, end_);
    end_ = message + size;
    ++messages_;
    message_bytes_ += size;
    if (!flush_wanted_) {
      flush_wanted_ = true;
      WantFlush();
    }
    return message;
  }

  // Nothing more can be sent: the stream has ended, or Close() was called.
  bool over() const { return over_; }
  // Nothing waits to be sent.
  bool empty() const { return end_ == begin_ && !closing_; }
  StreamWaiter::Place& room() { return room_; }
  // Messages that were appended.
  uint64_t messages() const { return messages_; }
  // Told of the messages of each batch as it goes, until the stream is over; null: nobody is.
  void set_observer(ObservedCall* observer) { observer_ = observer; }

  // Sends what has gathered, if it may go; true: nothing is left.
  bool FlushBatch() {
    flush_wanted_ = false;
    if (!empty() && CanSend()) Send();
    return empty();
  }
  // What has gathered is the last: its batch says so. It may be empty.
  void Close();

 protected:
  // Whether a batch may go now.
  virtual bool CanSend() = 0;
  // Takes a batch. May Stop() this, but resumes nobody.
  virtual void SendBatch(Outgoing batch) = 0;
  // Messages of a batch that fills a packet.
  virtual size_t BatchBytes() = 0;
  // FlushBatch() is to be called before packets leave next.
  virtual void WantFlush() = 0;

  // As new.
  void Reset();
  // Drops what has gathered; from now on it is over. Wakes nobody.
  void Stop();
  // A batch may go, after none might: sends what waits, and wakes who waits for room.
  void OnRoom();
  void FreeBatch(Outgoing& batch) {
    if (!batch.large) blocks_.Return(std::move(batch.block));
    batch.block.reset();
  }

 private:
  bool MakeRoom(size_t needed);
  void Send();
  void TellObserver();

  StreamBlocks& blocks_;
  StreamBlocks::Block block_;  // of the batch that gathers; null: none
  uint8_t* begin_ = nullptr;
  uint8_t* end_ = nullptr;
  uint8_t* limit_ = nullptr;
  bool large_ = false;
  bool over_ = true;
  bool closing_ = false;  // the last batch has not gone
  bool flush_wanted_ = false;
  uint64_t messages_ = 0;
  uint64_t message_bytes_ = 0;  // of them
  ObservedCall* observer_ = nullptr;
  uint64_t told_messages_ = 0;  // of messages_, which the observer knows of
  uint64_t told_bytes_ = 0;
  StreamWaiter::Place room_ = nullptr;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_STREAM_SENDER_H_
