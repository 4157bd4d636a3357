// SPDX-License-Identifier: Apache-2.0
//
// What a sender's bookkeeping costs for each segment: queued, sent, acknowledged; without loss, and
// while one segment is missing and all others are SACKed.
#include <cstdint>
#include <utility>

#include "benchmark/benchmark.h"
#include "weft/core/buffer.h"
#include "weft/core/rtt_estimator.h"
#include "weft/tcp/block_pool.h"
#include "weft/tcp/congestion/cubic.h"
#include "weft/tcp/loss_detection.h"
#include "weft/tcp/send_queue.h"

namespace weft::tcp {
namespace {

constexpr uint32_t kMss = 1448;

struct Parts {
  explicit Parts(uint32_t window_packets) {
    queue.Start(Seq(1));
    congestion.Start(Cubic(), kMss, window_packets);
    congestion.ssthresh_bytes = kMss;
    loss.Start(true);
  }
  ~Parts() { queue.Clear(); }
  Sender sender() { return {queue, rtt, congestion, options, kMss}; }

  void SendOne() {
    Buffer buffer = buffers.Allocate();
    buffer.Append(kMss);
    queue.Append(std::move(buffer), memory);
    const SendQueue::Piece piece = queue.SendNext(kMss, now_ns, buffers, 64);
    loss.OnSent(sender(), piece, now_ns);
  }
  void Ack(Seq ack, absl::Span<const SeqRange> sacks = {}) {
    loss.OnAck(sender(), {.now_ns = now_ns, .ack = ack, .sacks = sacks});
  }

  LossOptions options;
  BufferPool buffers{{.count = 16384, .bytes = 2048, .headroom = 128}};
  BlockPool memory;
  SendQueue queue;
  RttEstimator rtt;
  CongestionState congestion;
  LossDetection loss;
  int64_t now_ns = 1'000'000'000;
};

// Two segments for each acknowledgement, with `window` in flight.
void BM_SegmentsInOrder(benchmark::State& state) {
  const auto window = static_cast<uint32_t>(state.range(0));
  Parts parts(window);
  for (uint32_t i = 0; i < window; ++i) parts.SendOne();
  for (auto _ : state) {
    parts.now_ns += 1000;
    parts.Ack(parts.queue.una() + 2 * kMss);
    parts.SendOne();
    parts.SendOne();
    benchmark::DoNotOptimize(parts.loss.NextToSend(parts.sender()));
  }
  state.SetItemsProcessed(2 * state.iterations());
}
BENCHMARK(BM_SegmentsInOrder)->Arg(2)->Arg(100)->Arg(8000);

// One request and one reply: memory is taken and given back each time.
void BM_OneSegmentAtATime(benchmark::State& state) {
  Parts parts(10);
  for (auto _ : state) {
    parts.now_ns += 1000;
    parts.SendOne();
    parts.Ack(parts.queue.next());
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_OneSegmentAtATime);

// Each acknowledgement SACKs one more segment of a window whose first is lost.
void BM_SackOneMore(benchmark::State& state) {
  const auto window = static_cast<uint32_t>(state.range(0));
  Parts parts(window);
  uint32_t sacked = window;
  Seq una;
  for (auto _ : state) {
    if (sacked >= window - 1) {
      state.PauseTiming();
      parts.Ack(parts.queue.next());
      while (parts.queue.in_flight_bytes() < window * kMss) parts.SendOne();
      una = parts.queue.una();
      sacked = 1;
      state.ResumeTiming();
    }
    ++sacked;
    parts.now_ns += 1000;
    const SeqRange block{una + kMss, una + sacked * kMss};
    parts.Ack(una, {&block, 1});
    benchmark::DoNotOptimize(parts.loss.NextToSend(parts.sender()));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_SackOneMore)->Arg(100)->Arg(8000);

}  // namespace
}  // namespace weft::tcp
