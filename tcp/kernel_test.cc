// SPDX-License-Identifier: Apache-2.0
//
// TCP of weft's own with the Linux kernel's at the other end, over a TAP device, which completes
// checksums and cuts segments or does not, and over a packet socket on a veth pair; also where
// packets are lost, come twice, late and broken. Skipped where the kernel does not let us make the
// network.
#include <sys/wait.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/temp_directory.h"
#include "weft/tcp/kernel_fixture.h"

namespace weft::tcp {
namespace {

class KernelTest : public KernelFixture,
                   public testing::WithParamInterface<std::tuple<Device, bool>> {
 protected:
  static Device device() { return std::get<0>(GetParam()); }
  static bool v4() { return std::get<1>(GetParam()); }

  void Open(const config::Fault& fault = {}, const config::Tcp& tcp = {},
            const config::Netstack& netstack = {}) {
    KernelFixture::Open(
        {.device = device(), .v4 = v4(), .fault = fault, .tcp = tcp, .netstack = netstack});
  }

  static config::Fault BadWeather() {
    config::Fault fault;
    fault.set_loss(0.02);
    fault.set_duplicate(0.02);
    fault.set_reorder(0.02);
    fault.set_corrupt(0.01);
    return fault;
  }
};

std::string ParamName(const testing::TestParamInfo<std::tuple<Device, bool>>& info) {
  return absl::StrCat(NameOf(std::get<0>(info.param)), std::get<1>(info.param) ? "_ipv4" : "_ipv6");
}

INSTANTIATE_TEST_SUITE_P(Devices, KernelTest,
                         testing::Combine(testing::Values(Device::kTap, Device::kPlainTap,
                                                          Device::kPacket),
                                          testing::Bool()),
                         &ParamName);

// What takes seconds of waiting.
class KernelPatienceTest : public KernelTest {};

INSTANTIATE_TEST_SUITE_P(Devices, KernelPatienceTest,
                         testing::Values(std::tuple(Device::kTap, true),
                                         std::tuple(Device::kPacket, false)),
                         &ParamName);

TEST_P(KernelTest, TheKernelConnects) {
  Open();
  if (IsSkipped()) return;
  ExpectEchoToKernel(1 << 20);
}

TEST_P(KernelTest, WeConnect) {
  Open();
  if (IsSkipped()) return;
  // When the machine has other things to do, timers fire that need not: one of several runs is
  // without.
  uint64_t before;
  int runs = 0;
  do {
    before = stats().retransmission_timeouts.value();
    ExpectEchoToWeft(1 << 20);
  } while (stats().retransmission_timeouts.value() != before && ++runs < 10);
  EXPECT_EQ(stats().retransmission_timeouts.value(), before);
}

TEST_P(KernelTest, TheKernelConnectsInBadWeather) {
  Open(BadWeather());
  if (IsSkipped()) return;
  ExpectEchoToKernel(1 << 20);
  EXPECT_GT(stats().retransmissions.value(), 0u);
}

TEST_P(KernelTest, WeConnectInBadWeather) {
  Open(BadWeather());
  if (IsSkipped()) return;
  ExpectEchoToWeft(1 << 20);
  EXPECT_GT(stats().retransmissions.value(), 0u);
}

TEST_P(KernelTest, WithoutOptions) {
  config::Tcp tcp;
  tcp.set_sack(false);
  tcp.set_timestamps(false);
  tcp.set_window_scaling(false);
  Open(BadWeather(), tcp);
  if (IsSkipped()) return;
  ExpectEchoToKernel(200'000);
}

// One byte at a time both ways, each when the last has come back.
TEST_P(KernelTest, ByteByByte) {
  Open();
  if (IsSkipped()) return;
  const auto address = port_->Listen(network_.ours(0), 8);
  ASSERT_TRUE(address.ok()) << address.status();
  Echo echo(port_.get());
  const UniqueFd client = network_.Connecting(address->port());
  const std::string text = RandomText(2000, 3);
  std::string got;
  size_t sent = 0;
  EXPECT_TRUE(Until([&](const StreamEvent& event) { echo.Handle(event); },
                    [&] {
                      char byte;
                      if (recv(client.get(), &byte, 1, 0) == 1) got += byte;
                      if (sent == got.size() && sent < text.size() &&
                          send(client.get(), &text[sent], 1, MSG_NOSIGNAL) == 1) {
                        ++sent;
                      }
                      return got.size() == text.size();
                    }))
      << got.size() << " bytes came back";
  EXPECT_TRUE(got == text);
}

TEST_P(KernelTest, NobodyListens) {
  Open();
  if (IsSkipped()) return;
  // At ours.
  const UniqueFd client = network_.Connecting(81);
  int error = 0;
  EXPECT_TRUE(Until([](const StreamEvent&) {},
                    [&] {
                      pollfd event = {client.get(), POLLOUT, 0};
                      if (::poll(&event, 1, 0) != 1) return false;
                      socklen_t length = sizeof(error);
                      return getsockopt(client.get(), SOL_SOCKET, SO_ERROR, &error, &length) == 0;
                    }));
  EXPECT_EQ(error, ECONNREFUSED);
  // At theirs.
  const auto stream = port_->Connect(network_.theirs(81));
  ASSERT_TRUE(stream.ok()) << stream.status();
  WeftExchange ours(port_.get(), *stream, "");
  EXPECT_TRUE(
      Until([&](const StreamEvent& event) { ours.Handle(event); }, [&] { return ours.closed(); }));
  EXPECT_EQ(ours.error(), ECONNREFUSED);
}

TEST_P(KernelPatienceTest, NobodyIsThere) {
  Open();
  if (IsSkipped()) return;
  const auto stream = port_->Connect(*Address::Parse(v4() ? "10.9.8.77:80" : "[fd09::77]:80"));
  ASSERT_TRUE(stream.ok()) << stream.status();
  WeftExchange ours(port_.get(), *stream, "");
  EXPECT_TRUE(
      Until([&](const StreamEvent& event) { ours.Handle(event); }, [&] { return ours.closed(); }));
  EXPECT_EQ(ours.error(), EHOSTUNREACH);
  EXPECT_EQ(
      port_->Connect(*Address::Parse(v4() ? "8.8.8.8:80" : "[2001:db8::1]:80")).status().code(),
      absl::StatusCode::kUnavailable);
}

// Nothing arrives: it is the stack's timers that end the sleep.
TEST_P(KernelPatienceTest, TimersWakeASleeper) {
  config::Netstack netstack;
  config::Neighbor& silent = *netstack.add_neighbors();
  silent.set_address(v4() ? "10.9.8.77" : "fd09::77");
  silent.set_mac("02:00:00:00:00:77");
  config::Tcp tcp;
  tcp.set_rto_initial_us(200'000);
  tcp.set_syn_retries(2);
  Open({}, tcp, netstack);
  if (IsSkipped()) return;
  const auto stream = port_->Connect(*Address::Parse(v4() ? "10.9.8.77:80" : "[fd09::77]:80"));
  ASSERT_TRUE(stream.ok()) << stream.status();
  StreamEvent event = {};
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (port_->Poll({&event, 1}) == 0 && std::chrono::steady_clock::now() < end) {
    if (!port_->Arm()) continue;
    pollfd readable = {port_->wait_fd(), POLLIN, 0};
    EXPECT_EQ(::poll(&readable, 1, 30'000), 1) << "overslept";
    port_->Disarm();
  }
  EXPECT_EQ(event.kind, StreamEvent::Kind::kClosed);
  EXPECT_EQ(event.error, ETIMEDOUT);
  EXPECT_EQ(stats().retransmissions.value(), 2u);
}

TEST_P(KernelTest, ResetsAreErrors) {
  Open();
  if (IsSkipped()) return;
  const auto address = port_->Listen(network_.ours(0), 8);
  ASSERT_TRUE(address.ok()) << address.status();
  Echo echo(port_.get());
  UniqueFd client = network_.Connecting(address->port());
  const auto handle = [&](const StreamEvent& event) { echo.Handle(event); };
  ASSERT_TRUE(Until(handle, [&] { return echo.accepted() == 1; }));
  const linger abort = {.l_onoff = 1, .l_linger = 0};
  ASSERT_EQ(setsockopt(client.get(), SOL_SOCKET, SO_LINGER, &abort, sizeof(abort)), 0);
  client.Reset();
  EXPECT_TRUE(Until(handle, [&] { return echo.closed() == 1; }));
  EXPECT_EQ(echo.last_error(), ECONNRESET);

  // And ours.
  client = network_.Connecting(address->port());
  StreamId stream;
  ASSERT_TRUE(Until([&](const StreamEvent& event) { stream = event.stream; },
                    [&] { return static_cast<bool>(stream); }));
  port_->Abort(stream);
  ssize_t n = 0;
  EXPECT_TRUE(Until(handle, [&] {
    char byte;
    n = recv(client.get(), &byte, 1, 0);
    return n >= 0 || errno != EAGAIN;
  }));
  EXPECT_EQ(n, -1);
  EXPECT_EQ(errno, ECONNRESET);
}

TEST_P(KernelTest, ADeviceThatGoesEndsAllStreams) {
  Open();
  if (IsSkipped()) return;
  auto [listener, port] = network_.Listener();
  const auto stream = port_->Connect(network_.theirs(port));
  ASSERT_TRUE(stream.ok()) << stream.status();
  std::vector<StreamEvent> events;
  const auto handle = [&](const StreamEvent& event) { events.push_back(event); };
  ASSERT_TRUE(Until(handle, [&] { return events.size() == 1; }));
  ASSERT_EQ(network_.RemoveDevice(), absl::OkStatus());
  ASSERT_TRUE(Until(handle, [&] { return events.size() == 2; }));
  EXPECT_EQ(events[1].kind, StreamEvent::Kind::kClosed);
  EXPECT_EQ(events[1].error, ENETDOWN);
  EXPECT_FALSE(port_->status().ok());
  EXPECT_FALSE(port_->Connect(network_.theirs(port)).ok());
  EXPECT_FALSE(port_->Listen(network_.ours(0), 1).ok());
}

bool HasEnded(pid_t pid) {
  siginfo_t info = {};
  return waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
         info.si_pid == pid;
}

// What others have written: nc, which says the end before it has read all.
TEST_P(KernelTest, NcGetsItsFileBack) {
  Open();
  if (IsSkipped()) return;
  if (!network_.there().Run("which nc").ok()) GTEST_SKIP() << "nc is not installed";
  const auto address = port_->Listen(network_.ours(0), 8);
  ASSERT_TRUE(address.ok()) << address.status();
  Echo echo(port_.get());
  const TempDirectory directory;
  const std::string sent = absl::StrCat(directory.path(), "/sent");
  const std::string got = absl::StrCat(directory.path(), "/got");
  std::ofstream(sent, std::ios::binary) << RandomText(3 << 20, 4);
  testnet::Process nc = network_.there().Start(absl::StrCat(
      "nc -N ", v4() ? "10.9.8.1 " : "fd09::1 ", address->port(), " < ", sent, " > ", got));
  EXPECT_TRUE(Until([&](const StreamEvent& event) { echo.Handle(event); },
                    [&] { return HasEnded(nc.pid()) && echo.closed() == 1; }));
  const testnet::CommandResult result = nc.Wait();
  EXPECT_TRUE(result.ok()) << result.output;
  EXPECT_TRUE(network_.there().Run(absl::StrCat("cmp ", sent, " ", got)).ok());
}

// curl takes the echo of its own request for the answer of a very old server.
TEST_P(KernelTest, CurlGetsItsRequestBack) {
  Open();
  if (IsSkipped()) return;
  if (!network_.there().Run("which curl").ok()) GTEST_SKIP() << "curl is not installed";
  const auto address = port_->Listen(network_.ours(0), 8);
  ASSERT_TRUE(address.ok()) << address.status();
  Echo echo(port_.get());
  testnet::Process curl = network_.there().Start(
      absl::StrCat("curl -s --http0.9 --max-time 20 http://", address->ToString(), "/some/page"));
  EXPECT_TRUE(Until(
      [&](const StreamEvent& event) {
        echo.Handle(event);
        if (event.kind == StreamEvent::Kind::kReadable) port_->Close(event.stream);
      },
      [&] { return HasEnded(curl.pid()); }));
  const testnet::CommandResult result = curl.Wait();
  EXPECT_TRUE(result.ok()) << result.output;
  EXPECT_EQ(result.output.find("GET /some/page HTTP/1.1\r\n"), 0u) << result.output;
}

TEST_P(KernelTest, BothSidesKnowTheSame) {
  Open();
  if (IsSkipped()) return;
  auto [listener, port] = network_.Listener();
  const auto stream = port_->Connect(network_.theirs(port));
  ASSERT_TRUE(stream.ok()) << stream.status();
  bool connected = false;
  ASSERT_TRUE(Until(
      [&](const StreamEvent& event) { connected = event.kind == StreamEvent::Kind::kConnected; },
      [&] { return connected; }));
  const UniqueFd peer(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  ASSERT_TRUE(peer);
  linux_transport::SocketAddress name;
  ASSERT_EQ(getpeername(peer.get(), &name.any, &name.length), 0);
  EXPECT_EQ(linux_transport::ToAddress(name), *port_->LocalAddress(*stream));
  EXPECT_EQ(*port_->PeerAddress(*stream), network_.theirs(port));
  const auto info = port_->Info(*stream);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_TRUE(info->sack && info->timestamps && info->window_scaling);
  EXPECT_EQ(info->path_mtu_bytes, 1500u);
  EXPECT_EQ(info->send_mss_bytes, v4() ? 1448u : 1428u);
}

}  // namespace
}  // namespace weft::tcp
