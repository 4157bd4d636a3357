// SPDX-License-Identifier: Apache-2.0
//
// A router over kernel sockets, where clients have IP addresses: FEEDBACK of the original, with a
// port of its own, and several servers in a burst.
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "gtest/gtest.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/r2p2/route_wire.h"
#include "weft/router/router.h"
#include "weft/router/router_fixture.h"
#include "weft/transports/registry.h"

namespace weft::router {
namespace {

class RouterUdpTest : public testing::Test {
 protected:
  RouterUdpTest() : loop_({}, RealClock()) {
    config::Transport config;
    config.set_name("linux");
    transport_ = *OpenPlainTransport(config);
    client_ = Open();
    server_ = Open();
    auto listen = Open();
    auto control = Open();
    RouterOptions options;
    options.listen = listen->local_address();
    options.control = control->local_address();
    options.forwarding = RouterOptions::Forwarding::kAddressInHeader;
    options.slots = 4;
    // Slow machines must not make the router doubt that the server lives.
    options.keepalive = absl::Seconds(60);
    options.lease = absl::Seconds(3600);
    options.servers = {{.address = server_->local_address()}};
    router_ = *Router::Create(loop_, std::move(listen), std::move(control), options);
  }
  std::unique_ptr<DatagramPort> Open() {
    return *transport_->OpenDatagramPort({.local = *Address::Parse("127.0.0.1:0")});
  }
  static void Send(DatagramPort& from, const Address& to, absl::Span<const uint8_t> bytes) {
    Datagram datagram[1] = {{*from.Resolve(to), from.pool().Allocate()}};
    std::memcpy(datagram[0].buffer.Append(bytes.size()), bytes.data(), bytes.size());
    ASSERT_EQ(from.Send(absl::MakeSpan(datagram)), 1u);
  }
  // The router's turn, until `done` holds or it is hopeless.
  bool RunUntil(absl::FunctionRef<bool()> done) {
    const int64_t end_ns = RealClock().NowNs() + 20'000 * kMs;
    while (!done()) {
      if (RealClock().NowNs() > end_ns) return false;
      loop_.RunOnce();
    }
    return true;
  }
  std::optional<Bytes> ReceiveAtServer() {
    Datagram datagram[1];
    if (!RunUntil([&] { return server_->Receive(absl::MakeSpan(datagram)) == 1; })) {
      return std::nullopt;
    }
    const absl::Span<const uint8_t> bytes = datagram[0].buffer.bytes();
    return Bytes(bytes.begin(), bytes.end());
  }
  Bytes OriginalFeedback(uint16_t rid) const {
    const Address client = client_->local_address();
    const Address::Ipv4Bytes ip = client.ipv4();
    Bytes bytes(r2p2::kFeedbackBytes);
    r2p2::WriteFeedback({rid, client.port(), LoadBig32(ip.data())}, bytes.data());
    return bytes;
  }
  uint64_t outstanding() const { return router_->dispatcher().servers().outstanding(); }

  Loop loop_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<DatagramPort> client_;
  std::unique_ptr<DatagramPort> server_;
  std::unique_ptr<Router> router_;
};

TEST_F(RouterUdpTest, FeedbackOfTheOriginalReturnsTheSlotOfTheRequestThatItNames) {
  const Address listen = router_->options().listen;
  const Address control = router_->options().control;
  for (uint16_t rid = 1; rid <= 4; ++rid) Send(*client_, listen, OriginalRequest(rid));
  for (uint16_t i = 0; i < 4; ++i) {
    const auto request = ReceiveAtServer();
    ASSERT_TRUE(request.has_value());
    Address client;
    const size_t route = r2p2::ReadRoute(*request, &client);
    ASSERT_GT(route, 0u);
    EXPECT_EQ(client, client_->local_address());
  }
  EXPECT_EQ(outstanding(), 4u);

  Send(*server_, control, OriginalFeedback(99));
  Send(*client_, control, OriginalFeedback(1));
  Send(*server_, control, OriginalFeedback(1));
  Send(*server_, control, OriginalFeedback(1));
  Send(*server_, listen, OriginalFeedback(2));
  const RouterStats& stats = router_->stats();
  EXPECT_TRUE(RunUntil([&] { return stats.feedback_datagrams.value() == 5; }));
  EXPECT_EQ(outstanding(), 2u);
  EXPECT_EQ(stats.feedback_unknown_source.value(), 1u);
  EXPECT_EQ(stats.feedback_unknown_request.value(), 2u);
  // The original leaves all but the magic, the type and the last eight bytes as they happen to be.
  Bytes careless = OriginalFeedback(3);
  careless[1] = 0x77;
  careless[3] = 0xFF;
  careless[7] = 0;
  Send(*server_, control, careless);
  Send(*server_, control, OriginalFeedback(4));
  EXPECT_TRUE(RunUntil([&] { return outstanding() == 0; }));
  EXPECT_EQ(router_->dispatcher().outstanding(), 0u);
}

TEST_F(RouterUdpTest, NothingIsAnsweredOnThePortForControlThatBelongsToTheOther) {
  Send(*client_, router_->options().control, OriginalRequest(1));
  EXPECT_TRUE(RunUntil([&] { return router_->stats().unexpected.value() == 1; }));
  EXPECT_EQ(outstanding(), 0u);
}

TEST_F(RouterUdpTest, AConfigurationWithAServerOutOfReachChangesNothing) {
  RouterOptions options = router_->options();
  options.policy = "jsq";
  options.servers.push_back({.address = *Address::Parse("[::1]:8000")});
  const absl::Status status = router_->Apply(options);
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find("router.servers[1].address: "), std::string::npos) << status;
  EXPECT_EQ(router_->dispatcher().policy(), "jbsq");
}

TEST_F(RouterUdpTest, ARouterIsNoServerOfItsOwn) {
  EXPECT_FALSE(router_->Add({.address = router_->options().listen}).ok());
  EXPECT_FALSE(router_->Add({.address = router_->options().control}).ok());
}

}  // namespace
}  // namespace weft::router
