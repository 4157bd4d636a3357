// SPDX-License-Identifier: Apache-2.0
//
// Packet buffers: fixed-size slots of memory that a device may be told about once, handed from
// owner to owner without a copy.
//
//   BufferPool pool({.count = 1024, .bytes = 2048});
//   Buffer packet = pool.Allocate();            // null when the pool is empty
//   std::memcpy(packet.Append(5), "hello", 5);  // payload, behind the headroom
//   StoreBig16(packet.Prepend(2), 5);           // a lower layer's header, in front of it
//
// A slot is a cache line of bookkeeping followed directly by its memory:
//
//   | BufferSlot | headroom ...  data ...  tailroom |
//                ^memory()       ^data()  ^data()+size()
#ifndef WEFT_CORE_BUFFER_H_
#define WEFT_CORE_BUFFER_H_

#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/types/span.h"

namespace weft {

class BufferPool;

namespace internal {

class BufferPoolCore;

}  // namespace internal

// What a device is asked to do with a frame that is sent, or says about one that was received: as
// much of the layers' lengths as it needs to know, and what is to be done. Fresh buffers ask for
// nothing. A device that was not asked for offloads by its capabilities ignores requests.
struct FrameOffload {
  enum Flag : uint16_t {
    // What the frame carries.
    kIpv4 = 1 << 0,
    kIpv6 = 1 << 1,
    kTcp = 1 << 2,
    kUdp = 1 << 3,
    // Requests. The checksum field of TCP or UDP holds the sum of the pseudo-header, not
    // complemented, as Linux's CHECKSUM_PARTIAL and DPDK want it; that of IPv4 holds 0.
    kSendIpChecksum = 1 << 4,
    kSendL4Checksum = 1 << 5,
    // Cut the payload into pieces of segment_bytes, each with a copy of the headers that is put
    // right; implies both checksums.
    kSegment = 1 << 6,
    // Results: the device has checked it and found it good, or knows that the frame never left the
    // machine. Without the flag nothing is known. Of a frame that never left the machine, the field
    // may hold the sum of the pseudo-header only: whoever passes such a frame on to another device
    // fills it in, or asks for kSendL4Checksum. Ports to Linux's packet sockets and TAP devices do
    // so by themselves.
    kIpChecksumGood = 1 << 8,
    kL4ChecksumGood = 1 << 9,
    // Of a datagram: its headers as they came lie in front of it, l3_bytes of IP and then UDP's,
    // and their checksum covers it. Whoever changes its bytes clears it by `offload() = {}`; see
    // DatagramPort::Forward().
    kHeadersInFront = 1 << 10,
  };
  uint16_t flags = 0;
  uint8_t l2_bytes = 0;  // Ethernet header, VLAN tags included
  uint8_t l4_bytes = 0;  // TCP or UDP header; with kSegment only
  uint16_t l3_bytes = 0;
  uint16_t segment_bytes = 0;  // payload of each; with kSegment only
};
static_assert(sizeof(FrameOffload) == 8);

namespace internal {

struct alignas(64) BufferSlot {
  BufferPoolCore* pool;
  BufferSlot* next;              // in a free list or in a BufferChain
  uint32_t offset;               // of data from memory()
  uint32_t size;                 // of data
  uint32_t capacity;             // of memory()
  std::atomic<uint32_t> shares;  // handles beside the first; 0 in a free list
  FrameOffload offload;
  uint8_t* memory() { return reinterpret_cast<uint8_t*>(this + 1); }
};
static_assert(sizeof(BufferSlot) == 64);

// Gives up one handle of a slot that had several a moment ago. True: it was the last.
bool DropShare(BufferSlot* slot);

// An address that differs between threads that live at the same time.
inline const void* ThreadToken() {
  static thread_local const char token = 0;
  return &token;
}

}  // namespace internal

// A move-only handle to one slot; null after a move and when default-made. Destroying it returns
// the slot to its pool, from any thread. Use by one thread at a time.
//
// Sharing: Share() makes a second handle to the same slot, so that somebody may keep what he sends,
// as TCP does until it is acknowledged. The slot goes back with the last handle. Both see one and
// the same data(), size() and offload(), and only one of them may be used for more than reading
// bytes: the one that is given away. Its owner may write headers in front of the data, move the
// ends of the data and link it into a BufferChain; the bytes that were the data when it was shared
// are nobody's to change, and a layer that wants to, or hands the buffer to a receiver who may,
// takes a CopyOf() it. The handle that was kept can be used like any other once is_shared() is
// false; SetData() then puts the ends back to where they were noted. A slot is not sent again
// before.
//
//   const size_t headroom = packet.headroom(), size = packet.size();
//   Buffer kept = packet.Share();
//   port.Send(packet);                             // headers come in front of it
//   ...                                            // nobody has acknowledged it
//   if (!kept.is_shared()) kept.SetData(headroom, size);  // the device has let go: again
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept : slot_(std::exchange(other.slot_, nullptr)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    if (this != &other) {
      Reset();
      slot_ = std::exchange(other.slot_, nullptr);
    }
    return *this;
  }
  ~Buffer() { Reset(); }

