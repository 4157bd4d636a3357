// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/shm/memory_pages.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace weft::shm {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
constexpr size_t kPageBytes = 4096;
constexpr size_t kMaxBytes = size_t{1} << 46;

absl::Status NoPages(int error, size_t bytes) {
  switch (error) {
    case EMFILE:
    case ENFILE:
      return absl::ResourceExhaustedError(
          "no file descriptor for a region, which needs one or two: raise `ulimit -n`, or make "
          "regions larger and fewer");
    case ENOMEM:
    case EFBIG:
    case EINVAL:
      return absl::ResourceExhaustedError(
          absl::StrCat("no ", bytes,
                       " bytes of shared memory: the machine's memory, or `ulimit "
                       "-v`, or vm.max_map_count is too small"));
    default:
      return absl::ErrnoToStatus(error, "cannot make shared memory");
  }
}

}  // namespace

MappedPages& MappedPages::operator=(MappedPages&& other) noexcept {
  if (this != &other) {
    if (base_ != nullptr) munmap(base_, bytes_);
    base_ = std::exchange(other.base_, nullptr);
    bytes_ = other.bytes_;
    writable_ = other.writable_;
  }
  return *this;
}

MappedPages::~MappedPages() {
  if (base_ != nullptr) munmap(base_, bytes_);
}

absl::StatusOr<MappedPages> MappedPages::Map(int fd, size_t bytes, bool writable) {
  void* base = mmap(nullptr, bytes, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return NoPages(errno, bytes);
  MappedPages pages;
  pages.base_ = static_cast<uint8_t*>(base);
  pages.bytes_ = bytes;
  pages.writable_ = writable;
  return pages;
}

absl::StatusOr<MappedPages> MappedPages::Open(const UniqueFd& memfd, bool writable) {
  const int seals = fcntl(memfd.get(), F_GET_SEALS);
  struct statfs filesystem;
  struct stat info;
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || fstatfs(memfd.get(), &filesystem) != 0 ||
      filesystem.f_type != TMPFS_MAGIC || fstat(memfd.get(), &info) != 0 || info.st_size <= 0 ||
      static_cast<size_t>(info.st_size) > kMaxBytes) {
    return absl::InvalidArgumentError("the memory offered is not made of sealed, ordinary pages");
  }
  return Map(memfd.get(), static_cast<size_t>(info.st_size), writable);
}

absl::StatusOr<OwnPages> OwnPages::Create(size_t bytes) {
  if (bytes > kMaxBytes) return NoPages(ENOMEM, bytes);
  const size_t whole = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  OwnPages pages;
  pages.writable_ = UniqueFd(memfd_create("weft-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  // Nobody opens it anew for writing, without being its owner.
  if (!pages.writable_ || fchmod(pages.writable_.get(), 0400) != 0 ||
      ftruncate(pages.writable_.get(), static_cast<off_t>(whole)) != 0 ||
      fcntl(pages.writable_.get(), F_ADD_SEALS, kSeals) != 0) {
    return NoPages(errno, bytes);
  }
  absl::StatusOr<MappedPages> mapped = MappedPages::Map(pages.writable_.get(), whole, true);
  if (!mapped.ok()) return mapped.status();
  pages.mapped_ = *std::move(mapped);
  return pages;
}

absl::StatusOr<int> OwnPages::Descriptor(bool writable) {
  if (writable) return writable_.get();
  if (!read_only_) {
    const std::string path = absl::StrCat("/proc/self/fd/", writable_.get());
    read_only_ = UniqueFd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!read_only_) {
      if (errno == EMFILE || errno == ENFILE) return NoPages(errno, 0);
      return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path,
                                                     ", by which memory is granted for reading "
                                                     "only: /proc must be mounted"));
    }
  }
  return read_only_.get();
}

}  // namespace weft::shm
