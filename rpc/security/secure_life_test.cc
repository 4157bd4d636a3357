// SPDX-License-Identifier: Apache-2.0
//
// What happens to connections in the course of time: restarts, eviction, new keys, new files, ports
// that are blocked.
#include <string>

#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "weft/core/log.h"
#include "weft/rpc/security/secure_fixture.h"
#include "weft/transports/decorators/decorator.h"

namespace weft::rpc {
namespace {

class SecureLifeTest : public SecureTest {
 protected:
  void Connect(const config::Security& config) {
    server_ = Open("server", Role::kServer, config);
    client_ = Open("client", Role::kClient, config);
    peer_ = *client_->port().Resolve(Address::Sim("server"));
  }

  std::unique_ptr<TestEnd> server_;
  std::unique_ptr<TestEnd> client_;
  Peer peer_;
};

TEST_F(SecureLifeTest, AServerThatRestartsIsTheSamePeer) {
  const config::Security config = PskConfig(files_, "a", TestKey('a'));
  Connect(config);
  Deliver(*client_, peer_, *server_, "before");
  server_.reset();
  server_ = Open("server", Role::kServer, config);
  EXPECT_EQ(Deliver(*client_, peer_, *server_, "after").text, "after");
  EXPECT_TRUE(client_->events.empty());
  EXPECT_EQ(client_->counts().resets_received, 1u);
  EXPECT_EQ(client_->counts().handshakes_completed, 2u);
  const Peer back = server_->messages[0].peer;
  EXPECT_EQ(Deliver(*server_, back, *client_, "pong").peer, peer_);
}

// Who keeps what he sends, to send it again, finds it as it was.
TEST_F(SecureLifeTest, ABufferThatIsKeptIsNotSealedInItsPlace) {
  Connect(PskConfig(files_, "a", TestKey('a')));
  Deliver(*client_, peer_, *server_, "before");
  const std::string text = "kept";
  Buffer kept = client_->port().pool().Allocate();
  std::memcpy(kept.Append(text.size()), text.data(), text.size());
  const size_t headroom = kept.headroom();
  for (int i = 0; i < 2; ++i) {
    server_->messages.clear();
    Datagram burst[] = {{peer_, kept.Share()}};
    ASSERT_EQ(client_->port().Send(absl::MakeSpan(burst)), 1u);
    RunFor(10'000'000);
    ASSERT_EQ(server_->messages.size(), 1u);
    EXPECT_EQ(server_->messages[0].text, text);
    ASSERT_FALSE(kept.is_shared());
    kept.SetData(headroom, text.size());
    EXPECT_EQ(std::string(kept.bytes().begin(), kept.bytes().end()), text);
  }
}

TEST_F(SecureLifeTest, AResetThatIsForgedDoesNotEndAConnection) {
  Connect(PskConfig(files_, "a", TestKey('a')));
  Deliver(*client_, peer_, *server_, "before");
  // From another address, and of a number that was never sent.
  const auto raw = OpenPlain("raw");
  uint8_t bytes[HandshakePacket::kResetBytes];
  HandshakePacket{.type = HandshakePacket::Type::kReset,
                  .flags = HandshakePacket::kFromServer,
                  .connection = 1,
                  .attempt = 1 << 30}
      .Write(bytes);
  Datagram burst[] = {{*raw->Resolve(Address::Sim("client")), raw->pool().Allocate()}};
  std::memcpy(burst[0].buffer.Append(sizeof(bytes)), bytes, sizeof(bytes));
  ASSERT_EQ(raw->Send(absl::MakeSpan(burst)), 1u);
  RunFor(10'000'000);
  EXPECT_EQ(client_->counts().resets_ignored, 1u);
  EXPECT_EQ(client_->counts().handshakes_started, 1u);
  Deliver(*client_, peer_, *server_, "after");
}

// It may be forged, as an ICMP message.
TEST_F(SecureLifeTest, ThatNobodyIsThereIsBelievedOnlyAfterSilence) {
  Connect(PskConfig(files_, "a", TestKey('a')));
  Deliver(*client_, peer_, *server_, "before");
  server_.reset();
  client_->Send(peer_, "lost");
  RunFor(10'000'000);
  EXPECT_TRUE(client_->events.empty());
  for (int i = 0; i < 50 && client_->events.empty(); ++i) {
    client_->Send(peer_, "lost");
    RunFor(100'000'000);
  }
  ASSERT_FALSE(client_->events.empty());
  EXPECT_EQ(client_->events[0].kind, PortEvent::Kind::kPeerUnreachable);
}

// Changes all that a server's handshake says outside of TLS.
class ForgingPort final : public DatagramDecorator {
 public:
  explicit ForgingPort(std::unique_ptr<DatagramPort> inner) : DatagramDecorator(std::move(inner)) {}

