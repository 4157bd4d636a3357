// SPDX-License-Identifier: Apache-2.0
#include "weft/cli/router_config.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "weft/core/temp_directory.h"
#include "weft/r2p2/policy/policy.h"

namespace weft::cli {
namespace {

class RouterConfigTest : public testing::Test {
 protected:
  RouterConfigTest() { unsetenv("WEFT_CONFIG"); }

  std::string Write(const std::string& text) {
    const std::string path = absl::StrCat(directory_.path(), "/x.cfg");
    std::ofstream(path) << text;
    return path;
  }
  static std::string ErrorOf(const RouterFlags& flags) {
    return std::string(ChooseRouterConfig(flags).status().message());
  }

  const TempDirectory directory_;
};

TEST_F(RouterConfigTest, TheShortFormNeedsNoFile) {
  const auto config = ChooseRouterConfig({.listen = "10.0.0.1:8000",
                                          .servers = "10.0.0.2:8000:2,10.0.0.3:8000:4",
                                          .policy = "jsq",
                                          .slots = 3,
                                          .metrics = "9100"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->router().servers_size(), 2);
  EXPECT_EQ(config->router().servers(1).address(), "10.0.0.3:8000");
  EXPECT_EQ(config->router().servers(1).count(), 4u);
  EXPECT_EQ(config->router().policy(), "jsq");
  EXPECT_EQ(config->router().slots(), 3u);
  EXPECT_EQ(config->metrics().listen(), "9100");
  EXPECT_EQ(config->transport().name(), "linux");
}

TEST_F(RouterConfigTest, TheAddressChoosesTheTransport) {
  const auto config = ChooseRouterConfig({.listen = "shm:router"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->transport().name(), "shm");
  EXPECT_TRUE(absl::StrContains(ErrorOf({.listen = "sim:router"}), "exists only within"));
}

TEST_F(RouterConfigTest, TheCommandLineWinsOverTheFile) {
  const std::string path = Write(
      "router { listen: '127.0.0.1:1' policy: 'random' servers { address: '127.0.0.1:2' } join: "
      "true }");
  const auto config =
      ChooseRouterConfig({.config = path, .servers = "127.0.0.1:3,127.0.0.1:4", .policy = "jbsq"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->router().listen(), "127.0.0.1:1");
  EXPECT_EQ(config->router().policy(), "jbsq");
  EXPECT_EQ(config->router().servers_size(), 2);
  EXPECT_TRUE(config->router().join());
}

TEST_F(RouterConfigTest, SourcesAreKeptWithWhatTheTransportNeedsForIt) {
  const auto config = ChooseRouterConfig({.listen = "127.0.0.1:1", .keep_source = true});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->router().forwarding(), config::Router::KEEP_SOURCE);
  EXPECT_TRUE(config->transport().linux().foreign_source());
  const auto shm = ChooseRouterConfig({.listen = "shm:router", .keep_source = true});
  ASSERT_TRUE(shm.ok()) << shm.status();
  EXPECT_FALSE(shm->transport().has_linux());
}

TEST_F(RouterConfigTest, PlainTextIsChosenForServersThatJoin) {
  const auto config = ChooseRouterConfig({.plaintext = true, .listen = "127.0.0.1:1"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_TRUE(config->router().control_security().has_plaintext());
  EXPECT_TRUE(absl::StartsWith(
      ErrorOf({.config = Write("router { listen: '127.0.0.1:1' control_security { psk { "
                               "peers_file: 'peers' } } }"),
               .plaintext = true}),
      "--plaintext, but the configuration has keys (router.control_security)"));
  EXPECT_TRUE(absl::StartsWith(
      ErrorOf({.config = Write("router { listen: '127.0.0.1:1' } security { psk { peers_file: "
                               "'peers' } }")}),
      "security: a router must read the headers of requests"));
}

TEST_F(RouterConfigTest, ErrorsNameTheFileOrTheOption) {
  const std::string path = Write("router {\n  listen: '127.0.0.1:1'\n  policy: 'jbs'\n}");
  const std::string all = absl::StrJoin(r2p2::PolicyNames(), ", ");
  EXPECT_EQ(
      ErrorOf({.config = path}),
      path + ":3:3: router.policy: unknown policy 'jbs'; did you mean 'jbsq'? There are " + all);
  EXPECT_EQ(ErrorOf({.listen = "127.0.0.1:1", .policy = "fc"}),
            "--policy: unknown policy 'fc'; known are " + all);
  EXPECT_EQ(ErrorOf({.listen = "127.0.0.1:1", .servers = "127.0.0.1:2,127.0.0.1:x"}),
            "--servers: entry 2, at character 13, '127.0.0.1:x': address '127.0.0.1:x': the port "
            "must be 0 to 65535");
  EXPECT_EQ(ErrorOf({.listen = "127.0.0.1:1", .servers = "127.0.0.1:2:2,127.0.0.1:3"}),
            "--servers: entry 2, at character 15, '127.0.0.1:3': 127.0.0.1:3 is in "
            "router.servers[0] already; give each server once");
  EXPECT_EQ(ErrorOf({.listen = "127.0.0.1:1", .servers = "127.0.0.1:2,127.0.0.1:1"}),
            "--servers: entry 2, at character 13, '127.0.0.1:1': 127.0.0.1:1 is where the router "
            "itself listens; give a server");
  EXPECT_EQ(ErrorOf({.listen = "127.0.0.1:1", .servers = "127.0.0.1:2:2000"}),
            "--servers: entry 1, at character 1, '127.0.0.1:2:2000': is server number 2000, but "
            "router.servers_max is 1024; give fewer, or raise it");
  EXPECT_TRUE(absl::StartsWith(ErrorOf({.listen = "nowhere"}), "--listen: address 'nowhere': "));
  EXPECT_TRUE(absl::StartsWith(ErrorOf({.listen = "127.0.0.1:1", .metrics = "x"}),
                               "--metrics: 'x' is not"));
  EXPECT_TRUE(absl::StartsWith(ErrorOf({}), "nothing says where to listen; give --listen"));
}

}  // namespace
}  // namespace weft::cli
