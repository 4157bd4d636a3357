// SPDX-License-Identifier: Apache-2.0
//
// Several stacks over a simulated network that does not behave. A scenario and a seed fix
// everything that happens, so a failure is reproduced by the two numbers it prints:
//
//   bazel test //netstack:simulation_test                 some hundred runs
//   bazel test //netstack:simulation_long_test            some ten thousand
//   bazel run //netstack:simulation_test -- 1 4711        one seed of every scenario, from 4711 on

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gtest/gtest.h"
#include "weft/core/bytes.h"
#include "weft/core/prng.h"
#include "weft/netstack/netstack_transport.h"
#include "weft/netstack/udp_port.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/seeds.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::netstack {
namespace {

constexpr uint64_t kSeeds = 20;

constexpr int64_t kMsNs = 1'000'000;
constexpr int64_t kSNs = 1'000'000'000;
constexpr size_t kPorts = 2;  // of each stack
constexpr uint16_t kFirstPort = 7000;
constexpr size_t kHeaderBytes = 16;
constexpr size_t kDatagramBytesMax = 8000;
constexpr size_t kFrameBytes = 1452;  // what goes in one packet
constexpr size_t kSends = 1500;

struct Scenario {
  size_t stacks = 3;
  bool v4 = true;
  double loss = 0;
  double duplicate = 0;
  double reorder = 0;
  double corrupt = 0;
  int64_t jitter_ns = 0;
  bool partition = false;
};

struct Outcome {
  uint64_t sent = 0;
  uint64_t received = 0;
  uint64_t checksum_errors = 0;
  uint64_t undetected = 0;  // long datagrams that arrived with several flipped bits
  uint64_t digest = 0;
};

// What a datagram says of itself, and the rest of it, which follows from that.
struct Letter {
  uint16_t from = 0;
  uint16_t to = 0;
  uint16_t port = 0;
  uint32_t serial = 0;
  uint32_t bytes = 0;

  void Write(uint8_t* p) const {
    StoreBig16(p, from);
    StoreBig16(p + 2, to);
    StoreBig16(p + 4, port);
    StoreBig32(p + 8, serial);
    StoreBig32(p + 12, bytes);
    p[6] = p[7] = 0x5a;
    Fill(p);
  }
  void Fill(uint8_t* p) const {
    uint32_t state = serial * 2654435761u + from;
    for (size_t i = kHeaderBytes; i < bytes; ++i) {
      p[i] = static_cast<uint8_t>((state = state * 1664525 + 1013904223) >> 24);
    }
  }
  static Letter Read(const uint8_t* p) {
    return {LoadBig16(p), LoadBig16(p + 2), LoadBig16(p + 4), LoadBig32(p + 8), LoadBig32(p + 12)};
  }
};

class SimulatedRun {
 public:
  SimulatedRun(const Scenario& scenario, uint64_t seed)
      : scenario_(scenario),
        network_(seed, {.latency_ns = 5000,
                        .jitter_ns = scenario.jitter_ns,
                        .loss = scenario.loss,
                        .duplicate = scenario.duplicate,
                        .reorder = scenario.reorder,
                        .corrupt = scenario.corrupt}),
        random_(seed * 7919 + 1),
        expected_(scenario.stacks * scenario.stacks) {
    for (size_t i = 0; i < scenario.stacks; ++i) AddHost(i);
  }