 private:
  size_t SendWhole(absl::Span<Datagram> burst) override {
    for (Datagram& datagram : burst) {
      uint8_t* const bytes = datagram.buffer.data();
      if (bytes[0] != HandshakePacket::kMagic ||
          bytes[1] != static_cast<uint8_t>(HandshakePacket::Type::kFlight)) {
        continue;
      }
      bytes[3] |= HandshakePacket::kComplete;
      bytes[4] ^= 0x55;
    }
    return inner().Send(burst);
  }
};

TEST_F(SecureLifeTest, TheServersNumberIsTakenFromTlsOnly) {
  const config::Security config = PskConfig(files_, "a", TestKey('a'));
  server_ = std::make_unique<TestEnd>(
      loop_, *MustOpen(config)->Protect(loop_, std::make_unique<ForgingPort>(OpenPlain("server")),
                                        Role::kServer));
  client_ = Open("client", Role::kClient, config);
  peer_ = *client_->port().Resolve(Address::Sim("server"));
  Deliver(*client_, peer_, *server_, "hello");
  EXPECT_EQ(client_->counts().handshakes_started, 1u);
  EXPECT_EQ(server_->counts().records_unknown, 0u);
}

// A salt that has come round must not give next keys the number of those in use.
TEST_F(SecureLifeTest, ANumberThatIsInUseIsNotGivenOutAgain) {
  ConnectionTable table(4);
  Connection* const connection = table.Add({{1, 0, 0}}, /*client=*/false);
  connection->keys.number = table.NewNumber(*connection);
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_NE(table.NewNumber(*connection), connection->keys.number);
  }
}

TEST_F(SecureLifeTest, TheIdleGiveWayAndComeBack) {
  config::Security config = PskConfig(files_, "a", TestKey('a'));
  config.set_connections_max(2);
  server_ = Open("server", Role::kServer, config);
  std::vector<std::unique_ptr<TestEnd>> clients;
  std::vector<Peer> peers;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(Open(absl::StrCat("client", i), Role::kClient, config));
    peers.push_back(*clients[i]->port().Resolve(Address::Sim("server")));
    Deliver(*clients[i], peers[i], *server_, absl::StrCat("hello ", i));
    RunFor(1'000'000);
  }
  EXPECT_EQ(server_->counts().connections_evicted, 1u);
  EXPECT_EQ(server_->counts().connections.value(), 2);
  RunFor(1'000'000);
  ASSERT_EQ(server_->events.size(), 1u);
  EXPECT_EQ(server_->events[0].kind, PortEvent::Kind::kPeerClosed);
  EXPECT_EQ(server_->events[0].peer, server_->messages[0].peer);
  EXPECT_FALSE(server_->Send(server_->messages[0].peer, "gone") &&
               server_->port().stats().send_failed == 0);
  RunFor(200'000'000);
  EXPECT_EQ(Deliver(*clients[0], peers[0], *server_, "again").text, "again");
}

TEST_F(SecureLifeTest, KeysChangeInBothDirections) {
  config::Security config = PskConfig(files_, "a", TestKey('a'));
  config.set_rotate_after_packets(16);
  Connect(config);
  for (int i = 0; i < 100; ++i) {
    const Peer back = Deliver(*client_, peer_, *server_, "ping").peer;
    Deliver(*server_, back, *client_, "pong");
  }
  EXPECT_EQ(client_->counts().key_updates_sent, 6u);
  EXPECT_EQ(client_->counts().key_updates_received, 6u);
  EXPECT_EQ(server_->counts().key_updates_sent, 6u);
  EXPECT_EQ(server_->messages.size(), 100u);
}

