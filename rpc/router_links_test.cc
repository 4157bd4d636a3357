// SPDX-License-Identifier: Apache-2.0
//
// Requests that come through routers, and what routers are told of their end.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "weft/r2p2/route_wire.h"
#include "weft/rpc/router_links_fixture.h"

namespace weft::rpc {
namespace {

// --- Requests

TEST_F(RouterLinksTest, ARoutedRequestIsAnsweredToItsClientDirectly) {
  ServeEcho(Behind({"router"}));
  router_.Send(Routed(user_.address, Original(7, "hello")));
  const std::string reply = Receive(user_);
  EXPECT_EQ(reply.substr(kHeaderBytes), "hello");
  Header header;
  ASSERT_TRUE(ReadHeader(Bytes(reply), &header));
  EXPECT_EQ(header.type, MessageType::kResponse);
  EXPECT_EQ(header.request_id, 7);
  EXPECT_EQ(server_->stats().routed.value(), 1u);
}

TEST_F(RouterLinksTest, TheHandlerSeesTheClientAndNotTheRouter) {
  Peer seen;
  Serve(
      [&](ServerCall call) {
        seen = call.client();
        EXPECT_TRUE(call.Reply(Bytes("x")).ok());
      },
      Behind({"router"}));
  router_.Send(Routed(user_.address, Original(7, "hello")));
  Receive(user_);
  EXPECT_EQ(*server_->port().AddressOf(seen), user_.address);
}

TEST_F(RouterLinksTest, ARequestInSeveralPacketsGoesOnWithoutTheRouter) {
  ServeEcho(Behind({"router"}));
  std::string first(kHeaderBytes, '\0');
  WriteHeader({.policy = Policy::kLbRoute, .first = true, .request_id = 7, .packet_order = 2},
              reinterpret_cast<uint8_t*>(first.data()));
  router_.Send(Routed(user_.address, first + "fourteen bytes"));
  Header header;
  ASSERT_TRUE(ReadHeader(Bytes(Receive(user_)), &header));
  EXPECT_EQ(header.type, MessageType::kAck);
  std::string last(kHeaderBytes, '\0');
  WriteHeader({.policy = Policy::kLbRoute, .last = true, .request_id = 7, .packet_order = 1},
              reinterpret_cast<uint8_t*>(last.data()));
  user_.Send(last + " more");
  EXPECT_EQ(Receive(user_).substr(kHeaderBytes), "fourteen bytes more");
  EXPECT_EQ(ReceiveFeedback(router_)[0].request, Key(user_.address, 7));
}

TEST_F(RouterLinksTest, OnlyRoutersMaySayWhoseARequestIs) {
  ServeEcho(Behind({"router"}));
  other_router_.Send(Routed(user_.address, Original(7, "hello")));
  EXPECT_TRUE(Silent(user_));
  EXPECT_EQ(server_->stats().routed_untrusted.value(), 1u);
  EXPECT_EQ(server_->stats().requests.value(), 0u);
}

TEST_F(RouterLinksTest, ThoseThatForwardForRoutersMayToo) {
  ServerOptions options = Behind({"router"});
  options.router.forwards_from = {other_router_.address};
  ServeEcho(options);
  other_router_.Send(Routed(user_.address, Original(7, "hello")));
  EXPECT_EQ(Receive(user_).substr(kHeaderBytes), "hello");
  // Whose it was is not known: all are told.
  EXPECT_EQ(ReceiveFeedback(router_)[0].request, Key(user_.address, 7));
}

TEST_F(RouterLinksTest, AServerWithoutRoutersTakesNone) {
  ServeEcho();
  router_.Send(Routed(user_.address, Original(7, "hello")));
  EXPECT_TRUE(Silent(user_));
  EXPECT_EQ(server_->stats().routed_untrusted.value(), 1u);
}

TEST_F(RouterLinksTest, WhatIsNoAddressIsCountedAndDropped) {
  ServeEcho(Behind({"router"}));
  const std::string good = Routed(user_.address, Original(7, "hello"));
  std::string bad = good;
  bad[kHeaderBytes] = 99;  // of no kind
  router_.Send(bad);
  router_.Send(good.substr(0, 14));                                             // cut off
  router_.Send(Routed(Address::Ipv4({10, 0, 0, 1}, 7), Original(7, "hello")));  // not from here
  router_.Send(Routed(user_.address, good));  // an address in front of an address
  RunFor(absl::Milliseconds(1));
  EXPECT_EQ(server_->stats().malformed.value(), 4u);
  EXPECT_EQ(server_->stats().requests.value(), 0u);
  EXPECT_TRUE(Silent(user_));
}

TEST_F(RouterLinksTest, ASessionThroughARouterIsTheClients) {
  ServeEcho(Behind({"router"}));
  std::string body(900, '\0');
  WriteHello({.slots = 8, .packet_bytes = 900, .incarnation = 5, .timeout_us = 1'000'000},
             reinterpret_cast<uint8_t*>(body.data()));
  router_.Send(Routed(user_.address, Control(ControlKind::kHello, 0, 9, 1234, body)));
  ExtendedHeader header;
  ASSERT_TRUE(ReadExtendedHeader(Bytes(Receive(user_)), &header));
  EXPECT_EQ(header.kind, ControlKind::kHelloAck);
}

// --- FEEDBACK

TEST_F(RouterLinksTest, TheRouterThatSentARequestIsToldOfItsEnd) {
  ServeEcho(Behind({"router", "router2"}));
  router_.Send(Routed(user_.address, Original(7, "hello")));
  const std::vector<FeedbackEntry> entries = ReceiveFeedback(router_);
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].request, Key(user_.address, 7));
  EXPECT_TRUE(Silent(other_router_));
  EXPECT_EQ(server_->stats().feedback_entries.value(), 1u);
}

