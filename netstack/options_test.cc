// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/options.h"

#include <string>

#include "gtest/gtest.h"

namespace weft::netstack {
namespace {

config::Netstack Good() {
  config::Netstack config;
  config.add_addresses("10.0.0.2/24");
  return config;
}

std::string WhyNot(const config::Netstack& config) {
  return std::string(StackOptions::From(config).status().message());
}

// Begins with the field's name, and says something of what is wrong.
testing::AssertionResult Says(const std::string& text, const std::string& field,
                              const std::string& what) {
  if (text.rfind("netstack." + field + ": ", 0) == 0 && text.find(what) != std::string::npos) {
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure() << "'" << text << "'";
}

TEST(StackOptionsTest, ReadsWhatIsGiven) {
  config::Netstack config = Good();
  config.add_addresses("fd00::2/64");
  config::Route* const route = config.add_routes();
  route->set_destination("0.0.0.0/0");
  route->set_gateway("10.0.0.1");
  config::Neighbor* const neighbor = config.add_neighbors();
  neighbor->set_address("10.0.0.3");
  neighbor->set_mac("02:00:00:00:00:03");
  config.add_groups("239.1.2.3");
  config.set_vlan(5);
  config.set_ttl(9);
  config.set_mtu(1400);
  config.set_udp_checksum(false);
  config.mutable_reassembly()->set_timeout_ms(7);
  config.mutable_icmp()->set_path_mtu_s(3);
  const auto options = StackOptions::From(config);
  ASSERT_TRUE(options.ok()) << options.status();
  ASSERT_EQ(options->addresses.size(), 2u);
  EXPECT_EQ(options->addresses[0].ToString(), "10.0.0.2/24");
  EXPECT_EQ(options->routes[0].gateway.ToString(), "10.0.0.1");
  EXPECT_EQ(options->neighbors[0].second, (MacAddress{2, 0, 0, 0, 0, 3}));
  EXPECT_EQ(options->groups[0].ToString(), "239.1.2.3");
  EXPECT_EQ(options->vlan, 5);
  EXPECT_EQ(options->ttl, 9);
  EXPECT_EQ(options->mtu, 1400u);
  EXPECT_FALSE(options->udp_checksum);
  EXPECT_EQ(options->reassembly.timeout_ns, 7'000'000);
  EXPECT_EQ(options->path_mtu_ns, 3'000'000'000);
}

TEST(StackOptionsTest, DefaultsAreThoseOfTheSchema) {
  const auto options = StackOptions::From(Good());
  ASSERT_TRUE(options.ok());
  EXPECT_TRUE(options->link_local);
  EXPECT_TRUE(options->udp_checksum);
  EXPECT_TRUE(options->echo_reply);
  EXPECT_EQ(options->ttl, 64);
  EXPECT_EQ(options->mtu, 0u);
  EXPECT_EQ(options->ephemeral_port_min, 49152);
  EXPECT_EQ(options->receive_queue_packets, 1024u);
  EXPECT_EQ(options->icmp_errors_per_s, 1000u);
}

TEST(StackOptionsTest, AddressesThatNoInterfaceHas) {
  for (const char* wrong : {"0.0.0.0/8", "224.0.0.1/24", "127.0.0.1/8", "255.255.255.255/32",
                            "10.0.0.255/24", "10.0.0.0/24", "fd00::/64", "::1/128", "ff02::1/64"}) {
    config::Netstack config = Good();
    config.add_addresses(wrong);
    EXPECT_TRUE(Says(WhyNot(config), "addresses[1]", wrong)) << wrong;
  }
  // In the smallest networks every address is a host's.
  for (const char* right : {"10.1.0.0/31", "10.1.0.1/31", "10.2.0.0/32", "fd01::/127"}) {
    config::Netstack config = Good();
    config.add_addresses(right);
    EXPECT_EQ(WhyNot(config), "") << right;
  }
  for (const char* broken : {"10.0.0.2", "10.0.0.2/33", "ten/24", "fd00::2/129", ""}) {
    config::Netstack config;
    config.add_addresses(broken);
    EXPECT_TRUE(Says(WhyNot(config), "addresses[0]", "")) << broken;
  }
}

TEST(StackOptionsTest, AddressesTwiceOrNone) {
  config::Netstack config = Good();
  config.add_addresses("10.0.0.2/16");
  EXPECT_TRUE(Says(WhyNot(config), "addresses[1]", "10.0.0.2 is there twice"));
  config = {};
  EXPECT_EQ(WhyNot(config), "") << "a link-local one comes by itself";
  config.set_link_local(false);
  EXPECT_TRUE(Says(WhyNot(config), "addresses", "give one"));
}

TEST(StackOptionsTest, Routes) {
  config::Netstack config = Good();
  config::Route* const route = config.add_routes();
  route->set_destination("10.1.0.0");
  route->set_gateway("10.0.0.1");
  EXPECT_TRUE(Says(WhyNot(config), "routes[0].destination", "10.1.0.0"));
  route->set_destination("10.1.0.0/16");
  route->set_gateway("gateway");
  EXPECT_TRUE(Says(WhyNot(config), "routes[0].gateway", "gateway"));
}

TEST(StackOptionsTest, Neighbors) {
  config::Netstack config = Good();
  config::Neighbor* const neighbor = config.add_neighbors();
  neighbor->set_address("10.0.0.300");
  neighbor->set_mac("02:00:00:00:00:03");
  EXPECT_TRUE(Says(WhyNot(config), "neighbors[0].address", "10.0.0.300"));
  neighbor->set_address("224.0.0.1");
  EXPECT_TRUE(Says(WhyNot(config), "neighbors[0].address", "no neighbour's"));
  neighbor->set_address("10.0.0.3");
  neighbor->set_mac("02:00:00:00:03");
  EXPECT_TRUE(Says(WhyNot(config), "neighbors[0].mac", "02:00:00:00:03"));
  for (const char* mac : {"ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "00:00:00:00:00:00"}) {
    neighbor->set_mac(mac);
    EXPECT_TRUE(Says(WhyNot(config), "neighbors[0].mac", mac));
  }
}

TEST(StackOptionsTest, GroupsPortsAndMtu) {
  config::Netstack config = Good();
  config.add_groups("10.0.0.9");
  EXPECT_TRUE(Says(WhyNot(config), "groups[0]", "239.1.2.3"));
  config.set_groups(0, "group");
  EXPECT_TRUE(Says(WhyNot(config), "groups[0]", "group"));
  config = Good();
  config.set_ephemeral_port_min(2000);
  config.set_ephemeral_port_max(1999);
  EXPECT_TRUE(Says(WhyNot(config), "ephemeral_port_min", "2000 is above ephemeral_port_max, 1999"));
  config = Good();
  config.set_mtu(67);
  EXPECT_TRUE(Says(WhyNot(config), "mtu", "67 is less than IP needs, 68"));
}

}  // namespace
}  // namespace weft::netstack
