// SPDX-License-Identifier: Apache-2.0
//
// weft's own network stack as its users meet it: udp_echo over each transport of frames, with the
// Linux kernel's programs as its neighbours, and `weft net` beside it. All that went over the wire
// is captured, and tshark finds nothing malformed in it.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "weft/tools/testnet/testnet.h"

namespace weft {
namespace {

using testnet::CommandResult;
using testnet::Namespace;
using testnet::Process;

struct Frames {
  const char* name;
  const char* transport;  // the name in `weft transports`
  const char* config;     // of the transport; the device is weft0
  bool tap = false;       // the device is made by weft, and the kernel is behind it
  // A command for the kernel's end of the veth pair.
  const char* prepare = "true";
};

// What AF_XDP and DPDK's net_af_packet give does not say that a checksum was left to a device, so
// that the kernel must not leave it.
constexpr char kNoChecksumsLeft[] = "ethtool -K kernel0 tx off";

// net_af_packet has the kernel put fragments together (PACKET_FANOUT_FLAG_DEFRAG), and cuts off
// what its frames have no room for.
constexpr char kAfPacket[] =
    "name: 'dpdk' dpdk { huge_pages: NEVER virtual_devices: "
    "'net_af_packet0,iface=weft0,blocksz=49152,framesz=12288,framecnt=256' }";

// Sends datagrams of all sizes, in bursts too, and expects each back.
constexpr char kClient[] = R"(
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
s.settimeout(10)
s.connect((sys.argv[1], 7000))
for size in [0, 1, 2, 17, 18, 19, 64, 1000, 1400, 1452, 1472, 1473, 2952, 2960, 4000, 8000, 8950]:
    data = bytes((i * 7 + size) % 251 for i in range(size))
    s.send(data)
    assert s.recv(65536) == data, size
for burst in range(20):
    sent = [bytes([burst, i]) * 30 for i in range(16)]
    for data in sent: s.send(data)
    got = [s.recv(65536) for _ in sent]
    assert sorted(got) == sorted(sent), burst
print("all came back")
)";

std::string Runfile(const std::string& path) {
  return absl::StrCat(std::getenv("TEST_SRCDIR"), "/", std::getenv("TEST_WORKSPACE"), "/", path);
}

std::string WriteFile(const std::string& name, const std::string& text) {
  const std::string path = absl::StrCat(std::getenv("TEST_TMPDIR"), "/", name);
  std::ofstream(path) << text;
  return path;
}

class NetTest : public testing::TestWithParam<Frames> {
 protected:
  // An interface of the kernel with the addresses of a neighbour, and weft's end beside it.
  void SetUp() override {
    kernel_.emplace(Namespace::Make());
    own_.emplace(Namespace::Make());
    if (!(*own_).ok()) GTEST_SKIP() << (*own_).status();
    const CommandResult here =
        own().Run(absl::StrCat(weft_, " transports --json --transport ", GetParam().transport));
    if (!absl::StrContains(here.output, "\"available\": true")) GTEST_SKIP() << here.output;
    if (!GetParam().tap) {
      ASSERT_TRUE(MakeVeth(own(), "weft0", **kernel_, "kernel0", {.ipv6 = true}).ok());
      ASSERT_TRUE(kernel().AddAddress("kernel0", "10.0.0.1/24").ok());
      ASSERT_TRUE(kernel().AddAddress("kernel0", "fd00::1/64").ok());
      const CommandResult prepared = kernel().Run(GetParam().prepare);
      if (!prepared.ok()) GTEST_SKIP() << prepared.output;
    }
    StartEcho();
  }

  void StartEcho() {
    const std::string config =
        WriteFile("echo.textproto",
                  absl::StrCat("transport { ", GetParam().config, " buffers { bytes: 16384 } }",
                               "netstack { addresses: '10.0.0.2/24' addresses: 'fd00::2/64'"
                               "           routes { destination: '0.0.0.0/0' gateway: '10.0.0.1' }"
                               "           datagram_bytes_max: 9000 }"
                               "metrics { listen: '9100' }"));
    echo_.emplace(
        own().Start(absl::StrCat("exec ", Runfile("examples/udp_echo"), " --config ", config)));
    for (int i = 0; i < 3000 && !absl::StrContains(echo_->Output(), "listening on"); ++i) {
      absl::SleepFor(absl::Milliseconds(20));
    }
    ASSERT_TRUE(absl::StrContains(echo_->Output(), "listening on 10.0.0.2:7000"))
        << echo_->Output();
    // The file must be written by whoever reads it, not by the user that tcpdump would become.
    capture_.emplace(kernel().Start(
        absl::StrCat("exec tcpdump -Z $(id -un) -i ", device(), " -s 0 -U -w ", CaptureFile())));
    for (int i = 0; i < 3000 && !absl::StrContains(capture_->Output(), "listening on"); ++i) {
      absl::SleepFor(absl::Milliseconds(20));
    }
  }

