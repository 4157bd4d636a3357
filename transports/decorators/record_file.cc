// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/decorators/record_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "weft/core/log.h"

namespace weft {

absl::StatusOr<RecordFile> RecordFile::Create(const std::string& path) {
  if (path == "-") return RecordFile("standard error", STDERR_FILENO, /*is_ours=*/false);
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot write packets to '", path, "'"));
  }
  return RecordFile(path, fd, /*is_ours=*/true);
}

void RecordFile::Flush() {
  const char* next = buffered_.data();
  size_t left = status_.ok() ? buffered_.size() : 0;
  while (left > 0) {
    const ssize_t n = write(fd_, next, left);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      Fail(errno);
      break;
    }
    next += n;
    left -= static_cast<size_t>(n);
  }
  buffered_.clear();
}

void RecordFile::Fail(int error) {
  status_ = absl::ErrnoToStatus(error, absl::StrCat("recording packets to ", path_, " has ended"));
  WEFT_LOG(kError, "packets are not recorded any more", {"reason", status_.message()});
}

}  // namespace weft
