// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/event_queue.h"

#include <cerrno>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

using Kind = PortEvent::Kind;

Peer PeerNumber(uint64_t number) { return {{number, 0, 0}}; }

class PortEventQueueTest : public testing::Test {
 protected:
  std::vector<PortEvent> Take(size_t max = 1000) {
    std::vector<PortEvent> events(max);
    events.resize(queue_.Take(absl::MakeSpan(events)));
    return events;
  }

  bool has_events_ = false;
  PortEventQueue queue_{&has_events_};
};

TEST_F(PortEventQueueTest, TellsWhatHappenedInItsOrderPartByPart) {
  EXPECT_TRUE(Take().empty());
  queue_.Add({Kind::kLinkUp, {}});
  queue_.Add({Kind::kPeerUnreachable, PeerNumber(1), ECONNREFUSED});
  queue_.Add({Kind::kPeerClosed, PeerNumber(1)});
  EXPECT_TRUE(has_events_);
  std::vector<PortEvent> events = Take(2);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].kind, Kind::kLinkUp);
  EXPECT_FALSE(events[0].peer);
  EXPECT_EQ(events[1].kind, Kind::kPeerUnreachable);
  EXPECT_EQ(events[1].peer, PeerNumber(1));
  EXPECT_EQ(events[1].error, ECONNREFUSED);
  EXPECT_TRUE(has_events_);
  events = Take(2);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, Kind::kPeerClosed);
  EXPECT_FALSE(has_events_);
}

TEST_F(PortEventQueueTest, ARepeatedEventIsToldOnceWithItsNewestError) {
  queue_.Add({Kind::kPeerUnreachable, PeerNumber(1), ECONNREFUSED});
  queue_.Add({Kind::kPeerUnreachable, PeerNumber(2), ECONNREFUSED});
  queue_.Add({Kind::kPeerUnreachable, PeerNumber(1), EHOSTUNREACH});
  std::vector<PortEvent> events = Take();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].peer, PeerNumber(2));
  EXPECT_EQ(events[1].peer, PeerNumber(1));
  EXPECT_EQ(events[1].error, EHOSTUNREACH);
  // Once taken, it may come anew.
  queue_.Add({Kind::kPeerUnreachable, PeerNumber(1), EHOSTUNREACH});
  EXPECT_EQ(Take().size(), 1u);
}

TEST_F(PortEventQueueTest, TheLastEventOfTheLinkIsItsState) {
  for (int i = 0; i < 5; ++i) {
    queue_.Add({Kind::kLinkDown, {}, ENETDOWN});
    queue_.Add({Kind::kLinkUp, {}});
  }
  queue_.Add({Kind::kLinkDown, {}, ENETDOWN});
  const std::vector<PortEvent> events = Take();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].kind, Kind::kLinkUp);
  EXPECT_EQ(events[1].kind, Kind::kLinkDown);
}

TEST_F(PortEventQueueTest, TheOldestGoesWhenThereAreTooMany) {
  for (uint64_t i = 0; i < PortEventQueue::kMax + 3; ++i) {
    queue_.Add({Kind::kPeerClosed, PeerNumber(i + 1)});
  }
  const std::vector<PortEvent> events = Take();
  ASSERT_EQ(events.size(), PortEventQueue::kMax);
  EXPECT_EQ(events.front().peer, PeerNumber(4));
  EXPECT_EQ(events.back().peer, PeerNumber(PortEventQueue::kMax + 3));
}

TEST_F(PortEventQueueTest, APeerThatFailsAgainTakesNobodysPlace) {
  for (uint64_t i = 0; i < PortEventQueue::kMax; ++i) {
    queue_.Add({Kind::kPeerUnreachable, PeerNumber(i + 1), ECONNREFUSED});
  }
  for (int i = 0; i < 1000; ++i) {
    queue_.Add({Kind::kPeerUnreachable, PeerNumber(7), ECONNREFUSED});
  }
  const std::vector<PortEvent> events = Take();
  ASSERT_EQ(events.size(), PortEventQueue::kMax);
  EXPECT_EQ(events.front().peer, PeerNumber(1));
  EXPECT_EQ(events.back().peer, PeerNumber(7));
}

TEST_F(PortEventQueueTest, ALoopStaysAwakeOnceForWhatIsNew) {
  EXPECT_FALSE(queue_.KeepsAwake());
  queue_.Add({Kind::kPeerClosed, PeerNumber(1)});
  EXPECT_TRUE(queue_.KeepsAwake());
  EXPECT_FALSE(queue_.KeepsAwake()) << "nobody takes it, and the thread may sleep";
  queue_.Add({Kind::kPeerClosed, PeerNumber(1)});
  EXPECT_TRUE(queue_.KeepsAwake()) << "it has happened again";
}

TEST_F(PortEventQueueTest, ALoopStaysAwakeUntilAllIsTakenByWhoTakesSome) {
  for (uint64_t i = 0; i < 3; ++i) queue_.Add({Kind::kPeerClosed, PeerNumber(i + 1)});
  for (int left = 2; left > 0; --left) {
    EXPECT_TRUE(queue_.KeepsAwake());
    EXPECT_EQ(Take(1).size(), 1u);
  }
  EXPECT_TRUE(queue_.KeepsAwake());
  EXPECT_EQ(Take(1).size(), 1u);
  EXPECT_FALSE(queue_.KeepsAwake());
}

TEST_F(PortEventQueueTest, WhatIsTakenAtOnceKeepsNobodyAwake) {
  queue_.Add({Kind::kPeerClosed, PeerNumber(1)});
  EXPECT_EQ(Take().size(), 1u);
  EXPECT_FALSE(queue_.KeepsAwake());
}

}  // namespace
}  // namespace weft
