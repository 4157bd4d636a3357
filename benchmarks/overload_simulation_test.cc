// SPDX-License-Identifier: Apache-2.0
//
// A server that is asked for more than it can do goes on doing what it can: replies in time do not
// become fewer when there are more requests. On a virtual clock, on which a handler takes its time
// on the server's only core: nothing of the server runs meanwhile.

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/loop.h"
#include "weft/core/timer_wheel.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::benchmarks {
namespace {

constexpr int64_t kWorkNs = 10'000;
constexpr double kCapacityPerS = 1e9 / kWorkNs;
constexpr int64_t kWarmUpNs = 100'000'000;
constexpr int64_t kMeasuredNs = 200'000'000;

struct Source {
  std::unique_ptr<rpc::Client> client;
  Peer server;
};

class Overload {
 public:
  Overload(size_t clients, double rate_per_s, absl::Duration deadline)
      : rate_per_s_(rate_per_s), deadline_ns_(absl::ToInt64Nanoseconds(deadline)) {
    server_ = *rpc::Server::Create(server_loop_,
                                   *transport_->OpenDatagramPort({.local = Address::Sim("server")}),
                                   {.key_seed = 1}, [this](rpc::ServerCall call) {
                                     free_ns_ = std::max(free_ns_, network_.NowNs()) + kWorkNs;
                                     (void)call.Reply(std::move(call.request()));
                                   });
    for (size_t i = 0; i < clients; ++i) {
      auto client = *rpc::Client::Create(
          client_loop_,
          *transport_->OpenDatagramPort({.local = Address::Sim(absl::StrCat("client-", i))}),
          {.timeout = deadline, .request_id_seed = i, .wire = rpc::Wire::kExtended});
      const Peer server = *client->Resolve(Address::Sim("server"));
      sources_.push_back({std::move(client), server});
    }
  }

  // Of what the server can do.
  double Goodput() {
    client_loop_.timers().Schedule(timer_, 0);
    while (network_.NowNs() < kWarmUpNs + kMeasuredNs) {
      size_t work = client_loop_.RunOnce();
      if (network_.NowNs() >= free_ns_) work += server_loop_.RunOnce();
      if (work > 0) continue;
      int64_t next_ns = std::min(network_.NextEventNs(), client_loop_.NextTimerNs());
      next_ns = std::min(next_ns, std::max(server_loop_.NextTimerNs(), free_ns_));
      if (free_ns_ > network_.NowNs()) next_ns = std::min(next_ns, free_ns_);
      network_.AdvanceTo(std::max(next_ns, network_.NowNs()));
    }
    return static_cast<double>(in_time_) * 1e9 / (kMeasuredNs * kCapacityPerS);
  }

 private:
  static void OnTimer(void* self, int64_t now_ns) { static_cast<Overload*>(self)->Send(now_ns); }

  void Send(int64_t now_ns) {
    for (; due_ns_ <= static_cast<double>(now_ns); due_ns_ += 1e9 / rate_per_s_) {
      Source& source = sources_[next_++ % sources_.size()];
      // What is refused at once is not in time either.
      (void)source.client->Call(
          source.server, request_,
          [this, due_ns = static_cast<int64_t>(due_ns_)](const absl::StatusOr<BufferChain>& reply) {
            const int64_t now_ns = network_.NowNs();
            in_time_ += reply.ok() && now_ns >= kWarmUpNs && now_ns - due_ns <= deadline_ns_;
          });
    }
    client_loop_.timers().Schedule(timer_, static_cast<int64_t>(due_ns_) + 1);
  }

  const double rate_per_s_;
  const int64_t deadline_ns_;
  const std::array<uint8_t, 64> request_ = {};
  sim::Network network_{1, {.latency_ns = 5'000}};
  std::unique_ptr<Transport> transport_ = sim::OpenTransport(&network_);
  Loop client_loop_{{}, network_};
  Loop server_loop_{{}, network_};
  std::unique_ptr<rpc::Server> server_;
  std::vector<Source> sources_;
  Timer timer_{&Overload::OnTimer, this};
  double due_ns_ = 0;
  size_t next_ = 0;
  int64_t free_ns_ = 0;  // when the server's core is
  uint64_t in_time_ = 0;
};

double Goodput(size_t clients, double load, absl::Duration deadline) {
  return std::make_unique<Overload>(clients, load * kCapacityPerS, deadline)->Goodput();
}

TEST(OverloadTest, GoodputDoesNotFall) {
  for (const size_t clients : {1, 4, 32}) {
    for (const absl::Duration deadline : {absl::Milliseconds(2), absl::Milliseconds(10)}) {
      const double below = Goodput(clients, 0.9, deadline);
      const double twice = Goodput(clients, 2, deadline);
      SCOPED_TRACE(absl::StrCat(
          clients, " clients, ", absl::FormatDuration(deadline),
          " to wait: goodput at 0.9 and at 2 times what the server can do: ", below, ", ", twice));
      EXPECT_GE(below, 0.85);
      EXPECT_GE(twice, 0.95);
    }
  }
}

}  // namespace
}  // namespace weft::benchmarks
