// SPDX-License-Identifier: Apache-2.0
//
// The files below a root, for one worker: small ones are kept in memory and go out without being
// read again; of large ones the descriptor is kept.
//
//   auto cache = FileCache::Open({.root = "/srv/www"});
//   std::shared_ptr<const File> file;
//   const int status = (*cache)->Find("dir/page.html", now_ns, &file);    // 200, 404, ...
//
// Nothing outside of the root is ever opened: the kernel resolves names below it (openat2(2),
// RESOLVE_BENEATH), and refuses what leads out, by ".." or by a symbolic link. It needs Linux 5.6.
// The disk is read by the thread that asks, which waits for it.
#ifndef WEFT_EXAMPLES_HTTP_FILE_CACHE_H_
#define WEFT_EXAMPLES_HTTP_FILE_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "weft/core/metrics.h"
#include "weft/core/unique_fd.h"

struct stat;

namespace weft::http {

// A file as it was when it was opened.
struct File {
  uint64_t size = 0;
  int64_t modified_s = 0;
  std::string etag;    // with its quotation marks
  std::string fields;  // of answers: Content-Type, ETag, ..., each line complete

  std::string content;  // all of it; empty if it is read through `fd`
  UniqueFd fd;

  bool in_memory() const { return !fd; }
  // Fills `room` with what the file has from `offset` on. Returns how many bytes that were: fewer
  // only at its end or after an error.
  size_t Read(uint64_t offset, absl::Span<uint8_t> room) const;

  // What tells whether it is still the same.
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t modified_ns = 0;
  int64_t changed_ns = 0;
};

struct FileCacheOptions {
  std::string root = ".";
  std::string index = "index.html";  // of a directory; empty: directories are forbidden
  size_t bytes_max = 64 << 20;       // of contents in memory
  size_t file_bytes_max = 1 << 20;   // longest content that is kept in memory
  size_t files_max = 1024;           // that are kept, in memory or as a descriptor
  int64_t check_ns = 1'000'000'000;  // after that the kernel is asked whether a file has changed
};

struct FileCacheStats {
  Counter hits;    // found here
  Counter misses;  // opened
  Counter evicted;
};

class FileCache {
 public:
  // NotFound or PermissionDenied for a root that cannot be opened, Unimplemented on a kernel
  // without openat2().
  static absl::StatusOr<std::unique_ptr<FileCache>> Open(const FileCacheOptions& options);

  // The file `name`, relative to the root, as DecodePath() makes it; of a directory, "" or with a
  // slash at its end, the index. Returns the status of the answer: 200 with `*file`, 301 for
  // a directory without its slash, 403, 404, 500, or 503 when there are no descriptors left.
  int Find(absl::string_view name, int64_t now_ns, std::shared_ptr<const File>* file);

  // Of contents in memory that are not forgotten.
  size_t bytes() const { return bytes_; }
  size_t files() const { return entries_.size(); }
  const FileCacheStats& stats() const { return stats_; }

 private:
  struct Entry {
    std::string name;
    std::shared_ptr<const File> file;
    int64_t checked_ns;
  };
  using Entries = std::list<Entry>;

  FileCache(const FileCacheOptions& options, UniqueFd root)
      : options_(options), root_(std::move(root)) {}

  int OpenBeneath(const std::string& name, int flags, UniqueFd* fd) const;
  int Load(const std::string& name, std::shared_ptr<const File>* file) const;
  bool IsUnchanged(const Entry& entry) const;
  void Insert(Entry entry);
  void Forget(Entries::iterator entry);

  const FileCacheOptions options_;
  const UniqueFd root_;
  Entries entries_;  // the one used last comes first
  absl::flat_hash_map<std::string, Entries::iterator> by_name_;
  size_t bytes_ = 0;
  FileCacheStats stats_;
};

}  // namespace weft::http

#endif  // WEFT_EXAMPLES_HTTP_FILE_CACHE_H_
