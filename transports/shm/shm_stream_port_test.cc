// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/shm/shm_stream_port.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "weft/transports/shm/test_util.h"

namespace weft::shm {
namespace {

using Kind = StreamEvent::Kind;

class ShmStreamPortTest : public ::testing::Test {
 protected:
  static std::unique_ptr<StreamPort> Open(Transport& transport) {
    return *transport.OpenStreamPort({});
  }

  // Polls both ports until `port` has an event of `kind`, which it returns; others of it are kept
  // out of the way, but none may be skipped: they are recorded in seen_.
  StreamEvent Next(StreamPort& port, Kind kind) {
    while (true) {
      for (StreamPort* each : {server_.get(), client_.get()}) {
        StreamEvent events[4];
        const size_t n = each->Poll(absl::MakeSpan(events));
        for (size_t i = 0; i < n; ++i)
          (each == server_.get() ? at_server_ : at_client_).push_back(events[i]);
      }
      auto& pending = &port == server_.get() ? at_server_ : at_client_;
      while (!pending.empty()) {
        const StreamEvent event = pending.front();
        pending.pop_front();
        if (event.kind == kind) return event;
        skipped_.push_back(event.kind);
      }
    }
  }

  void ConnectBoth() {
    ASSERT_TRUE(server_->Listen(Address::Shm("srv"), 16).ok());
    const auto stream = client_->Connect(Address::Shm("srv"));
    ASSERT_TRUE(stream.ok()) << stream.status();
    c_ = Next(*client_, Kind::kConnected).stream;
    EXPECT_EQ(c_, *stream);
    s_ = Next(*server_, Kind::kAccepted).stream;
  }

  static void Write(StreamPort& port, StreamId stream, const std::string& text) {
    const absl::Span<uint8_t> room = port.Reserve(stream, text.size());
    ASSERT_EQ(room.size(), text.size());
    std::memcpy(room.data(), text.data(), text.size());
    port.Commit(stream, text.size());
  }

  static std::string ReadAll(StreamPort& port, StreamId stream) {
    std::string text;
    for (auto view = port.ReadView(stream); !view.empty(); view = port.ReadView(stream)) {
      text.append(reinterpret_cast<const char*>(view.data()), view.size());
      port.Consume(stream, view.size());
    }
    return text;
  }

