// SPDX-License-Identifier: Apache-2.0
//
// How servers come, go, fall silent and are changed.
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "weft/router/router_fixture.h"

namespace weft::router {
namespace {

using r2p2::ControlKind;
using r2p2::DropReason;
using r2p2::RequestKey;

constexpr int64_t kKeepaliveNs = 100 * kMs;

class RouterMembersTest : public RouterTest {
 protected:
  RouterMembersTest() : client_(*transport_, "client"), server_(*transport_, "joiner") {}

  static RouterOptions Joinable() {
    RouterOptions options = Options();
    options.join = true;
    return options;
  }
  r2p2::Membership Membership(uint64_t incarnation = 42) {
    return {.incarnation = incarnation << 8, .keepalive_us = 1'000'000, .address = {}};
  }
  // What a JOIN or LEAVE is answered by; kRefused without an answer.
  DropReason Ask(ControlKind kind, const r2p2::Membership& membership,
                 r2p2::MembershipAck* ack = nullptr) {
    server_.Send(router_address(), MembershipPacket(kind, membership));
    RunFor();
    r2p2::MembershipAck ignored;
    while (const auto packet = server_.TryReceive()) {
      if (!packet->extended() || packet->header.kind == ControlKind::kPing) continue;
      EXPECT_EQ(packet->header.kind,
                kind == ControlKind::kJoin ? ControlKind::kJoinAck : ControlKind::kLeaveAck);
      EXPECT_EQ(packet->header.key, 9u);
      EXPECT_EQ(packet->header.session, 1u);
      EXPECT_TRUE(r2p2::ReadMembershipAck(packet->body(), ack != nullptr ? ack : &ignored));
      return packet->header.code;
    }
    return DropReason::kRefused;
  }
  DropReason Join(uint64_t incarnation = 42) {
    return Ask(ControlKind::kJoin, Membership(incarnation));
  }
  DropReason Leave(r2p2::MembershipAck* ack) { return Ask(ControlKind::kLeave, Membership(), ack); }
  // The answer of servers_[0] to the router's question; `life` 0: it does not say which it is of.
  Bytes Alive(uint32_t key, uint64_t life = 0) {
    uint8_t body[r2p2::kIncarnationBytes];
    r2p2::WriteIncarnation(life << 8, body);
    Bytes reset = Control(ControlKind::kReset, key, {body, life != 0 ? sizeof(body) : 0});
    StoreBig32(&reset[8], 1);
    return reset;
  }
  // The key of the next question to servers_[0]; 0: there is none.
  uint32_t TakeQuestion() {
    while (const auto packet = servers_[0]->TryReceive()) {
      if (packet->header.kind != ControlKind::kPing) continue;
      EXPECT_EQ(packet->header.session, 0u);
      EXPECT_EQ(packet->header.from_session, 1u);
      EXPECT_EQ(packet->body().size(), r2p2::kIncarnationBytes) << "room for the answer";
      return packet->header.key;
    }
    return 0;
  }
  void SendRequests(uint16_t first, uint16_t count) {
    for (uint16_t i = 0; i < count; ++i) {
      client_.Send(router_address(), OriginalRequest(static_cast<uint16_t>(first + i)));
    }
    RunFor();
  }

