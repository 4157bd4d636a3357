// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/neighbor_cache.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/clock.h"

namespace weft::netstack {
namespace {

constexpr int64_t kS = 1'000'000'000;
constexpr int64_t kMs = 1'000'000;

MacAddress Mac(uint32_t n) {
  return {2,
          0,
          static_cast<uint8_t>(n >> 24),
          static_cast<uint8_t>(n >> 16),
          static_cast<uint8_t>(n >> 8),
          static_cast<uint8_t>(n)};
}
IpAddress Ip(uint32_t n) { return IpAddress::V4(0x0a000000 + n); }

class NeighborCacheTest : public testing::Test, public NeighborCache::Delegate {
 protected:
  // "ask 10.0.0.2", or "ask 10.0.0.2 at 02:..." for a unicast probe.
  void Solicit(const IpAddress& target, const MacAddress* to) override {
    said_.push_back("ask " + target.ToString() + (to ? " at " + MacToString(*to) : ""));
  }
  void SendResolved(Buffer packet, const MacAddress& mac) override {
    said_.push_back("send " + std::to_string(packet.data()[0]) + " to " + MacToString(mac));
  }
  void Unresolved(const IpAddress& neighbor, const Buffer& packet) override {
    said_.push_back("lost " + std::to_string(packet.data()[0]) + " for " + neighbor.ToString());
  }

  Buffer Packet(uint8_t id) {
    Buffer packet = pool_.Allocate();
    *packet.Append(1) = id;
    return packet;
  }
  void Enqueue(uint32_t neighbor, uint8_t id) {
    cache_.Enqueue(Ip(neighbor), Packet(id), clock_.NowNs());
  }
  void Answer(uint32_t neighbor, uint32_t mac, bool solicited = true, bool override = true) {
    cache_.OnAnswer(Ip(neighbor), Mac(mac), solicited, override, clock_.NowNs());
  }
  void Request(uint32_t neighbor, uint32_t mac) {
    cache_.OnRequest(Ip(neighbor), Mac(mac), clock_.NowNs());
  }
  // "" if it is not known.
  std::string Lookup(uint32_t neighbor) {
    const MacAddress* mac = cache_.Lookup(Ip(neighbor), clock_.NowNs(), &valid_until_ns_);
    return mac == nullptr ? "" : MacToString(*mac);
  }
  std::string State(uint32_t neighbor) {
    for (const NeighborCache::Entry& entry : cache_.Snapshot(clock_.NowNs())) {
      if (entry.address == Ip(neighbor)) return std::string(NeighborStateName(entry.state));
    }
    return "";
  }
  // Makes it known and confirmed.
  void Resolve(uint32_t neighbor, uint32_t mac) {
    Enqueue(neighbor, 0);
    Answer(neighbor, mac);
    said_.clear();
  }
  void Run(int64_t duration_ns) {
    const int64_t end_ns = clock_.NowNs() + duration_ns;
    while (clock_.NowNs() < end_ns) {
      clock_.Set(std::min(end_ns, std::max(wheel_.NextDeadlineNs(), clock_.NowNs() + 1)));
      wheel_.Advance(clock_.NowNs());
    }
  }
  std::vector<std::string> Said() { return std::exchange(said_, {}); }
  using Lines = std::vector<std::string>;

