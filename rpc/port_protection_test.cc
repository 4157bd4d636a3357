// SPDX-License-Identifier: Apache-2.0
//
// Plain text leaves the machine by name only.
#include "weft/rpc/port_protection.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/netstack/netstack_transport.h"
#include "weft/rpc/client.h"
#include "weft/rpc/options.h"
#include "weft/rpc/server.h"
#include "weft/transports/registry.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {
namespace {

class PortProtectionTest : public testing::Test {
 protected:
  PortProtectionTest() {
    config::Transport config;
    config.set_name("linux");
    transport_ = *OpenPlainTransport(config);
  }
  absl::Status Serve(Transport& transport, const std::string& address,
                     const ServerOptions& options = {}) {
    auto port = transport.OpenDatagramPort({.local = *Address::Parse(address)});
    if (!port.ok()) return port.status();
    return Server::Create(loop_, *std::move(port), options, [](ServerCall) {}).status();
  }
  absl::Status Ask(Transport& transport, const std::string& address,
                   const ClientOptions& options = {}) {
    auto port = transport.OpenDatagramPort({});
    if (!port.ok()) return port.status();
    auto client = Client::Create(loop_, *std::move(port), options);
    if (!client.ok()) return client.status();
    return (*client)->Resolve(*Address::Parse(address)).status();
  }

  Loop loop_{{}, RealClock()};
  std::unique_ptr<Transport> transport_;
};

TEST_F(PortProtectionTest, AServerThatOthersReachMustChoose) {
  EXPECT_TRUE(Serve(*transport_, "127.0.0.1:0").ok());
  EXPECT_TRUE(Serve(*transport_, "127.1.2.3:0").ok());
  const absl::Status refused = Serve(*transport_, "0.0.0.0:0");
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  for (const char* help : {"security { psk {", "security { x509 {", "security { plaintext { } }",
                           "docs/security.md", "0.0.0.0:"}) {
    EXPECT_TRUE(absl::StrContains(refused.message(), help)) << refused;
  }
  EXPECT_TRUE(Serve(*transport_, "0.0.0.0:0", {.security = Plaintext()}).ok());
}

TEST_F(PortProtectionTest, ItIsTheSameWithIpv6) {
  if (absl::Status own = Serve(*transport_, "[::1]:0"); absl::IsUnavailable(own)) {
    GTEST_SKIP() << own;
  }
  EXPECT_TRUE(Serve(*transport_, "[::1]:0").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(Serve(*transport_, "[::]:0")));
  EXPECT_TRUE(Serve(*transport_, "[::]:0", {.security = Plaintext()}).ok());
}

TEST_F(PortProtectionTest, AClientThatAsksOthersMustChoose) {
  EXPECT_TRUE(Ask(*transport_, "127.0.0.1:7000").ok());
  const absl::Status refused = Ask(*transport_, "192.0.2.1:7000");
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_TRUE(absl::StrContains(refused.message(), "security { plaintext { } }")) << refused;
  EXPECT_TRUE(absl::StrContains(refused.message(), "192.0.2.1:7000")) << refused;
  EXPECT_TRUE(Ask(*transport_, "192.0.2.1:7000", {.security = Plaintext()}).ok());
}

TEST_F(PortProtectionTest, ASimulatedNetworkIsWithinTheMachineWhateverItsAddresses) {
  sim::Network network(1);
  EXPECT_TRUE(Serve(*sim::OpenTransport(&network), "sim:server").ok());
  config::Netstack config;
  config.add_addresses("10.0.0.1/24");
  auto stack = netstack::NetstackTransport::Open(sim::OpenTransport(&network), config, 1);
  ASSERT_TRUE(stack.ok()) << stack.status();
  EXPECT_TRUE(Serve(**stack, "10.0.0.1:7000").ok());
  EXPECT_TRUE(Ask(**stack, "10.0.0.2:7000").ok());
}

TEST(WithinMachineTest, WhichAddressesAre) {
  for (const char* near :
       {"127.0.0.1:1", "127.255.255.255:1", "[::1]:1", "[::ffff:127.0.0.9]:1", "shm:a", "sim:a"}) {
    EXPECT_TRUE(Address::Parse(near)->is_within_machine()) << near;
  }
  for (const char* far : {"0.0.0.0:1", "126.0.0.1:1", "128.0.0.1:1", "10.0.0.1:1", "[::]:1",
                          "[::2]:1", "[::ffff:10.0.0.1]:1", "[fd00::1]:1"}) {
    EXPECT_FALSE(Address::Parse(far)->is_within_machine()) << far;
  }
  EXPECT_FALSE(Address().is_within_machine());
}

}  // namespace
}  // namespace weft::rpc
