// SPDX-License-Identifier: Apache-2.0
//
// For tests of engines: a dialogue between one engine and a test that plays the peer, on a virtual
// clock, such that a test reads like a packet trace.
//
//   class HandshakeTest : public DialogueTest {};
//   TEST_F(HandshakeTest, Passive) {
//     Listen();
//     Say("S 0 mss=1000");
//     EXPECT_EQ(Hear(), "SA 0 ack 1");
//     Say("A 1 ack 1");
//     EXPECT_EQ(Event(), "accepted");
//   }
//
// A segment is written as FLAGS BEGIN[+BYTES] [ack N] [sack B-E...]. Flags are of S, F, R, P, A, E
// (ECE) and C (CWR), in this order. Numbers are relative to the sender's SYN, which is 0.
#ifndef WEFT_TCP_ENGINE_FIXTURE_H_
#define WEFT_TCP_ENGINE_FIXTURE_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "weft/core/buffer.h"
#include "weft/netstack/segment_handler.h"
#include "weft/netstack/wire/tcp.h"
#include "weft/tcp/engine.h"
#include "weft/tcp/engine_stage.h"
#include "weft/tcp/segment_options.h"

namespace weft::tcp {

class DialogueTest : public ::testing::Test, protected EngineStage {
 protected:
  static constexpr uint16_t kOurPort = 80;
  static constexpr uint16_t kPeerPort = 5000;

  DialogueTest() { Start(); }

  // Once more from the beginning, with `options_` and `world_` as they were changed.
  void Start() {
    const absl::Status status = EngineStage::Start();
    ASSERT_TRUE(status.ok()) << status;
    stream_ = StreamId();
  }

  void TearDown() override {
    outbox_.clear();
    engine_.reset();
    EXPECT_EQ(wheel_->size(), 0u);
    EXPECT_EQ(pool_->available(), pool_->count()) << "buffers were lost";
  }

  // --- What the user of the engine does.
  void Listen(int backlog = 16) {
    const auto port = engine_->Listen(us_, kOurPort, backlog);
    ASSERT_TRUE(port.ok()) << port.status();
  }
  void Connect() {
    const auto stream = engine_->Connect({us_, peer_, 0, kPeerPort}, now_ns_);
    ASSERT_TRUE(stream.ok()) << stream.status();
    stream_ = *stream;
    our_port_ = engine_->FlowOf(stream_)->local_port;
    Turn();
  }
  size_t Write(absl::string_view text, StreamId stream = {}) {
    if (!stream) stream = stream_;
    size_t done = 0;
    while (done < text.size()) {
      const auto room = engine_->Reserve(stream, text.size() - done);
      if (room.empty()) break;
      std::memcpy(room.data(), text.data() + done, room.size());
      engine_->Commit(stream, room.size(), now_ns_);
      done += room.size();
    }
    Turn();
    return done;
  }
  size_t Write(size_t n) { return Write(std::string(n, 'x')); }
  std::string Read(size_t most = SIZE_MAX) {
    std::string text;
    for (;;) {
      const auto view = engine_->ReadView(stream_);
      const size_t n = std::min(view.size(), most - text.size());
      if (n == 0) break;
      text.append(reinterpret_cast<const char*>(view.data()), n);
      engine_->Consume(stream_, n, now_ns_);
    }
    Turn();
    return text;
  }
  void CloseWrite() {
    engine_->CloseWrite(stream_, now_ns_);
    Turn();
  }
  void Close() {
    engine_->Close(stream_, now_ns_);
    Turn();
  }
  void Abort() {
    engine_->Abort(stream_, now_ns_);
    Turn();
  }
  void Set(const StreamOptions& options) {
    EXPECT_TRUE(engine_->SetOptions(stream_, options, now_ns_).ok());
    Turn();
  }
  StreamInfo Info() {
    const auto info = engine_->Info(stream_, now_ns_);
    EXPECT_TRUE(info.ok()) << info.status();
    return info.ok() ? *info : StreamInfo();
  }
  absl::string_view State() {
    const auto info = engine_->Info(stream_, now_ns_);
    return info.ok() ? StreamStateName(info->state) : "gone";
  }
  // The next event: "accepted", "connected", "readable", "writable", "remote closed", "closed",
  // "closed 104"; "" for none. An accepted stream is the one that is spoken of from then on.
  std::string Event() {
    StreamEvent event;
    if (engine_->TakeEvents({&event, 1}) == 0) return "";
    using Kind = StreamEvent::Kind;
    switch (event.kind) {
      case Kind::kAccepted:
        stream_ = event.stream;
        return "accepted";
      case Kind::kConnected:
        return "connected";
      case Kind::kReadable:
        return "readable";
      case Kind::kWritable:
        return "writable";
      case Kind::kRemoteClosed:
        return "remote closed";
      case Kind::kClosed:
        return event.error == 0 ? "closed" : absl::StrCat("closed ", event.error);
    }
    return "?";
  }

