// SPDX-License-Identifier: Apache-2.0
//
// TCP on a virtual clock: goodput through losses against what RFC 9438 says of CUBIC, and how two
// flows share a link; docs/performance.md explains the figures. The machine makes no difference to
// what comes out.
//
//   tcp_sim            all tables, a minute
//   tcp_sim --quick    what the bars need, some seconds
//   tcp_sim --run --congestion_control=dctcp --flows=2 --rate_mbps=100 --queue_packets=84
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "weft/benchmarks/report.h"
#include "weft/benchmarks/tcp_simulation.h"

ABSL_FLAG(bool, quick, false, "only what the bars need");
ABSL_FLAG(std::string, json, "", "also write the figures to this file");
ABSL_FLAG(uint64_t, seed, 1, "of everything that is random");
ABSL_FLAG(bool, run, false, "only one simulation, which the flags below describe");
ABSL_FLAG(std::string, congestion_control, "cubic", "by name");
ABSL_FLAG(uint32_t, flows, 1, "that share the link");
ABSL_FLAG(double, loss, 0, "part of the data's packets that is lost");
ABSL_FLAG(double, ack_loss, 0, "part of the acknowledgements that is lost");
ABSL_FLAG(double, rtt_ms, 10, "round trip without queues");
ABSL_FLAG(double, rate_mbps, 0, "of the link; 0: as fast as you like");
ABSL_FLAG(double, queue_packets, 0, "that the link's queue holds");
ABSL_FLAG(double, mark_above_packets, 0, "in the queue, from where on they are marked (ECN)");
ABSL_FLAG(double, apart_s, 0, "each flow begins so much after the one before");
ABSL_FLAG(double, seconds, 60, "that are measured");

namespace weft::benchmarks {
namespace {

using Options = TcpSimulationOptions;
using Result = TcpSimulationResult;

constexpr double kBarGoodput = 0.9;
constexpr double kBarJain = 0.95;
constexpr double kNsPerS = 1e9;
constexpr double kNsPerMs = 1e6;
constexpr double kPacketBytes = 1538;  // on the wire
constexpr double kMega = 1e6;

int64_t Ns(double seconds) { return static_cast<int64_t>(seconds * kNsPerS); }

class Program {
 public:
  int Main() {
    if (absl::GetFlag(FLAGS_run)) {
      One();
    } else {
      Losses();
      Fairness();
    }
    std::printf("\n%s", bars_.Table().c_str());
    return report_.Finish("tcp_sim", absl::GetFlag(FLAGS_json), !bars_.all_met());
  }

 private:
  static bool quick() { return absl::GetFlag(FLAGS_quick); }
  static Options Base(const char* algorithm) {
    Options options;
    options.congestion_control = algorithm;
    options.seed = absl::GetFlag(FLAGS_seed);
    options.measured_ns = Ns(absl::GetFlag(FLAGS_seconds));
    return options;
  }

  // One flow that nothing but losses holds back.
  void Losses() {
    std::printf("%-34s %10s %10s %7s %9s %9s\n", "losses", "RFC, Mb/s", "goodput", "ratio",
                "resent", "timeouts");
    for (const char* algorithm : {"cubic", "new_reno", "dctcp"}) {
      for (const double loss : {0.001, 0.01, 0.03}) {
        for (const double rtt_ms : {1.0, 2.0, 10.0, 100.0}) {
          // 1 ms of delay may be the round trip's, or each way's.
          const bool bar = std::string(algorithm) == "cubic" && loss == 0.01 && rtt_ms <= 2;
          if (quick() && !bar) continue;
          Options options = Base(algorithm);
          options.loss = loss;
          options.ack_loss = loss;
          options.rtt_ns = static_cast<int64_t>(rtt_ms * kNsPerMs);
          options.warm_up_ns = Ns(2);
          const double ratio = Lose(
              options, absl::StrFormat("%s, %g %% loss, %g ms", algorithm, loss * 100, rtt_ms));
          if (!bar) continue;
          bars_.AtLeast(absl::StrFormat("cubic, 1 %% loss, %g ms: goodput / RFC 9438", rtt_ms),
                        ratio, kBarGoodput);
        }
      }
    }
  }
  double Lose(const Options& options, const std::string& name) {
    const Result result = SimulateTcp(options);
    const double theory_bps = CubicWindow(options.loss, options.rtt_ns) * result.mss * 8 /
                              (static_cast<double>(options.rtt_ns) / kNsPerS);
    const double ratio = result.goodput_bps[0] / theory_bps;
    std::printf("%-34s %10.2f %10.2f %7.3f %9llu %9llu\n", name.c_str(), theory_bps / kMega,
                result.goodput_bps[0] / kMega, ratio, Whole(result.retransmissions),
                Whole(result.timeouts));
    std::fflush(stdout);
    report_.Add(name + ", goodput", "Mb/s", {result.goodput_bps[0] / kMega}, theory_bps / kMega);
    return ratio;
  }

