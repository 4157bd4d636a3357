// SPDX-License-Identifier: Apache-2.0
//
// The receiving half of a stream, at either end: puts batches in order and takes messages out of
// them. Not for users: ServerReader and ClientReader are.
//
//   receiver.Put(sequence, std::move(bytes), last);    // in any order
//
//   switch (receiver.Next()) {
//     case StreamReceiver::Result::kMessage:
//       Parse(receiver.contiguous() ? receiver.bytes() : ...receiver.chain()); receiver.Pop(); ...
//     case kWait: waiter.Wait(receiver.arrival(), coroutine); ...
//     case kEnd: case kMalformed: ...
//
// Memory is bounded: `window` batches.
#ifndef WEFT_RPC_SERVICE_STREAM_RECEIVER_H_
#define WEFT_RPC_SERVICE_STREAM_RECEIVER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/core/buffer_chain.h"
#include "weft/rpc/service/observed_call.h"
#include "weft/rpc/service/stream_batch.h"
#include "weft/rpc/service/stream_waiter.h"

namespace weft::rpc {

class StreamReceiver {
 public:
  enum class Result : uint8_t {
    kMessage,    // bytes() or chain() is the next
    kWait,       // it has not come yet
    kEnd,        // there will be none
    kMalformed,  // what has come are no messages
  };

  // Whether batches should be copied out of the buffers of `pool`: few of them are free.
  static bool BuffersLow(const BufferPool& pool) { return pool.available() < pool.count() / 4; }
  // Longer ones are not copied.
  static constexpr size_t kCopiedBytesMax = 64 * 1024;

  // `window`: 1 to 64.
  explicit StreamReceiver(size_t window);
  virtual ~StreamReceiver() = default;
  StreamReceiver(const StreamReceiver&) = delete;
  StreamReceiver& operator=(const StreamReceiver&) = delete;

  // The next message, which remains that until Pop().
  Result Next() {
    if (at_ != end_) [[likely]] {
      const size_t taken = ReadLength({at_, static_cast<size_t>(end_ - at_)}, &length_);
      head_ = taken;
      return taken != 0 && length_ <= static_cast<size_t>(end_ - at_) - taken ? Result::kMessage
                                                                              : Result::kMalformed;
    }
    return NextBatch();
  }
  // Whether it lies in one piece.
  bool contiguous() const { return !fragmented_; }
  absl::Span<const uint8_t> bytes() const { return {at_ + head_, length_}; }
  // All of a message that is not contiguous; may be moved away before Pop().
  BufferChain& chain() { return current().bytes; }
  // Of one that is contiguous: whether it is alone in the buffers that it came in, so that they may
  // be taken instead of a copy. If so they are its bytes, and may be moved away before Pop().
  bool TakeWhole(BufferChain* out);
  void Pop() {
    ++messages_;
    message_bytes_ += length_;
    if (!fragmented_) {
      at_ += head_ + length_;
      if (at_ != end_) [[likely]]
        return;
    }
    Consume();
  }

  // Messages that were popped.
  uint64_t messages() const { return messages_; }
  // Told of the messages of each batch once it is read, until Reset(); null: nobody is.
  void set_observer(ObservedCall* observer) { observer_ = observer; }
  // Tells it of those of a batch that has been read in part.
  void TellObserver();
  // The number of the batch that is read, or will be next.
  uint64_t next() const { return next_; }
  // Of batches that have come and are not read to the end.
  size_t batches() const { return batches_; }
  size_t bytes_held() const { return bytes_held_; }
  StreamWaiter::Place& arrival() { return arrival_; }

 protected:
  enum class Taken : uint8_t {
    kYes,
    kDuplicate,  // it has come before
    kBeyond,     // of the window, or of the end
  };

  // Batch `sequence` has been read to its end.
  virtual void OnConsumed(uint64_t sequence) = 0;

  // Takes `bytes` only if it says kYes. `last`: there will be no batch after it.
  Taken Check(uint64_t sequence) const;
  void Put(uint64_t sequence, BufferChain bytes, bool last);
  // There will be `batches` in all.
  void EndAt(uint64_t batches) { end_at_ = batches; }
  // Nothing more comes: it ends with what is here in order.
  void Stop() { stopped_ = true; }
  bool at_end() const { return at_ == end_ && !fragmented_ && IsEnd(); }
  // Whether a reader would find something else than kWait.
  bool ready() const { return at_ != end_ || fragmented_ || slot(next_).here || IsEnd(); }
  // Moves the bytes of a batch that is not being read to memory of its own, so that buffers are
  // free.
  void CopyOut(uint64_t sequence);
  // As new; drops what it holds.
  void Reset();
  void Wake() {
    if (ready()) StreamWaiter::Wake(arrival_);
  }

 private:
  struct Batch {
    bool here = false;
    BufferChain bytes;
    std::unique_ptr<uint8_t[]> copy;  // instead
    size_t size = 0;
  };

  Batch& slot(uint64_t sequence) { return slots_[sequence & mask_]; }
  const Batch& slot(uint64_t sequence) const { return slots_[sequence & mask_]; }
  Batch& current() { return slot(next_); }
  bool IsEnd() const { return next_ >= end_at_ || (stopped_ && !slot(next_).here); }
  Result NextBatch();
  // Of a batch in several pieces. False: not a message.
  bool BeginFragmented(Batch& batch);
  static void CopyBytes(Batch& batch);
  void Consume();

  const size_t window_;
  const size_t mask_;
  std::vector<Batch> slots_;
  uint64_t next_ = 0;
  uint64_t end_at_ = UINT64_MAX;
  bool stopped_ = false;

  // Of the batch that is read.
  const uint8_t* at_ = nullptr;
  const uint8_t* end_ = nullptr;
  size_t head_ = 0;
  size_t length_ = 0;
  bool fragmented_ = false;  // it is one message in several pieces

  size_t batches_ = 0;
  size_t bytes_held_ = 0;
  uint64_t messages_ = 0;
  uint64_t message_bytes_ = 0;  // of them
  ObservedCall* observer_ = nullptr;
  uint64_t told_messages_ = 0;  // of messages_, which the observer knows of
  uint64_t told_bytes_ = 0;
  StreamWaiter::Place arrival_ = nullptr;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_STREAM_RECEIVER_H_
