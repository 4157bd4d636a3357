// SPDX-License-Identifier: Apache-2.0
//
// What streams carry, in either direction.
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "weft/rpc/service/stream_talk.h"

namespace weft::rpc {
namespace {

TEST(StreamsTest, TheServersMessagesArriveInOrder) {
  for (const size_t count : {0, 1, 2, 30, 1000, 20'000}) {
    StreamPair pair;
    pair.serve = [&](ServerStream& stream, ServerCall&) { return Send(stream, count); };
    Seen seen;
    TaskGroup tasks;
    tasks.Spawn(ReadAll(pair, &seen));
    ASSERT_TRUE(pair.RunUntil([&] { return tasks.size() == 0; }));
    ExpectMessages(seen, count);
    EXPECT_TRUE(seen.status.ok()) << seen.status;
    ExpectNothingLeft(pair);
    EXPECT_EQ(pair.client().stats().unexpected, 0u);
  }
}

TEST(StreamsTest, TheClientsMessagesArriveInOrder) {
  for (const size_t count : {0, 1, 2, 30, 1000, 20'000}) {
    StreamPair pair;
    Seen seen;
    pair.serve = [&](ServerStream& stream, ServerCall&) { return Receive(stream, &seen); };
    Seen written;
    TaskGroup tasks;
    tasks.Spawn(WriteAll(pair, count, &written));
    ASSERT_TRUE(pair.RunUntil([&] { return tasks.size() == 0; }));
    ExpectMessages(seen, count);
    EXPECT_TRUE(seen.ended);
    EXPECT_TRUE(written.status.ok()) << written.status;
    ExpectNothingLeft(pair);
  }
}

TEST(StreamsTest, ARouterSeesNoMoreOfThemThanTheFirstPacketOfTheirSession) {
  StreamPair pair({.link = {.latency_ns = 5000, .loss = 0.02}, .router = true});
  Seen sent;
  Seen received;
  std::vector<int64_t> took_ns;
  pair.serve = [&](ServerStream& stream, ServerCall&) { return Send(stream, 1000); };
  TaskGroup tasks;
  tasks.Spawn(ReadAll(pair, &received));
  ASSERT_TRUE(pair.RunUntil([&] { return tasks.size() == 0; }));
  ExpectMessages(received, 1000);
  Seen served;
  pair.serve = [&](ServerStream& stream, ServerCall&) { return Receive(stream, &served); };
  tasks.Spawn(WriteAll(pair, 1000, &sent));
  ASSERT_TRUE(pair.RunUntil([&] { return tasks.size() == 0; }));
  ExpectMessages(served, 1000);
  pair.serve = [](ServerStream& stream, ServerCall&) { return Echo(stream); };
  tasks.Spawn(PingPong(pair, 20, &took_ns));
  ASSERT_TRUE(pair.RunUntil([&] { return tasks.size() == 0; }));
  EXPECT_EQ(took_ns.size(), 20u);
  EXPECT_EQ(pair.router().placed(), 1u);
  EXPECT_EQ(pair.router().others(), 0u);
  ExpectNothingLeft(pair);
}

TEST(StreamsTest, MessagesOfAllSizes) {
  for (const size_t size : {0, 1, 127, 128, 1300, 1400, 1500, 20'000, 300'000}) {
    StreamPair pair;
    Seen received;
    pair.serve = [&](ServerStream& stream, ServerCall&) { return Send(stream, 20, size); };
    TaskGroup tasks;
    tasks.Spawn(ReadAll(pair, &received));
    ASSERT_TRUE(pair.RunUntil([&] { return tasks.size() == 0; }));
    ExpectMessages(received, 20, size);
    EXPECT_TRUE(received.status.ok()) << received.status;

    Seen served;
    Seen written;
    pair.serve = [&](ServerStream& stream, ServerCall&) { return Receive(stream, &served); };
    tasks.Spawn(WriteAll(pair, 20, &written, size));
    ASSERT_TRUE(pair.RunUntil([&] { return tasks.size() == 0; }));
    ExpectMessages(served, 20, size);
    EXPECT_TRUE(written.status.ok()) << written.status;
    ExpectNothingLeft(pair);
  }
}

TEST(StreamsTest, AMessageThatIsAloneGoesAtOnce) {
  StreamPair pair;
  pair.serve = [&](ServerStream& stream, ServerCall&) { return Echo(stream); };
  std::vector<int64_t> took_ns;
  TaskGroup tasks;
  tasks.Spawn(PingPong(pair, 100, &took_ns));
  ASSERT_TRUE(pair.RunUntil([&] { return tasks.size() == 0; }));
  // Of the simulated network, where nothing else takes time: there and back.
  for (size_t i = 1; i < took_ns.size(); ++i) EXPECT_LT(took_ns[i], 11'000) << i;
  ExpectNothingLeft(pair);
}

TEST(StreamsTest, MessagesThatAreWrittenTogetherSharePackets) {
  StreamPair pair;
  pair.serve = [&](ServerStream& stream, ServerCall&) { return Send(stream, 1000); };
  Seen seen;
  TaskGroup tasks;
  tasks.Spawn(ReadAll(pair, &seen));
  ASSERT_TRUE(pair.RunUntil([&] { return tasks.size() == 0; }));
  EXPECT_LT(pair.server().stats().replies, 60u);
}

}  // namespace
}  // namespace weft::rpc
