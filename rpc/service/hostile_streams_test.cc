// SPDX-License-Identifier: Apache-2.0
//
// PUSH and PULL as no correct client sends them: each is refused and counted, and costs others
// nothing.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "weft/rpc/service/stream_fixture.h"

namespace weft::rpc {
namespace {

constexpr uint64_t kStream = 77;

class HostileStreamsTest : public testing::Test {
 protected:
  void SetUp() override {
    pair_.serve = [this](ServerStream& stream, ServerCall&) { return Read(stream); };
    session_ = *pair_.client().Connect(pair_.peer());
  }

  // What the server answered.
  struct Answer {
    std::optional<absl::Status> error;  // of the call
    ReplyHead head;
  };
  Answer* Send(RequestHead head, const std::string& body = "") {
    answers_.push_back(std::make_unique<Answer>());
    Answer* const answer = answers_.back().get();
    std::string request(kRequestHeadBytesMax, '\0');
    request.resize(WriteRequestHead(head, reinterpret_cast<uint8_t*>(request.data())));
    request += body;
    const RequestKind kind = head.kind;
    EXPECT_TRUE(pair_.client()
                    .Call(session_, Bytes(request),
                          [answer, kind](absl::StatusOr<BufferChain> reply) {
                            answer->error = reply.status();
                            if (!reply.ok()) return;
                            EXPECT_TRUE(ReadReplyHead(reply->front(), kind, &answer->head));
                          },
                          {.timeout = absl::InfiniteDuration(), .held = true})
                    .ok());
    pair_.RunFor(5'000'000);
    return answer;
  }
  Answer* Open(uint64_t id = kStream) {
    return Send({.kind = RequestKind::kOpen, .id = 1, .number = id});
  }
  Answer* Push(uint64_t sequence, const std::string& body, uint64_t id = kStream) {
    return Send({.kind = RequestKind::kPush, .id = id, .number = sequence}, body);
  }
  Answer* Pull(uint64_t id = kStream) { return Send({.kind = RequestKind::kPull, .id = id}); }

  static absl::StatusCode CodeOf(const Answer* answer) {
    EXPECT_TRUE(answer->error.has_value()) << "not answered";
    if (!answer->error.has_value()) return absl::StatusCode::kUnknown;
    return answer->error->ok() ? answer->head.code : answer->error->code();
  }
  static bool Waits(const Answer* answer) { return !answer->error.has_value(); }

  Task<absl::Status> Read(ServerStream& stream) {
    BufferChain message;
    while (true) {
      while (!reading_) co_await pair_.loop().Sleep(absl::Milliseconds(1));
      if (!co_await ReadFrom(stream, &message)) break;
      read_.push_back(message.ToString());
    }
    co_return absl::OkStatus();
  }

  const StreamStats& stats() { return pair_.server_streams().stats(); }

