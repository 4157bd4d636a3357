// SPDX-License-Identifier: Apache-2.0
//
// The memory that two ports share: made by the one that connects, handed over as a sealed memfd,
// checked by the one that accepts. docs/protocols/shm.md draws it.
//
//   | SharedControl, 4096 bytes | ring the connector writes | ring the acceptor writes |
//
// Nothing in it is trusted by either side: each keeps its own positions in memory of its own, reads
// a shared word once, and checks what it read.
#ifndef WEFT_TRANSPORTS_SHM_SHARED_MEMORY_H_
#define WEFT_TRANSPORTS_SHM_SHARED_MEMORY_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "weft/core/unique_fd.h"

namespace weft::shm {

enum class Side : uint8_t { kConnector = 0, kAcceptor = 1 };

// What a sleeping side waits for: bits of SideControl::wake_on.
inline constexpr uint32_t kWakeOnData = 1;  // something to receive
inline constexpr uint32_t kWakeOnRoom = 2;  // room in a ring that was full

// The words that one side writes. 128 bytes apart: processors fetch lines in pairs.
struct SideControl {
  // Set by this side before it sleeps; taken back by the other, who then wakes it.
  alignas(128) std::atomic<uint32_t> wake_on;
  // How far this side has read the other's ring.
  alignas(128) std::atomic<uint64_t> consumed;
  // Streams: how far this side has written its own ring, and kFin or kReset. Remote memory: odd
  // while this side is within an operation; see grant_table.h.
  alignas(128) std::atomic<uint64_t> produced;
};

struct SharedControl {
  SideControl sides[2];
};

inline constexpr size_t kControlBytes = 4096;
inline constexpr uint32_t kMinRingBytes = 4096;
inline constexpr uint32_t kMaxRingBytes = 1u << 30;

static_assert(sizeof(SharedControl) <= kControlBytes);
static_assert(std::atomic<uint64_t>::is_always_lock_free);

// One side's mapping. Movable; unmapped when destroyed.
class SharedMemory {
 public:
  SharedMemory() = default;
  SharedMemory(SharedMemory&& other) noexcept { *this = std::move(other); }
  SharedMemory& operator=(SharedMemory&& other) noexcept;
  ~SharedMemory();

  // The connector's: all zero, with `ring_bytes` (a power of two within the limits) a direction.
  // `*memfd` receives the sealed descriptor to hand over.
  static absl::StatusOr<SharedMemory> Create(uint32_t ring_bytes, UniqueFd* memfd);

  // The acceptor's, over what a peer handed over. Refuses anything but a memfd of exactly the size
  // that `ring_bytes` makes, sealed against shrinking and growing: an access to a page that a peer
  // has cut off would end this process with SIGBUS.
  static absl::StatusOr<SharedMemory> Open(const UniqueFd& memfd, uint32_t ring_bytes);

  explicit operator bool() const { return base_ != nullptr; }
  uint32_t ring_bytes() const { return ring_bytes_; }

  SideControl& mine() const { return control()->sides[static_cast<int>(side_)]; }
  SideControl& theirs() const { return control()->sides[1 - static_cast<int>(side_)]; }
  uint8_t* my_ring() const { return ring(static_cast<int>(side_)); }
  const uint8_t* their_ring() const { return ring(1 - static_cast<int>(side_)); }

 private:
  static absl::StatusOr<SharedMemory> Map(int fd, uint32_t ring_bytes, Side side);
  SharedControl* control() const { return reinterpret_cast<SharedControl*>(base_); }
  uint8_t* ring(int side) const {
    return base_ + kControlBytes + static_cast<size_t>(side) * ring_bytes_;
  }

  uint8_t* base_ = nullptr;
  uint32_t ring_bytes_ = 0;
  Side side_ = Side::kConnector;
};

}  // namespace weft::shm

#endif  // WEFT_TRANSPORTS_SHM_SHARED_MEMORY_H_
