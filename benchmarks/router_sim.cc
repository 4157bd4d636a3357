// SPDX-License-Identifier: Apache-2.0
//
// Routers and thousands of servers on a virtual clock: what policies do to response times, against
// theory; docs/performance.md explains the figures. The machine makes no difference to what comes
// out.
//
//   router_sim                                   all tables, some minutes
//   router_sim --quick                           the same with a tenth of the requests
//   router_sim --plot=p99.svg                    and p99 against load for each policy, as a picture
//   router_sim --run --policy=jbsq --slots=3 --servers=4000 --service=bimodal --delay=0.2
#include <chrono>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "weft/benchmarks/plot.h"
#include "weft/benchmarks/report.h"
#include "weft/benchmarks/router_simulation.h"
#include "weft/r2p2/policy/policy.h"

ABSL_FLAG(bool, quick, false, "a tenth of the requests");
ABSL_FLAG(std::string, json, "", "also write the figures to this file");
ABSL_FLAG(std::string, plot, "", "draw p99 against load as this .svg or .png file (gnuplot)");
ABSL_FLAG(bool, run, false, "only one simulation, which the flags below describe");
ABSL_FLAG(std::string, policy, "jbsq", "by name");
ABSL_FLAG(uint32_t, servers, 16, "of which each works on one request at a time");
ABSL_FLAG(uint32_t, slots, 2, "of a server, with jbsq; divided among routers");
ABSL_FLAG(uint32_t, routers, 1, "or workers of one, each with slots and a queue of its own");
ABSL_FLAG(double, load, 0.9, "part of the time that servers work");
ABSL_FLAG(std::string, service, "exponential",
          "service times: fixed, exponential, bimodal:P,SHORT,LONG, trace:FILE");
ABSL_FLAG(double, delay, 0, "of each message, in mean service times");
ABSL_FLAG(double, request_loss, 0, "part of the requests lost on the way to servers");
ABSL_FLAG(double, feedback_loss, 0, "part of the FEEDBACK lost");
ABSL_FLAG(bool, original_feedback, false, "as servers of the original give it: once");
ABSL_FLAG(double, lease, 100, "after which a slot comes back, in mean service times");
ABSL_FLAG(uint64_t, requests, 10'000'000, "of each simulation");
ABSL_FLAG(uint64_t, seed, 1, "of everything that is random");

namespace weft::benchmarks {
namespace {

using Options = RouterSimulationOptions;
using Result = RouterSimulationResult;

constexpr double kBarOneQueue = 1.25;
constexpr double kBarRandom = 0.1;
constexpr double kBarLoss = 1.2;

class Program {
 public:
  int Main() {
    const std::string plot = absl::GetFlag(FLAGS_plot);
    if (const absl::Status status = CheckPlotPath(plot); !plot.empty() && !status.ok()) {
      std::fprintf(stderr, "router_sim: %s\n", std::string(status.message()).c_str());
      return 2;
    }
    if (absl::GetFlag(FLAGS_run)) {
      One();
    } else {
      Theory();
      Loss();
      Policies();
      Routers();
    }
    if (!plot.empty()) Plot(plot);
    std::printf("\n%s", bars_.Table().c_str());
    return report_.Finish("router_sim", absl::GetFlag(FLAGS_json), failed_);
  }

 private:
  static uint64_t Requests(uint64_t divisor = 1) {
    return absl::GetFlag(FLAGS_requests) / divisor / (absl::GetFlag(FLAGS_quick) ? 10 : 1);
  }
  static void Heading(const char* text) {
    std::printf("\n%-66s %7s %7s %7s %7s %8s %7s %6s\n", text, "theory", "p99", "p50", "p99.9",
                "queue", "leases", "s");
  }

