// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/rpc/service/stream_fixture.h"

namespace weft::rpc {
namespace {

constexpr int64_t kMs = 1'000'000;

// What one side of a stream has seen.
struct Seen {
  std::vector<std::string> messages;
  bool ended = false;
  absl::Status status = absl::UnknownError("not ended");
};

std::string Message(size_t i, size_t size = 0) {
  std::string text = absl::StrCat("message ", i, " ");
  if (text.size() < size) text.resize(size, static_cast<char>('a' + i % 26));
  return text;
}

Task<absl::Status> Send(ServerStream& stream, size_t count, size_t size = 0) {
  for (size_t i = 0; i < count; ++i) {
    const Payload message = Bytes(Message(i, size));
    if (!co_await WriteTo(stream, message)) co_return absl::AbortedError("write failed");
  }
  co_return absl::OkStatus();
}

Task<absl::Status> Receive(ServerStream& stream, Seen* seen) {
  BufferChain message;
  while (co_await ReadFrom(stream, &message)) seen->messages.push_back(message.ToString());
  seen->ended = true;
  co_return absl::OkStatus();
}

Task<absl::Status> Echo(ServerStream& stream) {
  BufferChain message;
  while (co_await ReadFrom(stream, &message)) {
    const Payload reply(std::move(message));
    if (!co_await WriteTo(stream, reply)) break;
  }
  co_return absl::OkStatus();
}

Task<void> ReadAll(StreamPair& pair, Seen* seen, CallOptions options = {}) {
  ClientStream stream(pair.streams(), {.reads = true});
  EXPECT_TRUE(stream.status().ok()) << stream.status();
  pair.Start(stream, options);
  BufferChain message;
  while (co_await ReadFrom(stream, &message)) seen->messages.push_back(message.ToString());
  seen->ended = true;
  seen->status = StreamPair::StatusOf(co_await stream.End());
}

Task<void> WriteAll(StreamPair& pair, size_t count, Seen* seen, size_t size = 0) {
  ClientStream stream(pair.streams(), {.writes = true});
  pair.Start(stream);
  for (size_t i = 0; i < count; ++i) {
    const Payload message = Bytes(Message(i, size));
    if (!co_await WriteTo(stream, message)) break;
    seen->messages.push_back("");
  }
  stream.state().Close();
  seen->status = StreamPair::StatusOf(co_await stream.End());
  seen->ended = true;
}

void ExpectMessages(const Seen& seen, size_t count, size_t size = 0) {
  ASSERT_EQ(seen.messages.size(), count);
  for (size_t i = 0; i < count; ++i) ASSERT_TRUE(seen.messages[i] == Message(i, size)) << i;
}

void ExpectNothingLeft(StreamPair& pair) {
  pair.RunFor(50 * kMs);
  EXPECT_EQ(pair.server_streams().size(), 0u);
  EXPECT_EQ(pair.streams().size(), 0u);
  EXPECT_EQ(pair.server().stats().parked.value(), 0);
  EXPECT_EQ(pair.server().stats().executing.value(), 0);
  EXPECT_EQ(pair.client().outstanding(), 0u);
  EXPECT_EQ(pair.server().port().pool().available(), pair.server().port().pool().count());
  EXPECT_EQ(pair.client().port().pool().available(), pair.client().port().pool().count());
}

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

Task<void> PingPong(StreamPair& pair, int rounds, std::vector<int64_t>* took_ns) {
  ClientStream stream(pair.streams(), {.reads = true, .writes = true});
  pair.Start(stream);
  for (int i = 0; i < rounds; ++i) {
    const std::string text = Message(static_cast<size_t>(i));
    const Payload message = Bytes(text);
    const int64_t begin_ns = pair.network().NowNs();
    EXPECT_TRUE(co_await WriteTo(stream, message));
    BufferChain reply;
    EXPECT_TRUE(co_await ReadFrom(stream, &reply));
    EXPECT_EQ(reply.ToString(), text);
    took_ns->push_back(pair.network().NowNs() - begin_ns);
  }
  stream.state().Close();
  BufferChain none;
  EXPECT_FALSE(co_await ReadFrom(stream, &none));
  EXPECT_TRUE(StreamPair::StatusOf(co_await stream.End()).ok());
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

// --- Back-pressure

TEST(StreamsTest, AClientThatDoesNotReadStopsTheServer) {
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

Task<absl::Status> ReadLater(ServerStream& stream, Loop& loop, Seen* seen) {
  co_await loop.Sleep(absl::Milliseconds(300));
  co_return co_await Receive(stream, seen);
}

TEST(StreamsTest, AServerThatDoesNotReadStopsTheClient) {
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

TEST(StreamsTest, SlowReadersOfManyStreamsDoNotTakeTheBuffersOfOthers) {
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

// --- Ends

struct Destroyed {
  explicit Destroyed(bool* flag) : flag(flag) {}
  ~Destroyed() { *flag = true; }
  bool* flag;
};

Task<absl::Status> WaitForever(ServerStream& stream, bool* destroyed) {
  const Destroyed guard(destroyed);
  BufferChain message;
  while (co_await ReadFrom(stream, &message)) {
    message.Clear();
  }
  co_return absl::OkStatus();
}

Task<absl::Status> SleepForever(Loop& loop, bool* destroyed) {
  const Destroyed guard(destroyed);
  while (true) co_await loop.Sleep(absl::Seconds(10));
}

TEST(StreamsTest, DroppingAStreamDestroysItsHandler) {
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

TEST(StreamsTest, ACoroutineMayBeDestroyedWhileItReadsOrWrites) {
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

TEST(StreamsTest, ADeadlineEndsAStreamThatWouldNotEnd) {
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

TEST(StreamsTest, WithoutADeadlineAStreamLivesForAsLongAsItsEndsDo) {
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

TEST(StreamsTest, AClientThatVanishesTakesItsStreamsAlong) {
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

TEST(StreamsTest, AServerThatEndsIsUnavailable) {
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

TEST(StreamsTest, DrainingEndsStreamsWhoseHandlersListen) {
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

TEST(StreamsTest, DrainingEndsStreamsWhoseHandlersDoNotListen) {
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

// --- Limits

TEST(StreamsTest, AThousandStreamsOfOneClient) {
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

TEST(StreamsTest, OneStreamMoreThanAllowedIsRefused) {
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

TEST(StreamsTest, TheSmallerWindowHolds) {
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

TEST(StreamsTest, SessionsOfFewSlots) {
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
