// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/siblings.h"

#include <poll.h>

#include <cstring>
#include <string>
#include <thread>
#include <utility>

#include "gtest/gtest.h"
#include "weft/core/bytes.h"

namespace weft::netstack {
namespace {

IpAddress Ip(const char* text) { return *IpAddress::Parse(text); }

Buffer Packet(BufferPool& pool, uint32_t number) {
  Buffer packet = pool.Allocate();
  if (packet) StoreBig32(packet.Append(4), number);
  return packet;
}

bool Readable(int fd) {
  pollfd poll_fd = {.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&poll_fd, 1, 0) == 1;
}

TEST(SiblingsTest, OneHasNobodyToTalkTo) {
  Siblings siblings(1);
  siblings.Enter(0, 1024);
  EXPECT_FALSE(siblings.Pop(0));
  EXPECT_TRUE(siblings.Arm(0));
  siblings.Disarm(0);
  EXPECT_EQ(siblings.wait_fd(0), -1);
  siblings.Leave(0);
}

TEST(SiblingsTest, PacketsArriveInOrderFromEach) {
  BufferPool pool({.count = 64, .bytes = 64, .headroom = 0});
  Siblings siblings(3);
  for (int i = 0; i < 3; ++i) siblings.Enter(i, 1024);
  for (uint32_t i = 0; i < 10; ++i) {
    for (int from = 0; from < 2; ++from) {
      Buffer packet = Packet(pool, static_cast<uint32_t>(from) * 100 + i);
      ASSERT_TRUE(siblings.Push(from, 2, packet));
      EXPECT_FALSE(packet);
    }
  }
  uint32_t next[2] = {0, 100};
  for (int i = 0; i < 20; ++i) {
    const Buffer packet = siblings.Pop(2);
    ASSERT_TRUE(packet);
    const uint32_t number = LoadBig32(packet.data());
    EXPECT_EQ(number, next[number / 100]++) << "of both in turn";
  }
  EXPECT_FALSE(siblings.Pop(2));
  EXPECT_FALSE(siblings.Pop(0));
  EXPECT_EQ(pool.available(), pool.count());
}

TEST(SiblingsTest, AFullRingLeavesThePacketToTheCaller) {
  BufferPool pool({.count = 64, .bytes = 64, .headroom = 0});
  Siblings siblings(2);
  siblings.Enter(0, pool.count());
  siblings.Enter(1, pool.count());
  size_t pushed = 0;
  for (;; ++pushed) {
    Buffer packet = Packet(pool, 7);
    ASSERT_TRUE(packet) << "the ring took all buffers";
    if (siblings.Push(0, 1, packet)) continue;
    ASSERT_TRUE(packet);
    EXPECT_EQ(LoadBig32(packet.data()), 7u);
    break;
  }
  EXPECT_EQ(pushed, pool.count() / 4);
  EXPECT_TRUE(siblings.Pop(1));
  Buffer packet = Packet(pool, 8);
  EXPECT_TRUE(siblings.Push(0, 1, packet)) << "there is room again";
}

TEST(SiblingsTest, NothingGoesToOneWhoIsNotThere) {
  BufferPool pool({.count = 64, .bytes = 64, .headroom = 0});
  Siblings siblings(2);
  siblings.Enter(0, pool.count());
  Buffer packet = Packet(pool, 1);
  EXPECT_FALSE(siblings.IsHere(1));
  EXPECT_FALSE(siblings.Push(0, 1, packet));
  siblings.Enter(1, pool.count());
  EXPECT_TRUE(siblings.Push(0, 1, packet));
  siblings.Leave(1);
  EXPECT_EQ(pool.available(), pool.count()) << "who leaves gives back what has waited for him";
  packet = Packet(pool, 2);
  EXPECT_FALSE(siblings.Push(0, 1, packet));
  siblings.Enter(1, pool.count());
  EXPECT_FALSE(siblings.Pop(1));
  EXPECT_TRUE(siblings.Push(0, 1, packet));
}

TEST(SiblingsTest, PacketsOnTheirWayGoBackWhenAllIsOver) {
  BufferPool pool({.count = 64, .bytes = 64, .headroom = 0});
  {
    Siblings siblings(2);
    siblings.Enter(0, pool.count());
    siblings.Enter(1, pool.count());
    Buffer packet = Packet(pool, 1);
    ASSERT_TRUE(siblings.Push(0, 1, packet));
  }
  EXPECT_EQ(pool.available(), pool.count());
}

TEST(SiblingsTest, WhoSleepsIsWoken) {
  BufferPool pool({.count = 64, .bytes = 64, .headroom = 0});
  Siblings siblings(2);
  siblings.Enter(0, pool.count());
  siblings.Enter(1, pool.count());
  Buffer packet = Packet(pool, 1);
  ASSERT_TRUE(siblings.Push(0, 1, packet));
  EXPECT_FALSE(Readable(siblings.wait_fd(1))) << "nobody sleeps";
  EXPECT_FALSE(siblings.Arm(1)) << "there is something";
  siblings.Pop(1);
  ASSERT_TRUE(siblings.Arm(1));
  EXPECT_FALSE(Readable(siblings.wait_fd(1)));
  packet = Packet(pool, 2);
  ASSERT_TRUE(siblings.Push(0, 1, packet));
  EXPECT_TRUE(Readable(siblings.wait_fd(1)));
  EXPECT_FALSE(Readable(siblings.wait_fd(0)));
  siblings.Disarm(1);
  EXPECT_FALSE(Readable(siblings.wait_fd(1)));
  EXPECT_TRUE(siblings.Pop(1));
}

// Two threads hand packets to each other and sleep whenever there is nothing: a lost wake-up hangs.
TEST(SiblingsTest, NoWakeUpIsLostBetweenThreads) {
  constexpr uint32_t kRounds = 20'000;
  Siblings siblings(2);
  const auto run = [&siblings](int me, bool first) {
    BufferPool pool({.count = 64, .bytes = 64, .headroom = 0});
    siblings.Enter(me, pool.count());
    while (!siblings.IsHere(1 - me)) std::this_thread::yield();
    for (uint32_t round = 0; round < kRounds; ++round) {
      if (first || round > 0) {
        Buffer packet = Packet(pool, round);
        while (!packet || !siblings.Push(me, 1 - me, packet)) {
          if (!packet) packet = Packet(pool, round);
          std::this_thread::yield();
        }
      }
      for (;;) {
        const Buffer packet = siblings.Pop(me);
        if (packet) {
          ASSERT_EQ(LoadBig32(packet.data()), first ? round + 1 : round);
          break;
        }
        if (siblings.Arm(me)) {
          pollfd poll_fd = {.fd = siblings.wait_fd(me), .events = POLLIN, .revents = 0};
          poll(&poll_fd, 1, -1);
          siblings.Disarm(me);
        }
      }
    }
    if (!first) {
      Buffer packet = Packet(pool, kRounds);
      while (packet && !siblings.Push(me, 1 - me, packet)) std::this_thread::yield();
    }
  };
  std::thread other([&run] { run(1, /*first=*/false); });
  run(0, /*first=*/true);
  other.join();
}

class PortDirectoryTest : public testing::Test {
 protected:
  absl::Status Add(const char* address, uint16_t port, int queue, bool shared = false,
                   bool first = false) {
    return directory_.Add({{Ip(address), port}, queue, shared}, first);
  }
  PortDirectory directory_;
};

TEST_F(PortDirectoryTest, OneListensWhereNobodyShares) {
  const uint64_t before = directory_.generation();
  EXPECT_TRUE(Add("10.0.0.2", 7, 0).ok());
  EXPECT_NE(directory_.generation(), before);
  for (const int queue : {0, 1}) {
    const absl::Status again = Add("10.0.0.2", 7, queue);
    EXPECT_EQ(again.code(), absl::StatusCode::kAlreadyExists);
    EXPECT_NE(again.message().find("10.0.0.2:7 is in use"), std::string::npos) << again;
  }
  EXPECT_TRUE(Add("10.0.0.3", 7, 1).ok());
  EXPECT_TRUE(Add("10.0.0.2", 8, 1).ok());
  directory_.Remove({{Ip("10.0.0.2"), 7}, 0, false});
  EXPECT_TRUE(Add("10.0.0.2", 7, 1).ok());
  EXPECT_EQ(directory_.owners().size(), 3u);
}

TEST_F(PortDirectoryTest, SpecialAndGeneralLiveTogetherInOneStackOnly) {
  EXPECT_TRUE(Add("::", 7, 0).ok());
  EXPECT_TRUE(Add("10.0.0.2", 7, 0).ok());
  EXPECT_FALSE(Add("10.0.0.3", 7, 1).ok()) << "its datagrams might reach '::' first";
  EXPECT_FALSE(Add("0.0.0.0", 7, 1).ok());
}

TEST_F(PortDirectoryTest, StacksMayShare) {
  EXPECT_TRUE(Add("::", 7, 0, true).ok());
  EXPECT_TRUE(Add("::", 7, 1, true).ok());
  EXPECT_FALSE(Add("::", 7, 1, true).ok()) << "a stack with itself does not";
  EXPECT_FALSE(Add("::", 7, 2, false).ok());
  EXPECT_FALSE(Add("::", 7, 2, true, /*first=*/true).ok());
  EXPECT_TRUE(Add("10.0.0.2", 7, 1, true).ok());
  directory_.Remove({{Ip("::"), 7}, 0, true});
  EXPECT_EQ(directory_.owners().size(), 2u);
}

TEST_F(PortDirectoryTest, WhoListensIsFoundTheMoreSpecialFirst) {
  PortOwners owners(&directory_);
  EXPECT_EQ(owners.FindOther(Ip("10.0.0.2"), 7, 0, 0), -1);
  EXPECT_TRUE(Add("::", 7, 1, true).ok());
  EXPECT_TRUE(Add("::", 7, 2, true).ok());
  EXPECT_TRUE(Add("10.0.0.3", 7, 3, true).ok());
  EXPECT_TRUE(Add("10.0.0.2", 8, 1).ok());
  for (uint32_t hash = 0; hash < 8; ++hash) {
    EXPECT_EQ(owners.FindOther(Ip("10.0.0.2"), 7, 1, hash), 2);
    EXPECT_EQ(owners.FindOther(Ip("10.0.0.2"), 7, 0, hash), hash % 2 == 0 ? 1 : 2);
    EXPECT_EQ(owners.FindOther(Ip("10.0.0.3"), 7, 0, hash), 3);
    EXPECT_EQ(owners.Spread(Ip("10.0.0.2"), 7, hash), hash % 2 == 0 ? 1 : 2);
    EXPECT_EQ(owners.Spread(Ip("10.0.0.3"), 7, hash), -1) << "one alone shares nothing";
    EXPECT_EQ(owners.Spread(Ip("10.0.0.2"), 8, hash), -1);
  }
  EXPECT_EQ(owners.FindOther(Ip("10.0.0.3"), 8, 0, 0), -1);
  EXPECT_EQ(owners.FindOther(Ip("10.0.0.2"), 8, 1, 0), -1) << "nobody but the one who asks";
  directory_.Remove({{Ip("::"), 7}, 2, true});
  EXPECT_EQ(owners.FindOther(Ip("10.0.0.2"), 7, 0, 1), 1);
  EXPECT_EQ(owners.Spread(Ip("10.0.0.2"), 7, 1), -1);
}

}  // namespace
}  // namespace weft::netstack
