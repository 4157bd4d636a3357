// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/shm/record_ring.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace weft::shm {
namespace {

// A ring, and what lies beside it in the memory.
struct Ring {
  explicit Ring(uint32_t bytes)
      : memory(bytes + 128, 0xee),
        data(memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64)),
        writer(data, bytes, &consumed),
        reader(data, bytes, &consumed) {
    std::memset(data, 0, bytes);
  }

  bool Put(const std::string& text) {
    const RecordWriter::Result result = Prepare(text);
    writer.Commit();
    return result == RecordWriter::Result::kDone;
  }
  RecordWriter::Result Prepare(const std::string& text) {
    return writer.Put({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  }
  RecordReader::Result Get(std::string* text) {
    const uint8_t* payload;
    uint32_t size;
    const RecordReader::Result result = reader.Peek(&payload, &size);
    if (result == RecordReader::Result::kRecord) {
      text->resize(size);
      CopyBytes(reinterpret_cast<uint8_t*>(text->data()), payload, size);
      reader.Pop(size);
      reader.Publish();
    }
    return result;
  }

  std::vector<uint8_t> memory;
  uint8_t* data;
  std::atomic<uint64_t> consumed{0};
  RecordWriter writer;
  RecordReader reader;
};

using Read = RecordReader::Result;

TEST(CopyBytesTest, CopiesExactlyWhatItShould) {
  std::vector<uint8_t> from(1200), to(1200);
  for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<uint8_t>(i * 7 + 1);
  for (size_t size = 0; size <= 1100; ++size) {
    std::fill(to.begin(), to.end(), 0);
    CopyBytes(to.data() + 3, from.data() + 5, size);
    ASSERT_EQ(std::memcmp(to.data() + 3, from.data() + 5, size), 0) << size;
    ASSERT_EQ(to[2], 0);
    ASSERT_EQ(to[3 + size], 0) << size;
  }
}

TEST(RecordRingTest, AnyMixtureOfSizesArrivesInOrder) {
  for (const uint32_t bytes : {4096u, 16384u, 65536u}) {
    Ring ring(bytes);
    std::mt19937 random(bytes);
    std::deque<std::string> expected;
    for (int step = 0; step < 100'000; ++step) {
      if (random() % 2 == 0) {
        const size_t max = random() % 8 == 0 ? ring.writer.max_payload() : 200;
        const std::string text(random() % (max + 1), static_cast<char>(random()));
        if (ring.Put(text)) expected.push_back(text);
      } else {
        std::string text;
        const Read result = ring.Get(&text);
        ASSERT_EQ(result, expected.empty() ? Read::kNone : Read::kRecord);
        if (result == Read::kNone) continue;
        ASSERT_EQ(text, expected.front());
        expected.pop_front();
      }
    }
    EXPECT_EQ(ring.data[bytes], 0xee) << "written beyond the ring";
  }
}

TEST(RecordRingTest, TheLargestRecordFitsAnEmptyRingWhereverItStands) {
  Ring ring(4096);
  std::string text;
  for (size_t offset = 0; offset < 4096; offset += kRecordAlign) {
    ASSERT_TRUE(ring.Put(std::string(ring.writer.max_payload(), 'x'))) << offset;
    ASSERT_EQ(ring.Get(&text), Read::kRecord);
    ASSERT_TRUE(ring.Put("one more step"));
    ASSERT_EQ(ring.Get(&text), Read::kRecord);
  }
}

TEST(RecordRingTest, LightTrafficStaysAtTheBeginning) {
  Ring ring(1 << 20);
  std::string text;
  for (int i = 0; i < 100'000; ++i) {
    ASSERT_TRUE(ring.Put("short"));
    ASSERT_EQ(ring.Get(&text), Read::kRecord);
  }
  for (size_t i = 2 * kWindowBytes; i < (1 << 20); ++i) ASSERT_EQ(ring.data[i], 0) << i;
}

TEST(RecordRingTest, FullUntilTheReaderMoves) {
  Ring ring(4096);
  while (ring.Put("fill")) {
  }
  EXPECT_FALSE(ring.writer.ReaderMoved());
  std::string text;
  ASSERT_EQ(ring.Get(&text), Read::kRecord);
  EXPECT_TRUE(ring.writer.ReaderMoved());
  EXPECT_TRUE(ring.Put("fill"));
}

TEST(RecordRingTest, ABurstAppearsAtOnce) {
  Ring ring(4096);
  std::string text;
  ASSERT_EQ(ring.Prepare("first"), RecordWriter::Result::kDone);
  ASSERT_EQ(ring.Prepare("second"), RecordWriter::Result::kDone);
  EXPECT_TRUE(ring.reader.Empty());
  ring.writer.Commit();
  EXPECT_EQ(ring.Get(&text), Read::kRecord);
  EXPECT_EQ(text, "first");
  EXPECT_EQ(ring.Get(&text), Read::kRecord);
  EXPECT_EQ(text, "second");
  EXPECT_EQ(ring.Get(&text), Read::kNone);
}

TEST(RecordRingTest, AWriterThatDiesBeforeTheWordHasWrittenNothing) {
  Ring ring(4096);
  ASSERT_TRUE(ring.Put("whole"));
  // What Put() does first: the payload of the next record.
  std::memset(ring.data + RecordBytes(5) + kRecordHeaderBytes, 'x', 100);
  std::string text;
  EXPECT_EQ(ring.Get(&text), Read::kRecord);
  EXPECT_EQ(ring.Get(&text), Read::kNone);
}

TEST(RecordRingTest, NonsenseIsFoundOut) {
  const uint32_t max = MaxRecordPayload(4096);
  for (const uint32_t word : {1u, 5u, kRecordPad, kRecordPad | 1, kRecordData | kRecordPad,
                              kRecordData | (max + 1), kRecordData | 0x3fffffff, 0xffffffffu}) {
    Ring ring(4096);
    RecordWord(ring.data).store(word);
    std::string text;
    EXPECT_EQ(ring.Get(&text), Read::kCorrupt) << word;
  }
  // A record that would reach beyond the end, of a size that is fine elsewhere.
  Ring ring(4096);
  std::string text;
  ASSERT_TRUE(ring.Put(std::string(max, 'x')));
  ASSERT_TRUE(ring.Put(std::string(1000, 'x')));
  ASSERT_EQ(ring.Get(&text), Read::kRecord);
  ASSERT_EQ(ring.Get(&text), Read::kRecord);
  RecordWord(ring.data + RecordBytes(max) + RecordBytes(1000)).store(kRecordData | max);
  EXPECT_EQ(ring.Get(&text), Read::kCorrupt);
}

TEST(RecordRingTest, AReaderThatClaimsTooMuchIsFoundOut) {
  for (const uint64_t claim : {uint64_t{1} << 40, ~uint64_t{0}, uint64_t{4097}}) {
    Ring ring(4096);
    while (ring.Put("fill")) {
    }
    ring.consumed = claim;
    EXPECT_EQ(ring.writer.Put({}), RecordWriter::Result::kCorrupt) << claim;
  }
}

TEST(RecordRingTest, RandomBytesNeverLeadBeyondTheRing) {
  std::mt19937 random(3);
  for (int round = 0; round < 2000; ++round) {
    Ring ring(4096);
    for (size_t i = 0; i < 4096; i += 4) {
      uint32_t word = random();
      // Words that look right more often than chance would have it.
      if (random() % 2 == 0) word = kRecordData | (word & 0x7ff);
      if (random() % 16 == 0) word = kRecordPad;
      std::memcpy(ring.data + i, &word, 4);
    }
    std::string text;
    for (int i = 0; i < 200; ++i) {
      const uint8_t* payload = nullptr;
      uint32_t size = 0;
      if (ring.reader.Peek(&payload, &size) != Read::kRecord) break;
      ASSERT_GE(payload, ring.data);
      ASSERT_LE(payload + size, ring.data + 4096);
      ring.reader.Pop(size);
    }
  }
}

}  // namespace
}  // namespace weft::shm
