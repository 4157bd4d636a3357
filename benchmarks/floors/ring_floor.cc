// SPDX-License-Identifier: Apache-2.0

#include <sys/mman.h>

#include <cstdint>

#include "weft/benchmarks/floors/closed_loop.h"
#include "weft/benchmarks/floors/floors.h"
#include "weft/benchmarks/floors/roles.h"
#include "weft/core/spsc_ring.h"

namespace weft::benchmarks::floors {
namespace {

struct Message {
  uint8_t bytes[kRequestBytes];
};

constexpr size_t kCapacity = 64;
static_assert(kCapacity >= kThroughputOutstanding);
constexpr size_t kRingBytes = SpscRingBytes<Message>(kCapacity);
static_assert(kRingBytes % kSpscRingAlignment == 0);

// Requests in the first ring, replies in the second.
absl::StatusOr<char*> MapRings(Peer& peer) {
  void* const memory =
      mmap(nullptr, RingMemoryBytes(), PROT_READ | PROT_WRITE, MAP_SHARED, peer.shared_fd(), 0);
  if (memory == MAP_FAILED) return absl::ErrnoToStatus(errno, "cannot map the rings' memory");
  return static_cast<char*>(memory);
}

}  // namespace

size_t RingMemoryBytes() { return 2 * kRingBytes; }

absl::Status ServeRing(Peer& peer) {
  const absl::StatusOr<char*> memory = MapRings(peer);
  if (!memory.ok()) return memory.status();
  SpscConsumer<Message> requests(*memory, kCapacity);
  SpscProducer<Message> replies(*memory + kRingBytes, kCapacity);
  peer.Report(0);
  Message burst[kThroughputOutstanding];
  const bool bursts = peer.Number(0) != 0;
  while (true) {
    if (bursts) {
      replies.Push(absl::MakeConstSpan(burst).first(requests.Pop(absl::MakeSpan(burst))));
    } else if (requests.TryPop(&burst[0])) {
      replies.TryPush(burst[0]);
    }
  }
}

absl::Status AskRing(Peer& peer) {
  const absl::StatusOr<char*> memory = MapRings(peer);
  if (!memory.ok()) return memory.status();
  SpscProducer<Message> requests(*memory, kCapacity);
  SpscConsumer<Message> replies(*memory + kRingBytes, kCapacity);
  const int64_t duration_ns = peer.Number(0);
  const auto outstanding = static_cast<size_t>(peer.Number(1));
  Message burst[kThroughputOutstanding] = {};

  absl::StatusOr<double> result;
  if (outstanding == 1) {
    result = MedianRoundTripNs(duration_ns, [&] {
      requests.TryPush(burst[0]);
      while (!replies.TryPop(&burst[0])) {
      }
      return true;
    });
  } else {
    const bool bursts = peer.Number(3) != 0;
    result = RepliesPerSecond(duration_ns, outstanding, [&](size_t n) {
      if (bursts) {
        requests.Push(absl::MakeConstSpan(burst).first(n));
        return replies.Pop(absl::MakeSpan(burst));
      }
      for (size_t i = 0; i < n; ++i) requests.TryPush(burst[i]);
      size_t popped = 0;
      while (popped < kThroughputOutstanding && replies.TryPop(&burst[popped])) ++popped;
      return popped;
    });
  }
  if (result.ok()) peer.Report(*result);
  return result.status();
}

}  // namespace weft::benchmarks::floors
