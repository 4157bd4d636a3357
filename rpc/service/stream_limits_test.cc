// SPDX-License-Identifier: Apache-2.0
//
// What streams may take up: an end that does not read, and the limits of both ends.
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "weft/rpc/service/stream_talk.h"

namespace weft::rpc {
namespace {

TEST(StreamLimitsTest, AClientThatDoesNotReadStopsTheServer) {
  StreamPair pair;
  size_t written = 0;
  const auto serve = [](ServerStream& stream, size_t* count) -> Task<absl::Status> {
    for (size_t i = 0; i < 100'000; ++i, ++*count) {
      const Payload message = Bytes(Message(i, 64));
      if (!co_await WriteTo(stream, message)) break;
    }
    co_return absl::OkStatus();
  };
  pair.serve = [&](ServerStream& stream, ServerCall&) { return serve(stream, &written); };
  ClientStream stream(pair.streams(), {.reads = true});
  pair.Start(stream);
  pair.RunFor(200 * kMs);
  const size_t stopped_at = written;
  EXPECT_GT(stopped_at, 50u);
  EXPECT_LT(stopped_at * 65, 20u * 2048) << "a window of packets and one more";
  EXPECT_LT(pair.streams().bytes_held(), 20u * 2048);
  pair.RunFor(1000 * kMs);
  EXPECT_EQ(written, stopped_at);

  Seen seen;
  const auto read = [](ClientStream& s, Seen* all) -> Task<void> {
    BufferChain message;
    while (co_await ReadFrom(s, &message)) all->messages.push_back(message.ToString());
    all->status = StreamPair::StatusOf(co_await s.End());
  };
  TaskGroup tasks;
  tasks.Spawn(read(stream, &seen));
  ASSERT_TRUE(pair.RunUntil([&] { return tasks.size() == 0; }));
  ExpectMessages(seen, 100'000, 64);
}

TEST(StreamLimitsTest, AServerThatDoesNotReadStopsTheClient) {
  StreamPair pair;
  Seen seen;
  pair.serve = [&](ServerStream& stream, ServerCall& call) {
    return ReadLater(stream, call.loop(), &seen);
  };
  Seen written;
  TaskGroup tasks;
  tasks.Spawn(WriteAll(pair, 50'000, &written, 64));
  pair.RunFor(200 * kMs);
  const size_t stopped_at = written.messages.size();
  EXPECT_GT(stopped_at, 50u);
  EXPECT_LT(stopped_at * 65, 36u * 2048) << "what the server holds, and the client";
  EXPECT_LT(pair.server_streams().bytes_held(), 17u * 2048);
  ASSERT_TRUE(pair.RunUntil([&] { return tasks.size() == 0; }));
  ExpectMessages(seen, 50'000, 64);
  ExpectNothingLeft(pair);
}

TEST(StreamLimitsTest, SlowReadersOfManyStreamsDoNotTakeTheBuffersOfOthers) {
  StreamPairOptions options;
  options.buffers = 256;
  StreamPair pair(options);
  std::vector<Seen> seen(100);
  size_t next = 0;
  pair.serve = [&](ServerStream& stream, ServerCall& call) {
    return ReadLater(stream, call.loop(), &seen[next++]);
  };
  std::vector<Seen> written(100);
  TaskGroup tasks;
  for (Seen& one : written) tasks.Spawn(WriteAll(pair, 300, &one, 64));
  pair.RunFor(200 * kMs);
  EXPECT_GE(pair.server().port().pool().available(), 63u);
  EXPECT_GT(pair.server_streams().stats().copied, 0u);
  ASSERT_TRUE(pair.RunUntil([&] { return tasks.size() == 0; }));
  for (const Seen& one : seen) ExpectMessages(one, 300, 64);
  ExpectNothingLeft(pair);
}

TEST(StreamLimitsTest, AThousandStreamsOfOneClient) {
  StreamPairOptions options;
  options.buffers = 24576;
  options.server.executing_max = 64;  // streams do not count
  StreamPair pair(options);
  pair.serve = [&](ServerStream& stream, ServerCall&) { return Echo(stream); };
  std::vector<std::vector<int64_t>> took_ns(1000);
  TaskGroup tasks;
  for (auto& one : took_ns) tasks.Spawn(PingPong(pair, 10, &one));
  EXPECT_EQ(pair.streams().size(), 1000u);
  ASSERT_TRUE(pair.RunUntil([&] { return tasks.size() == 0; }));
  EXPECT_EQ(pair.server_streams().stats().opened, 1000u);
  EXPECT_EQ(pair.server().stats().refused_overloaded, 0u);
  ExpectNothingLeft(pair);
}

TEST(StreamLimitsTest, OneStreamMoreThanAllowedIsRefused) {
  StreamPairOptions options;
  options.server_streams.streams_max = 2;
  StreamPair pair(options);
  bool destroyed = false;
  pair.serve = [&](ServerStream& stream, ServerCall&) { return WaitForever(stream, &destroyed); };
  ClientStream first(pair.streams(), {.reads = true, .writes = true});
  ClientStream second(pair.streams(), {.reads = true, .writes = true});
  pair.Start(first);
  pair.Start(second);
  Seen seen;
  TaskGroup tasks;
  tasks.Spawn(ReadAll(pair, &seen));
  ASSERT_TRUE(pair.RunUntil([&] { return tasks.size() == 0; }));
  EXPECT_EQ(seen.status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(pair.server_streams().stats().refused, 1u);
}

TEST(StreamLimitsTest, TheSmallerWindowHolds) {
  StreamPairOptions options;
  options.server_streams.window = 2;
  StreamPair pair(options);
  Seen seen;
  pair.serve = [&](ServerStream& stream, ServerCall& call) {
    return ReadLater(stream, call.loop(), &seen);
  };
  Seen written;
  TaskGroup tasks;
  tasks.Spawn(WriteAll(pair, 5000, &written));
  ASSERT_TRUE(pair.RunUntil([&] { return tasks.size() == 0; }));
  ExpectMessages(seen, 5000);
  pair.serve = [&](ServerStream& stream, ServerCall&) { return Send(stream, 5000); };
  Seen read;
  tasks.Spawn(ReadAll(pair, &read));
  ASSERT_TRUE(pair.RunUntil([&] { return tasks.size() == 0; }));
  ExpectMessages(read, 5000);
  EXPECT_GT(pair.server_streams().stats().beyond_window, 0u);
  ExpectNothingLeft(pair);
}

TEST(StreamLimitsTest, SessionsOfFewSlots) {
  for (const size_t slots : {3, 4, 8}) {
    StreamPairOptions options;
    options.server.session.slots = slots;
    StreamPair pair(options);
    pair.serve = [&](ServerStream& stream, ServerCall&) { return Echo(stream); };
    std::vector<int64_t> took_ns;
    TaskGroup tasks;
    tasks.Spawn(PingPong(pair, 50, &took_ns));
    ASSERT_TRUE(pair.RunUntil([&] { return tasks.size() == 0; }, 10'000 * kMs)) << slots;
    EXPECT_EQ(took_ns.size(), 50u);
  }
  StreamPairOptions options;
  options.client.session.slots = 2;
  StreamPair pair(options);
  const ClientStream stream(pair.streams(), {.reads = true, .writes = true});
  EXPECT_EQ(stream.status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace weft::rpc
