// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/message_codec.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "weft/rpc/service/service.pb.h"

namespace weft::rpc {
namespace {

constexpr size_t kHeadBytes = 16;

std::string Text(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 7 + i / 251);
  return text;
}

wire::Trailer Message(size_t bytes) {
  wire::Trailer message;
  message.set_message(Text(bytes));
  message.add_details()->set_type_url("url");
  return message;
}

absl::Span<const uint8_t> BytesOf(absl::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string StringOf(const Payload& payload) {
  const auto joined = payload.Join();
  return {reinterpret_cast<const char*>(joined.get()), payload.size()};
}

class MessageCodecTest : public testing::Test {
 protected:
  BufferChain Cut(const std::string& bytes, size_t piece_bytes) {
    BufferChain chain;
    for (size_t at = 0; at < bytes.size(); at += piece_bytes) {
      Buffer buffer = pool_.Allocate();
      const size_t n = std::min(piece_bytes, bytes.size() - at);
      std::memcpy(buffer.Append(n), bytes.data() + at, n);
      chain.Append(std::move(buffer));
    }
    return chain;
  }

  BufferPool pool_{{.count = 4096, .bytes = 1024}};
};

TEST_F(MessageCodecTest, LeavesRoomForTheHead) {
  for (const size_t size : {0, 1, 100, 800, 880, 1000, 100'000}) {
    const wire::Trailer message = Message(size);
    EncodedMessage encoded = EncodeMessage(pool_, kHeadBytes, message);
    ASSERT_NE(encoded.head, nullptr);
    std::memset(encoded.head, 'h', kHeadBytes);
    EXPECT_TRUE(encoded.payload.contiguous());
    EXPECT_EQ(StringOf(encoded.payload),
              std::string(kHeadBytes, 'h') + message.SerializeAsString());
  }
  EXPECT_EQ(pool_.available(), pool_.count());
}

TEST_F(MessageCodecTest, ReadsAnyFragmentation) {
  const wire::Trailer message = Message(700);
  const std::string bytes = message.SerializeAsString();
  for (size_t piece = 1; piece <= bytes.size(); ++piece) {
    wire::Trailer read;
    ASSERT_TRUE(DecodeMessage(Cut(bytes, piece), &read)) << piece;
    EXPECT_EQ(read.SerializeAsString(), bytes) << piece;
    // Cut off anywhere, it is refused or something else; it does no harm.
    (void)DecodeMessage(Cut(bytes.substr(0, piece), 3), &read);
  }
}

TEST_F(MessageCodecTest, WhatDoesNotParseIsRefused) {
  wire::Trailer read;
  EXPECT_FALSE(DecodeMessage(Cut("\x0A\x05"
                                 "abc",
                                 100),
                             &read));
  EXPECT_FALSE(DecodeMessage(Cut("\x0A\x05"
                                 "abc",
                                 1),
                             &read));
}

TEST_F(MessageCodecTest, TakesMessagesOneAfterTheOther) {
  const std::string one = Message(10).SerializeAsString();
  const std::string two = Message(300).SerializeAsString();
  for (size_t piece = 1; piece <= 400; piece += 13) {
    BufferChain chain = Cut(one + two, piece);
    wire::Trailer read;
    ASSERT_TRUE(TakeMessage(chain, one.size(), &read));
    EXPECT_EQ(read.SerializeAsString(), one);
    ASSERT_TRUE(TakeMessage(chain, two.size(), &read));
    EXPECT_EQ(read.SerializeAsString(), two);
    EXPECT_TRUE(chain.empty());
    EXPECT_FALSE(TakeMessage(chain, 1, &read));
    EXPECT_TRUE(TakeMessage(chain, 0, &read));
  }
}

TEST_F(MessageCodecTest, RawBytesAreNotCopied) {
  const std::string text = Text(500);
  const std::string head(kHeadBytes, 'h');
  const absl::Span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size());
  // Memory of somebody else, several buffers, a buffer that has no headroom left: a piece in front.
  const Payload external = EncodeRaw(pool_, BytesOf(head), Payload::External(bytes));
  EXPECT_EQ(StringOf(external), head + text);
  size_t found = 0;
  external.ForEachPiece(
      [&](absl::Span<const uint8_t> piece) { found += piece.data() == bytes.data(); });
  EXPECT_EQ(found, 1u);
  EXPECT_EQ(StringOf(EncodeRaw(pool_, BytesOf(head), Payload(Cut(text, 200)))), head + text);

  Buffer buffer = pool_.Allocate();
  std::memcpy(buffer.Append(text.size()), text.data(), text.size());
  const uint8_t* const where = buffer.data();
  Payload one = EncodeRaw(pool_, BytesOf(head), Payload(std::move(buffer)));
  EXPECT_TRUE(one.contiguous());
  EXPECT_EQ(one.front().data() + kHeadBytes, where);
  EXPECT_EQ(StringOf(one), head + text);

  buffer = one.TakeBuffer();
  buffer.TrimFront(kHeadBytes);
  (void)buffer.Prepend(buffer.headroom() - kHeadBytes);
  EXPECT_FALSE(EncodeRaw(pool_, BytesOf(head), Payload(std::move(buffer))).contiguous());

  EXPECT_EQ(StringOf(EncodeRaw(pool_, BytesOf(head), Payload())), head);
  const std::string long_head = Text(5000);
  EXPECT_EQ(StringOf(EncodeRaw(pool_, BytesOf(long_head), Payload::External(bytes))),
            long_head + text);
}

TEST_F(MessageCodecTest, AnEmptyPoolGivesNothing) {
  BufferPool none({.count = 1, .bytes = 1024});
  const Buffer taken = none.Allocate();
  EXPECT_EQ(EncodeMessage(none, kHeadBytes, Message(1)).head, nullptr);
  EXPECT_TRUE(EncodeRaw(none, BytesOf("head"), Payload()).empty());
  // One that is longer than a packet needs none yet.
  EXPECT_NE(EncodeMessage(none, kHeadBytes, Message(2000)).head, nullptr);
}

}  // namespace
}  // namespace weft::rpc
