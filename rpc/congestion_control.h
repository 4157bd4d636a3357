// SPDX-License-Identifier: Apache-2.0
//
// CongestionControl: how many packets a session may have in the network at once, learnt from the
// delay and the loss of those before. One for each direction of a session that sends; chosen by
// name from a table (CongestionAlgorithms()):
//
//   swift     Keeps the delay near a target, before queues overflow. For a datacenter, and for
//             paths whose delay means something.
//   new_reno  Grows until packets are lost, as TCP. For paths whose delay says nothing.
//   none      No limit other than the credits of the session. Nothing is stored or called.
//
//   CongestionOptions options;  // One for all sessions; outlives what is made from it.
//   if (absl::Status status = options.Validate(); !status.ok()) return status;
//   std::unique_ptr<CongestionControl> control = MakeCongestionControl(options);  // none: nullptr
//   ...
//   if (control) control->OnAck({now_ns, rtt_ns, newly_acknowledged, in_flight});
//   const uint32_t window = control ? control->window_packets() : credits;
//
// While a path is not congested it costs two compares for a burst of acknowledgements: OnAck()
// returns at once if the window would stay as it is. Otherwise there is one virtual call a burst.
// Packets that are sent again keep to the window and to the pacing as new ones do.
//
// A new algorithm is a file and a line in the table of congestion_control.cc.
#ifndef WEFT_RPC_CONGESTION_CONTROL_H_
#define WEFT_RPC_CONGESTION_CONTROL_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace weft::rpc {

// What all sessions of a program share. The names in parentheses are those of the paper (swift.h).
struct CongestionOptions {
  std::string algorithm = "swift";
  uint32_t window_initial_packets = 32;  // 1 to window_max_packets
  uint32_t window_max_packets = 256;     // (max_cwnd) 1 to 65536

  // Of swift only.
  double window_min_packets = 0.1;        // (min_cwnd) 0.001 to 1; below 1, packets are paced
  int64_t target_delay_ns = 200'000;      // (base_target) 1 us to 10 s; above an idle round trip
  int64_t target_range_ns = 200'000;      // (fs_range) 0 to 10 s; added for small windows:
  double target_range_packets_min = 0.1;  // (fs_min_cwnd) all of it up to this window,
  double target_range_packets_max = 100;  // (fs_max_cwnd) nothing from this one on
  double increase_packets = 1;            // (ai) a round trip; above 0, at most 1000
  double decrease_factor = 0.8;           // (beta) above 0, at most 1
  double decrease_max = 0.5;              // (max_mdf) above 0, below 1
  uint32_t timeouts_max = 5;              // (RETX_RESET_THRESHOLD) in a row; at least 1

  // InvalidArgument that names the field, for what is out of range.
  absl::Status Validate() const;
};

// One thread. Times do not go back. Counts are of packets that carry data, below 2^31.
class CongestionControl {
 public:
  // What a burst of acknowledgements said.
  struct Acked {
    int64_t now_ns;
    // A round trip through the network, without the time that the request spent at the peer. 0 or
    // less: unknown, as of packets sent twice. Of several in a burst, the least: it holds the
    // least of the time for which this host and its peer did something else.
    int64_t rtt_ns;
    uint32_t packets;    // acknowledged for the first time
    uint32_t in_flight;  // sent, and since then neither acknowledged nor found lost
    // Something else than congestion may have made the round trip long, so that it is not given.
    // Loss alone is to limit the window meanwhile: it grows as after a short one.
    bool excused = false;
  };

  // What selective acknowledgements show to be lost; found once for each packet.
  struct Lost {
    int64_t now_ns;
    uint32_t packets;
    uint32_t in_flight;  // those lost included (FlightSize of RFC 5681)
  };

  virtual ~CongestionControl() = default;

  // A window grows only while it is full: what is not used says nothing about the path (RFC 7661).
  void OnAck(const Acked& acked) {
    if (acked.rtt_ns < quiet_rtt_ns_ && acked.in_flight + acked.packets < quiet_in_flight_) return;
    HandleAck(acked);
  }

  void OnLoss(const Lost& lost) { HandleLoss(lost); }

  // The retransmission timer fired: once each time, not for each packet that is sent again.
  // `in_flight` as in Lost: what had been waiting for acknowledgement.
  void OnTimeout(int64_t now_ns, uint32_t in_flight) { HandleTimeout(now_ns, in_flight); }

  // Packets that may be in flight at once: 1 to window_max_packets. Beyond it nothing new is sent;
  // what is in flight already when it shrinks stays there.
  uint32_t window_packets() const { return window_packets_; }

  // Least time between two packets, for a Pacer; 0: not paced.
  int64_t pacing_ns() const { return pacing_ns_; }

  // The window with its fraction, for metrics.
  virtual double window() const = 0;

 protected:
  CongestionControl() = default;

  virtual void HandleAck(const Acked& acked) = 0;
  virtual void HandleLoss(const Lost& lost) = 0;
  virtual void HandleTimeout(int64_t now_ns, uint32_t in_flight) = 0;

  // Makes a window known, and which acknowledgements change nothing: those of round trips below
  // `quiet_rtt_ns`, while the window is not full or cannot grow.
  void Publish(double window, uint32_t window_max_packets, int64_t quiet_rtt_ns,
               int64_t pacing_ns) {
    window_packets_ = window < 1 ? 1 : static_cast<uint32_t>(window);
    pacing_ns_ = pacing_ns;
    quiet_rtt_ns_ = quiet_rtt_ns;
    quiet_in_flight_ = window_packets_ >= window_max_packets ? kAnyInFlight : window_packets_;
  }

  // Values of quiet_rtt_ns: all acknowledgements matter; the round trip does not.
  static constexpr int64_t kNoRttNs = std::numeric_limits<int64_t>::min();
  static constexpr int64_t kAnyRttNs = std::numeric_limits<int64_t>::max();

  // Whether the window was full before so much was acknowledged.
  bool WasFull(const Acked& acked) const {
    return acked.in_flight + acked.packets >= window_packets_;
  }

 private:
  static constexpr uint32_t kAnyInFlight = std::numeric_limits<uint32_t>::max();

  int64_t quiet_rtt_ns_ = kNoRttNs;
  uint32_t quiet_in_flight_ = 0;
  uint32_t window_packets_ = 1;
  int64_t pacing_ns_ = 0;
};

// An algorithm by name. `make` is null for "none".
struct CongestionAlgorithm {
  absl::string_view name;
  std::unique_ptr<CongestionControl> (*make)(const CongestionOptions& options);
};

// All there are.
absl::Span<const CongestionAlgorithm> CongestionAlgorithms();

// For one direction of one session, from options that Validate() and that outlive it. Null for
// "none". Allocates at most 128 bytes, once.
std::unique_ptr<CongestionControl> MakeCongestionControl(const CongestionOptions& options);

}  // namespace weft::rpc

#endif  // WEFT_RPC_CONGESTION_CONTROL_H_
