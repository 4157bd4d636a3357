// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/footprint.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"

namespace weft::benchmarks {
namespace {

constexpr absl::Duration kLifetime = absl::Seconds(60);

absl::Status BecomeEchoServer(Peer& peer) { return BecomeProgram(peer, "examples/echo_server"); }

constexpr PeerRole kRoles[] = {{"echo-server", &BecomeEchoServer}};

// Time on a core, of all threads.
int64_t CpuNs(pid_t pid) {
  int64_t sum_ns = 0;
  std::error_code error;
  for (const auto& task :
       std::filesystem::directory_iterator(absl::StrCat("/proc/", pid, "/task"), error)) {
    int64_t ns = 0;
    std::ifstream(task.path() / "schedstat") >> ns;
    sum_ns += ns;
  }
  return sum_ns;
}

double ResidentMib(pid_t pid) {
  std::ifstream status(absl::StrCat("/proc/", pid, "/status"));
  std::string word;
  while (status >> word) {
    if (word != "VmRSS:") continue;
    double kib = 0;
    status >> kib;
    return kib / 1024;
  }
  return 0;
}

}  // namespace

absl::StatusOr<Footprint> MeasureFootprint(const std::string& transport, absl::Duration idle,
                                           const RpcOptions& options) {
  int out[2];
  if (pipe2(out, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe2");
  const auto close_out = absl::MakeCleanup([&out] { close(out[0]); });
  auto server = PeerProcess::Start(
      {.role = "echo-server",
       .core = options.server_core,
       .arguments = {absl::StrCat("--transport=", transport),
                     absl::StrCat("--listen=", transport == "shm"
                                                   ? absl::StrCat("shm:footprint-", getpid())
                                                   : "127.0.0.1:0")},
       .shared_fd = out[1],
       .lifetime = kLifetime});
  close(out[1]);
  if (!server.ok()) return server.status();
  const absl::StatusOr<std::string> line = ReadLineOf("echo server", out[0]);
  if (!line.ok()) return line.status();
  // "listening on ADDRESS (TRANSPORT)"
  const std::vector<std::string> words = absl::StrSplit(*line, ' ');
  if (words.size() < 3) return absl::InternalError(absl::StrCat("unexpected: ", *line));

  const absl::StatusOr<RpcResult> load =
      MeasureRpcAt(words[2], {.transport = transport, .outstanding = 32}, options);
  if (!load.ok()) return load.status();
  const pid_t pid = (*server)->pid();
  absl::SleepFor(absl::Milliseconds(100));  // until it has noticed that nothing comes any more
  const int64_t begin_ns = CpuNs(pid);
  if (begin_ns == 0)
    return absl::UnavailableError("no /proc/PID/task/TID/schedstat on this machine");
  absl::SleepFor(idle);
  const int64_t used_ns = CpuNs(pid) - begin_ns;
  return Footprint{
      .idle_cpu_percent = 100.0 * static_cast<double>(used_ns) / absl::ToDoubleNanoseconds(idle),
      .resident_mib = ResidentMib(pid)};
}

absl::Span<const PeerRole> FootprintRoles() { return kRoles; }

}  // namespace weft::benchmarks
