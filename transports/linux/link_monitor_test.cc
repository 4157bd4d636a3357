// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/link_monitor.h"

#include <net/if.h>
#include <poll.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/tools/testnet/testnet.h"

namespace weft::linux_transport {
namespace {

class LinkMonitorTest : public testing::Test {
 protected:
  void SetUp() override {
    here_ = testnet::Namespace::Make();
    if (!here_.ok()) GTEST_SKIP() << here_.status();
    const absl::Status made = testnet::MakeVeth(*here_, "near0", *here_, "far0");
    ASSERT_TRUE(made.ok()) << made;
  }
  // Sleeps until there is something to take.
  static bool Changed(LinkMonitor& link) {
    pollfd event = {link.fd(), POLLIN, 0};
    while (poll(&event, 1, 20'000) == 1) {
      if (link.Poll()) return true;
    }
    return false;
  }
  absl::StatusOr<testnet::Namespace> here_;
};

TEST_F(LinkMonitorTest, TellsOfTheLink) {
  auto link = LinkMonitor::Open(static_cast<int>(if_nametoindex("near0")));
  ASSERT_TRUE(link.ok()) << link.status();
  EXPECT_TRUE(link->up());
  EXPECT_FALSE(link->gone());
  EXPECT_FALSE(link->Poll());
  ASSERT_TRUE(here_->Ip("link set far0 down").ok());
  EXPECT_TRUE(Changed(*link));
  EXPECT_FALSE(link->up());
  ASSERT_TRUE(here_->Ip("link set far0 up").ok());
  EXPECT_TRUE(Changed(*link));
  EXPECT_TRUE(link->up());
  ASSERT_TRUE(here_->Ip("link del near0").ok());
  EXPECT_TRUE(Changed(*link));
  EXPECT_FALSE(link->up());
  while (!link->gone() && Changed(*link)) continue;
  EXPECT_TRUE(link->gone());
}

TEST_F(LinkMonitorTest, OtherInterfacesAndBridgesDoNotMatter) {
  auto link = LinkMonitor::Open(static_cast<int>(if_nametoindex("near0")));
  ASSERT_TRUE(link.ok()) << link.status();
  ASSERT_TRUE(testnet::MakeSwitch(*here_, "switch0", {"end0"}).ok());
  ASSERT_TRUE(testnet::AddToSwitch(*here_, "switch0", "near0").ok());
  ASSERT_TRUE(here_->Ip("link set near0 nomaster").ok());
  ASSERT_TRUE(here_->Ip("link del end0").ok());
  link->Poll();
  EXPECT_TRUE(link->up());
  EXPECT_FALSE(link->gone());
}

// More messages than the socket holds: some are lost, the state is not.
TEST_F(LinkMonitorTest, LostMessagesLoseNothing) {
  auto link = LinkMonitor::Open(static_cast<int>(if_nametoindex("near0")));
  ASSERT_TRUE(link.ok()) << link.status();
  ASSERT_TRUE(here_
                  ->Run("for i in $(seq 400); do echo link set lo mtu $((10000 + i)); done | "
                        "ip -batch - && ip link set near0 down")
                  .ok());
  for (int i = 0; i < 100 && link->up(); ++i) link->Poll();
  EXPECT_FALSE(link->up());
  EXPECT_FALSE(link->gone());
}

TEST_F(LinkMonitorTest, WhatIsNotThereIsGone) {
  const auto link = LinkMonitor::Open(12345);
  ASSERT_TRUE(link.ok()) << link.status();
  EXPECT_TRUE(link->gone());
  EXPECT_FALSE(link->up());
}

}  // namespace
}  // namespace weft::linux_transport
