// SPDX-License-Identifier: Apache-2.0
//
// Against the kernel of this machine, in a network namespace of the test's own: net_tap, of which
// the kernel is the other end, and net_af_packet on one end of a veth pair. Skipped where the
// kernel does not let us make them.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/bytes.h"
#include "weft/core/unique_fd.h"
#include "weft/transports/dpdk/dpdk_test_util.h"

namespace weft::dpdk {
namespace {

constexpr MacAddress kOurMac = {0x02, 0, 0, 0, 0, 0x02};
constexpr char kKernelIp[] = "10.9.7.1";
constexpr char kOurIp[] = "10.9.7.2";
constexpr uint16_t kKernelPort = 7001;
constexpr uint16_t kOurPort = 7002;
constexpr uint8_t kTcp = 6;
constexpr uint8_t kUdp = 17;

bool Shell(const std::string& command) {
  return std::system(
             absl::StrCat("PATH=$PATH:/usr/sbin:/sbin; ", command, " >/dev/null 2>&1").c_str()) ==
         0;
}

// The sum of RFC 1071 without the final complement.
uint16_t Sum(const uint8_t* bytes, size_t n, uint32_t sum = 0) {
  for (size_t i = 0; i + 1 < n; i += 2) sum += LoadBig16(bytes + i);
  if (n % 2 == 1) sum += uint32_t{bytes[n - 1]} << 8;
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

uint16_t PseudoHeaderSum(const uint8_t* ip, size_t l4_bytes) {
  return Sum(ip + 12, 8, static_cast<uint32_t>(ip[9] + l4_bytes));
}

// A packet from us to the kernel. Checksums are left out: that of IP is 0, that of UDP or TCP the
// sum of the pseudo-header.
Buffer Packet(FramePort& port, const MacAddress& to, uint8_t protocol, const std::string& payload) {
  Buffer frame = port.pool().Allocate();
  const size_t l4_header = protocol == kTcp ? 20 : 8;
  const size_t l4_bytes = l4_header + payload.size();
  uint8_t* ethernet = frame.Append(14);
  std::memcpy(ethernet, to.data(), 6);
  std::memcpy(ethernet + 6, kOurMac.data(), 6);
  StoreBig16(ethernet + 12, 0x0800);
  uint8_t* ip = frame.Append(20);
  std::memset(ip, 0, 20);
  ip[0] = 0x45;
  StoreBig16(ip + 2, static_cast<uint16_t>(20 + l4_bytes));
  ip[8] = 64;
  ip[9] = protocol;
  inet_pton(AF_INET, kOurIp, ip + 12);
  inet_pton(AF_INET, kKernelIp, ip + 16);
  uint8_t* l4 = frame.Append(l4_bytes);
  std::memset(l4, 0, l4_header);
  StoreBig16(l4, kOurPort);
  StoreBig16(l4 + 2, kKernelPort);
  if (protocol == kTcp) {
    l4[12] = 5 << 4;
    l4[13] = 0x10;
  } else {
    StoreBig16(l4 + 4, static_cast<uint16_t>(l4_bytes));
  }
  StoreBig16(l4 + (protocol == kTcp ? 16 : 6), PseudoHeaderSum(ip, l4_bytes));
  std::memcpy(l4 + l4_header, payload.data(), payload.size());
  return frame;
}

void ComputeChecksums(Buffer& udp) {
  uint8_t* ip = udp.data() + 14;
  StoreBig16(ip + 10, static_cast<uint16_t>(~Sum(ip, 20)));
  const auto sum = static_cast<uint16_t>(~Sum(ip + 20, udp.size() - 34));
  StoreBig16(ip + 26, sum);
}

FrameOffload ChecksumRequest(uint8_t protocol) {
  FrameOffload offload;
  offload.flags = FrameOffload::kIpv4 | FrameOffload::kSendIpChecksum |
                  FrameOffload::kSendL4Checksum |
                  (protocol == kTcp ? FrameOffload::kTcp : FrameOffload::kUdp);
  offload.l2_bytes = 14;
  offload.l3_bytes = 20;
  return offload;
}

class KernelTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    ready_ = (unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0) &&
             Shell("ip link set lo up");
  }
  void SetUp() override {
    if (!ready_) GTEST_SKIP() << "cannot make a network namespace";
  }

