// SPDX-License-Identifier: Apache-2.0
//
// A server and its routers, of which the tests play the part packet by packet.
#include "weft/rpc/router_links.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/r2p2/route_wire.h"
#include "weft/rpc/client.h"
#include "weft/rpc/extended_server_fixture.h"
#include "weft/rpc/security/secure_fixture.h"

namespace weft::rpc {
namespace {

using State = RouterState;

std::string Original(uint16_t rid, std::string_view body, Policy policy = Policy::kLbRoute) {
  std::string bytes(kHeaderBytes, '\0');
  WriteHeader({.policy = policy, .first = true, .last = true, .request_id = rid},
              reinterpret_cast<uint8_t*>(bytes.data()));
  return bytes.append(body);
}

std::string Routed(const Address& client, std::string_view datagram) {
  std::string bytes(RouteBytes(client), '\0');
  WriteRoute(client, Bytes(datagram), reinterpret_cast<uint8_t*>(bytes.data()));
  return bytes.append(datagram);
}

std::string Control(ControlKind kind, uint32_t session, uint32_t from_session, uint32_t key,
                    std::string_view body = "", DropReason code = DropReason::kNone) {
  std::string bytes(kExtendedHeaderBytes, '\0');
  WriteExtendedHeader({.type = MessageType::kAck,
                       .first = true,
                       .last = true,
                       .session = session,
                       .from_session = from_session,
                       .key = key,
                       .kind = kind,
                       .code = code},
                      reinterpret_cast<uint8_t*>(bytes.data()));
  return bytes.append(body);
}

// One end of the network that says what it is told to.
class Host {
 public:
  Host(Transport& transport, const std::string& name)
      : address(Address::Sim(name)), port(*transport.OpenDatagramPort({.local = address})) {}

  void Send(std::string_view bytes, const Address& to = Address::Sim("server")) {
    Datagram datagram[1] = {{*port->Resolve(to), port->pool().Allocate()}};
    std::memcpy(datagram[0].buffer.Append(bytes.size()), bytes.data(), bytes.size());
    ASSERT_EQ(port->Send(absl::MakeSpan(datagram)), 1u);
  }
  std::optional<std::string> TryReceive() {
    Datagram datagram[1];
    if (port->Receive(absl::MakeSpan(datagram)) == 0) return std::nullopt;
    const absl::Span<const uint8_t> bytes = datagram[0].buffer.bytes();
    return std::string(bytes.begin(), bytes.end());
  }

  const Address address;
  const std::unique_ptr<DatagramPort> port;
};

class RouterLinksTest : public ExtendedServerTest {
 protected:
  static constexpr int64_t kMs = 1'000'000;

  static ServerOptions Behind(std::vector<std::string> routers, bool join = false) {
    ServerOptions options;
    for (const std::string& router : routers) {
      options.router.control.push_back(Address::Sim(router));
    }
    options.router.join = join;
    return options;
  }

  std::string Receive(Host& host) {
    std::optional<std::string> bytes;
    EXPECT_TRUE(RunUntil([&] {
      if (!bytes.has_value()) bytes = host.TryReceive();
      return bytes.has_value();
    }));
    return bytes.value_or("");
  }
  bool Silent(Host& host, absl::Duration time = absl::Milliseconds(1)) {
    RunFor(time);
    return !host.TryReceive().has_value();
  }
  // Throws away what has arrived.
  void Clear(Host& host) {
    while (host.TryReceive().has_value()) {
    }
  }

  // The next FEEDBACK: its entries.
  std::vector<FeedbackEntry> ReceiveFeedback(Host& router) {
    const std::string bytes = Receive(router);
    FeedbackBatch batch;
    EXPECT_TRUE(ReadFeedbackBatch(Bytes(bytes), &batch)) << bytes.size();
    std::vector<FeedbackEntry> entries;
    for (size_t i = 0; i < batch.count; ++i) entries.push_back(ReadFeedbackEntry(Bytes(bytes), i));
    return entries;
  }
  static uint64_t Key(const Address& client, uint16_t rid) {
    return RequestKey(ClientIdOf(client), 0, rid);
  }

