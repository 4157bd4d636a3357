// SPDX-License-Identifier: Apache-2.0
#include "weft/tools/testnet/testnet.h"

#include <net/if.h>
#include <signal.h>

#include <optional>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/tools/testnet/udp_socket.h"

namespace weft::testnet {
namespace {

class TestnetTest : public testing::Test {
 protected:
  void SetUp() override {
    there_ = Namespace::Make();
    here_ = Namespace::Make();
    if (!here_.ok()) GTEST_SKIP() << here_.status();
    ASSERT_TRUE(there_.ok()) << there_.status();
  }
  absl::StatusOr<Namespace> there_;
  absl::StatusOr<Namespace> here_;
};

TEST_F(TestnetTest, NamespacesAreJoinedByVeth) {
  const absl::Status made = MakeVeth(*here_, "near0", *there_, "far0", {.mtu = 4000, .queues = 2});
  ASSERT_TRUE(made.ok()) << made;
  EXPECT_NE(if_nametoindex("near0"), 0u);
  EXPECT_EQ(if_nametoindex("far0"), 0u);
  {
    const ScopedNamespace there(*there_);
    EXPECT_NE(if_nametoindex("far0"), 0u);
  }
  EXPECT_NE(if_nametoindex("near0"), 0u);
  ASSERT_TRUE(here_->AddAddress("near0", "10.0.0.1/24").ok());
  ASSERT_TRUE(there_->AddAddress("far0", "10.0.0.2/24").ok());
  const CommandResult ping = here_->Run("ping -c 1 -M do -s 3900 10.0.0.2");
  EXPECT_TRUE(ping.ok()) << ping.output;
  EXPECT_TRUE(absl::StrContains(there_->Run("ip -d link show far0").output, "numrxqueues 2"));
  ASSERT_TRUE(there_->Ip("link set far0 down").ok());
  EXPECT_TRUE(WaitForLink(*here_, "near0", false).ok());
}

TEST_F(TestnetTest, ASwitchJoinsItsEnds) {
  const absl::Status made = MakeSwitch(*here_, "switch0", {"end0", "end1"}, {.ipv6 = true});
  ASSERT_TRUE(made.ok()) << made;
  ASSERT_TRUE(here_->Ip(absl::StrCat("link set end1 netns ", there_->path())).ok());
  ASSERT_TRUE(here_->AddAddress("end0", "fd00::1/64").ok());
  ASSERT_TRUE(there_->Ip("link set end1 up").ok());
  ASSERT_TRUE(there_->AddAddress("end1", "fd00::2/64").ok());
  const CommandResult ping = here_->Run("ping -c 1 fd00::2");
  EXPECT_TRUE(ping.ok()) << ping.output;
}

TEST_F(TestnetTest, SocketsOfTwoNamespacesTalk) {
  ASSERT_TRUE(MakeVeth(*here_, "near0", *there_, "far0").ok());
  ASSERT_TRUE(here_->AddAddress("near0", "10.0.0.1/24").ok());
  ASSERT_TRUE(there_->AddAddress("far0", "10.0.0.2/24").ok());
  const auto near = UdpSocket::Bind(*here_, "10.0.0.1", 0);
  const auto far = UdpSocket::Bind(*there_, "10.0.0.2", 7000);
  ASSERT_TRUE(near.ok() && far.ok()) << near.status() << far.status();
  EXPECT_NE(near->port(), 0);
  EXPECT_TRUE(near->Send("10.0.0.2", 7000, "ping"));
  EXPECT_EQ(far->Receive(), "ping");
  EXPECT_TRUE(far->Send("10.0.0.1", near->port(), "pong"));
  EXPECT_EQ(near->Receive(), "pong");
  EXPECT_EQ(near->Receive(absl::Milliseconds(1)), std::nullopt);
  EXPECT_FALSE(UdpSocket::Bind(*here_, "10.0.0.2", 0).ok());
}

// As a test that binds a socket to it would otherwise fail on a busy machine alone.
TEST_F(TestnetTest, AddressesCanBeBoundAtOnce) {
  ASSERT_TRUE(MakeVeth(*here_, "near0", *there_, "far0", {.ipv6 = true}).ok());
  for (int i = 1; i <= 30; ++i) {
    const std::string ip = absl::StrCat("fd00::", i);
    ASSERT_TRUE(here_->AddAddress("near0", absl::StrCat(ip, "/64")).ok());
    ASSERT_TRUE(UdpSocket::Bind(*here_, ip, 0).ok()) << ip;
  }
}

TEST_F(TestnetTest, CommandsGiveTheirOutputAndStatus) {
  const CommandResult result = here_->Run("echo out; echo error >&2; exit 3");
  EXPECT_EQ(result.status, 3);
  EXPECT_EQ(result.output, "out\nerror\n");
  EXPECT_EQ(here_->Run("no-such-program").status, 127);
  const absl::Status status = here_->Ip("link show nothing0");
  EXPECT_TRUE(absl::StrContains(status.message(), "nothing0")) << status;
}

TEST_F(TestnetTest, ACommandThatDoesNotEndIsKilled) {
  EXPECT_EQ(here_->Run("sleep 1000", absl::Milliseconds(50)).status, -1);
  pid_t pid;
  {
    const Process process = there_->Start("sleep 1000 & sleep 1000");
    pid = process.pid();
    EXPECT_EQ(kill(pid, 0), 0);
  }
  EXPECT_NE(kill(pid, 0), 0);
}

TEST_F(TestnetTest, ThreadsInheritTheNamespace) {
  ASSERT_TRUE(MakeVeth(*here_, "near0", *there_, "far0").ok());
  std::thread([] { EXPECT_NE(if_nametoindex("near0"), 0u); }).join();
}

}  // namespace
}  // namespace weft::testnet
