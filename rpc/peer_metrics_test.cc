// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/peer_metrics.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "weft/core/loop.h"
#include "weft/core/virtual_time.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {
namespace {

class PeerMetricsTest : public testing::Test {
 protected:
  PeerMetricsTest() : transport_(sim::OpenTransport(&network_)) {
    server_ = Server::Create(loop_, OpenPort("server"), {}, [](ServerCall call) {
                (void)call.Reply(std::move(call.request()));
              }).value();
    server_->set_admission([this](Peer, absl::Span<const uint8_t>) { return admits_; });
  }

  std::unique_ptr<DatagramPort> OpenPort(const std::string& name) {
    return transport_->OpenDatagramPort({.local = Address::Sim(name)}).value();
  }
  Client& AddClient(const std::string& name) {
    return *clients_.emplace_back(Client::Create(loop_, OpenPort(name), {}).value());
  }
  void Call(Client& client, int times) {
    const Peer server = client.Resolve(Address::Sim("server")).value();
    for (int i = 0; i < times; ++i) {
      bool ended = false;
      ASSERT_TRUE(client
                      .Call(server, std::vector<uint8_t>(64),
                            [&](const absl::StatusOr<BufferChain>&) { ended = true; })
                      .ok());
      ASSERT_TRUE(RunVirtual(network_, {&loop_}, [&] { return ended; }));
    }
  }
  // Lets a second go by.
  void Pass() {
    const int64_t end_ns = network_.NowNs() + 1'000'000'000;
    RunVirtual(
        network_, {&loop_}, [] { return false; }, end_ns);
  }

  static std::vector<MetricSample> Take(const MetricSampler& sampler, size_t limit = 10) {
    std::vector<MetricSample> samples;
    sampler(limit, &samples);
    return samples;
  }
  // The value of weft_rpc_peer_`name` of that peer; -1 if it is not there.
  static double ValueOf(const std::vector<MetricSample>& samples, const std::string& name,
                        const std::string& peer) {
    for (const MetricSample& sample : samples) {
      if (sample.info.name != "weft_rpc_peer_" + name) continue;
      for (const auto& [label, value] : sample.info.labels) {
        if (label == "peer" && value == peer) return sample.value;
      }
    }
    return -1;
  }

  sim::Network network_{1};
  std::unique_ptr<Transport> transport_;
  Loop loop_{{}, network_};
  bool admits_ = true;
  std::unique_ptr<Server> server_;
  std::vector<std::unique_ptr<Client>> clients_;
};

TEST_F(PeerMetricsTest, BothSidesTellOfTheOther) {
  Client& client = AddClient("client");
  const MetricSampler of_client = PeerSampler(client, {{"worker", "0"}});
  const MetricSampler of_server = PeerSampler(*server_, {{"worker", "0"}});
  Call(client, 5);
  admits_ = false;
  Call(client, 2);
  const auto seen_by_client = Take(of_client);
  const auto seen_by_server = Take(of_server);
  for (const auto& [samples, peer] :
       {std::pair(&seen_by_client, "sim:server"), std::pair(&seen_by_server, "sim:client")}) {
    EXPECT_EQ(ValueOf(*samples, "sessions", peer), 1) << peer;
    EXPECT_EQ(ValueOf(*samples, "in_flight", peer), 0) << peer;
    EXPECT_EQ(ValueOf(*samples, "drops_total", peer), 2) << peer;
    EXPECT_EQ(ValueOf(*samples, "retransmissions_total", peer), 0) << peer;
    EXPECT_GT(ValueOf(*samples, "credits", peer), 0) << peer;
  }
  EXPECT_EQ(ValueOf(seen_by_client, "requests_total", "sim:server"), 7);
  EXPECT_GT(ValueOf(seen_by_client, "round_trip_seconds", "sim:server"), 0);
  const std::string text = RenderPrometheus(seen_by_client);
  EXPECT_NE(text.find("weft_rpc_peer_requests_total{local=\"sim:client\",peer=\"sim:server\","
                      "side=\"client\",worker=\"0\"} 7\n"),
            std::string::npos)
      << text;
}

TEST_F(PeerMetricsTest, RatesAreThoseSinceSomebodyLastLooked) {
  Client& client = AddClient("client");
  const MetricSampler sampler = PeerSampler(*server_, {});
  Call(client, 1);
  Take(sampler);
  const int64_t looked_ns = network_.NowNs();
  Call(client, 50);
  Pass();
  const double elapsed_s = static_cast<double>(network_.NowNs() - looked_ns) / 1e9;
  EXPECT_NEAR(ValueOf(Take(sampler), "requests_per_second", "sim:client"), 50 / elapsed_s, 0.1);
  Pass();
  const auto idle = Take(sampler);
  EXPECT_EQ(ValueOf(idle, "requests_per_second", "sim:client"), 0);
  EXPECT_EQ(ValueOf(idle, "requests_total", "sim:client"), 51);
}

TEST_F(PeerMetricsTest, NoMorePeersThanAskedForAndTheBusiestOfThem) {
  const MetricSampler sampler = PeerSampler(*server_, {});
  for (int i = 0; i < 5; ++i) Call(AddClient(absl::StrCat("c", i)), 10 + i);
  auto samples = Take(sampler, 2);
  EXPECT_EQ(ValueOf(samples, "requests_total", "sim:c4"), 14);
  EXPECT_EQ(ValueOf(samples, "requests_total", "sim:c3"), 13);
  EXPECT_EQ(ValueOf(samples, "requests_total", "sim:c2"), -1);
  // What was long ago does not count.
  Call(*clients_[0], 3);
  samples = Take(sampler, 1);
  EXPECT_EQ(ValueOf(samples, "requests_total", "sim:c0"), 13);
  EXPECT_EQ(ValueOf(samples, "requests_total", "sim:c4"), -1);
  EXPECT_TRUE(Take(sampler, 0).empty());
}

TEST_F(PeerMetricsTest, SessionsOfOnePeerAreAddedUp) {
  Client& client = AddClient("client");
  const Peer server = client.Resolve(Address::Sim("server")).value();
  const SessionId own = client.Connect(server).value();
  Call(client, 2);
  bool ended = false;
  ASSERT_TRUE(client
                  .Call(own, std::vector<uint8_t>(64),
                        [&](const absl::StatusOr<BufferChain>&) { ended = true; })
                  .ok());
  ASSERT_TRUE(RunVirtual(network_, {&loop_}, [&] { return ended; }));
  const auto samples = Take(PeerSampler(client, {}));
  EXPECT_EQ(ValueOf(samples, "sessions", "sim:server"), 2);
  EXPECT_EQ(ValueOf(samples, "requests_total", "sim:server"), 3);
}

TEST_F(PeerMetricsTest, ALossIsSeen) {
  Client& client = AddClient("client");
  Call(client, 1);
  const std::vector<sim::NodeId> alone = {*network_.AddNode("server")};
  ASSERT_TRUE(network_.Partition({alone}).ok());
  bool ended = false;
  ASSERT_TRUE(client
                  .Call(client.Resolve(Address::Sim("server")).value(), std::vector<uint8_t>(64),
                        [&](const absl::StatusOr<BufferChain>&) { ended = true; })
                  .ok());
  RunVirtual(
      network_, {&loop_}, [&] { return ended; }, network_.NowNs() + 20'000'000);
  network_.Heal();
  ASSERT_TRUE(RunVirtual(network_, {&loop_}, [&] { return ended; }));
  EXPECT_GT(ValueOf(Take(PeerSampler(client, {})), "retransmissions_total", "sim:server"), 0);
}

}  // namespace
}  // namespace weft::rpc
