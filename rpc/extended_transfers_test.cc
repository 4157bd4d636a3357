// SPDX-License-Identifier: Apache-2.0
//
// Requests and replies of several packets, at a server: packet by packet, and with a client that
// does its part over a network that loses some.

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/task.h"
#include "weft/rpc/client.h"
#include "weft/rpc/extended_server_fixture.h"

namespace weft::rpc {
namespace {

std::string Text(size_t size) {
  std::string text(size, '\0');
  uint32_t state = static_cast<uint32_t>(size);
  for (char& c : text) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return text;
}

class ExtendedTransfersTest : public ExtendedServerTest {
 protected:
  // Packet `index` of `packets` of a request with 956 bytes a packet.
  void SendPart(uint64_t id, size_t index, size_t packets, std::string_view message,
                bool resent = false) {
    ExtendedHeader header = client_.Header(MessageType::kRequest, id);
    header.first = index == 0;
    header.last = index + 1 == packets;
    header.packet_order = static_cast<uint16_t>(index == 0 ? packets : index);
    header.resent = resent;
    client_.Send(header, message.substr(index * 956, 956));
  }
  struct Ack {
    ExtendedHeader header;
    Progress progress;
    std::string bits;
  };
  Ack ReceiveProgress() {
    const RawPacket packet = Receive();
    EXPECT_EQ(packet.header.kind, ControlKind::kProgress);
    Ack ack{.header = packet.header, .progress = {}, .bits = {}};
    EXPECT_TRUE(ReadProgress(Bytes(packet.body), &ack.progress));
    for (size_t i = 0; i < ack.progress.bits; ++i) ack.bits += ack.progress.has(i) ? '1' : '0';
    return ack;
  }
  // Tells the server how much of a reply is here.
  void SendProgress(uint64_t id, size_t here, size_t granted, uint32_t echo, bool resent = false) {
    ExtendedHeader header = client_.Header(MessageType::kAck, id, ControlKind::kProgress);
    header.last = false;
    header.resent = resent;
    header.packet_order = static_cast<uint16_t>(here);
    header.echo_valid = true;
    header.echo = echo;
    uint8_t body[kProgressBytesMax];
    const size_t bytes = WriteProgress({.granted = static_cast<uint16_t>(granted)}, body);
    client_.Send(header, std::string_view(reinterpret_cast<const char*>(body), bytes));
  }
  void ServeSized() {
    Serve([this](ServerCall call) {
      const std::string reply = Text(std::stoul(call.request().ToString()));
      EXPECT_TRUE(call.Reply(Payload::Copy(Bytes(reply))).ok());
    });
  }
  bool AllBuffersAreBack() {
    RunFor(absl::Milliseconds(1));
    return server_->port().pool().available() == server_->port().pool().count();
  }
};

TEST_F(ExtendedTransfersTest, ARequestInOrder) {
  ServeHolding();
  Open();
  const std::string request = Text(2500);
  for (size_t i = 0; i < 3; ++i) SendPart(Id(1), i, 3, request);
  Ack ack;
  do {
    ack = ReceiveProgress();
    EXPECT_TRUE(ack.header.last) << "it is about a request";
    EXPECT_EQ(ack.header.request_id, Id(1));
  } while (ack.header.packet_order < 3);
  ASSERT_TRUE(RunUntil([&] { return held_.size() == 1; }));
  EXPECT_TRUE(held_[0].request().ToString() == request);
  ASSERT_TRUE(held_[0].Reply(Bytes("ok")).ok());
  EXPECT_EQ(Receive().body, "ok");
  EXPECT_EQ(server_->incomplete(), 0u);
}

TEST_F(ExtendedTransfersTest, ARequestInAnyOrderAndMoreThanOnce) {
  ServeHolding({.session = {.credits = 8}});
  Open();
  const std::string request = Text(3500);
  SendPart(Id(1), 3, 4, request);
  Ack ack = ReceiveProgress();
  EXPECT_EQ(ack.header.packet_order, 0);
  EXPECT_EQ(ack.bits, "001");
  EXPECT_EQ(ack.progress.granted, 4);
  SendPart(Id(1), 0, 4, request);
  ack = ReceiveProgress();
  EXPECT_EQ(ack.header.packet_order, 1);
  EXPECT_EQ(ack.bits, "01");
  SendPart(Id(1), 0, 4, request, /*resent=*/true);
  EXPECT_EQ(ReceiveProgress().header.packet_order, 1);
  SendPart(Id(1), 2, 4, request);
  EXPECT_EQ(ReceiveProgress().bits, "11");
  SendPart(Id(1), 1, 4, request);
  EXPECT_EQ(ReceiveProgress().header.packet_order, 4);
  ASSERT_TRUE(RunUntil([&] { return held_.size() == 1; }));
  EXPECT_TRUE(held_[0].request().ToString() == request);

  // The client may have missed that.
  SendPart(Id(1), 0, 4, request, /*resent=*/true);
  ack = ReceiveProgress();
  EXPECT_EQ(ack.header.packet_order, 4);
  EXPECT_EQ(ack.progress.bits, 0);
  EXPECT_EQ(held_.size(), 1u);
}

TEST_F(ExtendedTransfersTest, NothingIsSaidBeforeTheLengthIsKnown) {
  ServeHolding();
  Open();
  SendPart(Id(1), 1, 3, Text(2500));
  EXPECT_TRUE(Silence());
  SendPart(Id(1), 0, 3, Text(2500));
  EXPECT_EQ(ReceiveProgress().header.packet_order, 1);
}

TEST_F(ExtendedTransfersTest, TheEdgeMovesWithWhatHasArrived) {
  ServeHolding({.session = {.credits = 2}});
  Open();
  const std::string request = Text(9000);
  SendPart(Id(1), 0, 10, request);
  EXPECT_EQ(ReceiveProgress().progress.granted, 3);
  SendPart(Id(1), 2, 10, request);
  EXPECT_EQ(ReceiveProgress().progress.granted, 3);
  SendPart(Id(1), 1, 10, request);
  EXPECT_EQ(ReceiveProgress().progress.granted, 5);
}

TEST_F(ExtendedTransfersTest, ARequestWithoutRoomWaitsForIt) {
  transport_ = sim::OpenTransport(&network_, {.count = 64});  // so that 32 are for requests
  ServeHolding({.session = {.credits = 64}});
  Open();
  const std::string request = Text(19'000);  // 20 packets
  SendPart(Id(1, 0), 0, 20, request);
  EXPECT_GT(ReceiveProgress().progress.granted, 0);
  SendPart(Id(1, 1), 0, 20, request);
  const Ack refused = ReceiveProgress();
  EXPECT_EQ(refused.progress.granted, 0);
  EXPECT_EQ(refused.header.packet_order, 0) << "what came was dropped";
  EXPECT_EQ(refused.header.request_id, Id(1, 1));
  client_.SendControl(ControlKind::kCancel, Id(1, 0));
  // The cancelled one's room goes to the other.
  bool granted = false;
  for (int i = 0; i < 2; ++i) {
    const RawPacket packet = Receive();
    if (packet.header.kind == ControlKind::kProgress) {
      Progress progress;
      ASSERT_TRUE(ReadProgress(Bytes(packet.body), &progress));
      EXPECT_EQ(packet.header.request_id, Id(1, 1));
      granted = progress.granted > 0;
    } else {
      EXPECT_EQ(packet.header.code, DropReason::kCancelled);
    }
  }
  EXPECT_TRUE(granted);
}

TEST_F(ExtendedTransfersTest, ARequestThatCouldNeverFitIsRefused) {
  transport_ = sim::OpenTransport(&network_, {.count = 64});
  ServeHolding();
  Open();
  SendPart(Id(1), 0, 33, Text(956));
  EXPECT_EQ(Receive().header.code, DropReason::kTooLarge);
  SendPart(Id(1), 1, 33, Text(2000));
  EXPECT_EQ(Receive().header.code, DropReason::kTooLarge) << "the same request";
  EXPECT_EQ(server_->stats().refused_too_large, 1u);
}

TEST_F(ExtendedTransfersTest, ARequestOfTooManyBytesIsRefused) {
  ServeHolding({.session = {.message_bytes_max = 1500}});
  Open();
  const std::string request = Text(1800);
  SendPart(Id(1), 0, 2, request);
  EXPECT_EQ(ReceiveProgress().header.packet_order, 1);
  SendPart(Id(1), 1, 2, request);
  EXPECT_EQ(Receive().header.code, DropReason::kTooLarge);
  EXPECT_TRUE(AllBuffersAreBack());
}

TEST_F(ExtendedTransfersTest, ARequestThatDoesNotGoOnExpires) {
  ServeHolding({.reassembly_timeout = absl::Milliseconds(50)});
  Open(client_, 1, {.slots = 8, .packet_bytes = 1000, .timeout_us = 60'000'000});
  SendPart(Id(1), 0, 3, Text(2500));
  ReceiveProgress();
  EXPECT_EQ(server_->incomplete(), 1u);
  const RawPacket drop = Receive();
  EXPECT_EQ(drop.header.code, DropReason::kOverloaded) << "it may be tried again";
  EXPECT_EQ(server_->stats().expired, 1u);
  EXPECT_EQ(server_->incomplete(), 0u);
  EXPECT_TRUE(AllBuffersAreBack());
}

TEST_F(ExtendedTransfersTest, TheAdmissionSeesTheFirstPacketOnce) {
  std::vector<size_t> seen;
  ServeHolding();
  server_->set_admission([&](Peer, absl::Span<const uint8_t> first) {
    seen.push_back(first.size());
    return first[0] == static_cast<uint8_t>(Text(2500)[0]);
  });
  Open();
  SendPart(Id(1), 2, 3, Text(2500));
  SendPart(Id(1), 0, 3, Text(2500));
  SendPart(Id(1), 0, 3, Text(2500));
  SendPart(Id(1), 1, 3, Text(2500));
  ASSERT_TRUE(RunUntil([&] { return held_.size() == 1; }));
  EXPECT_EQ(seen, std::vector<size_t>({956}));
  SendPart(Id(1, 1), 2, 3, std::string(2500, 'x'));
  SendPart(Id(1, 1), 0, 3, std::string(2500, 'x'));
  RawPacket packet;
  do {
    packet = Receive();
  } while (packet.header.type != MessageType::kDrop);
  EXPECT_EQ(packet.header.code, DropReason::kRefused);
}

TEST_F(ExtendedTransfersTest, CloseGivesUpWhatIsIncomplete) {
  ServeHolding();
  Open();
  SendPart(Id(1), 0, 3, Text(2500));
  ReceiveProgress();
  client_.SendControl(ControlKind::kClose);
  EXPECT_EQ(Receive().header.kind, ControlKind::kCloseAck);
  EXPECT_TRUE(AllBuffersAreBack());
}

TEST_F(ExtendedTransfersTest, AReplyGoesAsFarAsTheClientAllows) {
  ServeSized();
  Open();
  ExtendedHeader header = client_.Header(MessageType::kRequest, Id(1));
  header.credits = 2;
  client_.Send(header, "4500");  // 5 packets
  std::string reply;
  RawPacket packet = Receive();
  EXPECT_TRUE(packet.header.first);
  EXPECT_FALSE(packet.header.last);
  EXPECT_EQ(packet.header.packet_order, 5);
  EXPECT_EQ(packet.header.echo, 5000u);
  reply += packet.body;
  packet = Receive();
  EXPECT_EQ(packet.header.packet_order, 1);
  reply += packet.body;
  EXPECT_TRUE(Silence());
  EXPECT_EQ(server_->stats().kept_reply_bytes.value(), 4500);
  SendProgress(Id(1), 2, 5, packet.header.timestamp);
  for (int i = 2; i < 5; ++i) {
    packet = Receive();
    EXPECT_EQ(packet.header.packet_order, i);
    EXPECT_EQ(packet.header.last, i == 4);
    reply += packet.body;
  }
  EXPECT_TRUE(reply == Text(4500));
  SendProgress(Id(1), 5, 5, packet.header.timestamp);
  EXPECT_TRUE(Silence());
  EXPECT_EQ(server_->stats().kept_reply_bytes.value(), 0) << "the client has it";
  EXPECT_EQ(Call(Id(1), "4500").header.code, DropReason::kReplyGone);
  EXPECT_EQ(server_->stats().requests, 1u);
}

TEST_F(ExtendedTransfersTest, WhatIsLostOfAReplyIsSentAgainWhenTheClientAsks) {
  ServeSized();
  Open();
  client_.SendRequest(Id(1), "2500");
  Receive();
  Receive();
  const uint32_t latest = Receive().header.timestamp;
  SendProgress(Id(1), 1, 3, latest);
  RunFor(absl::Milliseconds(5));
  SendProgress(Id(1), 1, 3, latest + 5'000'000, /*resent=*/true);
  for (int i = 1; i < 3; ++i) {
    const RawPacket packet = Receive();
    EXPECT_EQ(packet.header.packet_order, i);
    EXPECT_TRUE(packet.header.resent);
  }
  EXPECT_EQ(server_->stats().retransmitted, 2u);
}

TEST_F(ExtendedTransfersTest, AReplyOfWhichNothingArrivesIsSentAgainWhenTheRequestIs) {
  ServeSized();
  Open();
  client_.SendRequest(Id(1), "2500");
  for (int i = 0; i < 3; ++i) Receive();
  RunFor(absl::Milliseconds(5));
  client_.SendRequest(Id(1), "2500");
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Receive().header.resent);
  EXPECT_EQ(server_->stats().requests, 1u);
}

TEST_F(ExtendedTransfersTest, AClientWithoutRoomIsAskedAgain) {
  ServeSized();
  Open();
  client_.SendRequest(Id(1), "2500");
  for (int i = 0; i < 3; ++i) Receive();
  SendProgress(Id(1), 0, 0, 0);
  EXPECT_TRUE(Silence());
  RunFor(absl::Milliseconds(5));
  SendProgress(Id(1), 0, 0, 0, /*resent=*/true);
  const RawPacket probe = Receive();
  EXPECT_TRUE(probe.header.first);
  EXPECT_TRUE(Silence());
  SendProgress(Id(1), 0, 3, 0);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Receive().header.index(), static_cast<size_t>(i));
}

TEST_F(ExtendedTransfersTest, ImpossibleProgressIsCounted) {
  ServeSized();
  Open();
  client_.SendRequest(Id(1), "2500");
  for (int i = 0; i < 3; ++i) Receive();
  SendProgress(Id(1), 4, 4, 0);
  client_.Send([&] {
    ExtendedHeader header = client_.Header(MessageType::kAck, Id(1), ControlKind::kProgress);
    header.last = false;
    return header;
  }());
  SendProgress(Id(1, 3), 1, 4, 0);
  SendProgress(Id(1, 300), 1, 4, 0);
  EXPECT_TRUE(Silence());
  EXPECT_EQ(server_->stats().malformed, 2u);
  EXPECT_EQ(server_->stats().unexpected, 2u);
}

TEST_F(ExtendedTransfersTest, RepliesThatNobodyFetchesAreForgotten) {
  Serve([](ServerCall call) { EXPECT_TRUE(call.Reply(Bytes(Text(5000))).ok()); },
        {.reply_cache_time = absl::Milliseconds(100)});
  Open(client_, 1, {.slots = 8, .packet_bytes = 1000, .timeout_us = 60'000'000});
  client_.SendRequest(Id(1), "");
  ASSERT_TRUE(RunUntil([&] { return server_->stats().kept_reply_bytes.value() > 0; }));
  ASSERT_TRUE(RunUntil([&] { return server_->stats().kept_reply_bytes.value() == 0; }));
  while (client_.TryReceive().has_value()) {
  }
  SendProgress(Id(1), 2, 6, 0, /*resent=*/true);
  EXPECT_EQ(Receive().header.code, DropReason::kReplyGone);
}

TEST_F(ExtendedTransfersTest, TheNextRequestOfASlotReleasesTheReply) {
  bool released = false;
  const std::string reply = Text(5000);
  Serve([&](ServerCall call) {
    EXPECT_TRUE(call.Reply(Payload::External(Bytes(reply), [&] { released = true; })).ok());
  });
  Open();
  client_.SendRequest(Id(1), "");
  Receive();
  EXPECT_FALSE(released);
  client_.SendRequest(Id(2), "");
  ASSERT_TRUE(RunUntil([&] { return released; }));
  server_.reset();  // before the text that the second reply is of
}

TEST_F(ExtendedTransfersTest, RepliesBeyondTheLimitsAreRefused) {
  Serve(
      [](ServerCall call) {
        EXPECT_TRUE(absl::IsInvalidArgument(call.Reply(Bytes(Text(10'001)))));
        EXPECT_FALSE(call.cancelled());
        EXPECT_TRUE(call.Reply(Bytes("shorter")).ok());
      },
      {.session = {.message_bytes_max = 10'000}});
  Open();
  EXPECT_EQ(Call(Id(1), "").body, "shorter");
}

TEST_F(ExtendedTransfersTest, DrainingWaitsForRepliesOnTheirWay) {
  ServeSized();
  Open();
  client_.SendRequest(Id(1), "2500");
  for (int i = 0; i < 3; ++i) Receive();
  bool drained = false;
  server_->Drain([&] { drained = true; });
  RunFor(absl::Milliseconds(10));
  EXPECT_FALSE(drained);
  SendProgress(Id(1), 3, 3, 0);
  EXPECT_TRUE(RunUntil([&] { return drained; }));
}

// --- With a client that does its part.

struct Weather {
  double loss = 0;
  double duplicate = 0;
  double reorder = 0;
  size_t buffers = 4096;
};

class TransfersInWeatherTest : public ExtendedServerTest,
                               public testing::WithParamInterface<Weather> {};

TEST_P(TransfersInWeatherTest, EveryCallIsExecutedOnceAndAnswered) {
  const Weather& weather = GetParam();
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(seed);
    sim::Network network(seed, {.latency_ns = 5000,
                                .jitter_ns = 1000,
                                .loss = weather.loss,
                                .duplicate = weather.duplicate,
                                .reorder = weather.reorder});
    auto transport = sim::OpenTransport(&network, {.count = weather.buffers});
    Loop loop({}, network);
    size_t executed = 0;
    auto server =
        *Server::Create(loop, *transport->OpenDatagramPort({.local = Address::Sim("server")}),
                        {.key_seed = seed}, [&](ServerCall call) {
                          ++executed;
                          EXPECT_TRUE(call.Reply(std::move(call.request())).ok());
                        });
    auto client = *Client::Create(
        loop, *transport->OpenDatagramPort({.local = Address::Sim("client")}),
        {.timeout = absl::Seconds(30), .request_id_seed = seed, .wire = Wire::kExtended});
    const Peer peer = *client->Resolve(Address::Sim("server"));
    size_t ended = 0;
    const std::vector<size_t> sizes = {0,      1,      1428,   1429,   2856,    5000,
                                       20'000, 60'000, 60'001, 80'000, 100'000, 300'000};
    for (const size_t size : sizes) {
      const std::string request = Text(size);
      ASSERT_TRUE(client
                      ->Call(peer, Payload::Copy(Bytes(request)),
                             [&ended, request](absl::StatusOr<BufferChain> reply) {
                               ++ended;
                               ASSERT_TRUE(reply.ok()) << request.size() << ": " << reply.status();
                               EXPECT_TRUE(reply->ToString() == request) << request.size();
                             })
                      .ok());
    }
    ASSERT_TRUE(RunVirtual(
        network, {&loop}, [&] { return ended == sizes.size(); }, 120'000'000'000));
    EXPECT_EQ(executed, sizes.size());
    client.reset();
    RunVirtual(
        network, {&loop}, [&] { return server->stats().sessions.value() == 0; },
        network.NowNs() + 20'000'000'000);
    EXPECT_EQ(server->port().pool().available(), server->port().pool().count());
    EXPECT_EQ(server->stats().kept_reply_bytes.value(), 0);
    EXPECT_EQ(server->stats().executing.value(), 0);
  }
}

// Handlers hold the buffers of long requests after they have come.
TEST_F(ExtendedTransfersTest, ManyLongMessagesMakeDoWithFewBuffers) {
  transport_ = sim::OpenTransport(&network_, {.count = 512});
  size_t running = 0;
  size_t most = 0;
  Serve([&](ServerCall call) -> Task<void> {
    most = std::max(most, ++running);
    co_await call.loop().Sleep(absl::Milliseconds(3));
    --running;
    EXPECT_TRUE(call.Reply(std::move(call.request())).ok());
  });
  auto rich = sim::OpenTransport(&network_, {.count = 16384});
  auto client = *Client::Create(
      loop_, *rich->OpenDatagramPort({.local = Address::Sim("rich")}),
      {.timeout = absl::Seconds(30), .request_id_seed = 1, .wire = Wire::kExtended});
  const Peer peer = *client->Resolve(Address::Sim("server"));
  const std::string request = Text(280'000);
  size_t replies = 0;
  size_t failures = 0;
  for (int i = 0; i < 16; ++i) {
    ASSERT_TRUE(client
                    ->Call(peer, Payload::External(Bytes(request)),
                           [&](absl::StatusOr<BufferChain> reply) {
                             ++(reply.ok() ? replies : failures);
                             EXPECT_TRUE(reply.ok()) << reply.status();
                           })
                    .ok());
  }
  EXPECT_TRUE(RunUntil([&] { return replies + failures == 16; }));
  EXPECT_EQ(replies, 16u);
  EXPECT_EQ(server_->stats().requests, 16u);
  EXPECT_LE(most, 2u) << "as many as there are buffers for";
}

INSTANTIATE_TEST_SUITE_P(All, TransfersInWeatherTest,
                         testing::Values(Weather{}, Weather{.loss = 0.01},
                                         Weather{.loss = 0.1, .duplicate = 0.05, .reorder = 0.1},
                                         Weather{.duplicate = 0.2, .reorder = 0.3},
                                         Weather{.loss = 0.01, .buffers = 512}));

}  // namespace
}  // namespace weft::rpc
