// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/floors/floors.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "weft/benchmarks/floors/roles.h"
#include "weft/benchmarks/grpc/grpc_peer.h"

namespace weft::benchmarks::floors {
namespace {

constexpr PeerRole kRoles[] = {
    {"floor-ring-server", &ServeRing},    {"floor-ring-client", &AskRing},
    {"floor-udp-server", &ServeUdp},      {"floor-udp-client", &AskUdp},
    {"floor-bulk-server", &ServeUdpBulk}, {"floor-bulk-client", &AskUdpBulk},
    {"floor-memcpy-client", &CopyMemory},
};

constexpr absl::Duration kDurationMax = absl::Seconds(10);

// A pair of processes: `mechanism` picks their roles, and `argument` is the last one of each.
struct Pair {
  const char* mechanism;
  int outstanding;
  const char* argument;
  int shared_fd = -1;
};

// What the client reports.
absl::StatusOr<double> RunPair(const Pair& pair, const Options& options) {
  const absl::Duration duration = std::min(options.duration, kDurationMax);
  const absl::Duration lifetime = duration + 3 * kStartTimeout;
  auto server = PeerProcess::Start({.role = absl::StrCat("floor-", pair.mechanism, "-server"),
                                    .core = options.server_core,
                                    .arguments = {pair.argument},
                                    .shared_fd = pair.shared_fd,
                                    .lifetime = lifetime});
  if (!server.ok()) return server.status();
  const absl::StatusOr<double> port = (*server)->AwaitReport(kStartTimeout);
  if (!port.ok()) return port;
  auto client =
      PeerProcess::Start({.role = absl::StrCat("floor-", pair.mechanism, "-client"),
                          .core = options.client_core,
                          .arguments = {absl::StrCat(absl::ToInt64Nanoseconds(duration)),
                                        absl::StrCat(pair.outstanding),
                                        absl::StrCat(static_cast<int>(*port)), pair.argument},
                          .shared_fd = pair.shared_fd,
                          .lifetime = lifetime});
  if (!client.ok()) return client.status();
  return (*client)->AwaitReport(duration + kStartTimeout);
}

// As RunPair(), over `bytes` of zeroed memory that both share.
absl::StatusOr<double> RunPairOver(size_t bytes, Pair pair, const Options& options) {
  const int fd = memfd_create("weft-floor", MFD_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, "memfd_create");
  const auto closer = absl::MakeCleanup([fd] { close(fd); });
  if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
    return absl::ErrnoToStatus(errno, "cannot make shared memory");
  }
  pair.shared_fd = fd;
  return RunPair(pair, options);
}

absl::StatusOr<double> MeasureRing(int outstanding, bool bursts, const Options& options) {
  return RunPairOver(RingMemoryBytes(), {"ring", outstanding, bursts ? "1" : "0"}, options);
}

absl::StatusOr<double> MeasureMemcpy(const Options& options) {
  const absl::Duration duration = std::min(options.duration, kDurationMax);
  auto copier = PeerProcess::Start({.role = "floor-memcpy-client",
                                    .core = options.client_core,
                                    .arguments = {absl::StrCat(absl::ToInt64Nanoseconds(duration))},
                                    .lifetime = duration + 3 * kStartTimeout});
  if (!copier.ok()) return copier.status();
  return (*copier)->AwaitReport(duration + kStartTimeout);
}

absl::StatusOr<double> MeasureUdp(int outstanding, bool blocking, const Options& options) {
  return RunPair({"udp", outstanding, blocking ? "1" : "0"}, options);
}

// The best of a few ways to use gRPC.
absl::StatusOr<double> MeasureGrpc(grpc_peer::Figure figure, const Options& options,
                                   std::string* best) {
  double best_value = 0;
  for (const grpc_peer::Variant& variant : grpc_peer::Candidates(figure, /*quick=*/true)) {
    const absl::StatusOr<double> value =
        grpc_peer::Measure(figure, variant,
                           {.client_core = options.client_core,
                            .server_core = options.server_core,
                            .duration = std::min(options.duration, kDurationMax)});
    if (!value.ok()) return value;
    const bool better =
        figure == grpc_peer::Figure::kLatency ? *value < best_value : *value > best_value;
    if (!best->empty() && !better) continue;
    best_value = *value;
    *best = variant.Name();
  }
  return best_value;
}

absl::StatusOr<double> MeasureValue(Floor floor, const Options& options, std::string* detail) {
  switch (floor) {
    case Floor::kRingLatency:
      return MeasureRing(1, /*bursts=*/false, options);
    case Floor::kRingThroughput:
      return MeasureRing(kThroughputOutstanding, /*bursts=*/false, options);
    case Floor::kRingBurstThroughput:
      return MeasureRing(kThroughputOutstanding, /*bursts=*/true, options);
    case Floor::kUdpSpinningLatency:
      return MeasureUdp(1, /*blocking=*/false, options);
    case Floor::kUdpSpinningThroughput:
      return MeasureUdp(kThroughputOutstanding, /*blocking=*/false, options);
    case Floor::kUdpBlockingLatency:
      return MeasureUdp(1, /*blocking=*/true, options);
    case Floor::kGrpcLatency:
      return MeasureGrpc(grpc_peer::Figure::kLatency, options, detail);
    case Floor::kGrpcThroughput:
      return MeasureGrpc(grpc_peer::Figure::kThroughput, options, detail);
    case Floor::kUdpSegmentedBandwidth:
      return RunPairOver(BulkMemoryBytes(), {"bulk", 1, ""}, options);
    case Floor::kMemcpyBandwidth:
      return MeasureMemcpy(options);
  }
  return absl::InvalidArgumentError("no such floor");
}

bool IsThroughput(Floor floor) {
  return floor == Floor::kRingThroughput || floor == Floor::kRingBurstThroughput ||
         floor == Floor::kUdpSpinningThroughput || floor == Floor::kGrpcThroughput;
}

bool IsBandwidth(Floor floor) {
  return floor == Floor::kUdpSegmentedBandwidth || floor == Floor::kMemcpyBandwidth;
}

}  // namespace

