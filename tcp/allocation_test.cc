// SPDX-License-Identifier: Apache-2.0
//
// The heap is not asked for anything while data goes to and fro.
#include <cstring>
#include <memory>
#include <utility>

#include "gtest/gtest.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/buffer.h"
#include "weft/core/timer_wheel.h"
#include "weft/tcp/engine.h"

namespace weft::tcp {
namespace {

constexpr int64_t kStartNs = 1'000'000'000;

class AllocationTest : public ::testing::Test {
 protected:
  struct Side {
    TimerWheel wheel{kStartNs};
    BufferPool pool{{.count = 4096}};
    std::unique_ptr<Engine> engine;
    StreamId stream;
  };

  AllocationTest() {
    for (Side& side : sides_) {
      World world;
      world.timers = &side.wheel;
      world.pool = &side.pool;
      world.secret = 5;
      side.engine = *Engine::Create({}, world);
    }
    EXPECT_TRUE(sides_[1].engine->Listen(Ip(1), 80, 4).ok());
    sides_[0].stream = *sides_[0].engine->Connect({Ip(0), Ip(1), 0, 80}, now_ns_);
    for (int i = 0; i < 4; ++i) Turn();
    EXPECT_TRUE(sides_[1].stream);
  }

  static netstack::IpAddress Ip(uint32_t side) {
    return netstack::IpAddress::V4(0x0a000001u + side);
  }

  // What one has sent arrives at the other, but for each `lost_`th segment.
  void Carry(Side& from, Side& to) {
    for (auto pending = from.engine->pending(); !pending.empty();
         pending = from.engine->pending()) {
      pending = pending.first(std::min<size_t>(pending.size(), 32));
      netstack::ReceivedSegment burst[32];
      size_t count = 0;
      for (netstack::OutgoingSegment& segment : pending) {
        const bool lost = lost_ != 0 && ++carried_ % lost_ == 0;
        if (!lost) {
          netstack::ReceivedSegment& received = burst[count++];
          received.buffer = to.pool.Allocate();
          std::memcpy(received.buffer.Append(segment.buffer.size()), segment.buffer.data(),
                      segment.buffer.size());
          received.source = segment.source;
          received.destination = segment.destination;
        }
        segment.buffer.Reset();
      }
      to.engine->Receive({burst, count}, now_ns_);
      from.engine->Sent(pending.size(), now_ns_);
    }
  }

  void Turn() {
    now_ns_ += 50'000;
    for (Side& side : sides_) {
      side.wheel.Advance(now_ns_);
      side.engine->Flush(now_ns_);
    }
    Carry(sides_[0], sides_[1]);
    Carry(sides_[1], sides_[0]);
    for (Side& side : sides_) {
      StreamEvent events[8];
      while (const size_t n = side.engine->TakeEvents(events)) {
        for (size_t i = 0; i < n; ++i) {
          if (events[i].kind == StreamEvent::Kind::kAccepted) side.stream = events[i].stream;
        }
      }
    }
  }

  void Bulk(size_t bytes) {
    size_t received = 0;
    while (received < bytes) {
      for (int i = 0; i < 100; ++i) {
        const auto room = sides_[0].engine->Reserve(sides_[0].stream, 4096);
        if (room.empty()) break;
        sides_[0].engine->Commit(sides_[0].stream, room.size(), now_ns_);
      }
      Turn();
      for (;;) {
        const auto view = sides_[1].engine->ReadView(sides_[1].stream);
        if (view.empty()) break;
        received += view.size();
        sides_[1].engine->Consume(sides_[1].stream, view.size(), now_ns_);
      }
    }
  }

  int64_t now_ns_ = kStartNs;
  uint64_t lost_ = 0;
  uint64_t carried_ = 0;
  Side sides_[2];
};

TEST_F(AllocationTest, NoneWithoutLosses) {
  Bulk(20 << 20);
  const int64_t before = AllocationsOfThisThread();
  Bulk(20 << 20);
  EXPECT_EQ(AllocationsOfThisThread(), before);
}

TEST_F(AllocationTest, NoneWithLosses) {
  lost_ = 101;
  Bulk(20 << 20);
  const int64_t before = AllocationsOfThisThread();
  Bulk(20 << 20);
  // Lists of gaps grow to what they once held, and stay.
  EXPECT_LE(AllocationsOfThisThread() - before, 4);
}

}  // namespace
}  // namespace weft::tcp