  struct Asked {
    ExtendedHeader header;
    Membership body;
  };
  // The next JOIN or LEAVE; others are passed over.
  Asked ReceiveAsked(Host& router, ControlKind kind) {
    for (int i = 0; i < 1000; ++i) {
      const std::string bytes = Receive(router);
      Asked asked;
      if (!ReadExtendedHeader(Bytes(bytes), &asked.header) || asked.header.kind != kind) continue;
      EXPECT_TRUE(ReadMembership(Bytes(bytes).subspan(kExtendedHeaderBytes), &asked.body));
      EXPECT_EQ(asked.header.session, 0u);
      EXPECT_NE(asked.header.from_session, 0u);
      EXPECT_NE(asked.header.key, 0u);
      return asked;
    }
    ADD_FAILURE() << "none comes";
    return {};
  }
  void Answer(Host& router, const Asked& asked, ControlKind kind, uint32_t outstanding = 0,
              DropReason code = DropReason::kNone, uint32_t keepalive_us = 50'000) {
    std::string body(kMembershipAckBytes, '\0');
    WriteMembershipAck({.incarnation = 4711,
                        .server = asked.body.incarnation,
                        .outstanding = outstanding,
                        .keepalive_us = keepalive_us},
                       reinterpret_cast<uint8_t*>(body.data()));
    router.Send(Control(kind, asked.header.from_session, 0, asked.header.key, body, code));
  }
  Asked Join(Host& router) {
    Asked asked = ReceiveAsked(router, ControlKind::kJoin);
    Answer(router, asked, ControlKind::kJoinAck);
    EXPECT_TRUE(RunUntil([&] { return StateOf(router) == State::kJoined; }));
    return asked;
  }
  RouterInfo InfoOf(const Host& router) {
    RouterInfo found;
    server_->ForEachRouter([&](const RouterInfo& info) {
      if (info.control == router.address) found = info;
    });
    return found;
  }
  State StateOf(const Host& router) { return InfoOf(router).state; }