  explicit operator bool() const { return slot_ != nullptr; }
  void Reset() {
    if (slot_ != nullptr) Return(std::exchange(slot_, nullptr));
  }

  uint8_t* data() { return slot_->memory() + slot_->offset; }
  const uint8_t* data() const { return slot_->memory() + slot_->offset; }
  size_t size() const { return slot_->size; }
  bool empty() const { return slot_->size == 0; }
  absl::Span<uint8_t> bytes() { return {data(), size()}; }
  absl::Span<const uint8_t> bytes() const { return {data(), size()}; }

  FrameOffload& offload() { return slot_->offload; }
  const FrameOffload& offload() const { return slot_->offload; }

  size_t headroom() const { return slot_->offset; }
  size_t tailroom() const { return slot_->capacity - slot_->offset - slot_->size; }

  // Grows the data by `n` bytes at its front or end and returns where they begin. The new bytes
  // hold what the slot held before. `n` must fit the room that is left.
  uint8_t* Prepend(size_t n) {
    assert(n <= headroom());
    slot_->offset -= static_cast<uint32_t>(n);
    slot_->size += static_cast<uint32_t>(n);
    return data();
  }
  uint8_t* Append(size_t n) {
    assert(n <= tailroom());
    uint8_t* end = data() + size();
    slot_->size += static_cast<uint32_t>(n);
    return end;
  }

  // Drops `n` bytes from the front or end. `n` must not exceed size().
  void TrimFront(size_t n) {
    assert(n <= size());
    slot_->offset += static_cast<uint32_t>(n);
    slot_->size -= static_cast<uint32_t>(n);
  }
  void TrimBack(size_t n) {
    assert(n <= size());
    slot_->size -= static_cast<uint32_t>(n);
  }

  // Makes the data `n` bytes behind `headroom` bytes of the memory. They hold what they held.
  void SetData(size_t headroom, size_t n) {
    assert(headroom + n <= slot_->capacity);
    slot_->offset = static_cast<uint32_t>(headroom);
    slot_->size = static_cast<uint32_t>(n);
  }

  // Another handle to the same slot; see above. Not of null.
  Buffer Share() const {
    slot_->shares.fetch_add(1, std::memory_order_relaxed);
    return Buffer(slot_);
  }
  // Whether there are other handles. False is final, and what their threads did is seen.
  bool is_shared() const { return slot_->shares.load(std::memory_order_acquire) != 0; }

  // For transports that hand slots to a device and get them back: the slot without its owner, and
  // an owner for a slot that has none.
  internal::BufferSlot* ReleaseSlot() { return std::exchange(slot_, nullptr); }
  static Buffer FromSlot(internal::BufferSlot* slot) { return Buffer(slot); }

 private:
  friend class BufferChain;
  friend class BufferPool;
  explicit Buffer(internal::BufferSlot* slot) : slot_(slot) {}
  static inline void Return(internal::BufferSlot* slot);

  internal::BufferSlot* slot_ = nullptr;
};
static_assert(sizeof(Buffer) == sizeof(void*));

struct BufferPoolOptions {
  size_t count = 4096;    // slots; the hard limit of buffers in flight
  size_t bytes = 2048;    // memory of a slot, headroom included; rounded up to a multiple of 64
  size_t headroom = 128;  // reserved in front of the data when a buffer is allocated
};

// A fixed number of slots in one stretch of memory, touched only as far as it was ever used.
//
// Threads: one thread, the owner (at first the one that made the pool), allocates and, as a rule,
// frees: both are a few instructions on a free list of its own. Other threads may free; their slots
// come back through a lock-free list that the owner takes over whole when its own list runs empty.
//
// Lifetime: buffers may outlive the pool; the memory goes with the last of them.
class BufferPool {
 public:
  explicit BufferPool(const BufferPoolOptions& options);

