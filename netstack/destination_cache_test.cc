// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/destination_cache.h"

#include <utility>

#include "gtest/gtest.h"
#include "weft/core/clock.h"
#include "weft/netstack/wire/ethernet.h"
#include "weft/netstack/wire/ipv4.h"
#include "weft/netstack/wire/ipv6.h"

namespace weft::netstack {
namespace {

using Kind = Destination::Kind;
constexpr int64_t kS = 1'000'000'000;
constexpr MacAddress kOurMac = {2, 0, 0, 0, 0, 1};
constexpr MacAddress kMac = {2, 0, 0, 0, 0, 2};

IpAddress Ip(const char* text) { return *IpAddress::Parse(text); }

class DestinationCacheTest : public testing::Test, public NeighborCache::Delegate {
 protected:
  DestinationCacheTest() {
    interface_.mac = kOurMac;
    interface_.mtu = 1500;
    interface_.ttl = 33;
    for (const char* own : {"10.0.0.1/24", "fd00::1/64"}) {
      interface_.addresses.push_back(*IpPrefix::Parse(own));
      EXPECT_TRUE(routes_.Add(*IpPrefix::Parse(own)).ok());
    }
    EXPECT_TRUE(routes_.Add(*IpPrefix::Parse("192.0.2.0/24"), Ip("10.0.0.254")).ok());
  }
  void Solicit(const IpAddress&, const MacAddress*) override {}
  void SendResolved(Buffer, const MacAddress&) override {}
  void Unresolved(const IpAddress&, const Buffer&) override {}

  const Destination* Find(const char* ip) { return cache_.Find(Ip(ip), now_ns_); }
  Kind Look(const char* ip) { return cache_.Look(Ip(ip), now_ns_).kind; }
  // As if it had asked, and been asked.
  void Know(const char* ip, const MacAddress& mac = kMac) {
    neighbors_.OnRequest(Ip(ip), mac, now_ns_);
  }
  static MacAddress To(const Destination& destination) {
    MacAddress mac;
    std::copy_n(destination.header, 6, mac.begin());
    return mac;
  }

