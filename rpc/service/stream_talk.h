// SPDX-License-Identifier: Apache-2.0
//
// For tests: what the two ends of a StreamPair (stream_fixture.h) say to each other, and what they
// have seen of it.
#ifndef WEFT_RPC_SERVICE_STREAM_TALK_H_
#define WEFT_RPC_SERVICE_STREAM_TALK_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/rpc/service/stream_fixture.h"

namespace weft::rpc {

inline constexpr int64_t kMs = 1'000'000;

// What one side of a stream has seen.
struct Seen {
  std::vector<std::string> messages;
  bool ended = false;
  absl::Status status = absl::UnknownError("not ended");
};

// Message `i` of a sequence, of `size` bytes at least.
inline std::string Message(size_t i, size_t size = 0) {
  std::string text = absl::StrCat("message ", i, " ");
  if (text.size() < size) text.resize(size, static_cast<char>('a' + i % 26));
  return text;
}

// A handler that writes `count` messages.
inline Task<absl::Status> Send(ServerStream& stream, size_t count, size_t size = 0) {
  for (size_t i = 0; i < count; ++i) {
    const Payload message = Bytes(Message(i, size));
    if (!co_await WriteTo(stream, message)) co_return absl::AbortedError("write failed");
  }
  co_return absl::OkStatus();
}

// A handler that reads to the end.
inline Task<absl::Status> Receive(ServerStream& stream, Seen* seen) {
  BufferChain message;
  while (co_await ReadFrom(stream, &message)) seen->messages.push_back(message.ToString());
  seen->ended = true;
  co_return absl::OkStatus();
}

// The same after a while in which it does not read.
inline Task<absl::Status> ReadLater(ServerStream& stream, Loop& loop, Seen* seen) {
  co_await loop.Sleep(absl::Milliseconds(300));
  co_return co_await Receive(stream, seen);
}

// A handler that sends back what comes.
inline Task<absl::Status> Echo(ServerStream& stream) {
  BufferChain message;
  while (co_await ReadFrom(stream, &message)) {
    const Payload reply(std::move(message));
    if (!co_await WriteTo(stream, reply)) break;
  }
  co_return absl::OkStatus();
}

// Says that the coroutine that holds it is gone.
struct Destroyed {
  explicit Destroyed(bool* flag) : flag(flag) {}
  ~Destroyed() { *flag = true; }
  bool* flag;
};

// A handler that reads to the end and forgets what it read.
inline Task<absl::Status> WaitForever(ServerStream& stream, bool* destroyed) {
  const Destroyed guard(destroyed);
  BufferChain message;
  while (co_await ReadFrom(stream, &message)) {
    message.Clear();
  }
  co_return absl::OkStatus();
}

// A client that reads to the end.
inline Task<void> ReadAll(StreamPair& pair, Seen* seen, CallOptions options = {}) {
  ClientStream stream(pair.streams(), {.reads = true});
  EXPECT_TRUE(stream.status().ok()) << stream.status();
  pair.Start(stream, options);
  BufferChain message;
  while (co_await ReadFrom(stream, &message)) seen->messages.push_back(message.ToString());
  seen->ended = true;
  seen->status = StreamPair::StatusOf(co_await stream.End());
}

// A client that writes `count` messages and reads none.
inline Task<void> WriteAll(StreamPair& pair, size_t count, Seen* seen, size_t size = 0) {
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

// A client that awaits an answer to each message.
inline Task<void> PingPong(StreamPair& pair, int rounds, std::vector<int64_t>* took_ns) {
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

inline void ExpectMessages(const Seen& seen, size_t count, size_t size = 0) {
  ASSERT_EQ(seen.messages.size(), count);
  for (size_t i = 0; i < count; ++i) ASSERT_TRUE(seen.messages[i] == Message(i, size)) << i;
}

// Neither end holds anything once all streams have ended.
inline void ExpectNothingLeft(StreamPair& pair) {
  pair.RunFor(50 * kMs);
  EXPECT_EQ(pair.server_streams().size(), 0u);
  EXPECT_EQ(pair.streams().size(), 0u);
  EXPECT_EQ(pair.server().stats().parked.value(), 0);
  EXPECT_EQ(pair.server().stats().executing.value(), 0);
  EXPECT_EQ(pair.client().outstanding(), 0u);
  EXPECT_EQ(pair.server().port().pool().available(), pair.server().port().pool().count());
  EXPECT_EQ(pair.client().port().pool().available(), pair.client().port().pool().count());
}

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_STREAM_TALK_H_