  Namespace& own() { return **own_; }
  Namespace& kernel() { return GetParam().tap ? **own_ : **kernel_; }
  static std::string device() { return GetParam().tap ? "weft0" : "kernel0"; }
  static std::string CaptureFile() {
    return absl::StrCat(std::getenv("TEST_TMPDIR"), "/", GetParam().name, ".pcap");
  }

  // Runs a command of the kernel's side, which is to end well and say something.
  void Expect(const std::string& command, const std::string& says = "") {
    const CommandResult result = kernel().Run(command);
    if (result.status == 127) {
      std::printf("not checked, because it is not installed: %s\n", command.c_str());
      return;
    }
    EXPECT_TRUE(result.ok() && absl::StrContains(result.output, says))
        << command << ": status " << result.status << "\n"
        << result.output;
  }
  // Without a deadline, ping takes a reply for lost that comes after twice the longest time so far.
  void ExpectEchoes(int count, const std::string& arguments) {
    Expect(absl::StrCat("ping -c ", count, " -w 60 ", arguments),
           absl::StrCat(" ", count, " received"));
  }
  // The same for a command of `weft net`, with another status perhaps.
  void ExpectNet(const std::string& arguments, const std::string& says, int status = 0) {
    const CommandResult result = own().Run(absl::StrCat(weft_, " net ", arguments));
    EXPECT_EQ(result.status, status) << arguments << "\n" << result.output;
    EXPECT_TRUE(absl::StrContains(result.output, says)) << arguments << "\n" << result.output;
  }

  // Ends all, and looks at what went over the wire.
  void CheckCapture() {
    const CommandResult captured = capture_->Stop();
    EXPECT_TRUE(captured.ok()) << captured.output;
    const CommandResult end = echo_->Stop();
    EXPECT_TRUE(end.ok()) << end.output;
    // By itself, tshark would take port 7000 for another protocol's.
    const std::string tshark =
        absl::StrCat("tshark -d udp.port==7000,data -r ", CaptureFile(), " 2>/dev/null ");
    if (own().Run("command -v tshark").status != 0) GTEST_SKIP() << "tshark is not installed";
    const CommandResult frames = own().Run(tshark + "-T fields -e frame.number | wc -l");
    int count = 0;
    EXPECT_TRUE(absl::SimpleAtoi(frames.output, &count)) << frames.output;
    EXPECT_GT(count, 2000);
    EXPECT_EQ(own().Run(tshark + "-Y _ws.malformed").output, "");
    // Both have the same idea of fragments.
    EXPECT_EQ(own().Run(tshark + "-Y 'ip.fragment.error or ipv6.fragment.error'").output, "");
  }

