// SPDX-License-Identifier: Apache-2.0
//
// TAP devices against the kernel whose they are.
#include "weft/transports/linux/tap_frame_port.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <cstring>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "weft/tools/testnet/testnet.h"
#include "weft/tools/testnet/udp_socket.h"
#include "weft/transports/linux/frame_test_util.h"

namespace weft::linux_transport {
namespace {

using testnet::Namespace;
using testnet::UdpSocket;

constexpr char kAddresses[] = "kernel_addresses: ['10.0.0.2/24', 'fd00::2/64'] ";

class TapFramePortTest : public testing::Test {
 protected:
  void SetUp() override {
    here_ = Namespace::Make();
    if (!here_.ok()) GTEST_SKIP() << here_.status();
    if (absl::Status status = TapFramePort::Probe(); !status.ok()) GTEST_SKIP() << status;
  }

  static std::unique_ptr<Transport> OpenTap(const std::string& settings,
                                            const std::string& more = "") {
    return OpenLinux(absl::StrCat("linux { tap { ", settings, " } } ", more));
  }
  static absl::Status OpenError(const std::string& settings, int queues = 1) {
    const auto transport = OpenTap(settings);
    return transport->OpenFramePort({.queues = queues}).status();
  }
  // The kernel takes the port for 10.0.0.1 and fd00::1.
  void AddNeighbours(const Namespace& place, const FramePort& port) {
    for (const char* ip : {"10.0.0.1", "fd00::1"}) {
      const absl::Status status = place.Ip(absl::StrCat(
          "neigh replace ", ip, " lladdr ", ToString(port.mac()), " dev ", port.device_name()));
      ASSERT_TRUE(status.ok()) << status;
    }
  }

