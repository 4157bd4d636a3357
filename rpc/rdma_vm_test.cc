// SPDX-License-Identifier: Apache-2.0
//
// RPC over RDMA devices: requests of all shapes, then what becomes of them when packets are lost,
// a link goes down, a server is killed, and nobody receives. Every call ends, with the right
// status; sessions come back; the devices have no more objects afterwards than before
// (RdmaRpcTest). A program of //transports/rdma:suite.
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "weft/rpc/rdma_fixture.h"

namespace weft::rpc {
namespace {

using ::testing::AnyOf;
using Code = absl::StatusCode;

constexpr size_t kLong = 300'000;  // fetched from memory; the rest are datagrams

class RdmaRpcVmTest : public RdmaRpcTest {
 protected:
  // A client and the server; the server's own loop runs beside the client's.
  void Open(const std::string& server_settings = "") {
    server_ = MakeServer(server_loop_, server_settings);
    ASSERT_NE(server_, nullptr);
    client_ = &AddClient(loop_);
    peer_ = client_->Resolve(far()).value();
  }
  // Fails if calls ended other than well or by the network.
  void ExpectEndedByTheNetwork() {
    for (const auto& [code, count] : ended_) {
      EXPECT_THAT(code, AnyOf(Code::kOk, Code::kDeadlineExceeded, Code::kUnavailable)) << count;
    }
  }