  // A pool whose slots lie in memory of somebody else, such as a device's library, which adds them
  // by Adopt(). `release(context)` is called when the pool is gone and the last buffer has
  // returned, by the thread that returned it.
  BufferPool(size_t headroom, void (*release)(void* context), void* context);

  ~BufferPool();
  BufferPool(BufferPool&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
  BufferPool& operator=(BufferPool&&) = delete;

  // Adds a slot: 64 bytes at `memory`, aligned to 64, become its bookkeeping, and the
  // `capacity` bytes behind them its memory. Owner only; only a pool made for it.
  void Adopt(void* memory, size_t capacity);

  // Whether `buffer`, not null, is one of this pool's.
  bool Owns(const Buffer& buffer) const { return buffer.slot_->pool == core_; }

  // An empty buffer with the headroom reserved; null when all slots are in use.
  inline Buffer Allocate();

  // Makes the calling thread the owner. The former owner must have stopped using the pool.
  void BindToThisThread();
  // Whether the calling thread is the owner. Any thread.
  bool BelongsToThisThread() const;

  // Largest data that fits behind the headroom of a fresh buffer.
  size_t payload_bytes() const;
  size_t count() const;
  // Slots the owner could allocate now, those that other threads have returned included. Owner
  // only.
  size_t available() const;

  // The memory to register with a device: all slots, bookkeeping included, one every stride()
  // bytes. Empty for a pool of adopted slots.
  absl::Span<uint8_t> region() const;
  size_t stride() const;

 private:
  internal::BufferPoolCore* core_;
};

namespace internal {

class BufferPoolCore {
 public:
  explicit BufferPoolCore(const BufferPoolOptions& options);
  BufferPoolCore(size_t headroom, void (*release)(void* context), void* context);
  ~BufferPoolCore();

  void Adopt(void* memory, size_t capacity);

  BufferSlot* Allocate() {
    BufferSlot* slot = free_;
    if (slot == nullptr) [[unlikely]] {
      slot = Refill();
      if (slot == nullptr) return nullptr;
    }
    free_ = slot->next;
    --free_count_;
    slot->offset = headroom_;
    slot->size = 0;
    slot->offload = {};
    return slot;
  }

  void Return(BufferSlot* slot) {
    if (owner_.load(std::memory_order_relaxed) == ThreadToken()) [[likely]] {
      slot->next = free_;
      free_ = slot;
      ++free_count_;
    } else {
      ReturnFromElsewhere(slot);
    }
  }

  // Gives the memory up: deleted at once, or by the return of the last buffer.
  void Orphan();

 private:
  friend class weft::BufferPool;
  BufferSlot* Refill();
  void TakeReturned();
  void ReturnFromElsewhere(BufferSlot* slot);
  BufferSlot* SlotAt(size_t index) const {
    return reinterpret_cast<BufferSlot*>(memory_ + index * stride_);
  }

  // The owner's.
  BufferSlot* free_ = nullptr;
  size_t free_count_ = 0;  // length of free_
  size_t used_slots_ = 0;  // slots below this index have been allocated at least once
  std::atomic<const void*> owner_;
  size_t count_;
  size_t stride_;
  uint32_t headroom_;
  uint8_t* memory_ = nullptr;
  size_t memory_bytes_ = 0;
  void (*release_)(void* context) = nullptr;  // of adopted slots
  void* release_context_ = nullptr;

  // Everyone's.
  alignas(128) std::atomic<BufferSlot*> returned_{nullptr};
  std::atomic<int64_t> orphans_{0};  // buffers out after Orphan(), less those returned since
};

}  // namespace internal

inline void Buffer::Return(internal::BufferSlot* slot) {
  if (slot->shares.load(std::memory_order_acquire) != 0) [[unlikely]] {
    if (!internal::DropShare(slot)) return;
  }
  slot->pool->Return(slot);
}

inline Buffer BufferPool::Allocate() { return Buffer(core_->Allocate()); }

// A buffer of `pool`, which this thread owns, with the same data and offload(), its headroom the
// pool's. Null when the pool is empty or its buffers are too small.
Buffer CopyOf(BufferPool& pool, const Buffer& original);

}  // namespace weft

#endif  // WEFT_CORE_BUFFER_H_
