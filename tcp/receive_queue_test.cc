// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/receive_queue.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"

namespace weft::tcp {
namespace {

constexpr uint32_t kMss = 1000;

class ReceiveQueueTest : public ::testing::Test {
 protected:
  ReceiveQueueTest() { Start(Seq(0), 65536); }

  void Start(Seq next, uint32_t limit) {
    start_ = next;
    queue_.Start(next, limit);
    queue_.Advertise(kMss, 7);
  }

  Buffer BufferOf(absl::string_view text) {
    Buffer buffer = pool_.Allocate();
    std::copy(text.begin(), text.end(), buffer.Append(text.size()));
    return buffer;
  }

  // `at`: from the start.
  ReceiveQueue::Added Add(uint32_t at, absl::string_view text, bool fin = false) {
    return queue_.Add(start_ + at, BufferOf(text), fin, room_);
  }

  // Everything that can be read.
  std::string Read() {
    std::string text;
    while (queue_.bytes() > 0) {
      const auto view = queue_.View();
      text.append(reinterpret_cast<const char*>(view.data()), view.size());
      queue_.Consume(view.size());
    }
    return text;
  }

  // Begins and ends of the blocks, from the start.
  std::vector<std::pair<uint32_t, uint32_t>> Sacks(size_t max = 4) {
    SeqRange blocks[4];
    const size_t n = queue_.ReportSack(absl::MakeSpan(blocks).first(max));
    std::vector<std::pair<uint32_t, uint32_t>> all;
    for (size_t i = 0; i < n; ++i) {
      all.emplace_back(blocks[i].begin - start_, blocks[i].end - start_);
    }
    return all;
  }
  using Blocks = std::vector<std::pair<uint32_t, uint32_t>>;

