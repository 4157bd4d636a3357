// SPDX-License-Identifier: Apache-2.0

#include "weft/core/spsc_ring.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"

namespace weft {
namespace {

using ::testing::ElementsAre;

struct Line {
  uint64_t number;
  uint64_t copies[7];
};
static_assert(sizeof(Line) == 64);

Line MakeLine(uint64_t number) {
  Line line = {.number = number, .copies = {}};
  for (uint64_t& copy : line.copies) copy = number;
  return line;
}

bool IsWhole(const Line& line) {
  for (const uint64_t copy : line.copies) {
    if (copy != line.number) return false;
  }
  return true;
}

TEST(SpscRingTest, FirstInFirstOutUpToItsCapacity) {
  SpscRing<int> ring(4);
  EXPECT_EQ(ring.producer().capacity(), 4u);
  int out = 0;
  EXPECT_FALSE(ring.consumer().TryPop(&out));
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(ring.producer().TryPush(10 * round + i));
    EXPECT_FALSE(ring.producer().TryPush(99));
    for (int i = 0; i < 4; ++i) {
      ASSERT_TRUE(ring.consumer().TryPop(&out));
      EXPECT_EQ(out, 10 * round + i);
    }
    EXPECT_FALSE(ring.consumer().TryPop(&out));
  }
  EXPECT_FALSE(ring.producer().corrupt());
  EXPECT_FALSE(ring.consumer().corrupt());
}

TEST(SpscRingTest, CapacityOfOne) {
  SpscRing<int> ring(1);
  for (int i = 0; i < 5; ++i) {
    int out = 0;
    EXPECT_TRUE(ring.producer().TryPush(i));
    EXPECT_FALSE(ring.producer().TryPush(i));
    EXPECT_TRUE(ring.consumer().TryPop(&out));
    EXPECT_EQ(out, i);
  }
}

TEST(SpscRingTest, BurstsTakeWhatFits) {
  SpscRing<int> ring(8);
  const std::vector<int> items = {1, 2, 3, 4, 5, 6};
  std::vector<int> out(8);
  EXPECT_EQ(ring.producer().Push({}), 0u);
  EXPECT_EQ(ring.producer().Push(items), 6u);
  EXPECT_EQ(ring.producer().Push(items), 2u);
  EXPECT_EQ(ring.producer().Push(items), 0u);
  EXPECT_EQ(ring.consumer().Pop(absl::MakeSpan(out).first(5)), 5u);
  EXPECT_EQ(ring.producer().Push(items), 5u);
  EXPECT_EQ(ring.consumer().Pop(absl::MakeSpan(out)), 8u);
  EXPECT_THAT(out, ElementsAre(6, 1, 2, 1, 2, 3, 4, 5));
  EXPECT_EQ(ring.consumer().Pop(absl::MakeSpan(out)), 0u);
}

TEST(SpscRingTest, FrontIsReadInPlace) {
  SpscRing<int> ring(2);
  EXPECT_EQ(ring.consumer().Front(), nullptr);
  ring.producer().Push({7, 8});
  EXPECT_EQ(*ring.consumer().Front(), 7);
  EXPECT_EQ(*ring.consumer().Front(), 7);
  EXPECT_FALSE(ring.producer().TryPush(9));
  ring.consumer().PopFront();
  EXPECT_TRUE(ring.producer().TryPush(9));
  EXPECT_EQ(*ring.consumer().Front(), 8);
  ring.consumer().PopFront();
  EXPECT_EQ(*ring.consumer().Front(), 9);
  ring.consumer().PopFront();
  EXPECT_EQ(ring.consumer().Front(), nullptr);
}

// Pushes and pops `count` numbered lines in bursts of every size, in which nothing may be lost,
// doubled, reordered or torn.
constexpr uint64_t kLines = 200'000;

void Produce(SpscProducer<Line>& producer, uint64_t seed) {
  Prng prng(seed);
  std::vector<Line> burst(50);
  uint64_t next = 0;
  while (next < kLines && !producer.corrupt()) {
    const size_t want = std::min<uint64_t>(1 + prng.Below(burst.size()), kLines - next);
    for (size_t i = 0; i < want; ++i) burst[i] = MakeLine(next + i);
    const size_t pushed = want == 1 ? producer.TryPush(burst[0])
                                    : producer.Push(absl::MakeConstSpan(burst).first(want));
    next += pushed;
    if (pushed == 0) sched_yield();
  }
}

// Returns the first number that was not right; kLines when all were.
uint64_t Consume(SpscConsumer<Line>& consumer, uint64_t seed) {
  Prng prng(seed);
  std::vector<Line> burst(50);
  uint64_t next = 0;
  while (next < kLines && !consumer.corrupt()) {
    const size_t want = 1 + prng.Below(burst.size());
    const size_t popped =
        want == 1 ? consumer.TryPop(&burst[0]) : consumer.Pop(absl::MakeSpan(burst).first(want));
    for (size_t i = 0; i < popped; ++i, ++next) {
      if (burst[i].number != next || !IsWhole(burst[i])) return next;
    }
    if (popped == 0) sched_yield();
  }
  return next;
}

TEST(SpscRingTest, BetweenThreads) {
  SpscRing<Line> ring(64);
  std::thread producer([&ring] { Produce(ring.producer(), 1); });
  EXPECT_EQ(Consume(ring.consumer(), 2), kLines);
  producer.join();
}

// Zero-filled memory that child processes share.
class SharedMemory {
 public:
  explicit SharedMemory(size_t size)
      : size_(size),
        data_(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {}
  ~SharedMemory() { munmap(data_, size_); }
  void* data() { return data_; }

 private:
  size_t size_;
  void* data_;
};

TEST(SpscRingTest, BetweenProcesses) {
  SharedMemory memory(SpscRingBytes<Line>(64));
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    alarm(20);
    SpscProducer<Line> producer(memory.data(), 64);
    Produce(producer, 3);
    _exit(0);
  }
  SpscConsumer<Line> consumer(memory.data(), 64);
  EXPECT_EQ(Consume(consumer, 4), kLines);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

// A peer that writes what it likes into the ring's memory.
class HostileRingTest : public ::testing::Test {
 protected:
  static constexpr size_t kCapacity = 8;

