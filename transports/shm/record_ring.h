// SPDX-License-Identifier: Apache-2.0
//
// A ring of messages in shared memory: one process writes, another reads, neither trusts the other.
//
// A record begins at a multiple of 16 bytes with an 8-byte header, the payload behind it:
//
//   | word: kRecordData + size, or kRecordPad, or 0 | 0 | payload ... | (to a multiple of 16)
//
// The first word says that the record is there and how long it is, in one: the reader looks at
// nothing but the word where its next record will be, and a short message arrives with the cache
// line that announces it. The writer fills in the payload, clears the word behind the record, and
// only then stores the record's own word (release); of a burst, the first record's word last of
// all, so that the burst appears at once. A writer that dies before that has written nothing.
// kRecordPad fills the ring to its end; the next record is at its beginning.
//
// Positions count bytes and never wrap; the offset in the ring is the position modulo its size.
// `consumed`, stored by the reader after each burst, is the one other word that both touch. The
// writer looks at it only when it seems to have no room left, and every kWindowBytes to see whether
// the reader keeps up. If so, it starts over at the beginning of the ring: light traffic goes round
// in a few kilobytes that stay in the nearest caches, and the rest of the ring is never touched.
#ifndef WEFT_TRANSPORTS_SHM_RECORD_RING_H_
#define WEFT_TRANSPORTS_SHM_RECORD_RING_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "weft/transports/shm/copy.h"

namespace weft::shm {

inline constexpr uint32_t kRecordAlign = 16;
inline constexpr uint32_t kRecordHeaderBytes = 8;
inline constexpr uint32_t kRecordData = 1u << 31;
inline constexpr uint32_t kRecordPad = 1u << 30;
inline constexpr uint32_t kWindowBytes = 8192;
inline constexpr uint32_t kCacheLine = 64;
inline constexpr uint32_t kPrefetchBytes = 512;
inline constexpr uint32_t kPrefetchRoomMax = 2048;
inline constexpr uint32_t kCommitRecords = 16;  // at most so many records wait for Commit()

constexpr uint64_t RecordBytes(size_t payload) {
  return (payload + kRecordHeaderBytes + kRecordAlign - 1) & ~uint64_t{kRecordAlign - 1};
}

// Longest payload: two records that do not fit side by side must still fit with padding between.
constexpr uint32_t MaxRecordPayload(uint32_t ring_bytes) {
  return ring_bytes / 2 - kRecordHeaderBytes;
}

inline std::atomic<uint32_t>& RecordWord(const uint8_t* at) {
  return *reinterpret_cast<std::atomic<uint32_t>*>(const_cast<uint8_t*>(at));
}

// Asks for a line that is about to be written. Every x86-64 takes the instruction, which the
// compiler's own prefetch uses only when a flag says so; those that do not have it do nothing.
inline void PrefetchForWrite(const uint8_t* line) {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" : : "m"(*line));
#else
  __builtin_prefetch(line, 1);
#endif
}

class RecordWriter {
 public:
  enum class Result {
    kDone,
    kFull,     // try again when the reader has consumed something
    kCorrupt,  // the reader has stored what no reader can have consumed
  };

  RecordWriter() = default;
  // `ring` has `ring_bytes` (a power of two, at least 4096) of zeros.
  RecordWriter(uint8_t* ring, uint32_t ring_bytes, const std::atomic<uint64_t>* consumed)
      : ring_(ring), ring_bytes_(ring_bytes), consumed_(consumed) {}

  uint32_t max_payload() const { return MaxRecordPayload(static_cast<uint32_t>(ring_bytes_)); }

  // Writes one message, `payload` and `more` behind it, which the reader sees after Commit() or a
  // few more messages. Its size is at most max_payload().
  Result Put(absl::Span<const uint8_t> payload, absl::Span<const uint8_t> more = {}) {
    const size_t size = payload.size() + more.size();
    const uint64_t bytes = RecordBytes(size);
    if (tail_ + bytes > limit_) [[unlikely]] {
      if (Result result = MakeRoom(bytes); result != Result::kDone) return result;
    }
    uint8_t* record = At(tail_);
    CopyBytes(record + kRecordHeaderBytes, payload.data(), payload.size());
    if (!more.empty()) {
      CopyBytes(record + kRecordHeaderBytes + payload.size(), more.data(), more.size());
    }
    tail_ += bytes;
    RecordWord(At(tail_)).store(0, std::memory_order_relaxed);
    const uint32_t word = kRecordData | static_cast<uint32_t>(size);
    if (first_ == nullptr) {
      first_ = record;
      first_word_ = word;
    } else {
      RecordWord(record).store(word, std::memory_order_relaxed);
    }
    if (++uncommitted_ == kCommitRecords) Commit();
    return Result::kDone;
  }

  // Shows the reader what was put since the last Commit(): the burst appears at once, so that the
  // two sides do not fight over the line that one still writes and the other already polls.
  void Commit() {
    if (first_ == nullptr) return;
    RecordWord(first_).store(first_word_, std::memory_order_release);
    first_ = nullptr;
    uncommitted_ = 0;
  }

  // Asks for the lines of the next `bytes` or so, which the reader still has from the last lap. Not
  // for the first of them: the reader is looking at it.
  void PrefetchRoom(uint64_t bytes) const {
    const uint64_t end = std::min<uint64_t>(bytes, kPrefetchRoomMax) + kCacheLine;
    for (uint64_t ahead = kCacheLine; ahead <= end; ahead += kCacheLine) {
      PrefetchForWrite(At(tail_ + ahead));
    }
  }