  // --- What the peer says. `text` as above, and: win=N (65535), mss=N, ws=N, sackok, ts=VALUE (the
  // echo is of what was heard last), ce. Bytes of the payload count up from their number.
  void Say(absl::string_view text) {
    const std::vector<std::string> words = absl::StrSplit(text, ' ', absl::SkipEmpty());
    netstack::TcpFields fields;
    SegmentOptions options;
    options.mss = 0;
    uint8_t ecn = 0;
    fields.source_port = kPeerPort;
    fields.destination_port = our_port_;
    for (const char letter : words[0]) {
      static constexpr absl::string_view kLetters = "FSRPAUEC";
      fields.flags |= static_cast<uint8_t>(1u << kLetters.find(letter));
    }
    const std::pair<std::string, std::string> place = absl::StrSplit(words[1], '+');
    const uint32_t begin = NumberOf(place.first);
    const uint32_t bytes = place.second.empty() ? 0 : NumberOf(place.second);
    fields.sequence = (peer_isn_ + begin).value();
    fields.window = 65535;
    for (size_t i = 2; i < words.size(); ++i) {
      const std::pair<std::string, std::string> word = absl::StrSplit(words[i], '=');
      if (words[i] == "ack") {
        fields.acknowledgment = (our_isn_ + NumberOf(words[++i])).value();
      } else if (words[i] == "sack") {
        for (; i + 1 < words.size() && words[i + 1].find('-') != std::string::npos; ++i) {
          const std::pair<std::string, std::string> ends = absl::StrSplit(words[i + 1], '-');
          options.sacks[options.sack_count++] = {our_isn_ + NumberOf(ends.first),
                                                 our_isn_ + NumberOf(ends.second)};
        }
      } else if (word.first == "win") {
        fields.window = static_cast<uint16_t>(NumberOf(word.second));
      } else if (word.first == "mss") {
        options.mss = static_cast<uint16_t>(NumberOf(word.second));
      } else if (word.first == "ws") {
        options.has_window_scale = true;
        options.window_scale = static_cast<uint8_t>(NumberOf(word.second));
      } else if (word.first == "sackok") {
        options.sack_permitted = true;
      } else if (word.first == "ts") {
        options.has_timestamps = true;
        options.timestamp_value = NumberOf(word.second);
        options.timestamp_echo = last_timestamp_;
      } else if (word.first == "ce") {
        ecn = 3;
      } else {
        ADD_FAILURE() << "what is '" << words[i] << "'?";
      }
    }
    Buffer buffer = pool_->Allocate();
    ASSERT_TRUE(buffer);
    uint8_t* payload = buffer.Append(bytes);
    for (uint32_t i = 0; i < bytes; ++i) payload[i] = ByteAt(begin + i);
    fields.header_bytes = netstack::kTcpHeaderBytes + SegmentOptionsBytes(options);
    uint8_t* header = buffer.Prepend(fields.header_bytes);
    fields.Write(header);
    WriteSegmentOptions(options, header + netstack::kTcpHeaderBytes);
    netstack::ReceivedSegment segment;
    segment.buffer = std::move(buffer);
    segment.source = peer_;
    segment.destination = us_;
    segment.ecn = ecn;
    segment.ttl = 64;
    engine_->Receive({&segment, 1}, now_ns_);
    if (segment.buffer) engine_->Reject({&segment, 1}, now_ns_);
    Turn();
  }
  static std::string Text(uint32_t begin, uint32_t bytes) {
    std::string text;
    for (uint32_t i = 0; i < bytes; ++i) text += static_cast<char>(ByteAt(begin + i));
    return text;
  }

