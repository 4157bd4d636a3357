// SPDX-License-Identifier: Apache-2.0
#include "weft/tools/testnet/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace weft::testnet {
namespace {

// In the child: nothing that allocates, as another thread may have held a lock.
[[noreturn]] void Exec(const char* command, int namespace_fd, int output_fd) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (namespace_fd >= 0 && setns(namespace_fd, CLONE_NEWNET) != 0) _exit(126);
  dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
  dup2(output_fd, STDOUT_FILENO);
  dup2(output_fd, STDERR_FILENO);
  const char* const arguments[] = {"sh", "-c", command, nullptr};
  execv("/bin/sh", const_cast<char**>(arguments));
  _exit(127);
}

}  // namespace

Process Process::Start(const std::string& command, int namespace_fd) {
  const std::string script = "PATH=$PATH:/usr/sbin:/sbin; " + command;
  // A file, not a pipe: a program that nobody reads from must not stop.
  UniqueFd output(memfd_create("output", MFD_CLOEXEC));
  const pid_t pid = fork();
  if (pid == 0) Exec(script.c_str(), namespace_fd, output.get());
  if (pid > 0) setpgid(pid, pid);  // here too: Wait() may come first
  return Process(pid, std::move(output));
}

Process::Process(pid_t pid, UniqueFd output_fd)
    : pid_(pid),
      pid_fd_(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))),
      output_fd_(std::move(output_fd)) {}

CommandResult Process::Wait(absl::Duration timeout) {
  CommandResult result;
  if (pid_ > 0) {
    pollfd event = {pid_fd_.get(), POLLIN, 0};
    int ended;
    do {
      ended = poll(&event, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout)));
    } while (ended < 0 && errno == EINTR);
    if (ended != 1) kill(-pid_, SIGKILL);
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) continue;
    if (ended == 1 && WIFEXITED(status)) result.status = WEXITSTATUS(status);
    // What it has left running in the background.
    kill(-pid_, SIGKILL);
    pid_ = -1;
  }
  result.output = Output();
  return result;
}

CommandResult Process::Stop() {
  if (pid_ > 0) kill(-pid_, SIGINT);
  return Wait();
}

std::string Process::Output() const {
  std::string output;
  char bytes[4096];
  ssize_t n;
  while ((n = pread(output_fd_.get(), bytes, sizeof(bytes), static_cast<off_t>(output.size()))) >
         0) {
    output.append(bytes, static_cast<size_t>(n));
  }
  return output;
}

}  // namespace weft::testnet
