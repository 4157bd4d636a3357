// SPDX-License-Identifier: Apache-2.0
//
// A program that a test runs beside itself. It ends with the object, or with the thread that
// started it, whatever happens.
#ifndef WEFT_TOOLS_TESTNET_PROCESS_H_
#define WEFT_TOOLS_TESTNET_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <utility>

#include "absl/time/time.h"
#include "weft/core/unique_fd.h"

namespace weft::testnet {

struct CommandResult {
  int status = -1;     // as of the shell; -1 if it was ended by a signal, or could not be started
  std::string output;  // standard output and error

  bool ok() const { return status == 0; }
};

constexpr absl::Duration kCommandTimeout = absl::Seconds(30);

class Process {
 public:
  // Runs `command` by the shell in a process group of its own, with the administrator's directories
  // in its PATH and, unless it is -1, in the network namespace `namespace_fd`.
  static Process Start(const std::string& command, int namespace_fd = -1);

  Process(Process&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)),
        pid_fd_(std::move(other.pid_fd_)),
        output_fd_(std::move(other.output_fd_)) {}
  Process& operator=(Process&&) = delete;
  ~Process() { Wait(absl::ZeroDuration()); }

  pid_t pid() const { return pid_; }  // -1 once it has been waited for

  // Waits until it ends; after `timeout` it is killed.
  CommandResult Wait(absl::Duration timeout = kCommandTimeout);
  // Asks it to end (SIGINT), as tcpdump and the like want, and waits.
  CommandResult Stop();

  // What it has written so far.
  std::string Output() const;

 private:
  Process(pid_t pid, UniqueFd output_fd);

  pid_t pid_;
  UniqueFd pid_fd_;
  UniqueFd output_fd_;
};

}  // namespace weft::testnet

#endif  // WEFT_TOOLS_TESTNET_PROCESS_H_
