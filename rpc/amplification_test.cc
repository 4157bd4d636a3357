// SPDX-License-Identifier: Apache-2.0
//
// Requests in the original format may come from forged addresses. Beyond this machine, whoever is
// there gets no more bytes than came in his name, unless that was chosen by name.
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/r2p2/route_wire.h"
#include "weft/rpc/fuzz_port.h"
#include "weft/rpc/server.h"
#include "weft/rpc/wire.h"

namespace weft::rpc {
namespace {

// At an address that other machines reach, as most of its peers are.
class FarPort final : public FuzzPort {
 public:
  static constexpr uint64_t kFar = 1;
  static constexpr uint64_t kNear = 2;

  Address local_address() const override { return Address::Ipv4({10, 0, 0, 1}, 7000); }
  absl::StatusOr<Address> AddressOf(const Peer& peer) const override {
    return peer.words[0] == kNear ? Address::Ipv4({127, 0, 0, 1}, 9)
                                  : Address::Ipv4({10, 0, 0, 2}, 9);
  }
  // One packet of a request.
  void DeliverRequest(uint64_t peer, const Header& header, size_t payload_bytes) {
    std::vector<uint8_t> bytes(kHeaderBytes + payload_bytes);
    WriteHeader(header, bytes.data());
    received_bytes += bytes.size();
    Deliver(peer, bytes);
  }
  size_t received_bytes = 0;
  size_t sent_bytes = 0;
  std::vector<MessageType> sent;

 private:
  void OnSent(absl::Span<const uint8_t> bytes) override {
    Header header;
    if (IsFeedbackBatch(bytes)) return;
    ASSERT_TRUE(ReadHeader(bytes, &header));
    sent.push_back(header.type);
    sent_bytes += bytes.size();
  }
};

class AmplificationTest : public testing::Test {
 protected:
  static std::shared_ptr<const Security> AnyLength() {
    config::Security config;
    config.mutable_plaintext()->set_original_format(config::Plaintext::ANY);
    return *Security::Open(config);
  }
  // Replies of so many bytes.
  void Serve(size_t reply_bytes, std::shared_ptr<const Security> security = Plaintext(),
             const RouterOptions& router = {}) {
    auto port = std::make_unique<FarPort>();
    port_ = port.get();
    server_ =
        *Server::Create(loop_, std::move(port), {.router = router, .security = std::move(security)},
                        [this, reply_bytes](ServerCall call) {
                          const std::vector<uint8_t> reply(reply_bytes);
                          replied_ = call.Reply(reply);
                        });
  }
  void Ask(size_t payload_bytes, uint64_t peer = FarPort::kFar) {
    port_->DeliverRequest(peer, {.first = true, .last = true, .request_id = ++rid_}, payload_bytes);
    loop_.RunOnce();
  }
  using Types = std::vector<MessageType>;

  ManualClock clock_;
  Loop loop_{{}, clock_};
  FarPort* port_ = nullptr;
  absl::Status replied_;
  uint16_t rid_ = 0;
  std::unique_ptr<Server> server_;
};

TEST_F(AmplificationTest, AReplyAsLongAsItsRequestGoes) {
  Serve(100);
  Ask(100);
  EXPECT_EQ(port_->sent, Types{MessageType::kResponse});
  EXPECT_TRUE(replied_.ok()) << replied_;
}

TEST_F(AmplificationTest, ALongerOneIsRefused) {
  Serve(101);
  Ask(100);
  EXPECT_EQ(port_->sent, Types{MessageType::kDrop});
  EXPECT_TRUE(absl::IsFailedPrecondition(replied_)) << replied_;
  EXPECT_EQ(server_->stats().refused_amplification, 1u);
  EXPECT_EQ(server_->stats().refused, 1u);
  EXPECT_EQ(server_->stats().replies, 0u);
  EXPECT_EQ(server_->stats().unanswered, 0u);
  EXPECT_EQ(server_->stats().executing.value(), 0);
}

TEST_F(AmplificationTest, AClientOnThisMachineHasAnyReply) {
  Serve(10'000);
  Ask(1, FarPort::kNear);
  EXPECT_TRUE(replied_.ok()) << replied_;
  EXPECT_EQ(port_->sent, Types(7, MessageType::kResponse));
}

TEST_F(AmplificationTest, UnlessItWasChosenByName) {
  Serve(10'000, AnyLength());
  Ask(1);
  EXPECT_TRUE(replied_.ok()) << replied_;
  EXPECT_EQ(port_->sent, Types(7, MessageType::kResponse));
}

// Its packets may all have been forged, without a look at the ACK.
TEST_F(AmplificationTest, ARequestOfSeveralPacketsCountsAsAWhole) {
  for (const size_t reply_bytes : {2000, 2100}) {
    Serve(reply_bytes);
    port_->DeliverRequest(1, {.first = true, .request_id = 7, .packet_order = 2}, 1000);
    port_->DeliverRequest(1, {.last = true, .request_id = 7, .packet_order = 1}, 1000);
    loop_.RunOnce();
    EXPECT_EQ(replied_.ok(), reply_bytes == 2000) << replied_;
  }
}

// A router is believed who the client is, not that it is there; and the address in front of the
// request, which did not come from the client, counts for nothing.
TEST_F(AmplificationTest, NeitherAreRepliesToRequestsThatARouterSentOn) {
  const Address router = Address::Ipv4({10, 0, 0, 9}, 9000);
  const Address client = Address::Ipv4({10, 0, 0, 2}, 9);
  for (const size_t reply_bytes : {100, 101}) {
    Serve(reply_bytes, Plaintext(), {.control = {router}});
    std::vector<uint8_t> bytes(RouteBytes(client) + kHeaderBytes + 100);
    uint8_t* const request = bytes.data() + RouteBytes(client);
    WriteHeader({.first = true, .last = true, .request_id = 7}, request);
    WriteRoute(client, {request, kHeaderBytes + 100}, bytes.data());
    port_->Deliver(FarPort::kFar, bytes);
    loop_.RunOnce();
    ASSERT_FALSE(port_->sent.empty());
    EXPECT_EQ(port_->sent[0], reply_bytes == 100 ? MessageType::kResponse : MessageType::kDrop);
    EXPECT_EQ(server_->stats().refused_amplification.value(), reply_bytes - 100);
  }
}

TEST_F(AmplificationTest, EvenARefusalIsNotLonger) {
  Serve(1000);
  for (size_t bytes = 0; bytes < 6; ++bytes) {
    Ask(bytes);
    EXPECT_LE(port_->sent_bytes, port_->received_bytes) << bytes;
  }
  port_->DeliverRequest(1, {.first = true, .request_id = 7, .packet_order = 2}, 1);
  loop_.RunOnce();
  EXPECT_EQ(port_->sent.back(), MessageType::kAck);
  EXPECT_LE(port_->sent_bytes, port_->received_bytes);
}

}  // namespace
}  // namespace weft::rpc
