// SPDX-License-Identifier: Apache-2.0
//
// What is taken from an interface, and what the kernel keeps.
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "weft/transports/afxdp/afxdp_test_util.h"
#include "weft/transports/afxdp/test_packets.h"

namespace weft::afxdp {
namespace {

using ::testing::HasSubstr;

constexpr uint8_t kIcmp = 1;
constexpr uint8_t kTcp = 6;
constexpr uint8_t kUdp = 17;
constexpr uint8_t kGre = 47;
constexpr uint8_t kIcmp6 = 58;
constexpr uint16_t kIpv4Type = 0x0800;
constexpr uint16_t kArpType = 0x0806;
constexpr uint16_t kIpv6Type = 0x86dd;
constexpr uint16_t kMoreFragments = 0x2000;

// A packet socket on near0: it sees what the XDP program leaves to the kernel.
class KernelsView {
 public:
  KernelsView() : fd_(socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL))) {
    sockaddr_ll address = {};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(3);  // ETH_P_ALL
    address.sll_ifindex = static_cast<int>(if_nametoindex("near0"));
    if (bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) std::abort();
  }
  // Whether `frame` is among those that have come.
  bool Saw(const std::string& frame) {
    char bytes[2048];
    for (ssize_t n; (n = recv(fd_.get(), bytes, sizeof(bytes), 0)) >= 0;) {
      if (std::string(bytes, static_cast<size_t>(n)) == frame) return true;
    }
    return false;
  }

 private:
  static constexpr int ETH_P_ALL = 3;
  UniqueFd fd_;
};

class AfxdpFilterTest : public VethTest, public testing::WithParamInterface<const char*> {
 protected:
  // near0 with the kernel's addresses 10.1.0.1 and fd01::1, and a port with `afxdp`; frames come
  // from a port on far0.
  void Open(const std::string& afxdp) {
    MakePair({.ipv6 = true});
    if (IsSkipped()) return;
    ASSERT_TRUE(
        Shell("ip addr add 10.1.0.1/24 dev near0 && ip addr add fd01::1/64 dev near0 nodad"));
    near_ = OpenEnd("near0", absl::StrCat("mode: ", GetParam(), " ", afxdp));
    far_ = There([] { return OpenEnd("far0"); });
    kernel_ = std::make_unique<KernelsView>();
  }

  // Sends it to near0, whose MAC address it goes to unless there is another.
  bool IsTaken(uint16_t type, const std::string& packet, const std::string& tags = "") {
    return IsTakenTo(near_.port().mac(), type, packet, tags);
  }
  bool IsTakenTo(const MacAddress& to, uint16_t type, const std::string& packet,
                 const std::string& tags = "") {
    std::string frame = MacBytes(to) + MacBytes(far_.port().mac()) + tags + Be16(type) + packet;
    frame.resize(std::max<size_t>(frame.size(), 60));
    EXPECT_TRUE(SendText(far_.port(), frame));
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
    do {
      Buffer in[1];
      if (near_.port().Receive(absl::MakeSpan(in)) == 1 && Text(in[0]) == frame) return true;
      if (kernel_->Saw(frame)) return false;
    } while (std::chrono::steady_clock::now() < end);
    ADD_FAILURE() << "nobody got it";
    return false;
  }

  End near_, far_;
  std::unique_ptr<KernelsView> kernel_;
};

INSTANTIATE_TEST_SUITE_P(Modes, AfxdpFilterTest, testing::Values("NATIVE", "GENERIC"));

TEST_P(AfxdpFilterTest, WhoSaysNothingGetsAll) {
  Open("");
  if (IsSkipped()) return;
  EXPECT_TRUE(IsTaken(0x88b5, "anything"));
  EXPECT_TRUE(IsTaken(kIpv4Type, Ipv4To("10.1.0.1", kUdp, UdpTo(22))));
  EXPECT_TRUE(IsTakenTo(kBroadcast, 0x88b5, "anything"));
  EXPECT_TRUE(IsTakenTo(GroupMac("ff02::1"), 0x88b5, "anything"));
}

