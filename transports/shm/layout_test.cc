// SPDX-License-Identifier: Apache-2.0
//
// Pins the bytes that docs/protocols/shm.md describes.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <vector>

#include "weft/transports/shm/byte_ring.h"
#include "weft/transports/shm/record_ring.h"
#include "weft/transports/shm/session.h"
#include "weft/transports/shm/shared_memory.h"

namespace weft::shm {
namespace {

TEST(LayoutTest, Messages) {
  EXPECT_EQ(sizeof(Hello), 80u);
  EXPECT_EQ(offsetof(Hello, version), 4u);
  EXPECT_EQ(offsetof(Hello, contract), 6u);
  EXPECT_EQ(offsetof(Hello, flags), 7u);
  EXPECT_EQ(offsetof(Hello, ring_bytes), 8u);
  EXPECT_EQ(offsetof(Hello, name_size), 12u);
  EXPECT_EQ(offsetof(Hello, name), 13u);
  EXPECT_EQ(Hello::kMagic, 0x4d485357u);
  EXPECT_EQ(sizeof(Notice), 8u);
  EXPECT_EQ(offsetof(Notice, flags), 1u);
  EXPECT_EQ(offsetof(Notice, error), 4u);
  EXPECT_EQ(static_cast<int>(Notice::Kind::kWelcome), 1);
  EXPECT_EQ(static_cast<int>(Notice::Kind::kGoodbye), 4);
}

TEST(LayoutTest, Memory) {
  EXPECT_EQ(sizeof(SideControl), 384u);
  EXPECT_EQ(offsetof(SideControl, wake_on), 0u);
  EXPECT_EQ(offsetof(SideControl, consumed), 128u);
  EXPECT_EQ(offsetof(SideControl, produced), 256u);
  UniqueFd memfd;
  const auto connector = SharedMemory::Create(4096, &memfd);
  const auto acceptor = SharedMemory::Open(memfd, 4096);
  ASSERT_TRUE(connector.ok() && acceptor.ok());
  const auto* base = reinterpret_cast<const uint8_t*>(&connector->mine());
  EXPECT_EQ(reinterpret_cast<const uint8_t*>(&connector->theirs()), base + 384);
  EXPECT_EQ(connector->my_ring(), base + 4096);
  EXPECT_EQ(connector->their_ring(), base + 8192);
  // What one side calls its own is the other's "theirs".
  connector->mine().consumed = 7;
  connector->my_ring()[3] = 9;
  EXPECT_EQ(acceptor->theirs().consumed, 7u);
  EXPECT_EQ(acceptor->their_ring()[3], 9);
}

TEST(LayoutTest, Records) {
  UniqueFd memfd;
  const auto memory = SharedMemory::Create(4096, &memfd);
  ASSERT_TRUE(memory.ok());
  uint8_t* const ring = memory->my_ring();
  RecordWriter writer(ring, 4096, &memory->theirs().consumed);
  writer.Put({reinterpret_cast<const uint8_t*>("hello"), 5});
  writer.Put({reinterpret_cast<const uint8_t*>("123456789"), 9});
  writer.Commit();
  const uint8_t expected[48] = {5,   0,   0,   0x80, 0,   0,   0,   0,   'h',  'e', 'l',
                                'l', 'o', 0,   0,    0,   9,   0,   0,   0x80, 0,   0,
                                0,   0,   '1', '2',  '3', '4', '5', '6', '7',  '8', '9'};
  EXPECT_EQ(std::vector<int>(ring, ring + sizeof(expected)),
            std::vector<int>(expected, expected + sizeof(expected)));
}

TEST(LayoutTest, PaddingAtTheEndOfTheRing) {
  UniqueFd memfd;
  const auto memory = SharedMemory::Create(4096, &memfd);
  ASSERT_TRUE(memory.ok());
  uint8_t* const ring = memory->my_ring();
  std::atomic<uint64_t>& consumed = memory->theirs().consumed;
  RecordWriter writer(ring, 4096, &consumed);
  const std::vector<uint8_t> large(2040, 'x');
  writer.Put(large);
  writer.Put({large.data(), 1000});
  writer.Commit();
  consumed = 2048 + 1008;
  EXPECT_EQ(writer.Put({large.data(), 1500}), RecordWriter::Result::kDone);
  writer.Commit();
  uint32_t word;
  std::memcpy(&word, ring + 2048 + 1008, 4);
  EXPECT_EQ(word, 0x40000000u);
  std::memcpy(&word, ring, 4);
  EXPECT_EQ(word, 0x80000000u + 1500);
}

TEST(LayoutTest, EndOfAStream) {
  uint8_t ring[4096];
  std::atomic<uint64_t> produced{0}, consumed{0};
  ByteWriter writer(ring, sizeof(ring), &produced, &consumed);
  ASSERT_EQ(writer.Reserve(10).size(), 10u);
  writer.Commit(10);
  EXPECT_EQ(produced, 10u);
  writer.End(kFin);
  EXPECT_EQ(produced, 0x800000000000000au);
  writer.End(kReset);
  EXPECT_EQ(produced, 0xc00000000000000au);
}

}  // namespace
}  // namespace weft::shm
