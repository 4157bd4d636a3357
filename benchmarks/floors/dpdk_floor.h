// SPDX-License-Identifier: Apache-2.0
//
// The floor beneath frames over DPDK: plain rte_eth_rx_burst() and rte_eth_tx_burst() over
// net_vhost and net_virtio_user, between two processes with a core each. A library of its own, as
// it links DPDK.
//
//   int main(int argc, char** argv) {
//     if (IsPeer(argc, argv)) return RunPeer(argc, argv, floors::DpdkRoles());
//     absl::StatusOr<floors::Figure> raw = floors::MeasureDpdk(floors::DpdkFloor::kLatency, {});

#ifndef WEFT_BENCHMARKS_FLOORS_DPDK_FLOOR_H_
#define WEFT_BENCHMARKS_FLOORS_DPDK_FLOOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/benchmarks/floors/closed_loop.h"
#include "weft/benchmarks/floors/floors.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/core/clock.h"

namespace weft::benchmarks::floors {

enum class DpdkFloor {
  kLatency,  // the median round trip of a 64-byte frame
  kToGuest,  // 64-byte frames a second in one direction, received; vhost copies them
  kFromGuest,
};
inline constexpr DpdkFloor kAllDpdkFloors[] = {DpdkFloor::kLatency, DpdkFloor::kToGuest,
                                               DpdkFloor::kFromGuest};

// How a floor is called in tables and in JSON, such as "raw virtio-user, p50".
const char* Name(DpdkFloor floor);

absl::StatusOr<Figure> MeasureDpdk(DpdkFloor floor, const Options& options);

// What a program that calls MeasureDpdk() must be able to run.
absl::Span<const PeerRole> DpdkRoles();

// For others who measure over the same devices: starts `roles` in two processes, with the devices
// that they open as their arguments, and returns what the client reports.
//   server: its device, 1 for echoing or 0 for sending without end. Reports 0 before it opens it.
//   client: its device, 1 for round trips or 0 for counting, the duration in nanoseconds. Opens its
//   device as soon as the other end is there. Reports nanoseconds, or frames a second.
// Both get `arguments` behind that.
struct DpdkPair {
  const char* server_role;
  const char* client_role;
  std::vector<std::string> arguments = {};
};
absl::StatusOr<double> RunDpdkPair(const DpdkPair& roles, DpdkFloor floor, const Options& options);

// The median time between `send()`, which returns whether it could, and the first `receive()` that
// returns true, in nanoseconds. The first frames may get lost, while the other end starts.
template <typename Send, typename Receive>
absl::StatusOr<double> DpdkRoundTripNs(int64_t duration_ns, Send send, Receive receive) {
  const Clock& clock = RealClock();
  const auto round_trip = [&](int64_t patience_ns) {
    const int64_t end_ns = clock.NowNs() + patience_ns;
    const bool sent = send();
    for (uint32_t turn = 1; sent && !receive(); ++turn) {
      if (turn % 1024 == 0 && clock.NowNs() > end_ns) return false;
    }
    return sent;
  };
  const int64_t start_ns = clock.NowNs();
  while (!round_trip(kPatienceNs / 100)) {
    if (clock.NowNs() - start_ns > kPatienceNs) return absl::UnavailableError("no reply");
  }
  return MedianRoundTripNs(duration_ns, [&] { return round_trip(kPatienceNs); });
}

// Calls `open` until it succeeds or the other end had time enough to start.
absl::Status OpenWhenThere(absl::FunctionRef<absl::Status()> open);

}  // namespace weft::benchmarks::floors

#endif  // WEFT_BENCHMARKS_FLOORS_DPDK_FLOOR_H_
