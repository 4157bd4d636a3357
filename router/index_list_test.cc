// SPDX-License-Identifier: Apache-2.0
#include "weft/router/index_list.h"

#include <cstdint>
#include <vector>

#include "gtest/gtest.h"

namespace weft::router {
namespace {

struct Node {
  uint32_t previous = 0;
  uint32_t next = 0;
};

std::vector<uint32_t> Elements(const std::vector<Node>& nodes, const IndexList<Node>& list) {
  std::vector<uint32_t> elements;
  for (uint32_t i = list.front(); i != kNoIndex; i = nodes[i].next) elements.push_back(i);
  return elements;
}

TEST(IndexListTest, KeepsOrderWhereverElementsLeave) {
  std::vector<Node> nodes(6);
  IndexList<Node> list(nodes.data());
  EXPECT_TRUE(list.empty());
  for (uint32_t i = 0; i < 5; ++i) list.PushBack(i);
  list.PushFront(5);
  EXPECT_EQ(Elements(nodes, list), (std::vector<uint32_t>{5, 0, 1, 2, 3, 4}));
  list.Remove(5);
  list.Remove(2);
  list.Remove(4);
  EXPECT_EQ(Elements(nodes, list), (std::vector<uint32_t>{0, 1, 3}));
  EXPECT_EQ(list.back(), 3u);
  EXPECT_EQ(list.size(), 3u);
}

TEST(IndexListTest, IsEmptyAndUsableAfterTheLastHasLeft) {
  std::vector<Node> nodes(2);
  IndexList<Node> list(nodes.data());
  list.PushFront(1);
  list.Remove(1);
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(list.back(), kNoIndex);
  list.PushBack(0);
  EXPECT_EQ(list.front(), 0u);
  EXPECT_EQ(list.back(), 0u);
}

TEST(IndexListTest, FollowsItsNodesToAnotherPlace) {
  std::vector<Node> nodes(2);
  IndexList<Node> list(nodes.data());
  list.PushBack(0);
  nodes.resize(100);
  list.set_nodes(nodes.data());
  list.PushBack(99);
  EXPECT_EQ(Elements(nodes, list), (std::vector<uint32_t>{0, 99}));
}

}  // namespace
}  // namespace weft::router
