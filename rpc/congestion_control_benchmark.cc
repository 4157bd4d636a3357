// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <memory>
#include <string>

#include "benchmark/benchmark.h"
#include "weft/rpc/congestion_control.h"

namespace weft::rpc {
namespace {

// Bursts of 4 acknowledgements.
void Acknowledge(benchmark::State& state, const std::string& algorithm, int64_t rtt_ns,
                 bool full_window) {
  const CongestionOptions options{.algorithm = algorithm};
  const std::unique_ptr<CongestionControl> control = MakeCongestionControl(options);
  int64_t now_ns = 0;
  // Until the window is as it is going to be.
  for (int i = 0; i < 1'000'000; ++i) {
    control->OnAck({.now_ns = now_ns += 1000,
                    .rtt_ns = 10'000,
                    .packets = 4,
                    .in_flight = full_window ? control->window_packets() : 0});
  }
  for (auto _ : state) {
    now_ns += 1000;
    const uint32_t in_flight = full_window ? control->window_packets() : 0;
    control->OnAck({.now_ns = now_ns, .rtt_ns = rtt_ns, .packets = 4, .in_flight = in_flight});
    benchmark::ClobberMemory();
  }
}

void BM_Quiet(benchmark::State& state, const std::string& algorithm) {
  Acknowledge(state, algorithm, 10'000, false);
}
BENCHMARK_CAPTURE(BM_Quiet, swift, std::string("swift"));
BENCHMARK_CAPTURE(BM_Quiet, new_reno, std::string("new_reno"));

// The window at its maximum.
void BM_QuietAndFull(benchmark::State& state, const std::string& algorithm) {
  Acknowledge(state, algorithm, 10'000, true);
}
BENCHMARK_CAPTURE(BM_QuietAndFull, swift, std::string("swift"));
BENCHMARK_CAPTURE(BM_QuietAndFull, new_reno, std::string("new_reno"));

// Above the target.
void BM_Congested(benchmark::State& state, const std::string& algorithm) {
  Acknowledge(state, algorithm, 1'000'000, true);
}
BENCHMARK_CAPTURE(BM_Congested, swift, std::string("swift"));

}  // namespace
}  // namespace weft::rpc