  BufferPool pool_{{.count = 512}};
  OutOfOrderPool out_of_order_pool_;
  ReceiveQueue::Room room_{.pool = &out_of_order_pool_};
  Seq start_;
  ReceiveQueue queue_;
};

TEST_F(ReceiveQueueTest, InOrder) {
  const auto added = Add(0, "hello ");
  EXPECT_EQ(added.bytes, 6u);
  EXPECT_EQ(added.buffers, 1);
  EXPECT_FALSE(added.out_of_order || added.duplicate || added.dropped || added.fin);
  Add(6, "world");
  EXPECT_EQ(queue_.next(), start_ + 11);
  EXPECT_EQ(Read(), "hello world");
  EXPECT_EQ(pool_.available(), 512u);
  EXPECT_FALSE(queue_.has_sack());
}

TEST_F(ReceiveQueueTest, ShortPiecesShareABuffer) {
  EXPECT_EQ(Add(0, "a").buffers, 1);
  const auto added = Add(1, "b");
  EXPECT_EQ(added.buffers, 0);
  EXPECT_TRUE(added.coalesced);
  EXPECT_EQ(queue_.buffers(), 1u);
  EXPECT_EQ(Read(), "ab");
}

TEST_F(ReceiveQueueTest, GapsAreFilled) {
  EXPECT_TRUE(Add(3, "def").out_of_order);
  EXPECT_TRUE(Add(9, "jkl").out_of_order);
  EXPECT_EQ(queue_.bytes(), 0u);
  EXPECT_TRUE(queue_.has_gaps());
  auto added = Add(0, "abc");
  EXPECT_TRUE(added.filled);
  EXPECT_EQ(added.bytes, 6u);
  added = Add(6, "ghi");
  EXPECT_TRUE(added.filled);
  EXPECT_EQ(added.bytes, 6u);
  EXPECT_FALSE(queue_.has_gaps());
  EXPECT_EQ(Read(), "abcdefghijkl");
}

TEST_F(ReceiveQueueTest, SackBlocksAreMostRecentFirst) {
  Add(10, "k");
  Add(20, "u");
  Add(30, "E");
  EXPECT_EQ(Sacks(), (Blocks{{30, 31}, {20, 21}, {10, 11}}));
  Add(11, "l");
  EXPECT_EQ(Sacks(), (Blocks{{10, 12}, {30, 31}, {20, 21}}));
  Add(40, "O");
  Add(50, "Y");
  EXPECT_EQ(Sacks(3), (Blocks{{50, 51}, {40, 41}, {10, 12}}));
}

TEST_F(ReceiveQueueTest, DuplicatesAreReportedOnceAndFirst) {
  Add(0, "abcdef");
  EXPECT_TRUE(Add(2, "cd").duplicate);
  EXPECT_EQ(Sacks(), (Blocks{{2, 4}}));
  EXPECT_EQ(Sacks(), Blocks{});
  // Within a range beyond a gap: the range follows (RFC 2883, 4).
  Add(10, "klmn");
  EXPECT_TRUE(Add(11, "lm").duplicate);
  EXPECT_EQ(Sacks(), (Blocks{{11, 13}, {10, 14}}));
}

TEST_F(ReceiveQueueTest, OverlapsGiveEachByteOnce) {
  Add(5, "fgh");
  Add(2, "cdefg");  // over its begin
  Add(7, "hij");    // over its end
  Add(20, "u");
  Add(15, "pqrstuvwxyz");     // over all of it
  Add(0, "abcdefghijklmno");  // over all that is beyond the gap, and up to the next range
  EXPECT_EQ(Read(), "abcdefghijklmnopqrstuvwxyz");
}

TEST_F(ReceiveQueueTest, FinIsNextAfterAllData) {
  EXPECT_FALSE(Add(3, "def", /*fin=*/true).fin);
  const auto added = Add(0, "abc");
  EXPECT_TRUE(added.fin);
  EXPECT_EQ(queue_.next(), start_ + 7);
  EXPECT_EQ(Read(), "abcdef");
  EXPECT_EQ(pool_.available(), 512u);
}

TEST_F(ReceiveQueueTest, BareFin) {
  EXPECT_FALSE(queue_.Add(start_ + 3, Buffer(), true, room_).fin);
  EXPECT_TRUE(Add(0, "abc").fin);
}

TEST_F(ReceiveQueueTest, AFinWithDataBehindItWasNone) {
  EXPECT_FALSE(queue_.Add(start_ + 3, Buffer(), true, room_).fin);
  EXPECT_FALSE(Add(0, "abcdef").fin);
  EXPECT_FALSE(queue_.has_gaps());
  EXPECT_TRUE(Add(6, "gh", true).fin);
  EXPECT_EQ(Read(), "abcdefgh");
}

TEST_F(ReceiveQueueTest, FinThatWasHereIsADuplicate) {
  EXPECT_TRUE(Add(0, "abc", true).fin);
  EXPECT_TRUE(queue_.Add(start_ + 3, Buffer(), true, room_).duplicate);
  EXPECT_TRUE(Add(0, "abc", true).duplicate);
}

TEST_F(ReceiveQueueTest, FinBehindDataThatWasDroppedDoesNotCount) {
  Add(0, std::string(600, 'a'));
  room_.in_order = false;
  const auto added = Add(600, std::string(1800, 'b'), true);
  EXPECT_TRUE(added.dropped);
  EXPECT_FALSE(added.fin);
  EXPECT_EQ(queue_.next(), start_ + 600);
}

TEST_F(ReceiveQueueTest, WhatTheWindowDoesNotCoverIsCutOff) {
  ReceiveQueue small;
  small.Start(Seq(100), 8);
  EXPECT_EQ(small.Advertise(kMss, 0), 8);
  const auto added = small.Add(Seq(100), BufferOf("0123456789"), true, room_);
  EXPECT_EQ(added.bytes, 8u);
  EXPECT_FALSE(added.fin);
  EXPECT_TRUE(small.Add(Seq(108), BufferOf("89"), true, room_).dropped);
  EXPECT_EQ(small.Advertise(kMss, 0), 0);
}

TEST_F(ReceiveQueueTest, TheEdgeMovesForwardInSteps) {
  ReceiveQueue queue;
  queue.Start(Seq(0), 4000);
  EXPECT_EQ(queue.Advertise(kMss, 0), 4000);
  queue.Add(Seq(0), BufferOf(std::string(1000, 'x')), false, room_);
  queue.Add(Seq(1000), BufferOf(std::string(1000, 'x')), false, room_);
  EXPECT_EQ(queue.Advertise(kMss, 0), 2000);
  queue.Consume(500);
  EXPECT_EQ(queue.Advertise(kMss, 0), 2000);  // 500 more would be silly
  EXPECT_FALSE(queue.WindowUpdateDue(kMss, 0));
  queue.Consume(500);
  EXPECT_EQ(queue.Advertise(kMss, 0), 3000);
  queue.Add(Seq(2000), BufferOf(std::string(1000, 'x')), false, room_);
  queue.Add(Seq(3000), BufferOf(std::string(1000, 'x')), false, room_);
  EXPECT_EQ(queue.window(), 1000u);
  queue.Consume(3000);
  EXPECT_TRUE(queue.WindowUpdateDue(kMss, 0));
}

TEST_F(ReceiveQueueTest, ALowerLimitTakesNothingBack) {
  EXPECT_EQ(queue_.window(), 65536u);
  queue_.set_limit_bytes(1000);
  queue_.Advertise(kMss, 7);
  EXPECT_EQ(queue_.window(), 65536u);
  Add(0, std::string(1500, 'x'));
  queue_.Consume(1500);
  queue_.Advertise(kMss, 7);
  EXPECT_EQ(queue_.edge(), start_ + 65536);
}

TEST_F(ReceiveQueueTest, TheLimitGrowsWithTheReader) {
  constexpr uint32_t kTrip = 100;
  Tick now(1000);
  queue_.Tune(now, kTrip, kMss, 1 << 20);
  Seq next = queue_.next();
  for (int trip = 0; trip < 4; ++trip) {
    for (int i = 0; i < 60; ++i) {
      queue_.Add(next, BufferOf(std::string(1000, 'x')), false, room_);
      next += 1000;
      Read();
      queue_.Advertise(kMss, 7);
    }
    now = Tick(now.value() + kTrip);
    queue_.Tune(now, kTrip, kMss, 1 << 20);
  }
  EXPECT_EQ(queue_.limit_bytes(), 136'000u);  // twice 60 segments, and 16
  // After a pause nothing is learnt.
  queue_.Tune(Tick(now.value() + 100 * kTrip), kTrip, kMss, 1 << 20);
  EXPECT_EQ(queue_.limit_bytes(), 136'000u);
}

TEST_F(ReceiveQueueTest, RangesAreBounded) {
  room_.ranges_max = 4;
  for (uint32_t at = 10; at < 60; at += 10) Add(at, "x");
  EXPECT_EQ(queue_.buffers(), 4u);
  EXPECT_TRUE(Add(60, "x").dropped);
  // A nearer one is kept instead of the furthest.
  EXPECT_TRUE(Add(5, "x").out_of_order);
  EXPECT_EQ(queue_.buffers(), 4u);
  EXPECT_EQ(Sacks(), (Blocks{{5, 6}, {30, 31}, {20, 21}, {10, 11}}));
}

TEST_F(ReceiveQueueTest, BytesThatComeBackwardsDoNotTakeABufferEach) {
  room_.ranges_max = 1000;
  uint32_t kept = 0;
  for (uint32_t at = 400; at > 1; --at) kept += Add(at, "x").out_of_order;
  EXPECT_EQ(queue_.buffers(), OutOfOrder::kBuffersFree);
  EXPECT_LT(kept, 100u);
}

TEST_F(ReceiveQueueTest, PruningKeepsWhatIsInOrder) {
  Add(0, "abc");
  Add(10, "k");
  Add(20, "u", true);
  EXPECT_EQ(queue_.Prune(&out_of_order_pool_), 2u);
  EXPECT_FALSE(queue_.has_gaps());
  EXPECT_EQ(Read(), "abc");
  EXPECT_EQ(pool_.available(), 512u);
}

TEST_F(ReceiveQueueTest, ShortMemory) {
  room_.out_of_order = false;
  EXPECT_TRUE(Add(10, "k").dropped);
  room_.in_order = false;
  EXPECT_EQ(Add(0, "abc").bytes, 3u);  // the first is always taken
  EXPECT_TRUE(Add(3, std::string(1000, 'x')).dropped);
  EXPECT_EQ(Add(3, "def").bytes, 3u);  // takes no buffer
  EXPECT_EQ(Read(), "abcdef");
}

// Whatever comes in whatever pieces, each byte is read once.
TEST_F(ReceiveQueueTest, RandomPiecesGiveTheStream) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    Prng random(seed);
    std::string stream(4000, '\0');
    for (char& byte : stream) byte = static_cast<char>(random.Next());
    ReceiveQueue queue;
    const Seq start(static_cast<uint32_t>(random.Next() | 0xfffff000));  // wraps
    queue.Start(start, 16384);
    queue.Advertise(kMss, 0);
    room_.ranges_max = static_cast<uint32_t>(random.Below(8) + 1);
    std::string read;
    bool fin = false;
    for (int i = 0; i < 100'000 && !fin; ++i) {
      const size_t at = random.Below(stream.size());
      const size_t n = std::min<size_t>(random.Below(700) + 1, stream.size() - at);
      const auto added = queue.Add(start + static_cast<uint32_t>(at),
                                   BufferOf(stream.substr(at, n)), at + n == stream.size(), room_);
      fin = added.fin;
      SeqRange blocks[4];
      for (size_t k = queue.ReportSack(absl::MakeSpan(blocks)); k > 0; --k) {
        ASSERT_LT(blocks[k - 1].begin, blocks[k - 1].end);
      }
      while (queue.bytes() > 0 && (fin || random.Chance(0.3))) {
        const auto view = queue.View();
        read.append(reinterpret_cast<const char*>(view.data()), view.size());
        queue.Consume(view.size());
      }
    }
    ASSERT_TRUE(fin);
    ASSERT_EQ(read, stream);
    ASSERT_EQ(queue.buffers(), 0u);
    ASSERT_EQ(pool_.available(), 512u);
  }
}

}  // namespace
}  // namespace weft::tcp
