// SPDX-License-Identifier: Apache-2.0
//
// How streams end: dropped, late, drained, or without the other side.
#include <memory>

#include "gtest/gtest.h"
#include "weft/rpc/service/stream_talk.h"

namespace weft::rpc {
namespace {

Task<absl::Status> SleepForever(Loop& loop, bool* destroyed) {
  const Destroyed guard(destroyed);
  while (true) co_await loop.Sleep(absl::Seconds(10));
}

TEST(StreamEndsTest, DroppingAStreamDestroysItsHandler) {
  StreamPair pair;
  bool destroyed = false;
  pair.serve = [&](ServerStream& stream, ServerCall&) { return WaitForever(stream, &destroyed); };
  auto stream = std::make_unique<ClientStream>(pair.streams(),
                                               StreamDirections{.reads = true, .writes = true});
  pair.Start(*stream);
  pair.RunFor(20 * kMs);
  EXPECT_EQ(pair.server_streams().size(), 1u);
  EXPECT_FALSE(destroyed);
  stream.reset();
  pair.RunFor(20 * kMs);
  EXPECT_TRUE(destroyed);
  ExpectNothingLeft(pair);
}

TEST(StreamEndsTest, ACoroutineMayBeDestroyedWhileItReadsOrWrites) {
  StreamPair pair;
  pair.serve = [&](ServerStream& stream, ServerCall&) { return Send(stream, 100'000, 100); };
  for (int i = 0; i < 20; ++i) {
    Seen seen;
    TaskGroup tasks;
    tasks.Spawn(ReadAll(pair, &seen));
    pair.RunFor(i * 7'000);
  }
  Seen served;
  pair.serve = [&](ServerStream& stream, ServerCall& call) {
    return ReadLater(stream, call.loop(), &served);
  };
  for (int i = 0; i < 20; ++i) {
    Seen written;
    TaskGroup tasks;
    tasks.Spawn(WriteAll(pair, 100'000, &written));
    pair.RunFor(i * 7'000);
  }
  ExpectNothingLeft(pair);
}

TEST(StreamEndsTest, ADeadlineEndsAStreamThatWouldNotEnd) {
  StreamPair pair;
  bool destroyed = false;
  pair.serve = [&](ServerStream&, ServerCall& call) {
    return SleepForever(call.loop(), &destroyed);
  };
  Seen seen;
  TaskGroup tasks;
  tasks.Spawn(ReadAll(pair, &seen, {.timeout = absl::Milliseconds(30)}));
  ASSERT_TRUE(pair.RunUntil([&] { return tasks.size() == 0; }));
  EXPECT_EQ(seen.status.code(), absl::StatusCode::kDeadlineExceeded);
  pair.RunFor(20 * kMs);
  EXPECT_TRUE(destroyed);
  ExpectNothingLeft(pair);
}

TEST(StreamEndsTest, WithoutADeadlineAStreamLivesForAsLongAsItsEndsDo) {
  StreamPair pair;
  bool destroyed = false;
  pair.serve = [&](ServerStream& stream, ServerCall&) { return WaitForever(stream, &destroyed); };
  ClientStream stream(pair.streams(), {.reads = true, .writes = true});
  pair.Start(stream);
  pair.RunFor(600'000 * kMs);
  EXPECT_FALSE(destroyed);
  EXPECT_EQ(pair.server_streams().size(), 1u);
  // It costs some packets a second, for each call that waits.
  EXPECT_LT(pair.client().stats().retransmissions, 600u * 8);
}

TEST(StreamEndsTest, AClientThatVanishesTakesItsStreamsAlong) {
  StreamPair pair;
  bool destroyed = false;
  pair.serve = [&](ServerStream& stream, ServerCall&) { return WaitForever(stream, &destroyed); };
  {
    ClientStream stream(pair.streams(), {.reads = true, .writes = true});
    pair.Start(stream);
    pair.RunFor(20 * kMs);
    ASSERT_TRUE(pair.network().Partition({{*pair.network().AddNode("c")}}).ok());
  }
  pair.EndClient();
  pair.RunFor(10'000 * kMs);
  EXPECT_TRUE(destroyed);
  EXPECT_EQ(pair.server_streams().size(), 0u);
  EXPECT_EQ(pair.server().stats().parked.value(), 0);
}

TEST(StreamEndsTest, AServerThatEndsIsUnavailable) {
  StreamPair pair;
  pair.serve = [&](ServerStream& stream, ServerCall&) { return Echo(stream); };
  Seen seen;
  TaskGroup tasks;
  tasks.Spawn(ReadAll(pair, &seen));
  pair.RunFor(20 * kMs);
  pair.EndServer();
  ASSERT_TRUE(pair.RunUntil([&] { return tasks.size() == 0; }));
  EXPECT_EQ(seen.status.code(), absl::StatusCode::kUnavailable);
  pair.StartServer();
  pair.serve = [&](ServerStream& stream, ServerCall&) { return Send(stream, 10); };
  Seen again;
  tasks.Spawn(ReadAll(pair, &again));
  ASSERT_TRUE(pair.RunUntil([&] { return tasks.size() == 0; }));
  ExpectMessages(again, 10);
}

TEST(StreamEndsTest, DrainingEndsStreamsWhoseHandlersListen) {
  StreamPair pair;
  bool destroyed = false;
  pair.serve = [&](ServerStream& stream, ServerCall&) { return WaitForever(stream, &destroyed); };
  Seen seen;
  TaskGroup tasks;
  tasks.Spawn(ReadAll(pair, &seen));
  pair.RunFor(20 * kMs);
  bool drained = false;
  pair.server().Drain([&] { drained = true; });
  pair.RunFor(100 * kMs);
  EXPECT_TRUE(drained);
  EXPECT_TRUE(destroyed);
  ASSERT_EQ(tasks.size(), 0u);
  EXPECT_EQ(seen.status.code(), absl::StatusCode::kUnavailable);
}

TEST(StreamEndsTest, DrainingEndsStreamsWhoseHandlersDoNotListen) {
  StreamPair pair;
  bool destroyed = false;
  pair.serve = [&](ServerStream&, ServerCall& call) {
    return SleepForever(call.loop(), &destroyed);
  };
  Seen seen;
  TaskGroup tasks;
  tasks.Spawn(ReadAll(pair, &seen));
  pair.RunFor(20 * kMs);
  bool drained = false;
  pair.server().Drain([&] { drained = true; });
  pair.RunFor(900 * kMs);
  EXPECT_FALSE(drained);
  pair.RunFor(300 * kMs);
  EXPECT_TRUE(drained);
  EXPECT_TRUE(destroyed);
  ASSERT_EQ(tasks.size(), 0u);
  EXPECT_EQ(seen.status.code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace weft::rpc
