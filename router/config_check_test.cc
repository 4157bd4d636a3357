// SPDX-License-Identifier: Apache-2.0
//
// The texts that users see when a configuration of a router is wrong, verbatim.
#include "weft/router/config_check.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_join.h"
#include "weft/config/loader.h"
#include "weft/r2p2/policy/policy.h"

namespace weft::router {
namespace {

// What is said to `text`, which follows a right beginning in the second line.
std::string Said(const std::string& text, const std::string& listen = "10.0.0.1:8000") {
  const auto config = config::Parse("router { listen: \"" + listen + "\"\n" + text + " }", "f",
                                    config::Format::kText, &FindProblems);
  return std::string(config.status().message());
}

TEST(ConfigCheckTest, WhatIsRight) {
  EXPECT_EQ(Said(""), "");
  EXPECT_EQ(Said("control: '0.0.0.0:9000' policy: 'power_of_two' "
                 "servers { address: '10.0.0.2:8000' count: 4 } "
                 "servers { address: '[fd00::2]:65535' } "
                 "tenants { name: 'a' clients: '10.1.0.0/16' clients: 'fd00:1::/32' } "
                 "tenants { name: 'b' clients: '10.2.0.1' clients: 'shm:batch-' }"),
            "");
  EXPECT_EQ(Said("servers { address: 'shm:a' } control: 'shm:router'", "shm:router"), "");
}

TEST(ConfigCheckTest, APolicyThatThereIsNot) {
  const std::string all = absl::StrJoin(r2p2::PolicyNames(), ", ");
  EXPECT_EQ(Said("policy: \"jbsk\""),
            "f:2:1: router.policy: unknown policy 'jbsk'; did you mean 'jbsq'? There are " + all);
  EXPECT_EQ(std::string(config::Parse("rpc { balancer { policy: 'best' } }", "f",
                                      config::Format::kText, &FindProblems)
                            .status()
                            .message()),
            "f:1:18: rpc.balancer.policy: unknown policy 'best'; known are " + all);
}

TEST(ConfigCheckTest, Addresses) {
  EXPECT_EQ(Said("", "10.0.0.1").substr(0, 50),
            "f:1:10: router.listen: address '10.0.0.1': no port");
  EXPECT_EQ(
      Said("control: 'shm:a'"),
      "f:2:1: router.control: 'shm:a' is of another kind than router.listen, '10.0.0.1:8000'; "
      "give one of the same");
  EXPECT_EQ(Said("servers { address: '10.0.0.2:8000' }\nservers { address: 'shm:a' }"),
            "f:3:11: router.servers[1].address: 'shm:a' cannot be reached from router.listen, "
            "'10.0.0.1:8000'; give an address of the same kind");
  EXPECT_EQ(Said("servers { address: '10.0.0.2:0' }"),
            "f:2:11: router.servers[0].address: '10.0.0.2:0' has no port; give one");
  EXPECT_EQ(
      Said("servers { address: '0.0.0.0:1' }"),
      "f:2:11: router.servers[0].address: '0.0.0.0:1' is where to listen; give the address of "
      "one machine");
}

TEST(ConfigCheckTest, RangesOfPorts) {
  EXPECT_EQ(
      Said("servers { address: '10.0.0.2:65535' count: 2 }"),
      "f:2:37: router.servers[0].count: 2 ports from 65535 on are more than there are; give at "
      "most 1");
  EXPECT_EQ(Said("servers { address: 'shm:a' count: 2 }", "shm:router"),
            "f:2:28: router.servers[0].count: 2, but 'shm:a' has no port numbers to count; give 1");
  EXPECT_EQ(
      Said("servers { address: '10.0.0.2:80' count: 9 }\nservers { address: '10.0.0.2:88' }"),
      "f:3:1: router.servers[1]: 10.0.0.2:88 is in router.servers[0] already; give each server "
      "once");
  EXPECT_EQ(
      Said("servers_max: 3 servers { address: '10.0.0.2:80' count: 4 }"),
      "f:2:16: router.servers[0]: is server number 4, but router.servers_max is 3; give fewer, "
      "or raise it");
}

TEST(ConfigCheckTest, ARouterIsNoServerOfItsOwn) {
  EXPECT_EQ(Said("servers { address: '10.0.0.1:7999' count: 2 }", "10.0.0.1:8000"),
            "f:2:11: router.servers[0].address: 10.0.0.1:8000 is where the router itself listens; "
            "give a server");
  EXPECT_EQ(Said("servers { address: '10.0.0.1:9000' }", "10.0.0.1:8000"),
            "f:2:11: router.servers[0].address: 10.0.0.1:9000 is where the router itself listens; "
            "give a server");
  EXPECT_EQ(Said("control: '10.0.0.1:9001' servers { address: '10.0.0.1:9000' }", "10.0.0.1:8000"),
            "");
}

TEST(ConfigCheckTest, Tenants) {
  EXPECT_EQ(
      Said("tenants { name: 'a' clients: '10.1.0.0/33' }"),
      "f:2:21: router.tenants[0].clients[0]: '10.1.0.0/33' says nobody; give \"10.1.0.0/16\", "
      "\"fd00:1::/32\" or the beginning of names, \"shm:batch-\"");
  EXPECT_EQ(Said("tenants { name: 'a' }\ntenants { name: 'a' }"),
            "f:3:11: router.tenants[1].name: there is a 'a' already; give another");
}

TEST(ConfigCheckTest, WhatServersSayOfRouters) {
  const auto said = [](const std::string& text) {
    return std::string(
        config::Parse("rpc { router { " + text + " } }", "f", config::Format::kText, &FindProblems)
            .status()
            .message());
  };
  EXPECT_EQ(said("control: '10.0.0.1:9000' address: '10.0.0.2:8000' forwards_from: '10.0.0.1:0' "
                 "forwards_from: '10.0.0.1' forwards_from: 'fd00::1' forwards_from: 'shm:router'"),
            "");
  EXPECT_EQ(said("forwards_from: '10.0.0'").substr(0, 63),
            "f:1:16: rpc.router.forwards_from[0]: address '10.0.0': no port;");
  EXPECT_EQ(said("control: '10.0.0.1:9000' control: '10.0.0.1:0'"),
            "f:1:41: rpc.router.control[1]: '10.0.0.1:0' has no port; give one");
}

std::string Listed(const std::string& text) {
  const auto servers = ParseServers(text);
  if (!servers.ok()) return std::string(servers.status().message());
  std::string listed;
  for (const config::RouterServer& server : *servers) listed += server.ShortDebugString() + "\n";
  return listed;
}

TEST(ConfigCheckTest, TheShortFormOfServers) {
  EXPECT_EQ(Listed("10.0.0.2:8000:2,10.0.0.3:8000,[fd00::2]:80:3,shm:a"),
            "address: \"10.0.0.2:8000\" count: 2\naddress: \"10.0.0.3:8000\"\n"
            "address: \"[fd00::2]:80\" count: 3\naddress: \"shm:a\"\n");
  EXPECT_EQ(Listed("10.0.0.2:8000:2,10.0.0.3:8000:x"),
            "entry 2, at character 17, '10.0.0.3:8000:x': 'x' is no number of ports; give 1 to "
            "65535");
  EXPECT_EQ(Listed("10.0.0.2:8000,,"),
            "entry 2, at character 15, '': is empty; give ADDRESS:PORT or ADDRESS:PORT:COUNT");
  EXPECT_EQ(
      Listed("10.0.0.2:65535:2"),
      "entry 1, at character 1, '10.0.0.2:65535:2': 2 ports from 65535 on are more than there "
      "are; give at most 1");
  EXPECT_EQ(Listed("10.0.0.2").substr(0, 64),
            "entry 1, at character 1, '10.0.0.2': address '10.0.0.2': no port");
  for (const char* wrong : {"", "[", "[::1]", ":", "::", "[::1]:1:2:3", "10.0.0.1:1:0"}) {
    EXPECT_FALSE(ParseServers(wrong).ok()) << wrong;
  }
}

}  // namespace
}  // namespace weft::router
