// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/reassembly.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "absl/random/random.h"
#include "gtest/gtest.h"

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

}  // namespace
}  // namespace weft::rpc
