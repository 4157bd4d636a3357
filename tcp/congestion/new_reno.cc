// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/congestion/new_reno.h"

#include <algorithm>

namespace weft::tcp {
namespace {

struct Memory {
  uint32_t credit_bytes;
};

class NewRenoAlgorithm final : public CongestionAlgorithm {
 public:
  absl::string_view name() const override { return "new_reno"; }

  void Init(CongestionState& /*state*/, uint32_t /*mss*/) const override {}

  void OnAck(CongestionState& state, const AckSample& sample) const override {
    if (!sample.cwnd_limited) return;
    const uint32_t left = GrowInSlowStart(state, sample.acked_bytes, sample.mss);
    GrowInCongestionAvoidance(state, left, sample.mss, state.Own<Memory>().credit_bytes);
  }

  void OnLoss(CongestionState& state, const CongestionEvent& event) const override {
    state.ssthresh_bytes = HalfOfFlight(event);
    state.Own<Memory>().credit_bytes = 0;
  }

  void OnTimeout(CongestionState& state, const CongestionEvent& event) const override {
    OnLoss(state, event);
  }

  void OnEcn(CongestionState& state, const CongestionEvent& event) const override {
    OnLoss(state, event);
  }
};

}  // namespace

const CongestionAlgorithm& NewReno() {
  static const NewRenoAlgorithm kAlgorithm;
  return kAlgorithm;
}

uint32_t GrowInSlowStart(CongestionState& state, uint32_t acked_bytes, uint32_t mss) {
  if (!state.in_slow_start()) return acked_bytes;
  const uint32_t counted = std::min(acked_bytes, kSlowStartSegmentsMax * mss);
  const uint32_t growth = std::min(counted, state.ssthresh_bytes - state.cwnd_bytes);
  state.SetWindow(uint64_t{state.cwnd_bytes} + growth);
  return counted - growth;
}

void GrowInCongestionAvoidance(CongestionState& state, uint32_t acked_bytes, uint32_t mss,
                               uint32_t& credit_bytes) {
  uint64_t credit = uint64_t{credit_bytes} + acked_bytes;
  while (credit >= state.cwnd_bytes && credit > 0) {
    credit -= state.cwnd_bytes;
    state.SetWindow(uint64_t{state.cwnd_bytes} + mss);
  }
  credit_bytes = static_cast<uint32_t>(credit);
}

uint32_t HalfOfFlight(const CongestionEvent& event) {
  return std::max(event.in_flight_bytes / 2, 2 * event.mss);
}

}  // namespace weft::tcp
