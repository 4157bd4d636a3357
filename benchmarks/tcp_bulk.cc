// SPDX-License-Identifier: Apache-2.0
//
// How much weft's TCP moves in one stream, for each second of processor time at both ends together,
// beside the kernel's TCP, measured in the same run: docs/performance.md explains each figure.
//
//   tcp_bulk            all figures
//   tcp_bulk --quick    the bars alone, in less than half a minute
//
// Figures over TAP and veth need root; without it the table says so, and the rest stands.

#include <cstdio>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "weft/benchmarks/cores.h"
#include "weft/benchmarks/experiment.h"
#include "weft/benchmarks/floors/floors.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/benchmarks/tcp_bulk_workload.h"

ABSL_FLAG(std::string, cores, "",
          "sender's and receiver's core, as in 0,1; default: the first two allowed");
ABSL_FLAG(std::string, only, "", "measure only figures that have this in their name");
ABSL_FLAG(std::string, json, "", "also write the figures to this file");
ABSL_FLAG(bool, quick, false, "the bars alone, 3 runs of 300 ms, less exact");
ABSL_FLAG(int, runs, 7, "runs of each measurement, interleaved; the median counts");
ABSL_FLAG(absl::Duration, duration, absl::Seconds(1), "of each run, up to 10s");

namespace weft::benchmarks {
namespace {

struct Figure {
  const char* name;
  TcpBulkWorkload workload;
  const char* against = nullptr;  // another figure
  double least = 0;               // of the ratio to it
  bool bar = true;                // false: for orientation
};

using Cable = BulkCable;

constexpr size_t kJoinedBytes = 65536;

constexpr Figure kFigures[] = {
    {"kernel, loopback", {.cable = Cable::kLoopback}},
    {"weft, virtio-user to vhost",
     {.cable = Cable::kVhost, .weft_sends = true, .weft_receives = true},
     "kernel, loopback",
     1},
    {"weft, virtio-user to vhost, copied by its reader",
     {.cable = Cable::kVhost, .weft_sends = true, .weft_receives = true, .copy = true},
     "kernel, loopback",
     1,
     false},
    {"weft, vhost to virtio-user",
     {.cable = Cable::kVhost, .weft_sends = true, .weft_receives = true, .to_guest = true},
     "kernel, loopback",
     1,
     false},
    {"weft, virtio-user to vhost, buffers of 2 KiB",
     {.cable = Cable::kVhost, .weft_sends = true, .weft_receives = true, .buffer_bytes = 2048},
     "kernel, loopback",
     1,
     false},
    {"kernel, veth", {.cable = Cable::kVeth}},
    {"weft to kernel, TAP", {.cable = Cable::kTap, .weft_sends = true}, "kernel, veth", 0.9},
    {"kernel to weft, TAP",
     {.cable = Cable::kTap, .weft_receives = true, .buffer_bytes = kJoinedBytes},
     "kernel, veth",
     0.9},
    {"weft to kernel, veth, packet socket",
     {.cable = Cable::kVeth, .weft_sends = true},
     "kernel, veth",
     0.9},
    {"kernel to weft, veth, packet socket",
     {.cable = Cable::kVeth, .weft_receives = true, .buffer_bytes = kJoinedBytes},
     "kernel, veth",
     0.9},
    {"kernel, veth, plain frames", {.cable = Cable::kVethPlain}, nullptr, 0, false},
    {"weft to kernel, veth, AF_XDP",
     {.cable = Cable::kVethAfxdp, .weft_sends = true},
     "kernel, veth, plain frames",
     0.9,
     false},
    {"kernel to weft, veth, AF_XDP",
     {.cable = Cable::kVethAfxdp, .weft_receives = true},
     "kernel, veth, plain frames",
     0.9,
     false},
};

bool Wanted(const Figure& figure, const std::string& only, bool quick) {
  if (absl::StrContains(figure.name, only)) return figure.bar || !quick;
  // What others are compared with.
  for (const Figure& other : kFigures) {
    if (other.against != nullptr && absl::string_view(other.against) == figure.name &&
        absl::StrContains(other.name, only)) {
      return true;
    }
  }
  return false;
}

int Main() {
  const auto cores = ClientAndServerCores(absl::GetFlag(FLAGS_cores));
  if (!cores.ok()) {
    std::fprintf(stderr, "tcp_bulk: %s\n", std::string(cores.status().message()).c_str());
    return 2;
  }
  const bool quick = absl::GetFlag(FLAGS_quick);
  const floors::Options options = {
      .client_core = (*cores)[0],
      .server_core = (*cores)[1],
      .duration = quick ? absl::Milliseconds(300) : absl::GetFlag(FLAGS_duration)};
  Experiment experiment;
  bool any = false;
  for (const Figure& figure : kFigures) {
    if (!Wanted(figure, absl::GetFlag(FLAGS_only), quick)) continue;
    any = true;
    experiment.Add(figure.name, "Gb/CPU-s",
                   [&figure, &options] { return MeasureTcpBulk(figure.workload, options); });
    if (figure.against != nullptr) experiment.AtLeast(figure.name, figure.against, figure.least);
  }
  if (!any) {
    std::fprintf(stderr, "tcp_bulk: no figure has what --only says in its name\n");
    return 2;
  }
  experiment.Run(quick ? 3 : absl::GetFlag(FLAGS_runs));
  const Report report = experiment.ToReport();
  std::printf("%s\n%s", report.Table().c_str(), experiment.BarTable().c_str());
  return report.Finish("tcp_bulk", absl::GetFlag(FLAGS_json), experiment.failed());
}

}  // namespace
}  // namespace weft::benchmarks

int main(int argc, char** argv) {
  using namespace weft::benchmarks;  // NOLINT: main() is all there is here
  if (IsPeer(argc, argv)) return RunPeer(argc, argv, TcpBulkRoles());
  absl::SetProgramUsageMessage(
      "Measures bulk transfer over weft's TCP beside the kernel's; docs/performance.md explains.");
  absl::ParseCommandLine(argc, argv);
  return Main();
}
