// SPDX-License-Identifier: Apache-2.0
//
// Swift: congestion control by delay. Round trips below a target let the window grow by a constant
// each round trip; those above it shrink it in proportion to the excess, once a round trip at most.
// The target is higher for small windows, so that many flows through one queue, whose windows are
// small, leave it room to vary ("flow-based scaling"). Windows below one packet are kept by pacing.
//
// Kumar et al., "Swift: Delay is Simple and Effective for Congestion Control in the Datacenter",
// SIGCOMM 2020: algorithm 1 and section 3.5. What differs:
//   - There is one target for the whole round trip. The paper has a second window against the delay
//     of hosts (3.3), which needs time stamps of the NICs at both ends, and adds to the target for
//     each hop (3.5), which needs the TTL of arriving packets.
//     Instead, a path whose round trips stay above twice the highest target even at the smallest
//     window is taken for a long one, not for a congested one: the target is added to its shortest
//     round trip. (About 60 round trips pass until that is known. Paths that are idle between the
//     target and that need a higher target: they crawl.)
//   - A window grows only while it is full (congestion_control.h).
//   - The round trip that spaces decreases and paces packets is a mean over 8 (as RFC 6298's), so
//     that one sample of a host that slept does not stretch it.
#ifndef WEFT_RPC_SWIFT_H_
#define WEFT_RPC_SWIFT_H_

#include <cstdint>
#include <memory>

#include "weft/rpc/congestion_control.h"

namespace weft::rpc {

class Swift final : public CongestionControl {
 public:
  explicit Swift(const CongestionOptions& options);

  static std::unique_ptr<CongestionControl> Make(const CongestionOptions& options) {
    return std::make_unique<Swift>(options);
  }

  double window() const override { return window_; }

  // The round trip that a window is held against: target_delay_ns and a part of target_range_ns,
  // on a long path on top of the shortest round trip.
  int64_t TargetDelayNs(double window) const;

 private:
  void HandleAck(const Acked& acked) override;
  void HandleLoss(const Lost& lost) override;
  void HandleTimeout(int64_t now_ns, uint32_t in_flight) override;

  void JudgePath(int64_t delay_ns);
  bool CanDecrease(int64_t now_ns) const { return now_ns - decreased_ns_ >= rtt_ns_; }
  void SetWindow(double window, int64_t now_ns);

  const CongestionOptions& options_;
  double scale_slope_ns_;   // alpha
  double scale_offset_ns_;  // beta of section 3.5
  double window_;           // cwnd
  int64_t target_ns_ = 0;   // TargetDelayNs(window_)
  int64_t rtt_ns_;
  int64_t base_ns_ = 0;    // shortest round trip of a long path; 0: not a long one
  int64_t least_ns_ = 0;   // of the round trips counted by late_
  int64_t decreased_ns_;   // t_last_decrease
  uint32_t timeouts_ = 0;  // retransmit_cnt
  uint32_t late_ = 0;      // round trips in a row at the smallest window that a short path has not
};

static_assert(sizeof(Swift) <= 128, "there is one for each direction of each session");

}  // namespace weft::rpc

#endif  // WEFT_RPC_SWIFT_H_
