// SPDX-License-Identifier: Apache-2.0
//
// Pages of one process that others map: a sealed memfd, handed over by a descriptor that can be
// written through, or by one that cannot.
#ifndef WEFT_TRANSPORTS_SHM_MEMORY_PAGES_H_
#define WEFT_TRANSPORTS_SHM_MEMORY_PAGES_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "weft/core/unique_fd.h"

namespace weft::shm {

// A mapping. Movable; unmapped when destroyed.
class MappedPages {
 public:
  MappedPages() = default;
  MappedPages(MappedPages&& other) noexcept { *this = std::move(other); }
  MappedPages& operator=(MappedPages&& other) noexcept;
  ~MappedPages();

  // Of what a peer handed over. InvalidArgument for anything but ordinary pages sealed against
  // shrinking, as an access to one that was cut off would end this process with SIGBUS.
  static absl::StatusOr<MappedPages> Open(const UniqueFd& memfd, bool writable);

  explicit operator bool() const { return base_ != nullptr; }
  uint8_t* base() const { return base_; }
  size_t bytes() const { return bytes_; }
  bool writable() const { return writable_; }

 private:
  friend class OwnPages;
  static absl::StatusOr<MappedPages> Map(int fd, size_t bytes, bool writable);

  uint8_t* base_ = nullptr;
  size_t bytes_ = 0;
  bool writable_ = false;
};

class OwnPages {
 public:
  // Zeros, `bytes` rounded up to whole pages. ResourceExhausted says what to do.
  static absl::StatusOr<OwnPages> Create(size_t bytes);

  uint8_t* base() const { return mapped_.base(); }
  // To hand over. What is handed over for reading cannot be mapped to write, except by a process
  // that opens it anew through /proc, which one of another user may not.
  absl::StatusOr<int> Descriptor(bool writable);

 private:
  MappedPages mapped_;
  UniqueFd writable_;
  UniqueFd read_only_;  // opened when it is first asked for
};

}  // namespace weft::shm

#endif  // WEFT_TRANSPORTS_SHM_MEMORY_PAGES_H_
