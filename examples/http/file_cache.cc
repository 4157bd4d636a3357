// SPDX-License-Identifier: Apache-2.0
#include "weft/examples/http/file_cache.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "weft/examples/http/date.h"
#include "weft/examples/http/path.h"

namespace weft::http {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;

// Below `root`; -1 with errno set.
int OpenAt2(int root, const char* name, int flags) {
  open_how how = {};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(syscall(SYS_openat2, root, name, &how, sizeof(how)));
}

int StatusOf(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case ENAMETOOLONG:
      return 404;
    case EACCES:
    case EPERM:
    case EXDEV:  // it would leave the root
    case ENXIO:  // a pipe or a socket
      return 403;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return 503;
    default:
      return 500;
  }
}

int64_t Ns(const timespec& time) { return int64_t{time.tv_sec} * kSecondNs + time.tv_nsec; }

bool IsSame(const File& file, const struct stat& now) {
  return file.device == now.st_dev && file.inode == now.st_ino &&
         file.size == static_cast<uint64_t>(now.st_size) && file.modified_ns == Ns(now.st_mtim) &&
         file.changed_ns == Ns(now.st_ctim);
}

// Everything but the content.
std::shared_ptr<File> Describe(absl::string_view name, const struct stat& info) {
  auto file = std::make_shared<File>();
  file->size = static_cast<uint64_t>(info.st_size);
  file->modified_s = info.st_mtim.tv_sec;
  file->device = info.st_dev;
  file->inode = info.st_ino;
  file->modified_ns = Ns(info.st_mtim);
  file->changed_ns = Ns(info.st_ctim);
  file->etag = absl::StrFormat("\"%x-%x-%x\"", file->modified_ns, file->size, file->inode);
  file->fields = absl::StrCat("Content-Type: ", MediaType(name), "\r\nETag: ", file->etag,
                              "\r\nLast-Modified: ", FormatDate(file->modified_s),
                              "\r\nAccept-Ranges: bytes\r\n");
  return file;
}

size_t ReadAt(int fd, uint64_t offset, absl::Span<uint8_t> room) {
  size_t read = 0;
  while (read < room.size()) {
    const ssize_t n =
        pread(fd, room.data() + read, room.size() - read, static_cast<off_t>(offset + read));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    read += static_cast<size_t>(n);
  }
  return read;
}

}  // namespace

size_t File::Read(uint64_t offset, absl::Span<uint8_t> room) const {
  if (!in_memory()) return ReadAt(fd.get(), offset, room);
  const size_t n = std::min<uint64_t>(room.size(), content.size() - offset);
  std::memcpy(room.data(), content.data() + offset, n);
  return n;
}

absl::StatusOr<std::unique_ptr<FileCache>> FileCache::Open(const FileCacheOptions& options) {
  UniqueFd root(open(options.root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot serve the folder '", options.root, "'"));
  }
  const UniqueFd self(OpenAt2(root.get(), ".", O_PATH));
  if (!self) {
    return absl::UnimplementedError(absl::StrCat(
        "cannot serve files safely: openat2: ", std::strerror(errno), "; it needs Linux 5.6"));
  }
  return std::unique_ptr<FileCache>(new FileCache(options, std::move(root)));
}

int FileCache::OpenBeneath(const std::string& name, int flags, UniqueFd* fd) const {
  *fd = UniqueFd(OpenAt2(root_.get(), name.empty() ? "." : name.c_str(), flags));
  return *fd ? 200 : StatusOf(errno);
}

int FileCache::Load(const std::string& name, std::shared_ptr<const File>* file) const {
  UniqueFd fd;
  // A pipe must not stop us.
  if (const int status = OpenBeneath(name, O_RDONLY | O_NONBLOCK | O_NOCTTY, &fd); status != 200) {
    return status;
  }
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return StatusOf(errno);
  if (S_ISDIR(info.st_mode)) return 301;
  if (!S_ISREG(info.st_mode)) return 403;
  std::shared_ptr<File> opened = Describe(name, info);
  if (opened->size <= options_.file_bytes_max) {
    opened->content.resize(opened->size);
    const size_t n =
        ReadAt(fd.get(), 0, {reinterpret_cast<uint8_t*>(opened->content.data()), opened->size});
    if (n < opened->size) return 500;  // it has become shorter meanwhile
  } else {
    opened->fd = std::move(fd);
  }
  *file = std::move(opened);
  return 200;
}

bool FileCache::IsUnchanged(const Entry& entry) const {
  UniqueFd fd;
  struct stat now;
  return OpenBeneath(entry.name, O_PATH, &fd) == 200 && fstat(fd.get(), &now) == 0 &&
         IsSame(*entry.file, now);
}

int FileCache::Find(absl::string_view name, int64_t now_ns, std::shared_ptr<const File>* file) {
  if (const auto it = by_name_.find(name); it != by_name_.end()) {
    const Entries::iterator entry = it->second;
    if (now_ns - entry->checked_ns < options_.check_ns || IsUnchanged(*entry)) {
      if (now_ns - entry->checked_ns >= options_.check_ns) entry->checked_ns = now_ns;
      entries_.splice(entries_.begin(), entries_, entry);
      ++stats_.hits;
      *file = entry->file;
      return 200;
    }
    Forget(entry);
  }
  ++stats_.misses;
  const bool is_directory = name.empty() || name.back() == '/';
  if (is_directory && options_.index.empty()) return 403;
  const std::string path(is_directory ? absl::StrCat(name, options_.index) : name);
  const int status = Load(path, file);
  if (status == 200) Insert({std::string(name), *file, now_ns});
  if (!is_directory || status == 200 || status == 503) return status;
  // A directory that is there, but has no index, is not shown.
  UniqueFd fd;
  const int directory = OpenBeneath(std::string(name), O_PATH | O_DIRECTORY, &fd);
  return directory == 200 ? 403 : directory;
}

void FileCache::Insert(Entry entry) {
  const size_t bytes = entry.file->content.size();
  if (bytes > options_.bytes_max || options_.files_max == 0) return;
  while (entries_.size() >= options_.files_max || bytes_ + bytes > options_.bytes_max) {
    ++stats_.evicted;
    Forget(std::prev(entries_.end()));
  }
  bytes_ += bytes;
  entries_.push_front(std::move(entry));
  by_name_.emplace(entries_.front().name, entries_.begin());
}

void FileCache::Forget(Entries::iterator entry) {
  bytes_ -= entry->file->content.size();
  by_name_.erase(entry->name);
  entries_.erase(entry);
}

}  // namespace weft::http