  // --- What the peer hears: the oldest segment, "" for none.
  std::string Hear() {
    if (outbox_.empty()) return "";
    last_ = std::move(outbox_.front());
    outbox_.pop_front();
    if ((last_.flags & netstack::kTcpSyn) != 0) {
      our_isn_ = last_.seq;
      our_port_ = last_.flow.local_port;
    }
    if (last_.options.has_timestamps) last_timestamp_ = last_.options.timestamp_value;
    return Words(last_);
  }
  // All that was said, as far as it is here.
  std::vector<std::string> HearAll() {
    std::vector<std::string> all;
    while (!outbox_.empty()) all.push_back(Hear());
    return all;
  }
  void Forget() { HearAll(); }

  std::string Words(const Heard& heard) const {
    std::string text;
    static constexpr std::pair<char, uint8_t> kLetters[] = {
        {'S', 0x02}, {'F', 0x01}, {'R', 0x04}, {'P', 0x08}, {'A', 0x10}, {'E', 0x40}, {'C', 0x80}};
    for (const auto& [letter, bit] : kLetters) {
      if ((heard.flags & bit) != 0) text += letter;
    }
    absl::StrAppend(&text, " ", static_cast<int32_t>(heard.seq - our_isn_));
    if (!heard.payload.empty()) absl::StrAppend(&text, "+", heard.payload.size());
    if ((heard.flags & netstack::kTcpAck) != 0) {
      absl::StrAppend(&text, " ack ", static_cast<int32_t>(heard.ack - peer_isn_));
    }
    if (heard.options.sack_count > 0) text += " sack";
    for (const SeqRange& block : heard.options.sack_blocks()) {
      absl::StrAppend(&text, " ", block.begin - peer_isn_, "-", block.end - peer_isn_);
    }
    return text;
  }

  // --- Openings.
  // An established connection that the peer has begun; the peer's options as given.
  void Accept(absl::string_view options = "mss=1000") {
    Listen();
    Say(absl::StrCat("S 0 ", options));
    Hear();
    Say(absl::StrCat("A 1 ack 1", Echo(options)));
    ASSERT_EQ(Event(), "accepted");
  }

  static std::string Echo(absl::string_view options) {
    for (absl::string_view word : absl::StrSplit(options, ' ')) {
      if (word.substr(0, 3) == "ts=") return absl::StrCat(" ", word);
    }
    return "";
  }
  static uint32_t NumberOf(absl::string_view text) {
    int64_t number = 0;
    EXPECT_TRUE(absl::SimpleAtoi(text, &number)) << text;
    return static_cast<uint32_t>(number);
  }

  const netstack::IpAddress us_ = netstack::IpAddress::V4(0x0a000001);
  netstack::IpAddress peer_ = netstack::IpAddress::V4(0x0a000002);
  StreamId stream_;
  uint16_t our_port_ = kOurPort;
  Seq our_isn_;
  Seq peer_isn_{0xfffffff0};  // wraps soon
  uint32_t last_timestamp_ = 0;
  Heard last_;  // what Hear() spoke of
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_ENGINE_FIXTURE_H_
