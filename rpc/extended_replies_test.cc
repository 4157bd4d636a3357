// SPDX-License-Identifier: Apache-2.0
//
// What a server keeps of its replies, and for how long.

#include <string>

#include "gtest/gtest.h"
#include "weft/rpc/extended_server_fixture.h"
#include "weft/rpc/reply_cache.h"

namespace weft::rpc {
namespace {

using ExtendedRepliesTest = ExtendedServerTest;

TEST(ReplyCacheTest, BlocksAreLittleLargerThanWhatTheyHold) {
  for (size_t size = 0; size <= 65535; ++size) {
    const size_t bytes = ReplyCache::ClassBytes(ReplyCache::ClassOf(size));
    ASSERT_GE(bytes, size);
    ASSERT_LE(bytes, std::max<size_t>(64, size + size / 4 + 1));
  }
}

TEST_F(ExtendedRepliesTest, RepliesAreForgottenAfterTheirTime) {
  ServeEcho({.reply_cache_time = absl::Milliseconds(500)});
  Open(client_, 1, {.slots = 8, .packet_bytes = 1000, .timeout_us = 60'000'000});
  Call(Id(1), "x");
  EXPECT_GT(server_->stats().kept_reply_bytes.value(), 0);
  RunFor(absl::Milliseconds(400));
  EXPECT_EQ(Call(Id(1), "x").body, "x");
  RunFor(absl::Milliseconds(4000));
  EXPECT_EQ(server_->stats().kept_reply_bytes.value(), 0);
  const RawPacket drop = Call(Id(1), "x");
  EXPECT_EQ(drop.header.type, MessageType::kDrop);
  EXPECT_EQ(drop.header.code, DropReason::kReplyGone);
  EXPECT_EQ(server_->stats().replies_gone, 1u);
  EXPECT_EQ(server_->stats().requests, 1u);
  EXPECT_EQ(Call(Id(2), "next").body, "next");
}

TEST_F(ExtendedRepliesTest, TheOldestGoWhenThereIsNoRoom) {
  ServeEcho({.reply_cache_bytes_max = 4096});
  Open(client_, 1, {.slots = 128, .packet_bytes = 1000, .timeout_us = 60'000'000});
  for (uint16_t slot = 0; slot < 128; ++slot) {
    ASSERT_EQ(Call(Id(1, slot), std::string(64, 'x')).body.size(), 64u);
    ASSERT_LE(server_->stats().kept_reply_bytes.value(), 4096);
  }
  EXPECT_EQ(Call(Id(1, 127), "x").body.size(), 64u) << "the latest is kept";
  EXPECT_EQ(Call(Id(1, 0), "x").header.code, DropReason::kReplyGone);
}

TEST_F(ExtendedRepliesTest, WithoutRoomToKeepRepliesTheyAreSentAllTheSame) {
  ServeEcho({.reply_cache_bytes_max = 0});
  Open();
  EXPECT_EQ(Call(Id(1), "x").body, "x");
  EXPECT_EQ(server_->stats().kept_reply_bytes.value(), 0);
  EXPECT_EQ(Call(Id(1), "x").header.code, DropReason::kReplyGone);
}

TEST_F(ExtendedRepliesTest, EndedSessionsKeepNothing) {
  ServeEcho();
  Open();
  for (uint16_t slot = 0; slot < 8; ++slot) Call(Id(1, slot), std::string(900, 'x'));
  EXPECT_GE(server_->stats().kept_reply_bytes.value(), 8 * 900);
  client_.SendControl(ControlKind::kClose);
  Receive();
  EXPECT_EQ(server_->stats().kept_reply_bytes.value(), 0);
}

TEST_F(ExtendedRepliesTest, EveryFormOfReply) {
  int form = 0;
  Serve([&](ServerCall call) {
    BufferChain two;
    for (const char* piece : {"in ", "two"}) {
      Buffer buffer = call.Allocate();
      std::memcpy(buffer.Append(3), piece, 3);
      two.Append(std::move(buffer));
    }
    Buffer one = call.Allocate();
    std::memcpy(one.Append(3), "one", 3);
    absl::Status sent;
    switch (form++) {
      case 0:
        sent = call.Reply(Bytes("span"));
        break;
      case 1:
        sent = call.Reply(std::move(one));
        break;
      case 2:
        sent = call.Reply(std::move(two));
        break;
      case 3:
        sent = call.Reply(Payload::External(Bytes("external")));
        break;
      default:
        EXPECT_FALSE(call.Reply(Buffer()).ok());
        sent = call.Reply(BufferChain());
    }
    EXPECT_TRUE(sent.ok()) << sent;
  });
  Open();
  EXPECT_EQ(Call(Id(1), "").body, "span");
  EXPECT_EQ(Call(Id(2), "").body, "one");
  EXPECT_EQ(Call(Id(3), "").body, "in two");
  EXPECT_EQ(Call(Id(4), "").body, "external");
  EXPECT_EQ(Call(Id(5), "").body, "");
}

TEST_F(ExtendedRepliesTest, AReplyWithoutHeadroomIsCopied) {
  Serve([](ServerCall call) {
    Buffer buffer = call.Allocate();
    buffer.Prepend(buffer.headroom());
    buffer.TrimBack(buffer.size());
    std::memcpy(buffer.Append(2), "ok", 2);
    EXPECT_TRUE(call.Reply(std::move(buffer)).ok());
  });
  Open();
  EXPECT_EQ(Call(Id(1), "").body, "ok");
}

TEST_F(ExtendedRepliesTest, AReplyThatFindsNoBufferIsFetchedLater) {
  transport_ = sim::OpenTransport(&network_, {.count = 32});
  ServeHolding();
  Open();
  ServerCall& call = Hold(Id(1));
  std::vector<Buffer> all;
  while (Buffer buffer = call.Allocate()) all.push_back(std::move(buffer));
  EXPECT_TRUE(call.Reply(Bytes("kept")).ok());
  EXPECT_TRUE(Silence());
  all.clear();
  EXPECT_EQ(Call(Id(1), "again").body, "kept");
}

}  // namespace
}  // namespace weft::rpc