  // Shows it and adds it to the report; zeros when it failed.
  Result Run(const Options& options, const std::string& prefix, double theory = 0) {
    const std::string name = absl::StrCat(prefix, options.Name());
    const auto begin = std::chrono::steady_clock::now();
    const absl::StatusOr<Result> result = SimulateRouter(options);
    if (!result.ok()) {
      std::printf("%-66s %s\n", name.c_str(), std::string(result.status().message()).c_str());
      failed_ = true;
      return {};
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    const std::string expected = theory > 0 ? absl::StrFormat("%.2f", theory) : "";
    std::printf("%-66s %7s %7.2f %7.2f %7.2f %8.2f %7llu %6.1f", name.c_str(), expected.c_str(),
                result->p99, result->p50, result->p999, result->queue_mean,
                Whole(result->leases_expired), took.count());
    if (result->refused > 0) std::printf("  %llu refused", Whole(result->refused));
    if (result->requests_lost > 0) std::printf("  %llu lost", Whole(result->requests_lost));
    if (result->slots_lost > 0) std::printf("  %llu SLOTS LOST", Whole(result->slots_lost));
    std::printf("\n");
    std::fflush(stdout);
    const auto floor = theory > 0 ? std::optional<double>(theory) : std::nullopt;
    report_.Add(name + ", p99", "service times", {result->p99}, floor);
    report_.Add(name + ", p50", "service times", {result->p50});
    failed_ = failed_ || result->slots_lost > 0;
    return *result;
  }
  static unsigned long long Whole(uint64_t number) { return number; }

  void One() {
    Options options = {.policy = absl::GetFlag(FLAGS_policy),
                       .servers = absl::GetFlag(FLAGS_servers),
                       .slots = absl::GetFlag(FLAGS_slots),
                       .routers = absl::GetFlag(FLAGS_routers),
                       .load = absl::GetFlag(FLAGS_load),
                       .delay = absl::GetFlag(FLAGS_delay),
                       .request_loss = absl::GetFlag(FLAGS_request_loss),
                       .feedback_loss = absl::GetFlag(FLAGS_feedback_loss),
                       .lease = absl::GetFlag(FLAGS_lease),
                       .requests = Requests(),
                       .seed = absl::GetFlag(FLAGS_seed)};
    if (absl::GetFlag(FLAGS_original_feedback)) options.feedback = Options::Feedback::kOriginal;
    Heading(absl::GetFlag(FLAGS_service).c_str());
    absl::StatusOr<ServiceTimes> service = ServiceTimes::Parse(absl::GetFlag(FLAGS_service));
    if (!service.ok()) {
      std::printf("%s\n", std::string(service.status().message()).c_str());
      failed_ = true;
      return;
    }
    options.service = *std::move(service);
    Run(options, "");
  }

  // 16 servers, exponential, load 0.9. One queue for all is jbsq(1) where nothing takes time.
  void Theory() {
    Heading("against theory (exponential)");
    Options options = Base();
    options.policy = "random";
    const double theory = TheoryRandom(options.load);
    const Result random = Run(options, "", theory);
    options.policy = "jbsq";
    options.slots = 1;
    const Result one_queue = Run(options, "one queue: ", TheoryOneQueue(16, options.load));
    options.slots = 2;
    jbsq_ = Run(options, "", 6.1);
    options.slots = 3;
    Run(options, "", 6.5);
    bars_.AtMost("random, p99 / theory", random.p99 / theory, 1 + kBarRandom);
    bars_.AtLeast("random, p99 / theory", random.p99 / theory, 1 - kBarRandom);
    bars_.AtMost("jbsq(2), p99 / one queue", jbsq_.p99 / one_queue.p99, kBarOneQueue);
  }

  void Loss() {
    Heading("FEEDBACK that is lost (exponential)");
    Options options = Base();
    options.feedback_loss = 0.01;
    const Result lossy = Run(options, "");
    bars_.AtMost("1 % of FEEDBACK lost, p99 / none lost", lossy.p99 / jbsq_.p99, kBarLoss);
    bars_.AtMost("1 % of FEEDBACK lost, slots lost", static_cast<double>(lossy.slots_lost), 0);
    // There, what is lost is known when the lease ends, and not before.
    options.feedback = Options::Feedback::kOriginal;
    options.lease = 10;
    Run(options, "");
    options = Base();
    options.feedback_loss = 0.01;
    options.request_loss = 0.001;
    Run(options, "");
  }

  void Policies() {
    for (const char* service : {"fixed", "exponential", "bimodal:0.9,0.5,5.5"}) {
      Heading(absl::StrCat("policies, messages take 0.2 (", service, ")").c_str());
      for (const absl::string_view policy : r2p2::PolicyNames()) {
        Options options = Base();
        options.policy = std::string(policy);
        options.servers = 1000;
        options.load = 0.8;
        options.delay = 0.2;
        options.requests = Requests(5);
        options.service = *ServiceTimes::Parse(service);
        Run(options, absl::StrCat(std::string(service).substr(0, 7), ": "));
      }
    }
  }

  void Routers() {
    Heading("several routers, slots divided (exponential)");
    for (const size_t routers : {1, 2, 4, 8}) {
      Options options = Base();
      options.servers = 64;
      options.slots = 8;
      options.routers = routers;
      options.load = 0.8;
      options.requests = Requests(5);
      Run(options, "");
    }
  }

  void Plot(const std::string& path) {
    std::vector<PlotSeries> series;
    for (const absl::string_view policy : r2p2::PolicyNames()) {
      if (policy == "affinity" || policy == "weighted") continue;  // here, much as random
      PlotSeries& curve = series.emplace_back(PlotSeries{std::string(policy), {}});
      for (double load = 0.1; load < 0.99; load += load < 0.75 ? 0.1 : 0.05) {
        Options options = Base();
        options.policy = curve.name;
        options.load = load;
        options.requests = Requests(10);
        if (const auto result = SimulateRouter(options); result.ok()) {
          curve.points.emplace_back(load, result->p99);
        }
      }
    }
    const absl::Status drawn = DrawPlot(
        path,
        {.title = "16 servers, exponential service times", .x = "load", .y = "p99, service times"},
        series);
    std::printf("\n%s\n", drawn.ok() ? absl::StrCat("drawn: ", path).c_str()
                                     : std::string(drawn.message()).c_str());
    // A missing tool is no failure.
    failed_ = failed_ || (!drawn.ok() && drawn.code() != absl::StatusCode::kUnimplemented);
  }

  static Options Base() { return {.requests = Requests(), .seed = absl::GetFlag(FLAGS_seed)}; }

  Report report_;
  Bars bars_;
  Result jbsq_;  // with two slots, when nothing is lost
  bool failed_ = false;
};

}  // namespace
}  // namespace weft::benchmarks

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "Simulates routers and their servers; docs/performance.md explains.");
  absl::ParseCommandLine(argc, argv);
  return weft::benchmarks::Program().Main();
}
