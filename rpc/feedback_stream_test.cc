// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/feedback_stream.h"

#include <cstdint>
#include <deque>
#include <vector>

#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"

namespace weft::rpc {
namespace {

constexpr uint64_t kIncarnation = 0x1234;

struct Batch {
  FeedbackBatch head;
  std::vector<uint64_t> requests;
};

Batch Write(FeedbackStream& stream, size_t bytes_max = FeedbackStream::kBytesMax) {
  uint8_t bytes[FeedbackStream::kBytesMax];
  const size_t size = stream.Write(bytes_max, bytes);
  EXPECT_LE(size, bytes_max);
  Batch batch;
  if (size == 0) return batch;
  const absl::Span<const uint8_t> datagram(bytes, size);
  EXPECT_TRUE(ReadFeedbackBatch(datagram, &batch.head));
  EXPECT_EQ(batch.head.incarnation, kIncarnation);
  for (size_t i = 0; i < batch.head.count; ++i) {
    batch.requests.push_back(ReadFeedbackEntry(datagram, i).request);
  }
  return batch;
}

// What a router does with them: takes those that it does not know.
struct Router {
  uint64_t next = 0;
  std::vector<uint64_t> taken;
  uint64_t lost = 0;
  void Take(const Batch& batch) {
    if (batch.head.first > next) {
      lost += batch.head.first - next;
      next = batch.head.first;
    }
    for (size_t i = 0; i < batch.requests.size(); ++i) {
      if (batch.head.first + i < next) continue;
      taken.push_back(batch.requests[i]);
      next = batch.head.first + i + 1;
    }
  }
};

TEST(FeedbackStreamTest, WithoutEntriesThereIsNothingToSay) {
  FeedbackStream stream(kIncarnation);
  EXPECT_EQ(Write(stream).head.count, 0u);
  EXPECT_EQ(stream.unsent(), 0u);
}

TEST(FeedbackStreamTest, EntriesCarryNumberAndTime) {
  FeedbackStream stream(kIncarnation);
  ASSERT_TRUE(stream.Add({77, 1500}));
  EXPECT_EQ(stream.unsent(), 1u);
  uint8_t bytes[FeedbackStream::kBytesMax];
  const absl::Span<const uint8_t> datagram(bytes, stream.Write(sizeof(bytes), bytes));
  FeedbackBatch batch;
  ASSERT_TRUE(ReadFeedbackBatch(datagram, &batch));
  EXPECT_EQ(batch.first, 0u);
  EXPECT_EQ(ReadFeedbackEntry(datagram, 0), (FeedbackEntry{77, 1500}));
  EXPECT_EQ(stream.unsent(), 0u);
}

TEST(FeedbackStreamTest, ADatagramRepeatsThoseOfTheOnesBefore) {
  FeedbackStream stream(kIncarnation);
  for (uint64_t i = 0; i < 20; ++i) {
    stream.Add({i, 0});
    const Batch batch = Write(stream);
    EXPECT_EQ(batch.requests.back(), i);
    // Each entry is in so many datagrams after its own.
    const uint64_t first = i < FeedbackStream::kGenerations ? 0 : i - FeedbackStream::kGenerations;
    EXPECT_EQ(batch.head.first, first);
    EXPECT_EQ(batch.requests.front(), first);
  }
}

TEST(FeedbackStreamTest, NothingNewRepeatsTheLast) {
  FeedbackStream stream(kIncarnation);
  stream.Add({5, 0});
  const Batch once = Write(stream);
  EXPECT_EQ(Write(stream).requests, once.requests);
  EXPECT_EQ(Write(stream).requests, once.requests);
}

TEST(FeedbackStreamTest, ManyTakeSeveralDatagramsAndRepeatNoMoreThanTheyMay) {
  FeedbackStream stream(kIncarnation);
  for (uint64_t i = 0; i < 150; ++i) EXPECT_TRUE(stream.Add({i, 0}));
  EXPECT_EQ(Write(stream).head.count, kFeedbackEntriesMax);
  const Batch second = Write(stream);
  EXPECT_EQ(second.head.first, 100 - FeedbackStream::kRepeatedMax);
  EXPECT_EQ(second.requests.back(), 149u);
  EXPECT_EQ(stream.unsent(), 0u);
}

TEST(FeedbackStreamTest, ShortDatagramsSayWhatIsNewFirst) {
  FeedbackStream stream(kIncarnation);
  constexpr size_t kThree = kFeedbackBatchHeaderBytes + 3 * kFeedbackEntryBytes;
  for (uint64_t i = 0; i < 4; ++i) stream.Add({i, 0});
  EXPECT_EQ(Write(stream, kThree).requests, (std::vector<uint64_t>{0, 1, 2}));
  EXPECT_EQ(Write(stream, kThree).requests, (std::vector<uint64_t>{1, 2, 3}));
}

TEST(FeedbackStreamTest, WhatCannotBeSentGivesWayAndIsSaid) {
  FeedbackStream stream(kIncarnation);
  size_t lost = 0;
  for (uint64_t i = 0; i < 300; ++i) lost += stream.Add({i, 0}) ? 0 : 1;
  EXPECT_EQ(lost, 44u);
  Router router;
  while (stream.unsent() > 0) router.Take(Write(stream));
  EXPECT_EQ(router.taken.size(), 256u);
  EXPECT_EQ(router.lost, 44u);
  EXPECT_EQ(router.taken.back(), 299u);
}

TEST(FeedbackStreamTest, WhatWasDroppedIsNotSent) {
  FeedbackStream stream(kIncarnation);
  stream.Add({1, 0});
  stream.Add({2, 0});
  EXPECT_EQ(stream.DropUnsent(), 2u);
  EXPECT_EQ(stream.unsent(), 0u);
  stream.Add({3, 0});
  EXPECT_EQ(Write(stream).requests.back(), 3u);
}

// Loss of a fifth, bursts of one to forty: every entry arrives, in order, once.
TEST(FeedbackStreamTest, LossCostsNothingOnceTheNextDatagramComes) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Prng random(seed);
    FeedbackStream stream(kIncarnation);
    Router router;
    uint64_t n = 0;
    for (int round = 0; round < 1000; ++round) {
      const uint64_t count = 1 + random.Below(3);
      for (uint64_t i = 0; i < count; ++i) stream.Add({n++, 0});
      const Batch batch = Write(stream);
      if (random.Below(5) != 0) router.Take(batch);
    }
    router.Take(Write(stream));
    EXPECT_LT(router.lost, 5u) << seed;
    EXPECT_EQ(router.taken.size() + router.lost, n) << seed;
  }
}

}  // namespace
}  // namespace weft::rpc
