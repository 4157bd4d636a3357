// SPDX-License-Identifier: Apache-2.0
//
// Incast over a simulated network, by algorithm of congestion control: docs/performance.md explains
// the figures. On a virtual clock: the machine makes no difference to what comes out.
//
//   rpc_incast                          every pattern and algorithm, some 20 s
//   rpc_incast --quick                  the same for a tenth of the time
//   rpc_incast --algorithms=swift --senders=16

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "weft/benchmarks/incast.h"
#include "weft/benchmarks/report.h"

ABSL_FLAG(std::vector<std::string>, algorithms,
          (std::vector<std::string>{"swift", "new_reno", "none"}),
          "of congestion control, by name");
ABSL_FLAG(uint32_t, senders, 64, "how many send to one");
ABSL_FLAG(absl::Duration, duration, absl::Milliseconds(200), "of each run, on the virtual clock");
ABSL_FLAG(uint64_t, seed, 1, "of everything that is random");
ABSL_FLAG(std::string, json, "", "also write the figures to this file");
ABSL_FLAG(bool, quick, false, "50 ms each");

namespace weft::benchmarks {
namespace {

using Direction = IncastOptions::Direction;

constexpr char kDefaultAlgorithm[] = "swift";
constexpr double kGoodputMin = 0.9;
constexpr double kFairnessMin = 0.9;
constexpr uint32_t kShortQueue = 128;

std::vector<IncastOptions> Patterns() {
  std::vector<IncastOptions> patterns;
  for (const uint32_t queue : {IncastOptions().queue_packets, kShortQueue}) {
    patterns.push_back({.queue_packets = queue});
    patterns.push_back({.direction = Direction::kReplies, .queue_packets = queue});
    patterns.push_back({.message_bytes = 1400, .outstanding = 32, .queue_packets = queue});
  }
  return patterns;
}

void AddTo(Report* report, const std::string& name, const IncastResult& result) {
  report->Add(name + ", goodput", "of link", {result.goodput});
  report->Add(name + ", fairness", "Jain", {result.fairness});
  report->Add(name + ", queue, mean", "packets", {result.queue_mean});
  report->Add(name + ", queue, p99", "packets", {result.queue_p99});
  report->Add(name + ", queue, highest", "packets", {result.queue_max});
  report->Add(name + ", sent again", "of packets", {result.retransmitted});
  report->Add(name + ", dropped", "of packets", {result.dropped});
  report->Add(name + ", p50", "us", {result.p50_us});
  report->Add(name + ", p99", "us", {result.p99_us});
}

int Main() {
  const bool quick = absl::GetFlag(FLAGS_quick);
  Report report;
  Bars bars;
  bool failed = false;
  std::printf("%-54s %7s %8s %6s %5s %5s %6s %7s %9s %9s\n", "", "goodput", "fairness", "queue",
              "p99", "max", "again", "dropped", "p50, us", "p99, us");
  for (IncastOptions options : Patterns()) {
    options.senders = absl::GetFlag(FLAGS_senders);
    options.seed = absl::GetFlag(FLAGS_seed);
    options.duration = quick ? absl::Milliseconds(50) : absl::GetFlag(FLAGS_duration);
    for (const std::string& algorithm : absl::GetFlag(FLAGS_algorithms)) {
      options.algorithm = algorithm;
      const std::string name = options.Name();
      const absl::StatusOr<IncastResult> result = RunIncast(options);
      if (!result.ok()) {
        std::printf("%-54s %s\n", name.c_str(), std::string(result.status().message()).c_str());
        failed = true;
        continue;
      }
      const IncastResult& r = *result;
      std::printf("%-54s %7.3f %8.3f %6.0f %5.0f %5.0f %5.1f%% %6.1f%% %9.0f %9.0f%s\n",
                  name.c_str(), r.goodput, r.fairness, r.queue_mean, r.queue_p99, r.queue_max,
                  r.retransmitted * 100, r.dropped * 100, r.p50_us, r.p99_us,
                  r.failures > 0 ? absl::StrFormat("  %u calls FAILED", r.failures).c_str() : "");
      std::fflush(stdout);
      failed = failed || r.failures > 0;
      AddTo(&report, name, r);
      if (algorithm != kDefaultAlgorithm) continue;
      bars.AtLeast(name + ", goodput / link", r.goodput, kGoodputMin);
      bars.AtLeast(name + ", fairness", r.fairness, kFairnessMin);
    }
  }
  std::printf("\n%s", bars.Table().c_str());
  return report.Finish("rpc_incast", absl::GetFlag(FLAGS_json), failed);
}

}  // namespace
}  // namespace weft::benchmarks

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "Measures incast over a simulated network; docs/performance.md explains.");
  absl::ParseCommandLine(argc, argv);
  return weft::benchmarks::Main();
}
