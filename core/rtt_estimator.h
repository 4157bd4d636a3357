// SPDX-License-Identifier: Apache-2.0
//
// RttEstimator: how long a peer takes to answer, and how long to wait before a packet is sent again
// (RFC 6298), with the least round trip of the last seconds beside it.
//
//   const RttOptions options;  // One for all peers.
//   RttEstimator rtt;
//   rtt.Add(options, now_ns, now_ns - sent_ns);
//   wheel.Schedule(resend, now_ns + rtt.rto_ns(options, retries));
//
// Samples are of packets that were sent once, or whose acknowledgement tells which sending it is
// for (Karn's algorithm, RFC 6298 section 3).
#ifndef WEFT_CORE_RTT_ESTIMATOR_H_
#define WEFT_CORE_RTT_ESTIMATOR_H_

#include <algorithm>
#include <cstdint>
#include <limits>

namespace weft {

// What all estimators of a program share. 1 <= rto_min_ns <= rto_max_ns <= an hour.
struct RttOptions {
  int64_t granularity_ns = 1024;       // G of RFC 6298: a tick of the timer wheel
  int64_t rto_initial_ns = 1'000'000;  // before the first sample
  int64_t rto_min_ns = 200'000;
  int64_t rto_max_ns = 100'000'000;
  int64_t min_window_ns = 10'000'000'000;  // min_rtt_ns() forgets after half to all of this time
};

// A plain value of 40 bytes; not thread-safe.
class RttEstimator {
 public:
  // A round trip that ended at `now_ns`. Samples outside of [1 ns, 1 hour] are taken as the nearer
  // of these.
  void Add(const RttOptions& options, int64_t now_ns, int64_t sample_ns) {
    sample_ns = std::clamp<int64_t>(sample_ns, 1, kSampleMaxNs);
    AddToMin(options, now_ns, sample_ns);
    if (!has_sample()) {
      srtt_8th_ns_ = sample_ns * 8;
      rttvar_4th_ns_ = sample_ns / 2 * 4 + sample_ns % 2 * 2;
      return;
    }
    // The means are kept in eighths and quarters of a nanosecond, so that rounding does not bias
    // them (Jacobson and Karels, "Congestion Avoidance and Control", 1988, appendix A). The
    // variation comes first, from the old mean (RFC 6298, 2.3).
    const int64_t error_ns = sample_ns - srtt_ns();
    rttvar_4th_ns_ += (error_ns < 0 ? -error_ns : error_ns) - (rttvar_4th_ns_ >> 2);
    srtt_8th_ns_ += error_ns;
  }

  bool has_sample() const { return srtt_8th_ns_ != 0; }

  // SRTT and RTTVAR; 0 before the first sample.
  int64_t srtt_ns() const { return srtt_8th_ns_ >> 3; }
  int64_t rttvar_ns() const { return rttvar_4th_ns_ >> 2; }

  // Time to wait for an acknowledgement of a packet that has been sent again `retries` times:
  // SRTT + max(G, 4 * RTTVAR) within the limits, doubled for each retry, at most rto_max_ns.
  int64_t rto_ns(const RttOptions& options, uint32_t retries = 0) const {
    const int64_t wanted_ns = has_sample()
                                  ? srtt_ns() + std::max(options.granularity_ns, rttvar_4th_ns_)
                                  : options.rto_initial_ns;
    const int64_t once_ns = std::clamp(wanted_ns, options.rto_min_ns, options.rto_max_ns);
    if (retries >= 63 || once_ns > options.rto_max_ns >> retries) return options.rto_max_ns;
    return once_ns << retries;
  }

  // The least sample of the last min_window_ns at most; 0 if there is none.
  int64_t min_rtt_ns(const RttOptions& options, int64_t now_ns) const {
    const int64_t age_ns = now_ns - bucket_start_ns_;
    const int64_t half_ns = options.min_window_ns / 2;
    int64_t min_ns = kNone;
    if (age_ns < half_ns) min_ns = previous_min_ns_;
    if (age_ns < 2 * half_ns) min_ns = std::min(min_ns, current_min_ns_);
    return min_ns == kNone ? 0 : min_ns;
  }

 private:
  static constexpr int64_t kSampleMaxNs = 3'600'000'000'000;
  static constexpr int64_t kNone = std::numeric_limits<int64_t>::max();

  // Two buckets of half a window each: the one that is being filled, and the one before it.
  void AddToMin(const RttOptions& options, int64_t now_ns, int64_t sample_ns) {
    const int64_t half_ns = options.min_window_ns / 2;
    const int64_t age_ns = now_ns - bucket_start_ns_;
    if (current_min_ns_ == kNone || age_ns >= 2 * half_ns) {
      previous_min_ns_ = kNone;
      current_min_ns_ = sample_ns;
      bucket_start_ns_ = now_ns;
    } else if (age_ns >= half_ns) {
      previous_min_ns_ = current_min_ns_;
      current_min_ns_ = sample_ns;
      bucket_start_ns_ += half_ns;
    } else {
      current_min_ns_ = std::min(current_min_ns_, sample_ns);
    }
  }

  int64_t srtt_8th_ns_ = 0;
  int64_t rttvar_4th_ns_ = 0;
  int64_t current_min_ns_ = kNone;
  int64_t previous_min_ns_ = kNone;
  int64_t bucket_start_ns_ = 0;
};

static_assert(sizeof(RttEstimator) <= 40, "there may be 100,000 of them");

}  // namespace weft

#endif  // WEFT_CORE_RTT_ESTIMATOR_H_
