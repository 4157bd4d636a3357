// SPDX-License-Identifier: Apache-2.0
//
// What the bookkeeping of a large message costs: 8 MiB in packets of 1428 bytes (1500 without the
// headers of IPv4, UDP and R2P2), a PROGRESS every 32 packets, 128 in flight. Items are packets.
#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"
#include "weft/core/buffer.h"
#include "weft/core/buffer_chain.h"
#include "weft/rpc/outgoing_message.h"
#include "weft/rpc/payload.h"
#include "weft/rpc/reassembly.h"
#include "weft/rpc/wire.h"

namespace weft::rpc {
namespace {

constexpr size_t kPacketBytes = 1428;
constexpr size_t kMessageBytes = 8 << 20;
constexpr size_t kPackets = (kMessageBytes + kPacketBytes - 1) / kPacketBytes;
constexpr size_t kWindow = 128;
constexpr size_t kBurst = 32;
constexpr int64_t kRttNs = 20'000;
constexpr int64_t kStepNs = kRttNs / (kWindow / kBurst);

// A PROGRESS, as it comes off the wire.
struct Told {
  ExtendedHeader header;
  std::array<uint8_t, kProgressBytesMax> body;
};

OutgoingMessage::Acked Hear(OutgoingMessage& message, const Told& told, int64_t now_ns) {
  Progress progress;
  ReadProgress(told.body, &progress);
  return message.OnProgress(told.header, progress, now_ns, kRttNs);
}

// Sends as far as the window allows; returns how many.
template <typename F>
int64_t Fill(OutgoingMessage& message, int64_t now_ns, F send) {
  int64_t sent = 0;
  while (message.in_flight() < kWindow) {
    const std::optional<size_t> next = message.Next();
    if (!next) break;
    send(*next);
    message.OnSent(*next, now_ns);
    ++sent;
  }
  return sent;
}

// What a receiver says of a message of which each packet number `lost_every` that is sent (0: none)
// is lost: once a burst of kBurst, in the order of sending.
std::vector<Told> Record(const std::vector<uint8_t>& bytes, size_t lost_every) {
  BufferPool pool({.count = kPackets + 1, .bytes = 64, .headroom = 0});
  Reassembly receiver(kExtendedPacketsMax);
  OutgoingMessage sender;
  sender.Start(Payload::External(bytes), kPacketBytes, kPackets);
  std::deque<size_t> network;
  std::vector<Told> told;
  size_t sent = 0;
  for (int64_t now_ns = kStepNs; !sender.complete(); now_ns += kStepNs) {
    Fill(sender, now_ns, [&](size_t index) { network.push_back(index); });
    for (size_t burst = 0; burst < kBurst && !network.empty(); ++burst) {
      const size_t index = network.front();
      network.pop_front();
      if (lost_every != 0 && ++sent % lost_every == 0) continue;
      receiver.Add(index, index == 0 ? kPackets : 0, index + 1 == kPackets, pool.Allocate());
    }
    Told next = {.header = {.type = MessageType::kAck,
                            .first = true,
                            .echo_valid = true,
                            .packet_order = static_cast<uint16_t>(receiver.cumulative()),
                            .echo = static_cast<uint32_t>(now_ns),
                            .kind = ControlKind::kProgress},
                 .body = {}};
    uint8_t bitmap[Reassembly::kBitmapBytes];
    WriteProgress(receiver.FillProgress(kPackets, bitmap), next.body.data());
    told.push_back(next);
    Hear(sender, next, now_ns);
  }
  return told;
}

// The argument: each so many packets one is lost; 0: none.
void BM_Send(benchmark::State& state) {
  const std::vector<uint8_t> bytes(kMessageBytes);
  const std::vector<Told> told = Record(bytes, static_cast<size_t>(state.range(0)));
  OutgoingMessage message;
  int64_t sent = 0;
  for (auto _ : state) {
    message.Start(Payload::External(bytes), kPacketBytes, kPackets);
    int64_t now_ns = 0;
    for (const Told& next : told) {
      now_ns += kStepNs;
      sent += Fill(message, now_ns,
                   [&](size_t index) { benchmark::DoNotOptimize(message.packet(index)); });
      Hear(message, next, now_ns);
    }
    if (!message.complete()) state.SkipWithError("not complete");
  }
  state.SetItemsProcessed(sent);
  state.counters["sent_per_packet"] =
      static_cast<double>(sent) / static_cast<double>(state.iterations() * kPackets);
}
BENCHMARK(BM_Send)->Arg(0)->Arg(1000)->Arg(30);

// Buffers go from a pool into a message of `kPackets`, in the order that `index_of` says.
template <typename F>
void Receive(benchmark::State& state, F index_of) {
  BufferPool pool({.count = kPackets, .bytes = 64, .headroom = 0});
  Reassembly message(kExtendedPacketsMax);
  for (auto _ : state) {
    for (size_t i = 0; i < kPackets; ++i) {
      const size_t index = index_of(i);
      message.Add(index, index == 0 ? kPackets : 0, index + 1 == kPackets, pool.Allocate());
      if (i % kBurst == kBurst - 1) {
        uint8_t bitmap[Reassembly::kBitmapBytes];
        benchmark::DoNotOptimize(message.FillProgress(message.cumulative() + kWindow, bitmap));
      }
    }
    state.PauseTiming();
    if (!message.complete()) state.SkipWithError("not complete");
    message.Take().Clear();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kPackets));
}

void BM_Receive(benchmark::State& state) {
  Receive(state, [](size_t i) { return i; });
}
BENCHMARK(BM_Receive);

// Each burst comes before the one that was sent before it, so that each second PROGRESS has bits.
void BM_ReceiveReordered(benchmark::State& state) {
  Receive(state, [](size_t i) {
    const size_t swapped = i ^ kBurst;
    return i / (2 * kBurst) == kPackets / (2 * kBurst) ? i : swapped;
  });
}
BENCHMARK(BM_ReceiveReordered);

// The floor of the two above: buffers from a pool into a chain.
void BM_ChainOnly(benchmark::State& state) {
  BufferPool pool({.count = kPackets, .bytes = 64, .headroom = 0});
  for (auto _ : state) {
    BufferChain chain;
    for (size_t i = 0; i < kPackets; ++i) chain.Append(pool.Allocate());
    benchmark::DoNotOptimize(chain.size());
    state.PauseTiming();
    chain.Clear();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kPackets));
}
BENCHMARK(BM_ChainOnly);

}  // namespace
}  // namespace weft::rpc
