// SPDX-License-Identifier: Apache-2.0
//
// A benchmark's client and server run in processes of their own, each pinned to a core. They are
// the benchmark's own program, started again in a role that the program lists:
//
//   absl::Status Serve(Peer& peer) {
//     ...
//     peer.Report(port);
//     while (true) ...
//   }
//   constexpr PeerRole kRoles[] = {{"server", &Serve}, {"client", &Ask}};
//
//   int main(int argc, char** argv) {
//     if (IsPeer(argc, argv)) return RunPeer(argc, argv, kRoles);
//     auto server = PeerProcess::Start({.role = "server", .core = 1});
//     auto port = (*server)->AwaitReport(kStartTimeout);
//
// A peer never outlives its program: it is killed when its PeerProcess is destroyed, when the
// thread that started it ends, and in any case when its lifetime is over.

#ifndef WEFT_BENCHMARKS_PEER_PROCESS_H_
#define WEFT_BENCHMARKS_PEER_PROCESS_H_

#include <sys/types.h>

#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace weft::benchmarks {

// Who has started a peer gives it that long to say that it is ready: a busy machine may let it wait
// for a processor.
inline constexpr absl::Duration kStartTimeout = absl::Seconds(30);

// What a role sees of its process.
class Peer {
 public:
  Peer(std::vector<std::string> arguments, int shared_fd, int control_fd)
      : arguments_(std::move(arguments)), shared_fd_(shared_fd), control_fd_(control_fd) {}

  // PeerOptions::arguments.
  const std::vector<std::string>& arguments() const { return arguments_; }

  // Argument `i` as a number; 0 when it is none.
  int64_t Number(size_t i) const;

  // PeerOptions::shared_fd, under its number in this process; -1 when there is none.
  int shared_fd() const { return shared_fd_; }

  // Hands the program a number: the port of a server that is ready, or a client's result.
  void Report(double value);

 private:
  std::vector<std::string> arguments_;
  int shared_fd_;
  int control_fd_;
};

// What a peer does. The process ends when `run` returns; an error goes to the program.
struct PeerRole {
  const char* name;
  absl::Status (*run)(Peer& peer);
};

// Whether this process was started as a peer.
bool IsPeer(int argc, char** argv);

// Runs the role that this process was started for, which must be among `roles`, on its core.
// Returns the exit status of main().
int RunPeer(int argc, char** argv, absl::Span<const PeerRole> roles);

// The roles of a program that consists of several workloads.
std::vector<PeerRole> JoinRoles(std::initializer_list<absl::Span<const PeerRole>> parts);

// For a role that is another program: becomes `program`, a path in the build's output, in which
// this program lies too. Its arguments are the peer's; what it prints goes to the shared
// descriptor. Returns only if that fails.
absl::Status BecomeProgram(Peer& peer, absl::string_view program);

// The next line that comes out of `fd`, with its end. Unavailable, naming `program`, when none has
// come after 10 seconds.
absl::StatusOr<std::string> ReadLineOf(absl::string_view program, int fd);

struct PeerOptions {
  std::string role;
  int core = 0;
  std::vector<std::string> arguments = {};
  int shared_fd = -1;  // A descriptor that the peer inherits, and no other but the standard ones.
  absl::Duration lifetime = absl::Seconds(30);
};

class PeerProcess {
 public:
  static absl::StatusOr<std::unique_ptr<PeerProcess>> Start(const PeerOptions& options);
  ~PeerProcess();
  PeerProcess(const PeerProcess&) = delete;
  PeerProcess& operator=(const PeerProcess&) = delete;

  // The next number that the peer reports, or the error that its role returned. Fails with
  // DeadlineExceeded when none comes in time and Unavailable when the peer dies without a word.
  absl::StatusOr<double> AwaitReport(absl::Duration timeout);

  pid_t pid() const { return pid_; }

 private:
  PeerProcess(std::string role, pid_t pid, int control_fd)
      : role_(std::move(role)), pid_(pid), control_fd_(control_fd) {}

  const std::string role_;
  const pid_t pid_;
  const int control_fd_;
};

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_PEER_PROCESS_H_
