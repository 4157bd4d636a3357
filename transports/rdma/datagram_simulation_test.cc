// SPDX-License-Identifier: Apache-2.0
//
// Ports over simulated devices: many peers, some of whom die, restart and lie, over networks that
// lose, double, reorder and delay.
//
//   bazel run //transports/rdma:datagram_simulation_test -- 200     two hundred seeds
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/prng.h"
#include "weft/transports/rdma/rdma_transport.h"
#include "weft/transports/rdma/rendezvous_wire.h"
#include "weft/transports/rdma/sim_nic.h"
#include "weft/transports/rdma/sim_world.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/seeds.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rdma {
namespace {

constexpr uint64_t kSeeds = 5;
constexpr int64_t kMs = 1'000'000;

config::Transport ConfigOf(uint32_t receive_slots, uint32_t max_peers, uint32_t buffers) {
  config::Transport config;
  config.set_name("rdma");
  config.mutable_buffers()->set_count(buffers);
  config.mutable_buffers()->set_bytes(448);
  config.mutable_rdma()->set_receive_slots(receive_slots);
  config.mutable_rdma()->set_max_peers(max_peers);
  config.mutable_rdma()->set_connect_timeout_ms(200);
  config.mutable_rdma()->set_bulk_count(0);
  return config;
}

// One port on a device of its own.
class End {
 public:
  End(sim::Network* network, const std::string& name,
      const config::Transport& config = ConfigOf(64, 16, 256), int queue = 0, int queues = 1,
      SimNic* shared = nullptr)
      : network_(network), name_(name) {
    SimNicOptions options;
    options.limits.path_mtu_bytes = 256;
    if (shared == nullptr) own_ = *SimNic::Open(network, Address::Sim(name), options);
    nic_ = shared != nullptr ? shared : own_.get();
    transport_ = RdmaTransport::Over(SimWorld(network, nic_), config);
    auto port = transport_->OpenDatagramPort(
        {.local = Address::Sim(name), .queue = queue, .queues = queues});
    EXPECT_TRUE(port.ok()) << port.status();
    port_.reset(static_cast<RdmaDatagramPort*>(port->release()));
  }

  RdmaDatagramPort& port() { return *port_; }
  SimNic& nic() { return *nic_; }
  Address address() const { return Address::Sim(name_); }
  Peer PeerOf(const std::string& name) { return *port_->Resolve(Address::Sim(name)); }

  bool Send(const Peer& to, const std::string& text) {
    Datagram out[] = {{to, port_->pool().Allocate()}};
    if (!out[0].buffer) return false;
    std::memcpy(out[0].buffer.Append(text.size()), text.data(), text.size());
    return port_->Send(absl::MakeSpan(out)) == 1;
  }
  bool Send(const std::string& to, const std::string& text) { return Send(PeerOf(to), text); }

  // Returns how many came. Those of `echo` go back.
  size_t Poll() {
    if (stalled) return 0;
    Datagram in[32];
    size_t all = 0;
    for (size_t n; (n = port_->Receive(absl::MakeSpan(in))) > 0; all += n) {
      for (Datagram& datagram : absl::MakeSpan(in, n)) {
        const Buffer& buffer = datagram.buffer;
        texts.emplace_back(reinterpret_cast<const char*>(buffer.data()), buffer.size());
        last = datagram.peer;
        if (!echo) datagram.buffer.Reset();
      }
      if (echo) port_->Send(absl::MakeSpan(in, n));
    }
    PortEvent events[16];
    for (size_t n; (n = port_->TakeEvents(absl::MakeSpan(events))) > 0;) {
      seen.insert(seen.end(), events, events + n);
    }
    return all;
  }
  size_t Count(PortEvent::Kind kind) const {
    return static_cast<size_t>(std::count_if(
        seen.begin(), seen.end(), [&](const PortEvent& event) { return event.kind == kind; }));
  }
  // Without a word to anybody.
  void Die() {
    ASSERT_TRUE(network_->Partition({{*network_->AddNode(name_)}}).ok());
    port_.reset();
    network_->Heal();
  }
  void ExpectNothingIsLost() {
    const SimNic::Stats& stats = nic_->stats();
    EXPECT_EQ(stats.ud_overruns, 0u) << name_;
    EXPECT_EQ(stats.ud_too_long, 0u);
    EXPECT_TRUE(port_->status().ok()) << port_->status();
  }

