// SPDX-License-Identifier: Apache-2.0
//
// Real datagrams over kernel UDP, with the test in the place of the original implementation: what
// it sends and expects, byte for byte (docs/protocols/r2p2.md).

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/r2p2/route_wire.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/registry.h"

namespace weft::rpc {
namespace {

using Result = absl::StatusOr<BufferChain>;

std::string FromHex(absl::string_view hex) { return absl::HexStringToBytes(hex); }
std::string Hex(absl::string_view bytes) { return absl::BytesToHexString(bytes); }
absl::Span<const uint8_t> Bytes(absl::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

class InteropTest : public testing::Test {
 protected:
  void SetUp() override {
    config::Transport config;
    config.set_name("linux");
    auto transport = OpenPlainTransport(config);
    ASSERT_TRUE(transport.ok()) << transport.status();
    transport_ = *std::move(transport);
    socket_ = OpenSocket(&address_);
  }
  void TearDown() override { close(socket_); }

  static int OpenSocket(Address* address) {
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockaddr_in name{
        .sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
    socklen_t length = sizeof(name);
    EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length), 0);
    *address = Address::Ipv4({127, 0, 0, 1}, ntohs(name.sin_port));
    return fd;
  }

  std::unique_ptr<DatagramPort> OpenPort() {
    auto port = transport_->OpenDatagramPort({.local = Address::Ipv4({127, 0, 0, 1}, 0)});
    EXPECT_TRUE(port.ok()) << port.status();
    return *std::move(port);
  }
  template <typename F>
  void Serve(F handler, const ServerOptions& options = {}) {
    auto server = Server::Create(loop_, OpenPort(), options, std::move(handler));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  void Connect() {
    // A stalled machine must not make a call fail.
    auto client =
        Client::Create(loop_, OpenPort(), {.timeout = absl::Seconds(60), .wire = Wire::kOriginal});
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    peer_ = *client_->Resolve(address_);
  }

  static void Send(int fd, const Address& to, const std::string& bytes) {
    const sockaddr_in name{.sin_family = AF_INET,
                           .sin_port = htons(to.port()),
                           .sin_addr = {htonl(INADDR_LOOPBACK)},
                           .sin_zero = {}};
    ASSERT_EQ(sendto(fd, bytes.data(), bytes.size(), 0, reinterpret_cast<const sockaddr*>(&name),
                     sizeof(name)),
              static_cast<ssize_t>(bytes.size()));
  }
  // The next datagram, with the loop running meanwhile; sets `from` to its sender's port.
  std::string Receive(int fd, uint16_t* from = nullptr) {
    const int64_t end_ns = RealClock().NowNs() + 60'000'000'000;
    while (RealClock().NowNs() < end_ns) {
      char bytes[65536];
      sockaddr_in name;
      socklen_t length = sizeof(name);
      const ssize_t n =
          recvfrom(fd, bytes, sizeof(bytes), 0, reinterpret_cast<sockaddr*>(&name), &length);
      if (n >= 0) {
        if (from != nullptr) *from = ntohs(name.sin_port);
        return std::string(bytes, n);
      }
      loop_.RunOnce();
    }
    ADD_FAILURE() << "nothing came";
    return "";
  }
  Result Await(std::optional<Result>& result) {
    const int64_t end_ns = RealClock().NowNs() + 60'000'000'000;
    while (!result.has_value() && RealClock().NowNs() < end_ns) loop_.RunOnce();
    if (!result.has_value()) return absl::InternalError("the call did not end");
    return *std::move(result);
  }

  std::unique_ptr<Transport> transport_;
  Loop loop_{{.mode = LoopMode::kBusy}, RealClock()};
  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
  Peer peer_;
  Address address_;  // of the test's own socket
  int socket_ = -1;
};

TEST_F(InteropTest, OriginalClientShortRequest) {
  Serve([](ServerCall call) { EXPECT_TRUE(call.Reply(std::move(call.request())).ok()); });
  Send(socket_, server_->port().local_address(), FromHex("cc0800c00001000131323334"));
  uint16_t from = 0;
  EXPECT_EQ(Hex(Receive(socket_, &from)), "cc0811c00001000131323334");
  EXPECT_EQ(from, server_->port().local_address().port());
}

TEST_F(InteropTest, OriginalClientLongRequestAndReply) {
  Serve([](ServerCall call) { EXPECT_TRUE(call.Reply(std::move(call.request())).ok()); });
  const Address server = server_->port().local_address();
  std::string text(4000, 'x');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i % 23);
  Send(socket_, server, FromHex("cc08008000010004") + text.substr(0, 14));
  EXPECT_EQ(Hex(Receive(socket_)), "cc0831c00001000141434b");
  Send(socket_, server, FromHex("cc08000000010001") + text.substr(14, 1464));
  Send(socket_, server, FromHex("cc08000000010002") + text.substr(1478, 1464));
  Send(socket_, server, FromHex("cc08004000010003") + text.substr(2942));
  EXPECT_TRUE(Receive(socket_) == FromHex("cc08118000010003") + text.substr(0, 1464));
  EXPECT_TRUE(Receive(socket_) == FromHex("cc08110000010001") + text.substr(1464, 1464));
  EXPECT_TRUE(Receive(socket_) == FromHex("cc08114000010002") + text.substr(2928));
}

TEST_F(InteropTest, OriginalClientIsRefused) {
  Serve([](ServerCall call) { call.Drop(); });
  Send(socket_, server_->port().local_address(), FromHex("cc0800c0abcd000131323334"));
  EXPECT_EQ(Hex(Receive(socket_)), "cc0841c0abcd000144524f50");
}

TEST_F(InteropTest, FeedbackGoesToTheRouterFromThePortThatServes) {
  Address router;
  const int router_socket = OpenSocket(&router);
  Serve([](ServerCall call) { EXPECT_TRUE(call.Reply(Bytes("ok")).ok()); },
        {.router = {.control = {router}}});
  Send(socket_, server_->port().local_address(), FromHex("cc0800c00203000178"));
  EXPECT_EQ(Hex(Receive(socket_)), "cc0811c0020300016f6b");
  uint16_t from = 0;
  const std::string feedback = Receive(router_socket, &from);
  EXPECT_EQ(Hex(feedback.substr(8)),
            absl::StrCat("0203", absl::Hex(address_.port(), absl::kZeroPad4), "7f000001"));
  EXPECT_EQ(Hex(feedback.substr(0, 1)), "cc");
  EXPECT_EQ(feedback[2] >> 4, 2);
  EXPECT_EQ(from, server_->port().local_address().port());
  close(router_socket);
}

TEST_F(InteropTest, ARequestWithItsClientsAddressIsAnsweredThereAndToldInABatch) {
  Address router;
  const int router_socket = OpenSocket(&router);
  Serve([](ServerCall call) { EXPECT_TRUE(call.Reply(Bytes("ok")).ok()); },
        {.router = {.control = {router}}});
  const Address server = server_->port().local_address();
  // Any port of the router's host will do, but this one says which router it is.
  const std::string request = FromHex("cc0800c00203000178");
  std::string route(RouteBytes(address_), '\0');
  WriteRoute(address_, Bytes(request), reinterpret_cast<uint8_t*>(route.data()));
  Send(router_socket, server, route + request);
  uint16_t from = 0;
  EXPECT_EQ(Hex(Receive(socket_, &from)), "cc0811c0020300016f6b");
  EXPECT_EQ(from, server.port());
  const std::string feedback = Receive(router_socket, &from);
  FeedbackBatch batch;
  ASSERT_TRUE(ReadFeedbackBatch(Bytes(feedback), &batch));
  EXPECT_EQ(batch.count, 1u);
  EXPECT_EQ(ReadFeedbackEntry(Bytes(feedback), 0).request,
            RequestKey(ClientIdOf(address_), 0, 0x0203));
  EXPECT_EQ(from, server.port());
  close(router_socket);
}

TEST_F(InteropTest, AProbeOfARouterIsAnswered) {
  Address router;
  const int router_socket = OpenSocket(&router);
  Serve([](ServerCall call) { EXPECT_TRUE(call.Reply(Bytes("ok")).ok()); });
  std::string probe(kExtendedHeaderBytes, '\0');
  WriteExtendedHeader({.type = MessageType::kAck,
                       .first = true,
                       .last = true,
                       .from_session = 1,
                       .key = 99,
                       .kind = ControlKind::kPing},
                      reinterpret_cast<uint8_t*>(probe.data()));
  Send(router_socket, server_->port().local_address(), probe);
  ExtendedHeader header;
  ASSERT_TRUE(ReadExtendedHeader(Bytes(Receive(router_socket)), &header));
  EXPECT_EQ(header.kind, ControlKind::kReset);
  EXPECT_EQ(header.key, 99u);
  close(router_socket);
}

TEST_F(InteropTest, OriginalServerShortRequest) {
  Connect();
  std::optional<Result> result;
  ASSERT_TRUE(client_->Call(peer_, Bytes("1234"), [&](Result r) { result = std::move(r); }).ok());
  const std::string request = Receive(socket_);
  const std::string id = request.substr(4, 2);
  EXPECT_EQ(Hex(request), absl::StrCat("cc0800c0", Hex(id), "000131323334"));
  Send(socket_, client_->port().local_address(),
       FromHex("cc0811c0") + id + FromHex("000135363738"));
  EXPECT_EQ(Await(result)->ToString(), "5678");
}

TEST_F(InteropTest, OriginalServerLongRequestAndReply) {
  Connect();
  std::string text(4000, 'x');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i % 23);
  std::optional<Result> result;
  ASSERT_TRUE(client_
                  ->Call(peer_, Bytes(text), [&](Result r) { result = std::move(r); },
                         {.policy = Policy::kFixedRoute})
                  .ok());
  const std::string first = Receive(socket_);
  const std::string id = first.substr(4, 2);
  EXPECT_TRUE(first == FromHex("cc080180") + id + FromHex("0004") + text.substr(0, 14));
  const Address client = client_->port().local_address();
  Send(socket_, client, FromHex("cc0831c0") + id + FromHex("000141434b"));
  EXPECT_TRUE(Receive(socket_) ==
              FromHex("cc080100") + id + FromHex("0001") + text.substr(14, 1464));
  EXPECT_TRUE(Receive(socket_) ==
              FromHex("cc080100") + id + FromHex("0002") + text.substr(1478, 1464));
  EXPECT_TRUE(Receive(socket_) == FromHex("cc080140") + id + FromHex("0003") + text.substr(2942));
  Send(socket_, client, FromHex("cc081180") + id + FromHex("0003") + text.substr(0, 1464));
  Send(socket_, client, FromHex("cc081100") + id + FromHex("0001") + text.substr(1464, 1464));
  Send(socket_, client, FromHex("cc081140") + id + FromHex("0002") + text.substr(2928));
  EXPECT_TRUE(Await(result)->ToString() == text);
}

TEST_F(InteropTest, APortThatNobodyListensOnFailsTheCallAtOnce) {
  Connect();
  close(std::exchange(socket_, -1));
  std::optional<Result> result;
  const int64_t begun_ns = RealClock().NowNs();
  ASSERT_TRUE(client_
                  ->Call(peer_, Bytes("x"), [&](Result r) { result = std::move(r); },
                         {.timeout = absl::Hours(1)})
                  .ok());
  const Result ended = Await(result);
  EXPECT_EQ(ended.status().ToString(),
            "UNAVAILABLE: the server cannot be reached: Connection refused");
  EXPECT_LT(RealClock().NowNs() - begun_ns, 60'000'000'000);
}

}  // namespace
}  // namespace weft::rpc