  TempDirectory directory_;
  std::unique_ptr<Transport> transport_ = OpenShm(Config(directory_.path()));
  std::unique_ptr<StreamPort> server_ = Open(*transport_);
  std::unique_ptr<StreamPort> client_ = Open(*transport_);
  StreamId s_, c_;
  std::deque<StreamEvent> at_server_, at_client_;
  std::vector<Kind> skipped_;
};

TEST_F(ShmStreamPortTest, CarriesBytesBothWays) {
  ConnectBoth();
  EXPECT_EQ(*client_->PeerAddress(c_), Address::Shm("srv"));
  EXPECT_TRUE(server_->PeerAddress(s_).ok());
  Write(*client_, c_, "question");
  EXPECT_EQ(Next(*server_, Kind::kReadable).stream, s_);
  EXPECT_EQ(ReadAll(*server_, s_), "question");
  Write(*server_, s_, "answer");
  Next(*client_, Kind::kReadable);
  EXPECT_EQ(ReadAll(*client_, c_), "answer");
  EXPECT_TRUE(skipped_.empty());
}

TEST_F(ShmStreamPortTest, WhatIsNotConsumedIsShownAgainTogetherWithWhatFollows) {
  ConnectBoth();
  Write(*client_, c_, "hel");
  Next(*server_, Kind::kReadable);
  EXPECT_EQ(server_->ReadView(s_).size(), 3u);
  server_->Consume(s_, 1);
  Write(*client_, c_, "lo");
  Next(*server_, Kind::kReadable);
  const auto view = server_->ReadView(s_);
  EXPECT_EQ(std::string(view.begin(), view.end()), "ello");
}

TEST_F(ShmStreamPortTest, HalfCloseLeavesTheOtherDirectionOpen) {
  ConnectBoth();
  Write(*client_, c_, "last words");
  client_->CloseWrite(c_);
  EXPECT_TRUE(client_->Reserve(c_, 1).empty());
  Next(*server_, Kind::kReadable);
  Next(*server_, Kind::kRemoteClosed);
  EXPECT_EQ(ReadAll(*server_, s_), "last words");
  Write(*server_, s_, "answer");
  server_->CloseWrite(s_);
  EXPECT_EQ(Next(*server_, Kind::kClosed).error, 0);
  Next(*client_, Kind::kReadable);
  EXPECT_EQ(ReadAll(*client_, c_), "answer");
  Next(*client_, Kind::kRemoteClosed);
  EXPECT_EQ(Next(*client_, Kind::kClosed).error, 0);
  EXPECT_TRUE(skipped_.empty());
}

TEST_F(ShmStreamPortTest, CloseDeliversWhatWasCommitted) {
  ConnectBoth();
  Write(*server_, s_, "bye");
  server_->Close(s_);
  EXPECT_EQ(Next(*server_, Kind::kClosed).error, 0);
  EXPECT_TRUE(server_->ReadView(s_).empty());
  Next(*client_, Kind::kReadable);
  EXPECT_EQ(ReadAll(*client_, c_), "bye");
  Next(*client_, Kind::kRemoteClosed);
  client_->Close(c_);
  EXPECT_EQ(Next(*client_, Kind::kClosed).error, 0);
}

TEST_F(ShmStreamPortTest, AbortResetsTheOtherSide) {
  ConnectBoth();
  Write(*client_, c_, "never read");
  client_->Abort(c_);
  EXPECT_NE(Next(*client_, Kind::kClosed).error, 0);
  EXPECT_EQ(Next(*server_, Kind::kClosed).error, ECONNRESET);
}

TEST_F(ShmStreamPortTest, WritingToAStreamWhoseReaderHasGoneEndsIt) {
  ConnectBoth();
  server_->Close(s_);
  Next(*client_, Kind::kRemoteClosed);
  // Until the client has noticed, it may still write.
  while (true) {
    const auto room = client_->Reserve(c_, 1);
    if (room.empty()) break;
    client_->Commit(c_, 0);
    StreamEvent events[1];
    ASSERT_EQ(client_->Poll(absl::MakeSpan(events)), 0u);
  }
  EXPECT_EQ(Next(*client_, Kind::kClosed).error, EPIPE);
}

TEST_F(ShmStreamPortTest, WhatWasSentBeforeTheReaderWentCanBeRead) {
  ConnectBoth();
  Write(*server_, s_, "never read");
  Write(*client_, c_, "last words");
  client_->Close(c_);
  server_->Disarm();  // as after a sleep: the next Poll() finds everything at once
  StreamEvent events[4];
  ASSERT_EQ(server_->Poll(absl::MakeSpan(events)), 2u);
  EXPECT_EQ(events[0].kind, Kind::kReadable);
  EXPECT_EQ(events[1].kind, Kind::kRemoteClosed);
  const absl::Span<const uint8_t> view = server_->ReadView(s_);
  EXPECT_TRUE(server_->Reserve(s_, 10).empty());
  EXPECT_EQ(std::string(view.begin(), view.end()), "last words");
  EXPECT_EQ(ReadAll(*server_, s_), "last words");
  EXPECT_NE(Next(*server_, Kind::kClosed).error, 0);
}

TEST_F(ShmStreamPortTest, NobodyListeningIsAnEvent) {
  const auto stream = client_->Connect(Address::Shm("nobody"));
  ASSERT_TRUE(stream.ok());
  const StreamEvent event = Next(*client_, Kind::kClosed);
  EXPECT_EQ(event.stream, *stream);
  EXPECT_EQ(event.error, ECONNREFUSED);
  EXPECT_TRUE(absl::IsInvalidArgument(client_->Connect(Address::Sim("x")).status()));
}

TEST_F(ShmStreamPortTest, StreamsBeyondTheLimitAreRefused) {
  config::Transport config = Config(directory_.path());
  config.mutable_shm()->set_max_peers(1);
  auto limited = OpenShm(config);
  server_ = Open(*limited);
  ConnectBoth();
  ASSERT_TRUE(client_->Connect(Address::Shm("srv")).ok());
  EXPECT_EQ(Next(*client_, Kind::kClosed).error, ECONNREFUSED);
  Write(*client_, c_, "still here");
  Next(*server_, Kind::kReadable);
  EXPECT_EQ(ReadAll(*server_, s_), "still here");
}

TEST_F(ShmStreamPortTest, TenMegabytesInRandomPieces) {
  ConnectBoth();
  constexpr size_t kTotal = 10'000'000;
  std::mt19937 random(7);
  const auto byte_at = [](size_t i) { return static_cast<uint8_t>(i * 2654435761u >> 13); };
  size_t sent = 0, received = 0;
  while (received < kTotal) {
    for (int burst = 0; burst < 4 && sent < kTotal; ++burst) {
      const size_t wanted = std::min<size_t>(kTotal - sent, random() % 100'000);
      const auto room = client_->Reserve(c_, wanted);
      ASSERT_LE(room.size(), wanted);
      const size_t n = room.empty() ? 0 : random() % (room.size() + 1);
      for (size_t i = 0; i < n; ++i) room[i] = byte_at(sent + i);
      client_->Commit(c_, n);
      sent += n;
    }
    const auto view = server_->ReadView(s_);
    const size_t n = view.empty() ? 0 : random() % (view.size() + 1);
    for (size_t i = 0; i < n; ++i) ASSERT_EQ(view[i], byte_at(received + i)) << received + i;
    server_->Consume(s_, n);
    received += n;
    StreamEvent events[8];
    server_->Poll(absl::MakeSpan(events));
    client_->Poll(absl::MakeSpan(events));
  }
  EXPECT_EQ(server_->stats().received_bytes, kTotal);
  EXPECT_EQ(client_->stats().copied_bytes, 0u);
}

TEST_F(ShmStreamPortTest, AReaderThatStopsStopsTheWriter) {
  ConnectBoth();
  size_t sent = 0;
  for (auto room = client_->Reserve(c_, 1 << 20); !room.empty();
       room = client_->Reserve(c_, 1 << 20)) {
    sent += room.size();
    client_->Commit(c_, room.size());
  }
  StreamEvent events[4];
  EXPECT_EQ(client_->Poll(absl::MakeSpan(events)), 0u);
  size_t received = 0;
  while (received < sent) {
    const auto view = server_->ReadView(s_);
    received += view.size();
    server_->Consume(s_, view.size());
  }
  EXPECT_EQ(received, sent);
  EXPECT_EQ(Next(*client_, Kind::kWritable).stream, c_);
}

}  // namespace
}  // namespace weft::shm