TEST_P(AfxdpFilterTest, OtherStationsFramesAreNotOurs) {
  const MacAddress other = {2, 0, 0, 0, 0, 9};
  Open("");
  if (IsSkipped()) return;
  EXPECT_FALSE(IsTakenTo(other, 0x88b5, "anything"));
  ASSERT_TRUE(near_.port().SetFilter({Address::Ipv4({10, 1, 0, 2}, 0)}, {}).ok());
  EXPECT_FALSE(IsTakenTo(other, kIpv4Type, Ipv4To("10.1.0.2", kUdp, UdpTo(1))));
}

TEST_P(AfxdpFilterTest, AddressesDecide) {
  Open("addresses: '10.1.0.2' addresses: 'fd01::2'");
  if (IsSkipped()) return;
  for (const uint8_t protocol : {kUdp, kTcp, kIcmp, kGre}) {
    EXPECT_TRUE(IsTaken(kIpv4Type, Ipv4To("10.1.0.2", protocol, UdpTo(7000))));
    EXPECT_FALSE(IsTaken(kIpv4Type, Ipv4To("10.1.0.1", protocol, UdpTo(7000))));
    EXPECT_TRUE(IsTaken(kIpv6Type, Ipv6To("fd01::2", protocol, UdpTo(7000))));
    EXPECT_FALSE(IsTaken(kIpv6Type, Ipv6To("fd01::1", protocol, UdpTo(7000))));
  }
  EXPECT_FALSE(IsTaken(0x88b5, "anything"));
  EXPECT_FALSE(IsTakenTo(kBroadcast, kIpv4Type, Ipv4To("255.255.255.255", kUdp, UdpTo(68))));
  // An IPv6 address that is ours mapped from IPv4 is another.
  EXPECT_FALSE(IsTaken(kIpv6Type, Ipv6To("::10.1.0.2", kUdp, UdpTo(7000))));
}

TEST_P(AfxdpFilterTest, ArpIsTakenForOurAddresses) {
  Open("addresses: '10.1.0.2'");
  if (IsSkipped()) return;
  for (const uint16_t operation : {1, 2}) {
    EXPECT_TRUE(IsTakenTo(kBroadcast, kArpType, Arp(operation, "10.1.0.9", "10.1.0.2")));
    EXPECT_TRUE(IsTaken(kArpType, Arp(operation, "10.1.0.9", "10.1.0.2")));
    EXPECT_FALSE(IsTakenTo(kBroadcast, kArpType, Arp(operation, "10.1.0.9", "10.1.0.1")));
  }
  EXPECT_FALSE(IsTaken(kArpType, Arp(1, "10.1.0.9", "10.1.0.2").substr(0, 8)));
}

TEST_P(AfxdpFilterTest, NeighborDiscoveryIsTakenForOurAddresses) {
  Open("addresses: 'fd01::2'");
  if (IsSkipped()) return;
  const auto solicit = [&](const std::string& target) {
    const std::string group = SolicitedNode(target);
    return IsTakenTo(GroupMac(group), kIpv6Type, Ipv6To(group, kIcmp6, Neighbor(135, target)));
  };
  EXPECT_TRUE(solicit("fd01::2"));
  EXPECT_FALSE(solicit("fd01::1"));
  EXPECT_FALSE(solicit("fd99::2"));  // of the same group
  EXPECT_TRUE(IsTaken(kIpv6Type, Ipv6To("fd01::2", kIcmp6, Neighbor(136, "fd01::9"))));
  EXPECT_TRUE(IsTaken(kIpv6Type, Ipv6To("fd01::2", kIcmp6, Neighbor(135, "fd01::2"))));
  EXPECT_FALSE(IsTaken(kIpv6Type, Ipv6To("fd01::1", kIcmp6, Neighbor(136, "fd01::9"))));
}

