// SPDX-License-Identifier: Apache-2.0
//
// A client that asks for the extended format and gets the original one, byte for byte, over kernel
// UDP: the test is the server that knows no other (docs/protocols/r2p2.md).
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/rpc/client.h"
#include "weft/transports/registry.h"

namespace weft::rpc {
namespace {

using Result = absl::StatusOr<BufferChain>;

std::string FromHex(absl::string_view hex) { return absl::HexStringToBytes(hex); }
std::string Hex(absl::string_view bytes) { return absl::BytesToHexString(bytes); }

class MixedFormatsTest : public testing::Test {
 protected:
  void SetUp() override {
    socket_ = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockaddr_in name{
        .sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    ASSERT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
    socklen_t length = sizeof(name);
    ASSERT_EQ(getsockname(socket_, reinterpret_cast<sockaddr*>(&name), &length), 0);
    config::Transport config;
    config.set_name("linux");
    auto transport = OpenPlainTransport(config);
    ASSERT_TRUE(transport.ok()) << transport.status();
    transport_ = *std::move(transport);
    auto port = transport_->OpenDatagramPort({.local = Address::Ipv4({127, 0, 0, 1}, 0)});
    ASSERT_TRUE(port.ok()) << port.status();
    auto client = Client::Create(loop_, *std::move(port), {.timeout = absl::Seconds(60)});
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    peer_ = *client_->Resolve(Address::Ipv4({127, 0, 0, 1}, ntohs(name.sin_port)));
  }
  void TearDown() override { close(socket_); }

  // The next datagram, with the loop running meanwhile.
  std::string Receive() {
    const int64_t end_ns = RealClock().NowNs() + 60'000'000'000;
    while (RealClock().NowNs() < end_ns) {
      char bytes[65536];
      const ssize_t n = recv(socket_, bytes, sizeof(bytes), 0);
      if (n >= 0) return std::string(bytes, n);
      loop_.RunOnce();
    }
    ADD_FAILURE() << "nothing came";
    return "";
  }
  // The next one in the original format. All others must be ACKs of the request 0, in one packet,
  // to it: what it never asked for, and so ignores.
  std::string ReceiveOriginal() {
    while (!HasFailure()) {
      std::string datagram = Receive();
      if (datagram.size() < 8 || datagram[1] == 8) return datagram;
      EXPECT_EQ(Hex(datagram.substr(0, 8)), "cc2c31c000000001");
      ++hellos_;
    }
    return "";
  }
  void Send(const std::string& bytes) {
    const sockaddr_in name{.sin_family = AF_INET,
                           .sin_port = htons(client_->port().local_address().port()),
                           .sin_addr = {htonl(INADDR_LOOPBACK)},
                           .sin_zero = {}};
    ASSERT_EQ(sendto(socket_, bytes.data(), bytes.size(), 0,
                     reinterpret_cast<const sockaddr*>(&name), sizeof(name)),
              static_cast<ssize_t>(bytes.size()));
  }
  void Call(const std::string& request) {
    result_.reset();
    ASSERT_TRUE(client_
                    ->Call(peer_,
                           {reinterpret_cast<const uint8_t*>(request.data()), request.size()},
                           [this](Result r) { result_ = std::move(r); })
                    .ok());
  }
  Result Await() {
    const int64_t end_ns = RealClock().NowNs() + 60'000'000'000;
    while (!result_.has_value() && RealClock().NowNs() < end_ns) loop_.RunOnce();
    if (!result_.has_value()) return absl::InternalError("the call did not end");
    return *std::move(result_);
  }

  std::unique_ptr<Transport> transport_;
  Loop loop_{{.mode = LoopMode::kBusy}, RealClock()};
  std::unique_ptr<Client> client_;
  Peer peer_;
  std::optional<Result> result_;
  int hellos_ = 0;
  int socket_ = -1;
};

TEST_F(MixedFormatsTest, AnOriginalServerSeesAcksItIgnoresAndThenOriginalCalls) {
  Call("1234");
  const std::string request = ReceiveOriginal();
  EXPECT_GE(hellos_, 1);
  const std::string id = request.substr(4, 2);
  EXPECT_EQ(Hex(request), absl::StrCat("cc0800c0", Hex(id), "000131323334"));
  Send(FromHex("cc0811c0") + id + FromHex("000135363738"));
  const Result reply = Await();
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->ToString(), "5678");
  EXPECT_EQ(client_->stats().fallbacks, 1u);
}

TEST_F(MixedFormatsTest, ALongRequestAndReply) {
  const std::string text(2000, 'x');
  Call(text);
  const std::string first = ReceiveOriginal();
  const std::string id = first.substr(4, 2);
  EXPECT_TRUE(first == FromHex("cc080080") + id + FromHex("0003") + text.substr(0, 14));
  Send(FromHex("cc0831c0") + id + FromHex("000141434b"));
  EXPECT_TRUE(ReceiveOriginal() ==
              FromHex("cc080000") + id + FromHex("0001") + text.substr(14, 1464));
  EXPECT_TRUE(ReceiveOriginal() == FromHex("cc080040") + id + FromHex("0002") + text.substr(1478));
  Send(FromHex("cc081180") + id + FromHex("0002") + text.substr(0, 1464));
  Send(FromHex("cc081140") + id + FromHex("0001") + text.substr(1464));
  const Result reply = Await();
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_TRUE(reply->ToString() == text);
}

TEST_F(MixedFormatsTest, WhatARouterMakesOfAHelloIsNotTakenForAnAnswer) {
  Call("1234");
  const std::string hello = Receive();
  ASSERT_EQ(hello[1], 44);
  Send(hello);                                // reflected
  Send(FromHex("cc0831c00000000141434b"));    // acknowledged, in the original format
  Send(FromHex("cc0841c00000000144524f50"));  // dropped
  const std::string request = ReceiveOriginal();
  Send(FromHex("cc0811c0") + request.substr(4, 2) + FromHex("000135363738"));
  const Result reply = Await();
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->ToString(), "5678");
}

}  // namespace
}  // namespace weft::rpc