TEST_F(RouterLinksTest, WithTheSourceKeptAllRoutersAre) {
  ServeEcho(Behind({"router", "router2"}));
  user_.Send(Original(7, "hello"));
  EXPECT_EQ(ReceiveFeedback(router_)[0].request, Key(user_.address, 7));
  EXPECT_EQ(ReceiveFeedback(other_router_)[0].request, Key(user_.address, 7));
}

TEST_F(RouterLinksTest, RefusalsAreAnEndToo) {
  Serve([](ServerCall call) { call.Drop(); }, Behind({"router"}));
  server_->set_admission([](Peer, absl::Span<const uint8_t> payload) { return payload[0] == 'y'; });
  router_.Send(Routed(user_.address, Original(7, "no")));
  EXPECT_EQ(ReceiveFeedback(router_).back().request, Key(user_.address, 7));
  Clear(router_);
  router_.Send(Routed(user_.address, Original(8, "yes")));
  EXPECT_EQ(ReceiveFeedback(router_).back().request, Key(user_.address, 8));
}

TEST_F(RouterLinksTest, TheTimeThatARequestTookIsSaid) {
  ServeHolding(Behind({"router"}));
  router_.Send(Routed(user_.address, Original(7, "hello")));
  ASSERT_TRUE(RunUntil([&] { return !held_.empty(); }));
  RunFor(absl::Milliseconds(5));
  ASSERT_TRUE(held_[0].Reply(Bytes("x")).ok());
  const uint32_t service_ns = ReceiveFeedback(router_)[0].service_ns;
  EXPECT_GE(service_ns, 4'900'000u);
  EXPECT_LE(service_ns, 5'200'000u);
}