TEST_P(AfxdpFilterTest, PortsDecide) {
  Open("addresses: '10.1.0.2' addresses: 'fd01::2' ports: '7000' ports: '8000-8010'");
  if (IsSkipped()) return;
  for (const auto& [port, ours] : std::vector<std::pair<uint16_t, bool>>{{22, false},
                                                                         {6999, false},
                                                                         {7000, true},
                                                                         {7001, false},
                                                                         {8000, true},
                                                                         {8010, true},
                                                                         {8011, false}}) {
    EXPECT_EQ(IsTaken(kIpv4Type, Ipv4To("10.1.0.2", kUdp, UdpTo(port))), ours) << port;
    EXPECT_EQ(IsTaken(kIpv4Type, Ipv4To("10.1.0.2", kTcp, TcpTo(port))), ours) << port;
    EXPECT_EQ(IsTaken(kIpv6Type, Ipv6To("fd01::2", kUdp, UdpTo(port))), ours) << port;
    const std::string options(8, '\1');
    EXPECT_EQ(IsTaken(kIpv4Type, Ipv4To("10.1.0.2", kUdp, UdpTo(port), 0, options)), ours);
  }
  EXPECT_TRUE(IsTaken(kIpv4Type, Ipv4To("10.1.0.2", kIcmp, "\3\3unreachable")));
  EXPECT_TRUE(IsTaken(kIpv6Type, Ipv6To("fd01::2", kIcmp6, "\2\0toobig")));
  EXPECT_FALSE(IsTaken(kIpv4Type, Ipv4To("10.1.0.2", kGre, UdpTo(7000))));
  EXPECT_TRUE(IsTaken(kArpType, Arp(1, "10.1.0.9", "10.1.0.2")));
}

TEST_P(AfxdpFilterTest, FragmentsHaveNoPorts) {
  Open("addresses: '10.1.0.2' addresses: 'fd01::2' ports: '7000'");
  if (IsSkipped()) return;
  EXPECT_TRUE(IsTaken(kIpv4Type, Ipv4To("10.1.0.2", kUdp, UdpTo(7000), kMoreFragments)));
  EXPECT_FALSE(IsTaken(kIpv4Type, Ipv4To("10.1.0.2", kUdp, UdpTo(22), kMoreFragments)));
  EXPECT_TRUE(IsTaken(kIpv4Type, Ipv4To("10.1.0.2", kUdp, std::string(40, '\0'), 64)));
  EXPECT_FALSE(IsTaken(kIpv4Type, Ipv4To("10.1.0.1", kUdp, std::string(40, '\0'), 64)));
  constexpr uint8_t kFragment = 44;
  const auto fragment = [&](uint16_t offset_and_more, uint16_t port) {
    return IsTaken(kIpv6Type, Ipv6To("fd01::2", kFragment,
                                     FragmentHeader(kUdp, offset_and_more, UdpTo(port))));
  };
  EXPECT_TRUE(fragment(1, 7000));
  EXPECT_FALSE(fragment(1, 22));
  EXPECT_TRUE(fragment(0x100, 22));
}

TEST_P(AfxdpFilterTest, ExtensionHeadersAreWalkedThrough) {
  Open("addresses: 'fd01::2' ports: '7000'");
  if (IsSkipped()) return;
  const auto behind = [&](uint16_t port, int headers) {
    std::string packet = UdpTo(port);
    uint8_t next = kUdp;
    for (int i = 0; i < headers; ++i) {
      packet = Extension(next, packet);
      next = 60;
    }
    return IsTaken(kIpv6Type, Ipv6To("fd01::2", next, packet));
  };
  for (int headers = 0; headers <= 5; ++headers) {
    EXPECT_TRUE(behind(7000, headers)) << headers;
    EXPECT_FALSE(behind(22, headers)) << headers;
  }
  EXPECT_FALSE(behind(7000, 8)) << "more than it looks at";
  EXPECT_FALSE(IsTaken(kIpv6Type, Ipv6To("fd01::2", 0, std::string(8, '\xff'))))
      << "beyond the end";
}

TEST_P(AfxdpFilterTest, VlanTagsAreLookedThrough) {
  Open("addresses: '10.1.0.2'");
  if (IsSkipped()) return;
  const std::string tag = Be16(0x8100) + Be16(5);
  const std::string service_tag = Be16(0x88a8) + Be16(6);
  const std::string ours = Ipv4To("10.1.0.2", kUdp, UdpTo(7000));
  EXPECT_TRUE(IsTaken(kIpv4Type, ours, tag));
  EXPECT_TRUE(IsTaken(kIpv4Type, ours, service_tag + tag));
  EXPECT_TRUE(IsTaken(kArpType, Arp(1, "10.1.0.9", "10.1.0.2"), tag));
}

