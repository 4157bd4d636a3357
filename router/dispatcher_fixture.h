// SPDX-License-Identifier: Apache-2.0
//
// For tests of the dispatcher: one, its servers, and the time.
#ifndef WEFT_ROUTER_DISPATCHER_FIXTURE_H_
#define WEFT_ROUTER_DISPATCHER_FIXTURE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "weft/router/dispatcher.h"

namespace weft::router {

inline constexpr int64_t kMs = 1'000'000;

class DispatcherTest : public testing::Test {
 protected:
  void Make(DispatcherOptions options, size_t servers = 2, uint32_t slots = 2) {
    dispatcher_ = *Dispatcher::Create(options);
    for (size_t i = 0; i < servers; ++i) {
      servers_.push_back(dispatcher_->AddServer(100 + i, slots, 1));
    }
  }
  Decision Arrive(const Arrival& arrival) {
    Decision decision;
    dispatcher_->Arrive({&arrival, 1}, now_ns_, {&decision, 1});
    return decision;
  }
  // In the original format.
  Decision Arrive(uint64_t key, uint16_t tenant = 0) {
    return Arrive({.key = key, .tenant = tenant});
  }
  static Arrival Numbered(uint64_t key, uint64_t sequence) {
    return {.key = key, .request_id = sequence << 16 | 1};
  }
  static Arrival Resent(uint64_t key, uint64_t sequence, int64_t age_ns) {
    Arrival arrival = Numbered(key, sequence);
    arrival.age_ns = age_ns;
    return arrival;
  }
  DoneResult Done(ServerIndex server, uint64_t key) {
    return dispatcher_->Done(server, key, now_ns_);
  }
  std::vector<Ready> TakeReady() {
    std::vector<Ready> ready(Dispatcher::kBurstMax);
    ready.resize(dispatcher_->TakeReady(now_ns_, absl::MakeSpan(ready)));
    return ready;
  }
  const DispatcherStats& stats() const { return dispatcher_->stats(); }

  std::unique_ptr<Dispatcher> dispatcher_;
  std::vector<ServerIndex> servers_;
  int64_t now_ns_ = 1000 * kMs;
};

}  // namespace weft::router

#endif  // WEFT_ROUTER_DISPATCHER_FIXTURE_H_