  std::atomic<uint64_t>& pushed() { return *static_cast<std::atomic<uint64_t>*>(memory_.data()); }
  std::atomic<uint64_t>& popped() {
    return *reinterpret_cast<std::atomic<uint64_t>*>(static_cast<char*>(memory_.data()) +
                                                     kSpscRingAlignment);
  }

  SharedMemory memory_{SpscRingBytes<int>(kCapacity)};
  SpscProducer<int> producer_{memory_.data(), kCapacity};
  SpscConsumer<int> consumer_{memory_.data(), kCapacity};
};

TEST_F(HostileRingTest, ConsumerRefusesMoreThanTheRingHolds) {
  pushed() = kCapacity + 1;
  int out[4];
  EXPECT_EQ(consumer_.Pop(absl::MakeSpan(out)), 0u);
  EXPECT_TRUE(consumer_.corrupt());
  pushed() = 1;  // Contrition does not help.
  EXPECT_EQ(consumer_.Pop(absl::MakeSpan(out)), 0u);
  EXPECT_FALSE(consumer_.TryPop(out));
  EXPECT_EQ(consumer_.Front(), nullptr);
  EXPECT_TRUE(consumer_.corrupt());
}

TEST_F(HostileRingTest, ConsumerRefusesAProducerThatTakesBack) {
  producer_.Push({1, 2, 3, 4});
  int out;
  ASSERT_TRUE(consumer_.TryPop(&out));
  pushed() = 3;
  int rest[8];
  EXPECT_EQ(consumer_.Pop(absl::MakeSpan(rest)), 0u);
  EXPECT_TRUE(consumer_.corrupt());
  EXPECT_FALSE(consumer_.TryPop(&out));
}

TEST_F(HostileRingTest, ProducerRefusesPopsOfWhatWasNotPushed) {
  producer_.Push({1, 2, 3, 4, 5, 6});
  popped() = 7;
  EXPECT_EQ(producer_.Push({1, 2, 3}), 0u);
  EXPECT_TRUE(producer_.corrupt());
  popped() = 6;
  EXPECT_FALSE(producer_.TryPush(1));
  EXPECT_EQ(producer_.Push({1}), 0u);
}

TEST_F(HostileRingTest, ProducerRefusesAConsumerThatTakesBack) {
  producer_.Push({1, 2, 3, 4, 5, 6, 7, 8});
  popped() = 5;
  EXPECT_TRUE(producer_.TryPush(9));
  popped() = 4;
  EXPECT_EQ(producer_.Push({1, 2, 3, 4, 5}), 0u);
  EXPECT_TRUE(producer_.corrupt());
}

TEST_F(HostileRingTest, AnyIndexAtAll) {
  Prng prng(5);
  for (int run = 0; run < 2000; ++run) {
    SharedMemory memory(SpscRingBytes<int>(kCapacity));
    auto* const indices = static_cast<char*>(memory.data());
    SpscProducer<int> producer(memory.data(), kCapacity);
    SpscConsumer<int> consumer(memory.data(), kCapacity);
    std::vector<int> burst(12);
    for (int step = 0; step < 20; ++step) {
      auto& index = *reinterpret_cast<std::atomic<uint64_t>*>(
          indices + (prng.Below(2) == 0 ? 0 : kSpscRingAlignment));
      if (prng.Below(4) == 0) index = prng.Next() >> prng.Below(64);
      const size_t n = 1 + prng.Below(burst.size());
      EXPECT_LE(producer.Push(absl::MakeConstSpan(burst).first(n)), kCapacity);
      EXPECT_LE(consumer.Pop(absl::MakeSpan(burst).first(n)), kCapacity);
    }
  }
}

}  // namespace
}  // namespace weft
