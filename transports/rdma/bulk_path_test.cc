// SPDX-License-Identifier: Apache-2.0
//
// Long messages over the simulated device; among others simulations in which packets are lost,
// networks part and ports start anew.
//
//   bazel run //transports/rdma:one_sided_test -- 1000      a thousand seeds
#include "weft/transports/rdma/bulk_path.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/transports/rdma/sim_nic.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/seeds.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rdma {
namespace {

constexpr uint64_t kSeeds = 15;

// One end of long messages.
class BulkEnd final : public BulkPath::Peers {
 public:
  BulkEnd(sim::Network* network, const std::string& name,
          const BulkPath::Options& options = {.count = 8, .max_bytes = 100'000},
          const SimNicOptions& device = {})
      : network_(network), nic_(*SimNic::Open(network, Address::Sim(name), device)) {
    transport_ = sim::OpenTransport(network, {.count = 64});
    rendezvous_ =
        std::make_unique<Rendezvous>(*transport_->OpenDatagramPort({.local = Address::Sim(name)}),
                                     Rendezvous::Options{.incarnation = network->random().Next(),
                                                         .timeout_ns = 50'000'000,
                                                         .worker = 0,
                                                         .asking = nullptr});
    queue_ = *nic_->OpenCompletionQueue();
    news_ = nic_->Subscribe();
    bulk_ = *BulkPath::Open(nic_.get(), queue_.get(), rendezvous_.get(), this, options);
  }
  ~BulkEnd() override {
    for (const Address& peer : bulk_->connections().Peers()) rendezvous_->SayBye(peer);
  }

  static Peer PeerOf(char name) { return {{static_cast<uint64_t>(name), 0, 0}}; }
  std::optional<RcPeer> RcPeerOf(const Peer& peer) const override {
    return RcPeer{Address::Sim(std::string(1, static_cast<char>(peer.words[0]))), 0};
  }
  void Poll() {
    rendezvous_->Poll(network_->NowNs());
    NicEvent events[4];
    const size_t news = news_->Take(absl::MakeSpan(events));
    for (size_t i = 0; i < news; ++i) bulk_->OnQueueFailed(events[i].qpn);
    bulk_->Poll(network_->NowNs());
    BulkTransfers::Fetched fetched[4];
    for (size_t n; (n = bulk_->TakeFetched(absl::MakeSpan(fetched))) > 0;) {
      for (size_t i = 0; i < n; ++i) {
        EXPECT_TRUE(done_.emplace(fetched[i].context, std::move(fetched[i])).second);
      }
    }
  }
  int64_t NextNs() const { return std::min(rendezvous_->NextNs(), bulk_->NextNs()); }

  Buffer Message(const std::string& text) {
    Buffer buffer = bulk_->Allocate(text.size());
    if (buffer) std::memcpy(buffer.Append(text.size()), text.data(), text.size());
    return buffer;
  }
  BulkPath& bulk() { return *bulk_; }
  SimNic& nic() { return *nic_; }
  std::map<uint64_t, BulkTransfers::Fetched>& done() { return done_; }
  // That nothing is in use any more, and all buffers are back.
  void ExpectClean() {
    done_.clear();
    EXPECT_EQ(bulk_->exposures(), 0u);
    EXPECT_EQ(bulk_->fetches(), 0u);
    EXPECT_EQ(bulk_->connections().held(), 0u);
    EXPECT_EQ(bulk_->pool().available(), bulk_->pool().count());
  }

 private:
  sim::Network* const network_;
  std::unique_ptr<SimNic> nic_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<Rendezvous> rendezvous_;
  std::unique_ptr<CompletionQueue> queue_;
  std::unique_ptr<Nic::Subscription> news_;
  std::unique_ptr<BulkPath> bulk_;
  std::map<uint64_t, BulkTransfers::Fetched> done_;
};

std::string TextOf(const Buffer& buffer) {
  return std::string(reinterpret_cast<const char*>(buffer.data()), buffer.size());
}
std::string RandomText(Prng& random, size_t bytes) {
  std::string text(bytes, '\0');
  for (char& c : text) c = static_cast<char>(random.Next());
  return text;
}

class BulkPathTest : public testing::Test {
 protected:
  explicit BulkPathTest(uint64_t seed = 1, const sim::LinkOptions& link = {})
      : network_(seed, link) {}

