// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/request_ids.h"

#include <cstdint>
#include <vector>

#include "gtest/gtest.h"

namespace weft::rpc {
namespace {

TEST(RequestIdsTest, IsAPermutationAndItsInverse) {
  const RequestIds ids;
  std::vector<bool> seen(65536);
  for (int n = 0; n < 65536; ++n) {
    const uint16_t id = ids.Encode(static_cast<uint16_t>(n));
    EXPECT_FALSE(seen[id]);
    seen[id] = true;
    ASSERT_EQ(ids.Decode(id), n);
  }
}

// Not a test of randomness, but of the mistake that would make ids guessable: a key that is not
// fresh, or a sequence that shows through.
TEST(RequestIdsTest, DiffersFromInstanceToInstanceAndFromItsInput) {
  const RequestIds a;
  const RequestIds b;
  int equal = 0;
  int successive = 0;
  for (int n = 0; n < 65535; ++n) {
    const uint16_t sequence = static_cast<uint16_t>(n);
    equal += a.Encode(sequence) == b.Encode(sequence);
    successive += static_cast<uint16_t>(a.Encode(sequence) + 1) == a.Encode(sequence + 1);
  }
  EXPECT_LT(equal, 50);  // one is expected
  EXPECT_LT(successive, 50);
}

}  // namespace
}  // namespace weft::rpc
