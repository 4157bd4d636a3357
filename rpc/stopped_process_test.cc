// SPDX-License-Identifier: Apache-2.0
//
// A process that stands still for longer than sessions last: in a debugger, on a machine that was
// suspended. What it did not hear meanwhile says nothing of its peers.
#include <cstddef>
#include <cstdint>

#include "gtest/gtest.h"
#include "weft/rpc/restart_fixture.h"

namespace weft::rpc {
namespace {

class StoppedProcessTest : public RestartFixture {
 protected:
  static constexpr size_t kSessions = 100;  // their packets are more than a burst

  // Time passes, and only what is in `running` notices.
  void Pass(int64_t ns, absl::Span<Loop* const> running) {
    bool over = false;
    network_.events().At(network_.NowNs() + ns, [&over] { over = true; });
    RunVirtual(network_, running, [&over] { return over; });
  }
  void StartClientApart() {
    client_ =
        *Client::Create(client_loop_, Open("client"),
                        {.request_id_seed = ++seed_, .wire = Wire::kExtended, .session = session_});
    peer_ = *client_->Resolve(Address::Sim("server"));
    for (size_t i = 0; i < kSessions; ++i) ASSERT_TRUE(client_->Connect(peer_).ok());
    Pass(1'000'000, both_);
    ASSERT_EQ(server_->stats().sessions.value(), static_cast<int64_t>(kSessions));
  }
  ~StoppedProcessTest() override { client_.reset(); }

  Loop client_loop_{{}, network_};
  Loop* const both_loops_[2] = {&client_loop_, &loop_};
  Loop* const server_loop_[1] = {&loop_};
  const absl::Span<Loop* const> both_ = both_loops_;
};

TEST_F(StoppedProcessTest, BothSidesKeepTheirSessions) {
  StartServer();
  StartClientApart();
  Pass(10 * kTimeoutNs, {});
  Pass(4 * kTimeoutNs, both_);
  EXPECT_EQ(client_->stats().sessions_lost, 0u);
  EXPECT_EQ(server_->stats().sessions_lost, 0u);
  EXPECT_EQ(server_->stats().sessions.value(), static_cast<int64_t>(kSessions));
}

TEST_F(StoppedProcessTest, AClientReadsWhatLiesInItsPortFirst) {
  StartServer();
  StartClientApart();
  // Nothing is heard but the answers to the last PINGs, which come while the client stands still.
  CutOff("client");
  const auto pings = [this] { return client_->port().stats().sent; };
  Pass(kTimeoutNs / 2 + kTimeoutNs / 8, both_);
  network_.Heal();
  const uint64_t before = pings();
  while (pings() < before + kSessions) Pass(1'000, both_);
  Pass(kTimeoutNs / 4 + kTimeoutNs / 16, server_loop_);
  Pass(kTimeoutNs, both_);
  EXPECT_EQ(client_->stats().sessions_lost, 0u);
  EXPECT_EQ(server_->stats().sessions_lost, 0u);
}

TEST_F(StoppedProcessTest, WhoIsGoneIsMissedAllTheSame) {
  StartServer();
  StartClientApart();
  CutOff("client");
  Pass(10 * kTimeoutNs, {});
  Pass(2 * kTimeoutNs, both_);
  EXPECT_EQ(client_->stats().sessions_lost, kSessions);
  EXPECT_EQ(server_->stats().sessions_lost, kSessions);
}

}  // namespace
}  // namespace weft::rpc