  // The kernel's end of the wire, which is `interface`.
  void ConfigureKernel(const std::string& interface) {
    ASSERT_TRUE(Shell(absl::StrCat("ip addr add ", kKernelIp, "/24 dev ", interface,
                                   " && ip link set ", interface, " up && ip neigh add ", kOurIp,
                                   " lladdr 02:00:00:00:00:02 dev ", interface, " nud permanent")));
    socket_ = UniqueFd(socket(AF_INET, SOCK_DGRAM, 0));
    sockaddr_in local = {};
    local.sin_family = AF_INET;
    local.sin_port = htons(kKernelPort);
    inet_pton(AF_INET, kKernelIp, &local.sin_addr);
    ASSERT_EQ(bind(socket_.get(), reinterpret_cast<sockaddr*>(&local), sizeof(local)), 0);
  }

  // What `send` sends; the kernel may drop a datagram when all of the machine is busy.
  std::string KernelReceives(const std::function<void()>& send) {
    char late;
    while (recv(socket_.get(), &late, 1, MSG_DONTWAIT) >= 0) continue;
    pollfd event = {socket_.get(), POLLIN, 0};
    int tries = 0;
    do {
      send();
    } while (poll(&event, 1, 5'000) != 1 && ++tries < 4);
    if (tries == 4) return "nothing";
    std::string text(2000, '\0');
    text.resize(static_cast<size_t>(
        std::max<ssize_t>(0, recv(socket_.get(), text.data(), text.size(), 0))));
    return text;
  }

  void KernelSends(const std::string& text) {
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(kOurPort);
    inet_pton(AF_INET, kOurIp, &to.sin_addr);
    EXPECT_EQ(sendto(socket_.get(), text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&to),
                     sizeof(to)),
              static_cast<ssize_t>(text.size()));
  }

  // The next UDP packet to us; the kernel talks of other things too.
  static Buffer ReceiveUdp(FramePort& port) {
    Buffer found;
    Until([&] {
      Buffer burst[1];
      if (port.Receive(absl::MakeSpan(burst)) == 0) return false;
      const uint8_t* frame = burst[0].data();
      if (burst[0].size() < 42 || LoadBig16(frame + 12) != 0x0800 || frame[23] != kUdp)
        return false;
      found = std::move(burst[0]);
      return true;
    });
    return found;
  }

  static inline bool ready_ = false;
  UniqueFd socket_;
};

class TapTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) return;
    if (access("/dev/net/tun", R_OK | W_OK) != 0) GTEST_SKIP() << "no access to /dev/net/tun";
    transport_ = OpenDpdk("virtual_devices: 'net_tap0,iface=weft0'");
    port_ = OpenPort(*transport_);
    ConfigureKernel("weft0");
  }
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<FramePort> port_;
};

TEST_F(TapTest, FramesBothWays) {
  EXPECT_TRUE(AwaitLink(*port_, true));
  for (const size_t size : {1, 18, 100, 1000, 1472}) {
    const std::string text(size, static_cast<char>(size));
    EXPECT_EQ(KernelReceives([&] {
                Buffer packet = Packet(*port_, port_->mac(), kUdp, text);
                ComputeChecksums(packet);
                ASSERT_TRUE(Send(*port_, std::move(packet)));
              }),
              text);
    KernelSends(text);
    const Buffer got = ReceiveUdp(*port_);
    ASSERT_TRUE(got);
    EXPECT_EQ(PayloadOf(got).substr(28, size), text);
    EXPECT_TRUE(got.offload().flags & FrameOffload::kIpChecksumGood);
    EXPECT_TRUE(got.offload().flags & FrameOffload::kL4ChecksumGood);
  }
}

TEST_F(TapTest, ChecksumsAreComputedWhenAsked) {
  ASSERT_TRUE(port_->capabilities().checksum_offload);
  for (const size_t size : {1, 18, 333, 1472}) {
    const std::string text(size, static_cast<char>(size));
    // The kernel drops the first.
    ASSERT_TRUE(Send(*port_, Packet(*port_, port_->mac(), kUdp, "wrong")));
    EXPECT_EQ(KernelReceives([&] {
                Buffer packet = Packet(*port_, port_->mac(), kUdp, text);
                packet.offload() = ChecksumRequest(kUdp);
                ASSERT_TRUE(Send(*port_, std::move(packet)));
              }),
              text);
  }
  Buffer nonsense = Packet(*port_, port_->mac(), kUdp, "x");
  nonsense.offload() = ChecksumRequest(kUdp);
  nonsense.offload().l3_bytes = 1000;
  ASSERT_TRUE(Send(*port_, std::move(nonsense)));
  EXPECT_EQ(port_->stats().send_failed, 1u);
}

