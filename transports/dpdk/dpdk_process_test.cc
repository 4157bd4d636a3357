// SPDX-License-Identifier: Apache-2.0
//
// Two processes joined by net_vhost and net_virtio_user, one of which is killed and comes back. The
// peer is this program itself, started as an echo server.
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/transports/dpdk/dpdk_test_util.h"

namespace weft::dpdk {
namespace {

// Sends back what comes, until it is killed or its parent ends.
[[noreturn]] void Echo(const std::string& settings) {
  const std::unique_ptr<Transport> transport = OpenDpdk(settings);
  const std::unique_ptr<FramePort> port = OpenPort(*transport);
  Buffer burst[32];
  while (true) {
    const size_t n = port->Receive(absl::MakeSpan(burst));
    for (size_t i = 0; i < n; ++i) {
      uint8_t* frame = burst[i].data();
      std::swap_ranges(frame, frame + 6, frame + 6);
    }
    absl::Span<Buffer> rest = absl::MakeSpan(burst).first(n);
    while (!rest.empty()) rest.remove_prefix(port->Send(rest));
    if (n == 0) std::this_thread::yield();
  }
}

class PeerProcess {
 public:
  explicit PeerProcess(const std::string& settings) : pid_(fork()) {
    if (pid_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execl("/proc/self/exe", "echo", "--echo", settings.c_str(), nullptr);
    _exit(127);
  }
  ~PeerProcess() { Kill(); }
  PeerProcess(const PeerProcess&) = delete;
  PeerProcess& operator=(const PeerProcess&) = delete;

  void Kill() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_;
};

// The newest event; the link may go up and down some times while a device starts.
std::optional<PortEvent::Kind> LastEvent(FramePort& port) {
  Buffer dropped[1];
  port.Receive(absl::MakeSpan(dropped));
  PortEvent events[4];
  const size_t n = port.TakeEvents(absl::MakeSpan(events));
  if (n == 0) return std::nullopt;
  return events[n - 1].kind;
}

class ProcessTest : public testing::Test {
 protected:
  // A frame that comes back, as the first may get lost while the other side starts. Others may
  // come back later: see IsGreeting().
  static void AwaitEcho(FramePort& port) {
    EXPECT_TRUE(Until([&] {
      Buffer burst[] = {Frame(port.pool(), kBroadcast, port.mac(), kGreeting)};
      port.Send(absl::MakeSpan(burst));
      for (int i = 0; i < 1000; ++i) {
        Buffer got[1];
        if (port.Receive(absl::MakeSpan(got)) == 1 && IsGreeting(got[0])) return true;
        std::this_thread::yield();
      }
      return false;
    }));
  }
  static bool IsGreeting(const Buffer& frame) {
    return PayloadOf(frame).substr(0, std::strlen(kGreeting)) == kGreeting;
  }
  static constexpr char kGreeting[] = "ready?";

  static void ExchangeEverySize(FramePort& port) {
    for (size_t size = kHeaderBytes; size <= port.capabilities().max_frame_bytes; size += 50) {
      const std::string payload(size - kHeaderBytes, static_cast<char>(size));
      ASSERT_TRUE(Send(port, Frame(port.pool(), kBroadcast, port.mac(), payload)));
      Buffer got = Receive(port);
      while (got && IsGreeting(got)) got = Receive(port);
      ASSERT_TRUE(got);
      ASSERT_EQ(PayloadOf(got).substr(0, payload.size()), payload);
    }
  }

  // In bursts, each numbered; nothing is lost while less is under way than the rings hold.
  static void ExchangeBursts(FramePort& port) {
    constexpr int kFrames = 5'000;
    constexpr int kUnderWay = 100;
    int sent = 0;
    int received = 0;
    ASSERT_TRUE(Until([&] {
      std::vector<Buffer> burst;
      for (int i = sent; i < kFrames && i < received + kUnderWay; ++i) {
        burst.push_back(Frame(port.pool(), kBroadcast, port.mac(), std::to_string(i)));
      }
      sent += static_cast<int>(port.Send(absl::MakeSpan(burst)));
      Buffer got[64];
      const size_t n = port.Receive(absl::MakeSpan(got));
      for (size_t i = 0; i < n; ++i) {
        if (IsGreeting(got[i])) continue;
        const std::string number = std::to_string(received++);
        EXPECT_EQ(PayloadOf(got[i]).substr(0, number.size()), number);
      }
      if (n == 0) std::this_thread::yield();
      return received == kFrames || testing::Test::HasFailure();
    }));
    EXPECT_EQ(port.stats().copied_buffers, 0u);
    EXPECT_EQ(port.stats().send_failed, 0u);
  }