TEST_P(AfxdpFilterTest, SetFilterReplacesAndGroupsAreTaken) {
  Open("");
  if (IsSkipped()) return;
  FramePort& port = near_.port();
  const Address two = Address::Ipv4({10, 1, 0, 2}, 0);
  const Address three = Address::Ipv4({10, 1, 0, 3}, 0);
  const std::string to_two = Ipv4To("10.1.0.2", kUdp, UdpTo(1));
  const std::string to_three = Ipv4To("10.1.0.3", kUdp, UdpTo(1));
  const std::string to_group = Ipv4To("239.1.2.3", kUdp, UdpTo(1));
  const std::string to_group6 = Ipv6To("ff05::123", kUdp, UdpTo(1));
  const std::string to_all = Ipv6To("ff02::1", kIcmp6, Neighbor(134, "fd01::9"));

  ASSERT_TRUE(port.SetFilter({two}, {}).ok());
  EXPECT_TRUE(IsTaken(kIpv4Type, to_two));
  EXPECT_FALSE(IsTaken(kIpv4Type, to_three));
  EXPECT_FALSE(IsTakenTo(GroupMac("239.1.2.3"), kIpv4Type, to_group));

  ASSERT_TRUE(
      port.SetFilter({three}, {GroupMac("239.1.2.3"), GroupMac("ff05::123"), GroupMac("ff02::1")})
          .ok());
  EXPECT_FALSE(IsTaken(kIpv4Type, to_two));
  EXPECT_TRUE(IsTaken(kIpv4Type, to_three));
  EXPECT_TRUE(IsTakenTo(GroupMac("239.1.2.3"), kIpv4Type, to_group));
  EXPECT_TRUE(IsTakenTo(GroupMac("ff05::123"), kIpv6Type, to_group6));
  EXPECT_FALSE(IsTakenTo(GroupMac("ff02::1"), kIpv6Type, to_all)) << "the kernel needs these";

  ASSERT_TRUE(port.SetFilter({three}, {}).ok());
  EXPECT_FALSE(IsTakenTo(GroupMac("239.1.2.3"), kIpv4Type, to_group));
}

TEST_P(AfxdpFilterTest, ConfiguredAddressesComeBeforeTheFilter) {
  Open("addresses: '10.1.0.2'");
  if (IsSkipped()) return;
  ASSERT_TRUE(near_.port().SetFilter({Address::Ipv4({10, 1, 0, 3}, 0)}, {}).ok());
  EXPECT_TRUE(IsTaken(kIpv4Type, Ipv4To("10.1.0.2", kUdp, UdpTo(1))));
  EXPECT_FALSE(IsTaken(kIpv4Type, Ipv4To("10.1.0.3", kUdp, UdpTo(1))));
}

TEST_P(AfxdpFilterTest, TheKernelIsNotCutOffFromItsOwnAddress) {
  Open("");
  if (IsSkipped()) return;
  const absl::Status status = near_.port().SetFilter({Address::Ipv4({10, 1, 0, 1}, 0)}, {});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("10.1.0.1"));
  EXPECT_FALSE(IsTaken(kIpv4Type, Ipv4To("10.1.0.1", kTcp, TcpTo(22))));
  // A link-local address that both make from the MAC address is left to it.
  ASSERT_TRUE(Shell("ip addr add fe80::1/64 dev near0 nodad"));
  Address::Ipv6Bytes link_local = {0xfe, 0x80};
  link_local[15] = 1;
  ASSERT_TRUE(near_.port()
                  .SetFilter({Address::Ipv6(link_local, 0), Address::Ipv4({10, 1, 0, 2}, 0)}, {})
                  .ok());
  EXPECT_FALSE(IsTaken(kIpv6Type, Ipv6To("fe80::1", kIcmp6, Neighbor(136, "fe80::9"))));
  EXPECT_TRUE(IsTaken(kIpv4Type, Ipv4To("10.1.0.2", kUdp, UdpTo(1))));
}

