// SPDX-License-Identifier: Apache-2.0
//
// Ports over simulated devices: many peers, some of whom die, restart and share workers, over
// networks that lose, double, reorder and delay.
//
//   bazel run //transports/rdma:datagram_simulation_test -- 200     two hundred seeds
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/transports/rdma/datagram_fixture.h"
#include "weft/transports/sim/seeds.h"

namespace weft::rdma {
namespace {

constexpr uint64_t kSeeds = 5;

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

// Many have been busy, one after the other, and are silent now. Who is busy next gets what they
// hold.
TEST(DatagramSimulation, WhatTheSilentHoldIsLentToTheBusy) {
  for (const uint64_t seed : sim::SeedsToRun(2)) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    const double loss = seed % 2 == 0 ? 0.02 : 0;
    sim::Network network(seed, {.queue_packets = 1 << 20, .loss = loss, .duplicate = loss});
    End server(&network, "server", ConfigOf(512, 24, 2048));
    const uint32_t lendable = server.port().shares().free();
    std::vector<std::unique_ptr<End>> clients;
    std::vector<End*> all = {&server};
    // How much a burst of the client brings at once, in the end.
    const auto be_busy = [&](End& client) {
      size_t came = 0;
      for (int round = 0; round < 30; ++round) {
        const size_t before = server.texts.size();
        for (int i = 0; i < 30; ++i) client.Send("server", "a datagram");
        Pass(network, all, 100'000);
        came = server.texts.size() - before;
        Pass(network, all, 12 * kMs);
      }
      return came;
    };
    for (size_t i = 0; i < 10; ++i) {
      clients.push_back(std::make_unique<End>(&network, Numbered("client", i)));
      all.push_back(clients.back().get());
      be_busy(*clients.back());
    }
    clients[3]->stalled = true;  // it does not look, and loses nothing by that
    End late(&network, "late");
    all.push_back(&late);
    be_busy(late);
    EXPECT_GT(be_busy(late), loss == 0 ? 20u : 0u);
    EXPECT_GE(server.port().shares().free(), lendable / 5);
    EXPECT_GT(server.port().port_counts().recalled, 0u);
    EXPECT_TRUE(server.seen.empty());
    clients[3]->stalled = false;
    // Those who gave something back go on as before.
    for (auto& client : clients) {
      const size_t before = server.texts.size();
      for (int i = 0; i < 10; ++i) client->Send("server", "again");
      EXPECT_TRUE(Pass(network, all, 50 * kMs,
                       [&] { return server.texts.size() - before >= (loss == 0 ? 10u : 1u); }));
    }
    EXPECT_GT(clients[0]->port().port_counts().given_back, 0u);
    server.ExpectNothingIsLost();
  }
}

// They begin to send just as they are asked to give back what they hold, on devices that are slow
// to send it, so that their answers come first: what they have sent needs its slots all the same.
TEST(DatagramSimulation, WhatIsOnItsWayIsNotLentAnew) {
  sim::Network network(1, {.queue_packets = 1 << 20});
  End server(&network, "server", ConfigOf(512, 24, 2048));
  std::vector<std::unique_ptr<SimNic>> devices;
  std::vector<std::unique_ptr<End>> clients;
  std::vector<End*> all = {&server};
  const auto be_busy = [&](End& client, int rounds) {
    bool recalled = false;
    for (int round = 0; round < rounds && !recalled; ++round) {
      for (int i = 0; i < 30; ++i) client.Send("server", "a datagram");
      recalled =
          Pass(network, all, 12 * kMs, [&] { return server.port().port_counts().recalled > 0; });
    }
    return recalled;
  };
  for (size_t i = 0; i < 10; ++i) {
    SimNicOptions slow;
    slow.limits.path_mtu_bytes = 256;
    slow.work_request_ns = 20'000;
    const std::string name = Numbered("client", i);
    devices.push_back(*SimNic::Open(&network, Address::Sim(name), slow));
    clients.push_back(
        std::make_unique<End>(&network, name, ConfigOf(64, 16, 256), 0, 1, devices.back().get()));
    all.push_back(clients.back().get());
    if (be_busy(*clients.back(), 10)) break;
  }
  End late(&network, "late");
  all.push_back(&late);
  ASSERT_TRUE(be_busy(late, 100));
  for (int i = 0; i < 3; ++i) {
    for (auto& client : clients) {
      for (int k = 0; k < 30; ++k) client->Send("server", "a datagram");
    }
    for (int k = 0; k < 30; ++k) late.Send("server", "a datagram");
    Pass(network, all, 100'000);
  }
  server.stalled = true;
  Pass(network, all, 20 * kMs);
  server.stalled = false;
  Pass(network, all, 100 * kMs);
  server.ExpectNothingIsLost();
  EXPECT_EQ(server.port().port_counts().late, 0u) << "taken for lost";
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

// Nor while others want more slots all the time.
TEST(DatagramSimulation, TheDeadDoNotKeepTheirPlacesFromTheBusy) {
  sim::Network network(1);
  End server(&network, "server", ConfigOf(64, 2, 256));
  End busy(&network, "busy"), late(&network, "late");
  {
    End dead(&network, "dead");
    dead.Send("server", "hello");
    ASSERT_TRUE(
        Pass(network, {&server, &dead}, 100 * kMs, [&] { return server.texts.size() == 1; }));
    dead.Die();
  }
  const auto connected = [&] { return server.port().port_counts().connections == 3; };
  for (int i = 0; i < 3000 && !connected(); ++i) {
    for (int k = 0; k < 20; ++k) busy.Send("server", "more");
    if (i % 200 == 100) late.Send("server", "is there room?");
    Pass(network, {&server, &busy, &late}, kMs / 2);
  }
  EXPECT_TRUE(connected());
}

// Who is asked to give back slots and does not look is none the less found to be away by those who
// have something for him.
TEST(DatagramSimulation, WhoIsAskedForSlotsIsFoundToBeAwayAsWell) {
  sim::Network network(1);
  End server(&network, "server", ConfigOf(64, 2, 256));
  End away(&network, "away"), busy(&network, "busy");
  for (int i = 0; i < 30; ++i) {
    for (int k = 0; k < 30; ++k) away.Send("server", "more");
    Pass(network, {&server, &away}, 12 * kMs);
  }
  away.stalled = true;
  const auto be_busy = [&](int rounds) {
    for (int i = 0; i < rounds && server.seen.empty(); ++i) {
      for (int k = 0; k < 30; ++k) busy.Send("server", "more");
      Pass(network, {&server, &busy}, kMs);
    }
  };
  be_busy(500);
  EXPECT_GT(server.port().port_counts().recalled, 0u);
  EXPECT_TRUE(server.seen.empty()) << "nobody misses it";
  server.Send("away", "are you there?");
  be_busy(1000);
  ASSERT_EQ(server.Count(PortEvent::Kind::kPeerUnreachable), 1u);
  EXPECT_EQ(server.seen[0].error, ETIMEDOUT);
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

}  // namespace
}  // namespace weft::rdma
