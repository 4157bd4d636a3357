// SPDX-License-Identifier: Apache-2.0

#include "weft/transports/sim/network.h"

#include <algorithm>
#include <bitset>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"

namespace weft::sim {
namespace {

constexpr Channel kDatagrams = Channel::kDatagrams;

// Keeps what arrives, with the time.
class Sink : public Receiver {
 public:
  explicit Sink(Network* network) : network_(network) {}

  void OnPacket(PacketPtr packet) override {
    times_ns.push_back(network_->NowNs());
    packets.push_back(std::move(packet));
  }
  void OnUnreachable(PacketPtr packet) override { returned.push_back(std::move(packet)); }

  std::vector<int64_t> times_ns;
  std::vector<PacketPtr> packets;
  std::vector<PacketPtr> returned;

 private:
  Network* network_;
};

// A network with nodes a, b and c, each with a sink for datagrams.
class Lab {
 public:
  explicit Lab(const LinkOptions& options, uint64_t seed = 1) : network(seed, options) {
    for (const char* name : {"a", "b", "c"}) {
      const NodeId node = network.AddNode(name).value();
      sinks.push_back(std::make_unique<Sink>(&network));
      attachments.push_back(network.Attach(node, kDatagrams, 0, 1, sinks.back().get()).value());
    }
  }

  void Send(NodeId from, NodeId to, const std::vector<uint8_t>& bytes) {
    network.Send(from, to, kDatagrams, 0, 0, bytes);
  }
  void RunToEnd() {
    while (network.NextEventNs() != INT64_MAX) network.AdvanceTo(network.NextEventNs());
  }
  Sink& sink(NodeId node) { return *sinks[node]; }