  Client* client_ = nullptr;
  Peer peer_;
};

TEST_F(RdmaRpcVmTest, RequestsAndRepliesOfEverySize) {
  ASSERT_NO_FATAL_FAILURE(Open());
  size_t count = 0;
  for (const size_t bytes : {0, 1, 64, 500, 513, 4000, 4096, 10'000, 65'536, 300'000, 1'000'000}) {
    Begin(*client_, peer_, bytes);
    ASSERT_TRUE(RunUntilEnded()) << bytes;
    EXPECT_EQ(ended(Code::kOk), ++count) << bytes;
  }
}

TEST_F(RdmaRpcVmTest, ManyAtOnce) {
  ASSERT_NO_FATAL_FAILURE(Open());
  for (size_t i = 0; i < 600; ++i) Begin(*client_, peer_, i);
  for (size_t i = 0; i < 20; ++i) Begin(*client_, peer_, kLong + i);
  ASSERT_TRUE(RunUntilEnded());
  EXPECT_EQ(ended(Code::kOk), 620u);
}

TEST_F(RdmaRpcVmTest, AServerCallsAnotherOne) {
  ASSERT_NO_FATAL_FAILURE(Open());
  behind_ = MakeServer(loop_, "", far_ + ":7401");
  ASSERT_NE(behind_, nullptr);
  to_behind_ = &AddClient(server_loop_);
  behind_peer_ = to_behind_->Resolve(Address::Parse(far_ + ":7401").value()).value();
  for (const size_t bytes : {64, 5000, 300'000}) {
    for (int i = 0; i < 8; ++i) Begin(*client_, peer_, bytes, kForward);
  }
  ASSERT_TRUE(RunUntilEnded());
  EXPECT_EQ(ended(Code::kOk), 24u);
}

TEST_F(RdmaRpcVmTest, CallsThatAreGivenUpOnEitherSide) {
  ASSERT_NO_FATAL_FAILURE(Open());
  std::deque<bool> gone;
  for (int i = 0; i < 20; ++i) {
    Begin(*client_, peer_, i % 2 == 0 ? 64 : kLong, kAbandon);
    bool& given_up = gone.emplace_back(false);
    const std::vector<uint8_t> request(i % 2 == 0 ? 64 : kLong, kEcho);
    const auto id =
        client_->Call(peer_, Payload::Copy(request),
                      [&given_up](const absl::StatusOr<BufferChain>&) { EXPECT_FALSE(given_up); });
    ASSERT_TRUE(id.ok()) << id.status();
    for (int j = 0; j < i * 20; ++j) {
      loop_.RunOnce();
      server_loop_.RunOnce();
    }
    client_->Cancel(*id);
    given_up = true;
  }
  ASSERT_TRUE(RunUntilEnded());
  EXPECT_EQ(ended(Code::kAborted), 20u);
  EXPECT_TRUE(ComesBack(*client_, peer_));
}

TEST_F(RdmaRpcVmTest, OneBufferInManyRequests) {
  ASSERT_NO_FATAL_FAILURE(Open());
  for (const size_t bytes : {size_t{64}, size_t{2000}, kLong}) {
    const std::string text = RequestOf(bytes, 7);
    Buffer buffer = client_->Allocate(bytes);
    ASSERT_TRUE(buffer) << bytes;
    std::memcpy(buffer.Append(bytes), text.data(), bytes);
    for (int i = 0; i < 10; ++i) BeginWith(*client_, peer_, buffer.Share(), text);
    ASSERT_TRUE(RunUntilEnded());
  }
  EXPECT_EQ(ended(Code::kOk), 30u);
}

TEST_F(RdmaRpcVmTest, ManySessions) {
  ASSERT_NO_FATAL_FAILURE(Open());
  std::vector<SessionId> sessions;
  for (int i = 0; i < 100; ++i) {
    sessions.push_back(client_->Connect(peer_).value());
    Begin(*client_, sessions.back(), i * 50);
  }
  for (int i = 0; i < 10; ++i) {
    Client& another = AddClient(loop_);
    Begin(another, another.Resolve(far()).value(), i % 2 == 0 ? 64 : kLong);
  }
  ASSERT_TRUE(RunUntilEnded());
  EXPECT_EQ(ended(Code::kOk), 110u);
  for (const SessionId session : sessions) client_->Disconnect(session);
}

TEST_F(RdmaRpcVmTest, TenPercentAreLost) {
  if (!OwnsNetwork()) GTEST_SKIP() << "the network is not ours to break";
  ASSERT_NO_FATAL_FAILURE(Open());
  Network("netem loss 10%");
  for (int i = 0; i < 300; ++i) Begin(*client_, peer_, i * 10);
  for (int i = 0; i < 10; ++i) Begin(*client_, peer_, kLong);
  ASSERT_TRUE(RunUntilEnded());
  EXPECT_EQ(ended(Code::kOk), 310u);
}

// Both directions, for a second, while calls go on.
TEST_F(RdmaRpcVmTest, TheLinkGoesDown) {
  if (!OwnsNetwork()) GTEST_SKIP() << "the network is not ours to break";
  ASSERT_NO_FATAL_FAILURE(Open());
  ASSERT_TRUE(ComesBack(*client_, peer_));
  for (int i = 0; i < 100; ++i) Begin(*client_, peer_, i % 10 == 0 ? kLong : 200);
  Network("down");
  const absl::Time up = absl::Now() + absl::Seconds(1);
  while (absl::Now() < up) {
    if (pending_ < 200) Begin(*client_, peer_, 64, kEcho, absl::Milliseconds(300));
    loop_.RunOnce();
    server_loop_.RunOnce();
  }
  Network("up");
  ASSERT_TRUE(RunUntilEnded());
  ExpectEndedByTheNetwork();
  EXPECT_TRUE(ComesBack(*client_, peer_));
  Begin(*client_, peer_, kLong);
  const size_t before = ended(Code::kOk);
  ASSERT_TRUE(RunUntilEnded());
  EXPECT_EQ(ended(Code::kOk), before + 1);
}

TEST_F(RdmaRpcVmTest, AServerIsKilledAndStartedAgain) {
  auto server = std::make_unique<ServerProcess>(far_address());
  if (HasFailure()) return;
  client_ = &AddClient(loop_, {.session = {.timeout = absl::Seconds(2)}});
  peer_ = client_->Resolve(far()).value();
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(ComesBack(*client_, peer_)) << round;
    for (int i = 0; i < 50; ++i) {
      Begin(*client_, peer_, i % 10 == 0 ? kLong : 100, kEcho, absl::Seconds(10));
    }
    for (int i = 0; i < 20; ++i) loop_.RunOnce();
    server.reset();
    if (round == 1) {
      // Nobody is there any more.
      ASSERT_TRUE(RunUntilEnded());
      break;
    }
    server = std::make_unique<ServerProcess>(far_address());
    ASSERT_TRUE(RunUntilEnded());
  }
  ExpectEndedByTheNetwork();
  EXPECT_GT(ended(Code::kUnavailable) + ended(Code::kDeadlineExceeded), 0u);
}

// A server that does not receive for a while is sent no more than it has receive slots for, however
// many clients there are.
TEST_F(RdmaRpcVmTest, NobodyReceivesForAWhile) {
  ASSERT_NO_FATAL_FAILURE(Open("receive_slots: 64"));
  for (int i = 0; i < 7; ++i) AddClient(loop_);
  for (const auto& client : clients_) {
    Begin(*client, client->Resolve(far()).value(), 64);
  }
  ASSERT_TRUE(RunUntilEnded());
  run_server_loop_ = false;
  for (const auto& client : clients_) {
    const Peer peer = client->Resolve(far()).value();
    for (int i = 0; i < 100; ++i) Begin(*client, peer, 400);
  }
  for (int i = 0; i < 3000; ++i) loop_.RunOnce();
  run_server_loop_ = true;
  ASSERT_TRUE(RunUntilEnded());
  EXPECT_EQ(ended(Code::kOk), 808u);
  EXPECT_EQ(server_->port().stats().receive_dropped, 0u);
}

}  // namespace
}  // namespace weft::rpc

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "--server") == 0) return weft::rpc::RunEchoServer(argv[2]);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