TEST_P(AfxdpFilterTest, OnePortOfAnAddressThatTheKernelKeeps) {
  Open("addresses: '10.1.0.1' addresses: 'fd01::1' ports: '7000'");
  if (IsSkipped()) return;
  EXPECT_TRUE(IsTaken(kIpv4Type, Ipv4To("10.1.0.1", kUdp, UdpTo(7000))));
  EXPECT_TRUE(IsTaken(kIpv6Type, Ipv6To("fd01::1", kUdp, UdpTo(7000))));
  EXPECT_FALSE(IsTaken(kIpv4Type, Ipv4To("10.1.0.1", kTcp, TcpTo(22))));
  EXPECT_FALSE(IsTaken(kIpv4Type, Ipv4To("10.1.0.1", kIcmp, "\10\0echo")));
  EXPECT_FALSE(IsTaken(kIpv4Type, Ipv4To("10.1.0.1", kUdp, UdpTo(7000), kMoreFragments)));
  EXPECT_FALSE(IsTaken(kArpType, Arp(2, "10.1.0.9", "10.1.0.1")));
  EXPECT_FALSE(IsTaken(kIpv6Type, Ipv6To("fd01::1", kIcmp6, Neighbor(136, "fd01::9"))));
}

// Ports without an address take nothing until the addresses are known.
TEST_P(AfxdpFilterTest, PortsWaitForTheirAddresses) {
  Open("ports: '7000'");
  if (IsSkipped()) return;
  EXPECT_FALSE(IsTaken(kIpv4Type, Ipv4To("10.1.0.2", kUdp, UdpTo(7000))));
  ASSERT_TRUE(near_.port().SetFilter({Address::Ipv4({10, 1, 0, 2}, 0)}, {}).ok());
  EXPECT_TRUE(IsTaken(kIpv4Type, Ipv4To("10.1.0.2", kUdp, UdpTo(7000))));
}

TEST_P(AfxdpFilterTest, TheKernelGoesOnUsingTheInterface) {
  MakePair({.ipv6 = true});
  if (IsSkipped()) return;
  ASSERT_TRUE(Shell("ip addr add 10.1.0.1/24 dev near0 && ip addr add fd01::1/64 dev near0 nodad"));
  ASSERT_TRUE(
      ShellThere("ip addr add 10.1.0.9/24 dev far0 && ip addr add fd01::9/64 dev far0 nodad"));
  near_ = OpenEnd("near0", absl::StrCat("mode: ", GetParam(), " addresses: '10.1.0.2'"));
  FramePort& port = near_.port();
  // Both families, small and in fragments.
  for (const char* size : {"56", "4000"}) {
    EXPECT_TRUE(ShellThere(absl::StrCat("ping -c 3 -i 0.05 -W 5 -s ", size, " 10.1.0.1")));
    EXPECT_TRUE(ShellThere(absl::StrCat("ping -6 -c 3 -i 0.05 -W 5 -s ", size, " fd01::1")));
  }
  Buffer in[1];
  EXPECT_EQ(port.Receive(absl::MakeSpan(in)), 0u);

  // Somebody there asks for our address, by way of its kernel.
  UniqueFd fd = There([] { return UniqueFd(socket(AF_INET, SOCK_DGRAM, 0)); });
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(7000);
  inet_pton(AF_INET, "10.1.0.2", &to.sin_addr);
  const std::string message = "hello";
  sendto(fd.get(), message.data(), message.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof(to));
  Buffer request = ReceiveOne(port);
  ASSERT_TRUE(request);
  EXPECT_EQ(Text(request).substr(12, 2), Be16(kArpType));
  // The answer, to whoever asked: sender and target change places.
  const std::string asked = Text(request);
  const std::string answer = asked.substr(6, 6) + MacBytes(port.mac()) + asked.substr(12, 8) +
                             Be16(2).substr(0, 2) + MacBytes(port.mac()) + asked.substr(38, 4) +
                             asked.substr(22, 10);
  ASSERT_TRUE(SendText(port, answer));
  const Buffer datagram = ReceiveOne(port);
  ASSERT_TRUE(datagram);
  EXPECT_THAT(Text(datagram), HasSubstr(message));
}

}  // namespace
}  // namespace weft::afxdp
