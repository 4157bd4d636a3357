// SPDX-License-Identifier: Apache-2.0
//
// How servers join routers, stay with them, and leave.
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "gtest/gtest.h"
#include "weft/r2p2/route_wire.h"
#include "weft/rpc/router_links_fixture.h"
#include "weft/rpc/security/secure_fixture.h"
#include "weft/rpc/server_group.h"

namespace weft::rpc {
namespace {

using RouterMembershipTest = RouterLinksTest;

// --- JOIN

TEST_F(RouterMembershipTest, ItAsksEveryRouterAtOnceAndSaysWhatItWants) {
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

TEST_F(RouterMembershipTest, AProbeIsToldWhoThisIsWhereItLeavesRoomForThat) {
  ServeEcho(Behind({"router"}, /*join=*/true));
  const Asked asked = Join(router_);
  Clear(router_);
  for (const std::string& room : {std::string(kIncarnationBytes, '\0'), std::string()}) {
    router_.Send(Control(ControlKind::kPing, 0, 1, 4242, room));
    const std::string reset = Receive(router_);
    EXPECT_EQ(reset.size(), kExtendedHeaderBytes + room.size());
    const uint64_t said = ReadIncarnation(Bytes(reset).subspan(kExtendedHeaderBytes));
    EXPECT_EQ(said, room.empty() ? 0 : asked.body.incarnation);
  }
}

TEST_F(RouterMembershipTest, ItAsksAgainEachKeepaliveOfTheShorterKind) {
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

TEST_F(RouterMembershipTest, ALostAnswerIsAskedForSooner) {
  ServeEcho(Behind({"router"}, /*join=*/true));
  Join(router_);
  ReceiveAsked(router_, ControlKind::kJoin);
  const int64_t asked_ns = network_.NowNs();
  Answer(router_, ReceiveAsked(router_, ControlKind::kJoin), ControlKind::kJoinAck);
  EXPECT_LT(network_.NowNs() - asked_ns, 20 * kMs);
  EXPECT_EQ(StateOf(router_), State::kJoined);
}

TEST_F(RouterMembershipTest, ARouterThatIsNotThereIsAskedLessOftenAndJoinedWhenItComes) {
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

TEST_F(RouterMembershipTest, ARouterThatFallsSilentIsSeenAndComesBack) {
  ServeEcho(Behind({"router"}, /*join=*/true));
  Join(router_);
  ASSERT_TRUE(RunUntil([&] { return StateOf(router_) == State::kSilent; }));
  Clear(router_);
  Join(router_);
}

TEST_F(RouterMembershipTest, ARefusalIsNotTheEndOfIt) {
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

TEST_F(RouterMembershipTest, AnswersThatNobodyAskedForAreNotTaken) {
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

TEST_F(RouterMembershipTest, DrainingLeavesFirstAndServesWhatIsOnItsWay) {
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

TEST_F(RouterMembershipTest, LeaveIsRepeatedEachTenMilliseconds) {
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

TEST_F(RouterMembershipTest, ARouterThatDoesNotLetGoHasItsLimit) {
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

TEST_F(RouterMembershipTest, AServerThatEndsWithoutDrainingSaysSo) {
  ServeEcho(Behind({"router"}, /*join=*/true));
  Join(router_);
  Clear(router_);
  server_.reset();
  ReceiveAsked(router_, ControlKind::kLeave);
}

// --- Workers

TEST_F(RouterMembershipTest, ServersAtOneAddressAreOneServer) {
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

TEST_F(RouterMembershipTest, AnAnswerToOneWorkerIsAnAnswerToAll) {
  ServerOptions options = Behind({"router"}, /*join=*/true);
  options.router.address = Address::Sim("server");
  ServeEcho(options);
  auto second =
      Server::Create(loop_, *transport_->OpenDatagramPort({.local = Address::Sim("worker2")}),
                     options, [](ServerCall) {});
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
    router_security_ =
        MustOpen(PskConfig(files_, "router", TestKey('1'), "server:" + TestKey('2')));
    server_security_ = MustOpen([this] {
      config::Security config = PskConfig(files_, "server", TestKey('2'));
      config.mutable_psk()->set_peers_file(files_.Write("of_server", "router:" + TestKey('1')));
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

TEST_F(RouterMembershipTest, ErrorsSayWhatWouldBeRight) {
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
