// SPDX-License-Identifier: Apache-2.0
//
// What a router does with requests, packet by packet.
#include <algorithm>
#include <cstdint>
#include <string>

#include "gtest/gtest.h"
#include "weft/router/router_fixture.h"

namespace weft::router {
namespace {

using r2p2::ControlKind;
using r2p2::DropReason;
using r2p2::MessageType;
using r2p2::Policy;
using r2p2::RequestKey;

class RouterRequestsTest : public RouterTest {
 protected:
  RouterRequestsTest() : client_(*transport_, "client") {}

  void Send(const Bytes& bytes) { client_.Send(router_address(), bytes); }
  void SendFeedback(Endpoint& server, const std::vector<uint64_t>& requests) {
    server.Send(router_address(), FeedbackPacket(3, next_feedback_, requests));
    next_feedback_ += requests.size();
  }

  Endpoint client_;
  uint64_t next_feedback_ = 0;
};

TEST_F(RouterRequestsTest, ARequestArrivesAsItWasSentUnderTheClientsOwnAddress) {
  StartWithServers(1);
  EXPECT_TRUE(router_->keeps_source());
  Send(OriginalRequest(7));
  RunFor();
  const auto packet = servers_[0]->TryReceive();
  ASSERT_TRUE(packet.has_value());
  EXPECT_EQ(packet->from, client_.address());
  EXPECT_EQ(packet->bytes, OriginalRequest(7));
  EXPECT_EQ(outstanding(), 1u);
  SendFeedback(*servers_[0], {RequestKey(client_.id(), 0, 7)});
  RunFor();
  ExpectNothingHeld();
}

TEST_F(RouterRequestsTest, TheClientsAddressTravelsInFrontWhereTheSourceCannotBeKept) {
  RouterOptions options = Options();
  options.forwarding = RouterOptions::Forwarding::kAddressInHeader;
  StartWithServers(1, options);
  EXPECT_FALSE(router_->keeps_source());
  Send(OriginalRequest(7));
  Send(AnycastRequest(1));
  RunFor();
  for (const Bytes& sent : {OriginalRequest(7), AnycastRequest(1)}) {
    const auto packet = servers_[0]->TryReceive();
    ASSERT_TRUE(packet.has_value());
    EXPECT_EQ(packet->from, router_address());
    Address client;
    const size_t route = r2p2::ReadRoute(packet->bytes, &client);
    ASSERT_GT(route, 0u);
    EXPECT_EQ(client, client_.address());
    EXPECT_EQ(Bytes(packet->bytes.begin() + static_cast<ptrdiff_t>(route), packet->bytes.end()),
              sent);
  }
}

TEST_F(RouterRequestsTest, RequestsWaitForSlotsAndLeaveInOrder) {
  RouterOptions options = Options();
  options.slots = 1;
  StartWithServers(1, options);
  for (uint16_t rid = 1; rid <= 3; ++rid) Send(OriginalRequest(rid));
  RunFor();
  EXPECT_EQ(servers_[0]->TryReceive()->original.request_id, 1);
  EXPECT_FALSE(servers_[0]->TryReceive().has_value());
  for (uint16_t rid = 1; rid <= 3; ++rid) {
    SendFeedback(*servers_[0], {RequestKey(client_.id(), 0, rid)});
    RunFor();
    const auto next = servers_[0]->TryReceive();
    ASSERT_EQ(next.has_value(), rid < 3);
    if (next.has_value()) {
      EXPECT_EQ(next->original.request_id, rid + 1);
    }
  }
  ExpectNothingHeld();
}

TEST_F(RouterRequestsTest, TheTimeForWhichItWaitedIsAddedToARequestsTimestamp) {
  RouterOptions options = Options();
  options.slots = 1;
  StartWithServers(1, options);
  Send(AnycastRequest(1, 1));
  Send(AnycastRequest(1, 2));
  RunFor(10 * kMs);
  SendFeedback(*servers_[0], {RequestKey(client_.id(), 5, 1)});
  RunFor();
  const auto stamp = [](const Bytes& bytes) { return LoadBig32(&bytes[32]); };
  EXPECT_EQ(stamp(servers_[0]->TryReceive()->bytes), 1000u);
  const auto waited = servers_[0]->TryReceive();
  ASSERT_TRUE(waited.has_value());
  EXPECT_NEAR(stamp(waited->bytes), 10 * kMs, kMs);
}

TEST_F(RouterRequestsTest, BeyondTheQueueAClientIsToldAtOnce) {
  RouterOptions options = Options();
  options.slots = 1;
  options.queue_max = 1;
  StartWithServers(1, options);
  Send(OriginalRequest(1));
  Send(OriginalRequest(2));
  RunFor();
  Send(OriginalRequest(3));
  Send(AnycastRequest(4));
  Send(OriginalRequest(5, Policy::kLbRoute, ""));
  RunFor();
  const auto drop = client_.TryReceive();
  ASSERT_TRUE(drop.has_value());
  EXPECT_EQ(drop->original.type, MessageType::kDrop);
  EXPECT_EQ(drop->original.request_id, 3);
  EXPECT_EQ(std::string(drop->bytes.begin() + 8, drop->bytes.end()), "DROP");
  const auto extended = client_.TryReceive();
  ASSERT_TRUE(extended.has_value() && extended->extended());
  EXPECT_EQ(extended->header.type, MessageType::kDrop);
  EXPECT_EQ(extended->header.code, DropReason::kNoServer);
  EXPECT_EQ(extended->header.session, 5u);
  EXPECT_EQ(extended->header.request_id, uint64_t{4} << 16 | 1);
  EXPECT_EQ(extended->header.echo, 1000u);
  EXPECT_GT(r2p2::ReadDrop(extended->body()), 0u);
  EXPECT_EQ(client_.TryReceive()->bytes.size(), 8u) << "not longer than the request";
  EXPECT_EQ(stats().drops.value(), 3u);
}

TEST_F(RouterRequestsTest, WithoutAServerAClientIsToldAtOnce) {
  StartWithServers(0);
  Send(OriginalRequest(1));
  Send(AnycastRequest(1));
  RunFor();
  EXPECT_EQ(client_.TryReceive()->original.type, MessageType::kDrop);
  EXPECT_EQ(client_.TryReceive()->header.code, DropReason::kNoServer);
  ExpectNothingHeld();
}

TEST_F(RouterRequestsTest, FixedRouteGoesToTheFirstServer) {
  StartWithServers(3);
  for (uint16_t rid = 1; rid <= 5; ++rid) Send(OriginalRequest(rid, Policy::kFixedRoute));
  RunFor();
  EXPECT_EQ(servers_[0]->ReceiveAll(), 5u);
  EXPECT_EQ(outstanding(), 5u);
  EXPECT_EQ(stats().fixed.value(), 5u);
}

TEST_F(RouterRequestsTest, RequestsForReplicasAreRefused) {
  StartWithServers(1);
  Send(OriginalRequest(1, Policy::kReplicatedRoute));
  Send(OriginalRequest(2, Policy::kReplicatedRouteNoSe));
  Send(AnycastRequest(1, 1, 0, false, Policy::kReplicatedRoute));
  RunFor();
  EXPECT_EQ(servers_[0]->ReceiveAll(), 0u);
  EXPECT_EQ(client_.TryReceive()->original.type, MessageType::kDrop);
  EXPECT_EQ(client_.TryReceive()->original.type, MessageType::kDrop);
  EXPECT_EQ(client_.TryReceive()->header.code, DropReason::kUnsupported);
  EXPECT_EQ(stats().replicated.value(), 3u);
}

TEST_F(RouterRequestsTest, LaterPacketsFindTheirServerOnlyIfTheRequestIsThere) {
  StartWithServers(2);
  Bytes first(r2p2::kHeaderBytes + 14);
  r2p2::WriteHeader({.policy = Policy::kLbRoute, .first = true, .request_id = 1, .packet_order = 3},
                    first.data());
  Bytes later(r2p2::kHeaderBytes + 100);
  r2p2::WriteHeader({.policy = Policy::kLbRoute, .request_id = 1, .packet_order = 1}, later.data());
  Send(later);
  RunFor();
  EXPECT_EQ(stats().unexpected.value(), 1u);
  Send(first);
  Send(later);
  RunFor();
  EXPECT_EQ(servers_[0]->ReceiveAll() + servers_[1]->ReceiveAll(), 2u);
  EXPECT_EQ(stats().strays.value(), 1u);
  EXPECT_EQ(outstanding(), 1u);
  // Packets that cannot agree which of them is the first belong to one request all the same.
  Send(OriginalRequest(1));
  Send(first);
  Send(later);
  RunFor();
  EXPECT_EQ(std::max(servers_[0]->ReceiveAll(), servers_[1]->ReceiveAll()), 3u) << "one server";
  EXPECT_EQ(outstanding(), 1u);
  EXPECT_EQ(dispatcher_stats().repeated.value(), 2u);
  EXPECT_EQ(stats().strays.value(), 2u);
  Bytes anycast = AnycastRequest(1);
  anycast[3] = 0x40;  // the last, but not the first
  anycast[7] = 1;
  Send(anycast);
  anycast[3] = 0xC0;  // both, but of two
  anycast[7] = 2;
  Send(anycast);
  RunFor();
  EXPECT_EQ(stats().malformed.value(), 2u);
  EXPECT_EQ(outstanding(), 1u);
}

TEST_F(RouterRequestsTest, ACopyGoesToTheSameServerWithoutASlot) {
  StartWithServers(4);
  for (int i = 0; i < 3; ++i) Send(OriginalRequest(1));
  RunFor();
  size_t busy = 0;
  for (const auto& server : servers_) busy += server->ReceiveAll() == 3;
  EXPECT_EQ(busy, 1u);
  EXPECT_EQ(outstanding(), 1u);
}

TEST_F(RouterRequestsTest, ARepeatedRequestOfALostServerIsNotExecutedTwice) {
  StartWithServers(1);
  Send(AnycastRequest(1));
  RunFor();
  ASSERT_TRUE(router_->Remove(servers_[0]->address()).ok());
  ASSERT_TRUE(router_->Add({.address = servers_[0]->address()}).ok());
  Send(AnycastRequest(1, 1, 1000, /*resent=*/true));
  RunFor();
  EXPECT_EQ(servers_[0]->ReceiveAll(), 1u);
  const auto drop = client_.TryReceive();
  ASSERT_TRUE(drop.has_value());
  EXPECT_EQ(drop->header.code, DropReason::kServerLost);
  ExpectNothingHeld();
}

TEST_F(RouterRequestsTest, ARequestFromBeforeTheRoutersTimeIsRefused) {
  StartWithServers(1);
  RunFor(300 * kMs);
  Send(AnycastRequest(1, 1, 250'000, true));
  RunFor();
  EXPECT_EQ(client_.TryReceive()->header.code, DropReason::kReplyGone);
  Send(AnycastRequest(1, 2, 150'000, true));
  RunFor();
  EXPECT_EQ(servers_[0]->ReceiveAll(), 1u);
}

TEST_F(RouterRequestsTest, AClientThatBeginsAnewIsHeardThoughItsNumbersAreLower) {
  StartWithServers(1);
  Send(AnycastRequest(1000));
  RunFor();
  Send(AnycastRequest(10, 1, 0, false, Policy::kLbRoute, /*incarnation=*/78));
  RunFor();
  EXPECT_EQ(servers_[0]->ReceiveAll(), 2u);
  EXPECT_EQ(outstanding(), 1u) << "the former one's request has ended with it";
  EXPECT_EQ(dispatcher_stats().ignored.value(), 0u);
}

TEST_F(RouterRequestsTest, HelloIsAnsweredByPoolAndPingByPong) {
  StartWithServers(1);
  uint8_t body[1000] = {};
  r2p2::WriteHello({.slots = 12, .packet_bytes = 1044, .incarnation = 77, .timeout_us = 1'000'000},
                   body);
  Send(Control(ControlKind::kHello, /*key=*/123, body, /*from_session=*/5));
  RunFor();
  const auto pool = client_.TryReceive();
  ASSERT_TRUE(pool.has_value() && pool->extended());
  EXPECT_EQ(pool->header.kind, ControlKind::kPool);
  EXPECT_EQ(pool->header.session, 5u);
  EXPECT_EQ(pool->header.key, 123u);
  EXPECT_GE(pool->header.credits, 12u);
  r2p2::Hello hello;
  ASSERT_TRUE(r2p2::ReadHello(pool->body(), &hello));
  EXPECT_EQ(hello.slots, 12u);
  EXPECT_EQ(hello.packet_bytes, 1044u);
  EXPECT_NE(hello.key, 0u);
  EXPECT_EQ(hello.key, static_cast<uint32_t>(hello.incarnation));

  Send(Control(ControlKind::kPing, hello.key, {}, 5));
  RunFor();
  const auto pong = client_.TryReceive();
  ASSERT_TRUE(pong.has_value());
  EXPECT_EQ(pong->header.kind, ControlKind::kPong);
  EXPECT_EQ(pong->header.session, 5u);
  EXPECT_EQ(pong->header.key, hello.key);
  ExpectNothingHeld();
}

TEST_F(RouterRequestsTest, PoolLeavesRoomForTheAddressInFront) {
  RouterOptions options = Options();
  options.forwarding = RouterOptions::Forwarding::kAddressInHeader;
  StartWithServers(1, options);
  const size_t longest = client_.port().capabilities().max_payload_bytes;
  Bytes body(longest - r2p2::kExtendedHeaderBytes);
  r2p2::WriteHello({.packet_bytes = static_cast<uint32_t>(longest), .timeout_us = 1}, body.data());
  Send(Control(ControlKind::kHello, 1, body, 5));
  RunFor();
  r2p2::Hello hello;
  ASSERT_TRUE(r2p2::ReadHello(client_.TryReceive()->body(), &hello));
  EXPECT_EQ(hello.packet_bytes, longest - r2p2::kRouteBytesMax);
}

TEST_F(RouterRequestsTest, WhatMakesNoSenseIsCountedAndDropped) {
  StartWithServers(1);
  const Bytes bad[] = {
      {},
      {0xCC},
      {0xCC, 8, 0, 0xC0, 0, 1, 0},
      {0xCD, 8, 0, 0xC0, 0, 1, 0, 1},     // magic
      {0xCC, 9, 0, 0xC0, 0, 1, 0, 1},     // header_size
      {0xCC, 8, 0xF0, 0xC0, 0, 1, 0, 1},  // type
      {0xCC, 8, 0, 0x80, 0, 1, 0, 1},     // one packet that is not the last
      {0xCC, 8, 0, 0xC0, 0, 1, 0, 5},     // the last of five that is the first
      {0xCC, 64, 0, 0xC0, 0, 1, 0, 1},    // ANYCAST without the rest
      {0xCC, 16, 0, 0xC8, 0, 1, 0, 1, 4, 0, 0, 1, 10, 0, 0, 1},  // routed already
  };
  for (const Bytes& bytes : bad) Send(bytes);
  RunFor();
  EXPECT_EQ(stats().malformed.value(), std::size(bad));
  const Bytes unexpected[] = {
      {0xCC, 8, 0x11, 0xC0, 0, 1, 0, 1},  // RESPONSE
      {0xCC, 8, 0x31, 0xC0, 0, 1, 0, 1},  // ACK
      {0xCC, 8, 0x50, 0xC0, 0, 1, 0, 1},  // RAFT_REQ
      Control(ControlKind::kPong, 1),    Control(ControlKind::kPool, 1),
      Control(ControlKind::kReset, 1),
  };
  for (const Bytes& bytes : unexpected) Send(bytes);
  RunFor();
  EXPECT_EQ(stats().unexpected.value(), std::size(unexpected));
  EXPECT_EQ(servers_[0]->ReceiveAll(), 0u);
  EXPECT_EQ(client_.ReceiveAll(), 0u);
  ExpectNothingHeld();
}

TEST_F(RouterRequestsTest, ACancelledRequestLeavesTheQueueOrIsToldToItsServer) {
  RouterOptions options = Options();
  options.slots = 1;
  StartWithServers(1, options);
  const auto cancel = [](uint64_t sequence, uint16_t slot) {
    Bytes bytes(r2p2::kAnycastHeaderBytes);
    r2p2::WriteAnycast({.type = MessageType::kAck,
                        .first = true,
                        .last = true,
                        .from_session = 5,
                        .request_id = sequence << 16 | slot,
                        .kind = ControlKind::kCancel},
                       {.incarnation = 77}, bytes.data());
    return bytes;
  };
  Send(AnycastRequest(9, 1));
  Send(AnycastRequest(9, 2));
  Send(AnycastRequest(9, 3));
  RunFor();
  EXPECT_EQ(servers_[0]->ReceiveAll(), 1u);
  EXPECT_EQ(router_->dispatcher().queue_length(), 2u);
  // Waiting, this very burst, or waiting but another one.
  Send(cancel(9, 2));
  Send(AnycastRequest(9, 4));
  Send(cancel(9, 4));
  Send(cancel(8, 3));
  RunFor();
  EXPECT_EQ(router_->dispatcher().queue_length(), 1u);
  for (const uint16_t slot : {2, 4}) {
    const auto drop = client_.TryReceive();
    ASSERT_TRUE(drop.has_value());
    EXPECT_EQ(drop->header.type, MessageType::kDrop);
    EXPECT_EQ(drop->header.code, DropReason::kCancelled);
    EXPECT_EQ(drop->header.request_id, uint64_t{9} << 16 | slot);
  }
  EXPECT_FALSE(client_.TryReceive().has_value());
  // A late copy of it, and the CANCEL again, are refused as well.
  Send(AnycastRequest(9, 2, 1, /*resent=*/true));
  Send(cancel(9, 2));
  RunFor();
  EXPECT_EQ(client_.TryReceive()->header.code, DropReason::kCancelled);
  EXPECT_EQ(client_.TryReceive()->header.code, DropReason::kCancelled);
  // The server that has it is told, which costs no slot.
  Send(cancel(9, 1));
  Send(cancel(7, 9));  // of a request that was never here
  RunFor();
  EXPECT_EQ(servers_[0]->TryReceive()->bytes, cancel(9, 1));
  EXPECT_FALSE(servers_[0]->TryReceive().has_value());
  EXPECT_EQ(outstanding(), 1u);
  EXPECT_EQ(stats().cancels.value(), 6u);
  EXPECT_EQ(dispatcher_stats().cancelled.value(), 2u);
  SendFeedback(*servers_[0], {RequestKey(client_.id(), 5, 1)});
  RunFor();
  EXPECT_EQ(servers_[0]->ReceiveAll(), 1u) << "the third";
  SendFeedback(*servers_[0], {RequestKey(client_.id(), 5, 3)});
  RunFor();
  ExpectNothingHeld();
}

TEST_F(RouterRequestsTest, FeedbackCountsOnlyFromTheServerThatHasTheRequestAndOnce) {
  StartWithServers(2);
  Send(OriginalRequest(1));
  RunFor();
  Endpoint& has = servers_[0]->ReceiveAll() == 1 ? *servers_[0] : *servers_[1];
  Endpoint& other = &has == servers_[0].get() ? *servers_[1] : *servers_[0];
  const uint64_t key = RequestKey(client_.id(), 0, 1);
  client_.Send(router_address(), FeedbackPacket(1, 0, {key}));
  other.Send(router_address(), FeedbackPacket(1, 0, {key}));
  has.Send(router_address(), FeedbackPacket(1, 0, {key + 1}));
  RunFor();
  EXPECT_EQ(stats().feedback_unknown_source.value(), 1u);
  EXPECT_EQ(stats().feedback_unknown_request.value(), 2u);
  EXPECT_EQ(outstanding(), 1u);
  has.Send(router_address(), FeedbackPacket(1, 1, {key}));
  has.Send(router_address(), FeedbackPacket(1, 1, {key}));
  has.Send(router_address(), FeedbackPacket(1, 5, {key}));
  RunFor();
  EXPECT_EQ(stats().feedback_repeated.value(), 1u);
  EXPECT_EQ(stats().feedback_lost.value(), 3u);
  EXPECT_EQ(stats().feedback_unknown_request.value(), 3u);
  EXPECT_EQ(dispatcher_stats().done.value(), 1u);
  ExpectNothingHeld();
}

TEST_F(RouterRequestsTest, BrokenFeedbackIsMalformed) {
  StartWithServers(1);
  Bytes cut = FeedbackPacket(1, 0, {1, 2});
  cut.pop_back();
  servers_[0]->Send(router_address(), cut);
  servers_[0]->Send(router_address(), {0xCC, 8, 0x20, 0, 0, 1, 0, 1, 0, 1});
  RunFor();
  EXPECT_EQ(stats().malformed.value(), 2u);
}

TEST_F(RouterRequestsTest, ATenantsRequestsGiveWayToAnothersWhenTheQueueIsFull) {
  RouterOptions options = Options();
  options.slots = 1;
  options.queue_max = 2;
  options.tenants = {{.name = "greedy", .clients = {"sim:client"}},
                     {.name = "modest", .clients = {"sim:client-modest"}}};
  StartWithServers(1, options);
  Endpoint modest(*transport_, "client-modest");
  for (uint16_t rid = 1; rid <= 3; ++rid) Send(OriginalRequest(rid));
  RunFor();
  modest.Send(router_address(), OriginalRequest(9));
  RunFor();
  EXPECT_EQ(client_.TryReceive()->original.request_id, 3) << "its newest is refused";
  EXPECT_EQ(modest.ReceiveAll(), 0u);
  EXPECT_EQ(dispatcher_stats().refused_tenant.value(), 1u);
}

TEST_F(RouterRequestsTest, DescribesItself) {
  StartWithServers(2);
  Send(OriginalRequest(1));
  RunFor();
  JsonWriter json;
  router_->Describe(json);
  for (const char* text :
       {"\"kind\": \"router\"", "\"policy\": \"jbsq\"", "\"KEEP_SOURCE\"", "\"sim:server1\"",
        "\"state\": \"up\"", "\"requests\": 1", "\"forwarded\": 1"}) {
    EXPECT_NE(json.text().find(text), std::string::npos) << text << " in " << json.text();
  }
  JsonWriter shorter;
  router_->Description()(1, shorter);
  EXPECT_NE(shorter.text().find("sim:server0"), std::string::npos);
  EXPECT_EQ(shorter.text().find("sim:server1"), std::string::npos) << "no more than asked for";
  EXPECT_NE(shorter.text().find("\"servers_total\": 2"), std::string::npos) << shorter.text();
  MetricRegistry registry;
  const MetricGroup metrics = RegisterMetrics(registry, *router_, {{"worker", "0"}});
  EXPECT_TRUE(metrics.status().ok()) << metrics.status();
  EXPECT_NE(registry.RenderPrometheus().find("weft_router_requests_total{worker=\"0\"} 1"),
            std::string::npos);
}

}  // namespace
}  // namespace weft::router
