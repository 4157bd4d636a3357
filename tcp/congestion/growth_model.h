// SPDX-License-Identifier: Apache-2.0
//
// GrowthModel: for tests, an algorithm in a loop of its own: a window of segments a round trip,
// each acknowledged, some lost or marked.
#ifndef WEFT_TCP_CONGESTION_GROWTH_MODEL_H_
#define WEFT_TCP_CONGESTION_GROWTH_MODEL_H_

#include <algorithm>
#include <cstdint>

#include "weft/tcp/congestion/congestion_control.h"

namespace weft::tcp {

class GrowthModel {
 public:
  GrowthModel(const CongestionAlgorithm& algorithm, uint32_t mss, int64_t rtt_ns,
              uint32_t initial_window_packets = 10)
      : mss_(mss), rtt_ns_(rtt_ns) {
    state_.Start(algorithm, mss, initial_window_packets);
  }

  CongestionState& state() { return state_; }
  double window() const { return static_cast<double>(state_.cwnd_bytes) / mss_; }
  int64_t now_ns() const { return now_ns_; }
  void set_rtt_ns(int64_t rtt_ns) { rtt_ns_ = rtt_ns; }
  void Pass(int64_t ns) { now_ns_ += ns; }  // nothing is sent

  // A round trip in which all that was sent is acknowledged, evenly; `marked` of it with an ECN
  // echo.
  void Round(double marked = 0, bool limited = true) {
    const uint32_t segments = std::max<uint32_t>(state_.cwnd_bytes / mss_, 1);
    const Seq end = una_ + segments * mss_;
    for (uint32_t i = 0; i < segments; ++i) {
      now_ns_ += rtt_ns_ / segments;
      una_ += mss_;
      const bool is_marked = i < marked * segments;
      state_.OnAck(Sample(end, is_marked, limited));
    }
  }

  // Something of this window was lost: the window is at once where recovery would lead it.
  void Lose() {
    state_.OnLoss(Event());
    state_.SetWindow(state_.ssthresh_bytes);
    now_ns_ += rtt_ns_;
    una_ += state_.cwnd_bytes;
  }

  CongestionEvent Event() const {
    return {.now_ns = now_ns_,
            .in_flight_bytes = state_.cwnd_bytes,
            .mss = mss_,
            .next = una_ + state_.cwnd_bytes};
  }

  // The average window, in segments, when one of each `one_of` segments is lost.
  double AverageWindow(uint64_t one_of, int losses) {
    uint64_t sent = 0;
    double area = 0;
    double rounds = 0;
    int seen = 0;
    while (seen < losses) {
      const bool counts = seen >= losses / 3;
      sent += static_cast<uint64_t>(window());
      area += counts ? window() : 0;
      rounds += counts ? 1 : 0;
      Round();
      if (sent >= one_of) {
        sent -= one_of;
        ++seen;
        Lose();
      }
    }
    return area / rounds;
  }

 private:
  AckSample Sample(Seq round_end, bool marked, bool limited) const {
    return {.now_ns = now_ns_,
            .acked_bytes = mss_,
            .ecn_bytes = marked ? mss_ : 0,
            .rtt_ns = rtt_ns_,
            .srtt_ns = rtt_ns_,
            .mss = mss_,
            .cwnd_limited = limited,
            .una = una_,
            .next = Max(round_end, una_ + state_.cwnd_bytes)};
  }

  CongestionState state_;
  uint32_t mss_;
  int64_t rtt_ns_;
  int64_t now_ns_ = 1'000'000'000;
  Seq una_;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_CONGESTION_GROWTH_MODEL_H_