TEST_F(TapTest, LongPayloadsAreCutWhenAsked) {
  ASSERT_TRUE(port_->capabilities().segmentation_offload);
  const UniqueFd sniffer(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_IP)));
  sockaddr_ll link = {};
  link.sll_family = AF_PACKET;
  link.sll_protocol = htons(ETH_P_IP);
  link.sll_ifindex = static_cast<int>(if_nametoindex("weft0"));
  ASSERT_EQ(bind(sniffer.get(), reinterpret_cast<sockaddr*>(&link), sizeof(link)), 0);

  std::string payload;
  for (int i = 0; i < 1700; ++i) payload += static_cast<char>(i);
  Buffer packet = Packet(*port_, port_->mac(), kTcp, payload);
  packet.offload() = ChecksumRequest(kTcp);
  packet.offload().flags |= FrameOffload::kSegment;
  packet.offload().l4_bytes = 20;
  packet.offload().segment_bytes = 700;
  ASSERT_TRUE(Send(*port_, std::move(packet)));

  std::string got;
  while (got.size() < payload.size()) {
    pollfd event = {sniffer.get(), POLLIN, 0};
    ASSERT_EQ(poll(&event, 1, 20'000), 1);
    uint8_t frame[2000];
    sockaddr_ll from = {};
    socklen_t from_bytes = sizeof(from);
    const ssize_t n = recvfrom(sniffer.get(), frame, sizeof(frame), 0,
                               reinterpret_cast<sockaddr*>(&from), &from_bytes);
    if (from.sll_pkttype == PACKET_OUTGOING || n < 54 || frame[23] != kTcp) continue;
    const uint8_t* ip = frame + 14;
    const size_t l4_bytes = LoadBig16(ip + 2) - size_t{20};
    EXPECT_EQ(Sum(ip, 20), 0xffff);
    EXPECT_EQ(Sum(ip + 20, l4_bytes, PseudoHeaderSum(ip, l4_bytes)), 0xffff);
    EXPECT_EQ(LoadBig32(ip + 24), got.size()) << "sequence number";
    EXPECT_LE(l4_bytes, 720u);
    got.append(reinterpret_cast<const char*>(ip) + 40, l4_bytes - 20);
  }
  EXPECT_EQ(got, payload);
}

TEST_F(TapTest, TheKernelSeesTheLink) {
  ASSERT_TRUE(AwaitLink(*port_, true));
  ASSERT_TRUE(Shell("ip link set weft0 down"));
  EXPECT_TRUE(AwaitLink(*port_, false));
  ASSERT_TRUE(Shell("ip link set weft0 up"));
  EXPECT_TRUE(AwaitLink(*port_, true));
}

TEST_F(TapTest, TheDeviceGoesWithTheLastPort) {
  port_.reset();
  EXPECT_EQ(if_nametoindex("weft0"), 0u);
  port_ = OpenPort(*transport_);
  EXPECT_NE(if_nametoindex("weft0"), 0u);
}

TEST_F(KernelTest, AfPacketOnAVethPair) {
  ASSERT_TRUE(
      Shell("ip link add ours0 type veth peer name theirs0 address 02:00:00:00:00:01 && ip link "
            "set ours0 "
            "up"));
  ConfigureKernel("theirs0");
  ASSERT_TRUE(Shell("ethtool -K theirs0 tx off rx off"));
  const MacAddress kernel_mac = {0x02, 0, 0, 0, 0, 0x01};
  {
    const auto transport = OpenDpdk("virtual_devices: 'net_af_packet0,iface=ours0'");
    const auto port = OpenPort(*transport);
    EXPECT_FALSE(port->capabilities().checksum_offload);
    ASSERT_TRUE(AwaitLink(*port, true));
    for (const size_t size : {1, 18, 100, 1000, 1472}) {
      const std::string text(size, static_cast<char>(size));
      EXPECT_EQ(KernelReceives([&] {
                  Buffer packet = Packet(*port, kernel_mac, kUdp, text);
                  ComputeChecksums(packet);
                  packet.offload() = ChecksumRequest(kUdp);  // not offered: ignored
                  ASSERT_TRUE(Send(*port, std::move(packet)));
                }),
                text);
      KernelSends(text);
      const Buffer got = ReceiveUdp(*port);
      ASSERT_TRUE(got);
      EXPECT_EQ(PayloadOf(got).substr(28, size), text);
    }
    EXPECT_EQ(port->stats().send_failed, 0u);
  }
  EXPECT_TRUE(Shell("ip link del ours0"));
}

TEST_F(KernelTest, AnInterfaceThatIsNotThere) {
  const auto transport = TryOpen("virtual_devices: 'net_af_packet0,iface=nosuch0'");
  ASSERT_FALSE(transport.ok());
  EXPECT_NE(transport.status().message().find("net_af_packet0"), absl::string_view::npos)
      << transport.status();
}

}  // namespace
}  // namespace weft::dpdk
