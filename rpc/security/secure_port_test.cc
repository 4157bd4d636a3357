// SPDX-License-Identifier: Apache-2.0
//
// Protected ports that understand each other.
#include <string>

#include "weft/rpc/security/secure_fixture.h"
#include "weft/rpc/security/test_certificates.h"

namespace weft::rpc {
namespace {

class SecurePortTest : public SecureTest {
 protected:
  void Connect(const config::Security& client, const config::Security& server) {
    server_ = Open("server", Role::kServer, server);
    client_ = Open("client", Role::kClient, client);
    peer_ = *client_->port().Resolve(Address::Sim("server"));
  }
  // There and back.
  void ExpectTheyTalk() {
    const TestEnd::Message there = Deliver(*client_, peer_, *server_, "ping");
    EXPECT_EQ(there.text, "ping");
    const TestEnd::Message back = Deliver(*server_, there.peer, *client_, "pong");
    EXPECT_EQ(back.text, "pong");
    EXPECT_EQ(back.peer, peer_);
  }

  std::unique_ptr<TestEnd> server_;
  std::unique_ptr<TestEnd> client_;
  Peer peer_;
};

TEST_F(SecurePortTest, PreSharedKeysOfAllCiphers) {
  for (const auto cipher : {config::Security::AES_128_GCM, config::Security::AES_256_GCM,
                            config::Security::CHACHA20_POLY1305}) {
    config::Security config = PskConfig(files_, "reader", TestKey('a'));
    config.set_cipher(cipher);
    client_.reset();
    server_.reset();
    Connect(config, PskConfig(files_, "", "",
                              "writer:" + TestKey('b') + "\nreader:" + TestKey('a') + "\n"));
    ExpectTheyTalk();
    EXPECT_EQ(server_->messages[0].identity, "reader");
    EXPECT_EQ(client_->messages[0].identity, "reader");
    EXPECT_EQ(client_->counts().handshakes_completed, 1u);
  }
}

TEST_F(SecurePortTest, OneKeyForAllNeedsNoFileOfPeers) {
  const config::Security config = PskConfig(files_, "cluster", TestKey('c'));
  Connect(config, config);
  ExpectTheyTalk();
}

TEST_F(SecurePortTest, Certificates) {
  ASSERT_TRUE(WriteTestCertificates(files_.directory()).ok());
  config::Security client = X509Config(files_, "client");
  client.mutable_x509()->set_server_name("localhost");
  Connect(client, X509Config(files_, "server"));
  ExpectTheyTalk();
  EXPECT_EQ(server_->messages[0].identity, "client");
  EXPECT_EQ(client_->messages[0].identity, "localhost");
}

TEST_F(SecurePortTest, MessagesOfAllSizes) {
  const config::Security config = PskConfig(files_, "cluster", TestKey('c'));
  Connect(config, config);
  const size_t most = client_->port().capabilities().max_payload_bytes;
  for (const size_t size : {size_t{0}, size_t{1}, size_t{64}, most - 1, most}) {
    const std::string text(size, 'x');
    EXPECT_EQ(Deliver(*client_, peer_, *server_, text).text, text);
  }
  EXPECT_EQ(client_->port().MaxPayloadTo(peer_), most);
}

TEST_F(SecurePortTest, NothingOfAMessageIsOnTheWire) {
  const config::Security config = PskConfig(files_, "cluster", TestKey('c'));
  std::unique_ptr<DatagramPort> eavesdropper = OpenPlain("server");
  client_ = Open("client", Role::kClient, config);
  peer_ = *client_->port().Resolve(Address::Sim("server"));
  EXPECT_TRUE(client_->Send(peer_, "a secret that is worth a lot"));
  Datagram burst[1];
  ASSERT_TRUE(RunUntil([&] { return eavesdropper->Receive(absl::MakeSpan(burst)) == 1; }));
  EXPECT_EQ(burst[0].buffer.data()[0], HandshakePacket::kMagic);
  EXPECT_EQ(burst[0].buffer.size(), HandshakePacket::kInitBytes);
}

TEST_F(SecurePortTest, ATailIsEncryptedIntoTheBuffer) {
  const config::Security config = PskConfig(files_, "cluster", TestKey('c'));
  Connect(config, config);
  ExpectTheyTalk();
  const std::string tail(1000, 't');
  Datagram burst[1] = {{peer_, client_->port().pool().Allocate()}};
  std::memcpy(burst[0].buffer.Append(4), "head", 4);
  burst[0].tail = {reinterpret_cast<const uint8_t*>(tail.data()), tail.size()};
  ASSERT_EQ(client_->port().Send(absl::MakeSpan(burst)), 1u);
  EXPECT_TRUE(burst[0].tail.empty());
  ASSERT_TRUE(RunUntil([&] { return server_->messages.size() == 2; }));
  EXPECT_EQ(server_->messages[1].text, "head" + tail);
  EXPECT_EQ(tail, std::string(1000, 't'));
  EXPECT_EQ(client_->port().stats().copied_buffers, 0u);
}

}  // namespace
}  // namespace weft::rpc
