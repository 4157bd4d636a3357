// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/send_queue.h"

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace weft::tcp {
namespace {

constexpr size_t kMss = 1000;
constexpr size_t kHeadroom = 64;
constexpr Seq kFirst(0xffff'f000);  // so that sequence numbers wrap

class SendQueueTest : public ::testing::Test {
 protected:
  SendQueueTest() { queue_.Start(kFirst); }
  ~SendQueueTest() override {
    queue_.Clear();
    EXPECT_EQ(memory_.taken_bytes(), 0u);
    EXPECT_EQ(buffers_.available(), buffers_.count());
  }

  Buffer Make(size_t bytes, char fill = 'a') {
    Buffer buffer = buffers_.Allocate();
    std::memset(buffer.Append(bytes), fill, bytes);
    return buffer;
  }
  void Append(size_t bytes, char fill = 'a') {
    ASSERT_TRUE(queue_.Append(Make(bytes, fill), memory_));
  }
  // Sends all there is, a segment of kMss a microsecond. The device is quick.
  void SendAll() {
    while (queue_.unsent_bytes() > 0) {
      ASSERT_TRUE(queue_.SendNext(kMss, now_ns_ += 1000, buffers_, kHeadroom).buffer);
    }
  }
  void Segments(int n) {
    for (int i = 0; i < n; ++i) Append(kMss, static_cast<char>('a' + i));
    SendAll();
  }
  SendQueue::Delivery Acknowledge(uint32_t bytes) {
    SendQueue::Delivery delivery;
    queue_.Acknowledge(kFirst + bytes, delivery);
    return delivery;
  }
  SendQueue::Delivery Sack(std::vector<std::pair<uint32_t, uint32_t>> ranges) {
    std::vector<SeqRange> blocks;
    for (auto [begin, end] : ranges) blocks.push_back({kFirst + begin, kFirst + end});
    SendQueue::Delivery delivery;
    queue_.ApplySacks(queue_.una(), blocks, delivery);
    return delivery;
  }
  SendQueue::Piece Resend() {
    return queue_.ResendLost(kMss, now_ns_ += 1000, buffers_, kHeadroom);
  }
  static absl::string_view TextOf(const SendQueue::Piece& piece) {
    return {reinterpret_cast<const char*>(piece.buffer.data()), piece.bytes};
  }

  BufferPool buffers_{{.count = 256, .bytes = 4096, .headroom = 128}};
  BlockPool memory_;
  SendQueue queue_;
  int64_t now_ns_ = 1'000'000;
};

TEST_F(SendQueueTest, AnIdleOneIsSmallAndHasNoMemory) {
  EXPECT_LE(sizeof(SendQueue), 32u);
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(queue_.recovery(), nullptr);
  Append(10);
  EXPECT_EQ(memory_.taken_bytes(), 512u);
  EXPECT_NE(queue_.recovery(), nullptr);
  SendAll();
  Acknowledge(10);
  queue_.ReleaseIfEmpty();
  EXPECT_EQ(memory_.taken_bytes(), 0u);
  EXPECT_EQ(queue_.una(), kFirst + 10);
}

TEST_F(SendQueueTest, SmallWritesShareABufferUpToTheMss) {
  for (int i = 0; i < 15; ++i) {
    absl::Span<uint8_t> room = queue_.Reserve(100, kMss, buffers_, memory_);
    ASSERT_EQ(room.size(), 100u) << i;
    std::memset(room.data(), 'x', 100);
    queue_.Commit(100);
  }
  EXPECT_EQ(queue_.chunks(), 2u);
  EXPECT_EQ(queue_.next_chunk_bytes(), kMss);
  EXPECT_EQ(queue_.unsent_bytes(), 1500u);
}

TEST_F(SendQueueTest, RoomThatIsNotUsedIsGivenBack) {
  ASSERT_FALSE(queue_.Reserve(100, kMss, buffers_, memory_).empty());
  queue_.Commit(0);
  EXPECT_EQ(memory_.taken_bytes(), 0u);
  EXPECT_EQ(buffers_.available(), buffers_.count());
}

TEST_F(SendQueueTest, NothingIsAddedToAChunkThatWasSent) {
  Append(100);
  SendAll();
  ASSERT_FALSE(queue_.Reserve(100, kMss, buffers_, memory_).empty());
  queue_.Commit(100);
  EXPECT_EQ(queue_.chunks(), 2u);
}

TEST_F(SendQueueTest, ARoomSurvivesSendingWhatStandsBeforeIt) {
  Append(2500, 'b');
  SendAll();
  absl::Span<uint8_t> room = queue_.Reserve(5, kMss, buffers_, memory_);
  queue_.MarkAllLost();
  // Cuts the chunks apart, and moves what stands behind.
  ASSERT_TRUE(queue_.ResendLost(400, ++now_ns_, buffers_, kHeadroom).buffer);
  std::memcpy(room.data(), "hello", 5);
  queue_.Commit(5);
  const SendQueue::Piece piece = queue_.SendNext(kMss, ++now_ns_, buffers_, kHeadroom);
  EXPECT_EQ(TextOf(piece), "hello");
}

TEST_F(SendQueueTest, SendsTheBufferThatWasWrittenItself) {
  Buffer buffer = Make(500);
  const uint8_t* const data = buffer.data();
  ASSERT_TRUE(queue_.Append(std::move(buffer), memory_));
  const SendQueue::Piece piece = queue_.SendNext(kMss, now_ns_, buffers_, kHeadroom);
  EXPECT_EQ(piece.buffer.data(), data);
  EXPECT_EQ(piece.seq, kFirst);
  EXPECT_EQ(piece.bytes, 500u);
  EXPECT_FALSE(piece.copied);
}

TEST_F(SendQueueTest, ResendsWithoutACopyOnceTheDeviceHasLetGo) {
  Append(500);
  SendQueue::Piece piece = queue_.SendNext(kMss, now_ns_, buffers_, kHeadroom);
  const uint8_t* const data = piece.buffer.data();
  piece.buffer.Prepend(40);  // headers
  queue_.MarkAllLost();
  {
    const SendQueue::Piece again = Resend();
    EXPECT_TRUE(again.copied);
    EXPECT_NE(again.buffer.data(), data);
    EXPECT_EQ(TextOf(again), std::string(500, 'a'));
  }
  piece.buffer.Reset();
  queue_.MarkAllLost();
  const SendQueue::Piece again = Resend();
  EXPECT_FALSE(again.copied);
  EXPECT_TRUE(again.resent);
  EXPECT_EQ(TextOf(again), std::string(500, 'a'));
}

TEST_F(SendQueueTest, CutsLargeBuffersAtTheWindowAndTheMss) {
  Buffer buffer = Make(2300);
  for (size_t i = 0; i < 2300; ++i) buffer.data()[i] = static_cast<uint8_t>(i);
  ASSERT_TRUE(queue_.Append(std::move(buffer), memory_));
  uint32_t at = 0;
  for (const uint32_t bytes : {1000u, 300u, 1000u}) {
    const SendQueue::Piece piece = queue_.SendNext(bytes, now_ns_, buffers_, kHeadroom);
    ASSERT_EQ(piece.bytes, bytes);
    EXPECT_EQ(piece.copied, at < 1300);
    for (uint32_t i = 0; i < bytes; ++i) {
      ASSERT_EQ(piece.buffer.data()[i], static_cast<uint8_t>(at + i));
    }
    at += bytes;
  }
}

TEST_F(SendQueueTest, TakesBuffersOfMoreThanAChunk) {
  BufferPool large({.count = 1, .bytes = 200'000, .headroom = 128});
  {
    Buffer buffer = large.Allocate();
    uint8_t* to = buffer.Append(150'000);
    for (size_t i = 0; i < 150'000; ++i) to[i] = static_cast<uint8_t>(i * 7);
    ASSERT_TRUE(queue_.Append(std::move(buffer), memory_));
  }
  EXPECT_EQ(queue_.chunks(), 3u);
  uint32_t at = 0;
  while (queue_.unsent_bytes() > 0) {
    const SendQueue::Piece piece = queue_.SendNext(kMss, now_ns_, buffers_, kHeadroom);
    ASSERT_GT(piece.bytes, 0u);
    for (uint32_t i = 0; i < piece.bytes; ++i) {
      ASSERT_EQ(piece.buffer.data()[i], static_cast<uint8_t>((at + i) * 7));
    }
    at += piece.bytes;
    Acknowledge(at);
  }
  EXPECT_EQ(at, 150'000u);
  EXPECT_EQ(large.available(), 1u);
}

TEST_F(SendQueueTest, SaysThatItIsStarved) {
  Append(2000);
  std::vector<Buffer> taken;
  while (Buffer buffer = buffers_.Allocate()) taken.push_back(std::move(buffer));
  const SendQueue::Piece piece = queue_.SendNext(kMss, now_ns_, buffers_, kHeadroom);
  EXPECT_FALSE(piece.buffer);
  EXPECT_TRUE(piece.starved);
  EXPECT_EQ(queue_.unsent_bytes(), 2000u);
  EXPECT_TRUE(queue_.Reserve(10, 5000, buffers_, memory_).empty() == false);
  queue_.Commit(0);
  taken.clear();
}

TEST_F(SendQueueTest, RefusesWhatTheMemoryHasNoRoomFor) {
  BlockPool small({.bytes_max = 512});
  SendQueue queue;
  queue.Start(Seq(1));
  int taken = 0;
  for (; taken < 100; ++taken) {
    Buffer buffer = Make(10);
    if (!queue.Append(std::move(buffer), small)) {
      EXPECT_TRUE(buffer) << "it stays the caller's";
      break;
    }
  }
  EXPECT_EQ(taken, 4);
  queue.Clear();
  EXPECT_EQ(small.taken_bytes(), 0u);
}

TEST_F(SendQueueTest, AcknowledgementsGiveBuffersBack) {
  Segments(5);
  const size_t before = buffers_.available();
  const SendQueue::Delivery delivery = Acknowledge(2000);
  EXPECT_EQ(delivery.acked_bytes, 2000u);
  EXPECT_EQ(delivery.delivered_bytes, 2000u);
  EXPECT_EQ(buffers_.available(), before + 2);
  EXPECT_EQ(queue_.in_flight_bytes(), 3000u);
  EXPECT_EQ(queue_.pipe_bytes(), 3000u);
}

TEST_F(SendQueueTest, AnAcknowledgementMayEndWithinAChunk) {
  Segments(2);
  Acknowledge(1300);
  EXPECT_EQ(queue_.chunk(0).bytes, 700u);
  queue_.MarkAllLost();
  const SendQueue::Piece piece = Resend();
  EXPECT_EQ(piece.seq, kFirst + 1300);
  EXPECT_EQ(TextOf(piece), std::string(700, 'b'));
}

TEST_F(SendQueueTest, SackedBytesLeaveThePipeOnce) {
  Segments(6);
  EXPECT_EQ(Sack({{2000, 4000}}).sacked_bytes, 2000u);
  EXPECT_EQ(queue_.pipe_bytes(), 4000u);
  EXPECT_EQ(Sack({{2000, 5000}}).sacked_bytes, 1000u);
  EXPECT_EQ(Sack({{2000, 5000}}).delivered_bytes, 0u);
  EXPECT_EQ(queue_.sacked_chunks(), 3u);
  EXPECT_EQ(Acknowledge(5000).delivered_bytes, 2000u);
  EXPECT_EQ(queue_.sacked_bytes(), 0u);
}

TEST_F(SendQueueTest, ChunksThatAreCoveredInPartAreNotSacked) {
  Segments(3);
  EXPECT_EQ(Sack({{1900, 2100}}).sacked_bytes, 0u);
  EXPECT_EQ(queue_.sacked_bytes(), 0u);
}

TEST_F(SendQueueTest, OfTwoPartsTheShorterIsCopied) {
  Buffer buffer = Make(3000);
  for (size_t i = 0; i < 3000; ++i) buffer.data()[i] = static_cast<uint8_t>(i / 100);
  const uint8_t* const written = buffer.data();
  const std::string text(reinterpret_cast<const char*>(written), 3000);
  ASSERT_TRUE(queue_.Append(std::move(buffer), memory_));
  // From the front: it goes to a buffer of its own.
  SendQueue::Piece piece = queue_.SendNext(kMss, now_ns_ += 1000, buffers_, kHeadroom);
  EXPECT_NE(piece.buffer.data(), written);
  EXPECT_EQ(TextOf(piece), text.substr(0, 1000));
  // From the back: what is sent stays where it is, and the rest can still be written to.
  piece = queue_.SendNext(1900, now_ns_ += 1000, buffers_, kHeadroom);
  EXPECT_EQ(piece.buffer.data(), written + 1000);
  EXPECT_EQ(TextOf(piece), text.substr(1000, 1900));
  absl::Span<uint8_t> room = queue_.Reserve(50, kMss, buffers_, memory_);
  ASSERT_EQ(room.size(), 50u);
  std::memset(room.data(), 'x', 50);
  queue_.Commit(50);
  piece = queue_.SendNext(kMss, now_ns_ += 1000, buffers_, kHeadroom);
  EXPECT_EQ(TextOf(piece), text.substr(2900) + std::string(50, 'x'));
  EXPECT_FALSE(piece.copied);
  EXPECT_EQ(queue_.unsent_bytes(), 0u);
}

TEST_F(SendQueueTest, SacksCutChunksThatWereSeveralSegments) {
  Append(3000);
  ASSERT_EQ(queue_.SendNext(3000, now_ns_, buffers_, kHeadroom).bytes, 3000u);
  EXPECT_EQ(Sack({{1000, 2000}}).sacked_bytes, 1000u);
  EXPECT_EQ(queue_.chunks(), 3u);
  EXPECT_EQ(queue_.pipe_bytes(), 2000u);
  queue_.MarkAllLost();
  EXPECT_EQ(Resend().seq, kFirst);
  EXPECT_EQ(Resend().seq, kFirst + 2000);
  EXPECT_FALSE(Resend().buffer);
}

// RFC 2883, 4.
TEST_F(SendQueueTest, DuplicatesAreTold) {
  Segments(6);
  Acknowledge(2000);
  SendQueue::Delivery below = Sack({{1000, 2000}, {3000, 4000}});
  EXPECT_EQ(below.duplicate_bytes, 1000u);
  EXPECT_EQ(below.sacked_bytes, 1000u);
  SendQueue::Delivery within = Sack({{4000, 5000}, {3000, 6000}});
  EXPECT_EQ(within.duplicate_bytes, 1000u);
  EXPECT_EQ(within.sacked_bytes, 2000u);
}

TEST_F(SendQueueTest, BlocksThatCannotBeAreCountedAndIgnored) {
  Segments(4);
  Append(1000);  // unsent
  Acknowledge(1000);
  EXPECT_EQ(Sack({{3000, 5000}}).bad_blocks, 1u) << "not sent yet";
  EXPECT_EQ(Sack({{3000, 3000}}).bad_blocks, 1u) << "empty";
  EXPECT_EQ(Sack({{3000, 2000}}).bad_blocks, 1u) << "the wrong way round";
  EXPECT_EQ(Sack({{500, 2500}}).bad_blocks, 1u) << "across the acknowledgement";
  EXPECT_EQ(Sack({{1000, 2000}}).bad_blocks, 1u) << "would be acknowledged";
  EXPECT_EQ(Sack({{2000, 3000}, {0, 1000}}).old_blocks, 1u);
  EXPECT_EQ(queue_.sacked_bytes(), 1000u);
}

TEST_F(SendQueueTest, LostOnesAreSentAgainInOrderAndOnce) {
  Segments(5);
  Sack({{4000, 5000}});
  queue_.MarkLostBefore(kFirst + 3000);
  EXPECT_EQ(queue_.lost_bytes(), 3000u);
  EXPECT_EQ(queue_.pipe_bytes(), 1000u);
  for (const uint32_t at : {0, 1000, 2000}) EXPECT_EQ(Resend().seq, kFirst + at);
  EXPECT_FALSE(Resend().buffer);
  EXPECT_EQ(queue_.pipe_bytes(), 4000u);
  EXPECT_EQ(queue_.resent_bytes(), 3000u);
}

TEST_F(SendQueueTest, ChunksAreFoundInOrderOfSending) {
  Segments(4);
  queue_.MarkFirstLost();
  Resend();
  std::vector<uint32_t> order;
  queue_.MarkLostInSentOrder([&](const SendQueue::Chunk& chunk) {
    order.push_back(static_cast<uint32_t>(chunk.seq - kFirst));
    return true;
  });
  EXPECT_EQ(order, (std::vector<uint32_t>{1000, 2000, 3000, 0}));
  queue_.UnmarkLost();
  order.clear();
  queue_.MarkLostInSentOrder([&](const SendQueue::Chunk& chunk) {
    order.push_back(static_cast<uint32_t>(chunk.seq - kFirst));
    return true;
  });
  EXPECT_EQ(order, (std::vector<uint32_t>{1000, 2000, 3000, 0}));
}

// RFC 6675, IsLost().
TEST_F(SendQueueTest, KnowsWhatThreeSackedChunksLieAbove) {
  Segments(8);
  EXPECT_EQ(queue_.LostBelow(3, 1'000'000), kFirst);
  Sack({{2000, 3000}, {4000, 5000}});
  EXPECT_EQ(queue_.LostBelow(3, 1'000'000), kFirst);
  Sack({{6000, 7000}});
  EXPECT_EQ(queue_.LostBelow(3, 1'000'000), kFirst + 2000);
  EXPECT_EQ(queue_.LostBelow(3, 1500), kFirst + 4000);
}

// RFC 2018, 8.
TEST_F(SendQueueTest, SacksCanBeForgotten) {
  Segments(4);
  Sack({{1000, 4000}});
  Acknowledge(1000);
  EXPECT_TRUE(queue_.first_is_sacked());
  queue_.ForgetSacks();
  EXPECT_EQ(queue_.sacked_bytes(), 0u);
  EXPECT_EQ(queue_.lost_bytes(), 3000u);
  EXPECT_EQ(Resend().seq, kFirst + 1000);
  EXPECT_EQ(Sack({{2000, 3000}}).sacked_bytes, 1000u) << "and be said again";
}

TEST_F(SendQueueTest, TheLastSegmentCanBeSentAsAProbe) {
  Append(2500);
  ASSERT_EQ(queue_.SendNext(2500, now_ns_, buffers_, kHeadroom).bytes, 2500u);
  const SendQueue::Piece piece = queue_.ResendLast(kMss, ++now_ns_, buffers_, kHeadroom);
  EXPECT_EQ(piece.seq, kFirst + 1500);
  EXPECT_EQ(piece.bytes, 1000u);
  EXPECT_EQ(queue_.pipe_bytes(), 2500u);
}

TEST_F(SendQueueTest, GrowsToManyChunksAndBack) {
  BufferPool many({.count = 3000, .bytes = 256, .headroom = 128});
  for (uint32_t i = 0; i < 3000; ++i) {
    Buffer buffer = many.Allocate();
    *buffer.Append(1) = static_cast<uint8_t>(i);
    ASSERT_TRUE(queue_.Append(std::move(buffer), memory_));
    ASSERT_TRUE(queue_.SendNext(kMss, now_ns_ + i, many, kHeadroom).buffer);
    if (i % 3 == 0) Acknowledge(i / 3);
  }
  EXPECT_EQ(queue_.chunks(), 3000u - 999u);
  EXPECT_EQ(Sack({{1500, 2000}, {2500, 2600}}).sacked_bytes, 600u);
  EXPECT_EQ(Acknowledge(3000).delivered_bytes, 2001u - 600u);
  queue_.ReleaseIfEmpty();
  EXPECT_EQ(memory_.taken_bytes(), 0u);
  EXPECT_EQ(many.available(), 3000u);
}

}  // namespace
}  // namespace weft::tcp
