// SPDX-License-Identifier: Apache-2.0
#include "weft/router/options.h"

#include <string>

#include "gtest/gtest.h"
#include "weft/config/loader.h"
#include "weft/router/clients.h"

namespace weft::router {
namespace {

absl::StatusOr<RouterOptions> From(const std::string& router) {
  const auto config = config::Parse("router { listen: \"10.0.0.1:8000\" " + router + " }", "test",
                                    config::Format::kText);
  if (!config.ok()) return config.status();
  return RouterOptions::From(*config);
}

// The text of the error.
std::string Error(const std::string& router) {
  const auto options = From(router);
  return options.ok() ? "" : std::string(options.status().message());
}

TEST(OptionsTest, ServersAreCountedByPorts) {
  const auto options = From(
      "servers { address: \"10.0.0.2:8000\" count: 2 slots: 3 } "
      "servers { address: \"[fd00::1]:9\" weight: 4 }");
  ASSERT_TRUE(options.ok()) << options.status();
  ASSERT_EQ(options->servers.size(), 3u);
  EXPECT_EQ(options->servers[1].address.ToString(), "10.0.0.2:8001");
  EXPECT_EQ(options->servers[1].slots, 3u);
  EXPECT_EQ(options->servers[2].weight, 4u);
}

TEST(OptionsTest, ControlIsPort9000OrWhereRequestsArrive) {
  EXPECT_EQ(From("")->control.ToString(), "10.0.0.1:9000");
  EXPECT_EQ(From("control: \"10.0.0.1:8000\"")->control, From("")->listen);
  config::Config shm;
  shm.mutable_router()->set_listen("shm:router");
  EXPECT_EQ(RouterOptions::From(shm)->control.ToString(), "shm:router");
}

TEST(OptionsTest, ErrorsNameTheFieldAndWhatWouldBeRight) {
  EXPECT_NE(RouterOptions::From(config::Config()).status().message().find("router: the section"),
            std::string::npos);
  const struct {
    const char* router;
    const char* field;
    const char* text;
  } cases[] = {
      {"policy: \"best\"", "router.policy: ", "power_of_two"},
      {"control: \"nowhere\"", "router.control: ", ""},
      {"servers { address: \"10.0.0.2\" }", "router.servers[0].address: ", ""},
      {"servers { address: \"10.0.0.2:0\" }", "router.servers[0].address: ", "port 0"},
      {"servers { address: \"0.0.0.0:1\" }", "router.servers[0].address: ", "no one's"},
      {"servers { address: \"10.0.0.1:8000\" }", "router.servers[0].address: ", "itself"},
      {"servers { address: \"shm:a\" }", "router.servers[0].address: ", "different kinds"},
      {"servers { address: \"10.0.0.2:65535\" count: 2 }",
       "router.servers[0].count: ", "at most 1"},
      {"servers { address: \"10.0.0.2:1\" } servers { address: \"10.0.0.2:1\" }",
       "router.servers[1].address: ", "twice"},
      {"servers_max: 1 servers { address: \"10.0.0.2:1\" count: 2 }",
       "router.servers[0]: ", "servers_max"},
      {"tenants { name: \"a\" clients: \"10.0.0.0/40\" }", "router.tenants[0].clients[0]: ", ""},
      {"tenants { name: \"a\" } tenants { name: \"a\" }", "router.tenants[1].name: ", "twice"},
  };
  for (const auto& c : cases) {
    const std::string error = Error(c.router);
    EXPECT_EQ(error.find(c.field), 0u) << c.router << ": " << error;
    EXPECT_NE(error.find(c.text), std::string::npos) << error;
  }
}

TEST(OptionsTest, TheLongestPrefixSaysWhichTenant) {
  const auto tenants = Tenants::From({{.name = "all", .clients = {"10.0.0.0/8", "shm:a"}},
                                      {.name = "some", .clients = {"10.1.0.0/16", "shm:ab"}},
                                      {.name = "v6", .clients = {"fd00::/16"}, .weight = 7}});
  ASSERT_TRUE(tenants.ok()) << tenants.status();
  const auto of = [&](const char* address) { return tenants->Of(*Address::Parse(address)); };
  EXPECT_EQ(of("10.2.0.1:1"), 0);
  EXPECT_EQ(of("10.1.0.1:1"), 1);
  EXPECT_EQ(of("[fd00::1]:1"), 2);
  EXPECT_EQ(of("11.0.0.1:1"), 3);
  EXPECT_EQ(of("shm:ax"), 0);
  EXPECT_EQ(of("shm:abx"), 1);
  EXPECT_EQ(of("shm:b"), 3);
  EXPECT_EQ(tenants->weights(), (std::vector<uint32_t>{1, 1, 7, 1}));
}

}  // namespace
}  // namespace weft::router