const char* Name(Floor floor) {
  switch (floor) {
    case Floor::kRingLatency:
      return "SPSC ring, p50";
    case Floor::kRingThroughput:
      return "SPSC ring, 32 outstanding";
    case Floor::kRingBurstThroughput:
      return "SPSC ring, 32 outstanding, in bursts";
    case Floor::kUdpSpinningLatency:
      return "raw UDP spinning, p50";
    case Floor::kUdpSpinningThroughput:
      return "raw UDP spinning, 32 outstanding";
    case Floor::kUdpBlockingLatency:
      return "raw UDP blocking, p50";
    case Floor::kGrpcLatency:
      return "gRPC, p50";
    case Floor::kGrpcThroughput:
      return "gRPC, 32 outstanding";
    case Floor::kUdpSegmentedBandwidth:
      return "raw UDP with segmentation offload, bandwidth";
    case Floor::kMemcpyBandwidth:
      return "memcpy, bandwidth";
  }
  return "";
}

absl::StatusOr<Figure> Measure(Floor floor, const Options& options) {
  Figure figure = {.name = Name(floor), .value = 0, .unit = "us", .detail = ""};
  const absl::StatusOr<double> value = MeasureValue(floor, options, &figure.detail);
  if (!value.ok()) return value.status();
  if (IsBandwidth(floor)) {
    figure.value = *value / 1e9;
    figure.unit = "GB/s";
  } else if (IsThroughput(floor)) {
    figure.value = *value;
    figure.unit = "requests/s";
  } else {
    figure.value = *value / 1e3;
  }
  return figure;
}

absl::Span<const PeerRole> Roles() {
  static const auto* const roles = new std::vector(JoinRoles({kRoles, grpc_peer::Roles()}));
  return *roles;
}

}  // namespace weft::benchmarks::floors
