// SPDX-License-Identifier: Apache-2.0
//
// Paths to the kernel's TCP, through a router, that become narrower in the middle of a transfer
// (RFC 1191, RFC 8201). Skipped where the kernel does not let us make the network.
#include <sys/socket.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/tcp/kernel_fixture.h"

namespace weft::tcp {
namespace {

constexpr size_t kBytes = 2'000'000;
constexpr int kMtu = 1320;  // IPv6 wants at least 1280

struct Change {
  const char* name;
  bool v4;
  Device device;
  const char* router = "";  // what `ip` is told there, "$" being the MTU
  const char* kernel = "";  // and there
  bool on_our_way = true;   // else only on the kernel's
};

void PrintTo(const Change& change, std::ostream* out) { *out << change.name; }

const Change kChanges[] = {
    {.name = "link_ipv4",
     .v4 = true,
     .device = Device::kTap,
     .router = "link set near1 mtu $",
     .kernel = "link set far1 mtu $"},
    {.name = "link_ipv6",
     .v4 = false,
     .device = Device::kPlainTap,
     .router = "link set near1 mtu $",
     .kernel = "link set far1 mtu $"},
    {.name = "route_ipv4",
     .v4 = true,
     .device = Device::kPlainTap,
     .router = "route change 10.9.7.0/24 dev near1 mtu $"},
    {.name = "route_ipv6",
     .v4 = false,
     .device = Device::kTap,
     .router = "-6 route add fd07::2/128 dev near1 mtu $"},
    {.name = "of_the_kernel_ipv4",
     .v4 = true,
     .device = Device::kPlainTap,
     .router = "link set near0 mtu $",
     .on_our_way = false},
    {.name = "of_the_kernel_ipv6",
     .v4 = false,
     .device = Device::kPlainTap,
     .router = "link set near0 mtu $",
     .on_our_way = false},
};

class KernelPathTest : public KernelFixture, public testing::WithParamInterface<Change> {
 protected:
  static absl::Status Tell(const testnet::Namespace& place, std::string words) {
    if (words.empty()) return absl::OkStatus();
    const size_t at = words.find('$');
    return place.Ip(words.replace(at, 1, absl::StrCat(kMtu)));
  }
  void Narrow() {
    EXPECT_EQ(Tell(network_.next(), GetParam().router), absl::OkStatus());
    EXPECT_EQ(Tell(network_.there(), GetParam().kernel), absl::OkStatus());
  }
};

INSTANTIATE_TEST_SUITE_P(Changes, KernelPathTest, testing::ValuesIn(kChanges),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(KernelPathTest, BecomesNarrowerInTheMiddle) {
  Open({.device = GetParam().device, .v4 = GetParam().v4, .router = true});
  if (IsSkipped()) return;
  auto [listener, port] = network_.Listener();
  // So that it cannot have taken everything before the path changes.
  constexpr int kBufferBytes = 65536;
  ASSERT_EQ(setsockopt(listener.get(), SOL_SOCKET, SO_RCVBUF, &kBufferBytes, sizeof kBufferBytes),
            0);
  KernelEcho server(std::move(listener));
  const auto stream = port_->Connect(network_.theirs(port));
  ASSERT_TRUE(stream.ok()) << stream.status();
  const std::string text = RandomText(kBytes, 7);
  WeftExchange client(port_.get(), *stream, text);
  const auto handle = [&](const StreamEvent& event) { client.Handle(event); };
  const auto has_got = [&](size_t bytes) {
    server.Step();
    return client.got().size() >= bytes;
  };
  // Early, as most must still be sent.
  ASSERT_TRUE(Until(handle, [&] { return has_got(kBytes / 32); }));
  EXPECT_EQ(port_->Info(*stream)->path_mtu_bytes, 1500u);
  Narrow();
  ASSERT_TRUE(Until(handle, [&] { return has_got(kBytes * 3 / 4); })) << client.got().size();
  if (GetParam().on_our_way) {
    EXPECT_EQ(port_->Info(*stream)->path_mtu_bytes, static_cast<uint32_t>(kMtu));
    EXPECT_EQ(stats().path_mtu_changes.value(), 1u);
  }
  EXPECT_TRUE(Until(handle, [&] { return has_got(kBytes) && client.closed(); }));
  EXPECT_EQ(client.error(), 0);
  EXPECT_TRUE(client.got() == text);

  // What is begun now knows of it from the start; and what the kernel begins works too.
  ExpectEchoToWeft(100'000);
  ExpectEchoToKernel(100'000);
  EXPECT_EQ(stats().timeouts.value(), 0u);
}

}  // namespace
}  // namespace weft::tcp
