// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/reassembly.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "absl/random/random.h"
#include "gtest/gtest.h"
#include "weft/rpc/wire.h"

namespace weft::rpc {
namespace {

using Result = Reassembly::Result;

class ReassemblyTest : public testing::Test {
 protected:
  Buffer Payload(const std::string& text) {
    Buffer buffer = pool_.Allocate();
    std::memcpy(buffer.Append(text.size()), text.data(), text.size());
    return buffer;
  }
  static Header Packet(size_t index, size_t total) {
    return {.first = index == 0,
            .last = index + 1 == total,
            .packet_order = static_cast<uint16_t>(index == 0 ? total : index)};
  }
  Result Add(Reassembly& message, size_t index, size_t total) {
    return message.Add(Packet(index, total), Payload(std::to_string(index) + ","));
  }

  BufferPool pool_{{.count = 512, .bytes = 64, .headroom = 8}};
};

TEST_F(ReassemblyTest, AnyOrderWithDuplicatesGivesTheMessage) {
  absl::BitGen random;
  Reassembly message(254);
  for (size_t total : {1, 2, 3, 7, 254}) {
    std::string expected;
    std::vector<size_t> order;
    for (size_t i = 0; i < total; ++i) {
      expected += std::to_string(i) + ",";
      order.push_back(i);
    }
    std::shuffle(order.begin(), order.end(), random);
    for (size_t i = 0; i < total; ++i) {
      const Result result = Add(message, order[i], total);
      ASSERT_EQ(result, i + 1 == total ? Result::kComplete : Result::kIncomplete);
      if (result == Result::kComplete) break;
      ASSERT_EQ(Add(message, order[i], total), Result::kDuplicate);
    }
    EXPECT_EQ(message.held(), total);
    EXPECT_EQ(message.Take().ToString(), expected);
    EXPECT_EQ(message.held(), 0u);
  }
  EXPECT_EQ(pool_.available(), pool_.count());
}

TEST_F(ReassemblyTest, RefusesContradictions) {
  Reassembly message(254);
  EXPECT_EQ(Add(message, 0, 4), Result::kIncomplete);
  EXPECT_EQ(Add(message, 4, 6), Result::kContradiction);  // beyond the end
  EXPECT_EQ(Add(message, 2, 3), Result::kContradiction);  // another end
  EXPECT_EQ(Add(message, 3, 9), Result::kContradiction);  // the end without its flag
  EXPECT_EQ(message.Add({.first = true, .packet_order = 5}, Payload("")), Result::kContradiction);
  EXPECT_EQ(Add(message, 1, 4), Result::kIncomplete);
  EXPECT_EQ(Add(message, 2, 4), Result::kIncomplete);
  EXPECT_EQ(Add(message, 3, 4), Result::kComplete);
  EXPECT_EQ(message.Take().ToString(), "0,1,2,3,");
}

TEST_F(ReassemblyTest, AnEndBeforeAPacketThatHasComeIsAContradiction) {
  Reassembly message(254);
  EXPECT_EQ(Add(message, 5, 9), Result::kIncomplete);
  EXPECT_EQ(Add(message, 2, 3), Result::kContradiction);
  EXPECT_EQ(message.Add({.first = true, .packet_order = 4}, Payload("")), Result::kContradiction);
  EXPECT_EQ(message.held(), 1u);
}

TEST_F(ReassemblyTest, RefusesMoreThanAllowed) {
  Reassembly message(3);
  EXPECT_EQ(Add(message, 0, 4), Result::kTooLong);
  EXPECT_EQ(Add(message, 3, 100), Result::kTooLong);
  EXPECT_EQ(Add(message, 3, 4), Result::kTooLong);
  EXPECT_EQ(message.held(), 0u);
  EXPECT_EQ(Add(message, 0, 3), Result::kIncomplete);
}

TEST_F(ReassemblyTest, ResetGivesTheBuffersBack) {
  Reassembly message(254);
  Add(message, 0, 4);
  Add(message, 2, 4);
  EXPECT_EQ(pool_.available(), pool_.count() - 2);
  message.Reset();
  EXPECT_EQ(pool_.available(), pool_.count());
  EXPECT_EQ(Add(message, 0, 2), Result::kIncomplete);  // the old length is forgotten
}

// --- What a PROGRESS says

class ReassemblyProgressTest : public ReassemblyTest {
 protected:
  // One character a bit.
  std::string Here(const Reassembly& message) {
    const Progress progress = message.FillProgress(0, bitmap_);
    std::string here;
    for (size_t bit = 0; bit < progress.bits; ++bit) here += progress.has(bit) ? '1' : '0';
    return here;
  }