  BulkEnd& Open(char name) {
    return *(ends_[name] = std::make_unique<BulkEnd>(&network_, std::string(1, name)));
  }
  // Polls all, while time passes, until `done`, or for so long.
  bool Until(absl::FunctionRef<bool()> done, int64_t for_ns = 5'000'000'000) {
    const int64_t end_ns = network_.NowNs() + for_ns;
    while (true) {
      int64_t next_ns = end_ns;
      for (auto& [name, end] : ends_) {
        if (end == nullptr) continue;
        end->Poll();
        next_ns = std::min(next_ns, end->NextNs());
      }
      if (done()) return true;
      if (network_.NowNs() >= end_ns) return false;
      next_ns = std::max(std::min(next_ns, network_.NextEventNs()), network_.NowNs() + 1);
      network_.AdvanceTo(next_ns);
    }
  }
  void Pass(int64_t ns) {
    Until([] { return false; }, ns);
  }
  BulkKey Expose(BulkEnd& owner, char to, const Buffer& message) {
    std::optional<BulkKey> key;
    EXPECT_TRUE(Until([&] {
      key = owner.bulk().Expose(BulkEnd::PeerOf(to), message);
      return key.has_value();
    }));
    return key.value_or(BulkKey());
  }
  // Begins once it can.
  bool Fetch(BulkEnd& user, char from, const BulkKey& key, size_t bytes, uint64_t context) {
    Buffer room = user.bulk().Allocate(bytes);
    return Until(
        [&] { return user.bulk().Fetch(BulkEnd::PeerOf(from), key, bytes, room, context); },
        200'000'000);
  }
  // The message, or nothing if it could not be read.
  std::optional<std::string> Result(BulkEnd& user, uint64_t context) {
    EXPECT_TRUE(Until([&] { return user.done().contains(context); }));
    auto fetched = user.done().extract(context);
    if (fetched.empty()) return std::nullopt;
    EXPECT_TRUE(fetched.mapped().buffer);
    if (!fetched.mapped().ok) {
      EXPECT_TRUE(fetched.mapped().buffer.empty());
      return std::nullopt;
    }
    return TextOf(fetched.mapped().buffer);
  }

