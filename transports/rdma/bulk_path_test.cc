// SPDX-License-Identifier: Apache-2.0
//
// Long messages over the simulated device.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/transports/rdma/bulk_fixture.h"

namespace weft::rdma {
namespace {

TEST_F(BulkPathTest, AMessageIsReadByWhomItIsFor) {
  BulkEnd& a = Open('a');
  BulkEnd& b = Open('b');
  Prng random(1);
  EXPECT_FALSE(a.bulk().Allocate(100'001));
  for (const size_t bytes : {size_t{1}, size_t{4096}, size_t{16'385}, size_t{100'000}}) {
    const std::string text = RandomText(random, bytes);
    Buffer message = a.Message(text);
    const BulkKey key = Expose(a, 'b', message);
    ASSERT_TRUE(Fetch(b, 'a', key, bytes, 7));
    EXPECT_EQ(Result(b, 7), text);
    a.bulk().Conceal(key);
    a.bulk().Conceal(key);
  }
  EXPECT_TRUE(Until([&] { return a.bulk().exposures() == 0; }));
  EXPECT_EQ(a.bulk().stats().windows_opened, 1u);
  EXPECT_EQ(a.bulk().stats().concealed, 4u);
  EXPECT_EQ(b.bulk().stats().fetched_bytes, 1u + 4096 + 16'385 + 100'000);
  EXPECT_EQ(a.nic().stats().ud_sent, 0u);
  a.ExpectClean();
  b.ExpectClean();
}

TEST_F(BulkPathTest, TheBufferIsHeldUntilNobodyReadsItAnyMore) {
  BulkEnd& a = Open('a');
  BulkEnd& b = Open('b');
  Buffer message = a.Message("for b");
  const BulkKey key = Expose(a, 'b', message);
  ASSERT_TRUE(Fetch(b, 'a', key, 5, 1));
  a.bulk().Conceal(key);
  EXPECT_TRUE(message.is_shared());
  EXPECT_TRUE(Until([&] { return !message.is_shared(); }));
  // Whether the read came in time or not, it has ended.
  const auto text = Result(b, 1);
  EXPECT_TRUE(!text.has_value() || *text == "for b");
}

TEST_F(BulkPathTest, OthersAndLaterReadersAreDenied) {
  BulkEnd& a = Open('a');
  BulkEnd& b = Open('b');
  BulkEnd& c = Open('c');
  Buffer message = a.Message("a secret");
  const BulkKey key = Expose(a, 'b', message);
  Buffer other = a.Message("for c");
  const BulkKey for_c = Expose(a, 'c', other);
  EXPECT_FALSE(Fetch(c, 'a', key, 8, 1)) << "the key is of another connection";
  ASSERT_TRUE(Fetch(c, 'a', for_c, 5, 2));
  EXPECT_EQ(Result(c, 2), "for c");

  a.bulk().Conceal(key);
  ASSERT_TRUE(Fetch(b, 'a', key, 8, 3));
  EXPECT_EQ(Result(b, 3), std::nullopt);
  EXPECT_EQ(b.bulk().connections().stats().denied, 1u);
  // The connection comes back, to the same queue pair of the owner.
  Buffer next = a.Message("another");
  const BulkKey next_key = Expose(a, 'b', next);
  ASSERT_TRUE(Fetch(b, 'a', next_key, 7, 4));
  EXPECT_EQ(Result(b, 4), "another");
  // What is exposed outlasts that a reader is denied.
  ASSERT_TRUE(Fetch(b, 'a', key, 8, 5));
  EXPECT_EQ(Result(b, 5), std::nullopt);
  ASSERT_TRUE(Fetch(b, 'a', next_key, 7, 6));
  EXPECT_EQ(Result(b, 6), "another");
  a.bulk().Conceal(next_key);
  a.bulk().Conceal(for_c);
  EXPECT_TRUE(Until([&] { return a.bulk().exposures() == 0; }));
}

TEST_F(BulkPathTest, WhatIsExposedRightAfterADenialCanBeRead) {
  BulkEnd& a = Open('a');
  BulkEnd& b = Open('b');
  a.set_hears_news(false);
  Buffer message = a.Message("hello");
  for (uint64_t i = 0; i < 20; i += 2) {
    const BulkKey concealed = Expose(a, 'b', message);
    a.bulk().Conceal(concealed);
    ASSERT_TRUE(Fetch(b, 'a', concealed, 5, i));
    EXPECT_EQ(Result(b, i), std::nullopt);
    // Nobody has told a, whose queue pair has failed.
    std::optional<BulkKey> key = a.bulk().Expose(BulkEnd::PeerOf('b'), message);
    if (!key.has_value()) key = Expose(a, 'b', message);
    ASSERT_TRUE(Fetch(b, 'a', *key, 5, i + 1));
    EXPECT_EQ(Result(b, i + 1), "hello");
    EXPECT_TRUE(a.bulk().IsExposed(*key));
    a.bulk().Conceal(*key);
    EXPECT_FALSE(a.bulk().IsExposed(*key));
  }
  EXPECT_TRUE(Until([&] { return a.bulk().exposures() == 0; }));
}

// As above, on a device that is slow to say so.
TEST_F(BulkPathTest, WhatWasNotExposedIsKnownAndCanBeExposedAnew) {
  SimNicOptions slow;
  slow.flush_ns = 1000;
  BulkEnd& a = *(ends_['a'] = std::make_unique<BulkEnd>(
                     &network_, "a", BulkPath::Options{.count = 8, .max_bytes = 1000}, slow));
  BulkEnd& b = Open('b');
  a.set_hears_news(false);
  Buffer message = a.Message("hello");
  const BulkKey lasting = Expose(a, 'b', message);
  const BulkKey concealed = Expose(a, 'b', message);
  a.bulk().Conceal(concealed);
  ASSERT_TRUE(Fetch(b, 'a', concealed, 5, 1));
  EXPECT_EQ(Result(b, 1), std::nullopt);
  const std::optional<BulkKey> lost = a.bulk().Expose(BulkEnd::PeerOf('b'), message);
  ASSERT_TRUE(lost.has_value());
  EXPECT_TRUE(Until([&] { return !a.bulk().IsExposed(*lost); }));
  const BulkKey anew = Expose(a, 'b', message);
  a.bulk().Conceal(*lost);
  ASSERT_TRUE(Fetch(b, 'a', anew, 5, 2));
  EXPECT_EQ(Result(b, 2), "hello");
  EXPECT_TRUE(a.bulk().IsExposed(lasting)) << "of before the denial";
  ASSERT_TRUE(Fetch(b, 'a', lasting, 5, 3));
  EXPECT_EQ(Result(b, 3), "hello");
  a.bulk().Conceal(anew);
  a.bulk().Conceal(lasting);
  message.Reset();
  EXPECT_TRUE(Until([&] { return a.bulk().exposures() == 0; }));
  a.ExpectClean();
}

TEST_F(BulkPathTest, HostileKeysEndWithoutHarm) {
  BulkEnd& a = Open('a');
  BulkEnd& b = Open('b');
  Prng random(3);
  Buffer message = a.Message("exposed");
  const BulkKey key = Expose(a, 'b', message);
  for (uint64_t i = 0; i < 200; ++i) {
    BulkKey hostile = key;
    if (i < 20) {
      for (uint8_t& byte : hostile.bytes) byte = static_cast<uint8_t>(random.Next());
    } else {
      hostile.bytes[random.Below(hostile.bytes.size())] ^= uint8_t(1) << random.Below(8);
    }
    Buffer room = b.bulk().Allocate(7);
    const size_t bytes = 1 + random.Below(i % 3 == 0 ? 100'000 : 7);
    if (b.bulk().Fetch(BulkEnd::PeerOf('a'), hostile, bytes, room, i)) {
      EXPECT_FALSE(room);
      const auto text = Result(b, i);
      EXPECT_TRUE(!text.has_value() || *text == std::string("exposed").substr(0, bytes));
    } else {
      EXPECT_TRUE(room);
      Pass(100'000);
    }
    b.bulk().Conceal(hostile);  // which is of another's
  }
  EXPECT_GT(b.bulk().stats().malformed, 0u);
  EXPECT_EQ(a.bulk().exposures(), 1u);
  ASSERT_TRUE(Fetch(b, 'a', key, 7, 1000));
  EXPECT_EQ(Result(b, 1000), "exposed");
  a.bulk().Conceal(key);
  message.Reset();
  EXPECT_TRUE(Until([&] { return a.bulk().exposures() == 0; }));
  a.ExpectClean();
  b.ExpectClean();
}

TEST_F(BulkPathTest, SeveralAreUnderWayBothWaysAndLimitsHold) {
  BulkEnd& a = Open('a');
  BulkEnd& b = Open('b');
  std::vector<Buffer> messages;
  std::vector<BulkKey> keys;
  for (int i = 0; i < 8; ++i) {
    BulkEnd& owner = i % 2 == 0 ? a : b;
    messages.push_back(owner.Message(std::string(50'000, static_cast<char>('0' + i))));
    keys.push_back(Expose(owner, i % 2 == 0 ? 'b' : 'a', messages.back()));
  }
  for (uint64_t i = 0; i < 8; ++i) {
    ASSERT_TRUE(Fetch(i % 2 == 0 ? b : a, i % 2 == 0 ? 'a' : 'b', keys[i], 50'000, i));
  }
  EXPECT_FALSE(a.bulk().Allocate(1)) << "4 messages and 4 rooms are all there is";
  for (uint64_t i = 0; i < 8; ++i) {
    EXPECT_EQ(Result(i % 2 == 0 ? b : a, i), std::string(50'000, static_cast<char>('0' + i)));
    (i % 2 == 0 ? a : b).bulk().Conceal(keys[i]);
  }
  messages.clear();
  EXPECT_TRUE(Until([&] { return a.bulk().exposures() + b.bulk().exposures() == 0; }));
  a.ExpectClean();
  b.ExpectClean();
}

TEST_F(BulkPathTest, APeerThatGoesGivesBuffersBack) {
  BulkEnd& a = Open('a');
  BulkEnd& b = Open('b');
  Buffer message = a.Message(std::string(100'000, 'x'));
  const BulkKey key = Expose(a, 'b', message);
  for (uint64_t i = 0; i < 3; ++i) ASSERT_TRUE(Fetch(b, 'a', key, 100'000, i));
  message.Reset();
  ends_['a'] = nullptr;
  for (uint64_t i = 0; i < 3; ++i) EXPECT_EQ(Result(b, i), std::nullopt);
  b.ExpectClean();
  // Its successor cannot be read with the old key.
  BulkEnd& successor = Open('a');
  Buffer next = successor.Message("next");
  const BulkKey next_key = Expose(successor, 'b', next);
  ASSERT_TRUE(Fetch(b, 'a', next_key, 4, 10));
  EXPECT_EQ(Result(b, 10), "next");
  EXPECT_FALSE(Fetch(b, 'a', key, 4, 11));
  // And when the reader goes, what it could read is concealed.
  ends_['b'] = nullptr;
  EXPECT_TRUE(Until([&] { return successor.bulk().exposures() == 0; }));
  next.Reset();
  successor.ExpectClean();
}

TEST_F(BulkPathTest, UnusedConnectionsEndAndTheirNumberIsBounded) {
  auto a = std::make_unique<BulkEnd>(
      &network_, "a",
      BulkPath::Options{
          .count = 8, .max_bytes = 1000, .max_connections = 2, .idle_ns = 1'000'000'000});
  BulkEnd& owner = *(ends_['a'] = std::move(a));
  for (const char name : {'b', 'c', 'd'}) Open(name);
  Buffer message = owner.Message("hello");
  const BulkKey to_b = Expose(owner, 'b', message);
  const BulkKey to_c = Expose(owner, 'c', message);
  Pass(10'000'000);
  EXPECT_FALSE(owner.bulk().Expose(BulkEnd::PeerOf('d'), message)) << "both are held";
  EXPECT_EQ(owner.bulk().connections().size(), 2u);
  owner.bulk().Conceal(to_c);
  Pass(10'000'000);
  const BulkKey to_d = Expose(owner, 'd', message);  // in place of the one that is not used
  ASSERT_TRUE(Fetch(*ends_['d'], 'a', to_d, 5, 1));
  EXPECT_EQ(Result(*ends_['d'], 1), "hello");
  owner.bulk().Conceal(to_b);
  owner.bulk().Conceal(to_d);
  EXPECT_TRUE(Until([&] { return owner.bulk().connections().size() == 0; }));
  EXPECT_GE(owner.bulk().connections().stats().idle_ended, 3u);
  EXPECT_EQ(owner.nic().queue_pairs(), 0u);
}

TEST_F(BulkPathTest, APeerThatLeavesBeforeItIsAskedAgainLeavesNothingToDo) {
  BulkEnd& a = Open('a');
  BulkEnd& b = Open('b');
  const Buffer message = a.Message("hello");
  const BulkKey key = Expose(a, 'b', message);
  ASSERT_TRUE(Fetch(b, 'a', key, 5, 1));
  EXPECT_EQ(Result(b, 1), "hello");
  ASSERT_TRUE(network_.Partition({{*network_.AddNode("a")}}).ok());
  ASSERT_TRUE(Fetch(b, 'a', key, 5, 2));
  EXPECT_EQ(Result(b, 2), std::nullopt);
  // Wanted, and not to be asked for yet.
  Buffer room = b.bulk().Allocate(5);
  EXPECT_FALSE(b.bulk().Fetch(BulkEnd::PeerOf('a'), key, 5, room, 3));
  EXPECT_LT(b.bulk().NextNs(), INT64_MAX);
  network_.Heal();
  a.bulk().Conceal(key);
  ends_['a'] = nullptr;
  EXPECT_TRUE(Until([&] { return b.bulk().connections().size() == 0; }));
  EXPECT_EQ(b.bulk().NextNs(), INT64_MAX) << "a loop would wake for it for ever";
}

// Time went on for a port that had no connection to look after.
TEST_F(BulkPathTest, AConnectionThatIsMadeAfterALongTimeLasts) {
  BulkEnd& a = Open('a');
  BulkEnd& b = Open('b');
  Pass(200'000'000'000);
  const Buffer message = a.Message("hello");
  const BulkKey key = Expose(a, 'b', message);
  ASSERT_TRUE(Fetch(b, 'a', key, 5, 1));
  EXPECT_EQ(Result(b, 1), "hello");
  for (BulkEnd* end : {&a, &b}) {
    EXPECT_EQ(end->bulk().connections().stats().idle_ended, 0u);
    EXPECT_EQ(end->bulk().connections().stats().peer_lost, 0u);
  }
  a.bulk().Conceal(key);
}

TEST_F(BulkPathTest, AReadThatHangsHoldsUpNoOtherPeers) {
  SimNicOptions device;
  device.limits.reads_in_flight = 1;
  BulkEnd& b = *(ends_['b'] = std::make_unique<BulkEnd>(
                     &network_, "b", BulkPath::Options{.count = 8, .max_bytes = 1000}, device));
  std::map<char, Buffer> messages;
  std::map<char, BulkKey> keys;
  uint64_t context = 0;
  for (const char owner : {'a', 'c'}) {
    messages[owner] = Open(owner).Message("hello");
    keys[owner] = Expose(*ends_[owner], 'b', messages[owner]);
    ASSERT_TRUE(Fetch(b, owner, keys[owner], 5, ++context));
    EXPECT_EQ(Result(b, context), "hello");
  }
  ASSERT_TRUE(network_.Partition({{*network_.AddNode("a")}}).ok());
  for (const uint64_t waiting : {10, 11}) ASSERT_TRUE(Fetch(b, 'a', keys['a'], 5, waiting));
  ASSERT_TRUE(Fetch(b, 'c', keys['c'], 5, 12));
  EXPECT_TRUE(Until([&] { return b.done().contains(12); }, 1'000'000));
  EXPECT_FALSE(b.done().contains(10));
  network_.Heal();
  EXPECT_TRUE(Until([&] { return b.done().contains(10) && b.done().contains(11); }));
}

TEST_F(BulkPathTest, AFailedQueuePairAndARemovedDeviceEndEverything) {
  BulkEnd& a = Open('a');
  BulkEnd& b = Open('b');
  Buffer message = a.Message(std::string(100'000, 'x'));
  const BulkKey key = Expose(a, 'b', message);
  ASSERT_TRUE(Fetch(b, 'a', key, 100'000, 1));
  b.nic().Remove();
  EXPECT_EQ(Result(b, 1), std::nullopt);
  Buffer room = b.bulk().Allocate(10);
  EXPECT_FALSE(b.bulk().Fetch(BulkEnd::PeerOf('a'), key, 10, room, 2));
  EXPECT_TRUE(room);
  EXPECT_FALSE(b.bulk().Expose(BulkEnd::PeerOf('a'), b.Message("x")));
  room.Reset();
  b.ExpectClean();
}

}  // namespace
}  // namespace weft::rdma