  uint8_t bitmap_[Reassembly::kBitmapBytes];
};

TEST_F(ReassemblyProgressTest, TellsWhatHasCome) {
  Reassembly message(65535);
  EXPECT_EQ(message.cumulative(), 0u);
  EXPECT_EQ(Here(message), "");
  Add(message, 3, 9);
  EXPECT_EQ(Here(message), "001");
  Add(message, 1, 9);
  EXPECT_EQ(Here(message), "101");
  EXPECT_EQ(message.total(), 0u);
  EXPECT_EQ(message.FillProgress(5, bitmap_).granted, 5);
  Add(message, 8, 9);  // the last one tells the length
  EXPECT_EQ(Here(message), "10100001");
  EXPECT_EQ(message.total(), 9u);
  EXPECT_EQ(message.FillProgress(20, bitmap_).granted, 9);
  Add(message, 0, 9);
  EXPECT_EQ(message.cumulative(), 2u);
  EXPECT_EQ(message.out_of_order(), 2u);
  EXPECT_EQ(Here(message), "100001");
  for (const size_t index : {2, 4, 5, 6, 7}) Add(message, index, 9);
  EXPECT_TRUE(message.complete());
  EXPECT_EQ(message.cumulative(), 9u);
  EXPECT_EQ(Here(message), "");
  EXPECT_EQ(message.Take().ToString(), "0,1,2,3,4,5,6,7,8,");
  EXPECT_EQ(message.cumulative(), 0u);
}

TEST_F(ReassemblyProgressTest, TellsNoMoreThanFits) {
  Reassembly message(65535);
  Add(message, 1, 65535);
  Add(message, 1024, 65535);
  EXPECT_EQ(Here(message).size(), 1024u);
  Add(message, 65534, 65535);
  const std::string here = Here(message);
  EXPECT_EQ(here, "1" + std::string(1022, '0') + "1");
  EXPECT_EQ(message.FillProgress(100'000, bitmap_).granted, 65535);
  EXPECT_EQ(message.held(), 3u);
  message.Reset();
  EXPECT_EQ(pool_.available(), pool_.count());
}

TEST_F(ReassemblyProgressTest, ManyOutOfOrderAtAnyDistance) {
  absl::BitGen random;
  for (const size_t total : {17, 40, 400}) {
    Reassembly message(total);
    std::string expected;
    std::vector<size_t> order(total);
    for (size_t i = 0; i < total; ++i) {
      order[i] = i;
      expected += std::to_string(i) + ",";
    }
    std::shuffle(order.begin(), order.end(), random);
    std::vector<bool> come(total + 1);
    for (const size_t index : order) {
      Add(message, index, total);
      come[index] = true;
      const size_t missing =
          static_cast<size_t>(std::find(come.begin(), come.end(), false) - come.begin());
      ASSERT_EQ(message.cumulative(), missing);
      const std::string here = Here(message);
      for (size_t bit = 0; bit < here.size(); ++bit) {
        ASSERT_EQ(here[bit] == '1', come[missing + 1 + bit]);
      }
      ASSERT_EQ(static_cast<size_t>(std::count(here.begin(), here.end(), '1')),
                message.out_of_order());
    }
    EXPECT_EQ(message.Take().ToString(), expected);
  }
}

}  // namespace
}  // namespace weft::rpc
