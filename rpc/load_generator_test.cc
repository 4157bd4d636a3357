// SPDX-License-Identifier: Apache-2.0

#include "weft/rpc/load_generator.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/server.h"
#include "weft/transports/registry.h"

namespace weft::rpc {
namespace {

// 10 us each way, and no other delay.
constexpr int64_t kRoundTripNs = 20'000;

class LoadGeneratorTest : public testing::Test {
 protected:
  // Answers each request after `service_time`, one at a time.
  void SetUpPair(absl::Duration service_time) {
    config::Transport config;
    config.set_name("sim");
    config.mutable_sim()->set_latency_us(10);
    config.mutable_sim()->set_bandwidth_mbps(0);
    transport_ = OpenPlainTransport(config).value();
    server_loop_ = std::make_unique<Loop>(LoopOptions{}, *transport_->virtual_time());
    client_loop_ = std::make_unique<Loop>(LoopOptions{}, *transport_->virtual_time());
    StartServer(service_time);
    client_ =
        Client::Create(*client_loop_, transport_->OpenDatagramPort({}).value(), {.wire = wire_})
            .value();
  }

  void StartServer(absl::Duration service_time) {
    server_.reset();  // its address is another's now
    auto server_port = transport_->OpenDatagramPort({.local = Address::Sim("server")}).value();
    server_ = Server::Create(*server_loop_, std::move(server_port), {},
                             [this, service_time](ServerCall call) {
                               return Serve(std::move(call), service_time);
                             })
                  .value();
  }

  Task<void> Serve(ServerCall call, absl::Duration service_time) {
    const int64_t now_ns = server_loop_->clock().NowNs();
    free_at_ns_ = std::max(free_at_ns_, now_ns) + absl::ToInt64Nanoseconds(service_time);
    if (free_at_ns_ > now_ns) {
      co_await server_loop_->Sleep(absl::Nanoseconds(free_at_ns_ - now_ns));
    }
    if (answers_) (void)call.Reply(std::move(call.request()));
  }

  void Run(const LoadOptions& options) {
    load_ = std::make_unique<LoadGenerator>(
        *client_, client_->Resolve(Address::Sim("server")).value(), options);
    load_->Start([this] { ++dones_; });
    EXPECT_EQ(dones_, 0);
    ASSERT_TRUE(RunVirtual(*transport_->virtual_time(), {server_loop_.get(), client_loop_.get()},
                           [this] { return dones_ > 0; }));
    EXPECT_TRUE(load_->done());
    EXPECT_EQ(load_->outstanding(), 0u);
  }
  const LoadStats& stats() const { return load_->stats(); }
  int64_t DurationNs() const { return stats().end_ns - stats().begin_ns; }

