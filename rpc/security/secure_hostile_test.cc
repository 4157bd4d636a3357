// SPDX-License-Identifier: Apache-2.0
//
// Peers that are not who they should be, and packets that no honest peer sends.
#include <cerrno>
#include <string>

#include "weft/rpc/security/openssl_ptr.h"
#include "weft/rpc/security/secure_fixture.h"
#include "weft/rpc/security/test_certificates.h"

namespace weft::rpc {
namespace {

using Type = HandshakePacket::Type;

class SecureHostileTest : public SecureTest {
 protected:
  void Serve(const config::Security& config) { server_ = Open("server", Role::kServer, config); }
  std::unique_ptr<TestEnd> Client(const std::string& name, const config::Security& config) {
    return Open(name, Role::kClient, config);
  }
  // What a client that sends something is told.
  absl::Status Refusal(TestEnd& client) {
    const Peer peer = *client.port().Resolve(Address::Sim("server"));
    EXPECT_TRUE(client.Send(peer, "let me in"));
    EXPECT_TRUE(RunUntil([&] { return !client.events.empty(); }));
    if (client.events.empty()) return absl::OkStatus();
    EXPECT_EQ(client.events[0].kind, PortEvent::Kind::kPeerUnreachable);
    EXPECT_EQ(client.events[0].peer, peer);
    EXPECT_EQ(client.counts().held_dropped, 1u);
    return client.port().WhyUnreachable(peer);
  }
  void ExpectWorks(TestEnd& client) {
    const Peer peer = *client.port().Resolve(Address::Sim("server"));
    EXPECT_EQ(Deliver(client, peer, *server_, "hello").text, "hello");
  }
  static void ExpectSays(const absl::Status& status, const std::string& text) {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated) << status;
    EXPECT_NE(std::string(status.message()).find(text), std::string::npos) << status;
    EXPECT_NE(std::string(status.message()).find("the server at sim:server"), std::string::npos)
        << status;
  }