TEST_F(SecureLifeTest, KeysChangeWithTime) {
  config::Security config = PskConfig(files_, "a", TestKey('a'));
  config.set_rotate_after_s(10);
  Connect(config);
  for (int i = 0; i < 5; ++i) {
    Deliver(*client_, peer_, *server_, "ping");
    RunFor(11'000'000'000);
  }
  EXPECT_EQ(server_->counts().key_updates_received, 4u);
}

// A client that hears nothing for more than an epoch is found again by a handshake.
TEST_F(SecureLifeTest, AWholeEpochIsLost) {
  config::Security config = PskConfig(files_, "a", TestKey('a'));
  config.set_rotate_after_packets(16);
  Connect(config);
  Deliver(*client_, peer_, *server_, "before");
  const auto node_of = [&](const char* name) {
    for (sim::NodeId id = 0; network_.IsNode(id); ++id) {
      if (network_.NameOf(id) == name) return id;
    }
    return sim::NodeId{};
  };
  network_.SetLink(node_of("client"), node_of("server"), {.loss = 1});
  for (int i = 0; i < 40; ++i) client_->Send(peer_, "lost");
  RunFor(10'000'000);
  network_.SetLink(node_of("client"), node_of("server"), {});
  EXPECT_EQ(Deliver(*client_, peer_, *server_, "after").text, "after");
  EXPECT_EQ(client_->counts().handshakes_completed, 2u);
  EXPECT_GT(server_->counts().records_other_epoch, 0u);
}

TEST_F(SecureLifeTest, FilesAreReadAgainWithoutARestart) {
  const config::Security config =
      PskConfig(files_, "", "", "old:" + TestKey('a') + "\nold2:" + TestKey('c') + "\n");
  server_ = Open("server", Role::kServer, config);
  const auto old_client = Open("old", Role::kClient, PskConfig(files_, "old", TestKey('a')));
  const Peer old_peer = *old_client->port().Resolve(Address::Sim("server"));
  Deliver(*old_client, old_peer, *server_, "before");

  files_.Write("peers", "# without the old ones\nnew:" + TestKey('b') + "\n");
  RunFor(11'000'000'000);
  const auto new_client = Open("new", Role::kClient, PskConfig(files_, "new", TestKey('b')));
  Deliver(*new_client, *new_client->port().Resolve(Address::Sim("server")), *server_, "hello");
  // A connection that exists goes on; a new one of that identity is refused.
  EXPECT_EQ(Deliver(*old_client, old_peer, *server_, "still").text, "still");
  const auto revoked = Open("revoked", Role::kClient, PskConfig(files_, "old2", TestKey('c')));
  const Peer peer = *revoked->port().Resolve(Address::Sim("server"));
  revoked->Send(peer, "hello");
  ASSERT_TRUE(RunUntil([&] { return !revoked->events.empty(); }));
  EXPECT_EQ(revoked->port().WhyUnreachable(peer).code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(server_->failed(Failure::kUnknownIdentity), 1u);
}

TEST_F(SecureLifeTest, AFileThatCannotBeUsedChangesNothing) {
  const config::Security config = PskConfig(files_, "", "", "a:" + TestKey('a') + "\n");
  const auto security = MustOpen(config);
  server_ = OpenWith("server", Role::kServer, security);
  files_.Write("peers", "a:" + TestKey('a').substr(1));
  RunFor(11'000'000'000);
  testing::internal::CaptureStderr();
  client_ = Open("client", Role::kClient, PskConfig(files_, "a", TestKey('a')));
  Deliver(*client_, *client_->port().Resolve(Address::Sim("server")), *server_, "hello");
  const std::string problem(security->reload_status().message());
  // The thread that writes may wait for a processor.
  FlushLog(absl::Seconds(30));
  EXPECT_TRUE(absl::StrContains(testing::internal::GetCapturedStderr(),
                                "WARNING changed key files cannot be used"));
  EXPECT_NE(problem.find("peers:1: a key is 32 to 128 hexadecimal digits"), std::string::npos)
      << problem;
  EXPECT_EQ(problem.find("aaaa"), std::string::npos);
}

TEST_F(SecureLifeTest, AServerThatAnswersAgainIsFoundAfterAFailure) {
  const config::Security config = PskConfig(files_, "a", TestKey('a'));
  client_ = Open("client", Role::kClient, config);
  const auto nobody = OpenPlain("server");
  peer_ = *client_->port().Resolve(Address::Sim("server"));
  client_->Send(peer_, "lost");
  ASSERT_TRUE(RunUntil([&] { return !client_->events.empty(); }));
}

// Takes a bounded number of datagrams.
class NarrowPort final : public DatagramDecorator {
 public:
  NarrowPort(std::unique_ptr<DatagramPort> inner, size_t* room)
      : DatagramDecorator(std::move(inner)), room_(room) {}

 private:
  size_t SendWhole(absl::Span<Datagram> burst) override {
    const size_t n = inner().Send(burst.first(std::min(burst.size(), *room_)));
    *room_ -= n;
    return n;
  }
  size_t* const room_;
};

TEST_F(SecureLifeTest, ABlockedPortKeepsWhatIsSealedAndLosesNothing) {
  const config::Security config = PskConfig(files_, "a", TestKey('a'));
  server_ = Open("server", Role::kServer, config);
  size_t room = 1000;
  auto narrow = std::make_unique<NarrowPort>(OpenPlain("client"), &room);
  client_ = std::make_unique<TestEnd>(
      loop_, *MustOpen(config)->Protect(loop_, std::move(narrow), Role::kClient));
  peer_ = *client_->port().Resolve(Address::Sim("server"));
  Deliver(*client_, peer_, *server_, "0");
  room = 3;
  std::vector<Datagram> burst(10);
  for (Datagram& datagram : burst) {
    datagram.peer = peer_;
    datagram.buffer = client_->port().pool().Allocate();
    *datagram.buffer.Append(1) = 'x';
  }
  EXPECT_EQ(client_->port().Send(absl::MakeSpan(burst)), 10u);
  EXPECT_FALSE(client_->port().Arm());
  Datagram more[] = {{peer_, client_->port().pool().Allocate()}};
  EXPECT_EQ(client_->port().Send(absl::MakeSpan(more)), 0u);
  EXPECT_TRUE(more[0].buffer);
  EXPECT_EQ(client_->port().stats().send_blocked, 1u);
  room = 1000;
  EXPECT_EQ(client_->port().Send(absl::MakeSpan(more)), 1u);
  EXPECT_TRUE(RunUntil([&] { return server_->messages.size() == 12; }));
}

}  // namespace
}  // namespace weft::rpc