  BufferPool pool_{{.count = 256, .bytes = 64, .headroom = 0}};
  ManualClock clock_{1000 * kS};
  TimerWheel wheel_{clock_.NowNs()};
  NeighborCache cache_{
      {.entries_max = 8, .waiting_packets_max = 3, .waiting_packets_total_max = 6}, &wheel_, this};
  std::vector<std::string> said_;
  int64_t valid_until_ns_ = 0;
};

TEST_F(NeighborCacheTest, PacketsWaitForTheAnswerAndGoInOrder) {
  EXPECT_EQ(Lookup(2), "");
  Enqueue(2, 1);
  Enqueue(2, 2);
  EXPECT_EQ(Said(), Lines({"ask 10.0.0.2"}));
  EXPECT_EQ(State(2), "INCOMPLETE");
  Answer(2, 7);
  EXPECT_EQ(Said(), Lines({"send 1 to 02:00:00:00:00:07", "send 2 to 02:00:00:00:00:07"}));
  EXPECT_EQ(State(2), "REACHABLE");
  EXPECT_EQ(Lookup(2), "02:00:00:00:00:07");
  EXPECT_EQ(valid_until_ns_, clock_.NowNs() + kS);
  EXPECT_EQ(pool_.available(), pool_.count());
}

TEST_F(NeighborCacheTest, BothFamiliesLiveTogether) {
  const IpAddress v6 = *IpAddress::Parse("fe80::1");
  cache_.Enqueue(v6, Packet(1), clock_.NowNs());
  cache_.OnAnswer(v6, Mac(9), true, false, clock_.NowNs());
  EXPECT_EQ(Said(), Lines({"ask fe80::1", "send 1 to 02:00:00:00:00:09"}));
  EXPECT_EQ(Lookup(1), "");
}

TEST_F(NeighborCacheTest, TheOldestOfTooManyWaitingPacketsIsDropped) {
  for (uint8_t id = 1; id <= 5; ++id) Enqueue(2, id);
  EXPECT_EQ(cache_.stats().waiting_dropped, 2u);
  Said();
  Answer(2, 7);
  EXPECT_EQ(Said(), Lines({"send 3 to 02:00:00:00:00:07", "send 4 to 02:00:00:00:00:07",
                           "send 5 to 02:00:00:00:00:07"}));
}

TEST_F(NeighborCacheTest, PacketsForAllNeighboursTogetherAreBounded) {
  for (uint32_t neighbor = 2; neighbor <= 7; ++neighbor) {
    for (uint8_t id = 1; id <= 3; ++id) Enqueue(neighbor, id);
    EXPECT_LE(pool_.count() - pool_.available(), 6u);
  }
  EXPECT_EQ(State(2), "") << "the one asked for first gave way";
  EXPECT_EQ(State(7), "INCOMPLETE");
  Said();
  Answer(7, 7);
  EXPECT_EQ(Said().size(), 3u);
}

TEST_F(NeighborCacheTest, SilenceIsAskedThriceThenReportedAndRemembered) {
  Enqueue(2, 1);
  Run(2500 * kMs);
  EXPECT_EQ(Said(), Lines(3, "ask 10.0.0.2"));
  Run(600 * kMs);
  EXPECT_EQ(Said(), Lines({"lost 1 for 10.0.0.2"}));
  EXPECT_EQ(State(2), "FAILED");
  // Its packets are answered at once, and cause no storm of solicitations.
  for (int i = 0; i < 100; ++i) Enqueue(2, 2);
  EXPECT_EQ(Said(), Lines(100, "lost 2 for 10.0.0.2"));
  EXPECT_EQ(cache_.stats().solicitations, 3u);
  EXPECT_EQ(cache_.stats().unresolved, 101u);
  Run(kS);
  EXPECT_EQ(State(2), "");
  Enqueue(2, 3);
  EXPECT_EQ(Said(), Lines({"ask 10.0.0.2"}));
  EXPECT_EQ(pool_.available(), pool_.count() - 1);
}

TEST_F(NeighborCacheTest, AConfirmedNeighbourAgesAndIsProbedWhenItIsInUse) {
  Resolve(2, 7);
  const uint64_t generation = cache_.generation();
  Run(29 * kS);
  EXPECT_EQ(State(2), "REACHABLE");
  Lookup(2);
  EXPECT_EQ(valid_until_ns_, clock_.NowNs() + kS);
  Run(kS);
  EXPECT_EQ(State(2), "STALE");
  Run(20 * kS);
  EXPECT_EQ(State(2), "STALE") << "not in use: not probed";
  EXPECT_EQ(Said(), Lines());

  EXPECT_EQ(Lookup(2), "02:00:00:00:00:07");
  EXPECT_EQ(State(2), "DELAY");
  Run(5 * kS);
  EXPECT_EQ(Said(), Lines({"ask 10.0.0.2 at 02:00:00:00:00:07"}));
  EXPECT_EQ(State(2), "PROBE");
  EXPECT_EQ(Lookup(2), "02:00:00:00:00:07") << "used while it is probed";
  Answer(2, 7);
  EXPECT_EQ(State(2), "REACHABLE");
  EXPECT_EQ(cache_.generation(), generation);
}

TEST_F(NeighborCacheTest, AnAnswerIsNotValidBeyondReachability) {
  Resolve(2, 7);
  Run(29'500 * kMs);
  Lookup(2);
  EXPECT_EQ(valid_until_ns_, clock_.NowNs() + 500 * kMs);
}

TEST_F(NeighborCacheTest, ProgressAboveSavesTheProbe) {
  Resolve(2, 7);
  Run(31 * kS);
  Lookup(2);
  Run(4 * kS);
  cache_.ConfirmReachable(Ip(2), clock_.NowNs());
  EXPECT_EQ(State(2), "REACHABLE");
  Run(10 * kS);
  EXPECT_EQ(Said(), Lines());
  cache_.ConfirmReachable(Ip(3), clock_.NowNs());
  EXPECT_EQ(cache_.size(), 1u);
}

TEST_F(NeighborCacheTest, ProbesWithoutAnswerForgetIt) {
  Resolve(2, 7);
  Run(31 * kS);
  Lookup(2);
  const uint64_t generation = cache_.generation();
  Run(8500 * kMs);
  EXPECT_EQ(Said(), Lines(3, "ask 10.0.0.2 at 02:00:00:00:00:07"));
  EXPECT_EQ(Lookup(2), "");
  EXPECT_NE(cache_.generation(), generation);
  EXPECT_EQ(cache_.stats().probes_failed, 1u);
  Enqueue(2, 1);
  EXPECT_EQ(Said(), Lines({"ask 10.0.0.2"})) << "everybody is asked again";
}

TEST_F(NeighborCacheTest, AnIdleNeighbourIsForgotten) {
  Resolve(2, 7);
  Run(599 * kS);
  EXPECT_EQ(cache_.size(), 1u);
  Run(kS);
  EXPECT_EQ(cache_.size(), 0u);
  EXPECT_EQ(wheel_.size(), 0u);
}

TEST_F(NeighborCacheTest, UnsolicitedAnswersMakeNoEntry) {
  Answer(2, 7, /*solicited=*/true);
  Answer(2, 7, /*solicited=*/false);
  EXPECT_EQ(cache_.size(), 0u);
  EXPECT_EQ(cache_.stats().unsolicited_ignored, 2u);
}

TEST_F(NeighborCacheTest, NobodyTakesOverALivingNeighbour) {
  Resolve(2, 7);
  Run(2 * kS);
  const uint64_t generation = cache_.generation();
  // In all ways in which it can be tried, and again and again.
  for (int i = 0; i < 10; ++i) {
    Answer(2, 66, /*solicited=*/false, /*override=*/true);
    Answer(2, 66, /*solicited=*/true, /*override=*/true);
    Request(2, 66);
    EXPECT_EQ(Lookup(2), "02:00:00:00:00:07");
  }
  EXPECT_EQ(Said(), Lines({"ask 10.0.0.2 at 02:00:00:00:00:07"}));
  EXPECT_EQ(State(2), "PROBE");
  cache_.ConfirmReachable(Ip(2), clock_.NowNs());
  EXPECT_EQ(State(2), "PROBE") << "a hint does not decide the question";
  Answer(2, 7);
  EXPECT_EQ(State(2), "REACHABLE");
  for (int i = 0; i < 10; ++i) Answer(2, 66);
  EXPECT_EQ(Said(), Lines()) << "it has just been asked";
  EXPECT_EQ(Lookup(2), "02:00:00:00:00:07");
  EXPECT_EQ(cache_.generation(), generation);
  EXPECT_GE(cache_.stats().claims, 30u);
}

TEST_F(NeighborCacheTest, AnAddressThatMovesIsFollowedWhenTheOldHostIsSilent) {
  Resolve(2, 7);
  Run(2 * kS);
  const uint64_t generation = cache_.generation();
  Answer(2, 8, /*solicited=*/false, /*override=*/true);  // gratuitous ARP of the new owner
  Run(kS);
  EXPECT_EQ(Said(), Lines({"ask 10.0.0.2 at 02:00:00:00:00:07", "ask 10.0.0.2"}));
  EXPECT_EQ(Lookup(2), "02:00:00:00:00:07");
  Answer(2, 8);
  EXPECT_EQ(Lookup(2), "02:00:00:00:00:08");
  EXPECT_EQ(State(2), "REACHABLE");
  EXPECT_NE(cache_.generation(), generation);
}

TEST_F(NeighborCacheTest, AClaimDuringAProbeIsNoAnswerToIt) {
  Resolve(2, 7);
  Run(31 * kS);
  Lookup(2);
  Run(6500 * kMs);  // two probes so far
  Answer(2, 66);
  Answer(2, 66);
  EXPECT_EQ(Lookup(2), "02:00:00:00:00:07");
  Said();
  Run(kS);
  EXPECT_EQ(Said(), Lines({"ask 10.0.0.2"})) << "now everybody is asked";
  Answer(2, 66);
  EXPECT_EQ(Lookup(2), "02:00:00:00:00:42");
}

TEST_F(NeighborCacheTest, AnAnswerWithoutAddressConfirmsOnlyWhatIsBeingProbed) {
  const auto answer = [this](bool solicited) {
    cache_.OnAnswerWithoutMac(Ip(2), solicited, clock_.NowNs());
  };
  answer(true);
  EXPECT_EQ(State(2), "") << "makes no entry";
  Enqueue(2, 0);
  answer(true);
  EXPECT_EQ(State(2), "INCOMPLETE") << "says nothing that one could send to";
  Answer(2, 7);
  Run(31 * kS);
  answer(true);
  EXPECT_EQ(State(2), "STALE") << "nobody has asked";
  Lookup(2);
  answer(true);
  EXPECT_EQ(State(2), "DELAY");
  Run(5 * kS);
  ASSERT_EQ(State(2), "PROBE");
  answer(false);
  EXPECT_EQ(State(2), "PROBE") << "not an answer";
  answer(true);
  EXPECT_EQ(State(2), "REACHABLE");

  // Another claims the address. The old host answers; once everybody was asked, that is not enough.
  Run(2 * kS);
  Answer(2, 8, /*solicited=*/false);
  ASSERT_EQ(State(2), "PROBE");
  answer(true);
  EXPECT_EQ(State(2), "REACHABLE");
  Run(2 * kS);
  Answer(2, 8, /*solicited=*/false);
  Run(1 * kS);
  answer(true);
  EXPECT_EQ(State(2), "PROBE");
  EXPECT_EQ(cache_.stats().unsolicited_ignored.value(), 6u);
}

TEST_F(NeighborCacheTest, AnotherAddressWithoutOverrideMakesItStale) {
  Resolve(2, 7);
  Answer(2, 8, /*solicited=*/false, /*override=*/false);
  EXPECT_EQ(State(2), "STALE");
  EXPECT_EQ(Lookup(2), "02:00:00:00:00:07");
}

TEST_F(NeighborCacheTest, ARequestMakesAStaleEntry) {
  Request(2, 7);
  EXPECT_EQ(State(2), "STALE");
  EXPECT_EQ(Lookup(2), "02:00:00:00:00:07");
  EXPECT_EQ(State(2), "DELAY") << "and it is verified once it is used";
}

TEST_F(NeighborCacheTest, ARequestReleasesWhatWaitsForItsSender) {
  Enqueue(2, 1);
  Request(2, 7);
  EXPECT_EQ(Said(), Lines({"ask 10.0.0.2", "send 1 to 02:00:00:00:00:07"}));
  EXPECT_EQ(State(2), "DELAY");
}

TEST_F(NeighborCacheTest, AFloodOfRequestsStaysWithinTheTableAndTouchesNothingInUse) {
  for (uint32_t n = 2; n <= 4; ++n) Resolve(n, n);
  Enqueue(5, 1);
  const uint64_t generation = cache_.generation();
  for (uint32_t n = 100; n < 10'100; ++n) Request(n, n);
  EXPECT_EQ(cache_.size(), 8u);
  EXPECT_EQ(cache_.stats().evictions, 10'000u - 4);
  for (uint32_t n = 2; n <= 4; ++n) EXPECT_EQ(Lookup(n), MacToString(Mac(n)));
  EXPECT_EQ(State(5), "INCOMPLETE");
  EXPECT_EQ(cache_.generation(), generation);
  EXPECT_EQ(Said().size(), 1u);

  // A neighbour that we want has room at their expense.
  Enqueue(6, 1);
  EXPECT_EQ(State(6), "INCOMPLETE");
  EXPECT_EQ(cache_.size(), 8u);
}

TEST_F(NeighborCacheTest, RequestsAreRefusedWhenAllEntriesAreInUse) {
  for (uint32_t n = 2; n <= 9; ++n) Resolve(n, n);
  Request(100, 100);
  EXPECT_EQ(cache_.stats().refused, 1u);
  EXPECT_EQ(cache_.stats().evictions, 0u);
  EXPECT_EQ(State(100), "");
}

TEST_F(NeighborCacheTest, WhoIsAskedForInVainGivesWayBeforeWhoAnswered) {
  for (uint32_t n = 2; n <= 4; ++n) Resolve(n, n);
  for (uint32_t n = 100; n < 1100; ++n) Enqueue(n, 1);
  for (uint32_t n = 2; n <= 4; ++n) EXPECT_EQ(Lookup(n), MacToString(Mac(n)));
  EXPECT_LE(cache_.size(), 8u);
  EXPECT_LE(pool_.count() - pool_.available(), 6u);
}

TEST_F(NeighborCacheTest, TheOneNotUsedForLongestGoes) {
  for (uint32_t n = 2; n <= 9; ++n) Resolve(n, n);
  Run(kS);
  Lookup(2);
  const uint64_t generation = cache_.generation();
  Enqueue(10, 1);
  EXPECT_EQ(Lookup(3), "");
  EXPECT_EQ(Lookup(2), MacToString(Mac(2)));
  EXPECT_NE(cache_.generation(), generation);
}

TEST_F(NeighborCacheTest, StaticEntriesStay) {
  ASSERT_TRUE(cache_.AddStatic(Ip(2), Mac(7)).ok());
  Answer(2, 66);
  Request(2, 66);
  Run(10'000 * kS);
  for (uint32_t n = 100; n < 200; ++n) Enqueue(n, 1);
  EXPECT_EQ(Lookup(2), "02:00:00:00:00:07");
  EXPECT_EQ(State(2), "REACHABLE");
  EXPECT_EQ(cache_.stats().unsolicited_ignored, 2u);

  for (uint32_t n = 3; n <= 9; ++n) ASSERT_TRUE(cache_.AddStatic(Ip(n), Mac(n)).ok());
  const absl::Status full = cache_.AddStatic(Ip(10), Mac(10));
  EXPECT_EQ(full.message(),
            "no room for neighbour 10.0.0.10: all 8 entries are static; raise "
            "neighbor_cache.entries_max");
  Enqueue(11, 1);
  EXPECT_EQ(cache_.stats().refused, 2u) << "the static one and this";
  EXPECT_EQ(pool_.available(), pool_.count());
}

TEST_F(NeighborCacheTest, AStaticEntryReplacesWhatWasKnown) {
  Enqueue(2, 1);
  Said();
  ASSERT_TRUE(cache_.AddStatic(Ip(2), Mac(7)).ok());
  EXPECT_EQ(Said(), Lines({"send 1 to 02:00:00:00:00:07"}));
  const uint64_t generation = cache_.generation();
  ASSERT_TRUE(cache_.AddStatic(Ip(2), Mac(8)).ok());
  EXPECT_NE(cache_.generation(), generation);
  EXPECT_EQ(Lookup(2), "02:00:00:00:00:08");
  Run(10 * kS);
  EXPECT_EQ(Said(), Lines());
}

TEST_F(NeighborCacheTest, GroupsAndNobodyAreNoNeighbours) {
  Enqueue(2, 1);
  cache_.OnAnswer(Ip(2), kBroadcastMac, true, true, clock_.NowNs());
  cache_.OnAnswer(Ip(2), MacAddress{}, true, true, clock_.NowNs());
  cache_.OnRequest(Ip(3), MacAddress{0x33, 0x33, 0, 0, 0, 1}, clock_.NowNs());
  cache_.OnRequest(IpAddress::V4(uint32_t{0}), Mac(1), clock_.NowNs());
  cache_.OnRequest(IpAddress::V4(0xffffffff), Mac(1), clock_.NowNs());
  cache_.OnRequest(IpAddress::V4(0xe0000001), Mac(1), clock_.NowNs());
  cache_.Enqueue(IpAddress(), Packet(1), clock_.NowNs());
  EXPECT_EQ(cache_.stats().bad_addresses, 7u);
  EXPECT_EQ(cache_.size(), 1u);
  EXPECT_FALSE(cache_.AddStatic(Ip(2), kBroadcastMac).ok());
}

TEST_F(NeighborCacheTest, SnapshotShowsAgeAndWaitingPackets) {
  Enqueue(2, 1);
  Enqueue(2, 2);
  Run(500 * kMs);
  const auto entries = cache_.Snapshot(clock_.NowNs());
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].waiting_packets, 2u);
  EXPECT_EQ(entries[0].age_ns, 500 * kMs);
  EXPECT_EQ(entries[0].mac, MacAddress{});
  EXPECT_FALSE(entries[0].is_static);
}

TEST_F(NeighborCacheTest, OptionsComeFromTheConfiguration) {
  const NeighborOptions options = NeighborOptions::From(config::NeighborCache());
  EXPECT_EQ(options.entries_max, 1024u);
  EXPECT_EQ(options.waiting_packets_total_max, 4096u);
  EXPECT_EQ(options.reachable_ns, 30 * kS);
  EXPECT_EQ(options.idle_ns, 600 * kS);
}

// Calls back into the cache at the worst times.
class ReentrantDelegate final : public NeighborCache::Delegate {
 public:
  void Solicit(const IpAddress&, const MacAddress*) override { Fill(); }
  void SendResolved(Buffer, const MacAddress&) override { Fill(); }
  void Unresolved(const IpAddress&, const Buffer&) override { Fill(); }

  NeighborCache* cache = nullptr;
  BufferPool* pool = nullptr;

 private:
  void Fill() {
    if (depth_ > 0) return;
    ++depth_;
    for (int i = 0; i < 20; ++i) {
      Buffer packet = pool->Allocate();
      if (packet) cache->Enqueue(Ip(1000 + next_++), std::move(packet), 0);
    }
    --depth_;
  }
  int depth_ = 0;
  uint32_t next_ = 0;
};

TEST(NeighborCacheReentrancyTest, TheDelegateMayCallBack) {
  BufferPool pool({.count = 64, .bytes = 64, .headroom = 0});
  TimerWheel wheel(0);
  ReentrantDelegate delegate;
  NeighborCache cache({.entries_max = 8}, &wheel, &delegate);
  delegate.cache = &cache;
  delegate.pool = &pool;
  for (uint32_t n = 2; n < 10; ++n) {
    for (int i = 0; i < 3; ++i) cache.Enqueue(Ip(n), pool.Allocate(), 0);
    cache.OnAnswer(Ip(n), Mac(n), true, true, 0);
  }
  for (int64_t now_ns = 0; now_ns < 20 * kS; now_ns += kS) wheel.Advance(now_ns);
  EXPECT_LE(cache.size(), 8u);
}

}  // namespace
}  // namespace weft::netstack
