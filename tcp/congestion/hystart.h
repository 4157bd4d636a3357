// SPDX-License-Identifier: Apache-2.0
//
// HyStart++ (RFC 9406): ends slow start when round trips become longer, before the queue overflows.
// Names and constants are those of its section 4.2 and 4.3.
#ifndef WEFT_TCP_CONGESTION_HYSTART_H_
#define WEFT_TCP_CONGESTION_HYSTART_H_

#include <algorithm>
#include <cstdint>

#include "weft/tcp/congestion/congestion_control.h"

namespace weft::tcp {

// Zero bytes are a new one.
class HyStart {
 public:
  static constexpr uint32_t kThresholdMinUs = 4'000;   // MIN_RTT_THRESH
  static constexpr uint32_t kThresholdMaxUs = 16'000;  // MAX_RTT_THRESH
  static constexpr uint32_t kRttDivisor = 8;           // MIN_RTT_DIVISOR
  static constexpr uint8_t kSamples = 8;               // N_RTT_SAMPLE
  static constexpr uint32_t kGrowthDivisor = 4;        // CSS_GROWTH_DIVISOR
  static constexpr uint8_t kConservativeRounds = 5;    // CSS_ROUNDS

  // Conservative slow start: the window grows by a part only, while it is seen whether delay stays.
  bool conservative() const { return baseline_us_ != 0; }

  // Takes a sample. True: slow start is over.
  bool OnAck(const AckSample& sample) {
    // What acknowledges the last byte of a round is a sample of it: the next one would begin with a
    // round trip of the past, and not see that they have become longer.
    if (!has_round_ || sample.una > round_end_) {
      if (has_round_ && conservative() && ++conservative_rounds_ >= kConservativeRounds)
        return true;
      has_round_ = true;
      round_end_ = sample.next;
      last_min_us_ = current_min_us_;
      current_min_us_ = 0;
      samples_ = 0;
    }
    if (sample.rtt_ns <= 0) return false;
    const auto rtt_us =
        static_cast<uint32_t>(std::clamp<int64_t>(sample.rtt_ns / 1000, 1, 0xffff'ffff));
    current_min_us_ = current_min_us_ == 0 ? rtt_us : std::min(current_min_us_, rtt_us);
    if (samples_ < kSamples) ++samples_;
    if (samples_ < kSamples) return false;
    if (conservative()) {
      // It was a burst and no queue.
      if (current_min_us_ < baseline_us_) {
        baseline_us_ = 0;
        conservative_rounds_ = 0;
      }
    } else if (last_min_us_ != 0 && current_min_us_ >= last_min_us_ + Threshold()) {
      baseline_us_ = current_min_us_;
    }
    return false;
  }

 private:
  uint32_t Threshold() const {
    return std::clamp(last_min_us_ / kRttDivisor, kThresholdMinUs, kThresholdMaxUs);
  }

  Seq round_end_;
  uint32_t last_min_us_ = 0;     // lastRoundMinRTT; 0: infinite
  uint32_t current_min_us_ = 0;  // currentRoundMinRTT
  uint32_t baseline_us_ = 0;     // cssBaselineMinRtt; 0: not in conservative slow start
  uint8_t samples_ = 0;          // rttSampleCount, up to kSamples
  uint8_t conservative_rounds_ = 0;
  bool has_round_ = false;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_CONGESTION_HYSTART_H_
