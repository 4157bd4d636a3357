// SPDX-License-Identifier: Apache-2.0
#include "weft/cli/json_lines.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"

namespace weft::cli {
namespace {

absl::Status TooLong() {
  return absl::InvalidArgumentError("standard input: a request of more than 64 MiB");
}

}  // namespace

JsonLines::JsonLines(std::string text)
    : standard_input_(text == "-"),
      text_(standard_input_ ? std::string() : std::move(text)),
      ended_(!standard_input_),
      stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      pool_({.threads = standard_input_ ? 1u : 0u}) {}

JsonLines::~JsonLines() {
  const uint64_t one = 1;
  (void)!write(stop_.get(), &one, sizeof(one));
}

Task<absl::StatusOr<std::string>> JsonLines::All(Loop& loop) {
  co_return co_await pool_.Run(loop, [this] { return ReadAll(); });
}

Task<absl::StatusOr<std::optional<std::string>>> JsonLines::Next(Loop& loop) {
  co_return co_await pool_.Run(loop, [this] { return ReadLine(); });
}

absl::StatusOr<std::string> JsonLines::ReadAll() {
  while (ReadMore()) {
    if (text_.size() > kBytesMax) return TooLong();
  }
  return std::exchange(text_, std::string());
}

absl::StatusOr<std::optional<std::string>> JsonLines::ReadLine() {
  for (size_t searched = 0;;) {
    const size_t end = text_.find('\n', searched);
    if (end == std::string::npos) {
      if (text_.size() > kBytesMax) return TooLong();
      searched = text_.size();
      if (ReadMore()) continue;
    }
    std::string line = text_.substr(0, end);
    text_.erase(0, end == std::string::npos ? end : end + 1);
    searched = 0;
    if (!absl::StripAsciiWhitespace(line).empty()) return std::optional(std::move(line));
    if (end == std::string::npos) return std::optional<std::string>();
  }
}

bool JsonLines::ReadMore() {
  if (ended_) return false;
  pollfd fds[] = {{STDIN_FILENO, POLLIN, 0}, {stop_.get(), POLLIN, 0}};
  while (poll(fds, 2, -1) < 0 && errno == EINTR) continue;
  char bytes[16384];
  const ssize_t n = fds[1].revents != 0 ? 0 : read(STDIN_FILENO, bytes, sizeof(bytes));
  if (n <= 0) {
    ended_ = true;
    return false;
  }
  text_.append(bytes, static_cast<size_t>(n));
  return true;
}

}  // namespace weft::cli