  const std::string weft_ = Runfile("cli/weft");
  std::optional<absl::StatusOr<Namespace>> kernel_;
  std::optional<absl::StatusOr<Namespace>> own_;
  std::optional<Process> echo_;
  std::optional<Process> capture_;
};

TEST_P(NetTest, IsANeighbourOfTheKernels) {
  for (const int size : {0, 1, 56, 1472, 1473, 8000}) {
    ExpectEchoes(2, absl::StrCat("-i 0.05 -s ", size, " 10.0.0.2"));
    ExpectEchoes(2, absl::StrCat("-i 0.05 -s ", size, " fd00::2"));
  }
  ExpectEchoes(1000, "-f 10.0.0.2");
  Expect(absl::StrCat("arping -c 2 -w 20 -I ", device(), " 10.0.0.2"));
  // The datagrams are for ports where nobody listens.
  Expect("traceroute -n -q 1 -w 5 -m 3 10.0.0.2", " 1  10.0.0.2");
  Expect("traceroute -6 -n -q 1 -w 5 -m 3 fd00::2", " 1  fd00::2");

  const std::string client = WriteFile("client.py", kClient);
  Expect(absl::StrCat("python3 ", client, " 10.0.0.2"), "all came back");

  ExpectNet("show 9100", "MTU 1500, link up");
  ExpectNet("show 9100", "0.0.0.0/0 via 10.0.0.1");
  ExpectNet("show 9100 --json", "\"10.0.0.2/24\"");
  ExpectNet("arp 9100", "10.0.0.1");
  ExpectNet("stats 127.0.0.1:9100", "stack.echo_requests");
  ExpectNet("ping 9100 10.0.0.1 --count 3 --interval 10ms", "3 requests, 3 replies, 0% lost");
  ExpectNet("ping 9100 10.0.0.1 --count 2 --interval 10ms --size 3000", "3000 bytes from 10.0.0.1");
  ExpectNet("ping 9100 fd00::1 --count 2 --interval 10ms --json", "\"replies\": 2");
  ExpectNet("ping 9100 10.0.0.9 --count 1", "no reply", 1);
  ExpectNet("ping 9100 10.0.0 --count 1", "'10.0.0' is not an IP address", 2);
  CheckCapture();
}

// As ss(8) shows the kernel's, of a program that answers it.
TEST(TcpCommandsTest, ShowConnectionsAndCounters) {
  const auto kernel = Namespace::Make();
  const auto own = Namespace::Make();
  if (!own.ok()) GTEST_SKIP() << own.status();
  ASSERT_TRUE(MakeVeth(*own, "weft0", *kernel, "kernel0").ok());
  ASSERT_TRUE(kernel->AddAddress("kernel0", "10.0.0.1/24").ok());
  const std::string config = WriteFile(
      "tcp.textproto",
      "transport { name: 'linux' linux { packet { interface: 'weft0' } } buffers { bytes: 16384 } }"
      "netstack { addresses: '10.0.0.2/24' } metrics { listen: '9100' }");
  Process echo =
      own->Start(absl::StrCat("exec ", Runfile("examples/tcp_echo"), " --config ", config));
  Process client = kernel->Start(
      "exec python3 -c 'import socket, time\n"
      "s = socket.create_connection((\"10.0.0.2\", 7000), 20, (\"10.0.0.1\", 7777))\n"
      "s.send(b\"x\" * 1000); s.recv(1000, socket.MSG_WAITALL); print(\"back\", flush=True)\n"
      "time.sleep(100)'");
  for (int i = 0; i < 1000 && !absl::StrContains(client.Output(), "back"); ++i) {
    absl::SleepFor(absl::Milliseconds(20));
  }
  const auto expect = [&](const std::string& arguments, const std::string& says, int status = 0) {
    const CommandResult result = own->Run(absl::StrCat(Runfile("cli/weft"), " tcp ", arguments));
    EXPECT_EQ(result.status, status) << arguments << "\n" << result.output;
    EXPECT_TRUE(absl::StrContains(result.output, says)) << arguments << "\n" << result.output;
  };
  expect("connections 9100", "10.0.0.2:7000  10.0.0.1:7777");
  expect("connections 9100 --info", "bytes_acked:1000 bytes_received:1000");
  expect("connections 9100 --state established --state close-wait --remote :7777",
         "0       ESTABLISHED");
  expect("connections 9100 --local 10.0.0.0/24:7000", "worker 0: 1 connections, 1 established");
  expect("connections 9100 --state time-wait", "worker 0: 1 connections, 1 established");
  expect("connections 9100 --listening", "BACKLOG");
  expect("connections 9100 --state listening", "BACKLOG");
  expect("connections 9100 --json", "\"remote\":\"10.0.0.1:7777\"");
  expect("stats 9100", "passive_opens");
  expect("connections 9100 --state open", "'open' is no state of TCP", 2);
  expect("connections 9100 --remote 10.0.0.300", "is none of ADDRESS, NETWORK/LENGTH", 2);
  expect("connections 9100 --limit 0", "limit", 2);
  expect("connections", "HOST:PORT", 2);
  expect("stats 9101", "9101", 1);  // nobody is there
}

INSTANTIATE_TEST_SUITE_P(
    Frames, NetTest,
    testing::Values(
        Frames{"packet", "linux", "name: 'linux' linux { packet { interface: 'weft0' } }"},
        Frames{"tap", "linux",
               "name: 'linux' linux { tap { interface: 'weft0' kernel_addresses: '10.0.0.1/24' "
               "kernel_addresses: 'fd00::1/64' } }",
               true},
        Frames{"afxdp", "afxdp", "name: 'afxdp' afxdp { interface: 'weft0' }", false,
               kNoChecksumsLeft},
        Frames{"dpdk", "dpdk", kAfPacket, false, kNoChecksumsLeft}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace weft