  std::unique_ptr<Transport> transport_;
  std::unique_ptr<Loop> server_loop_;
  std::unique_ptr<Loop> client_loop_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<LoadGenerator> load_;
  int64_t free_at_ns_ = 0;
  bool answers_ = true;
  Wire wire_ = Wire::kOriginal;
  int dones_ = 0;
};

TEST_F(LoadGeneratorTest, ClosedLoopAsksOneByOne) {
  SetUpPair(absl::ZeroDuration());
  Run({.request_bytes = 3000, .count = 100});
  EXPECT_EQ(stats().sent, 100u);
  EXPECT_EQ(stats().replies, 100u);
  EXPECT_EQ(stats().unanswered(), 0u);
  EXPECT_EQ(stats().different, 0u);
  EXPECT_EQ(load_->latency().Snapshot().count(), 100u);
  // A request of several packets makes two round trips.
  EXPECT_GE(load_->latency().Snapshot().min(), 2 * kRoundTripNs);
  EXPECT_GE(DurationNs(), 100 * 2 * kRoundTripNs);
}

TEST_F(LoadGeneratorTest, ClosedLoopKeepsAsManyInFlightAsAskedFor) {
  SetUpPair(absl::ZeroDuration());
  Run({.outstanding_max = 10, .count = 100});
  EXPECT_EQ(stats().replies, 100u);
  EXPECT_GE(DurationNs(), 10 * kRoundTripNs);
  EXPECT_LT(DurationNs(), 11 * kRoundTripNs);
}

TEST_F(LoadGeneratorTest, OpenLoopKeepsItsRate) {
  SetUpPair(absl::ZeroDuration());
  Run({.outstanding_max = 100, .rate_per_s = 100'000, .count = 1000});
  EXPECT_EQ(stats().replies, 1000u);
  EXPECT_NEAR(static_cast<double>(DurationNs()), 10e6 + kRoundTripNs, 100e3);
  EXPECT_LT(load_->latency().Snapshot().max(), 2 * kRoundTripNs);
}

TEST_F(LoadGeneratorTest, APoissonProcessHasTheRateAndVaries) {
  // Half of the time the server is busy: evenly spaced requests would never meet.
  SetUpPair(absl::Microseconds(5));
  Run({.outstanding_max = 100, .rate_per_s = 100'000, .poisson_seed = 1, .count = 10'000});
  EXPECT_EQ(stats().replies, 10'000u);
  EXPECT_NEAR(static_cast<double>(DurationNs()), 100e6, 5e6);
  const double waits_ns = load_->latency().Snapshot().mean() - kRoundTripNs - 5'000;
  EXPECT_NEAR(waits_ns, 2'500, 500);  // of M/D/1: half the service time at half the load
}

TEST_F(LoadGeneratorTest, OpenLoopBlamesTheServerForRequestsThatHadToWait) {
  // The server manages half of what is asked for, so that the last request ends after twice the
  // time, though it was in flight for a moment only.
  SetUpPair(absl::Microseconds(20));
  Run({.outstanding_max = 1, .rate_per_s = 50'000, .count = 500});
  EXPECT_EQ(stats().replies, 500u);
  EXPECT_GT(load_->latency().Snapshot().max(), 9'000'000);
  EXPECT_LT(load_->latency().Snapshot().min(), 60'000);
}

TEST_F(LoadGeneratorTest, GivesUpWhenNothingAnswers) {
  SetUpPair(absl::ZeroDuration());
  answers_ = false;
  Run({.count = 1000, .give_up_after = 3});
  EXPECT_EQ(stats().sent, 3u);
  EXPECT_EQ(stats().timeouts, 3u);
  EXPECT_EQ(load_->first_error().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(LoadGeneratorTest, ARequestThatCannotBeSentIsTheEnd) {
  SetUpPair(absl::ZeroDuration());
  Run({.request_bytes = 1 << 20, .count = 1000});
  EXPECT_EQ(stats().sent, 0u);
  EXPECT_EQ(stats().failed, 1u);
  EXPECT_EQ(load_->first_error().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(LoadGeneratorTest, RequestsAreSpreadOverSessions) {
  wire_ = Wire::kExtended;
  SetUpPair(absl::ZeroDuration());
  Run({.outstanding_max = 3, .count = 30, .sessions = 5});
  EXPECT_EQ(stats().replies, 30u);
  EXPECT_EQ(client_->stats().sessions_opened, 5u);
  size_t sessions = 0;
  server_->ForEachSession([&](const SessionInfo& session) {
    ++sessions;
    EXPECT_EQ(session.requests, 6u);
  });
  EXPECT_EQ(sessions, 5u);
}

TEST_F(LoadGeneratorTest, AServerThatHasGoneForAWhileIsAskedAgain) {
  wire_ = Wire::kExtended;
  for (const size_t sessions : {0, 2}) {
    SetUpPair(absl::ZeroDuration());
    load_ = std::make_unique<LoadGenerator>(
        *client_, client_->Resolve(Address::Sim("server")).value(),
        LoadOptions{.outstanding_max = 4, .count = 200, .sessions = sessions});
    load_->Start(nullptr);
    const auto run = [this](uint64_t replies) {
      return RunVirtual(
          *transport_->virtual_time(), {server_loop_.get(), client_loop_.get()},
          [&] { return load_->done() || stats().replies >= replies; },
          transport_->virtual_time()->NowNs() + 10'000'000'000);
    };
    ASSERT_TRUE(run(50));
    // In good order, so that nothing that was executed is lost.
    bool drained = false;
    server_->Drain([&] { drained = true; });
    const int64_t drain_ns = transport_->virtual_time()->NowNs();
    ASSERT_TRUE(RunVirtual(
        *transport_->virtual_time(), {server_loop_.get(), client_loop_.get()},
        [&] { return drained; }, drain_ns + 1'000'000'000));
    StartServer(absl::ZeroDuration());
    ASSERT_TRUE(run(100'000));
    EXPECT_EQ(stats().sent, 200u);
    EXPECT_EQ(stats().replies + stats().unanswered(), 200u);
    EXPECT_GT(stats().replies, 100u) << sessions;
    load_.reset();
    client_.reset();
    server_.reset();
  }
}

TEST_F(LoadGeneratorTest, StopWaitsForWhatIsInFlight) {
  SetUpPair(absl::Milliseconds(1));
  load_ =
      std::make_unique<LoadGenerator>(*client_, client_->Resolve(Address::Sim("server")).value(),
                                      LoadOptions{.outstanding_max = 4});
  load_->Start([this] { ++dones_; });
  bool stopped = false;
  RunVirtual(*transport_->virtual_time(), {server_loop_.get(), client_loop_.get()}, [&] {
    if (!stopped && stats().replies == 10) {
      stopped = true;
      load_->Stop();
    }
    return load_->done();
  });
  EXPECT_EQ(dones_, 1);
  EXPECT_EQ(stats().sent, stats().replies);
  EXPECT_LE(stats().sent, 14u);
}

}  // namespace
}  // namespace weft::rpc
