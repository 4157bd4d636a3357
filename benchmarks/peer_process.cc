// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/peer_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "weft/core/cpu.h"

namespace weft::benchmarks {
namespace {

// A peer's argv: this name, then the words below, then the role's own arguments.
constexpr char kPeerName[] = "weft-benchmark-peer";
enum Word { kName, kRole, kCore, kParent, kLifetime, kControlFd, kSharedFd, kArguments };

// What goes through the control socket: one of these, then a number or an error's text.
constexpr char kValue = '=';
constexpr char kError = '!';
constexpr size_t kMessageMax = 1024;

constexpr int kStartTimeoutMs = 10'000;  // of other programs

// A message that cannot be sent has no reader left.
void SendMessage(int fd, char kind, absl::string_view text) {
  const std::string message =
      absl::StrCat(absl::string_view(&kind, 1), text.substr(0, kMessageMax - 1));
  [[maybe_unused]] const ssize_t sent = send(fd, message.data(), message.size(), MSG_NOSIGNAL);
}

int ToInt(const char* text) {
  int value = -1;
  return absl::SimpleAtoi(text, &value) ? value : -1;
}

// Ties this process's life to its parent's and to its allotted time.
absl::Status LimitLife(char** argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != ToInt(argv[kParent])) return absl::CancelledError("the parent is gone");
  alarm(static_cast<unsigned>(ToInt(argv[kLifetime])));
  return PinThisThread(ToInt(argv[kCore]));
}

absl::Status RunRole(int argc, char** argv, absl::Span<const PeerRole> roles) {
  if (const absl::Status status = LimitLife(argv); !status.ok()) return status;
  for (const PeerRole& role : roles) {
    if (std::strcmp(role.name, argv[kRole]) != 0) continue;
    Peer peer({argv + kArguments, argv + argc}, ToInt(argv[kSharedFd]), ToInt(argv[kControlFd]));
    return role.run(peer);
  }
  return absl::NotFoundError("this program has no such role");
}

}  // namespace

int64_t Peer::Number(size_t i) const {
  int64_t value = 0;
  return i < arguments_.size() && absl::SimpleAtoi(arguments_[i], &value) ? value : 0;
}

void Peer::Report(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.17g", value);
  SendMessage(control_fd_, kValue, text);
}

bool IsPeer(int argc, char** argv) {
  return argc >= kArguments && std::strcmp(argv[kName], kPeerName) == 0;
}

int RunPeer(int argc, char** argv, absl::Span<const PeerRole> roles) {
  const absl::Status status = RunRole(argc, argv, roles);
  if (status.ok()) return 0;
  SendMessage(ToInt(argv[kControlFd]), kError, status.message());
  return 1;
}

absl::StatusOr<std::unique_ptr<PeerProcess>> PeerProcess::Start(const PeerOptions& options) {
  int control[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) != 0) {
    return absl::ErrnoToStatus(errno, "cannot make a control socket");
  }
  std::vector<std::string> words = {kPeerName,
                                    options.role,
                                    absl::StrCat(options.core),
                                    absl::StrCat(getpid()),
                                    absl::StrCat(absl::ToInt64Seconds(options.lifetime) + 1),
                                    absl::StrCat(control[1]),
                                    absl::StrCat(options.shared_fd)};
  words.insert(words.end(), options.arguments.begin(), options.arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  // A descriptor that is duplicated to itself stays open across the exec.
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, control[1], control[1]);
  if (options.shared_fd >= 0) {
    posix_spawn_file_actions_adddup2(&actions, options.shared_fd, options.shared_fd);
  }
  pid_t pid = -1;
  const int error = posix_spawn(&pid, "/proc/self/exe", &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(control[1]);
  if (error != 0) {
    close(control[0]);
    return absl::ErrnoToStatus(error, absl::StrCat("cannot start a process for ", options.role));
  }
  return absl::WrapUnique(new PeerProcess(options.role, pid, control[0]));
}

PeerProcess::~PeerProcess() {
  kill(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  close(control_fd_);
}

absl::StatusOr<double> PeerProcess::AwaitReport(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  pollfd readable = {.fd = control_fd_, .events = POLLIN, .revents = 0};
  int ready;
  do {
    const auto left_ms = std::max<int64_t>(0, absl::ToInt64Milliseconds(deadline - absl::Now()));
    ready = poll(&readable, 1, static_cast<int>(left_ms));
  } while (ready < 0 && errno == EINTR);
  if (ready == 0) {
    return absl::DeadlineExceededError(
        absl::StrCat(role_, ": no result within ", absl::FormatDuration(timeout)));
  }
  char message[kMessageMax];
  const ssize_t size = recv(control_fd_, message, sizeof(message), 0);
  if (size <= 0) return absl::UnavailableError(absl::StrCat(role_, ": the process died"));
  const absl::string_view text(message + 1, static_cast<size_t>(size) - 1);
  double value;
  if (message[0] == kValue && absl::SimpleAtod(text, &value)) return value;
  return absl::InternalError(absl::StrCat(role_, ": ", text));
}

std::vector<PeerRole> JoinRoles(std::initializer_list<absl::Span<const PeerRole>> parts) {
  std::vector<PeerRole> roles;
  for (const absl::Span<const PeerRole> part : parts) {
    roles.insert(roles.end(), part.begin(), part.end());
  }
  return roles;
}

absl::Status BecomeProgram(Peer& peer, absl::string_view program) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string path = self.parent_path().parent_path() / std::string(program);
  std::vector<std::string> words = {path};
  words.insert(words.end(), peer.arguments().begin(), peer.arguments().end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  dup2(peer.shared_fd(), STDOUT_FILENO);
  execv(path.c_str(), argv.data());
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot run ", path));
}

absl::StatusOr<std::string> ReadLineOf(absl::string_view program, int fd) {
  std::string line;
  while (line.empty() || line.back() != '\n') {
    pollfd readable = {.fd = fd, .events = POLLIN, .revents = 0};
    char byte;
    if (poll(&readable, 1, kStartTimeoutMs) <= 0 || read(fd, &byte, 1) != 1) {
      return absl::UnavailableError(absl::StrCat("the ", program, " did not start"));
    }
    line += byte;
  }
  return line;
}

}  // namespace weft::benchmarks
