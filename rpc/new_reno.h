// SPDX-License-Identifier: Apache-2.0
//
// NewReno: congestion control by loss, as TCP has it. The window doubles each round trip until the
// first loss (slow start), then grows by a packet each round trip (congestion avoidance); it is
// halved once for each window in which packets are lost, and falls to 1 at a timeout.
//
// RFC 5681; RFC 6582 for the end of recovery; RFC 6675 for the window while recovering: it is
// compared with what is in flight, so it is neither inflated nor deflated. What differs: packets
// have no sequence numbers here, so a window of loss ends when as many packets have been
// acknowledged as were in flight when it began. Windows are kept over idle times.
#ifndef WEFT_RPC_NEW_RENO_H_
#define WEFT_RPC_NEW_RENO_H_

#include <cstdint>
#include <limits>
#include <memory>

#include "weft/rpc/congestion_control.h"

namespace weft::rpc {

class NewReno final : public CongestionControl {
 public:
  explicit NewReno(const CongestionOptions& options);

  static std::unique_ptr<CongestionControl> Make(const CongestionOptions& options) {
    return std::make_unique<NewReno>(options);
  }

  double window() const override { return window_; }
  bool in_slow_start() const { return window_ < threshold_; }
  bool in_recovery() const { return recovering_; }

 private:
  void HandleAck(const Acked& acked) override;
  void HandleLoss(const Lost& lost) override;
  void HandleTimeout(int64_t now_ns, uint32_t in_flight) override;

  void SetWindow(double window);

  const CongestionOptions& options_;
  double window_;                                               // cwnd
  double threshold_ = std::numeric_limits<double>::infinity();  // ssthresh
  uint32_t recover_packets_ = 0;  // to be acknowledged until a loss counts again ("recover")
  bool recovering_ = false;       // from a loss; the window stays
  bool timed_out_ = false;        // and nothing has been acknowledged since
};

static_assert(sizeof(NewReno) <= 128, "there is one for each direction of each session");

}  // namespace weft::rpc

#endif  // WEFT_RPC_NEW_RENO_H_