  Endpoint client_;
  Endpoint server_;
};

TEST_F(RouterMembersTest, AServerThatJoinsGetsRequests) {
  StartWithServers(0, Joinable());
  r2p2::MembershipAck ack;
  ASSERT_EQ(Ask(ControlKind::kJoin, Membership(), &ack), DropReason::kNone);
  EXPECT_EQ(ack.server, 42u << 8);
  EXPECT_EQ(ack.keepalive_us, 100'000u) << "the shorter one of both";
  EXPECT_EQ(StateOf(server_.address()), "up");
  SendRequests(1, 1);
  EXPECT_EQ(server_.ReceiveAll(), 1u);
  EXPECT_EQ(Join(), DropReason::kNone) << "again, as a sign of life";
  EXPECT_EQ(stats().joins.value(), 1u);
}

TEST_F(RouterMembersTest, WhoMayNotJoinIsTold) {
  StartWithServers(0);
  EXPECT_EQ(Join(), DropReason::kForbidden);
  EXPECT_EQ(StateOf(server_.address()), "none");
  EXPECT_EQ(stats().joins_refused.value(), 1u);
}

TEST_F(RouterMembersTest, NobodyMakesTheRouterSendToItselfOrWhereItCannot) {
  StartWithServers(0, Joinable());
  for (const Address& address : {router_address(), Address::Ipv4({10, 0, 0, 1}, 1)}) {
    r2p2::Membership join = Membership();
    join.address = address;
    EXPECT_EQ(Ask(ControlKind::kJoin, join), DropReason::kForbidden);
    EXPECT_EQ(router_->Add({.address = address}).code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(RouterMembersTest, AJoinIsRefusedToWhoIsNotAuthorised) {
  RouterOptions options = Joinable();
  options.may_join = [](absl::string_view identity) { return identity == "trusted"; };
  StartWithServers(0, options);
  EXPECT_EQ(Join(), DropReason::kForbidden);
  EXPECT_EQ(StateOf(server_.address()), "none");
}

TEST_F(RouterMembersTest, WhereControlIsProtectedNothingIsTakenFromElsewhere) {
  RouterOptions options = Joinable();
  options.control_protected = true;
  StartWithServers(1, options);
  EXPECT_EQ(Join(), DropReason::kRefused);
  servers_[0]->Send(router_address(), FeedbackPacket(1, 0, {1}));
  RunFor();
  EXPECT_EQ(stats().unexpected.value(), 2u);
}

TEST_F(RouterMembersTest, OneMoreServerThanTheLimitIsRefusedUnlessOneIsGone) {
  RouterOptions options = Joinable();
  options.servers_max = 2;
  StartWithServers(1, options);
  EXPECT_EQ(Join(), DropReason::kNone);
  Endpoint third(*transport_, "third");
  third.Send(router_address(), MembershipPacket(ControlKind::kJoin, Membership(7)));
  RunFor();
  EXPECT_EQ(third.TryReceive()->header.code, DropReason::kNoSessions);
  RunFor(3 * kKeepaliveNs);
  EXPECT_EQ(StateOf(server_.address()), "down");
  third.Send(router_address(), MembershipPacket(ControlKind::kJoin, Membership(7)));
  RunFor();
  EXPECT_EQ(third.TryReceive()->header.code, DropReason::kNone);
  EXPECT_EQ(StateOf(third.address()), "up");
}

TEST_F(RouterMembersTest, AServerThatBeginsAnewHasAllItsSlotsAndItsFormerSelfNoSay) {
  StartWithServers(0, Joinable());
  Join(42);
  SendRequests(1, 3);
  EXPECT_EQ(outstanding(), 2u);
  EXPECT_EQ(server_.ReceiveAll(), 2u);
  EXPECT_EQ(Join(43), DropReason::kNone);
  EXPECT_EQ(dispatcher_stats().placements_lost.value(), 2u);
  EXPECT_EQ(outstanding(), 1u) << "the one that waited";
  EXPECT_EQ(Join(42), DropReason::kRefused) << "a late one is not answered";
  EXPECT_EQ(outstanding(), 1u);
  EXPECT_EQ(stats().joins.value(), 2u);
}

// Where JOIN is protected, each worker of a server has a port of its own.
TEST_F(RouterMembersTest, AServerMayHaveManyWorkers) {
  StartWithServers(0, Joinable());
  constexpr size_t kWorkers = 100;
  std::vector<std::unique_ptr<Endpoint>> workers;
  r2p2::Membership membership = Membership();
  membership.address = server_.address();
  membership.slots = kWorkers;
  for (size_t i = 0; i < kWorkers; ++i) {
    workers.push_back(std::make_unique<Endpoint>(*transport_, "worker" + std::to_string(i)));
    workers[i]->Send(router_address(), MembershipPacket(ControlKind::kJoin, membership));
  }
  RunFor();
  for (uint16_t round = 0; round < 2; ++round) {
    SendRequests(static_cast<uint16_t>(round * kWorkers), kWorkers);
    EXPECT_EQ(outstanding(), kWorkers);
    for (size_t i = 0; i < kWorkers; ++i) {
      const auto rid = static_cast<uint16_t>(round * kWorkers + i);
      const uint64_t key = RequestKey(client_.id(), 0, rid);
      workers[i]->Send(router_address(), FeedbackPacket(42 << 8 | i, round, {key}));
    }
    RunFor();
    EXPECT_EQ(outstanding(), 0u);
  }
  EXPECT_EQ(stats().feedback_unknown_source.value(), 0u);
  EXPECT_EQ(stats().feedback_lost.value(), 0u);
  EXPECT_EQ(stats().joins.value(), 1u);
}

TEST_F(RouterMembersTest, ASilentServerIsDownWithinThreeKeepalivesAndBackAtOnce) {
  StartWithServers(0, Joinable());
  Join();
  RunFor(2 * kKeepaliveNs);
  EXPECT_EQ(StateOf(server_.address()), "up");
  RunFor(kKeepaliveNs);
  EXPECT_EQ(StateOf(server_.address()), "down");
  SendRequests(1, 1);
  EXPECT_EQ(server_.ReceiveAll(), 0u);
  EXPECT_EQ(stats().servers_lost.value(), 1u);
  Join();
  EXPECT_EQ(StateOf(server_.address()), "up");
  SendRequests(2, 1);
  EXPECT_EQ(server_.ReceiveAll(), 1u);
  EXPECT_EQ(stats().servers_found.value(), 1u);
}

TEST_F(RouterMembersTest, AServerThatIsGoneForGoodIsForgotten) {
  StartWithServers(0, Joinable());
  Join();
  RunFor(kForgetNs + kKeepaliveNs);
  EXPECT_EQ(StateOf(server_.address()), "none");
}

TEST_F(RouterMembersTest, AServerLeavesWithItsLastRequest) {
  StartWithServers(0, Joinable());
  Join();
  SendRequests(1, 1);
  r2p2::MembershipAck ack;
  EXPECT_EQ(Leave(&ack), DropReason::kNone);
  EXPECT_EQ(ack.outstanding, 1u);
  EXPECT_EQ(StateOf(server_.address()), "draining");
  SendRequests(2, 1);
  EXPECT_EQ(client_.ReceiveAll(), 1u) << "DROP: there is no server any more";
  server_.Send(router_address(), FeedbackPacket(1, 0, {RequestKey(client_.id(), 0, 1)}));
  EXPECT_EQ(Leave(&ack), DropReason::kNone);
  EXPECT_EQ(ack.outstanding, 0u);
  EXPECT_EQ(Join(42), DropReason::kShuttingDown) << "a JOIN that comes late does not bring it back";
  RunFor(4 * kKeepaliveNs);
  EXPECT_EQ(StateOf(server_.address()), "none");
  EXPECT_EQ(Leave(&ack), DropReason::kNone);
  EXPECT_EQ(stats().leaves.value(), 1u);
}

TEST_F(RouterMembersTest, NobodyLeavesForAnother) {
  StartWithServers(0, Joinable());
  Join();
  Endpoint other(*transport_, "other");
  r2p2::Membership leave = Membership();
  leave.address = server_.address();
  other.Send(router_address(), MembershipPacket(ControlKind::kLeave, leave));
  RunFor();
  EXPECT_EQ(other.TryReceive()->header.code, DropReason::kForbidden);
  EXPECT_EQ(StateOf(server_.address()), "up");
}

TEST_F(RouterMembersTest, AConfiguredServerThatLeftComesBackWhenItBeginsAnew) {
  RouterOptions options = Options();
  options.servers = {{.address = server_.address()}};
  Start(options);
  EXPECT_EQ(Join(), DropReason::kNone) << "it is configured, and says that it lives";
  r2p2::MembershipAck ack;
  Leave(&ack);
  RunFor(kKeepaliveNs);
  EXPECT_EQ(StateOf(server_.address()), "left");
  EXPECT_EQ(Join(42), DropReason::kRefused);
  EXPECT_EQ(Join(43), DropReason::kNone);
  EXPECT_EQ(StateOf(server_.address()), "up");
}

TEST_F(RouterMembersTest, AConfiguredServerOfWeftIsAskedAndFoundToBeDown) {
  StartWithServers(1);
  RunFor(kKeepaliveNs + kKeepaliveNs / 2);
  const uint32_t key = TakeQuestion();
  ASSERT_NE(key, 0u);
  servers_[0]->Send(router_address(), Alive(key));
  RunFor(3 * kKeepaliveNs);
  EXPECT_EQ(StateOf(servers_[0]->address()), "down");
  servers_[0]->Send(router_address(), Alive(key));
  RunFor();
  EXPECT_EQ(StateOf(servers_[0]->address()), "up");
}

// Even where nothing is configured but its address, and it is back before it could be missed.
TEST_F(RouterMembersTest, AConfiguredServerThatRestartsIsNoticedByItsFeedback) {
  StartWithServers(1);
  RunFor(kKeepaliveNs + kKeepaliveNs / 2);
  const uint32_t key = TakeQuestion();
  servers_[0]->Send(router_address(), Alive(key, 7));
  client_.Send(router_address(), AnycastRequest(1, 1));
  SendRequests(1, 2);
  EXPECT_EQ(outstanding(), 2u);
  EXPECT_EQ(servers_[0]->ReceiveAll(), 2u);
  RunFor(kKeepaliveNs / 2);
  servers_[0]->Send(router_address(), FeedbackPacket(7 << 8 | 3, 0, {4711}));
  RunFor();
  EXPECT_EQ(TakeQuestion(), 0u) << "one of its workers";

  servers_[0]->Send(router_address(), FeedbackPacket(8 << 8, 0, {4712}));
  RunFor();
  EXPECT_EQ(TakeQuestion(), key);
  EXPECT_EQ(outstanding(), 2u) << "that may be forged, as it proves nothing";
  servers_[0]->Send(router_address(), Alive(key, 8));
  RunFor();
  EXPECT_EQ(stats().servers_restarted.value(), 1u);
  EXPECT_EQ(dispatcher_stats().placements_lost.value(), 2u);
  EXPECT_EQ(outstanding(), 1u) << "the one that waited";
  client_.Send(router_address(), AnycastRequest(1, 1, 1000, /*resent=*/true));
  servers_[0]->Send(router_address(), Alive(key, 7));
  RunFor();
  EXPECT_EQ(servers_[0]->ReceiveAll(), 1u) << "nothing runs twice";
  EXPECT_EQ(stats().servers_restarted.value(), 1u) << "the former one's answer was late";
  EXPECT_EQ(dispatcher_stats().refused_server_lost.value(), 1u);
}

TEST_F(RouterMembersTest, ForgedLivesOfAServerCostAQuestionEachKeepalive) {
  StartWithServers(1);
  SendRequests(1, 2);
  RunFor(kKeepaliveNs);
  servers_[0]->ReceiveAll();
  const uint64_t asked = stats().probes.value();
  for (uint64_t life = 1; life <= 90; ++life) {
    servers_[0]->Send(router_address(), FeedbackPacket(life << 8, life * 1000, {life}));
    servers_[0]->Send(router_address(), Alive(/*key=*/12345, life));
    RunFor();
  }
  EXPECT_EQ(outstanding(), 2u);
  EXPECT_EQ(stats().servers_restarted.value(), 0u);
  EXPECT_EQ(stats().feedback_unknown_request.value(), 90u);
  EXPECT_EQ(stats().unexpected.value(), 90u);
  EXPECT_LE(stats().probes.value(), asked + 1);
}

TEST_F(RouterMembersTest, AForgedAnswerIsNoSignOfLife) {
  StartWithServers(1);
  servers_[0]->Send(router_address(), Control(ControlKind::kReset, 12345));
  RunFor();
  EXPECT_EQ(stats().unexpected.value(), 1u);
}

TEST_F(RouterMembersTest, AServerOfTheOriginalIsSuspectedWithoutFeedbackAndTried) {
  RouterOptions options = Options();
  options.lease = absl::Milliseconds(150);
  StartWithServers(1, options);
  RunFor(10 * kKeepaliveNs);
  servers_[0]->ReceiveAll();
  EXPECT_EQ(StateOf(servers_[0]->address()), "up") << "it has nothing to answer";
  for (uint16_t i = 0; i < 5; ++i) {
    SendRequests(i, 1);
    RunFor(kKeepaliveNs / 2);
  }
  SendRequests(10, 3);
  RunFor(kKeepaliveNs);
  EXPECT_EQ(StateOf(servers_[0]->address()), "down");
  client_.ReceiveAll();
  servers_[0]->ReceiveAll();
  // One of many gets through each keepalive.
  for (int i = 0; i < 100; ++i) {
    SendRequests(static_cast<uint16_t>(100 + i), 1);
    RunFor(9 * kMs);
  }
  const size_t tried = servers_[0]->ReceiveAll();
  EXPECT_GE(tried, 8u);
  EXPECT_LE(tried, 12u);
  uint64_t key = RequestKey(client_.id(), 0, 199);
  servers_[0]->Send(router_address(), FeedbackPacket(1, 0, {key}));
  RunFor();
  EXPECT_EQ(StateOf(servers_[0]->address()), "up");
}

TEST_F(RouterMembersTest, AServerThatCannotBeReachedIsDownAtOnce) {
  // Under the client's own address, the client would be the one to hear of it.
  RouterOptions options = Options();
  options.forwarding = RouterOptions::Forwarding::kAddressInHeader;
  StartWithServers(2, options);
  servers_.erase(servers_.begin());
  SendRequests(1, 4);
  EXPECT_EQ(StateOf(Address::Sim("server0")), "down");
  EXPECT_EQ(outstanding(), 2u);
}

TEST_F(RouterMembersTest, PeopleAddDrainAndRemoveServers) {
  StartWithServers(1);
  EXPECT_EQ(router_->Add({.address = servers_[0]->address()}).code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(router_->Drain(server_.address()).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(router_->Remove(server_.address()).code(), absl::StatusCode::kNotFound);
  SendRequests(1, 3);
  ASSERT_TRUE(router_->Add({.address = server_.address(), .slots = 4}).ok());
  RunFor();
  EXPECT_EQ(server_.ReceiveAll(), 1u) << "the one that waited";
  ASSERT_TRUE(router_->Drain(server_.address()).ok());
  RunFor(kKeepaliveNs);
  EXPECT_EQ(StateOf(server_.address()), "draining");
  server_.Send(router_address(), FeedbackPacket(1, 0, {RequestKey(client_.id(), 0, 3)}));
  RunFor(kKeepaliveNs);
  EXPECT_EQ(StateOf(server_.address()), "none");
  ASSERT_TRUE(router_->Remove(servers_[0]->address()).ok());
  EXPECT_EQ(StateOf(servers_[0]->address()), "none");
  EXPECT_EQ(outstanding(), 0u);
}

TEST_F(RouterMembersTest, ADrainedServerThatGoesOnToJoinStaysDrained) {
  StartWithServers(0, Joinable());
  Join();
  ASSERT_TRUE(router_->Drain(server_.address()).ok());
  for (int i = 0; i < 10; ++i) {
    RunFor(kKeepaliveNs);
    EXPECT_EQ(Join(), DropReason::kShuttingDown);
  }
  RunFor(20 * kKeepaliveNs);
  EXPECT_EQ(Join(), DropReason::kShuttingDown) << "who was refused asks rarely";
  EXPECT_EQ(StateOf(server_.address()), "draining");
  ASSERT_TRUE(router_->Add({.address = server_.address()}).ok());
  EXPECT_EQ(Join(), DropReason::kNone);
}

TEST_F(RouterMembersTest, AnotherConfigurationAddsDrainsAndChangesServers) {
  StartWithServers(2);
  RouterOptions options = router_->options();
  SendRequests(1, 6);
  EXPECT_EQ(router_->dispatcher().queue_length(), 2u);
  options.servers = {{.address = servers_[1]->address(), .slots = 3},
                     {.address = server_.address()}};
  options.policy = "jsq";
  ASSERT_TRUE(router_->Apply(options).ok());
  RunFor();
  EXPECT_EQ(router_->dispatcher().queue_length(), 0u);
  EXPECT_EQ(StateOf(servers_[0]->address()), "draining");
  EXPECT_EQ(StateOf(server_.address()), "up");
  EXPECT_EQ(client_.ReceiveAll(), 0u) << "no request is lost";
  EXPECT_EQ(outstanding(), 6u);
  EXPECT_EQ(router_->dispatcher().policy(), "jsq");
}

TEST_F(RouterMembersTest, AConfigurationThatCannotBeAppliedChangesNothing) {
  StartWithServers(1);
  RouterOptions options = router_->options();
  options.listen = Address::Sim("elsewhere");
  const absl::Status listen = router_->Apply(options);
  EXPECT_EQ(listen.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(listen.message().find("router.listen"), std::string::npos);
  options = router_->options();
  options.policy = "best";
  options.servers.clear();
  EXPECT_EQ(router_->Apply(options).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StateOf(servers_[0]->address()), "up");
}

TEST_F(RouterMembersTest, AConfigurationTellsOfServersThatFindNoRoom) {
  RouterOptions options = Joinable();
  options.servers_max = 2;
  StartWithServers(1, options);
  ASSERT_EQ(Join(), DropReason::kNone);
  options = router_->options();
  options.slots = 5;
  options.servers.push_back({.address = Address::Sim("late")});
  const absl::Status status = router_->Apply(options);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(status.message().find("sim:late is left out"), std::string::npos) << status;
  EXPECT_EQ(router_->options().slots, 5u);
  EXPECT_EQ(StateOf(server_.address()), "up");
}

TEST_F(RouterMembersTest, EachServersRateIsThatOfTheLastSecond) {
  StartWithServers(1);
  RunFor(200 * kMs);
  SendRequests(1, 2);
  const auto rate = [this] {
    double rate = -1;
    router_->ForEachMember([&](const Member& m) { rate = m.rates.requests_per_s(); });
    return rate;
  };
  RunFor(1000 * kMs);
  EXPECT_GT(rate(), 1.5);
  EXPECT_LT(rate(), 2.5);
  RunFor(2000 * kMs);
  EXPECT_EQ(rate(), 0);
}

TEST_F(RouterMembersTest, BeforeItsEndARouterRefusesWhatWaits) {
  StartWithServers(1);
  SendRequests(1, 6);
  EXPECT_EQ(router_->dispatcher().queue_length(), 4u);
  router_->RefuseAll();
  RunFor();
  EXPECT_EQ(router_->dispatcher().queue_length(), 0u);
  EXPECT_EQ(client_.ReceiveAll(), 4u);
  SendRequests(7, 1);
  EXPECT_EQ(client_.ReceiveAll(), 1u) << "what comes yet, too";
  EXPECT_EQ(servers_[0]->ReceiveAll(), 2u);
}

}  // namespace
}  // namespace weft::router