  int64_t now_ns_ = 1000 * kS;
  Interface interface_;
  RouteTable routes_;
  TimerWheel timers_{now_ns_};
  NeighborCache neighbors_{{}, &timers_, this};
  PathMtuCache path_mtu_{{.link_mtu = 1500, .forget_ns = 60 * kS}};
  DestinationCache cache_{&interface_, &routes_, &neighbors_, &path_mtu_};
};

TEST_F(DestinationCacheTest, SaysWhyNot) {
  EXPECT_EQ(Look("10.0.0.1"), Kind::kLocal);
  EXPECT_EQ(Look("10.0.0.2"), Kind::kUnresolved);
  EXPECT_EQ(cache_.Look(Ip("192.0.2.9"), now_ns_).next_hop, Ip("10.0.0.254"));
  EXPECT_EQ(Look("8.8.8.8"), Kind::kNoRoute);
  EXPECT_EQ(Look("2001:db8::1"), Kind::kNoRoute);
  EXPECT_EQ(Look("0.0.0.0"), Kind::kNoRoute);
  EXPECT_EQ(Look("::"), Kind::kNoRoute);
  for (const char* ip : {"10.0.0.1", "10.0.0.2", "192.0.2.9", "8.8.8.8", "::"}) {
    EXPECT_EQ(Find(ip), nullptr) << ip;
  }
}

TEST_F(DestinationCacheTest, HasTheHeadersReady) {
  Know("10.0.0.2");
  const Destination* to = Find("10.0.0.2");
  ASSERT_NE(to, nullptr);
  EXPECT_EQ(to->mtu, 1500);
  EXPECT_EQ(to->source, Ip("10.0.0.1"));
  EXPECT_EQ(to->ethernet_bytes, 14);
  EXPECT_EQ(to->header_bytes, 34);
  EthernetView ethernet;
  ASSERT_TRUE(EthernetView::Parse({to->header, to->header_bytes}, &ethernet));
  EXPECT_EQ(To(*to), kMac);
  EXPECT_EQ(ethernet.source_mac(), kOurMac);
  EXPECT_EQ(ethernet.type(), EtherType::kIpv4);
  EXPECT_EQ(to->header[14 + 8], 33) << "TTL";
  EXPECT_EQ(to->header[14 + 9], 17);
  EXPECT_EQ(IpAddress::V4(to->header + 14 + 16), Ip("10.0.0.2"));

  interface_.vlan = 7;
  Know("fd00::2");
  to = Find("fd00::2");
  ASSERT_NE(to, nullptr);
  EXPECT_EQ(to->header_bytes, 58);
  ASSERT_TRUE(EthernetView::Parse({to->header, to->header_bytes}, &ethernet));
  EXPECT_EQ(ethernet.vlan(), 7);
  EXPECT_EQ(ethernet.type(), EtherType::kIpv6);
  EXPECT_EQ(IpAddress::V6(to->header + 18 + 24), Ip("fd00::2"));
}

TEST_F(DestinationCacheTest, GroupsAndBroadcastsNeedNoNeighbour) {
  const Destination* to = Find("239.1.2.3");
  ASSERT_NE(to, nullptr);
  EXPECT_EQ(To(*to), MulticastMac(Ip("239.1.2.3")));
  EXPECT_EQ(to->header[14 + 8], 1) << "TTL";
  to = Find("ff02::1");
  ASSERT_NE(to, nullptr);
  EXPECT_EQ(To(*to), MulticastMac(Ip("ff02::1")));
  for (const char* all : {"10.0.0.255", "255.255.255.255"}) {
    to = Find(all);
    ASSERT_NE(to, nullptr);
    EXPECT_EQ(To(*to), kBroadcastMac);
  }
}

TEST_F(DestinationCacheTest, FollowsItsNeighbour) {
  Know("10.0.0.254");
  ASSERT_NE(Find("192.0.2.9"), nullptr);
  const MacAddress moved = {2, 0, 0, 0, 0, 9};
  ASSERT_TRUE(neighbors_.AddStatic(Ip("10.0.0.254"), moved).ok());
  ASSERT_NE(Find("192.0.2.9"), nullptr);
  EXPECT_EQ(To(*Find("192.0.2.9")), moved);
}

TEST_F(DestinationCacheTest, ForgetsANeighbourThatIsForgotten) {
  Know("10.0.0.2");
  ASSERT_NE(Find("10.0.0.2"), nullptr);
  // Probed in vain after the delay, three times.
  for (int i = 0; i < 20; ++i) {
    now_ns_ += kS;
    timers_.Advance(now_ns_);
  }
  EXPECT_EQ(Find("10.0.0.2"), nullptr);
  EXPECT_EQ(Look("10.0.0.2"), Kind::kUnresolved);
}

TEST_F(DestinationCacheTest, FollowsThePathsMtu) {
  Know("10.0.0.254");
  ASSERT_NE(Find("192.0.2.9"), nullptr);
  path_mtu_.Lower(Ip("192.0.2.9"), 1300, now_ns_);
  ASSERT_NE(Find("192.0.2.9"), nullptr);
  EXPECT_EQ(Find("192.0.2.9")->mtu, 1300);
  now_ns_ += 61 * kS;
  EXPECT_EQ(Find("192.0.2.9")->mtu, 1500) << "and forgets it in time";
}

TEST_F(DestinationCacheTest, KnowsWhereSomethingWasSentOfLate) {
  EXPECT_FALSE(cache_.Knows(Ip("10.0.0.2")));
  EXPECT_FALSE(cache_.Knows(IpAddress()));
  Know("10.0.0.2");
  Find("10.0.0.2");
  EXPECT_TRUE(cache_.Knows(Ip("10.0.0.2")));
  EXPECT_FALSE(cache_.Knows(Ip("10.0.0.3")));
}

TEST_F(DestinationCacheTest, DestinationsThatShareAPlaceDoNotMixUp) {
  for (int round = 0; round < 2; ++round) {
    for (int i = 2; i < 250; ++i) {
      const IpAddress ip = IpAddress::V4(0x0a000000u + static_cast<uint32_t>(i));
      const MacAddress mac = {2, 0, 0, 0, 1, static_cast<uint8_t>(i)};
      neighbors_.OnRequest(ip, mac, now_ns_);
      const Destination* to = cache_.Find(ip, now_ns_);
      ASSERT_NE(to, nullptr);
      EXPECT_EQ(to->ip, ip);
      EXPECT_EQ(To(*to), mac);
    }
  }
}

}  // namespace
}  // namespace weft::netstack
