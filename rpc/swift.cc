// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/swift.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace weft::rpc {
namespace {

// An hour. Longer round trips are taken as so long, so that no sum of them overflows.
constexpr int64_t kRttMaxNs = 3'600'000'000'000;

// Round trips at the smallest window that show a path to be long.
constexpr uint32_t kLateMax = 4;

}  // namespace

Swift::Swift(const CongestionOptions& options)
    : options_(options),
      window_(options.window_initial_packets),
      // Before the first sample, and after a time in which none mattered.
      rtt_ns_(options.target_delay_ns),
      decreased_ns_(std::numeric_limits<int64_t>::min() / 2) {
  // alpha = fs_range / (1 / sqrt(fs_min_cwnd) - 1 / sqrt(fs_max_cwnd)),
  // beta = -alpha / sqrt(fs_max_cwnd).
  const double at_min = 1 / std::sqrt(options.target_range_packets_min);
  const double at_max = 1 / std::sqrt(options.target_range_packets_max);
  scale_slope_ns_ = static_cast<double>(options.target_range_ns) / (at_min - at_max);
  scale_offset_ns_ = -scale_slope_ns_ * at_max;
  SetWindow(window_, 0);
}

// base_target + max(0, min(alpha / sqrt(cwnd) + beta, fs_range)).
int64_t Swift::TargetDelayNs(double window) const {
  const double scaled_ns = std::clamp(scale_slope_ns_ / std::sqrt(window) + scale_offset_ns_, 0.0,
                                      static_cast<double>(options_.target_range_ns));
  return base_ns_ + options_.target_delay_ns + static_cast<int64_t>(scaled_ns);
}

// Finds out whether a path is long. Only the smallest window tells: at any other, those who come to
// a congested path would take it for a long one, raise their targets, and keep it congested.
void Swift::JudgePath(int64_t delay_ns) {
  if (delay_ns <= 2 * (options_.target_delay_ns + options_.target_range_ns)) {
    base_ns_ = 0;
    late_ = 0;
  } else if (delay_ns < target_ns_) {
    base_ns_ = std::min(base_ns_, delay_ns);
    late_ = 0;
  } else if (window_ <= options_.window_min_packets) {
    least_ns_ = late_ == 0 ? delay_ns : std::min(least_ns_, delay_ns);
    if (++late_ < kLateMax) return;
    base_ns_ = least_ns_;
    late_ = 0;
  } else {
    return;
  }
  target_ns_ = TargetDelayNs(window_);
}

// "On receiving ACK".
void Swift::HandleAck(const Acked& acked) {
  timeouts_ = 0;
  double window = window_;
  bool grows = acked.excused;
  if (acked.rtt_ns > 0) {
    const int64_t delay_ns = std::min(acked.rtt_ns, kRttMaxNs);
    rtt_ns_ += (delay_ns - rtt_ns_) / 8;
    if (base_ns_ > 0 || window_ <= options_.window_min_packets) JudgePath(delay_ns);
    if (delay_ns < target_ns_) {
      grows = true;
    } else if (CanDecrease(acked.now_ns)) {
      const double excess = static_cast<double>(delay_ns - target_ns_) / delay_ns;
      window *= std::max(1 - options_.decrease_factor * excess, 1 - options_.decrease_max);
    }
  }
  if (grows && WasFull(acked)) {
    const double increase = options_.increase_packets * acked.packets;
    window += window >= 1 ? increase / window : increase;
  }
  SetWindow(window, acked.now_ns);
}

// "On fast recovery".
void Swift::HandleLoss(const Lost& lost) {
  timeouts_ = 0;
  const bool decrease = CanDecrease(lost.now_ns);
  SetWindow(decrease ? window_ * (1 - options_.decrease_max) : window_, lost.now_ns);
}

// "On retransmit timeout".
void Swift::HandleTimeout(int64_t now_ns, uint32_t /*in_flight*/) {
  if (timeouts_ < options_.timeouts_max) ++timeouts_;
  double window = window_;
  if (timeouts_ >= options_.timeouts_max) {
    window = options_.window_min_packets;
  } else if (CanDecrease(now_ns)) {
    window *= 1 - options_.decrease_max;
  }
  SetWindow(window, now_ns);
}

void Swift::SetWindow(double window, int64_t now_ns) {
  window = std::clamp(window, options_.window_min_packets,
                      static_cast<double>(options_.window_max_packets));
  if (window < window_) decreased_ns_ = now_ns;
  if (window != window_ || target_ns_ == 0) {
    window_ = window;
    target_ns_ = TargetDelayNs(window);
  }
  // A timeout is remembered until the next acknowledgement, which therefore matters; of a long path
  // all do, as each may be the shortest.
  const bool quiet = timeouts_ == 0 && base_ns_ == 0;
  Publish(window, options_.window_max_packets, quiet ? target_ns_ : kNoRttNs,
          window < 1 ? static_cast<int64_t>(static_cast<double>(rtt_ns_) / window) : 0);
}

}  // namespace weft::rpc