  sim::Network network_;
  std::map<char, std::unique_ptr<BulkEnd>> ends_;
};

TEST_F(BulkPathTest, AMessageIsReadByWhomItIsFor) {
  BulkEnd& a = Open('a');
  BulkEnd& b = Open('b');
  Prng random(1);
  EXPECT_FALSE(a.bulk().Allocate(100'001));
  for (const size_t bytes : {size_t{1}, size_t{4096}, size_t{16'385}, size_t{100'000}}) {
    const std::string text = RandomText(random, bytes);
    Buffer message = a.Message(text);
    const BulkKey key = Expose(a, 'b', message);
    ASSERT_TRUE(Fetch(b, 'a', key, bytes, 7));
    EXPECT_EQ(Result(b, 7), text);
    a.bulk().Conceal(key);
    a.bulk().Conceal(key);
  }
  EXPECT_TRUE(Until([&] { return a.bulk().exposures() == 0; }));
  EXPECT_EQ(a.bulk().stats().windows_opened, 1u);
  EXPECT_EQ(a.bulk().stats().concealed, 4u);
  EXPECT_EQ(b.bulk().stats().fetched_bytes, 1u + 4096 + 16'385 + 100'000);
  EXPECT_EQ(a.nic().stats().ud_sent, 0u);
  a.ExpectClean();
  b.ExpectClean();
}

TEST_F(BulkPathTest, TheBufferIsHeldUntilNobodyReadsItAnyMore) {
  BulkEnd& a = Open('a');
  BulkEnd& b = Open('b');
  Buffer message = a.Message("for b");
  const BulkKey key = Expose(a, 'b', message);
  ASSERT_TRUE(Fetch(b, 'a', key, 5, 1));
  a.bulk().Conceal(key);
  EXPECT_TRUE(message.is_shared());
  EXPECT_TRUE(Until([&] { return !message.is_shared(); }));
  // Whether the read came in time or not, it has ended.
  const auto text = Result(b, 1);
  EXPECT_TRUE(!text.has_value() || *text == "for b");
}

TEST_F(BulkPathTest, OthersAndLaterReadersAreDenied) {
  BulkEnd& a = Open('a');
  BulkEnd& b = Open('b');
  BulkEnd& c = Open('c');
  Buffer message = a.Message("a secret");
  const BulkKey key = Expose(a, 'b', message);
  Buffer other = a.Message("for c");
  const BulkKey for_c = Expose(a, 'c', other);
  EXPECT_FALSE(Fetch(c, 'a', key, 8, 1)) << "the key is of another connection";
  ASSERT_TRUE(Fetch(c, 'a', for_c, 5, 2));
  EXPECT_EQ(Result(c, 2), "for c");

  a.bulk().Conceal(key);
  ASSERT_TRUE(Fetch(b, 'a', key, 8, 3));
  EXPECT_EQ(Result(b, 3), std::nullopt);
  EXPECT_EQ(b.bulk().connections().stats().denied, 1u);
  // The connection comes back, to the same queue pair of the owner.
  Buffer next = a.Message("another");
  const BulkKey next_key = Expose(a, 'b', next);
  ASSERT_TRUE(Fetch(b, 'a', next_key, 7, 4));
  EXPECT_EQ(Result(b, 4), "another");
  // What is exposed outlasts that a reader is denied.
  ASSERT_TRUE(Fetch(b, 'a', key, 8, 5));
  EXPECT_EQ(Result(b, 5), std::nullopt);
  ASSERT_TRUE(Fetch(b, 'a', next_key, 7, 6));
  EXPECT_EQ(Result(b, 6), "another");
  a.bulk().Conceal(next_key);
  a.bulk().Conceal(for_c);
  EXPECT_TRUE(Until([&] { return a.bulk().exposures() == 0; }));
}

TEST_F(BulkPathTest, HostileKeysEndWithoutHarm) {
  BulkEnd& a = Open('a');
  BulkEnd& b = Open('b');
  Prng random(3);
  Buffer message = a.Message("exposed");
  const BulkKey key = Expose(a, 'b', message);
  for (uint64_t i = 0; i < 200; ++i) {
    BulkKey hostile = key;
    if (i < 20) {
      for (uint8_t& byte : hostile.bytes) byte = static_cast<uint8_t>(random.Next());
    } else {
      hostile.bytes[random.Below(hostile.bytes.size())] ^= uint8_t(1) << random.Below(8);
    }
    Buffer room = b.bulk().Allocate(7);
    const size_t bytes = 1 + random.Below(i % 3 == 0 ? 100'000 : 7);
    if (b.bulk().Fetch(BulkEnd::PeerOf('a'), hostile, bytes, room, i)) {
      EXPECT_FALSE(room);
      const auto text = Result(b, i);
      EXPECT_TRUE(!text.has_value() || *text == std::string("exposed").substr(0, bytes));
    } else {
      EXPECT_TRUE(room);
      Pass(100'000);
    }
    b.bulk().Conceal(hostile);  // which is of another's
  }
  EXPECT_GT(b.bulk().stats().malformed, 0u);
  EXPECT_EQ(a.bulk().exposures(), 1u);
  ASSERT_TRUE(Fetch(b, 'a', key, 7, 1000));
  EXPECT_EQ(Result(b, 1000), "exposed");
  a.bulk().Conceal(key);
  message.Reset();
  EXPECT_TRUE(Until([&] { return a.bulk().exposures() == 0; }));
  a.ExpectClean();
  b.ExpectClean();
}

TEST_F(BulkPathTest, SeveralAreUnderWayBothWaysAndLimitsHold) {
  BulkEnd& a = Open('a');
  BulkEnd& b = Open('b');
  std::vector<Buffer> messages;
  std::vector<BulkKey> keys;
  for (int i = 0; i < 8; ++i) {
    BulkEnd& owner = i % 2 == 0 ? a : b;
    messages.push_back(owner.Message(std::string(50'000, static_cast<char>('0' + i))));
    keys.push_back(Expose(owner, i % 2 == 0 ? 'b' : 'a', messages.back()));
  }
  for (uint64_t i = 0; i < 8; ++i) {
    ASSERT_TRUE(Fetch(i % 2 == 0 ? b : a, i % 2 == 0 ? 'a' : 'b', keys[i], 50'000, i));
  }
  EXPECT_FALSE(a.bulk().Allocate(1)) << "4 messages and 4 rooms are all there is";
  for (uint64_t i = 0; i < 8; ++i) {
    EXPECT_EQ(Result(i % 2 == 0 ? b : a, i), std::string(50'000, static_cast<char>('0' + i)));
    (i % 2 == 0 ? a : b).bulk().Conceal(keys[i]);
  }
  messages.clear();
  EXPECT_TRUE(Until([&] { return a.bulk().exposures() + b.bulk().exposures() == 0; }));
  a.ExpectClean();
  b.ExpectClean();
}

TEST_F(BulkPathTest, APeerThatGoesGivesBuffersBack) {
  BulkEnd& a = Open('a');
  BulkEnd& b = Open('b');
  Buffer message = a.Message(std::string(100'000, 'x'));
  const BulkKey key = Expose(a, 'b', message);
  for (uint64_t i = 0; i < 3; ++i) ASSERT_TRUE(Fetch(b, 'a', key, 100'000, i));
  message.Reset();
  ends_['a'] = nullptr;
  for (uint64_t i = 0; i < 3; ++i) EXPECT_EQ(Result(b, i), std::nullopt);
  b.ExpectClean();
  // Its successor cannot be read with the old key.
  BulkEnd& successor = Open('a');
  Buffer next = successor.Message("next");
  const BulkKey next_key = Expose(successor, 'b', next);
  ASSERT_TRUE(Fetch(b, 'a', next_key, 4, 10));
  EXPECT_EQ(Result(b, 10), "next");
  EXPECT_FALSE(Fetch(b, 'a', key, 4, 11));
  // And when the reader goes, what it could read is concealed.
  ends_['b'] = nullptr;
  EXPECT_TRUE(Until([&] { return successor.bulk().exposures() == 0; }));
  next.Reset();
  successor.ExpectClean();
}

TEST_F(BulkPathTest, UnusedConnectionsEndAndTheirNumberIsBounded) {
  auto a = std::make_unique<BulkEnd>(
      &network_, "a",
      BulkPath::Options{
          .count = 8, .max_bytes = 1000, .max_connections = 2, .idle_ns = 1'000'000'000});
  BulkEnd& owner = *(ends_['a'] = std::move(a));
  for (const char name : {'b', 'c', 'd'}) Open(name);
  Buffer message = owner.Message("hello");
  const BulkKey to_b = Expose(owner, 'b', message);
  const BulkKey to_c = Expose(owner, 'c', message);
  Pass(10'000'000);
  EXPECT_FALSE(owner.bulk().Expose(BulkEnd::PeerOf('d'), message)) << "both are held";
  EXPECT_EQ(owner.bulk().connections().size(), 2u);
  owner.bulk().Conceal(to_c);
  Pass(10'000'000);
  const BulkKey to_d = Expose(owner, 'd', message);  // in place of the one that is not used
  ASSERT_TRUE(Fetch(*ends_['d'], 'a', to_d, 5, 1));
  EXPECT_EQ(Result(*ends_['d'], 1), "hello");
  owner.bulk().Conceal(to_b);
  owner.bulk().Conceal(to_d);
  EXPECT_TRUE(Until([&] { return owner.bulk().connections().size() == 0; }));
  EXPECT_GE(owner.bulk().connections().stats().idle_ended, 3u);
  EXPECT_EQ(owner.nic().queue_pairs(), 0u);
}

// Time went on for a port that had no connection to look after.
TEST_F(BulkPathTest, AConnectionThatIsMadeAfterALongTimeLasts) {
  BulkEnd& a = Open('a');
  BulkEnd& b = Open('b');
  Pass(200'000'000'000);
  const Buffer message = a.Message("hello");
  const BulkKey key = Expose(a, 'b', message);
  ASSERT_TRUE(Fetch(b, 'a', key, 5, 1));
  EXPECT_EQ(Result(b, 1), "hello");
  for (BulkEnd* end : {&a, &b}) {
    EXPECT_EQ(end->bulk().connections().stats().idle_ended, 0u);
    EXPECT_EQ(end->bulk().connections().stats().peer_lost, 0u);
  }
  a.bulk().Conceal(key);
}

TEST_F(BulkPathTest, AReadThatHangsHoldsUpNoOtherPeers) {
  SimNicOptions device;
  device.limits.reads_in_flight = 1;
  BulkEnd& b = *(ends_['b'] = std::make_unique<BulkEnd>(
                     &network_, "b", BulkPath::Options{.count = 8, .max_bytes = 1000}, device));
  std::map<char, Buffer> messages;
  std::map<char, BulkKey> keys;
  uint64_t context = 0;
  for (const char owner : {'a', 'c'}) {
    messages[owner] = Open(owner).Message("hello");
    keys[owner] = Expose(*ends_[owner], 'b', messages[owner]);
    ASSERT_TRUE(Fetch(b, owner, keys[owner], 5, ++context));
    EXPECT_EQ(Result(b, context), "hello");
  }
  ASSERT_TRUE(network_.Partition({{*network_.AddNode("a")}}).ok());
  for (const uint64_t waiting : {10, 11}) ASSERT_TRUE(Fetch(b, 'a', keys['a'], 5, waiting));
  ASSERT_TRUE(Fetch(b, 'c', keys['c'], 5, 12));
  EXPECT_TRUE(Until([&] { return b.done().contains(12); }, 1'000'000));
  EXPECT_FALSE(b.done().contains(10));
  network_.Heal();
  EXPECT_TRUE(Until([&] { return b.done().contains(10) && b.done().contains(11); }));
}

TEST_F(BulkPathTest, AFailedQueuePairAndARemovedDeviceEndEverything) {
  BulkEnd& a = Open('a');
  BulkEnd& b = Open('b');
  Buffer message = a.Message(std::string(100'000, 'x'));
  const BulkKey key = Expose(a, 'b', message);
  ASSERT_TRUE(Fetch(b, 'a', key, 100'000, 1));
  b.nic().Remove();
  EXPECT_EQ(Result(b, 1), std::nullopt);
  Buffer room = b.bulk().Allocate(10);
  EXPECT_FALSE(b.bulk().Fetch(BulkEnd::PeerOf('a'), key, 10, room, 2));
  EXPECT_TRUE(room);
  EXPECT_FALSE(b.bulk().Expose(BulkEnd::PeerOf('a'), b.Message("x")));
  room.Reset();
  b.ExpectClean();
}

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