  Network network;
  std::vector<std::unique_ptr<Sink>> sinks;
  std::vector<Attachment> attachments;
};

// Every packet has exactly one fate.
void ExpectAllAccountedFor(const NetworkStats& s) {
  EXPECT_EQ(s.sent + s.duplicated,
            s.delivered + s.lost + s.queue_dropped + s.partitioned + s.unreachable + s.overflowed);
}

LinkOptions Ideal() { return {.latency_ns = 1000, .bandwidth_bps = 0}; }

TEST(SimNetworkTest, DeliversAfterTheLatencyInOrder) {
  Lab lab(Ideal());
  lab.Send(0, 1, {1});
  lab.network.AdvanceTo(300);
  lab.Send(0, 1, {2});
  lab.RunToEnd();
  EXPECT_EQ(lab.sink(1).times_ns, (std::vector<int64_t>{1000, 1300}));
  EXPECT_EQ(lab.sink(1).packets[0]->bytes, std::vector<uint8_t>{1});
  EXPECT_EQ(lab.sink(1).packets[1]->bytes, std::vector<uint8_t>{2});
  EXPECT_EQ(lab.sink(1).packets[0]->from, 0u);
  EXPECT_TRUE(lab.sink(2).packets.empty());
  ExpectAllAccountedFor(lab.network.stats());
}

// One byte a nanosecond, over the uplink and again over the downlink.
TEST(SimNetworkTest, BandwidthDelaysAndQueues) {
  Lab lab({.latency_ns = 1000, .bandwidth_bps = 8'000'000'000});
  for (int i = 0; i < 3; ++i) lab.Send(0, 1, std::vector<uint8_t>(100));
  lab.RunToEnd();
  EXPECT_EQ(lab.sink(1).times_ns, (std::vector<int64_t>{1200, 1300, 1400}));
}

TEST(SimNetworkTest, TellsHowManyPacketsWaitForANode) {
  Lab lab({.latency_ns = 1000, .bandwidth_bps = 8'000'000'000});
  lab.Send(0, 2, std::vector<uint8_t>(100));
  lab.Send(1, 2, std::vector<uint8_t>(100));
  EXPECT_EQ(lab.network.QueuedFor(2), 0u);  // still on their own wires
  lab.network.AdvanceTo(1100);
  EXPECT_EQ(lab.network.QueuedFor(2), 2u);
  lab.network.AdvanceTo(1200);
  EXPECT_EQ(lab.network.QueuedFor(2), 1u);
  lab.network.AdvanceTo(1300);
  EXPECT_EQ(lab.network.QueuedFor(2), 0u);
}

TEST(SimNetworkTest, SendersShareTheReceiversDownlink) {
  Lab lab({.latency_ns = 1000, .bandwidth_bps = 8'000'000'000});
  lab.Send(0, 2, std::vector<uint8_t>(100));
  lab.Send(1, 2, std::vector<uint8_t>(100));
  lab.RunToEnd();
  EXPECT_EQ(lab.sink(2).times_ns, (std::vector<int64_t>{1200, 1300}));
}

TEST(SimNetworkTest, ThroughputIsTheBandwidthDespiteRounding) {
  // 64 bytes at 10 Gb/s take 51.2 ns.
  Lab lab({.latency_ns = 0, .bandwidth_bps = 10'000'000'000, .queue_packets = 100000});
  for (int i = 0; i < 10000; ++i) lab.Send(0, 1, std::vector<uint8_t>(64));
  lab.RunToEnd();
  EXPECT_NEAR(static_cast<double>(lab.sink(1).times_ns.back()), 512000 + 51.2, 2);
}

TEST(SimNetworkTest, AFullQueueDropsItsTail) {
  Lab lab({.latency_ns = 1000, .bandwidth_bps = 8'000'000'000, .queue_packets = 10});
  for (uint8_t i = 0; i < 25; ++i) lab.Send(0, 1, {i, 0, 0, 0});
  lab.RunToEnd();
  ASSERT_EQ(lab.sink(1).packets.size(), 10u);
  for (uint8_t i = 0; i < 10; ++i) EXPECT_EQ(lab.sink(1).packets[i]->bytes[0], i);
  EXPECT_EQ(lab.network.stats().queue_dropped, 15u);
  lab.Send(0, 1, {99});  // the queue has drained
  lab.RunToEnd();
  EXPECT_EQ(lab.sink(1).packets.back()->bytes[0], 99);
  ExpectAllAccountedFor(lab.network.stats());
}

constexpr int kMany = 20000;

// Sends kMany numbered packets from a to b, one a microsecond, under `options`.
void SendMany(Lab* lab) {
  for (int i = 0; i < kMany; ++i) {
    lab->network.AdvanceTo(i * 1000);
    lab->Send(0, 1, {static_cast<uint8_t>(i), static_cast<uint8_t>(i >> 8), 0, 0, 0, 0, 0, 0});
  }
  lab->RunToEnd();
  ExpectAllAccountedFor(lab->network.stats());
}

int NumberOf(const Packet& packet) { return packet.bytes[0] | packet.bytes[1] << 8; }

int OutOfOrder(const Sink& sink) {
  int count = 0, greatest = -1;
  for (const PacketPtr& packet : sink.packets) {
    if (NumberOf(*packet) < greatest) ++count;
    greatest = std::max(greatest, NumberOf(*packet));
  }
  return count;
}

TEST(SimNetworkTest, LossHasItsRate) {
  LinkOptions options = Ideal();
  options.loss = 0.1;
  Lab lab(options);
  SendMany(&lab);
  EXPECT_NEAR(static_cast<double>(lab.network.stats().lost), kMany * 0.1, kMany * 0.01);
  EXPECT_EQ(lab.sink(1).packets.size(), kMany - lab.network.stats().lost);
  EXPECT_EQ(OutOfOrder(lab.sink(1)), 0);
}

TEST(SimNetworkTest, LossOfOneLosesEverything) {
  LinkOptions options = Ideal();
  options.loss = 1;
  Lab lab(options);
  SendMany(&lab);
  EXPECT_TRUE(lab.sink(1).packets.empty());
}

TEST(SimNetworkTest, DuplicationHasItsRate) {
  LinkOptions options = Ideal();
  options.duplicate = 0.05;
  Lab lab(options);
  SendMany(&lab);
  EXPECT_NEAR(static_cast<double>(lab.network.stats().duplicated), kMany * 0.05, kMany * 0.01);
  std::vector<int> copies(kMany);
  for (const PacketPtr& packet : lab.sink(1).packets) ++copies[NumberOf(*packet)];
  EXPECT_EQ(static_cast<uint64_t>(std::count(copies.begin(), copies.end(), 2)),
            lab.network.stats().duplicated);
  EXPECT_EQ(std::count(copies.begin(), copies.end(), 0), 0);
}

TEST(SimNetworkTest, ReorderingHasItsRateAndIsBounded) {
  LinkOptions options = Ideal();
  options.reorder = 0.05;
  options.reorder_delay_ns = 50'000;
  Lab lab(options);
  SendMany(&lab);
  EXPECT_NEAR(static_cast<double>(lab.network.stats().reordered), kMany * 0.05, kMany * 0.01);
  // Nearly each of them is held back for long enough to be overtaken.
  EXPECT_GT(OutOfOrder(lab.sink(1)), kMany * 0.04);
  for (size_t i = 0; i < lab.sink(1).packets.size(); ++i) {
    const int64_t delay_ns = lab.sink(1).times_ns[i] - NumberOf(*lab.sink(1).packets[i]) * 1000;
    ASSERT_GE(delay_ns, 1000);
    ASSERT_LE(delay_ns, 1000 + 50'000);
  }
}

TEST(SimNetworkTest, JitterStaysWithinItsBound) {
  LinkOptions options = Ideal();
  options.jitter_ns = 500;
  Lab lab(options);
  SendMany(&lab);
  int64_t least = INT64_MAX, most = 0;
  for (size_t i = 0; i < lab.sink(1).packets.size(); ++i) {
    const int64_t delay_ns = lab.sink(1).times_ns[i] - NumberOf(*lab.sink(1).packets[i]) * 1000;
    least = std::min(least, delay_ns);
    most = std::max(most, delay_ns);
  }
  EXPECT_EQ(least, 1000);
  EXPECT_EQ(most, 1500);
}

TEST(SimNetworkTest, CorruptionFlipsOneBit) {
  LinkOptions options = Ideal();
  options.corrupt = 0.2;
  Lab lab(options);
  for (int i = 0; i < kMany; ++i) lab.Send(0, 1, std::vector<uint8_t>(100, 0x55));
  lab.Send(0, 1, {});  // has no bit to flip
  lab.RunToEnd();
  int damaged = 0;
  for (const PacketPtr& packet : lab.sink(1).packets) {
    size_t flipped = 0;
    for (uint8_t byte : packet->bytes) flipped += std::bitset<8>(byte ^ 0x55).count();
    ASSERT_LE(flipped, 1u);
    damaged += flipped == 1;
  }
  EXPECT_NEAR(damaged, kMany * 0.2, kMany * 0.01);
  EXPECT_EQ(lab.network.stats().corrupted, static_cast<uint64_t>(damaged));
}

TEST(SimNetworkTest, APartitionSeparatesUntilItHeals) {
  Lab lab(Ideal());
  lab.Send(0, 2, {0});  // on its way when the partition begins
  ASSERT_TRUE(lab.network.Partition({{0, 1}}).ok());
  lab.Send(0, 1, {1});
  lab.Send(0, 2, {2});
  lab.Send(2, 1, {3});
  lab.RunToEnd();
  EXPECT_EQ(lab.sink(1).packets.size(), 1u);
  EXPECT_TRUE(lab.sink(2).packets.empty());
  EXPECT_EQ(lab.network.stats().partitioned, 3u);

  lab.network.Heal();
  lab.Send(0, 2, {4});
  lab.RunToEnd();
  EXPECT_EQ(lab.sink(2).packets.size(), 1u);
  EXPECT_EQ(lab.network.Partition({{0, 1}, {1}}).code(), absl::StatusCode::kInvalidArgument);
  ExpectAllAccountedFor(lab.network.stats());
}

TEST(SimNetworkTest, ALinkOfItsOwnReplacesTheWayInOneDirection) {
  Lab lab({.latency_ns = 1000, .bandwidth_bps = 8'000'000'000});
  lab.network.SetLink(0, 1, {.latency_ns = 50, .bandwidth_bps = 800'000'000, .queue_packets = 2});
  for (int i = 0; i < 3; ++i) lab.Send(0, 1, std::vector<uint8_t>(10));
  lab.Send(1, 0, std::vector<uint8_t>(10));
  lab.Send(0, 2, std::vector<uint8_t>(10));  // does not queue behind the others
  lab.RunToEnd();
  EXPECT_EQ(lab.sink(1).times_ns, (std::vector<int64_t>{150, 250}));
  EXPECT_EQ(lab.sink(0).times_ns, (std::vector<int64_t>{1020}));
  EXPECT_EQ(lab.sink(2).times_ns, (std::vector<int64_t>{1020}));
}

// Under the name of its sender, and over the wires of the one who sends it on.
TEST(SimNetworkTest, WhatIsSentOnTakesTheWayFromThere) {
  Lab lab({.latency_ns = 1000, .bandwidth_bps = 8'000'000'000});
  lab.network.SetLink(1, 2, {.latency_ns = 50, .bandwidth_bps = 800'000'000});
  lab.network.SetLink(0, 2, {.latency_ns = 7, .bandwidth_bps = 0});
  lab.network.Forward(/*at=*/1, /*from=*/0, /*to=*/2, kDatagrams, std::vector<uint8_t>(10));
  lab.RunToEnd();
  ASSERT_EQ(lab.sink(2).packets.size(), 1u);
  EXPECT_EQ(lab.sink(2).packets[0]->from, 0u);
  EXPECT_EQ(lab.sink(2).times_ns, (std::vector<int64_t>{150}));

  const NodeId empty = lab.network.AddNode("empty").value();
  lab.network.Forward(1, 0, empty, kDatagrams, {});
  lab.RunToEnd();
  EXPECT_EQ(lab.sink(0).returned.size(), 1u) << "the sender hears of it";
  EXPECT_TRUE(lab.sink(1).returned.empty());

  ASSERT_TRUE(lab.network.Partition({{0}, {1, 2}}).ok());
  lab.network.Forward(1, 0, 2, kDatagrams, {});
  lab.RunToEnd();
  EXPECT_EQ(lab.sink(2).packets.size(), 2u);
  ASSERT_TRUE(lab.network.Partition({{0, 2}, {1}}).ok());
  lab.network.Forward(1, 0, 2, kDatagrams, {});
  lab.RunToEnd();
  EXPECT_EQ(lab.sink(2).packets.size(), 2u);
  ExpectAllAccountedFor(lab.network.stats());
}

TEST(SimNetworkTest, WhatReachesNobodyComesBack) {
  Lab lab(Ideal());
  const NodeId empty = lab.network.AddNode("empty").value();
  lab.Send(0, empty, {7});
  lab.RunToEnd();
  ASSERT_EQ(lab.sink(0).returned.size(), 1u);
  EXPECT_EQ(lab.sink(0).returned[0]->to, empty);
  EXPECT_EQ(lab.sink(0).returned[0]->bytes, std::vector<uint8_t>{7});
  EXPECT_EQ(lab.network.NowNs(), 2000);
  ExpectAllAccountedFor(lab.network.stats());
}

TEST(SimNetworkTest, FlowsSpreadOverQueues) {
  Lab lab(Ideal());
  const NodeId node = lab.network.AddNode("many").value();
  Sink queues[2] = {Sink(&lab.network), Sink(&lab.network)};
  const auto attach = [&](int queue, int of) {
    return lab.network.Attach(node, kDatagrams, queue, of, &queues[queue % 2]);
  };
  const absl::StatusOr<Attachment> first = attach(0, 2);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(attach(0, 2).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(attach(1, 3).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(attach(2, 2).status().code(), absl::StatusCode::kInvalidArgument);
  const absl::StatusOr<Attachment> second = attach(1, 2);
  ASSERT_TRUE(second.ok());
  for (uint32_t flow = 0; flow < 10; ++flow) lab.network.Send(0, node, kDatagrams, 0, flow, {});
  lab.RunToEnd();
  EXPECT_EQ(queues[0].packets.size(), 5u);
  EXPECT_EQ(queues[1].packets.size(), 5u);
}

TEST(SimNetworkTest, BroadcastReachesAllOthersOnTheChannel) {
  Lab lab(Ideal());
  lab.network.AddNode("deaf").value();
  lab.network.Broadcast(0, kDatagrams, 0, std::vector<uint8_t>{1});
  lab.RunToEnd();
  EXPECT_EQ(lab.sink(0).packets.size(), 0u);
  EXPECT_EQ(lab.sink(1).packets.size(), 1u);
  EXPECT_EQ(lab.sink(2).packets.size(), 1u);
  EXPECT_EQ(lab.network.stats().sent, 2u);
}

TEST(SimNetworkTest, AnonymousNodesAreUsedAgainAndNodesAreBounded) {
  Network network(1);
  Sink sink(&network);
  NodeId first = network.AddAnonymousNode().value();
  for (size_t i = 0; i < 2 * Network::kMaxNodes; ++i) {
    ASSERT_TRUE(network.Attach(first, kDatagrams, 0, 1, &sink).ok());
    ASSERT_EQ(network.AddAnonymousNode().value(), first);
  }
  for (size_t i = 1; i < Network::kMaxNodes; ++i)
    ASSERT_TRUE(network.AddNode(std::to_string(i)).ok());
  EXPECT_EQ(network.AddNode("one more").status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(network.AddNode("1").value(), 1u);
}

TEST(SimNetworkTest, ATickGathersArrivals) {
  Lab lab(Ideal());
  lab.network.set_tick_ns(300);
  EXPECT_EQ(lab.network.NextEventNs(), INT64_MAX);
  lab.Send(0, 1, {1});
  lab.network.AdvanceTo(150);
  lab.Send(0, 1, {2});
  EXPECT_EQ(lab.network.NextEventNs(), 1200);
  lab.network.AdvanceTo(1200);
  EXPECT_EQ(lab.sink(1).times_ns, (std::vector<int64_t>{1000, 1150}));
  EXPECT_EQ(lab.network.NextEventNs(), INT64_MAX);
}

TEST(SimNetworkTest, OneThreadOnly) {
  Lab lab(Ideal());
  std::thread([&lab] {
    Sink sink(&lab.network);
    EXPECT_EQ(lab.network.Attach(0, Channel::kFrames, 0, 1, &sink).status().code(),
              absl::StatusCode::kFailedPrecondition);
  }).join();
}

// Everything at once: returns the digest and the statistics' sum as evidence of what happened.
std::pair<uint64_t, uint64_t> Storm(uint64_t seed) {
  Lab lab({.latency_ns = 5000,
           .jitter_ns = 2000,
           .bandwidth_bps = 500'000'000,
           .queue_packets = 4,
           .loss = 0.05,
           .duplicate = 0.05,
           .reorder = 0.05,
           .corrupt = 0.05},
          seed);
  Network& network = lab.network;
  network.SetLink(0, 2, {.latency_ns = 100, .loss = 0.5});
  network.events().At(200'000, [&] { ASSERT_TRUE(network.Partition({{0}}).ok()); });
  network.events().At(300'000, [&] { network.Heal(); });
  Prng traffic(seed);
  for (int i = 0; i < 500; ++i) {
    network.AdvanceTo(network.NowNs() + static_cast<int64_t>(traffic.Below(2000)));
    std::vector<uint8_t> bytes(traffic.Below(300));
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(traffic.Next());
    lab.Send(static_cast<NodeId>(traffic.Below(3)), static_cast<NodeId>(traffic.Below(3)), bytes);
  }
  lab.RunToEnd();
  ExpectAllAccountedFor(network.stats());
  const NetworkStats& s = network.stats();
  EXPECT_GT(
      std::min({s.lost, s.duplicated, s.reordered, s.corrupted, s.queue_dropped, s.partitioned}),
      0u);
  return {network.digest(), s.delivered};
}

TEST(SimNetworkTest, TheSameSeedGivesTheSameRun) {
  std::vector<uint64_t> digests;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    const auto run = Storm(seed);
    ASSERT_EQ(Storm(seed), run) << "seed " << seed;
    digests.push_back(run.first);
  }
  std::sort(digests.begin(), digests.end());
  EXPECT_EQ(std::unique(digests.begin(), digests.end()), digests.end()) << "two seeds gave one run";
}

// On every machine and with every compiler.
TEST(SimNetworkTest, ARunNeverChanges) { EXPECT_EQ(Storm(1).first, 4299882044035041835u); }

}  // namespace
}  // namespace weft::sim
