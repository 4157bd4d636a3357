// SPDX-License-Identifier: Apache-2.0
#include "weft/core/buffer_chain.h"

#include <cstring>
#include <string>

#include "gtest/gtest.h"

namespace weft {
namespace {

Buffer Piece(BufferPool& pool, const std::string& text) {
  Buffer buffer = pool.Allocate();
  std::memcpy(buffer.Append(text.size()), text.data(), text.size());
  return buffer;
}

TEST(BufferChainTest, KeepsPiecesInOrder) {
  BufferPool pool({.count = 8});
  BufferChain chain(Piece(pool, "one "));
  chain.Append(Piece(pool, ""));
  chain.Append(Piece(pool, "two"));
  EXPECT_EQ(chain.pieces(), 3u);
  EXPECT_EQ(chain.size(), 7u);
  EXPECT_EQ(chain.ToString(), "one two");

  uint8_t start[5];
  EXPECT_EQ(chain.CopyTo(absl::MakeSpan(start)), 5u);
  EXPECT_EQ(std::string(start, start + 5), "one t");

  Buffer first = chain.PopFront();
  EXPECT_EQ(std::string(first.bytes().begin(), first.bytes().end()), "one ");
  EXPECT_EQ(chain.ToString(), "two");
}

TEST(BufferChainTest, GivesItsBuffersBack) {
  BufferPool pool({.count = 2});
  {
    BufferChain chain(pool.Allocate());
    chain.Append(pool.Allocate());
    EXPECT_EQ(pool.available(), 0u);
    BufferChain other = std::move(chain);
    EXPECT_EQ(chain.pieces(), 0u);
    EXPECT_EQ(other.pieces(), 2u);
    other = BufferChain();
    EXPECT_EQ(pool.available(), 2u);
  }
  EXPECT_EQ(pool.available(), 2u);
}

TEST(BufferChainTest, GrowsAndIsCutAtTheFront) {
  BufferPool pool({.count = 4});
  BufferChain chain;
  chain.Prepend(Piece(pool, "two"));
  chain.Prepend(Piece(pool, "one "));
  chain.Append(Piece(pool, " three"));
  EXPECT_EQ(chain.pieces(), 3u);
  EXPECT_EQ(chain.ToString(), "one two three");

  chain.TrimFront(2);
  EXPECT_EQ(chain.ToString(), "e two three");
  chain.TrimFront(2);
  EXPECT_EQ(chain.pieces(), 2u);
  chain.TrimFront(5);
  EXPECT_EQ(chain.pieces(), 1u);
  EXPECT_EQ(chain.ToString(), "hree");
  chain.Append(Piece(pool, "!"));
  EXPECT_EQ(chain.ToString(), "hree!");
  chain.TrimFront(100);
  EXPECT_EQ(chain.pieces(), 0u);
  EXPECT_EQ(chain.size(), 0u);
  EXPECT_EQ(pool.available(), 4u);
}

TEST(BufferChainTest, AnEmptyChainHasNothing) {
  BufferChain chain;
  EXPECT_TRUE(chain.empty());
  EXPECT_TRUE(chain.front().empty());
  EXPECT_FALSE(chain.PopFront());
  EXPECT_EQ(chain.ToString(), "");
}

}  // namespace
}  // namespace weft
