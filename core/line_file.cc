// SPDX-License-Identifier: Apache-2.0
#include "weft/core/line_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/core/clock.h"

namespace weft {
namespace {

constexpr int64_t kFollowNs = 1'000'000'000;
constexpr int kReaderMs = 1000;  // how long a pipe's reader is waited for

}  // namespace

absl::StatusOr<LineFile> LineFile::Open(const std::string& path) {
  LineFile file(path == "-" ? "" : path);
  if (absl::Status status = file.Reopen(); !status.ok()) return status;
  return file;
}

absl::Status LineFile::Reopen() {
  if (path_.empty()) return absl::OkStatus();
  // A pipe without a reader must not hold the program up.
  UniqueFd fd(
      open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640));
  if (!fd) return absl::ErrnoToStatus(errno, absl::StrCat("cannot write to '", path_, "'"));
  fd_ = std::move(fd);
  mid_line_ = false;
  followed_ns_ = MonotonicClock().NowNs();
  return absl::OkStatus();
}

void LineFile::Follow() {
  if (path_.empty()) return;
  const int64_t now_ns = MonotonicClock().NowNs();
  if (now_ns - followed_ns_ < kFollowNs) return;
  followed_ns_ = now_ns;
  struct stat there, ours;
  const bool same = fd_ && stat(path_.c_str(), &there) == 0 && fstat(fd_.get(), &ours) == 0 &&
                    there.st_ino == ours.st_ino && there.st_dev == ours.st_dev;
  // Where it cannot be opened, the old one goes on being written.
  if (!same) (void)Reopen();
}

bool LineFile::Write(absl::string_view text) {
  Follow();
  return (!mid_line_ || WriteAll("\n")) && WriteAll(text);
}

bool LineFile::WriteAll(absl::string_view text) {
  const int fd = path_.empty() ? STDERR_FILENO : fd_.get();
  while (!text.empty()) {
    const ssize_t n = write(fd, text.data(), text.size());
    if (n >= 0) {
      if (n > 0) mid_line_ = text[static_cast<size_t>(n) - 1] != '\n';
      text.remove_prefix(static_cast<size_t>(n));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return Fail(errno);
    pollfd reader = {.fd = fd, .events = POLLOUT, .revents = 0};
    if (poll(&reader, 1, kReaderMs) == 0) return Fail(EAGAIN);
  }
  reason_ = absl::OkStatus();
  return true;
}

bool LineFile::Fail(int error) {
  reason_ = absl::ErrnoToStatus(
      error, absl::StrCat("cannot write to ",
                          path_.empty() ? "standard error" : absl::StrCat("'", path_, "'")));
  return false;
}

}  // namespace weft
