// SPDX-License-Identifier: Apache-2.0
//
// A file that records are appended to: buffered, and it may take back what it has not written yet.
#ifndef WEFT_TRANSPORTS_DECORATORS_RECORD_FILE_H_
#define WEFT_TRANSPORTS_DECORATORS_RECORD_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/core/unique_fd.h"

namespace weft {

// One thread at a time. Movable.
class RecordFile {
 public:
  // Makes the file, readable by its owner only, or empties the one that is there; "-" is standard
  // error. The error names the file and says why not.
  static absl::StatusOr<RecordFile> Create(const std::string& path);

  RecordFile(RecordFile&&) = default;
  RecordFile& operator=(RecordFile&&) = default;
  ~RecordFile() { Flush(); }

  void Append(absl::string_view bytes) { buffered_.append(bytes.data(), bytes.size()); }

  // Bytes appended and not written. Truncate() takes back those behind the first `size` of them.
  size_t buffered() const { return buffered_.size(); }
  void Truncate(size_t size) { buffered_.resize(size); }

  // Writes what has gathered: all of it, or only if it is worth a system call. The first write that
  // fails is reported on standard error; nothing is written from then on, and status() says why.
  void Flush();
  void FlushIfLarge() {
    if (buffered_.size() >= kLargeBytes) Flush();
  }
  const absl::Status& status() const { return status_; }

 private:
  static constexpr size_t kLargeBytes = 64 << 10;

  RecordFile(const std::string& path, int fd, bool is_ours)
      : path_(path), fd_(fd), owned_(is_ours ? fd : -1) {}
  void Fail(int error);

  std::string path_;
  int fd_;
  UniqueFd owned_;  // unless it is standard error
  std::string buffered_;
  absl::Status status_;
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_DECORATORS_RECORD_FILE_H_
