// SPDX-License-Identifier: Apache-2.0
//
// TCP connections over one link on a virtual clock: two engines (tcp/engine.h), a link of some
// rate, queue, delay and loss between them, and senders that always have something to say.
//
//   TcpSimulationResult result = SimulateTcp({.loss = 0.01, .rtt_ns = 1'000'000});
//   result.goodput_bps[0] / CubicResponseBps(result.options...);
//
// The same options give the same result, whatever the machine does.
#ifndef WEFT_BENCHMARKS_TCP_SIMULATION_H_
#define WEFT_BENCHMARKS_TCP_SIMULATION_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace weft::benchmarks {

struct TcpSimulationOptions {
  std::string congestion_control = "cubic";
  size_t flows = 1;
  double loss = 0;              // of each packet of data, at random
  double ack_loss = 0;          // of each the other way
  int64_t rtt_ns = 10'000'000;  // without queues
  double rate_bps = 0;          // of the link; 0: as fast as you like
  double queue_bytes = 0;       // it holds, beside the packet that is being sent
  double mark_above_bytes = 0;  // packets that find more in it are marked (ECN); 0: none
  int64_t start_apart_ns = 0;   // each flow begins so much after the one before
  int64_t warm_up_ns = 0;       // after the last has begun, until it is measured
  int64_t measured_ns = 30'000'000'000;
  uint64_t seed = 1;
};

struct TcpSimulationResult {
  std::vector<double> goodput_bps;  // of each flow: payload that was read in the measured time
  double jain = 0;                  // of these: 1 is fair (Jain, Chiu and Hawe, 1984)
  double utilization = 0;           // payload of all, of what the link can carry of it; 0: no rate
  uint64_t packets = 0;             // of data, sent by all in the whole time
  uint64_t dropped = 0;             // of these, by the queue or by chance
  uint64_t retransmissions = 0;
  uint64_t timeouts = 0;
  uint32_t mss = 0;  // bytes of payload of a full packet
};

TcpSimulationResult SimulateTcp(const TcpSimulationOptions& options);

// The average window, in segments, of what RFC 9438 says of packets of which one in 1 / loss is
// lost: the larger of that of its Reno-friendly region (4.3: AVG_AIMD with C_cubic's alpha and
// beta, sqrt(3 / 2p), which is Reno's) and that of the cubic one (5.1, equation 5: 1.054 * RTT^0.75
// / p^0.75). At round trips of some milliseconds the former holds.
double CubicWindow(double loss, int64_t rtt_ns);

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_TCP_SIMULATION_H_
