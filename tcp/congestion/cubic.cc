// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/congestion/cubic.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "weft/tcp/congestion/hystart.h"
#include "weft/tcp/congestion/new_reno.h"

namespace weft::tcp {
namespace {

// RFC 9438, 4.1 and 4.6.
constexpr double kC = 0.4;                                // segments / s^3
constexpr double kBeta = 0.7;                             // of the window that is left
constexpr double kAlpha = 3 * (1 - kBeta) / (1 + kBeta);  // segments a round trip, 4.3
constexpr double kNsPerS = 1e9;

// Congestion avoidance.
struct Growth {
  int64_t epoch_ns;     // when it began; 0: it has not
  int64_t last_ack_ns;  // within the epoch
  double w_est;         // bytes; the window of RFC 5681 (AIMD)
  float w_max;          // bytes; 0: none, K is 0 and the plateau where the epoch begins
  float k_s;            // K
  float fraction;       // bytes of growth, below 1
  uint32_t cwnd_prior;  // bytes
};

// Before the first congestion HyStart's, then the other's.
struct Memory {
  bool has_growth;
  union {
    HyStart hystart;
    Growth growth;
  };
  Growth& StartGrowth() {
    if (!has_growth) growth = Growth{};
    has_growth = true;
    return growth;
  }
};

void BeginEpoch(CongestionState& state, Growth& growth, const AckSample& sample) {
  growth.epoch_ns = sample.now_ns;
  growth.last_ack_ns = sample.now_ns;
  growth.fraction = 0;
  growth.w_est = state.cwnd_bytes;
  const auto cwnd = static_cast<float>(state.cwnd_bytes);
  if (growth.w_max > cwnd) {
    growth.k_s =
        static_cast<float>(std::cbrt((growth.w_max - cwnd) / static_cast<float>(sample.mss) / kC));
  } else {
    // 4.8 and 4.10: after a timeout or HyStart, and after growth beyond the plateau.
    growth.w_max = cwnd;
    growth.k_s = 0;
  }
}

// W_cubic(t), in bytes (equation 1).
double WindowAt(const Growth& growth, double t_s, uint32_t mss) {
  const double from_plateau_s = t_s - growth.k_s;
  return kC * from_plateau_s * from_plateau_s * from_plateau_s * mss + growth.w_max;
}

// 4.2 to 4.5.
void Grow(CongestionState& state, uint32_t acked_bytes, const AckSample& sample) {
  Growth& growth = state.Own<Memory>().StartGrowth();
  if (growth.epoch_ns == 0) BeginEpoch(state, growth, sample);
  // Nor while nothing was sent: the time beyond a round trip in which nothing was acknowledged.
  growth.epoch_ns += std::max<int64_t>(sample.now_ns - growth.last_ack_ns - sample.srtt_ns, 0);
  growth.last_ack_ns = sample.now_ns;
  const double cwnd = state.cwnd_bytes;
  const double t_s = static_cast<double>(sample.now_ns - growth.epoch_ns) / kNsPerS;

  const double alpha = growth.w_est < growth.cwnd_prior ? kAlpha : 1;
  growth.w_est += alpha * acked_bytes / cwnd * sample.mss;
  if (WindowAt(growth, t_s, sample.mss) < growth.w_est) {
    growth.fraction = 0;
    state.SetWindow(std::max<uint64_t>(state.cwnd_bytes, static_cast<uint64_t>(growth.w_est)));
    return;
  }
  const double later_s = t_s + static_cast<double>(sample.srtt_ns) / kNsPerS;
  const double target = std::clamp(WindowAt(growth, later_s, sample.mss), cwnd, 1.5 * cwnd);
  const double wanted = growth.fraction + (target - cwnd) / cwnd * acked_bytes;
  const double whole = std::floor(wanted);
  growth.fraction = static_cast<float>(wanted - whole);
  state.SetWindow(state.cwnd_bytes + static_cast<uint64_t>(whole));
}

class CubicAlgorithm final : public CongestionAlgorithm {
 public:
  absl::string_view name() const override { return "cubic"; }

  void Init(CongestionState& /*state*/, uint32_t /*mss*/) const override {}

  void OnAck(CongestionState& state, const AckSample& sample) const override {
    Memory& memory = state.Own<Memory>();
    if (memory.has_growth && memory.growth.epoch_ns != 0 && !sample.cwnd_limited) {
      // The epoch does not age while the window is not used (5.8).
      memory.growth.epoch_ns += sample.now_ns - memory.growth.last_ack_ns;
      memory.growth.last_ack_ns = sample.now_ns;
    }
    uint32_t acked_bytes = sample.acked_bytes;
    if (state.in_slow_start()) {
      const bool first = !memory.has_growth;
      if (first && memory.hystart.OnAck(sample)) {
        state.ssthresh_bytes = state.cwnd_bytes;  // RFC 9406, 4.2
        memory.StartGrowth().cwnd_prior = state.cwnd_bytes;
      } else {
        if (!first) memory.growth.epoch_ns = 0;
        if (!sample.cwnd_limited) return;
        if (first && memory.hystart.conservative()) acked_bytes = Conservative(sample);
        acked_bytes = GrowInSlowStart(state, acked_bytes, sample.mss);
      }
    }
    if (!sample.cwnd_limited || state.in_slow_start() || acked_bytes == 0) return;
    Grow(state, acked_bytes, sample);
  }

  void OnLoss(CongestionState& state, const CongestionEvent& event) const override {
    Growth& growth = state.Own<Memory>().StartGrowth();
    const uint32_t cwnd = std::min(state.cwnd_bytes, std::max(event.in_flight_bytes, event.mss));
    growth.cwnd_prior = cwnd;
    // Fast convergence: a plateau that is lower than the last one makes room for others (4.7).
    const auto window = static_cast<float>(cwnd);
    growth.w_max = window < growth.w_max ? window * static_cast<float>((1 + kBeta) / 2) : window;
    growth.epoch_ns = 0;
    state.ssthresh_bytes = std::max(static_cast<uint32_t>(cwnd * kBeta), 2 * event.mss);
  }

  // 4.8: the plateau is where congestion avoidance will begin.
  void OnTimeout(CongestionState& state, const CongestionEvent& event) const override {
    OnLoss(state, event);
    state.Own<Memory>().growth.w_max = 0;
  }

  void OnEcn(CongestionState& state, const CongestionEvent& event) const override {
    OnLoss(state, event);
  }

 private:
  // What an acknowledgement counts for in conservative slow start (RFC 9406, 4.2).
  static uint32_t Conservative(const AckSample& sample) {
    return std::min(sample.acked_bytes, kSlowStartSegmentsMax * sample.mss) /
           HyStart::kGrowthDivisor;
  }
};

}  // namespace

const CongestionAlgorithm& Cubic() {
  static const CubicAlgorithm kAlgorithm;
  return kAlgorithm;
}

CubicView ViewCubic(const CongestionState& state) {
  assert(state.algorithm == &Cubic());
  const Memory& memory = state.Own<Memory>();
  if (!memory.has_growth) return {0, 0, false, memory.hystart.conservative()};
  const Growth& growth = memory.growth;
  return {growth.w_max, growth.k_s, growth.epoch_ns != 0, false};
}

}  // namespace weft::tcp