  Outcome Go() {
    for (size_t i = 0; i < kSends; ++i) {
      if (scenario_.partition && i == kSends / 3) Partition();
      if (scenario_.partition && i == 2 * kSends / 3) network_.Heal();
      SendOne(random_.Below(scenario_.stacks), random_.Below(scenario_.stacks),
              static_cast<size_t>(random_.Below(10) < 6 ? random_.Below(1400)
                                                        : random_.Below(kDatagramBytesMax + 1)));
      // A long time, now and then, so that neighbours age meanwhile.
      Run(random_.Below(200) == 0 ? 20 * kSNs : static_cast<int64_t>(random_.Below(100'000)));
    }
    ExpectEverybodyToHearEverybody();
    // Neighbours are given up, incomplete packets expire.
    Run(100 * kSNs);
    ExpectNothingHeld();
    for (const Host& host : hosts_) {
      outcome_.checksum_errors += host.stack->stats().bad_checksum.value();
    }
    outcome_.digest ^= network_.digest();
    return outcome_;
  }

 private:
  struct Host {
    IpAddress ip;
    std::unique_ptr<NetstackTransport> transport;
    std::shared_ptr<Stack> stack;
    std::vector<std::unique_ptr<DatagramPort>> ports;
    sim::NodeId node = 0;
  };

  void AddHost(size_t i) {
    Host host;
    const std::string ip = absl::StrCat(scenario_.v4 ? "10.0.0." : "fd00::", i + 1);
    host.ip = *IpAddress::Parse(ip);
    config::Netstack config;
    config.add_addresses(ip + (scenario_.v4 ? "/24" : "/64"));
    config.set_datagram_bytes_max(kDatagramBytesMax);
    config.mutable_neighbor_cache()->set_probes_max(6);
    auto transport = NetstackTransport::Open(
        sim::OpenTransport(&network_, {.count = 512, .bytes = 2048}), config, /*workers=*/1);
    ASSERT_TRUE(transport.ok()) << transport.status();
    host.transport = *std::move(transport);
    for (size_t p = 0; p < kPorts; ++p) {
      const uint16_t number = static_cast<uint16_t>(kFirstPort + p);
      auto port = host.transport->OpenDatagramPort({.local = host.ip.ToAddress(number)});
      ASSERT_TRUE(port.ok()) << port.status();
      host.ports.push_back(*std::move(port));
    }
    host.stack = host.transport->StackOfThisThread();
    const MacAddress mac = host.stack->device().mac();
    for (size_t n = 2; n < 6; ++n) host.node = host.node << 8 | mac[n];
    hosts_.push_back(std::move(host));
  }

  void SendOne(size_t from, size_t to, size_t bytes) {
    if (from == to) return;
    const size_t port = random_.Below(kPorts);
    const Letter letter = {static_cast<uint16_t>(from), static_cast<uint16_t>(to),
                           static_cast<uint16_t>(kFirstPort + port), ++serial_,
                           static_cast<uint32_t>(bytes)};
    Datagram burst[] = {{UdpPort::PeerOf(hosts_[to].ip, letter.port), letters_.Allocate()}};
    ASSERT_TRUE(burst[0].buffer);
    uint8_t* const payload = burst[0].buffer.Append(bytes);
    // Short ones say nothing; only how many of them there are is known.
    if (bytes >= kHeaderBytes) letter.Write(payload);
    if (bytes < kHeaderBytes && bytes > 0) std::memset(payload, 0, bytes);
    if (hosts_[from].ports[random_.Below(kPorts)]->Send(absl::MakeSpan(burst)) == 1) {
      ++outcome_.sent;
    }
  }

  void Receive(size_t host, size_t port) {
    Datagram burst[16];
    while (const size_t n = hosts_[host].ports[port]->Receive(absl::MakeSpan(burst))) {
      for (Datagram& datagram : absl::MakeSpan(burst, n)) Check(host, port, datagram);
    }
  }

  void Check(size_t host, size_t port, Datagram& datagram) {
    ++outcome_.received;
    const Buffer buffer = std::move(datagram.buffer);
    const IpAddress source = UdpPort::IpOf(datagram.peer);
    outcome_.digest = (outcome_.digest ^ buffer.size() ^ static_cast<uint64_t>(network_.NowNs())) *
                      0x9e3779b97f4a7c15u;
    const auto is_source = [&](const Host& other) { return other.ip == source; };
    EXPECT_TRUE(std::any_of(hosts_.begin(), hosts_.end(), is_source)) << source.ToString();
    if (buffer.size() < kHeaderBytes) return;
    const Letter letter = Letter::Read(buffer.data());
    if (scenario_.corrupt > 0 && buffer.size() > kFrameBytes) {
      // Two flipped bits in two fragments may cancel each other out in a checksum of 16 bits.
      outcome_.undetected += IsAsSent(letter, buffer) ? 0 : 1;
      return;
    }
    ASSERT_EQ(letter.to, host) << "delivered to another host";
    ASSERT_EQ(letter.port, kFirstPort + port) << "delivered to another port";
    ASSERT_LT(letter.from, hosts_.size());
    ASSERT_EQ(hosts_[letter.from].ip, source);
    ASSERT_TRUE(IsAsSent(letter, buffer));
    expected_[letter.from * hosts_.size() + host] = true;
  }

  static bool IsAsSent(const Letter& letter, const Buffer& buffer) {
    if (letter.bytes != buffer.size()) return false;
    std::vector<uint8_t> original(letter.bytes);
    letter.Write(original.data());
    return std::memcmp(original.data(), buffer.data(), original.size()) == 0;
  }

  void Run(int64_t duration_ns) {
    const int64_t end_ns = network_.NowNs() + duration_ns;
    for (;;) {
      for (size_t host = 0; host < hosts_.size(); ++host) {
        for (size_t port = 0; port < kPorts; ++port) Receive(host, port);
      }
      if (network_.NowNs() >= end_ns) return;
      const int64_t next_ns =
          std::min({end_ns, network_.NextEventNs(), network_.timers().NextDeadlineNs()});
      network_.AdvanceTo(std::max(next_ns, network_.NowNs()));
      network_.timers().Advance(network_.NowNs());
    }
  }

  void Partition() {
    EXPECT_TRUE(network_.Partition({std::vector<sim::NodeId>{hosts_[0].node}}).ok());
  }

  // However bad the weather was: neighbours are found again.
  void ExpectEverybodyToHearEverybody() {
    expected_.assign(expected_.size(), false);
    for (int round = 0; round < 60; ++round) {
      for (size_t from = 0; from < hosts_.size(); ++from) {
        for (size_t to = 0; to < hosts_.size(); ++to) SendOne(from, to, 100);
      }
      Run(2 * kSNs);
    }
    for (size_t from = 0; from < hosts_.size(); ++from) {
      for (size_t to = 0; to < hosts_.size(); ++to) {
        EXPECT_TRUE(from == to || expected_[from * hosts_.size() + to])
            << from << " is not heard by " << to;
      }
    }
  }

  void ExpectNothingHeld() {
    EXPECT_EQ(letters_.available(), letters_.count());
    for (const Host& host : hosts_) {
      BufferPool& pool = host.stack->device().pool();
      EXPECT_EQ(pool.available(), pool.count());
    }
  }

  const Scenario scenario_;
  sim::Network network_;
  Prng random_;
  BufferPool letters_{{.count = 4096, .bytes = 8448, .headroom = 128}};
  std::vector<Host> hosts_;
  std::vector<bool> expected_;  // by from and to: something was heard
  uint32_t serial_ = 0;
  Outcome outcome_;
};

std::vector<Scenario> Table() {
  std::vector<Scenario> table;
  for (const bool v4 : {true, false}) {
    table.push_back({.stacks = 3, .v4 = v4});
    table.push_back({.stacks = 3, .v4 = v4, .loss = 0.1, .partition = true});
    table.push_back({.stacks = 4, .v4 = v4, .duplicate = 0.2, .reorder = 0.3, .jitter_ns = 20'000});
    table.push_back({.stacks = 3, .v4 = v4, .corrupt = 0.1});
    table.push_back({.stacks = 5,
                     .v4 = v4,
                     .loss = 0.05,
                     .duplicate = 0.1,
                     .reorder = 0.1,
                     .corrupt = 0.02,
                     .jitter_ns = 10'000,
                     .partition = true});
  }
  return table;
}

TEST(NetstackSimulationTest, WhatArrivesIsWhatWasSentAndNothingIsLeftBehind) {
  Outcome all;
  for (const Scenario& s : Table()) {
    for (const uint64_t seed : sim::SeedsToRun(kSeeds)) {
      SCOPED_TRACE(absl::StrFormat(
          "seed %u, %u stacks, v4 %d, loss %g, duplicate %g, reorder %g, corrupt %g, partition %d",
          seed, s.stacks, s.v4, s.loss, s.duplicate, s.reorder, s.corrupt, s.partition));
      const Outcome outcome = SimulatedRun(s, seed).Go();
      EXPECT_GT(outcome.received, outcome.sent / 3);
      if (s.loss == 0 && s.corrupt == 0 && s.duplicate == 0) {
        EXPECT_EQ(outcome.received, outcome.sent);
      }
      EXPECT_LT(outcome.undetected, outcome.received / 200 + 1);
      all.checksum_errors += outcome.checksum_errors;
      if (HasFailure()) return;
    }
  }
  EXPECT_GT(all.checksum_errors, 0u);
}

TEST(NetstackSimulationTest, TheSameSeedIsTheSameRun) {
  const uint64_t seed = sim::SeedsToRun(kSeeds).front();
  for (const bool v4 : {true, false}) {
    const Scenario scenario = {.stacks = 3,
                               .v4 = v4,
                               .loss = 0.05,
                               .duplicate = 0.1,
                               .reorder = 0.2,
                               .corrupt = 0.05,
                               .jitter_ns = 10'000};
    const Outcome once = SimulatedRun(scenario, seed).Go();
    EXPECT_EQ(once.digest, SimulatedRun(scenario, seed).Go().digest);
    EXPECT_NE(once.digest, SimulatedRun(scenario, seed + 1).Go().digest);
  }
}

}  // namespace
}  // namespace weft::netstack
