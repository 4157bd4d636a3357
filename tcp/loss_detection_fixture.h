// SPDX-License-Identifier: Apache-2.0
//
// For tests of LossDetection: a sender of which segments go out and come to be acknowledged one by
// one.
#ifndef WEFT_TCP_LOSS_DETECTION_FIXTURE_H_
#define WEFT_TCP_LOSS_DETECTION_FIXTURE_H_

#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/buffer.h"
#include "weft/core/rtt_estimator.h"
#include "weft/tcp/block_pool.h"
#include "weft/tcp/congestion/new_reno.h"
#include "weft/tcp/loss_detection.h"
#include "weft/tcp/send_queue.h"
#include "weft/tcp/seq.h"

namespace weft::tcp {

inline constexpr uint32_t kMss = 1000;
inline constexpr int64_t kMs = 1'000'000;
inline constexpr int64_t kRttNs = 100 * kMs;
inline constexpr Seq kFirst(0xffff'fc00);

using Outcome = LossDetection::Outcome;
using Ranges = std::vector<std::pair<uint32_t, uint32_t>>;

// A sender with a known round trip; segments are numbered from 0, in hundreds of thousands of
// nanoseconds apart.
class LossDetectionTest : public ::testing::Test {
 protected:
  LossDetectionTest() { Start(true); }
  ~LossDetectionTest() override {
    queue_.Clear();
    EXPECT_EQ(memory_.taken_bytes(), 0u);
  }

  void Start(bool sack, uint32_t window_packets = 10) {
    queue_.Clear();
    queue_.Start(kFirst);
    rtt_ = RttEstimator();
    rtt_.Add(options_.rtt, now_ns_, kRttNs);
    congestion_.Start(NewReno(), kMss, window_packets);
    congestion_.ssthresh_bytes = kMss;  // congestion avoidance
    loss_.Start(sack);
  }
  Sender sender() { return {queue_, rtt_, congestion_, options_, kMss}; }

  void Write(uint32_t segments) {
    for (uint32_t i = 0; i < segments; ++i) {
      Buffer buffer = buffers_.Allocate();
      std::memset(buffer.Append(kMss), 'x', kMss);
      ASSERT_TRUE(queue_.Append(std::move(buffer), memory_));
    }
  }
  void Sent(const SendQueue::Piece& piece) {
    ASSERT_TRUE(piece.buffer);
    sent_.push_back(Number(piece.seq));
    loss_.OnSent(sender(), piece, now_ns_);
  }
  // What the window has room for; the numbers of the segments.
  std::vector<uint32_t> Output() {
    sent_.clear();
    for (;;) {
      now_ns_ += 1000;
      const LossDetection::Next next = loss_.NextToSend(sender());
      if (next == LossDetection::Next::kNothing) return sent_;
      Sent(next == LossDetection::Next::kResend ? queue_.ResendLost(kMss, now_ns_, buffers_, 64)
                                                : queue_.SendNext(kMss, now_ns_, buffers_, 64));
    }
  }
  std::vector<uint32_t> Probe() {
    sent_.clear();
    SendQueue::Piece piece = queue_.SendNext(kMss, now_ns_, buffers_, 64);
    if (!piece.buffer) piece = queue_.ResendLast(kMss, now_ns_, buffers_, 64);
    Sent(piece);
    return sent_;
  }
  // Acknowledges `segments` from the beginning, and SACKs ranges of segments.
  Outcome Ack(uint32_t segments, const Ranges& sacks = {}, bool ece = false,
              int64_t echoed_ns = 0) {
    std::vector<SeqRange> blocks;
    for (auto [begin, end] : sacks) {
      blocks.push_back({kFirst + begin * kMss, kFirst + end * kMss});
    }
    now_ns_ += 1000;
    return loss_.OnAck(sender(), {.now_ns = now_ns_,
                                  .ack = kFirst + segments * kMss,
                                  .sacks = blocks,
                                  .ece = ece,
                                  .may_be_duplicate = true,
                                  .echoed_ns = echoed_ns});
  }
  LossDetection::Action Fire() {
    now_ns_ = loss_.deadline_ns(queue_);
    return loss_.OnTimer(sender(), now_ns_);
  }
  // Timers until the retransmission timer; probes are not heard.
  void Timeout() {
    for (int i = 0; i < 5; ++i) {
      const LossDetection::Action action = Fire();
      if (action == LossDetection::Action::kTimeout || action == LossDetection::Action::kReneged) {
        return;
      }
      if (action == LossDetection::Action::kProbe) Probe();
    }
    FAIL() << "no timeout";
  }
  static uint32_t Number(Seq seq) { return static_cast<uint32_t>(seq - kFirst) / kMss; }
  RecoveryPhase phase() const { return loss_.phase(queue_); }
  uint32_t window() const { return congestion_.cwnd_bytes / kMss; }

  LossOptions options_;
  BufferPool buffers_{{.count = 1024, .bytes = 2048, .headroom = 128}};
  BlockPool memory_;
  SendQueue queue_;
  RttEstimator rtt_;
  CongestionState congestion_;
  LossDetection loss_;
  int64_t now_ns_ = 1'000'000'000;
  std::vector<uint32_t> sent_;
};

using Numbers = std::vector<uint32_t>;

}  // namespace weft::tcp

#endif  // WEFT_TCP_LOSS_DETECTION_FIXTURE_H_