  // With a port whose peer is `settings`, which is killed and started again.
  static void OutliveThePeer(FramePort& port, std::unique_ptr<PeerProcess> peer,
                             const std::string& settings) {
    for (int round = 0; round < 3; ++round) {
      ASSERT_TRUE(AwaitLink(port, true));
      AwaitEcho(port);
      ExchangeEverySize(port);
      ExchangeBursts(port);
      LastEvent(port);
      // In the midst of traffic.
      for (int i = 0; i < 50; ++i) {
        Buffer burst[] = {Frame(port.pool(), kBroadcast, port.mac(), "last words")};
        port.Send(absl::MakeSpan(burst));
      }
      peer->Kill();
      ASSERT_TRUE(AwaitLink(port, false));
      EXPECT_TRUE(Until([&] { return LastEvent(port) == PortEvent::Kind::kLinkDown; }));
      EXPECT_TRUE(port.status().ok());
      for (int i = 0; i < 5000; ++i) {
        Buffer burst[] = {Frame(port.pool(), kBroadcast, port.mac(), "to nobody")};
        port.Send(absl::MakeSpan(burst));  // ends
      }
      peer = std::make_unique<PeerProcess>(settings);
      ASSERT_TRUE(AwaitLink(port, true));
      EXPECT_TRUE(Until([&] { return LastEvent(port) == PortEvent::Kind::kLinkUp; }));
    }
    AwaitEcho(port);
    ExchangeEverySize(port);
  }

  const TemporaryDirectory directory_;
  const std::string socket_ = absl::StrCat(directory_.path(), "/wire");
};

TEST_F(ProcessTest, VhostOutlivesItsPeer) {
  const auto transport =
      OpenDpdk(absl::StrCat("virtual_devices: 'net_vhost0,iface=", socket_, "'"));
  const auto port = OpenPort(*transport);
  EXPECT_FALSE(port->link_up());
  const std::string peer = absl::StrCat("virtual_devices: 'net_virtio_user0,path=", socket_, "'");
  OutliveThePeer(*port, std::make_unique<PeerProcess>(peer), peer);
}

TEST_F(ProcessTest, VirtioUserOutlivesItsPeer) {
  const std::string peer =
      absl::StrCat("virtual_devices: 'net_vhost0,iface=", socket_, ",client=1'");
  auto process = std::make_unique<PeerProcess>(peer);
  const auto transport =
      OpenDpdk(absl::StrCat("virtual_devices: 'net_virtio_user0,path=", socket_, ",server=1'"));
  const auto port = OpenPort(*transport);
  OutliveThePeer(*port, std::move(process), peer);
}

TEST_F(ProcessTest, PackedRingsOutliveTheirPeer) {
  const std::string peer =
      absl::StrCat("virtual_devices: 'net_vhost0,iface=", socket_, ",client=1'");
  auto process = std::make_unique<PeerProcess>(peer);
  const auto transport = OpenDpdk(
      absl::StrCat("virtual_devices: 'net_virtio_user0,path=", socket_, ",server=1,packed_vq=1'"));
  const auto port = OpenPort(*transport);
  OutliveThePeer(*port, std::move(process), peer);
}

// The socket of a process that was killed stays behind.
TEST_F(ProcessTest, AServerThatWasKilledStartsAgainAtItsSocket) {
  const std::string server = absl::StrCat("virtual_devices: 'net_vhost0,iface=", socket_, "'");
  for (int round = 0; round < 2; ++round) {
    PeerProcess peer(server);
    absl::StatusOr<std::unique_ptr<Transport>> transport;
    ASSERT_TRUE(Until([&] {
      transport = TryOpen(absl::StrCat("virtual_devices: 'net_virtio_user0,path=", socket_, "'"));
      return transport.ok();
    })) << transport.status();
    const auto port = OpenPort(**transport);
    AwaitEcho(*port);
    ExchangeEverySize(*port);
    peer.Kill();
    EXPECT_TRUE(AwaitLink(*port, false));
  }
}

}  // namespace
}  // namespace weft::dpdk

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--echo") weft::dpdk::Echo(argv[2]);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