  // Whether the reader has consumed anything since kFull was returned.
  bool ReaderMoved() const { return consumed_->load(std::memory_order_acquire) != consumed_seen_; }
  // How far the reader had consumed when last looked at.
  uint64_t consumed_seen() const { return consumed_seen_; }

 private:
  uint8_t* At(uint64_t position) const { return ring_ + (position & (ring_bytes_ - 1)); }
  Result MakeRoom(uint64_t bytes);

  uint8_t* ring_ = nullptr;
  uint64_t ring_bytes_ = 0;
  uint64_t tail_ = 0;   // where the next record goes
  uint64_t limit_ = 0;  // how far records may reach before MakeRoom() must be asked
  const std::atomic<uint64_t>* consumed_ = nullptr;
  uint64_t consumed_seen_ = 0;
  uint8_t* first_ =
      nullptr;               // record put and not committed; those behind it become visible with it
  uint32_t first_word_ = 0;  // its word
  uint32_t uncommitted_ = 0;  // records since the last Commit()
};

inline RecordWriter::Result RecordWriter::MakeRoom(uint64_t bytes) {
  const uint64_t consumed = consumed_->load(std::memory_order_acquire);
  // Not beyond what was written, and not back.
  if (consumed - consumed_seen_ > tail_ - consumed_seen_) return Result::kCorrupt;
  consumed_seen_ = consumed;
  const uint64_t backlog = tail_ - consumed;
  // A little stays free for the cleared word behind the last record.
  const uint64_t free_end = consumed + ring_bytes_ - kRecordAlign;
  const uint64_t offset = tail_ & (ring_bytes_ - 1);
  uint64_t lap_end = tail_ - offset + ring_bytes_;

  const bool fits_lap = tail_ + bytes <= lap_end;
  const bool keeps_up = offset >= kWindowBytes && backlog <= kWindowBytes / 2;
  if (!fits_lap || keeps_up) {
    if (lap_end + bytes <= free_end) {
      RecordWord(ring_).store(0, std::memory_order_relaxed);
      RecordWord(At(tail_)).store(kRecordPad, std::memory_order_release);
      tail_ = lap_end;
      lap_end += ring_bytes_;
    } else if (!fits_lap) {
      return Result::kFull;
    }
  }
  if (tail_ + bytes > free_end) return Result::kFull;
  const uint64_t window_end = (tail_ / kWindowBytes + 1) * kWindowBytes;
  limit_ = std::min({free_end, lap_end, std::max(window_end, tail_ + bytes)});
  return Result::kDone;
}

class RecordReader {
 public:
  enum class Result { kNone, kRecord, kCorrupt };

  RecordReader() = default;
  RecordReader(const uint8_t* ring, uint32_t ring_bytes, std::atomic<uint64_t>* consumed)
      : next_(ring), ring_(ring), ring_bytes_(ring_bytes), consumed_(consumed) {}

  // One load: whether there is nothing new. May change to false at any time.
  bool Empty() const { return RecordWord(next_).load(std::memory_order_relaxed) == 0; }

  // Finds the next record and says where its payload lies. The payload may change under the
  // caller's eyes: copy it (CopyBytes) before looking at it.
  Result Peek(const uint8_t** payload, uint32_t* size) {
    uint32_t word = RecordWord(next_).load(std::memory_order_acquire);
    if (word == 0) return Result::kNone;
    if (word == kRecordPad) [[unlikely]] {
      // No writer pads from the beginning: two in a row would keep us here for ever.
      if (next_ == ring_) return Result::kCorrupt;
      position_ += ring_bytes_ - static_cast<uint64_t>(next_ - ring_);
      next_ = ring_;
      word = RecordWord(next_).load(std::memory_order_acquire);
      if (word == 0) return Result::kNone;
    }
    const uint32_t length = word ^ kRecordData;
    const uint64_t room = ring_bytes_ - static_cast<uint64_t>(next_ - ring_);
    if (length > MaxRecordPayload(static_cast<uint32_t>(ring_bytes_)) || RecordBytes(length) > room)
        [[unlikely]] {
      return Result::kCorrupt;
    }
    *payload = next_ + kRecordHeaderBytes;
    *size = length;
    return Result::kRecord;
  }

  // Asks for the lines of a burst that is about to be read, so that they travel while the first are
  // copied: its beginning, and from then on, before each record, a little more.
  void PrefetchBurst() const {
    for (uint32_t ahead = 64; ahead < kPrefetchBytes; ahead += 64) {
      __builtin_prefetch(next_ + ahead);
    }
  }
  void PrefetchAhead() const {
    __builtin_prefetch(next_ + kPrefetchBytes);
    __builtin_prefetch(next_ + kPrefetchBytes + 64);
  }

  // Steps over the record of `size` bytes that Peek() found.
  void Pop(uint32_t size) {
    position_ += RecordBytes(size);
    next_ = ring_ + (position_ & (ring_bytes_ - 1));
  }

  // Lets the writer use again what was popped. Once a burst. False if there was nothing new.
  bool Publish() {
    if (position_ == published_) return false;
    published_ = position_;
    consumed_->store(position_, std::memory_order_release);
    return true;
  }

  // Bytes consumed so far, padding included.
  uint64_t position() const { return position_; }

 private:
  const uint8_t* next_ = nullptr;  // where the next record will be
  const uint8_t* ring_ = nullptr;
  uint64_t ring_bytes_ = 0;
  uint64_t position_ = 0;
  uint64_t published_ = 0;
  std::atomic<uint64_t>* consumed_ = nullptr;
};

}  // namespace weft::shm

#endif  // WEFT_TRANSPORTS_SHM_RECORD_RING_H_
