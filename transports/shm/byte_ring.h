// SPDX-License-Identifier: Apache-2.0
//
// A ring of bytes in shared memory: one process writes, another reads, neither trusts the other.
//
// Positions count bytes and never wrap. The writer stores how far it has written in `produced`,
// together with the end of the stream, so that one load tells both; the reader stores how far it
// has read in `consumed`. Each side keeps its own position in memory of its own and checks the
// other's against it; one that cannot be true latches corrupt().
#ifndef WEFT_TRANSPORTS_SHM_BYTE_RING_H_
#define WEFT_TRANSPORTS_SHM_BYTE_RING_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/types/span.h"

namespace weft::shm {

// In `produced`, above the position.
inline constexpr uint64_t kFin = uint64_t{1} << 63;    // no more will follow
inline constexpr uint64_t kReset = uint64_t{1} << 62;  // discard everything
inline constexpr uint64_t kPositionMask = kReset - 1;

class ByteWriter {
 public:
  ByteWriter() = default;
  ByteWriter(uint8_t* ring, uint32_t ring_bytes, std::atomic<uint64_t>* produced,
             const std::atomic<uint64_t>* consumed)
      : ring_(ring), ring_bytes_(ring_bytes), produced_(produced), consumed_(consumed) {}

  // Room for up to `wanted` bytes in one piece; empty when the ring is full or corrupt.
  absl::Span<uint8_t> Reserve(size_t wanted) {
    const uint64_t backlog = Backlog();
    if (backlog > ring_bytes_) {
      corrupt_ = true;
      return {};
    }
    const uint64_t offset = written_ & (ring_bytes_ - 1);
    return {ring_ + offset,
            std::min<uint64_t>({wanted, ring_bytes_ - backlog, ring_bytes_ - offset})};
  }

  // Publishes the first `n` bytes of what was reserved.
  void Commit(size_t n) {
    written_ += n;
    produced_->store(written_, std::memory_order_release);
  }

  // `how` is kFin or kReset, and stays said. Nothing may be committed afterwards.
  void End(uint64_t how) {
    end_ |= how;
    produced_->store(written_ | end_, std::memory_order_release);
  }

  // Whether at least a quarter of the ring is free: worth waking a writer for.
  bool has_room() const { return Backlog() <= ring_bytes_ / 4 * 3; }
  bool drained() const { return Backlog() == 0; }
  bool corrupt() const { return corrupt_; }

 private:
  uint64_t Backlog() const { return written_ - consumed_->load(std::memory_order_acquire); }

  uint8_t* ring_ = nullptr;
  uint64_t ring_bytes_ = 0;
  std::atomic<uint64_t>* produced_ = nullptr;
  const std::atomic<uint64_t>* consumed_ = nullptr;
  uint64_t written_ = 0;
  uint64_t end_ = 0;
  bool corrupt_ = false;
};

class ByteReader {
 public:
  ByteReader() = default;
  ByteReader(const uint8_t* ring, uint32_t ring_bytes, const std::atomic<uint64_t>* produced,
             std::atomic<uint64_t>* consumed)
      : ring_(ring), ring_bytes_(ring_bytes), produced_(produced), consumed_(consumed) {}

  // Looks how far the other side has written. False if the ring is corrupt.
  bool Look() {
    const uint64_t produced = produced_->load(std::memory_order_acquire);
    const uint64_t position = produced & kPositionMask;
    // It may not go back either, and nothing follows the end.
    if (position - position_ > ring_bytes_ || position - seen_ > ring_bytes_ ||
        (fin_ && (position != seen_ || !(produced & kFin)))) {
      corrupt_ = true;
      return false;
    }
    seen_ = position;
    fin_ = (produced & kFin) != 0;
    reset_ = (produced & kReset) != 0;
    return true;
  }

  // As of the last Look().
  uint64_t available() const { return seen_ - position_; }
  uint64_t seen() const { return seen_; }
  bool fin() const { return fin_; }
  bool reset() const { return reset_; }
  bool corrupt() const { return corrupt_; }

  // Copies up to `room` bytes out and gives their place back to the writer. Returns how many.
  size_t CopyOut(uint8_t* to, size_t room) {
    const uint64_t n = std::min<uint64_t>(room, available());
    const uint64_t offset = position_ & (ring_bytes_ - 1);
    const uint64_t before_wrap = std::min(n, ring_bytes_ - offset);
    std::memcpy(to, ring_ + offset, before_wrap);
    std::memcpy(to + before_wrap, ring_, n - before_wrap);
    position_ += n;
    consumed_->store(position_, std::memory_order_release);
    return n;
  }

 private:
  const uint8_t* ring_ = nullptr;
  uint64_t ring_bytes_ = 0;
  const std::atomic<uint64_t>* produced_ = nullptr;
  std::atomic<uint64_t>* consumed_ = nullptr;
  uint64_t position_ = 0;
  uint64_t seen_ = 0;
  bool fin_ = false;
  bool reset_ = false;
  bool corrupt_ = false;
};

}  // namespace weft::shm

#endif  // WEFT_TRANSPORTS_SHM_BYTE_RING_H_
