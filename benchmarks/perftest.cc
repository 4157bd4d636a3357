// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/perftest.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "weft/core/unique_fd.h"

namespace weft::benchmarks {
namespace {

using absl::string_view;

constexpr absl::Duration kConnectAgain = absl::Milliseconds(50);
constexpr int kConnectAttempts = 100;

// The role of a process that becomes the program: its arguments are the program's words, and what
// that prints goes to the shared descriptor.
absl::Status Become(Peer& peer) {
  std::vector<std::string> words = peer.arguments();
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  dup2(peer.shared_fd(), STDOUT_FILENO);
  dup2(peer.shared_fd(), STDERR_FILENO);
  execvp(argv[0], argv.data());
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot run ", words[0]));
}

constexpr PeerRole kRoles[] = {{"perftest", &Become}};

bool IsInstalled(const std::string& program) {
  const char* const path = std::getenv("PATH");
  for (const string_view folder : absl::StrSplit(path == nullptr ? "/usr/bin" : path, ':')) {
    if (access(absl::StrCat(folder, "/", program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

// A program that runs, and the end of the pipe that its output comes out of.
struct Running {
  std::unique_ptr<PeerProcess> process;
  UniqueFd output;
};

absl::StatusOr<Running> Start(std::vector<std::string> words, int core, absl::Duration lifetime) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "cannot make a pipe");
  Running running;
  running.output = UniqueFd(ends[0]);
  const UniqueFd input(ends[1]);
  auto process = PeerProcess::Start({.role = "perftest",
                                     .core = core,
                                     .arguments = std::move(words),
                                     .shared_fd = input.get(),
                                     .lifetime = lifetime});
  if (!process.ok()) return process.status();
  running.process = *std::move(process);
  return running;
}

// All that it prints until it ends.
absl::StatusOr<std::string> ReadToEnd(const Running& running, const std::string& program,
                                      absl::Time deadline) {
  std::string output;
  while (true) {
    pollfd readable = {.fd = running.output.get(), .events = POLLIN, .revents = 0};
    const auto left_ms = absl::ToInt64Milliseconds(deadline - absl::Now());
    if (left_ms <= 0 || poll(&readable, 1, static_cast<int>(left_ms)) == 0) {
      return absl::DeadlineExceededError(absl::StrCat(program, " does not end"));
    }
    char bytes[4096];
    const ssize_t size = read(running.output.get(), bytes, sizeof(bytes));
    if (size == 0) return output;
    if (size < 0 && errno != EINTR) return absl::ErrnoToStatus(errno, program);
    if (size > 0) output.append(bytes, static_cast<size_t>(size));
  }
}

std::vector<std::string> Words(const Perftest& test, const PerftestEnd& end, int tcp_port) {
  std::vector<std::string> words = {test.program,
                                    "-d",
                                    end.device,
                                    "-i",
                                    absl::StrCat(end.port),
                                    "-x",
                                    absl::StrCat(end.gid_index),
                                    "-p",
                                    absl::StrCat(tcp_port),
                                    "-F"};  // no word about the processor's frequency
  words.insert(words.end(), test.arguments.begin(), test.arguments.end());
  return words;
}

// A server's TCP port that was most likely not used just now.
int NextTcpPort() {
  static int count = 0;
  return 20000 + (getpid() * 16 + count++) % 10000;
}

std::vector<string_view> Fields(string_view line) {
  return absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
}

bool StartsWithDigit(string_view line) {
  const string_view text = absl::StripLeadingAsciiWhitespace(line);
  return !text.empty() && absl::ascii_isdigit(static_cast<unsigned char>(text[0]));
}

}  // namespace

absl::StatusOr<double> ParsePerftest(string_view output, PerftestFigure figure) {
  const char* const column = figure == PerftestFigure::kTypicalUs        ? "t_typical"
                             : figure == PerftestFigure::kBytesPerSecond ? "BW_average"
                                                                         : "MsgRate";
  // Below the heading is the line of figures.
  const std::vector<string_view> lines = absl::StrSplit(output, '\n');
  for (size_t i = 0; i + 1 < lines.size(); ++i) {
    if (!absl::StrContains(lines[i], "#bytes")) continue;
    const std::string heading = absl::StrReplaceAll(lines[i], {{"BW ", "BW_"}});
    const std::vector<string_view> names = Fields(heading);
    // On a busy machine with a word in between about the processor's frequency.
    size_t below = i + 1;
    while (below + 1 < lines.size() && !StartsWithDigit(lines[below])) ++below;
    const std::vector<string_view> values = Fields(lines[below]);
    for (size_t at = 0; at < names.size() && at < values.size(); ++at) {
      double value;
      if (!absl::StartsWith(names[at], column) || !absl::SimpleAtod(values[at], &value)) continue;
      switch (figure) {
        case PerftestFigure::kTypicalUs:
          return value;
        case PerftestFigure::kBytesPerSecond:
          return value * (1 << 20);  // it says MB/s
        case PerftestFigure::kMessagesPerSecond:
          return value * 1e6;
      }
    }
  }
  return absl::InternalError(
      absl::StrCat("perftest printed no figure: '",
                   output.substr(output.size() > 200 ? output.size() - 200 : 0), "'"));
}

absl::StatusOr<double> MeasurePerftest(const Perftest& test, PerftestFigure figure,
                                       const PerftestEnd& server, const PerftestEnd& client,
                                       absl::Duration timeout) {
  if (!IsInstalled(test.program)) {
    return absl::UnimplementedError(absl::StrCat(test.program, " not installed: install perftest"));
  }
  const absl::Time deadline = absl::Now() + timeout;
  const int tcp_port = NextTcpPort();
  const absl::StatusOr<Running> serving =
      Start(Words(test, server, tcp_port), server.core, timeout);
  if (!serving.ok()) return serving.status();
  std::vector<std::string> words = Words(test, client, tcp_port);
  words.push_back(server.ip);
  for (int attempt = 0; attempt < kConnectAttempts; ++attempt) {
    const absl::StatusOr<Running> asking = Start(words, client.core, timeout);
    if (!asking.ok()) return asking.status();
    const absl::StatusOr<std::string> output = ReadToEnd(*asking, test.program, deadline);
    if (!output.ok()) return output.status();
    // The server does not say when it listens.
    if (!absl::StrContains(*output, "Couldn't connect to")) return ParsePerftest(*output, figure);
    absl::SleepFor(kConnectAgain);
  }
  return absl::UnavailableError(absl::StrCat("the server of ", test.program, " does not listen"));
}

absl::Span<const PeerRole> PerftestRoles() { return kRoles; }

}  // namespace weft::benchmarks
