// SPDX-License-Identifier: Apache-2.0
//
// Floors: what the raw mechanisms beneath weft, and gRPC, do with 64-byte requests between two
// processes on this machine, and how fast bytes move. Absolute figures do not travel between
// machines, nor between hours on a virtual one, so a benchmark measures them in the same run as its
// own figures, interleaved, and quotes ratios.
//
//   int main(int argc, char** argv) {
//     if (IsPeer(argc, argv)) return RunPeer(argc, argv, floors::Roles());
//     absl::StatusOr<floors::Figure> udp = floors::Measure(floors::Floor::kUdpSpinningLatency, {});
//
// Client and server are processes of their own, each pinned to a core; the calling process waits.

#ifndef WEFT_BENCHMARKS_FLOORS_FLOORS_H_
#define WEFT_BENCHMARKS_FLOORS_FLOORS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/benchmarks/peer_process.h"

namespace weft::benchmarks::floors {

// Latency is the median round trip with one request outstanding; throughput is with 32 of them.
// Bandwidth is of bytes that go one way.
enum class Floor {
  kRingLatency,          // core/spsc_ring.h over shared memory
  kRingThroughput,       // each message pushed and popped on its own
  kRingBurstThroughput,  // as many at a time as there are: no program with work to do gets there
  kUdpSpinningLatency,   // plain send and recv on loopback, never sleeping
  kUdpSpinningThroughput,
  kUdpBlockingLatency,  // the same, sleeping in recv
  kGrpcLatency,         // the best of a few ways to use it (benchmarks/grpc/grpc_peer.h)
  kGrpcThroughput,
  kUdpSegmentedBandwidth,  // 64 KB a call on loopback, cut to 1472 bytes and joined by the kernel
  kMemcpyBandwidth,        // of one core, 8 MiB at a time from and to memory that is in no cache
};
inline constexpr Floor kAllFloors[] = {
    Floor::kRingLatency,        Floor::kRingThroughput,        Floor::kRingBurstThroughput,
    Floor::kUdpSpinningLatency, Floor::kUdpSpinningThroughput, Floor::kUdpBlockingLatency,
    Floor::kGrpcLatency,        Floor::kGrpcThroughput,        Floor::kUdpSegmentedBandwidth,
    Floor::kMemcpyBandwidth,
};

inline constexpr int kThroughputOutstanding = 32;
inline constexpr size_t kRequestBytes = 64;

// How a floor is called in tables and in JSON, such as "raw UDP spinning, p50".
const char* Name(Floor floor);

struct Options {
  int client_core = 0;
  int server_core = 1;
  // Of each measurement, of which gRPC's figures need two; the first tenth warms up. At most 10 s.
  absl::Duration duration = absl::Milliseconds(300);
};

struct Figure {
  std::string name;
  double value;
  std::string unit;    // "us", "requests/s" or "GB/s" (10^9 bytes)
  std::string detail;  // What gRPC's best was; otherwise empty.
};

// Measures one floor. Fails with Unimplemented, saying what to install, for gRPC's where the build
// did not have it, and where the kernel lacks segmentation offload.
absl::StatusOr<Figure> Measure(Floor floor, const Options& options);

// What a program that calls Measure() must be able to run (benchmarks/peer_process.h).
absl::Span<const PeerRole> Roles();

}  // namespace weft::benchmarks::floors

#endif  // WEFT_BENCHMARKS_FLOORS_FLOORS_H_
