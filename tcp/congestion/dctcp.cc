// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/congestion/dctcp.h"

#include <algorithm>
#include <cassert>

#include "weft/tcp/congestion/new_reno.h"

namespace weft::tcp {
namespace {

constexpr float kGain = 1.0f / 16;  // g, RFC 8257, 4.2

// Names in RFC 8257, 3.3.
struct Memory {
  float alpha;            // DCTCP.Alpha
  uint32_t acked_bytes;   // DCTCP.BytesAcked
  uint32_t marked_bytes;  // DCTCP.BytesMarked
  uint32_t credit_bytes;  // of congestion avoidance
  Seq window_end;         // DCTCP.WindowEnd, if has_window_end
  bool has_window_end;
};

class DctcpAlgorithm final : public CongestionAlgorithm {
 public:
  absl::string_view name() const override { return "dctcp"; }
  bool exact_ecn() const override { return true; }

  // The first mark is answered as a loss would be (RFC 8257, 3.3 and 4.2).
  void Init(CongestionState& state, uint32_t /*mss*/) const override {
    state.Own<Memory>().alpha = 1;
  }

  void OnAck(CongestionState& state, const AckSample& sample) const override {
    OnAckInRecovery(state, sample);
    if (!sample.cwnd_limited) return;
    const uint32_t left = GrowInSlowStart(state, sample.acked_bytes, sample.mss);
    GrowInCongestionAvoidance(state, left, sample.mss, state.Own<Memory>().credit_bytes);
  }

  void OnAckInRecovery(CongestionState& state, const AckSample& sample) const override {
    Memory& memory = state.Own<Memory>();
    if (!memory.has_window_end) {
      memory.has_window_end = true;
      memory.window_end = sample.next;
    }
    memory.acked_bytes += sample.acked_bytes;
    memory.marked_bytes += sample.ecn_bytes;
    if (sample.una < memory.window_end || memory.acked_bytes == 0) return;
    const float marked =
        static_cast<float>(memory.marked_bytes) / static_cast<float>(memory.acked_bytes);
    memory.alpha += kGain * (std::min(marked, 1.0f) - memory.alpha);
    memory.acked_bytes = 0;
    memory.marked_bytes = 0;
    memory.window_end = sample.next;
  }

  void OnEcn(CongestionState& state, const CongestionEvent& event) const override {
    Memory& memory = state.Own<Memory>();
    const auto cut = static_cast<uint32_t>(static_cast<float>(state.cwnd_bytes) * memory.alpha / 2);
    state.ssthresh_bytes = std::max(state.cwnd_bytes - cut, 2 * event.mss);
    memory.credit_bytes = 0;
  }

  void OnLoss(CongestionState& state, const CongestionEvent& event) const override {
    state.ssthresh_bytes = HalfOfFlight(event);
    state.Own<Memory>().credit_bytes = 0;
  }

  void OnTimeout(CongestionState& state, const CongestionEvent& event) const override {
    OnLoss(state, event);
  }
};

}  // namespace

const CongestionAlgorithm& Dctcp() {
  static const DctcpAlgorithm kAlgorithm;
  return kAlgorithm;
}

float DctcpAlpha(const CongestionState& state) {
  assert(state.algorithm == &Dctcp());
  return state.Own<Memory>().alpha;
}

}  // namespace weft::tcp