  // Two flows, a link of 100 Mb/s whose queue holds what is on its way. Where few packets are lost
  // it takes CUBIC minutes to divide it: of 650 at once each plateau lasts 6 s (RFC 9438, 4.2).
  void Fairness() {
    FairnessHeading();
    for (const char* algorithm : {"cubic", "new_reno", "dctcp"}) {
      for (const double rtt_ms : {2.0, 10.0, 40.0}) {
        for (const double apart_s : {0.0, 5.0}) {
          const bool bar = std::string(algorithm) == "cubic" && rtt_ms <= 10;
          if (quick() && !bar) continue;
          Options options = Base(algorithm);
          options.flows = 2;
          options.rtt_ns = static_cast<int64_t>(rtt_ms * kNsPerMs);
          options.rate_bps = 100 * kMega;
          options.queue_bytes = options.rate_bps / 8 * rtt_ms / 1000;
          if (std::string(algorithm) == "dctcp") {
            // A seventh of what is on its way (Alizadeh et al., "Data Center TCP", 2010, 3.4).
            options.mark_above_bytes = std::max(options.queue_bytes / 7, 5 * kPacketBytes);
          }
          options.start_apart_ns = Ns(apart_s);
          options.warm_up_ns = Ns(rtt_ms <= 10 ? 10 : 120);
          const double jain =
              Share(options, absl::StrFormat("%s, %g ms, %g s apart", algorithm, rtt_ms, apart_s));
          if (!bar) continue;
          bars_.AtLeast(absl::StrFormat("cubic, 2 flows, %g ms, %g s apart: Jain", rtt_ms, apart_s),
                        jain, kBarJain);
        }
      }
    }
  }
  static void FairnessHeading() {
    std::printf("\n%-34s %7s %10s %10s %12s %9s %9s\n", "flows that share a link", "Jain", "first",
                "second", "utilization", "dropped", "timeouts");
  }
  double Share(const Options& options, const std::string& name) {
    const Result result = SimulateTcp(options);
    std::printf("%-34s %7.3f %10.2f %10.2f %12.3f %9llu %9llu\n", name.c_str(), result.jain,
                result.goodput_bps.front() / kMega, result.goodput_bps.back() / kMega,
                result.utilization, Whole(result.dropped), Whole(result.timeouts));
    std::fflush(stdout);
    report_.Add(name + ", Jain", "", {result.jain});
    report_.Add(name + ", utilization", "", {result.utilization});
    return result.jain;
  }

  void One() {
    Options options = Base("");
    options.congestion_control = absl::GetFlag(FLAGS_congestion_control);
    options.flows = absl::GetFlag(FLAGS_flows);
    options.loss = absl::GetFlag(FLAGS_loss);
    options.ack_loss = absl::GetFlag(FLAGS_ack_loss);
    options.rtt_ns = static_cast<int64_t>(absl::GetFlag(FLAGS_rtt_ms) * kNsPerMs);
    options.rate_bps = absl::GetFlag(FLAGS_rate_mbps) * kMega;
    options.queue_bytes = absl::GetFlag(FLAGS_queue_packets) * kPacketBytes;
    options.mark_above_bytes = absl::GetFlag(FLAGS_mark_above_packets) * kPacketBytes;
    options.start_apart_ns = Ns(absl::GetFlag(FLAGS_apart_s));
    FairnessHeading();
    Share(options, options.congestion_control);
  }
  static unsigned long long Whole(uint64_t number) { return number; }

  Report report_;
  Bars bars_;
};

}  // namespace
}  // namespace weft::benchmarks

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Simulates TCP on a link; docs/performance.md explains.");
  absl::ParseCommandLine(argc, argv);
  return weft::benchmarks::Program().Main();
}
