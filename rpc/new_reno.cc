// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/new_reno.h"

#include <algorithm>

namespace weft::rpc {
namespace {

// Half of what was in flight, but at least 2 (RFC 5681, equation 4).
double Half(uint32_t in_flight) { return std::max(in_flight / 2.0, 2.0); }

}  // namespace

NewReno::NewReno(const CongestionOptions& options)
    : options_(options), window_(options.window_initial_packets) {
  SetWindow(window_);
}

void NewReno::HandleAck(const Acked& acked) {
  timed_out_ = false;
  recover_packets_ -= std::min(recover_packets_, acked.packets);
  double window = window_;
  if (recovering_) {
    recovering_ = recover_packets_ > 0;
  } else if (WasFull(acked)) {
    double packets = acked.packets;
    if (in_slow_start()) {
      // What passes the threshold within this burst is of congestion avoidance.
      const double slow_start = std::min(packets, threshold_ - window);
      window += slow_start;
      packets -= slow_start;
    }
    window += packets / window;
  }
  SetWindow(window);
}

void NewReno::HandleLoss(const Lost& lost) {
  // Those of the window that has been answered for already (RFC 6582, 3.2).
  if (recover_packets_ > 0) return;
  threshold_ = Half(lost.in_flight);
  recover_packets_ = lost.in_flight;
  recovering_ = recover_packets_ > 0;
  timed_out_ = false;
  SetWindow(std::min(window_, threshold_));
}

void NewReno::HandleTimeout(int64_t /*now_ns*/, uint32_t in_flight) {
  // What is sent again and lost again says nothing new about the path (RFC 5681, 3.1).
  if (!timed_out_) threshold_ = Half(in_flight);
  timed_out_ = true;
  recovering_ = false;
  recover_packets_ = in_flight;
  SetWindow(1);
}

void NewReno::SetWindow(double window) {
  window_ = std::clamp(window, 1.0, static_cast<double>(options_.window_max_packets));
  Publish(window_, options_.window_max_packets,
          recover_packets_ == 0 && !timed_out_ ? kAnyRttNs : kNoRttNs, 0);
}

}  // namespace weft::rpc