  StreamPair pair_;
  SessionId session_;
  std::vector<std::unique_ptr<Answer>> answers_;
  bool reading_ = true;
  std::vector<std::string> read_;
};

TEST_F(HostileStreamsTest, UnknownStreams) {
  EXPECT_EQ(CodeOf(Push(0, "")), absl::StatusCode::kNotFound);
  EXPECT_EQ(CodeOf(Pull()), absl::StatusCode::kNotFound);
  EXPECT_EQ(stats().unknown, 2u);
  Open();
  EXPECT_EQ(CodeOf(Push(0, "", kStream + 1)), absl::StatusCode::kNotFound);
  // Streams are those of a session: another one's are as unknown as none.
  session_ = *pair_.client().Connect(pair_.peer());
  EXPECT_EQ(CodeOf(Push(0, std::string("\1a"))), absl::StatusCode::kNotFound);
  EXPECT_TRUE(read_.empty());
}

TEST_F(HostileStreamsTest, AnIdThatIsInUse) {
  Answer* const open = Open();
  EXPECT_EQ(CodeOf(Open()), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(Waits(open));
  EXPECT_EQ(stats().refused, 1u);
}

TEST_F(HostileStreamsTest, SequencesThatWereOrAreNotYet) {
  Open();
  EXPECT_EQ(CodeOf(Push(0, std::string("\1a"))), absl::StatusCode::kOk);
  EXPECT_EQ(CodeOf(Push(0, std::string("\1b"))), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(Push(UINT64_MAX, "")), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(CodeOf(Push(17, "")), absl::StatusCode::kResourceExhausted);
  Answer* const early = Push(16, std::string("\1q"));
  EXPECT_TRUE(Waits(early));
  EXPECT_EQ(CodeOf(Push(16, std::string("\1r"))), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(stats().duplicates, 2u);
  EXPECT_EQ(stats().beyond_window, 2u);
  EXPECT_EQ(read_, std::vector<std::string>{"a"});
}

TEST_F(HostileStreamsTest, MessagesAfterTheLast) {
  Open();
  Send({.kind = RequestKind::kPush, .end_of_messages = true, .id = kStream, .number = 0}, "");
  EXPECT_EQ(CodeOf(Push(1, "")), absl::StatusCode::kNotFound);  // the handler has ended
}

TEST_F(HostileStreamsTest, BatchesThatAreNone) {
  const std::vector<std::string> bad = {
      "\x05"
      "abc",                    // longer than the batch
      "\x80",                   // half a length
      std::string(20, '\xFF'),  // no length
      std::string("\xFF\xFF\xFF\xFF\x7F"
                  "abc"),  // more than 2 GiB
      std::string("\1a\1b\x09"
                  "c"),                                      // two good ones, and one that is not
      std::string("\xFF\xFF\x01") + std::string(5000, 'x'),  // in several packets
  };
  uint64_t id = kStream;
  for (const std::string& batch : bad) {
    read_.clear();
    Answer* const open = Open(id);
    Push(0, batch, id);
    EXPECT_EQ(CodeOf(open), absl::StatusCode::kInvalidArgument);
    EXPECT_LE(read_.size(), 2u);
    ++id;
  }
  EXPECT_EQ(stats().broken, bad.size());
  EXPECT_EQ(pair_.server_streams().size(), 0u);
}

TEST_F(HostileStreamsTest, BatchesOfSeveralPackets) {
  Open();
  std::string batch;
  for (int i = 0; i < 100; ++i) batch += std::string("\x64") + std::string(100, 'a');
  EXPECT_EQ(CodeOf(Push(0, batch)), absl::StatusCode::kOk);
  EXPECT_EQ(read_, std::vector<std::string>(100, std::string(100, 'a')));
}

TEST_F(HostileStreamsTest, MorePullsAndPushesThanTheWindow) {
  reading_ = false;
  Open();
  for (int i = 0; i < 16; ++i) EXPECT_TRUE(Waits(Pull()));
  EXPECT_EQ(CodeOf(Pull()), absl::StatusCode::kResourceExhausted);
  for (uint64_t i = 0; i < 16; ++i) EXPECT_TRUE(Waits(Push(i, std::string(1000, '\0'))));
  EXPECT_EQ(CodeOf(Push(16, "")), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(pair_.server_streams().bytes_held(), 16'000u);
  // They are no requests that are executed.
  EXPECT_EQ(pair_.server().stats().executing.value(), 0);
  EXPECT_EQ(pair_.server().stats().parked.value(), 33);
}

TEST_F(HostileStreamsTest, WhatComesWithAPullIsNotKept) {
  reading_ = false;
  Open();
  const BufferPool& pool = pair_.server().port().pool();
  const size_t available = pool.available();
  for (int i = 0; i < 16; ++i) {
    EXPECT_TRUE(Waits(Send({.kind = RequestKind::kPull, .id = kStream},
                           std::string(i % 2 == 0 ? 1000 : 50'000, 'x'))));
  }
  EXPECT_EQ(pool.available(), available);
}

TEST_F(HostileStreamsTest, AMessageBeyondTheLimitIsRefused) {
  StreamPairOptions options;
  options.server.session.message_bytes_max = 10'000;
  StreamPair pair(options);
  std::vector<std::string> read;
  const auto serve = [](ServerStream& stream) -> Task<absl::Status> {
    BufferChain message;
    while (co_await ReadFrom(stream, &message)) {
      message.Clear();
    }
    co_return absl::OkStatus();
  };
  pair.serve = [&](ServerStream& stream, ServerCall&) { return serve(stream); };
  absl::Status status;
  const auto write = [](StreamPair& p, absl::Status* s) -> Task<void> {
    ClientStream stream(p.streams(), {.writes = true});
    p.Start(stream);
    const Payload message = Bytes(std::string(20'000, 'x'));
    (void)co_await WriteTo(stream, message);
    stream.state().Close();
    *s = StreamPair::StatusOf(co_await stream.End());
  };
  TaskGroup tasks;
  tasks.Spawn(write(pair, &status));
  ASSERT_TRUE(pair.RunUntil([&] { return tasks.size() == 0; }, 10'000'000'000));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  pair.RunFor(50'000'000);
  EXPECT_EQ(pair.server_streams().size(), 0u);
}

}  // namespace
}  // namespace weft::rpc
