// SPDX-License-Identifier: Apache-2.0
//
// What connections cost, and what happens when there is no more.
#include <cstdlib>
#include <new>

#include "absl/strings/substitute.h"
#include "gtest/gtest.h"
#include "weft/tcp/engine_fixture.h"

namespace {

// Bytes asked of the heap and not given back.
int64_t live_bytes = 0;

}  // namespace

[[gnu::noinline]] void* operator new(size_t bytes) {
  auto* block = static_cast<size_t*>(std::malloc(bytes + 16));
  if (block == nullptr) throw std::bad_alloc();
  *block = bytes;
  live_bytes += static_cast<int64_t>(bytes);
  return reinterpret_cast<char*>(block) + 16;
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
  if (p == nullptr) return;
  auto* block = reinterpret_cast<size_t*>(static_cast<char*>(p) - 16);
  live_bytes -= static_cast<int64_t>(*block);
  std::free(block);
}
void operator delete(void* p, size_t) noexcept { operator delete(p); }

namespace weft::tcp {
namespace {

class MemoryTest : public DialogueTest {
 protected:
  // Peers at as many addresses.
  void Open(uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
      peer_ = netstack::IpAddress::V4(0x0b000000 + i);
      Say("S 0 mss=1460 sackok ts=1 ws=7");
      Hear();
      Say("A 1 ack 1 ts=2");
      ASSERT_EQ(Event(), "accepted");
    }
  }
};

TEST_F(MemoryTest, AnIdleConnectionTakes512BytesAtMost) {
  EXPECT_LE(Engine::BytesOfIdleConnection(), 512u);
  constexpr uint32_t kConnections = 20'000;
  Listen(1);
  Open(64);
  const int64_t before = live_bytes;
  for (uint32_t i = 64; i < kConnections; ++i) {
    peer_ = netstack::IpAddress::V4(0x0b000000 + i);
    Say("S 0 mss=1460 sackok ts=1 ws=7");
    Hear();
    Say("A 1 ack 1 ts=2");
    ASSERT_EQ(Event(), "accepted");
    // It has talked, and is idle again.
    Say("PA 1+100 ack 1 ts=3");
    ASSERT_EQ(Event(), "readable");
    Read();
    Write(100);
    Forget();
    Say("A 101 ack 101 ts=4");
  }
  Pass(700 * kS);
  const int64_t each = (live_bytes - before) / (kConnections - 64);
  RecordProperty("bytes", static_cast<int>(each));
  EXPECT_LE(each, 512 + 8);  // and blocks kept for whoever talks next
  EXPECT_EQ(pool_->available(), pool_->count());
  EXPECT_EQ(wheel_->size(), 0u);
}

// Strangers, and a peer that means harm, while the device takes nothing.
TEST_F(MemoryTest, FloodsTakeNoMoreThanTheirLimits) {
  options_.syn_backlog = 64;
  options_.out_of_order_ranges_max = 32;
  Start();
  Accept("mss=1460 sackok");
  const netstack::IpAddress peer = peer_;
  const Seq isn = our_isn_;
  const auto flood = [&](absl::string_view text, bool stranger) {
    held_back_ = true;
    for (uint32_t i = 0; i < 5'000; ++i) {
      if (stranger) peer_ = netstack::IpAddress::V4(0x0c000000 + i);
      Say(absl::Substitute(text, 100 + i * 7 % 60'000));
    }
    peer_ = peer;
    held_back_ = false;
    EXPECT_LE(engine_->pending().size(), world_.outbox_segments + 64) << text;
    EXPECT_LE(engine_->stats().half_open.value(), 64) << text;
    EXPECT_LE(engine_->stats().connections.value(), 65) << text;
    EXPECT_LE(engine_->stats().buffers_held.value(), 100) << text;
    Turn();
    Forget();
    our_isn_ = isn;  // of this connection, not of what strangers were answered
  };
  for (const absl::string_view text : {"S 0 mss=1460 ts=1", "A $0 ack 77", "PA $0+5 ack 77", "R $0",
                                       "FA $0 ack 77", "SA 0 ack $0"}) {
    flood(text, /*stranger=*/true);
  }
  const int64_t before = live_bytes;
  for (const absl::string_view text :
       {"S $0", "A $0 ack 1", "A 1 ack $0", "R $0", "A $0+1 ack 1", "A $0+1 ack 1 sack $0-70000",
        "SA $0 ack 1", "A 3000000 ack 1"}) {
    flood(text, /*stranger=*/false);
    Pass(kS);
  }
  EXPECT_LE(live_bytes - before, 16 << 10);
  // It is none the worse for them.
  Say("A 1+1000 ack 1");
  EXPECT_EQ(Read(1000), Text(1, 1000));
  Abort();
  Forget();
}

TEST_F(MemoryTest, DataOutOfOrderIsTheFirstToGo) {
  buffers_ = 256;
  options_.buffers_percent_max = 50;
  options_.out_of_order_ranges_max = 4096;
  Start();
  Accept("mss=1460 sackok");
  // Beyond a gap, more than the engine may hold.
  for (uint32_t i = 1; i < 200; i += 2) Say(absl::StrCat("A ", 1 + i * 600, "+600 ack 1"));
  EXPECT_LE(engine_->stats().buffers_held.value(), 128);
  Forget();
  const auto opened = engine_->stats().out_of_order_dropped.value();
  EXPECT_GT(opened + engine_->stats().out_of_window, 0u);
  Say("A 1+600 ack 1");
  EXPECT_EQ(Read(), Text(1, 1200));
  Abort();
  Forget();
}

TEST_F(MemoryTest, AReaderThatIsShortOfBuffersGetsOn) {
  buffers_ = 64;
  options_.buffers_percent_max = 25;
  Start();
  Accept("mss=1000");
  uint32_t at = 1;
  std::string all;
  for (int i = 0; i < 400 && all.size() < 50'000; ++i) {
    Say(absl::StrCat("A ", at, "+1000 ack 1"));
    for (std::string line = Hear(); !line.empty(); line = Hear()) {
      at = static_cast<uint32_t>(last_.ack - peer_isn_);
    }
    if (i % 20 == 19) all += Read();
    Forget();
  }
  EXPECT_GE(all.size(), 50'000u);
  EXPECT_EQ(all, Text(1, static_cast<uint32_t>(all.size())));
  EXPECT_GT(engine_->stats().window_dropped, 0u);
}

TEST_F(MemoryTest, AWriterThatIsShortOfBuffersIsToldLater) {
  buffers_ = 64;
  options_.buffers_percent_max = 25;
  Start();
  Accept("mss=1000");
  const size_t first = Write(100'000);
  EXPECT_LT(first, 100'000u);
  EXPECT_EQ(Event(), "");
  for (int i = 0; i < 20; ++i) {
    uint32_t next = 0;
    while (!outbox_.empty()) {
      Hear();
      next =
          static_cast<uint32_t>(last_.seq - our_isn_) + static_cast<uint32_t>(last_.payload.size());
    }
    if (next > 0) Say(absl::StrCat("A 1 ack ", next));
  }
  EXPECT_EQ(Event(), "writable");
  EXPECT_GT(Write(5000), 0u);
  Abort();
  Forget();
}

// Of the pool, not of the engine's share of it: a device may have taken the rest.
TEST_F(MemoryTest, AReaderThatDoesNotReadLeavesBuffersToOthers) {
  buffers_ = 256;
  options_.buffers_percent_max = 100;
  options_.receive_buffer_bytes = 1 << 20;
  Start();
  Accept("mss=1000 sackok ws=7");
  std::vector<Buffer> taken;
  while (pool_->available() > 100) taken.push_back(pool_->Allocate());
  uint32_t next = 1;
  for (int i = 0; i < 300; ++i) {
    // In order as far as it is taken, and beyond gaps.
    const uint32_t at = next + (i % 4 == 3 ? 100'000 + static_cast<uint32_t>(i) * 3000 : 0);
    Say(absl::StrCat("A ", at, "+1000 ack 1"));
    while (!Hear().empty()) next = static_cast<uint32_t>(last_.ack - peer_isn_);
    ASSERT_GE(pool_->available(), 3u);
  }
  EXPECT_GT(next, 80'000u);
  EXPECT_EQ(Write("answers go"), 10u);
  EXPECT_EQ(Hear(), absl::StrCat("PA 1+10 ack ", next));
  EXPECT_EQ(Read(), Text(1, next - 1));
  Say(absl::StrCat("A ", next, "+1000 ack 11"));
  EXPECT_EQ(Read(), Text(next, 1000));
  Abort();
  Forget();
}

// As above.
TEST_F(MemoryTest, AStreamInFullSwingLeavesBuffersToOthers) {
  buffers_ = 256;
  options_.buffers_percent_max = 100;
  options_.send_buffer_bytes_max = 1 << 20;
  Start();
  std::vector<Buffer> taken;
  Listen();
  StreamId streams[2];
  Seq isns[2];
  for (uint32_t i = 0; i < 2; ++i) {
    peer_ = netstack::IpAddress::V4(0x0b000000 + i);
    Say("S 0 mss=1000 ws=7");
    Hear();
    Say("A 1 ack 1");
    ASSERT_EQ(Event(), "accepted");
    streams[i] = stream_;
    isns[i] = our_isn_;
  }
  while (pool_->available() > 100) taken.push_back(pool_->Allocate());
  const std::string much(1 << 20, 'x');
  const netstack::IpAddress peers[2] = {netstack::IpAddress::V4(0x0b000000), peer_};
  EXPECT_LT(Write(much, streams[0]), much.size());
  uint32_t acked = 1;
  for (int i = 0; i < 50; ++i) {
    // What comes back goes to whoever has most to say; and yet the other one gets on.
    EXPECT_EQ(Write("a little", streams[1]), 8u) << i;
    Forget();
    peer_ = peers[0];
    our_isn_ = isns[0];
    acked += 1000;
    Say(absl::StrCat("A 1 ack ", acked));
    Write(much, streams[0]);
    peer_ = peers[1];
    our_isn_ = isns[1];
    Say(absl::StrCat("A 1 ack ", 1 + 8 * (i + 1)));
    while (!Event().empty()) {
    }
    Write(much, streams[0]);
  }
  for (const StreamId stream : streams) {
    stream_ = stream;
    Abort();
  }
  Forget();
}

}  // namespace
}  // namespace weft::tcp
