// SPDX-License-Identifier: Apache-2.0
//
// The bookkeeping of credits, and the header that carries it.
#include "weft/transports/rdma/credits.h"

#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "weft/transports/rdma/header.h"

namespace weft::rdma {
namespace {

TEST(Allowance, EdgesOnlyGoForward) {
  Allowance allowance = {.next = 10, .limit = 12};
  EXPECT_TRUE(allowance.Raise(20));
  EXPECT_EQ(allowance.left(), 10u);
  EXPECT_TRUE(allowance.Raise(15));  // an older one, overtaken
  EXPECT_EQ(allowance.left(), 10u);
}

TEST(Allowance, ALieIsNotBelieved) {
  Allowance allowance = {.next = 10, .limit = 12};
  EXPECT_FALSE(allowance.Raise(11 + Allowance::kMaxWindow));
  EXPECT_EQ(allowance.left(), 2u);
}

TEST(Allowance, SequenceNumbersGoRound) {
  Allowance allowance = {.next = 0xfffffff0, .limit = 0xfffffffe};
  EXPECT_TRUE(allowance.Raise(5));
  EXPECT_EQ(allowance.left(), 21u);
}

TEST(SlotShares, NoMoreIsGivenThanThereIs) {
  for (const uint32_t slots : {64u, 100u, 2048u, 32768u}) {
    for (const uint32_t max_peers : {1u, 10u, 1000u, 16000u}) {
      SlotShares shares(slots, max_peers);
      std::vector<Share> open(shares.max_peers());
      uint32_t told = 0;
      for (Share& share : open) {
        ASSERT_TRUE(shares.Open(&share));
        for (int i = 0; i < 20; ++i) shares.Grow(&share);
        ASSERT_GE(share.window(), 1u);
        told += share.window() + 1;  // one for a kCredit
      }
      EXPECT_EQ(told, shares.outstanding());
      EXPECT_LE(told + shares.reserve(), slots);
      Share more;
      EXPECT_FALSE(shares.Open(&more));
    }
  }
}

TEST(SlotShares, SomeIsAlwaysLeftForTheNext) {
  SlotShares shares(2048, 16);
  Share greedy, late;
  ASSERT_TRUE(shares.Open(&greedy));
  for (int i = 0; i < 100; ++i) shares.Grow(&greedy);
  EXPECT_GT(greedy.window(), 350u);
  EXPECT_LE(greedy.lent(), shares.free() / 4);
  ASSERT_TRUE(shares.Open(&late));
  EXPECT_EQ(late.window(), SlotShares::kFirstWindow);
  for (int i = 0; i < 100; ++i) shares.Grow(&late);
  EXPECT_GT(late.window(), 250u);
}

TEST(SlotShares, WhoComesLastIsLentSomethingToo) {
  SlotShares shares(4096, 100);
  std::vector<Share> open(10);
  for (Share& share : open) {
    ASSERT_TRUE(shares.Open(&share));
    for (int i = 0; i < 100; ++i) shares.Grow(&share);
    EXPECT_GE(share.window(), SlotShares::kFirstWindow);
  }
}

TEST(SlotShares, ThoseWhoUseThemComeToShareEvenly) {
  SlotShares shares(2048, 16);
  std::vector<Share> open(8);
  for (Share& share : open) {
    ASSERT_TRUE(shares.Open(&share));
    for (int i = 0; i < 100; ++i) shares.Grow(&share);
  }
  EXPECT_GT(open.front().window(), 3 * open.back().window());
  for (int round = 0; round < 5000; ++round) {
    for (Share& share : open) {
      ASSERT_EQ(shares.OnArrival(&share, share.next), Arrival::kNew);
      if (round % 20 == 0) shares.Grow(&share);
    }
  }
  for (const Share& share : open) EXPECT_NEAR(share.window(), open.front().window(), 10);
  EXPECT_GT(open.front().window(), 140u);
}

TEST(SlotShares, AnArrivalFreesThoseBeforeIt) {
  SlotShares shares(2048, 16);
  Share share;
  ASSERT_TRUE(shares.Open(&share));
  const uint32_t window = share.window();
  EXPECT_EQ(shares.OnArrival(&share, 0), Arrival::kNew);
  EXPECT_EQ(share.limit, window + 1);
  EXPECT_EQ(shares.OnArrival(&share, 5), Arrival::kNew);  // 1 to 4 are lost, or late
  EXPECT_EQ(share.limit, window + 6);
  EXPECT_EQ(shares.OnArrival(&share, 3), Arrival::kLate);
  EXPECT_EQ(shares.OnArrival(&share, 5), Arrival::kLate);  // doubled
  EXPECT_EQ(share.limit, window + 6);
  EXPECT_EQ(shares.OnArrival(&share, share.limit - 1), Arrival::kNew);
  EXPECT_EQ(shares.OnArrival(&share, share.limit), Arrival::kBeyond);
  EXPECT_EQ(share.window(), window);
}

TEST(SlotShares, SequenceNumbersGoRound) {
  SlotShares shares(2048, 16);
  Share share;
  ASSERT_TRUE(shares.Open(&share));
  share.next = 0xfffffffe;
  share.limit = share.told = share.next + 16;
  for (uint32_t i = 0; i < 100; ++i) {
    ASSERT_EQ(shares.OnArrival(&share, 0xfffffffe + i), Arrival::kNew);
  }
  EXPECT_EQ(share.window(), 16u);
}

TEST(SlotShares, WhatPeersSayOfThemselvesIsChecked) {
  SlotShares shares(2048, 16);
  Share share;
  ASSERT_TRUE(shares.Open(&share));
  const uint32_t window = share.window();
  EXPECT_FALSE(shares.OnNext(&share, window + 1));  // has sent more than it could
  EXPECT_TRUE(shares.OnNext(&share, 7));
  EXPECT_EQ(share.limit, window + 7);
  EXPECT_TRUE(shares.OnNext(&share, 3));  // late
  EXPECT_EQ(share.limit, window + 7);
}

TEST(SlotShares, ThoseOfWhoHasGoneAreGivenToOthersLater) {
  SlotShares shares(100, 3);
  std::vector<Share> open(3);
  for (Share& share : open) ASSERT_TRUE(shares.Open(&share));
  shares.Grow(&open[0]);
  shares.Close(&open[0], 1'000);
  shares.Close(&open[1], 2'000);
  Share next;
  EXPECT_FALSE(shares.Open(&next));
  shares.Settle(SlotShares::kSettleNs);
  EXPECT_FALSE(shares.Open(&next));  // what they sent may still be on its way
  shares.Settle(shares.NextNs());
  EXPECT_TRUE(shares.Open(&next));
  EXPECT_TRUE(shares.Open(&open[1]));
  for (Share* share : {&next, &open[1], &open[2]}) shares.Close(share, 0);
  shares.Settle(shares.NextNs());
  EXPECT_EQ(shares.outstanding(), 0u);
  EXPECT_EQ(shares.NextNs(), INT64_MAX);
}

TEST(SlotShares, AWindowShrinksAsItIsUsed) {
  SlotShares shares(2048, 16);
  Share first, second;
  ASSERT_TRUE(shares.Open(&first));
  for (int i = 0; i < 100; ++i) shares.Grow(&first);
  ASSERT_TRUE(shares.Open(&second));
  for (int i = 0; i < 100; ++i) shares.Grow(&second);
  const uint32_t window = first.window();
  const uint32_t free = shares.free();
  EXPECT_GT(first.lent(), free / 4);  // and the peer may still use all of it
  EXPECT_EQ(shares.OnArrival(&first, window - 1), Arrival::kNew);
  EXPECT_NEAR(first.lent(), shares.free() / 4, 1);
  EXPECT_EQ(window - first.window(), shares.free() - free);
}

TEST(SlotShares, WhatSomebodyDoesNotUseIsGivenBackAndLentAnew) {
  SlotShares shares(1024, 8);
  std::vector<Share> silent(6);
  for (Share& share : silent) {
    ASSERT_TRUE(shares.Open(&share));
    for (int i = 0; i < 20; ++i) shares.Grow(&share);
  }
  Share busy;
  ASSERT_TRUE(shares.Open(&busy));
  for (int i = 0; i < 20; ++i) shares.Grow(&busy);
  EXPECT_FALSE(shares.Grow(&busy)) << "others hold too much";
  const uint32_t before = busy.window();
  for (Share& share : silent) {
    // As its peer sees it, who has been told of all.
    Allowance allowance = {.next = share.next, .limit = share.limit};
    allowance.Skip();
    EXPECT_EQ(allowance.left(), 1u);
    allowance.Skip();
    EXPECT_EQ(allowance.left(), 1u);
    EXPECT_TRUE(shares.OnNext(&share, allowance.next));
    EXPECT_GE(share.window(), 1u);
    EXPECT_EQ(shares.OnArrival(&share, allowance.next), Arrival::kNew) << "what it has kept";
  }
  for (int i = 0; i < 20; ++i) shares.Grow(&busy);
  EXPECT_GT(busy.window(), before * 3 / 2);
  uint32_t told = busy.window() + 1;
  for (const Share& share : silent) told += share.window() + 1;
  EXPECT_EQ(told, shares.outstanding());
  EXPECT_LE(told + shares.reserve(), 1024u);
}

TEST(SlotShares, ACreditIsDueWhenHalfIsUsed) {
  SlotShares shares(2048, 16);
  Share share;
  ASSERT_TRUE(shares.Open(&share));
  EXPECT_FALSE(share.due());
  uint32_t sent = 0;
  while (!share.due()) ASSERT_EQ(shares.OnArrival(&share, sent++), Arrival::kNew);
  EXPECT_EQ(sent, SlotShares::kFirstWindow / 2);
  share.told = share.limit;
  EXPECT_FALSE(share.due());
}

TEST(Header, ReadsWhatItWrites) {
  const Header header = {
      .wants_more = true, .number = 0x01020304, .sequence = 0x0506, .edge = 0x0708};
  uint8_t bytes[kHeaderBytes];
  WriteHeader(header, bytes);
  const uint8_t golden[kHeaderBytes] = {0x41, 2, 3, 4, 5, 6, 7, 8};
  for (size_t i = 0; i < kHeaderBytes; ++i) EXPECT_EQ(bytes[i], golden[i]) << i;
  Header read;
  ASSERT_TRUE(ParseHeader(bytes, &read));
  EXPECT_FALSE(read.credit);
  EXPECT_TRUE(read.wants_more);
  EXPECT_EQ(read.number, header.number);
  EXPECT_EQ(read.sequence, header.sequence);
  EXPECT_EQ(read.edge, header.edge);
}

TEST(Header, RefusesWhatNobodyWrites) {
  Header header;
  uint8_t bytes[kHeaderBytes + 1] = {};
  WriteHeader(header, bytes);
  EXPECT_FALSE(ParseHeader({bytes, kHeaderBytes - 1}, &header));
  WriteHeader({.credit = true}, bytes);
  EXPECT_TRUE(ParseHeader({bytes, kHeaderBytes}, &header));
  EXPECT_TRUE(header.credit);
  EXPECT_FALSE(ParseHeader(bytes, &header));  // a credit carries nothing
  WriteHeader({.credit = true, .wants_more = true}, bytes);
  EXPECT_FALSE(ParseHeader({bytes, kHeaderBytes}, &header));
}

TEST(Header, NumbersLongerThanItsFieldAreOnesOwn) {
  uint8_t bytes[kHeaderBytes];
  WriteHeader({.number = 0xffffffff}, bytes);
  Header header;
  ASSERT_TRUE(ParseHeader(bytes, &header));
  EXPECT_FALSE(header.credit);
  EXPECT_FALSE(header.wants_more);
  EXPECT_EQ(header.number, Header::kNumberMask);
}

TEST(Header, SequenceNumbersAreTheNearest) {
  constexpr uint32_t kWindow = Allowance::kMaxWindow;
  for (const uint32_t known : {0u, 1u, 0x7fffu, 0xffffu, 0x10000u, 0x12345678u, 0xffffffffu}) {
    for (const uint32_t ahead : {0u, 1u, 1024u, kWindow, 0u - 1u, 0u - kWindow}) {
      const uint32_t sequence = known + ahead;
      EXPECT_EQ(FullSequence(static_cast<uint16_t>(sequence), known), sequence);
    }
  }
}

}  // namespace
}  // namespace weft::rdma
