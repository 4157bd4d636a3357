// SPDX-License-Identifier: Apache-2.0
//
// What loopback cannot show: a path with a small MTU, a slow device, scoped addresses, no route.
// Two network namespaces of their own, joined by a veth pair; skipped where the kernel does not let
// us make them.
#include <net/if.h>

#include <cerrno>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "weft/tools/testnet/testnet.h"
#include "weft/transports/linux/linux_test_util.h"

namespace weft::linux_transport {
namespace {

using ::testing::ElementsAreArray;
using testnet::Namespace;

class LinuxNetworkTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { ready_ = MakeNetwork(); }

  static absl::Status MakeNetwork() {
    static absl::StatusOr<Namespace> there = Namespace::Make();
    if (!there.ok()) return there.status();
    static absl::StatusOr<Namespace> here = Namespace::Make();
    if (!here.ok()) return here.status();
    there_ = &*there;
    here_ = &*here;
    absl::Status status =
        testnet::MakeVeth(*here, "near0", *there, "far0", {.mtu = 1280, .ipv6 = true});
    if (status.ok()) status = here->AddAddress("near0", "10.9.8.1/24");
    if (status.ok()) status = here->AddAddress("near0", "fe80::1/64");
    if (status.ok()) status = there->AddAddress("far0", "10.9.8.2/24");
    if (status.ok()) status = there->AddAddress("far0", "fe80::2/64");
    return status;
  }

  void SetUp() override {
    if (!ready_.ok()) GTEST_SKIP() << ready_;
  }

  std::unique_ptr<DatagramPort> OpenThere(const std::string& address) {
    const testnet::ScopedNamespace there(*there_);
    return OpenAt(*transport_, address);
  }

  static inline absl::Status ready_;
  static inline const Namespace* here_ = nullptr;
  static inline const Namespace* there_ = nullptr;
  std::unique_ptr<Transport> transport_ = OpenLinux();
};

TEST_F(LinuxNetworkTest, LinkLocalAddressesCarryTheirScope) {
  const auto near = OpenAt(*transport_, "[::]:0");
  const auto far = OpenThere("[::]:0");
  Address::Ipv6Bytes ip = {0xfe, 0x80};
  ip[15] = 2;
  const Address address = Address::Ipv6(ip, far->local_address().port(), if_nametoindex("near0"));
  const Peer peer = near->Resolve(address).value();
  EXPECT_EQ(near->AddressOf(peer).value(), address);
  SendAll(*near, peer, {"one", "two"});
  const std::vector<Received> received = ReceiveAll(*far, 2);
  ASSERT_EQ(received.size(), 2u);
  EXPECT_NE(far->AddressOf(received[0].peer).value().scope(), 0u);
  SendAll(*far, received[0].peer, {"back"});
  const std::vector<Received> replies = ReceiveAll(*near, 1);
  ASSERT_EQ(replies.size(), 1u);
  EXPECT_EQ(replies[0].peer, peer);
}

TEST_F(LinuxNetworkTest, SegmentsThatDoNotFitThePathAreSentOneByOne) {
  for (const char* any : {"10.9.8.2:0", "[::]:0"}) {
    const auto near = ValueOrDie(transport_->OpenDatagramPort({}));
    const auto far = OpenThere(any);
    const Address address = At(absl::StrCat("10.9.8.2:", far->local_address().port()));
    const Peer peer = near->Resolve(address).value();
    for (size_t size : {1600, 1000, 1600, 1252, 1000}) {
      const std::vector<std::string> texts(10, std::string(size, 'x'));
      SendAll(*near, peer, texts);
      EXPECT_THAT(ReceiveTexts(*far, texts.size()), ElementsAreArray(texts));
    }
    EXPECT_EQ(near->stats().send_failed, 0u);
  }
}

TEST_F(LinuxNetworkTest, MissingRouteIsAnEventAndBlocksNothing) {
  const auto near = OpenAt(*transport_, "0.0.0.0:0");
  const auto far = OpenThere("10.9.8.2:0");
  const Peer lost = near->Resolve(At("203.0.113.1:9")).value();
  const Peer found = near->Resolve(far->local_address()).value();
  std::vector<Datagram> burst;
  for (int i = 0; i < 3; ++i) {
    burst.push_back(Message(*near, lost, "lost"));
    burst.push_back(Message(*near, lost, "lost"));
    burst.push_back(Message(*near, found, "found"));
  }
  EXPECT_EQ(near->Send(absl::MakeSpan(burst)), burst.size());
  EXPECT_EQ(ReceiveTexts(*far, 3).size(), 3u);
  EXPECT_EQ(near->stats().send_failed, 6u);
  const PortEvent event = NextEvent(*near);
  EXPECT_EQ(event.peer, lost);
  EXPECT_EQ(event.error, ENETUNREACH);
  PortEvent second;
  EXPECT_EQ(near->TakeEvents({&second, 1}), 0u);
}

TEST_F(LinuxNetworkTest, AFullSocketTakesNoMoreUntilThereIsRoom) {
  if (!here_->Run("tc qdisc add dev near0 root tbf rate 40mbit burst 10k limit 10m").ok()) {
    GTEST_SKIP() << "this kernel has no tbf";
  }
  for (const char* gso : {"false", "true"}) {
    const auto transport =
        OpenLinux(absl::StrCat("linux { send_buffer_bytes: 8192 gso: ", gso, " }"));
    const auto near = OpenAt(*transport, "0.0.0.0:0");
    const auto far = OpenThere("10.9.8.2:0");
    const Peer peer = near->Resolve(far->local_address()).value();
    std::vector<std::string> texts;
    for (int i = 0; i < 300; ++i) texts.push_back(absl::StrCat(i, std::string(1000, ' ')));
    std::vector<Datagram> burst;
    for (const std::string& text : texts) burst.push_back(Message(*near, peer, text));
    absl::Span<Datagram> rest = absl::MakeSpan(burst);
    while (!rest.empty()) {
      const size_t taken = near->Send(rest);
      for (const Datagram& datagram : rest.first(taken)) EXPECT_FALSE(datagram.buffer);
      rest.remove_prefix(taken);
      for (const Datagram& datagram : rest) EXPECT_TRUE(datagram.buffer);
      // Somebody waits to send: do not sleep. Not more than once though, or nobody would ever
      // sleep.
      EXPECT_EQ(near->Arm(), rest.empty());
      EXPECT_TRUE(near->Arm());
    }
    EXPECT_GT(near->stats().send_blocked, 0u);
    EXPECT_EQ(near->stats().send_failed, 0u);
    EXPECT_THAT(ReceiveTexts(*far, texts.size()), ElementsAreArray(texts));
  }
  EXPECT_TRUE(here_->Run("tc qdisc del dev near0 root").ok());
}

}  // namespace
}  // namespace weft::linux_transport