  absl::StatusOr<Namespace> here_;
};

TEST_F(TapFramePortTest, TalksWithTheKernel) {
  for (const char* offload : {"true", "false"}) {
    const auto transport = OpenTap(absl::StrCat("offload: ", offload, " ", kAddresses));
    const auto port = OpenFrames(*transport);
    ASSERT_TRUE(UntilLinkIs(*port, true));
    AddNeighbours(*here_, *port);
    const MacAddress kernel = FindInterface(port->device_name())->mac;
    EXPECT_NE(kernel, port->mac());
    const bool offloads = transport->capabilities().checksum_offload;
    EXPECT_EQ(offloads, std::string(offload) == "true");
    for (const bool ipv4 : {true, false}) {
      const auto socket = ValueOrDie(UdpSocket::Bind(*here_, ipv4 ? "10.0.0.2" : "fd00::2", 5000));
      ASSERT_TRUE(socket.Send(ipv4 ? "10.0.0.1" : "fd00::1", 4000, "from the kernel"));
      const Buffer frame = ReceiveUdp(*port);
      ASSERT_TRUE(frame);
      EXPECT_EQ(UdpPayload(frame), "from the kernel");
      EXPECT_TRUE(HasGoodChecksums(frame));
      EXPECT_EQ((frame.offload().flags & FrameOffload::kL4ChecksumGood) != 0, offloads);
      const Packet packet = {.ipv4 = ipv4, .payload = "to the kernel"};
      const auto send = [&] {
        Buffer reply = FrameOf(*port, kernel, packet);
        if (offloads) {
          RequestChecksums(packet, reply);
        } else {
          // As one that another device received and that never left the machine.
          Buffer partial = FrameOf(*port, kernel, packet);
          RequestChecksums(packet, partial);
          std::memcpy(reply.data() + packet.checksum(), partial.data() + packet.checksum(), 2);
          reply.offload().flags = FrameOffload::kL4ChecksumGood;
        }
        return SendFrame(*port, std::move(reply));
      };
      // The kernel may drop a datagram when all of the machine is busy.
      std::optional<std::string> got;
      for (int tries = 0; tries < 4 && !got; ++tries) {
        ASSERT_TRUE(send());
        got = socket.Receive(absl::Seconds(5));
      }
      EXPECT_EQ(got, "to the kernel")
          << (ipv4 ? "IPv4" : "IPv6") << ", offload " << offload << ", sent " << port->stats().sent
          << ", failed " << port->stats().send_failed << "\n"
          << here_->Run("cat /proc/net/snmp /proc/net/snmp6; ip -s link show dev weft0").output;
    }
  }
}

TEST_F(TapFramePortTest, DatagramsAreCutOnRequest) {
  const auto transport = OpenTap(kAddresses);
  if (!transport->capabilities().segmentation_offload) GTEST_SKIP() << "Linux 6.2 can";
  const auto port = OpenFrames(*transport);
  ASSERT_TRUE(UntilLinkIs(*port, true));
  const auto socket = ValueOrDie(UdpSocket::Bind(*here_, "10.0.0.2", 5000));
  const Packet packet = {.payload = std::string(500, 'a') + std::string(500, 'b') + "end"};
  const std::vector<std::string> pieces = {std::string(500, 'a'), std::string(500, 'b'), "end"};
  // The kernel may drop a datagram when all of the machine is busy.
  std::vector<std::string> got;
  for (int tries = 0; tries < 4 && got.size() < pieces.size(); ++tries) {
    got.clear();
    Buffer frame = FrameOf(*port, FindInterface(port->device_name())->mac, packet);
    RequestSegments(packet, 500, frame);
    ASSERT_TRUE(SendFrame(*port, std::move(frame)));
    while (got.size() < pieces.size()) {
      const std::optional<std::string> piece = socket.Receive(absl::Seconds(5));
      if (!piece) break;
      got.push_back(*piece);
    }
  }
  EXPECT_EQ(got, pieces);
}

TEST_F(TapFramePortTest, NamesMtuAndAddresses) {
  {
    const auto transport =
        OpenTap(absl::StrCat("mtu: 9000 ", kAddresses), "buffers { bytes: 16384 }");
    EXPECT_EQ(transport->capabilities().max_frame_bytes, 9014u);
    const auto port = OpenFrames(*transport);
    EXPECT_EQ(port->device_name(), "weft0");
    EXPECT_EQ(port->capabilities().max_frame_bytes, 9014u);
    const std::string addresses = here_->Run("ip addr show weft0").output;
    for (const char* part : {"10.0.0.2/24", "fd00::2/64", "mtu 9000"}) {
      EXPECT_TRUE(absl::StrContains(addresses, part)) << addresses;
    }
    const auto other_transport = OpenTap("");
    const auto other = OpenFrames(*other_transport);
    EXPECT_EQ(other->device_name(), "weft1");
    EXPECT_NE(other->mac(), port->mac());
    EXPECT_FALSE(other->link_up()) << "nobody has brought it up";
    ASSERT_TRUE(here_->Ip("link set weft1 up").ok());
    EXPECT_TRUE(UntilLinkIs(*other, true));
    EXPECT_EQ(port->mac()[0] & 3, 2) << "not locally administered";
  }
  EXPECT_EQ(if_nametoindex("weft0"), 0u) << "left behind";
}

TEST_F(TapFramePortTest, ADeviceThatWasThereStays) {
  ASSERT_TRUE(here_->Ip("tuntap add dev mine0 mode tap").ok());
  const auto transport = OpenTap("interface: 'mine0'");
  for (int i = 0; i < 2; ++i) {
    const auto port = OpenFrames(*transport);
    EXPECT_EQ(port->device_name(), "mine0");
  }
  EXPECT_NE(if_nametoindex("mine0"), 0u);
}

TEST_F(TapFramePortTest, QueuesShareFlows) {
  const auto transport = OpenTap(kAddresses);
  std::vector<std::unique_ptr<FramePort>> ports;
  for (int queue = 0; queue < 2; ++queue) ports.push_back(OpenFrames(*transport, queue, 2));
  EXPECT_EQ(ports[0]->device_name(), ports[1]->device_name());
  EXPECT_EQ(ports[0]->mac(), ports[1]->mac());
  for (const auto& port : ports) ASSERT_TRUE(UntilLinkIs(*port, true));
  AddNeighbours(*here_, *ports[0]);
  constexpr size_t kFlows = 64;
  for (size_t i = 0; i < kFlows; ++i) {
    const auto socket = ValueOrDie(UdpSocket::Bind(*here_, "10.0.0.2", 0));
    ASSERT_TRUE(socket.Send("10.0.0.1", 4000, "flow"));
  }
  size_t got[2] = {};
  EXPECT_TRUE(Until([&] {
    for (size_t i = 0; i < 2; ++i) {
      Buffer in[8];
      const size_t n = ports[i]->Receive(absl::MakeSpan(in));
      for (const Buffer& frame : absl::MakeSpan(in, n))
        got[i] += LoadBig16(frame.data() + 12) == 0x0800;
    }
    return got[0] + got[1] >= kFlows;
  }));
  EXPECT_EQ(got[0] + got[1], kFlows);
  EXPECT_GT(got[0], 0u);
  EXPECT_GT(got[1], 0u);
}

// What arrived without a checksum through a packet socket, as it never left the machine, is passed
// on to the kernel as good as if it had one.
TEST_F(TapFramePortTest, FramesOfAnotherPortKeepTheirChecksums) {
  absl::StatusOr<Namespace> behind = Namespace::Make();  // the TAP device
  ASSERT_TRUE(behind.ok());
  const auto tap_transport = OpenTap("kernel_addresses: ['10.0.0.1/24', 'fd00::1/64']");
  const auto tap = OpenFrames(*tap_transport);
  const std::string tap_mac = ToString(FindInterface(tap->device_name())->mac);
  absl::StatusOr<Namespace> there = Namespace::Make();
  ASSERT_TRUE(there.ok() && here_->Enter().ok());
  ASSERT_TRUE(testnet::MakeVeth(*here_, "near0", *there, "far0", {.ipv6 = true}).ok());
  ASSERT_TRUE(there->AddAddress("far0", "10.0.0.2/24").ok());
  ASSERT_TRUE(there->AddAddress("far0", "fd00::2/64").ok());
  const auto nic_transport = OpenLinux("linux { packet { interface: 'near0' } }");
  const auto nic = OpenFrames(*nic_transport);
  ASSERT_TRUE(UntilLinkIs(*tap, true));
  ASSERT_TRUE(here_->Ip(absl::StrCat("link set near0 address ", tap_mac)).ok());
  for (const std::string ip : {"10.0.0.", "fd00::"}) {
    ASSERT_TRUE(there->Ip(absl::StrCat("neigh add ", ip, "1 lladdr ", tap_mac, " dev far0")).ok());
    const auto sender = ValueOrDie(UdpSocket::Bind(*there, ip + "2", 0));
    const auto receiver = ValueOrDie(UdpSocket::Bind(*behind, ip + "1", 4000));
    // The kernel may drop a datagram when all of the machine is busy.
    std::optional<std::string> got;
    for (int tries = 0; tries < 4 && !got; ++tries) {
      ASSERT_TRUE(sender.Send(ip + "1", 4000, "passed on"));
      ASSERT_TRUE(SendFrame(*tap, ReceiveUdp(*nic)));
      got = receiver.Receive(absl::Seconds(5));
    }
    EXPECT_EQ(got, "passed on");
  }
}

// Nothing of it is left in the device, where one could wait for it.
TEST_F(TapFramePortTest, NobodySleepsOnTheRestOfAJoinedFrame) {
  const auto transport = OpenTap(kAddresses);
  const auto port = ValueOrDie(transport->OpenFramePort({.joined_segments = true}));
  ASSERT_TRUE(UntilLinkIs(*port, true));
  const auto sender_transport =
      OpenLinux(absl::StrCat("linux { packet { interface: '", port->device_name(),
                             "' } } buffers { bytes: 70000 count: 64 }"));
  if (!sender_transport->capabilities().segmentation_offload) GTEST_SKIP() << "Linux 6.2 can";
  const auto sender = OpenFrames(*sender_transport);
  const Packet packet = {.protocol = kProtocolTcp, .payload = std::string(50'000, 'x')};
  Buffer frame = FrameOf(*sender, port->mac(), packet);
  RequestSegments(packet, 1400, frame);
  ASSERT_TRUE(SendFrame(*sender, std::move(frame)));
  size_t pieces = 0;
  for (size_t bytes = 0; bytes < packet.payload.size();) {
    Buffer piece = ReceiveFrame(*port);
    ASSERT_TRUE(piece) << bytes;
    if (piece.size() < 1000) continue;  // the kernel's own talk
    ++pieces;
    bytes += piece.size() - packet.l4() - packet.l4_bytes();
    if (bytes < packet.payload.size()) {
      EXPECT_FALSE(port->Arm());
    }
  }
  EXPECT_GT(pieces, 1u);
  EXPECT_TRUE(port->Arm());
}

// Two kernels' TCP, with nothing but this program between them: segments are joined on the way in
// and cut on the way out.
TEST_F(TapFramePortTest, TcpThroughTwoDevicesWithOffload) {
  constexpr size_t kBytes = 8 << 20;
  absl::StatusOr<Namespace> there = Namespace::Make();
  ASSERT_TRUE(there.ok()) << there.status();
  const std::string buffers = "buffers { bytes: 131072 count: 512 }";
  const auto far_transport = OpenTap("kernel_addresses: '10.0.0.2/24'", buffers);
  const auto far = OpenFrames(*far_transport);
  ASSERT_TRUE(here_->Enter().ok());
  const auto near_transport =
      OpenTap("interface: 'near0' kernel_addresses: '10.0.0.1/24'", buffers);
  const auto near = OpenFrames(*near_transport);

  std::atomic<bool> stop{false};
  size_t joined = 0;
  std::thread relay([&] {
    near->BindToThisThread();
    far->BindToThisThread();
    const auto pass = [&](FramePort& from, FramePort& to) {
      Buffer burst[8];
      const size_t n = from.Receive(absl::MakeSpan(burst));
      for (Buffer& frame : absl::MakeSpan(burst, n)) {
        if (frame.size() > 1514) {
          ++joined;
          const uint8_t* const tcp = frame.data() + 34;
          const auto header_bytes = static_cast<uint8_t>(4 * (tcp[12] >> 4));
          frame.offload() = {
              .flags = FrameOffload::kIpv4 | FrameOffload::kTcp | FrameOffload::kSegment,
              .l2_bytes = 14,
              .l4_bytes = header_bytes,
              .l3_bytes = 20,
              .segment_bytes = static_cast<uint16_t>(1480 - header_bytes)};
        }
        Buffer out[] = {std::move(frame)};
        while (to.Send(absl::MakeSpan(out)) == 0 && !stop.load()) continue;
      }
      return n;
    };
    while (!stop.load()) {
      if (pass(*near, *far) + pass(*far, *near) == 0) std::this_thread::yield();
    }
  });

  sockaddr_in name = {};
  name.sin_family = AF_INET;
  name.sin_port = htons(5000);
  inet_pton(AF_INET, "10.0.0.2", &name.sin_addr);
  UniqueFd listener;
  {
    const testnet::ScopedNamespace place(*there);
    listener = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  }
  auto* const any = reinterpret_cast<sockaddr*>(&name);
  ASSERT_EQ(bind(listener.get(), any, sizeof(name)), 0);
  ASSERT_EQ(listen(listener.get(), 1), 0);
  const UniqueFd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(connect(client.get(), any, sizeof(name)), 0);
  const UniqueFd server(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  std::string sent(kBytes, '\0');
  for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 31 >> 7);
  std::thread sender([&] {
    for (size_t at = 0; at < sent.size();) {
      const ssize_t n = send(client.get(), sent.data() + at, sent.size() - at, MSG_NOSIGNAL);
      if (n <= 0) break;
      at += static_cast<size_t>(n);
    }
  });
  std::string got(kBytes, '\0');
  EXPECT_EQ(recv(server.get(), got.data(), got.size(), MSG_WAITALL), static_cast<ssize_t>(kBytes));
  EXPECT_TRUE(got == sent);
  sender.join();
  stop.store(true);
  relay.join();
  near->BindToThisThread();
  far->BindToThisThread();
  EXPECT_GT(joined, 0u) << "no segments were joined";
  EXPECT_EQ(near->stats().copied_buffers, 0u);
}

TEST_F(TapFramePortTest, ErrorsSayWhatToDo) {
  ASSERT_TRUE(here_->Ip("link add bridge0 type bridge").ok());
  const absl::Status taken = OpenError("interface: 'bridge0'");
  EXPECT_EQ(taken.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(absl::StrContains(taken.message(), "no TAP device")) << taken;
  const auto transport = OpenTap("interface: 'mine0'");
  const auto port = OpenFrames(*transport);
  const absl::Status busy = OpenError("interface: 'mine0'");
  EXPECT_EQ(busy.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(absl::StrContains(busy.message(), "another")) << busy;
  EXPECT_EQ(transport->OpenFramePort({}).status().code(), absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE(here_->Ip("tuntap add dev single0 mode tap").ok());
  const absl::Status single = OpenError("interface: 'single0'", 2);
  EXPECT_EQ(single.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(single.message(), "multi_queue")) << single;
  const absl::Status address = OpenError("kernel_addresses: '10.0.0.1'");
  EXPECT_EQ(address.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(address.message(), "prefix length")) << address;
  EXPECT_FALSE(OpenError("interface: 'a-name-that-is-too-long'").ok());
  WithoutCapabilities([] {
    const absl::Status refused = OpenError("interface: 'fresh0'");
    EXPECT_EQ(refused.code(), absl::StatusCode::kPermissionDenied);
    EXPECT_TRUE(absl::StrContains(refused.message(), "cap_net_admin")) << refused;
  });
}

TEST_F(TapFramePortTest, ADeviceThatIsRemovedEndsThePort) {
  const auto transport = OpenTap("interface: 'mine0' kernel_addresses: '10.0.0.2/24'");
  const auto port = OpenFrames(*transport);
  ASSERT_TRUE(here_->Ip("link del mine0").ok());
  Buffer in[1];
  EXPECT_TRUE(Until([&] {
    port->Receive(absl::MakeSpan(in));
    return !port->status().ok();
  }));
  EXPECT_TRUE(absl::StrContains(port->status().message(), "mine0")) << port->status();
}

}  // namespace
}  // namespace weft::linux_transport