  Host router_{*transport_, "router"};
  Host other_router_{*transport_, "router2"};
  Host user_{*transport_, "user"};
};

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
  router_.Send(good.substr(0, 14));  // cut off
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

// --- JOIN

TEST_F(RouterLinksTest, ItAsksEveryRouterAtOnceAndSaysWhatItWants) {
  ServerOptions options = Behind({"router", "router2"}, /*join=*/true);
  options.router.slots = 3;
  options.router.weight = 5;
  ServeEcho(options);
  for (Host* router : {&router_, &other_router_}) {
    const Asked asked = ReceiveAsked(*router, ControlKind::kJoin);
    EXPECT_LT(network_.NowNs(), kMs);
    EXPECT_EQ(asked.body.slots, 3);
    EXPECT_EQ(asked.body.weight, 5);
    EXPECT_EQ(asked.body.keepalive_us, 100'000u);
    EXPECT_EQ(asked.body.address, Address::Sim("server"));
    EXPECT_EQ(asked.body.incarnation & 0xFF, 0u);
    EXPECT_NE(asked.body.incarnation, 0u);
  }
}

TEST_F(RouterLinksTest, ItAsksAgainEachKeepaliveOfTheShorterKind) {
  ServeEcho(Behind({"router"}, /*join=*/true));
  int64_t last_ns = 0;
  for (int i = 0; i < 5; ++i) {
    Answer(router_, ReceiveAsked(router_, ControlKind::kJoin), ControlKind::kJoinAck);
    if (i > 0) {
      EXPECT_NEAR(network_.NowNs() - last_ns, 50 * kMs, kMs);
    }
    last_ns = network_.NowNs();
  }
  EXPECT_EQ(StateOf(router_), State::kJoined);
  EXPECT_EQ(InfoOf(router_).keepalive_ns, 50 * kMs);
}

TEST_F(RouterLinksTest, ALostAnswerIsAskedForSooner) {
  ServeEcho(Behind({"router"}, /*join=*/true));
  Join(router_);
  ReceiveAsked(router_, ControlKind::kJoin);
  const int64_t asked_ns = network_.NowNs();
  Answer(router_, ReceiveAsked(router_, ControlKind::kJoin), ControlKind::kJoinAck);
  EXPECT_LT(network_.NowNs() - asked_ns, 20 * kMs);
  EXPECT_EQ(StateOf(router_), State::kJoined);
}

TEST_F(RouterLinksTest, ARouterThatIsNotThereIsAskedLessOftenAndJoinedWhenItComes) {
  ServeEcho(Behind({"late"}, /*join=*/true));
  RunFor(absl::Seconds(10));
  EXPECT_LE(server_->stats().joins.value(), 40u);
  EXPECT_TRUE(server_->status().ok());
  Host late(*transport_, "late");
  EXPECT_EQ(StateOf(late), State::kJoining);
  const int64_t came_ns = network_.NowNs();
  Join(late);
  EXPECT_LT(network_.NowNs() - came_ns, 500 * kMs);
}

TEST_F(RouterLinksTest, ARouterThatFallsSilentIsSeenAndComesBack) {
  ServeEcho(Behind({"router"}, /*join=*/true));
  Join(router_);
  ASSERT_TRUE(RunUntil([&] { return StateOf(router_) == State::kSilent; }));
  Clear(router_);
  Join(router_);
}

TEST_F(RouterLinksTest, ARefusalIsNotTheEndOfIt) {
  ServeEcho(Behind({"router"}, /*join=*/true));
  Answer(router_, ReceiveAsked(router_, ControlKind::kJoin), ControlKind::kJoinAck, 0,
         DropReason::kForbidden);
  ASSERT_TRUE(RunUntil([&] { return StateOf(router_) == State::kRefused; }));
  EXPECT_EQ(InfoOf(router_).refusal, DropReason::kForbidden);
  EXPECT_EQ(server_->stats().join_refusals.value(), 1u);
  const int64_t refused_ns = network_.NowNs();
  Join(router_);
  EXPECT_NEAR(network_.NowNs() - refused_ns, 1000 * kMs, 10 * kMs);
}

TEST_F(RouterLinksTest, AnswersThatNobodyAskedForAreNotTaken) {
  ServeEcho(Behind({"router"}, /*join=*/true));
  const Asked asked = ReceiveAsked(router_, ControlKind::kJoin);
  Asked forged = asked;
  ++forged.header.key;
  Answer(router_, forged, ControlKind::kJoinAck);
  forged = asked;
  forged.body.incarnation ^= uint64_t{1} << 40;
  Answer(router_, forged, ControlKind::kJoinAck);
  router_.Send(Control(ControlKind::kJoinAck, 1, 0, asked.header.key, "short"));
  RunFor(absl::Milliseconds(1));
  EXPECT_EQ(StateOf(router_), State::kJoining);
  EXPECT_EQ(server_->stats().unexpected.value(), 3u);
}

// --- LEAVE

TEST_F(RouterLinksTest, DrainingLeavesFirstAndServesWhatIsOnItsWay) {
  ServeEcho(Behind({"router"}, /*join=*/true));
  const Asked joined = Join(router_);
  Clear(router_);
  bool done = false;
  server_->Drain([&] { done = true; });
  EXPECT_TRUE(server_->draining());
  for (uint16_t rid = 1; rid <= 3; ++rid) {
    const Asked asked = ReceiveAsked(router_, ControlKind::kLeave);
    EXPECT_EQ(asked.body.incarnation, joined.body.incarnation);
    // Sent before it knew.
    router_.Send(Routed(user_.address, Original(rid, "hello")));
    EXPECT_EQ(Receive(user_).substr(kHeaderBytes), "hello");
    Answer(router_, asked, ControlKind::kLeaveAck, /*outstanding=*/1);
  }
  EXPECT_EQ(StateOf(router_), State::kLeaving);
  EXPECT_FALSE(done);
  Answer(router_, ReceiveAsked(router_, ControlKind::kLeave), ControlKind::kLeaveAck);
  ASSERT_TRUE(RunUntil([&] { return done; }));
  EXPECT_EQ(server_->stats().refused.value(), 0u);
  Clear(router_);
  EXPECT_TRUE(Silent(router_, absl::Seconds(1)));  // and joins no more
}

TEST_F(RouterLinksTest, LeaveIsRepeatedEachTenMilliseconds) {
  ServeEcho(Behind({"router"}, /*join=*/true));
  Join(router_);
  server_->Drain([] {});
  ReceiveAsked(router_, ControlKind::kLeave);
  const int64_t first_ns = network_.NowNs();
  Answer(router_, ReceiveAsked(router_, ControlKind::kLeave), ControlKind::kLeaveAck, 1);
  EXPECT_NEAR(network_.NowNs() - first_ns, 10 * kMs, kMs);
  ReceiveAsked(router_, ControlKind::kLeave);
  EXPECT_NEAR(network_.NowNs() - first_ns, 20 * kMs, kMs);
}

TEST_F(RouterLinksTest, ARouterThatDoesNotLetGoHasItsLimit) {
  for (const bool answers : {false, true}) {
    ServeEcho(Behind({"router"}, /*join=*/true));
    Join(router_);
    bool done = false;
    const int64_t begun_ns = network_.NowNs();
    server_->Drain([&] { done = true; });
    ASSERT_TRUE(RunUntil([&] {
      const std::optional<std::string> bytes = router_.TryReceive();
      Asked asked;
      if (answers && bytes.has_value() && ReadExtendedHeader(Bytes(*bytes), &asked.header) &&
          asked.header.kind == ControlKind::kLeave &&
          ReadMembership(Bytes(*bytes).subspan(kExtendedHeaderBytes), &asked.body)) {
        Answer(router_, asked, ControlKind::kLeaveAck, 5);
      }
      return done;
    }));
    EXPECT_LT(network_.NowNs() - begun_ns, (answers ? 600 : 200) * kMs);
    EXPECT_GT(network_.NowNs() - begun_ns, (answers ? 400 : 50) * kMs);
    server_.reset();
    Clear(router_);
  }
}

TEST_F(RouterLinksTest, AServerThatEndsWithoutDrainingSaysSo) {
  ServeEcho(Behind({"router"}, /*join=*/true));
  Join(router_);
  Clear(router_);
  server_.reset();
  ReceiveAsked(router_, ControlKind::kLeave);
}

// --- Workers

TEST_F(RouterLinksTest, ServersAtOneAddressAreOneServer) {
  const auto one = ServerGroup::Of(Address::Sim("server"), std::nullopt);
  const auto two = ServerGroup::Of(Address::Sim("server"), std::nullopt);
  const auto other = ServerGroup::Of(Address::Sim("other"), std::nullopt);
  EXPECT_EQ(one, two);
  EXPECT_NE(one, other);
  const uint64_t first = one->Join();
  const uint64_t second = two->Join();
  EXPECT_NE(first, second);
  EXPECT_EQ(first >> 8, second >> 8);
  EXPECT_TRUE(one->IsMe(second));
  EXPECT_FALSE(other->IsMe(first));
  EXPECT_EQ(one->NonceFor(router_.address), two->NonceFor(router_.address));
  EXPECT_NE(one->NonceFor(router_.address), other->NonceFor(router_.address));
}

TEST_F(RouterLinksTest, AnAnswerToOneWorkerIsAnAnswerToAll) {
  ServerOptions options = Behind({"router"}, /*join=*/true);
  options.router.address = Address::Sim("server");
  ServeEcho(options);
  auto second = Server::Create(
      loop_, *transport_->OpenDatagramPort({.local = Address::Sim("worker2")}), options,
      [](ServerCall) {});
  ASSERT_TRUE(second.ok()) << second.status();
  Join(router_);  // which answers to "server"
  const auto joined = [&] {
    State state = State::kJoining;
    (*second)->ForEachRouter([&](const RouterInfo& info) { state = info.state; });
    return state == State::kJoined;
  };
  EXPECT_TRUE(RunUntil(joined));
}

// --- Keys

class ProtectedRouterTest : public RouterLinksTest {
 protected:
  void SetUp() override {
    router_security_ = MustOpen(PskConfig(files_, "router", TestKey('1'), "server:" + TestKey('2')));
    server_security_ = MustOpen(
        [this] {
          config::Security config = PskConfig(files_, "server", TestKey('2'));
          config.mutable_psk()->set_peers_file(
              files_.Write("of_server", "router:" + TestKey('1')));
          return config;
        }());
  }

  const TestFiles files_;
  std::shared_ptr<const Security> router_security_;
  std::shared_ptr<const Security> server_security_;
};

TEST_F(ProtectedRouterTest, JoinAndFeedbackGoThroughAPortOfTheirOwn) {
  auto control = router_security_->Protect(
      loop_, *transport_->OpenDatagramPort({.local = Address::Sim("control")}), Role::kServer);
  ASSERT_TRUE(control.ok()) << control.status();
  ServerOptions options = Behind({"control"}, /*join=*/true);
  options.router.forwards_from = {router_.address};
  options.router.security = server_security_;
  options.router.open_port = [this] { return transport_->OpenDatagramPort({}); };
  ServeEcho(options);
  const auto receive = [&](Peer* from) {
    Datagram datagram[1];
    EXPECT_TRUE(RunUntil([&] { return (*control)->Receive(absl::MakeSpan(datagram)) == 1; }));
    *from = datagram[0].peer;
    const absl::Span<const uint8_t> bytes = datagram[0].buffer.bytes();
    return std::string(bytes.begin(), bytes.end());
  };

  Peer server;
  const std::string join = receive(&server);
  EXPECT_EQ((*control)->IdentityOf(server), "server");
  Asked asked;
  ASSERT_TRUE(ReadExtendedHeader(Bytes(join), &asked.header));
  ASSERT_TRUE(ReadMembership(Bytes(join).subspan(kExtendedHeaderBytes), &asked.body));
  EXPECT_EQ(asked.body.address, Address::Sim("server"));
  std::string body(kMembershipAckBytes, '\0');
  WriteMembershipAck({.incarnation = 4711, .server = asked.body.incarnation},
                     reinterpret_cast<uint8_t*>(body.data()));
  const std::string ack = Control(ControlKind::kJoinAck, 1, 0, asked.header.key, body);
  Datagram answer[1] = {{server, (*control)->pool().Allocate()}};
  std::memcpy(answer[0].buffer.Append(ack.size()), ack.data(), ack.size());
  ASSERT_EQ((*control)->Send(absl::MakeSpan(answer)), 1u);
  State state = State::kJoining;
  ASSERT_TRUE(RunUntil([&] {
    server_->ForEachRouter([&](const RouterInfo& info) { state = info.state; });
    return state == State::kJoined;
  }));

  // Requests stay as they are.
  router_.Send(Routed(user_.address, Original(7, "hello")));
  EXPECT_EQ(Receive(user_).substr(kHeaderBytes), "hello");
  const std::string feedback = receive(&server);
  FeedbackBatch batch;
  ASSERT_TRUE(ReadFeedbackBatch(Bytes(feedback), &batch));
  EXPECT_EQ(ReadFeedbackEntry(Bytes(feedback), 0).request, Key(user_.address, 7));
}

TEST_F(ProtectedRouterTest, WithoutAWayToOpenAPortItIsAnError) {
  ServerOptions options = Behind({"control"}, /*join=*/true);
  options.router.security = server_security_;
  const auto server =
      Server::Create(loop_, *transport_->OpenDatagramPort({.local = Address::Sim("server")}),
                     options, [](ServerCall) {});
  EXPECT_TRUE(absl::IsInvalidArgument(server.status())) << server.status();
  EXPECT_NE(server.status().message().find("open_port"), std::string::npos) << server.status();
}

TEST_F(ProtectedRouterTest, SealedRequestsPassNoRouterAndThatIsSaid) {
  ServerOptions options = Behind({"control"});
  options.security = server_security_;
  const auto server =
      Server::Create(loop_, *transport_->OpenDatagramPort({.local = Address::Sim("server")}),
                     options, [](ServerCall) {});
  EXPECT_TRUE(absl::IsInvalidArgument(server.status())) << server.status();
  EXPECT_NE(server.status().message().find("rpc.balancer"), std::string::npos) << server.status();
}

// --- Set-up

TEST_F(RouterLinksTest, ErrorsSayWhatWouldBeRight) {
  const auto create = [this](const ServerOptions& options) {
    return Server::Create(loop_, *transport_->OpenDatagramPort({.local = Address::Sim("server")}),
                          options, [](ServerCall) {})
        .status();
  };
  ServerOptions nobody;
  nobody.router.join = true;
  EXPECT_TRUE(absl::IsInvalidArgument(create(nobody))) << create(nobody);
  ServerOptions ip;
  ip.router.control = {Address::Ipv4({10, 0, 0, 1}, 9000)};  // not of this transport
  EXPECT_EQ(std::string(create(ip).message()).find("rpc.router.control: "), 0u) << create(ip);
}

}  // namespace
}  // namespace weft::rpc
