// SPDX-License-Identifier: Apache-2.0
//
// Pacer: keeps packets a given time apart, as congestion control asks (CongestionControl::
// pacing_ns()). It answers how many packets may be sent now, and when the next one may; a timer of
// the loop's wheel does the waiting.
//
//   const uint32_t n = std::min(queued, pacer.Allowed(now_ns, gap_ns, kBurst));
//   Send(n);
//   pacer.OnSent(now_ns, gap_ns, kBurst, n);
//   if (queued > n) wheel.Schedule(timer, pacer.NextNs(gap_ns));
//
// Packets have slots, `gap_ns` apart. Whoever comes late, because the wheel ticks or the thread was
// busy, may use the slots that passed meanwhile, but not more than `burst_packets` of them; so the
// rate does not drift below 1 / gap_ns, and a pause, or the time before the first packet, earns no
// more than one burst. (A virtual
// scheduling algorithm as in ITU-T I.371.) To reach its rate, a gap shorter than the wheel's tick
// needs a burst of at least tick / gap packets.
#ifndef WEFT_RPC_PACER_H_
#define WEFT_RPC_PACER_H_

#include <algorithm>
#include <cstdint>
#include <limits>

namespace weft::rpc {

// A plain value of 8 bytes; not thread-safe. The gap may change from call to call; 0 or less is no
// pacing. Gaps longer than an hour are taken as an hour. `burst_packets` is at least 1, at most
// 65536. Times are at least 0.
class Pacer {
 public:
  // How many packets may be sent at `now_ns`: 0 to burst_packets; without pacing, any number.
  uint32_t Allowed(int64_t now_ns, int64_t gap_ns, uint32_t burst_packets) const {
    if (gap_ns <= 0) return std::numeric_limits<uint32_t>::max();
    const int64_t passed_ns = now_ns - slot_ns_;
    gap_ns = std::min(gap_ns, kGapMaxNs);
    if (passed_ns < gap_ns) return 0;
    if (passed_ns >= gap_ns * burst_packets) return burst_packets;  // Spares a division.
    return static_cast<uint32_t>(passed_ns / gap_ns);
  }

  // So many packets were sent at `now_ns`. More than were allowed, or without asking, delay those
  // that follow.
  void OnSent(int64_t now_ns, int64_t gap_ns, uint32_t burst_packets, uint32_t packets) {
    if (gap_ns <= 0) {
      slot_ns_ = now_ns;
      return;
    }
    gap_ns = std::min(gap_ns, kGapMaxNs);
    slot_ns_ = std::max(slot_ns_, now_ns - gap_ns * burst_packets);
    // What is sent without asking cannot delay the next packet by more than a burst.
    slot_ns_ = std::min(slot_ns_ + gap_ns * std::min(packets, kPacketsMax),
                        now_ns + gap_ns * burst_packets);
  }

  // When the next packet may be sent.
  int64_t NextNs(int64_t gap_ns) const {
    return slot_ns_ + std::clamp<int64_t>(gap_ns, 0, kGapMaxNs);
  }

 private:
  static constexpr int64_t kGapMaxNs = 3'600'000'000'000;
  static constexpr uint32_t kPacketsMax = 65536;

  // The slot of the latest packet: long ago before the first one.
  int64_t slot_ns_ = std::numeric_limits<int64_t>::min() / 4;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_PACER_H_
