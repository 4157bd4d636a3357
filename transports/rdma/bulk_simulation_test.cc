// SPDX-License-Identifier: Apache-2.0
//
// Simulations of long messages: packets are lost, networks part and ports start anew.
//
//   bazel run //transports/rdma:one_sided_test -- 1000      a thousand seeds
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/transports/rdma/bulk_fixture.h"
#include "weft/transports/sim/seeds.h"

namespace weft::rdma {
namespace {

constexpr uint64_t kSeeds = 15;

// Two who send each other messages, over a network that loses packets and parts, and now and then
// one starts anew: what arrives is what was sent, everything ends, nothing is left.
class BulkSimulation : public BulkPathTest {
 public:
  explicit BulkSimulation(uint64_t seed)
      : BulkPathTest(seed, {.jitter_ns = static_cast<int64_t>(seed % 3) * 4000,
                            .loss = 0.01 * static_cast<double>(seed % 11),
                            .duplicate = 0.01 * static_cast<double>(seed % 4),
                            .reorder = 0.02 * static_cast<double>(seed % 3)}),
        random_(seed) {}
  void TestBody() override {}

  void Run() {
    for (const char name : {'a', 'b', 'c'}) Open(name);
    for (int round = 0; round < 60; ++round) {
      const char from = Any();
      char to = Any();
      while (to == from) to = Any();
      Transfer(from, to);
      if (random_.Below(12) == 0) Part();
      if (random_.Below(15) == 0) Restart();
      if (random_.Below(20) == 0) ends_[Any()]->nic().FailQueue(1 + random_.Below(1 << 24));
    }
    network_.Heal();
    Settle();
    for (auto& [name, end] : ends_) end->ExpectClean();
  }
  uint64_t succeeded() const { return succeeded_; }

 private:
  struct Under {
    char from, to;
    BulkKey key;
    std::string text;
    uint64_t context;
    bool fetched = false;
  };
  char Any() { return "abc"[random_.Below(3)]; }

  void Transfer(char from, char to) {
    const std::string text = RandomText(random_, 1 + random_.Below(100'000));
    const Buffer message = ends_[from]->Message(text);
    std::optional<BulkKey> key;
    if (message) key = ends_[from]->bulk().Expose(BulkEnd::PeerOf(to), message);
    Pass(static_cast<int64_t>(random_.Below(300'000)));
    if (key.has_value()) {
      Under under = {from, to, *key, text, ++context_};
      Buffer room = ends_[to]->bulk().Allocate(text.size());
      if (room) {
        under.fetched =
            ends_[to]->bulk().Fetch(BulkEnd::PeerOf(from), *key, text.size(), room, under.context);
      }
      under_.push_back(std::move(under));
    }
    Collect();
    if (under_.size() > 6) Settle();
  }
  // Ends what is done.
  void Collect() {
    std::erase_if(under_, [&](const Under& under) {
      if (under.fetched) {
        auto done = ends_[under.to]->done().extract(under.context);
        if (done.empty()) return false;
        if (done.mapped().ok) {
          ++succeeded_;
          EXPECT_TRUE(TextOf(done.mapped().buffer) == under.text);
        }
      }
      ends_[under.from]->bulk().Conceal(under.key);
      return true;
    });
  }
  void Settle() {
    EXPECT_TRUE(Until([&] {
      Collect();
      return under_.empty();
    }));
    EXPECT_TRUE(Until([&] {
      return std::all_of(ends_.begin(), ends_.end(),
                         [](const auto& end) { return end.second->bulk().exposures() == 0; });
    }));
  }
  void Part() {
    const std::vector<sim::NodeId> one = {*network_.AddNode(std::string(1, Any()))};
    EXPECT_TRUE(network_.Partition({one}).ok());
    Pass(static_cast<int64_t>(random_.Below(30'000'000)));
    network_.Heal();
  }
  void Restart() {
    const char name = Any();
    std::erase_if(under_, [&](const Under& under) {
      if (under.to != name && under.from != name) return false;
      // Its fetch comes to an end that nobody asks about any more.
      if (under.from != name) ends_[under.from]->bulk().Conceal(under.key);
      return true;
    });
    ends_[name] = nullptr;
    Pass(static_cast<int64_t>(random_.Below(1'000'000)));
    Open(name);
  }

  Prng random_;
  std::vector<Under> under_;
  uint64_t context_ = 0;
  uint64_t succeeded_ = 0;
};

TEST(BulkSimulationTest, WhatArrivesIsWhatWasSentAndNothingIsLeft) {
  uint64_t succeeded = 0;
  for (const uint64_t seed : sim::SeedsToRun(kSeeds)) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    BulkSimulation simulation(seed);
    simulation.Run();
    succeeded += simulation.succeeded();
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(succeeded, 0u);
}

}  // namespace
}  // namespace weft::rdma