TEST_F(RouterLinksTest, RequestsThatEndInOneRoundShareADatagram) {
  ServeHolding(Behind({"router"}));
  for (uint16_t rid = 0; rid < 10; ++rid) {
    router_.Send(Routed(user_.address, Original(rid, "hello")));
  }
  ASSERT_TRUE(RunUntil([&] { return held_.size() == 10; }));
  for (ServerCall& call : held_) EXPECT_TRUE(call.Reply(Bytes("x")).ok());
  EXPECT_EQ(ReceiveFeedback(router_).size(), 10u);
  EXPECT_EQ(server_->stats().feedbacks.value(), 1u);
  EXPECT_EQ(server_->stats().feedback_entries.value(), 10u);
}

TEST_F(RouterLinksTest, MoreThanADatagramHoldsTakeSeveralAtOnce) {
  ServeHolding(Behind({"router"}));
  for (uint16_t rid = 0; rid < 200; ++rid) {
    router_.Send(Routed(user_.address, Original(rid, "hello")));
  }
  ASSERT_TRUE(RunUntil([&] { return held_.size() == 200; }));
  for (ServerCall& call : held_) EXPECT_TRUE(call.Reply(Bytes("x")).ok());
  std::vector<bool> told(200);
  for (int i = 0; i < 3; ++i) {
    for (const FeedbackEntry& entry : ReceiveFeedback(router_)) {
      for (uint16_t rid = 0; rid < 200; ++rid) {
        if (entry.request == Key(user_.address, rid)) told[rid] = true;
      }
    }
  }
  EXPECT_EQ(std::count(told.begin(), told.end(), true), 200);
  EXPECT_EQ(server_->stats().feedback_lost.value(), 0u);
}

TEST_F(RouterLinksTest, TheLastDatagramIsRepeatedTwiceAndThenNoMore) {
  ServeEcho(Behind({"router"}));
  router_.Send(Routed(user_.address, Original(7, "hello")));
  const int64_t begun_ns = network_.NowNs();
  for (const int64_t after_ns : {0, 200'000, 2'000'000}) {
    EXPECT_EQ(ReceiveFeedback(router_).size(), 1u);
    EXPECT_GE(network_.NowNs() - begun_ns, after_ns);
  }
  EXPECT_TRUE(Silent(router_, absl::Seconds(1)));
}

TEST_F(RouterLinksTest, RequestsOfSessionsAreNoneOfARoutersBusiness) {
  ServeEcho(Behind({"router"}));
  Open();
  EXPECT_EQ(Call(Id(1), "direct").body, "direct");
  EXPECT_TRUE(Silent(router_, absl::Milliseconds(10)));
}

TEST_F(RouterLinksTest, ARouterThatIsNotThereCostsTheServerNothing) {
  ServeEcho(Behind({"nobody"}));
  for (uint16_t rid = 0; rid < 1000; ++rid) {
    user_.Send(Original(rid, "hello"));
    EXPECT_EQ(Receive(user_).substr(kHeaderBytes), "hello");
  }
  RunFor(absl::Seconds(10));
  EXPECT_TRUE(server_->status().ok());
  EXPECT_TRUE(server_->Arm());  // nothing keeps the loop awake
  server_->Disarm();
}

// --- Probes

TEST_F(RouterLinksTest, AProbeIsAnswered) {
  ServeEcho();
  router_.Send(Control(ControlKind::kPing, 0, 1, 4242));
  ExtendedHeader header;
  ASSERT_TRUE(ReadExtendedHeader(Bytes(Receive(router_)), &header));
  EXPECT_EQ(header.kind, ControlKind::kReset);
  EXPECT_EQ(header.key, 4242u);
  EXPECT_EQ(header.session, 1u);
  // Whatever its clients speak.
  user_.Send(Original(7, "hello"));
  EXPECT_EQ(Receive(user_).substr(kHeaderBytes), "hello");
  router_.Send(Control(ControlKind::kPing, 0, 1, 4243));
  ASSERT_TRUE(ReadExtendedHeader(Bytes(Receive(router_)), &header));
  EXPECT_EQ(header.key, 4243u);
}

}  // namespace
}  // namespace weft::rpc
