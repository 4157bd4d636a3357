// SPDX-License-Identifier: Apache-2.0
//
// A file that lines are added to while others read it, move it away or truncate it, as logrotate
// does. For threads that may wait.
#ifndef WEFT_CORE_LINE_FILE_H_
#define WEFT_CORE_LINE_FILE_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/core/unique_fd.h"

namespace weft {

// Movable. One thread.
class LineFile {
 public:
  // Standard error.
  LineFile() = default;

  // Adds to `path`, which is made, readable by its owner and group, if there is none; "" or "-" is
  // standard error. Errors say which path and why.
  static absl::StatusOr<LineFile> Open(const std::string& path);

  // Writes `text`, one or more whole lines. False if not all of it could be written: what is left
  // is lost, and reason() says why; a line that was cut off ends before the next one begins. Where
  // the file was moved away or removed, a new one is begun within a second. A reader that does not
  // read is waited for, for a second.
  bool Write(absl::string_view text);

  // Ok, or why the last Write() failed.
  const absl::Status& reason() const { return reason_; }
  const std::string& path() const { return path_; }

 private:
  explicit LineFile(std::string path) : path_(std::move(path)) {}

  absl::Status Reopen();
  // Opens the path anew if another file, or none, is there now.
  void Follow();
  bool WriteAll(absl::string_view text);
  bool Fail(int error);

  std::string path_;  // empty: standard error
  UniqueFd fd_;
  bool mid_line_ = false;    // what was written last ends within a line
  int64_t followed_ns_ = 0;  // when Follow() last looked
  absl::Status reason_;
};

}  // namespace weft

#endif  // WEFT_CORE_LINE_FILE_H_