  // A port without protection that speaks for itself.
  void SendRaw(DatagramPort& port, const std::string& bytes) {
    Datagram burst[] = {{*port.Resolve(Address::Sim("server")), port.pool().Allocate()}};
    std::memcpy(burst[0].buffer.Append(bytes.size()), bytes.data(), bytes.size());
    ASSERT_EQ(port.Send(absl::MakeSpan(burst)), 1u);
    raw_sent_ += bytes.size();
  }
  void SendRaw(DatagramPort& port, HandshakePacket packet, const std::string& payload = "") {
    uint8_t head[HandshakePacket::kWithoutPayloadMax];
    const size_t n = packet.Write(head);
    SendRaw(port, std::string(head, head + n) + payload);
  }
  void AnswerRaw(DatagramPort& port, const HandshakePacket& packet) {
    Datagram burst[] = {{*port.Resolve(Address::Sim("client")), port.pool().Allocate()}};
    Buffer& buffer = burst[0].buffer;
    uint8_t* const out = buffer.Append(HandshakePacket::kWithoutPayloadMax);
    buffer.TrimBack(buffer.size() - packet.Write(out));
    ASSERT_EQ(port.Send(absl::MakeSpan(burst)), 1u);
    RunFor(1'000'000);
  }
  // What has come within a while.
  std::vector<std::string> ReceiveRaw(DatagramPort& port) {
    RunFor(1'000'000);
    std::vector<std::string> packets;
    Datagram burst[32];
    for (size_t n; (n = port.Receive(absl::MakeSpan(burst))) > 0;) {
      for (const Datagram& datagram : absl::MakeSpan(burst).first(n)) {
        const auto bytes = datagram.buffer.bytes();
        packets.emplace_back(bytes.begin(), bytes.end());
        raw_received_ += bytes.size();
      }
    }
    return packets;
  }
  static HandshakePacket Read(const std::string& bytes) {
    const auto packet =
        HandshakePacket::Read({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
    EXPECT_TRUE(packet.has_value());
    return packet.value_or(HandshakePacket());
  }
  // Gets a cookie for that attempt.
  Cookie AskForCookie(DatagramPort& port, uint32_t connection, uint64_t attempt) {
    SendRaw(port, {.type = Type::kInit, .connection = connection, .attempt = attempt});
    const auto answers = ReceiveRaw(port);
    EXPECT_EQ(answers.size(), 1u);
    return answers.empty() ? Cookie() : Read(answers[0]).cookie;
  }

  std::unique_ptr<TestEnd> server_;
  uint64_t raw_sent_ = 0;
  uint64_t raw_received_ = 0;
};

TEST_F(SecureHostileTest, AWrongKey) {
  Serve(PskConfig(files_, "", "", "reader:" + TestKey('a') + "\n"));
  const auto client = Client("client", PskConfig(files_, "reader", TestKey('b')));
  ExpectSays(Refusal(*client), "another key under this identity");
  EXPECT_EQ(server_->failed(Failure::kWrongKey), 1u);
  EXPECT_EQ(client->failed(Failure::kWrongKey), 1u);
  ExpectWorks(*Client("honest", PskConfig(files_, "reader", TestKey('a'))));
}

TEST_F(SecureHostileTest, AnUnknownIdentity) {
  Serve(PskConfig(files_, "", "", "reader:" + TestKey('a') + "\n"));
  ExpectSays(Refusal(*Client("client", PskConfig(files_, "writer", TestKey('a')))),
             "the server does not know the identity 'writer'");
  EXPECT_EQ(server_->failed(Failure::kUnknownIdentity), 1u);
  ExpectWorks(*Client("honest", PskConfig(files_, "reader", TestKey('a'))));
}

TEST_F(SecureHostileTest, AKeyForACertificateAndTheOtherWayRound) {
  ASSERT_TRUE(WriteTestCertificates(files_.directory()).ok());
  Serve(X509Config(files_, "server"));
  EXPECT_EQ(Refusal(*Client("client", PskConfig(files_, "a", TestKey('a')))).code(),
            absl::StatusCode::kUnauthenticated);
  server_.reset();
  Serve(PskConfig(files_, "a", TestKey('a')));
  EXPECT_EQ(Refusal(*Client("other", X509Config(files_, "client"))).code(),
            absl::StatusCode::kUnauthenticated);
}

// Certificates of one authority for both sides, and whatever a test adds.
class CertificateTest : public SecureHostileTest {
 protected:
  CertificateTest() : authority_(*TestAuthority::Make("right")) {
    EXPECT_TRUE(authority_.WriteAuthority(files_.directory(), "ca.pem").ok());
    Make("server", {.dns = {"server"}});
    Make("client", {.uri = "weft://client"});
  }
  void Make(const std::string& name, const TestCertificateOptions& options) {
    EXPECT_TRUE(authority_.Write(files_.directory(), name, options).ok());
  }

  TestAuthority authority_;
};

TEST_F(CertificateTest, TheNameOfTheAddressIsExpected) {
  Serve(X509Config(files_, "server"));
  const auto client = Client("client", X509Config(files_, "client"));
  ExpectWorks(*client);
  EXPECT_EQ(server_->messages[0].identity, "weft://client");
}

TEST_F(CertificateTest, Expired) {
  Make("old", {.dns = {"server"}, .valid_until_s = -60});
  Serve(X509Config(files_, "server"));
  ExpectSays(Refusal(*Client("client", X509Config(files_, "old"))),
             "the peer found this certificate expired");
  EXPECT_EQ(server_->failed(Failure::kCertificateExpired), 1u);
  server_.reset();
  Serve(X509Config(files_, "old"));
  const auto client = Client("other", X509Config(files_, "client"));
  ExpectSays(Refusal(*client), "certificate has expired");
  EXPECT_EQ(client->failed(Failure::kCertificateExpired), 1u);
}

TEST_F(CertificateTest, Foreign) {
  TestAuthority other = *TestAuthority::Make("other");
  ASSERT_TRUE(other.Write(files_.directory(), "foreign", {.dns = {"server"}}).ok());
  Serve(X509Config(files_, "server"));
  ExpectSays(Refusal(*Client("client", X509Config(files_, "foreign"))),
             "the peer does not trust this certificate");
  EXPECT_EQ(server_->failed(Failure::kCertificateUntrusted), 1u);
  server_.reset();
  Serve(X509Config(files_, "foreign"));
  ExpectSays(Refusal(*Client("other", X509Config(files_, "client"))), "certificate is not good");
}

TEST_F(CertificateTest, ForAnotherServer) {
  Make("elsewhere", {.common_name = "server", .dns = {"elsewhere"}});
  Serve(X509Config(files_, "elsewhere"));
  ExpectSays(Refusal(*Client("client", X509Config(files_, "client"))), "it is not for 'server'");
  config::Security config = X509Config(files_, "client");
  config.mutable_x509()->set_server_name("elsewhere");
  ExpectWorks(*Client("other", config));
}

TEST_F(CertificateTest, ForAUri) {
  Make("service", {.uri = "spiffe://prod/kv"});
  Serve(X509Config(files_, "service"));
  config::Security config = X509Config(files_, "client");
  config.mutable_x509()->set_server_name("spiffe://prod/kv");
  ExpectWorks(*Client("client", config));
  config.mutable_x509()->set_server_name("spiffe://prod/other");
  ExpectSays(Refusal(*Client("other", config)), "it is not for 'spiffe://prod/other'");
}

TEST_F(CertificateTest, Revoked) {
  Make("stolen", {.common_name = "stolen"});
  ASSERT_TRUE(authority_.WriteRevoked(files_.directory(), "crl.pem").ok());
  config::Security config = X509Config(files_, "server");
  config.mutable_x509()->set_crl_file(files_.Path("crl.pem"));
  Serve(config);
  ExpectWorks(*Client("honest", X509Config(files_, "client")));
  ExpectSays(Refusal(*Client("client", X509Config(files_, "stolen"))),
             "the peer found this certificate revoked");
  EXPECT_EQ(server_->failed(Failure::kCertificateRevoked), 1u);
}

TEST_F(SecureHostileTest, AClientOfAnOlderTls) {
  ASSERT_TRUE(WriteTestCertificates(files_.directory()).ok());
  Serve(X509Config(files_, "server"));
  const auto raw = OpenPlain("raw");
  const Cookie cookie = AskForCookie(*raw, 5, 77);
  const SslContextPtr context(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_max_proto_version(context.get(), TLS1_2_VERSION);
  const SslPtr ssl(SSL_new(context.get()));
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_connect(ssl.get());
  char hello[1024];
  const int n = BIO_read(SSL_get_wbio(ssl.get()), hello, sizeof(hello));
  ASSERT_GT(n, 0);
  SendRaw(*raw, {.type = Type::kFlight, .connection = 5, .attempt = 77, .cookie = cookie},
          std::string(hello, static_cast<size_t>(n)));
  const auto answers = ReceiveRaw(*raw);
  ASSERT_EQ(answers.size(), 1u);
  const auto alert = Read(answers[0]).payload;
  ASSERT_EQ(alert.size(), 7u);
  EXPECT_EQ(alert[6], SSL_AD_PROTOCOL_VERSION);
  EXPECT_EQ(server_->failed(Failure::kTlsVersion), 1u);
}

TEST_F(SecureHostileTest, PlainTextAtAProtectedPort) {
  Serve(PskConfig(files_, "a", TestKey('a')));
  const auto raw = OpenPlain("raw");
  for (const char* text : {"", "x", "R2P2 or anything else"}) SendRaw(*raw, text);
  EXPECT_TRUE(ReceiveRaw(*raw).empty());
  EXPECT_EQ(server_->counts().plaintext_dropped, 3u);
  EXPECT_TRUE(server_->messages.empty());
}

TEST_F(SecureHostileTest, AServerWithoutProtection) {
  const auto plain = OpenPlain("server");
  const absl::Status status = Refusal(*Client("client", PskConfig(files_, "a", TestKey('a'))));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(std::string(status.message()).find("has it `security`?"), std::string::npos) << status;
}

// A router says so; it is believed only from where the handshake went, and before there are keys.
TEST_F(SecureHostileTest, NoKeys) {
  const auto router = OpenPlain("server");
  const auto other = OpenPlain("other");
  const auto client = Client("client", PskConfig(files_, "a", TestKey('a')));
  const Peer peer = *client->port().Resolve(Address::Sim("server"));
  EXPECT_TRUE(client->Send(peer, "let me in"));
  const auto inits = ReceiveRaw(*router);
  ASSERT_EQ(inits.size(), 1u);
  HandshakePacket answer = {.type = Type::kNoKeys,
                            .flags = HandshakePacket::kFromServer,
                            .attempt = Read(inits[0]).attempt};
  AnswerRaw(*other, answer);
  ++answer.attempt;
  AnswerRaw(*router, answer);
  EXPECT_TRUE(client->events.empty());
  --answer.attempt;
  AnswerRaw(*router, answer);
  ASSERT_EQ(client->events.size(), 1u);
  const absl::Status status = client->port().WhyUnreachable(peer);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(std::string(status.message()).find("it is a router"), std::string::npos) << status;
  EXPECT_EQ(client->failed(Failure::kRefused), 1u);
  AnswerRaw(*router, answer);
  EXPECT_EQ(client->failed(Failure::kRefused), 1u) << "there is no handshake any more";
}

TEST_F(SecureHostileTest, NothingIsAmplified) {
  Serve(PskConfig(files_, "a", TestKey('a')));
  const auto raw = OpenPlain("raw");
  SendRaw(*raw, {.type = Type::kInit, .connection = 1, .attempt = 2});
  EXPECT_EQ(ReceiveRaw(*raw).size(), 1u);
  EXPECT_LT(raw_received_, raw_sent_);
  // No cookie, one of another attempt, one of another client's: nothing.
  const auto other = OpenPlain("other");
  const Cookie theirs = AskForCookie(*other, 1, 2);
  const Cookie ours = AskForCookie(*raw, 1, 3);
  raw_sent_ = raw_received_ = 0;
  for (const Cookie& cookie : {Cookie(), ours, theirs}) {
    SendRaw(*raw, {.type = Type::kFlight, .connection = 1, .attempt = 2, .cookie = cookie}, "x");
  }
  EXPECT_TRUE(ReceiveRaw(*raw).empty());
  EXPECT_EQ(server_->counts().cookies_wrong, 3u);
  EXPECT_EQ(server_->counts().handshakes_accepted, 0u);
  // A record of nobody is answered by less than it had.
  std::string record(kRecordOverheadBytes, '\0');
  RecordHead{.connection = 3, .number = 9}.Write(reinterpret_cast<uint8_t*>(record.data()));
  raw_sent_ = raw_received_ = 0;
  SendRaw(*raw, record);
  ASSERT_EQ(ReceiveRaw(*raw).size(), 1u);
  EXPECT_LT(raw_received_, raw_sent_);
}

TEST_F(SecureHostileTest, ACookieDoesNotLastForever) {
  Serve(PskConfig(files_, "a", TestKey('a')));
  const auto raw = OpenPlain("raw");
  const Cookie cookie = AskForCookie(*raw, 1, 2);
  RunFor(11'000'000'000);
  SendRaw(*raw, {.type = Type::kFlight, .connection = 1, .attempt = 2, .cookie = cookie}, "x");
  EXPECT_TRUE(ReceiveRaw(*raw).empty());
  EXPECT_EQ(server_->counts().cookies_wrong, 1u);
}

TEST_F(SecureHostileTest, HandshakesThatDoNotEndAreBounded) {
  config::Security config = PskConfig(files_, "a", TestKey('a'));
  config.set_handshakes_max(3);
  Serve(config);
  std::vector<std::unique_ptr<DatagramPort>> raws;
  for (int i = 0; i < 8; ++i) {
    raws.push_back(OpenPlain(absl::StrCat("raw", i)));
    const Cookie cookie = AskForCookie(*raws.back(), 1, 2);
    // The beginning of a TLS record.
    SendRaw(*raws.back(), {.type = Type::kFlight, .connection = 1, .attempt = 2, .cookie = cookie},
            std::string("\x16\x03\x01\x01\x00", 5));
    RunFor(1'000'000);
  }
  EXPECT_EQ(server_->counts().handshakes.value(), 3);
  EXPECT_EQ(server_->counts().handshakes_evicted, 5u);
  ExpectWorks(*Client("honest", PskConfig(files_, "a", TestKey('a'))));
  RunFor(3'000'000'000);
  EXPECT_EQ(server_->counts().handshakes.value(), 0);
  EXPECT_EQ(server_->failed(Failure::kTimeout), 2u);
}

TEST_F(SecureHostileTest, NoiseDoesNoHarm) {
  Serve(PskConfig(files_, "a", TestKey('a')));
  const auto client = Client("client", PskConfig(files_, "a", TestKey('a')));
  ExpectWorks(*client);
  const auto raw = OpenPlain("raw");
  uint64_t state = 1;
  for (int i = 0; i < 2000; ++i) {
    std::string noise(i % 100, '\0');
    for (char& c : noise) c = static_cast<char>((state = state * 6364136223846793005 + 1) >> 56);
    if (!noise.empty()) noise[0] = static_cast<char>(i % 2 == 0 ? 0xD7 : 0xD8);
    if (noise.size() > 3 && i % 2 == 1) {
      noise[1] = static_cast<char>(i % 5);
      noise[2] = 1;
    }
    SendRaw(*raw, noise);
    if (i % 100 == 0) RunFor(1'000'000);
  }
  ReceiveRaw(*raw);
  EXPECT_EQ(server_->messages.size(), 1u);
  EXPECT_GT(server_->counts().records_malformed, 0u);
  EXPECT_GT(server_->counts().handshake_malformed, 0u);
  ExpectWorks(*client);
}

}  // namespace
}  // namespace weft::rpc