  bool stalled = false;
  bool echo = false;
  std::vector<std::string> texts;
  std::vector<PortEvent> seen;
  Peer last;

 private:
  sim::Network* const network_;
  const std::string name_;
  std::unique_ptr<SimNic> own_;
  SimNic* nic_ = nullptr;
  std::unique_ptr<RdmaTransport> transport_;
  std::unique_ptr<RdmaDatagramPort> port_;
};

// Lets time pass, and all ends do what there is to do, until `done` or for so long.
bool Pass(
    sim::Network& network, const std::vector<End*>& ends, int64_t for_ns,
    absl::FunctionRef<bool()> done = [] { return false; }) {
  const int64_t end_ns = network.NowNs() + for_ns;
  for (;;) {
    for (size_t work = 1; work > 0;) {
      work = 0;
      for (End* end : ends) work += end->Poll();
    }
    if (done()) return true;
    const int64_t next_ns = std::min(network.NextEventNs(), network.timers().NextDeadlineNs());
    if (next_ns > end_ns) break;
    network.AdvanceTo(std::max(next_ns, network.NowNs()));
    network.timers().Advance(network.NowNs());
  }
  network.AdvanceTo(end_ns);
  network.timers().Advance(end_ns);
  return done();
}

std::string Numbered(const char* what, size_t n) { return absl::StrCat(what, n); }

// Many clients who all send as much as they may, all at once and for as long as they like, to a
// server who now and then does not look.
void CrowdedServer(uint64_t seed, size_t clients, const sim::LinkOptions& link, bool churn,
                   int rounds = 6) {
  SCOPED_TRACE(absl::StrCat("seed ", seed, ", ", clients, " clients"));
  sim::Network network(seed, link);
  network.set_tick_ns(clients > 100 ? 20'000 : 5'000);
  Prng random(seed);
  const auto slots = static_cast<uint32_t>(4 * clients + 64);
  End server(&network, "server", ConfigOf(slots, static_cast<uint32_t>(clients), 2 * slots));
  std::vector<std::unique_ptr<End>> crowd;
  for (size_t i = 0; i < clients; ++i) {
    crowd.push_back(std::make_unique<End>(&network, Numbered("client", i)));
  }
  uint64_t restarts = 0;
  for (int round = 0; round < rounds; ++round) {
    std::vector<End*> ends = {&server};
    for (auto& client : crowd) ends.push_back(client.get());
    const uint64_t before = server.texts.size();
    uint64_t sent = 0;
    for (auto& client : crowd) {
      for (int i = 0; i < 10; ++i) sent += client->Send("server", "a datagram");
    }
    server.stalled = round % 2 == 1;
    Pass(network, ends, 2 * kMs);
    server.stalled = false;
    const bool all = Pass(network, ends, 300 * kMs,
                          [&] { return link.loss == 0 && server.texts.size() - before >= sent; });
    if (link.loss == 0 && !churn) {
      EXPECT_TRUE(all) << server.texts.size() - before << " of " << sent;
    }
    // Of few, all may start anew at once and not get back in within this time.
    if (!churn || clients >= 8) {
      EXPECT_GT(server.texts.size() - before, sent / 4);
    }
    EXPECT_LE(server.port().shares().outstanding() + server.port().shares().reserve(), slots);
    ASSERT_NO_FATAL_FAILURE(server.ExpectNothingIsLost());
    for (size_t i = 0; churn && i < clients; ++i) {
      if (!random.Chance(0.1)) continue;
      ++restarts;
      if (random.Chance(0.5)) crowd[i]->Die();
      crowd[i].reset();
      crowd[i] = std::make_unique<End>(&network, Numbered("client", i));
    }
  }
  EXPECT_EQ(churn, restarts > 0);
  crowd.clear();
  Pass(network, {&server}, 2'000 * kMs);
  EXPECT_EQ(server.port().stats().receive_malformed, 0u);
}

TEST(DatagramSimulation, AThousandPeersWithFullCreditsNeverOverrunAReceiver) {
  CrowdedServer(1, 1000, {.queue_packets = 1 << 20}, /*churn=*/false, /*rounds=*/2);
}

TEST(DatagramSimulation, CrowdsOverBadNetworks) {
  for (const uint64_t seed : sim::SeedsToRun(kSeeds)) {
    Prng random(seed);
    CrowdedServer(seed, 1 + random.Below(60),
                  {.jitter_ns = static_cast<int64_t>(random.Below(50'000)),
                   .queue_packets = 1 << 20,
                   .loss = 0.1 * random.Unit(),
                   .duplicate = 0.05 * random.Unit(),
                   .reorder = 0.1 * random.Unit()},
                  /*churn=*/true);
  }
}

// Requests and replies over a bad network: nobody gets stuck for good, whatever was lost.
TEST(DatagramSimulation, LostCreditsAreFoundAgain) {
  for (const uint64_t seed : sim::SeedsToRun(kSeeds)) {
    sim::Network network(seed, {.loss = 0.2, .duplicate = 0.05, .reorder = 0.1});
    End a(&network, "a"), b(&network, "b");
    b.echo = true;
    for (int i = 0; i < 300; ++i) {
      a.Send("b", absl::StrCat(i));
      Pass(network, {&a, &b}, 1 * kMs);
    }
    Pass(network, {&a, &b}, 500 * kMs);
    EXPECT_GT(a.texts.size(), 100u) << "seed " << seed;
    // Whatever happened, it works now.
    const size_t before = b.texts.size();
    for (int i = 0; i < 50; ++i) {
      a.Send("b", "again");
      Pass(network, {&a, &b}, 20 * kMs);
    }
    EXPECT_GT(b.texts.size(), before + 20) << "seed " << seed;
    a.ExpectNothingIsLost();
    b.ExpectNothingIsLost();
  }
}

TEST(DatagramSimulation, APeerThatRestartsIsFoundAgainUnderTheSamePeer) {
  sim::Network network(1);
  End a(&network, "a");
  auto b = std::make_unique<End>(&network, "b");
  const Peer peer = a.PeerOf("b");
  ASSERT_TRUE(a.Send(peer, "before"));
  ASSERT_TRUE(Pass(network, {&a, b.get()}, 100 * kMs, [&] { return b->texts.size() == 1; }));
  b->Die();
  b.reset();
  b = std::make_unique<End>(&network, "b");
  // It knows nothing of a; a notices when it hears nothing.
  bool came = false;
  for (int i = 0; i < 20 && !came; ++i) {
    a.Send(peer, "after");
    came = Pass(network, {&a, b.get()}, 50 * kMs, [&] { return !b->texts.empty(); });
  }
  EXPECT_TRUE(came);
  EXPECT_EQ(a.PeerOf("b"), peer);
  EXPECT_EQ(a.port().port_counts().connections, 2u);
}

TEST(DatagramSimulation, WhoLeavesSaysSo) {
  sim::Network network(1);
  End a(&network, "a");
  auto b = std::make_unique<End>(&network, "b");
  ASSERT_TRUE(a.Send("b", "hello"));
  ASSERT_TRUE(Pass(network, {&a, b.get()}, 100 * kMs, [&] { return b->texts.size() == 1; }));
  b.reset();
  Pass(network, {&a}, 10 * kMs);
  ASSERT_EQ(a.Count(PortEvent::Kind::kPeerClosed), 1u);
  EXPECT_EQ(a.seen[0].peer, a.PeerOf("b"));
  EXPECT_EQ(*a.port().AddressOf(a.seen[0].peer), Address::Sim("b"));
  // The receive slots it had are given to others in time.
  Pass(network, {&a}, 200 * kMs);
  EXPECT_EQ(a.port().shares().outstanding(), 0u);
}

TEST(DatagramSimulation, ADeadPeerHoldsUpNobodyAndWhatWaitsForItIsBounded) {
  sim::Network network(1);
  End a(&network, "a"), b(&network, "b");
  const Peer dead = a.PeerOf("nobody");
  const Peer alive = a.PeerOf("b");
  for (int i = 0; i < 500; ++i) ASSERT_TRUE(a.Send(dead, "is anybody there?"));
  EXPECT_GT(a.port().stats().send_failed, 480u);  // of 256 buffers, 32 may wait
  ASSERT_TRUE(a.Send(alive, "hello"));
  EXPECT_TRUE(Pass(network, {&a, &b}, 1 * kMs, [&] { return b.texts.size() == 1; }));
  Pass(network, {&a, &b}, 400 * kMs);
  ASSERT_EQ(a.Count(PortEvent::Kind::kPeerUnreachable), 1u);
  EXPECT_EQ(a.seen[0].peer, dead);
  EXPECT_EQ(a.seen[0].error, ECONNREFUSED);
  EXPECT_FALSE(a.port().WhyUnreachable(dead).ok());
  EXPECT_EQ(a.port().stats().send_failed, 500u);
}

TEST(DatagramSimulation, APeerThatStopsWithoutAWordIsUnreachable) {
  sim::Network network(1);
  End a(&network, "a"), b(&network, "b");
  ASSERT_TRUE(a.Send("b", "hello"));
  ASSERT_TRUE(Pass(network, {&a, &b}, 100 * kMs, [&] { return b.texts.size() == 1; }));
  Pass(network, {&a, &b}, 5 * kMs);
  b.stalled = true;
  ASSERT_TRUE(a.Send("b", "are you there?"));
  Pass(network, {&a, &b}, 1'000 * kMs);
  ASSERT_EQ(a.Count(PortEvent::Kind::kPeerUnreachable), 1u);
  EXPECT_EQ(a.seen[0].error, ETIMEDOUT);
  // And when it goes on, it is reached again.
  b.stalled = false;
  ASSERT_TRUE(a.Send("b", "now?"));
  EXPECT_TRUE(Pass(network, {&a, &b}, 500 * kMs,
                   [&] { return !b.texts.empty() && b.texts.back() == "now?"; }));
}

TEST(DatagramSimulation, MorePeersThanThereAreSlotsForAreRefusedWithTheReason) {
  sim::Network network(1);
  End server(&network, "server", ConfigOf(64, 2, 256));
  std::vector<std::unique_ptr<End>> clients;
  std::vector<End*> all = {&server};
  for (int i = 0; i < 3; ++i) {
    clients.push_back(std::make_unique<End>(&network, Numbered("client", i)));
    all.push_back(clients.back().get());
    clients.back()->Send("server", "hello");
    Pass(network, all, 10 * kMs);
  }
  EXPECT_EQ(server.texts.size(), 2u);
  Pass(network, all, 400 * kMs);
  ASSERT_EQ(clients[2]->Count(PortEvent::Kind::kPeerUnreachable), 1u);
  EXPECT_EQ(clients[2]->seen[0].error, ENOBUFS);
  EXPECT_TRUE(absl::StrContains(
      clients[2]->port().WhyUnreachable(clients[2]->seen[0].peer).message(), "2 peers"));
  // There is room when another has gone.
  all.erase(all.begin() + 1);
  clients[0].reset();
  clients[2]->Send("server", "now?");
  EXPECT_TRUE(Pass(network, all, 190 * kMs, [&] { return server.texts.size() == 3; }));
}

// Both were kept from looking for longer than a question may take.
TEST(DatagramSimulation, WhoWasNotPolledDoesNotGiveUpAtOnce) {
  sim::Network network(1);
  End a(&network, "a"), b(&network, "b");
  ASSERT_TRUE(a.Send("b", "hello"));
  network.AdvanceTo(network.NowNs() + 1'000 * kMs);
  EXPECT_TRUE(Pass(network, {&a, &b}, 100 * kMs, [&] { return b.texts.size() == 1; }));
  EXPECT_TRUE(a.seen.empty());
}

// Nothing is ever sent to them, so that nobody else would notice.
TEST(DatagramSimulation, TheDeadDoNotKeepTheirPlaces) {
  sim::Network network(1);
  End server(&network, "server", ConfigOf(64, 2, 256));
  for (int i = 0; i < 6; ++i) {
    End client(&network, Numbered("client", i));
    bool came = false;
    for (int k = 0; k < 10 && !came; ++k) {
      client.Send("server", client.address().name());
      came = Pass(network, {&server, &client}, 100 * kMs, [&] {
        return !server.texts.empty() && server.texts.back() == client.address().name();
      });
    }
    EXPECT_TRUE(came) << i;
    client.Die();
  }
  // The living keep them.
  End first(&network, "first"), second(&network, "second"), third(&network, "third");
  for (End* end : {&first, &second}) {
    for (int k = 0; k < 10; ++k) {
      end->Send("server", "here");
      Pass(network, {&server, &first, &second}, 100 * kMs);
    }
  }
  const uint64_t connections = server.port().port_counts().connections;
  for (int k = 0; k < 10; ++k) {
    third.Send("server", "is there room?");
    Pass(network, {&server, &first, &second, &third}, 100 * kMs);
  }
  EXPECT_GT(server.port().port_counts().resumed, 0u);
  EXPECT_EQ(server.port().port_counts().connections, connections);
  EXPECT_GE(third.Count(PortEvent::Kind::kPeerUnreachable), 1u);
}

// A peer starts anew while datagrams wait for it, and there are no slots for it just then: its
// place may be given to others, what waits for it may not.
TEST(DatagramSimulation, WhatWaitsForOneIsNotSentToAnother) {
  sim::Network network(1);
  End a(&network, "a", ConfigOf(64, 1, 256));
  auto b = std::make_unique<End>(&network, "b");
  ASSERT_TRUE(a.Send("b", "hello"));
  ASSERT_TRUE(Pass(network, {&a, b.get()}, 100 * kMs, [&] { return b->texts.size() == 1; }));
  b->stalled = true;
  for (int i = 0; i < 40; ++i) a.Send("b", "a secret for b");
  ASSERT_GT(a.port().port_counts().waited, 0u);
  b->Die();
  b.reset();
  b = std::make_unique<End>(&network, "b");
  b->Send("a", "here again");
  ASSERT_TRUE(Pass(network, {&a, b.get()}, 3 * kMs,
                   [&] { return a.port().rendezvous().stats().refused > 0; }));
  b->stalled = true;
  End c(&network, "c"), d(&network, "d");
  for (int i = 0; i < 20; ++i) {
    a.Send("c", "for c");
    a.Send("d", "for d");
    Pass(network, {&a, &c, &d}, 50 * kMs);
  }
  EXPECT_GT(c.texts.size() + d.texts.size(), 0u);
  for (const std::string& text : c.texts) EXPECT_EQ(text, "for c");
  for (const std::string& text : d.texts) EXPECT_EQ(text, "for d");
}

TEST(DatagramSimulation, BothMayBeginAtOnce) {
  uint64_t repeated = 0;
  for (const uint64_t seed : sim::SeedsToRun(4 * kSeeds)) {
    sim::Network network(seed, {.jitter_ns = 20'000, .loss = 0.3});
    End a(&network, "a"), b(&network, "b");
    EXPECT_TRUE(Pass(network, {&a, &b}, 3'000 * kMs,
                     [&] {
                       if (a.texts.size() < 5) b.Send("a", "from b");
                       if (b.texts.size() < 5) a.Send("b", "from a");
                       return a.texts.size() >= 5 && b.texts.size() >= 5;
                     }))
        << "seed " << seed;
    a.ExpectNothingIsLost();
    b.ExpectNothingIsLost();
    for (End* end : {&a, &b}) {
      // A question that comes again is answered as it was: nobody connects twice for it.
      repeated += end->port().rendezvous().stats().answered_again;
      EXPECT_LE(end->port().port_counts().connections, 2u) << "seed " << seed;
    }
  }
  EXPECT_GT(repeated, 0u);
}

TEST(DatagramSimulation, WorkersShareAnAddressAndEachPeerHasOneOfThem) {
  sim::Network network(1);
  End worker0(&network, "server", ConfigOf(64, 16, 256), 0, 2);
  End worker1(&network, "server", ConfigOf(64, 16, 256), 1, 2, &worker0.nic());
  worker0.echo = worker1.echo = true;
  std::vector<std::unique_ptr<End>> clients;
  std::vector<End*> all = {&worker0, &worker1};
  for (int i = 0; i < 6; ++i) {
    clients.push_back(std::make_unique<End>(&network, Numbered("client", i)));
    all.push_back(clients.back().get());
    for (int k = 0; k < 4; ++k) clients.back()->Send("server", clients.back()->address().name());
  }
  Pass(network, all, 50 * kMs);
  EXPECT_EQ(worker0.texts.size() + worker1.texts.size(), 24u);
  EXPECT_GT(worker0.texts.size(), 0u);
  EXPECT_GT(worker1.texts.size(), 0u);
  for (const std::string& text : worker0.texts) {
    EXPECT_EQ(std::count(worker1.texts.begin(), worker1.texts.end(), text), 0) << text;
  }
  for (auto& client : clients) EXPECT_EQ(client->texts.size(), 4u);
  // Either of them may begin, with one and the same peer as well.
  End other(&network, "other");
  all.push_back(&other);
  worker0.Send("other", "from 0");
  worker1.Send("other", "from 1");
  Pass(network, all, 50 * kMs);
  ASSERT_EQ(other.texts.size(), 2u);
  EXPECT_EQ(*other.port().AddressOf(other.last), worker0.address());
}

TEST(DatagramSimulation, EventsOfTheDevice) {
  sim::Network network(1);
  End a(&network, "a"), b(&network, "b");
  ASSERT_TRUE(a.Send("b", "hello"));
  ASSERT_TRUE(Pass(network, {&a, &b}, 100 * kMs, [&] { return b.texts.size() == 1; }));
  b.nic().SetLink(false);
  a.Send("b", "lost");
  Pass(network, {&a, &b}, 50 * kMs);
  EXPECT_EQ(b.Count(PortEvent::Kind::kLinkDown), 1u);
  b.nic().SetLink(true);
  a.Send("b", "hello again");
  EXPECT_TRUE(Pass(network, {&a, &b}, 300 * kMs, [&] { return b.texts.size() >= 2; }));
  EXPECT_EQ(b.Count(PortEvent::Kind::kLinkUp), 1u);
  b.nic().Remove();
  Pass(network, {&b}, 5 * kMs);
  EXPECT_EQ(b.port().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(b.Send("a", "from the dead"));
  a.nic().FailQueue(a.port().queue().qpn);
  Pass(network, {&a}, 5 * kMs);
  EXPECT_FALSE(a.port().status().ok());
}

TEST(DatagramSimulation, TheLastEventOfTheLinkIsHowItIs) {
  sim::Network network(1);
  End a(&network, "a");
  for (const bool up : {false, true, false}) {
    a.nic().SetLink(up);
    Datagram none[1];
    network.AdvanceTo(network.NowNs() + kMs);
    EXPECT_EQ(a.port().Receive(absl::MakeSpan(none)), 0u);
  }
  a.Poll();
  ASSERT_FALSE(a.seen.empty());
  EXPECT_EQ(a.seen.back().kind, PortEvent::Kind::kLinkDown);
}

// Zeros are what stands in places where there is no connection.
TEST(DatagramSimulation, NobodySpeaksForAPeerThatHasNoConnection) {
  sim::Network network(1);
  End b(&network, "b");
  auto a = std::make_unique<End>(&network, "a");
  ASSERT_TRUE(a->Send("b", "hello"));
  ASSERT_TRUE(Pass(network, {a.get(), &b}, 100 * kMs, [&] { return b.texts.size() == 1; }));
  a.reset();
  ASSERT_TRUE(Pass(network, {&b}, 100 * kMs, [&] { return !b.seen.empty(); }));
  auto nic = *SimNic::Open(&network, Address::Sim("a"));
  const QueueAddress to = b.port().queue();
  for (const uint32_t sequence : {0u, 5u, 0xffffffffu}) {
    uint8_t bytes[kHeaderBytes];
    WriteHeader({.number = 0, .sequence = sequence, .edge = 100}, bytes);
    nic->Transmit(to.gid, to.qpn, /*from_qpn=*/0, to.qkey, bytes);
    Pass(network, {&b}, kMs);
  }
  EXPECT_EQ(b.texts.size(), 1u);
  EXPECT_EQ(b.port().port_counts().stray, 3u);
  const uint64_t sent = b.nic().stats().ud_sent;
  b.Send("a", "is nobody there?");
  Pass(network, {&b}, 10 * kMs);
  EXPECT_EQ(b.nic().stats().ud_sent, sent);
}

// Somebody who knows the queue's number and key, and nothing else that he should.
TEST(DatagramSimulation, StrangersAndLiarsAreCountedAndDropped) {
  sim::Network network(1);
  End a(&network, "a"), b(&network, "b");
  ASSERT_TRUE(a.Send("b", "hello"));
  ASSERT_TRUE(Pass(network, {&a, &b}, 100 * kMs, [&] { return b.texts.size() == 1; }));
  auto nic = *SimNic::Open(&network, Address::Sim("stranger"));
  const QueueAddress to = b.port().queue();
  Prng random(1);
  for (int i = 0; i < 2000; ++i) {
    uint8_t bytes[64];
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.Next());
    if (i % 2 == 0) {
      WriteHeader({.number = static_cast<uint32_t>(random.Below(4)) << PeerTable::kIndexBits,
                   .edge = static_cast<uint32_t>(random.Next())},
                  bytes);
    }
    nic->Transmit(to.gid, to.qpn, 77, to.qkey, absl::MakeSpan(bytes, random.Below(65)));
    Pass(network, {&a, &b}, 20'000);
  }
  EXPECT_EQ(b.texts.size(), 1u);
  EXPECT_EQ(b.port().stats().receive_malformed + b.port().port_counts().stray, 2000u);
  ASSERT_TRUE(a.Send("b", "still there?"));
  EXPECT_TRUE(Pass(network, {&a, &b}, 100 * kMs, [&] { return b.texts.size() == 2; }));
}

// The same at the place where peers meet: messages that are cut, changed, and made up.
TEST(DatagramSimulation, NonsenseAtTheRendezvousIsCountedAndDropped) {
  sim::Network network(1);
  End a(&network, "a"), b(&network, "b");
  auto transport = sim::OpenTransport(&network, {.count = 64, .bytes = 768});
  auto stranger = *transport->OpenDatagramPort({.local = Address::Sim("stranger")});
  const Peer to = *stranger->Resolve(b.address());
  Prng random(1);
  for (int i = 0; i < 500; ++i) {
    RendezvousMessage message = {.id = 1};
    message.kind = static_cast<RendezvousMessage::Kind>(1 + random.Below(4));
    message.offer.incarnation = 5;
    message.code = 8;
    uint8_t bytes[RendezvousMessage::kMaxBytes];
    size_t size = WriteRendezvous(message, absl::MakeSpan(bytes));
    if (i % 2 == 0) size -= 1 + random.Below(size);
    if (i % 2 == 1) bytes[random.Below(6)] ^= 0x80;
    Datagram out[] = {{to, stranger->pool().Allocate()}};
    std::memcpy(out[0].buffer.Append(size), bytes, size);
    ASSERT_EQ(stranger->Send(absl::MakeSpan(out)), 1u);
    Pass(network, {&a, &b}, kMs / 10);
  }
  EXPECT_EQ(b.port().rendezvous().stats().malformed, 500u);
  // Offers that are well formed and make no sense are refused.
  for (uint32_t i = 0; i < 8; ++i) {
    RendezvousMessage ask = {.id = 10 + i};
    ask.offer = {.service = Offer::Service::kDatagrams,
                 .worker = 0,
                 .path_mtu_bytes = static_cast<uint16_t>(i == 1 ? 3 : 256),
                 .queue = {},
                 .peer_number = i == 3 ? 0u : 77u,
                 .credits = i == 4   ? 0u
                            : i == 5 ? 1u << 30
                                     : 16u,
                 .sequence = i == 6 ? 9u : 0u,
                 .incarnation = 5,
                 .resumes = i == 7};
    ask.offer.queue.qpn = i == 2 ? 0 : 5;
    if (i == 0) continue;
    Datagram out[] = {{to, stranger->pool().Allocate()}};
    uint8_t* const bytes = out[0].buffer.Append(RendezvousMessage::kMaxBytes);
    const size_t size = WriteRendezvous(ask, {bytes, RendezvousMessage::kMaxBytes});
    out[0].buffer.TrimBack(RendezvousMessage::kMaxBytes - size);
    ASSERT_EQ(stranger->Send(absl::MakeSpan(out)), 1u);
    Pass(network, {&a, &b}, kMs);
  }
  EXPECT_EQ(b.port().rendezvous().stats().refused, 7u);
  EXPECT_EQ(b.port().port_counts().connections, 0u);
  ASSERT_TRUE(a.Send("b", "hello"));
  EXPECT_TRUE(Pass(network, {&a, &b}, 100 * kMs, [&] { return b.texts.size() == 1; }));
}

TEST(DatagramSimulation, SmallMessagesCostFewWorkRequests) {
  sim::Network network(1);
  End a(&network, "a", ConfigOf(256, 4, 512)), b(&network, "b", ConfigOf(256, 4, 512));
  b.echo = true;
  a.Send("b", "first");
  ASSERT_TRUE(Pass(network, {&a, &b}, 100 * kMs, [&] { return a.texts.size() == 1; }));
  const UdQueue::Counts before = a.port().counts();
  constexpr size_t kCalls = 1000;
  for (size_t i = 0; i < kCalls; ++i) {
    ASSERT_TRUE(a.Send("b", "a request of some bytes"));
    ASSERT_TRUE(Pass(network, {&a, &b}, 10 * kMs, [&] { return a.texts.size() == i + 2; }));
  }
  const UdQueue::Counts after = a.port().counts();
  EXPECT_EQ(after.send_posts - before.send_posts, kCalls);
  EXPECT_EQ(after.receive_completions - before.receive_completions, kCalls);
  EXPECT_LE(after.send_completions - before.send_completions, kCalls / 16 + 1);
  EXPECT_LE(after.receive_doorbells - before.receive_doorbells, kCalls / 16 + 1);
  // A burst rings once.
  std::vector<Datagram> burst;
  for (int i = 0; i < 12; ++i) burst.push_back({a.PeerOf("b"), a.port().pool().Allocate()});
  EXPECT_EQ(a.port().Send(absl::MakeSpan(burst)), 12u);
  EXPECT_EQ(a.port().counts().send_doorbells, after.send_doorbells + 1);
}

// Inline ones and long ones. The simulated devices always have something left to send: when one
// begins anew it makes an event, which allocates.
TEST(DatagramSimulation, DatagramsAllocateNothing) {
  sim::Network network(1);
  SimNicOptions device;
  device.limits.path_mtu_bytes = 256;
  device.work_request_ns = 10'000;
  const auto nic_a = *SimNic::Open(&network, Address::Sim("a"), device);
  const auto nic_b = *SimNic::Open(&network, Address::Sim("b"), device);
  End a(&network, "a", ConfigOf(256, 4, 2048), 0, 1, nic_a.get());
  End b(&network, "b", ConfigOf(256, 4, 2048), 0, 1, nic_b.get());
  ASSERT_TRUE(a.Send("b", "hello"));
  ASSERT_TRUE(Pass(network, {&a, &b}, 10 * kMs, [&] { return b.texts.size() == 1; }));
  const Peer to_b = a.PeerOf("b"), to_a = b.PeerOf("a");
  const std::string texts[] = {"short", std::string(200, 'x'), "also short"};
  int64_t allocations = 0;
  uint64_t received = 0;
  for (int i = 0; i < 3000; ++i) {
    // Two leave a device in each round.
    const int count = i == 0 ? 12 : 2;
    const int64_t before = AllocationsOfThisThread();
    for (int k = 0; k < count; ++k) {
      ASSERT_TRUE(a.Send(to_b, texts[(i + k) % 3]));
      ASSERT_TRUE(b.Send(to_a, texts[(i + k) % 3]));
    }
    Datagram in[8];
    for (End* end : {&a, &b}) {
      received += end->port().Receive(absl::MakeSpan(in));
      for (Datagram& datagram : in) datagram.buffer.Reset();
    }
    if (i >= 1000) allocations += AllocationsOfThisThread() - before;
    network.AdvanceTo(network.NowNs() + 20'000);
    network.timers().Advance(network.NowNs());
  }
  EXPECT_GT(received, 11'000u);
  EXPECT_EQ(a.port().stats().send_failed + b.port().stats().send_failed, 0u);
  EXPECT_LT(a.port().port_counts().waited, 30u);  // at the beginning
  EXPECT_EQ(allocations, 0);
}

}  // namespace
}  // namespace weft::rdma
