// SPDX-License-Identifier: Apache-2.0
//
// What gRPC C++ does between two processes on this machine, used as well as it can be used: what
// weft is compared with.
//
//   int main(int argc, char** argv) {
//     if (IsPeer(argc, argv)) return RunPeer(argc, argv, grpc_peer::Roles());
//     grpc_peer::Contest contest(options);
//     absl::StatusOr<double> p50_ns = contest.Measure({grpc_peer::Figure::kLatency});
//
// There is no one best way to use it: the synchronous, the callback and the completion-queue API
// each win somewhere, on either side, over TCP on loopback or a Unix domain socket. So each figure
// has its candidates; a heat among them finds the best one on this machine, which is then measured.
//
// Client and server are a process each, pinned to a core as weft's are. Except with the synchronous
// API, messages are byte buffers that nothing parses, serializes or copies; limits of their size
// are raised, and flow control has windows of several messages.

#ifndef WEFT_BENCHMARKS_GRPC_GRPC_PEER_H_
#define WEFT_BENCHMARKS_GRPC_GRPC_PEER_H_

#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/benchmarks/peer_process.h"

namespace weft::benchmarks::grpc_peer {

inline constexpr int kThroughputOutstanding = 32;
inline constexpr size_t kSmallBytes = 64;
inline constexpr size_t kLongBytes = size_t{8} << 20;

enum class Figure {
  kLatency,          // the median round trip of 64 bytes each way, one at a time, in nanoseconds
  kSpinningLatency,  // the same without ever sleeping, which takes a core on either side
  kThroughput,       // such calls a second, 32 outstanding
  kBandwidth,  // bytes a second of messages of 8 MiB that are sent back, counted once, one at a time
  kStreaming,  // messages of 64 bytes a second that one call's server sends
};

// A way to use gRPC.
struct Variant {
  const char* server;  // the API: sync, callback, queue (which sleeps) or spinning (which does not)
  const char* client;
  bool unix_socket;  // instead of TCP on loopback

  // "spinning server, sync client, unix socket".
  std::string Name() const;
};

struct Options {
  int client_core = 0;
  int server_core = 1;
  absl::Duration duration =
      absl::Milliseconds(300);  // of each measurement; its first tenth warms up
  // With TLS, both sides proving themselves: a directory with the files of
  // rpc::WriteTestCertificates(). Empty:
  // plain text.
  std::string certificates = {};
};

// Ways that come into question for a figure; `quick`: those few that win most often.
std::vector<Variant> Candidates(Figure figure, bool quick);

// Fails with Unimplemented, saying what to install, where the build did not have gRPC.
absl::StatusOr<double> Measure(Figure figure, const Variant& variant, const Options& options);

class Contest {
 public:
  // Heats take `heat` for each candidate.
  Contest(Options options, absl::Duration heat, bool quick)
      : options_(std::move(options)), heat_(heat), quick_(quick) {}

  // Holds the heat if that has not been held yet, and measures its winner.
  absl::StatusOr<double> Measure(Figure figure);

  // How the heat for a figure ended, a line for each candidate; empty before Measure().
  std::string Heat(Figure figure) const;

 private:
  struct Winner {
    Variant variant;
    std::string heat;
  };
  absl::StatusOr<Winner> HoldHeat(Figure figure) const;

  const Options options_;
  const absl::Duration heat_;
  const bool quick_;
  std::map<Figure, Winner> winners_;
};

// What a program that measures gRPC must be able to run (benchmarks/peer_process.h).
absl::Span<const PeerRole> Roles();

}  // namespace weft::benchmarks::grpc_peer

#endif  // WEFT_BENCHMARKS_GRPC_GRPC_PEER_H_
