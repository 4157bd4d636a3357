// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/shm/shared_memory.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>

#include "absl/status/status.h"

namespace weft::shm {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

size_t MemoryBytes(uint32_t ring_bytes) { return kControlBytes + 2 * size_t{ring_bytes}; }

}  // namespace

SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
  if (this != &other) {
    if (base_ != nullptr) munmap(base_, MemoryBytes(ring_bytes_));
    base_ = std::exchange(other.base_, nullptr);
    ring_bytes_ = other.ring_bytes_;
    side_ = other.side_;
  }
  return *this;
}

SharedMemory::~SharedMemory() {
  if (base_ != nullptr) munmap(base_, MemoryBytes(ring_bytes_));
}

absl::StatusOr<SharedMemory> SharedMemory::Map(int fd, uint32_t ring_bytes, Side side) {
  void* base = mmap(nullptr, MemoryBytes(ring_bytes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return absl::ErrnoToStatus(errno, "cannot map shared memory");
  SharedMemory memory;
  memory.base_ = static_cast<uint8_t*>(base);
  memory.ring_bytes_ = ring_bytes;
  memory.side_ = side;
  return memory;
}

absl::StatusOr<SharedMemory> SharedMemory::Create(uint32_t ring_bytes, UniqueFd* memfd) {
  *memfd = UniqueFd(memfd_create("weft-shm", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!*memfd) return absl::ErrnoToStatus(errno, "memfd_create");
  if (ftruncate(memfd->get(), static_cast<off_t>(MemoryBytes(ring_bytes))) != 0) {
    return absl::ErrnoToStatus(errno, "cannot size shared memory");
  }
  if (fcntl(memfd->get(), F_ADD_SEALS, kSeals) != 0) {
    return absl::ErrnoToStatus(errno, "cannot seal shared memory");
  }
  return Map(memfd->get(), ring_bytes, Side::kConnector);
}

absl::StatusOr<SharedMemory> SharedMemory::Open(const UniqueFd& memfd, uint32_t ring_bytes) {
  const int seals = fcntl(memfd.get(), F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) {
    return absl::InvalidArgumentError("the memory offered is not a sealed memfd");
  }
  struct statfs filesystem;
  if (fstatfs(memfd.get(), &filesystem) != 0 || filesystem.f_type != TMPFS_MAGIC) {
    // Huge pages can run out when they are touched, which is a SIGBUS as well.
    return absl::InvalidArgumentError("the memory offered is not made of ordinary pages");
  }
  struct stat info;
  if (fstat(memfd.get(), &info) != 0 ||
      info.st_size != static_cast<off_t>(MemoryBytes(ring_bytes))) {
    return absl::InvalidArgumentError("the memory offered has not the size it should have");
  }
  return Map(memfd.get(), ring_bytes, Side::kAcceptor);
}

}  // namespace weft::shm
