// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/byte_queue.h"

#include <cstring>
#include <string>

#include "gtest/gtest.h"

namespace weft::linux_transport {
namespace {

constexpr size_t kChunkBytes = ChunkPool::Chunk::kBytes;

void Write(ByteQueue& queue, const std::string& text) {
  absl::Span<uint8_t> room = queue.Room(text.size());
  ASSERT_GE(room.size(), text.size());
  std::memcpy(room.data(), text.data(), text.size());
  queue.Commit(text.size());
}

std::string FrontText(const ByteQueue& queue) {
  const absl::Span<const uint8_t> front = queue.Front();
  return std::string(reinterpret_cast<const char*>(front.data()), front.size());
}

TEST(ByteQueueTest, GivesBackWhatWasPutIn) {
  ChunkPool pool;
  ByteQueue queue(pool);
  EXPECT_TRUE(queue.Front().empty());
  Write(queue, "hello ");
  Write(queue, "world");
  EXPECT_EQ(FrontText(queue), "hello world");
  queue.Consume(6);
  EXPECT_EQ(FrontText(queue), "world");
  EXPECT_EQ(queue.size(), 5u);
  queue.Consume(5);
  EXPECT_TRUE(queue.empty());
  EXPECT_TRUE(queue.Front().empty());
}

TEST(ByteQueueTest, RoomIsInOnePieceUntilTheQueueIsFull) {
  ChunkPool pool;
  ByteQueue queue(pool);
  Write(queue, std::string(kChunkBytes - 10, 'a'));
  EXPECT_GE(queue.Room(10).size(), 10u);
  EXPECT_GE(queue.Room(11).size(), 11u);  // of a fresh chunk: ten bytes stay unused
  for (size_t i = 1; i < ByteQueue::kChunks; ++i) {
    EXPECT_TRUE(queue.HasRoom());
    Write(queue, std::string(kChunkBytes, 'b'));
  }
  EXPECT_FALSE(queue.HasRoom());
  EXPECT_TRUE(queue.Room(1).empty());
  EXPECT_EQ(queue.size(), ByteQueue::kChunks * kChunkBytes - 10);

  iovec pieces[ByteQueue::kChunks];
  EXPECT_EQ(queue.Pieces(pieces), ByteQueue::kChunks);
  EXPECT_EQ(pieces[0].iov_len, kChunkBytes - 10);
  queue.Consume(kChunkBytes);  // the first chunk and ten bytes of the next
  EXPECT_TRUE(queue.HasRoom());
  EXPECT_EQ(queue.Front().size(), kChunkBytes - 10);
  EXPECT_EQ(queue.Front()[0], 'b');
}

TEST(ByteQueueTest, MoreThanAChunkIsWantedInVain) {
  ChunkPool pool;
  ByteQueue queue(pool);
  EXPECT_EQ(queue.Room(10 * kChunkBytes).size(), kChunkBytes);
  queue.Commit(0);
  EXPECT_TRUE(queue.Front().empty());
}

TEST(ByteQueueTest, CommitOfMoreThanTheRoomIsCutOff) {
  ChunkPool pool;
  ByteQueue queue(pool);
  queue.Commit(5);
  EXPECT_EQ(queue.size(), 0u);
  queue.Room(1);
  queue.Commit(10 * kChunkBytes);
  EXPECT_EQ(queue.size(), kChunkBytes);
}

}  // namespace
}  // namespace weft::linux_transport
