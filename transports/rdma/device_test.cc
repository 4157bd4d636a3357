// SPDX-License-Identifier: Apache-2.0
//
// Which port is chosen, and what is said when none is: no device is needed for that.

#include "weft/transports/rdma/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace weft::rdma {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Address At(absl::string_view text) { return *Address::Parse(text); }

GidEntry Entry(uint32_t index, GidType type, absl::string_view ip, std::string interface) {
  return {index, type, GidOf(At(ip)), std::move(interface), index + 10};
}

DeviceInfo Device(const std::string& name, const std::string& interface, absl::string_view ipv4,
                  absl::string_view ipv6) {
  DeviceInfo device{.name = name, .node = "/dev/infiniband/uverbs0"};
  PortInfo& port = device.ports.emplace_back();
  port.state = PortInfo::State::kActive;
  port.gids = {
      Entry(0, GidType::kRoceV1, ipv6, interface), Entry(1, GidType::kRoceV2, ipv6, interface),
      Entry(2, GidType::kRoceV1, ipv4, interface), Entry(3, GidType::kRoceV2, ipv4, interface)};
  return device;
}

std::vector<DeviceInfo> TwoDevices() {
  return {Device("a0", "eth0", "10.0.0.1:0", "[fe80::1]:0"),
          Device("b0", "eth1", "10.0.0.2:0", "[2001:db8::2]:0")};
}

std::string Failure(absl::StatusCode code, const absl::StatusOr<PortChoice>& choice) {
  EXPECT_EQ(choice.status().code(), code) << choice.status();
  return std::string(choice.status().message());
}

TEST(ChoosePortTest, FollowsFromTheAddress) {
  const auto choice = ChoosePort(TwoDevices(), {}, At("10.0.0.2:8000"));
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_EQ(choice->device, "b0");
  EXPECT_EQ(choice->gid.index, 3u);
  EXPECT_EQ(GidText(choice->gid.gid), "10.0.0.2");
  EXPECT_EQ(ChoosePort(TwoDevices(), {}, At("[2001:db8::2]:1"))->gid.index, 1u);
}

TEST(ChoosePortTest, AScopeIsTheInterface) {
  EXPECT_TRUE(ChoosePort(TwoDevices(), {}, Address::Ipv6(At("[fe80::1]:1").ipv6(), 1, 11)).ok());
  EXPECT_FALSE(ChoosePort(TwoDevices(), {}, Address::Ipv6(At("[fe80::1]:1").ipv6(), 1, 12)).ok());
}

TEST(ChoosePortTest, SettingsNameDeviceAndGid) {
  config::Rdma settings;
  settings.set_device("b0");
  EXPECT_EQ(ChoosePort(TwoDevices(), settings, At("0.0.0.0:0"))->gid.index, 3u);
  settings.set_gid_index(0);  // RoCEv1, which is not taken otherwise
  EXPECT_EQ(ChoosePort(TwoDevices(), settings, At("0.0.0.0:0"))->gid.index, 0u);
}

TEST(ChoosePortTest, WithoutAnAddressTheOnlyPortThatIsUp) {
  std::vector<DeviceInfo> devices = TwoDevices();
  EXPECT_THAT(
      Failure(absl::StatusCode::kFailedPrecondition, ChoosePort(devices, {}, At("0.0.0.0:0"))),
      HasSubstr("a0, b0; name one"));
  devices[0].ports[0].state = PortInfo::State::kDown;
  EXPECT_EQ(ChoosePort(devices, {}, At("0.0.0.0:0"))->device, "b0");
  EXPECT_EQ(ChoosePort(devices, {}, At("[::]:0"))->device, "b0");
}

TEST(ChoosePortTest, NamesTheDevicesThatAreThere) {
  config::Rdma settings;
  settings.set_device("mlx5_0");
  EXPECT_EQ(
      Failure(absl::StatusCode::kNotFound, ChoosePort(TwoDevices(), settings, At("10.0.0.1:1"))),
      "there is no RDMA device mlx5_0 (rdma.device); these are there: a0, b0");
}

TEST(ChoosePortTest, AnAddressThatNoDeviceHas) {
  EXPECT_THAT(Failure(absl::StatusCode::kNotFound, ChoosePort(TwoDevices(), {}, At("127.0.0.1:1"))),
              HasSubstr("no RDMA device has the address of 127.0.0.1:1; there are: fe80::1 (a0)"));
}

TEST(ChoosePortTest, AGidThatIsNotThere) {
  config::Rdma settings;
  settings.set_device("a0");
  settings.set_gid_index(9);
  EXPECT_THAT(
      Failure(absl::StatusCode::kNotFound, ChoosePort(TwoDevices(), settings, At("0.0.0.0:0"))),
      AllOf(HasSubstr("port 1 of a0 has no GID 9; there are 0 (fe80::1, RoCEv1), 1 (fe80::1, "),
            HasSubstr("set rdma.gid_index to one of them, or leave it out")));
  settings.set_gid_index(1);
  EXPECT_THAT(
      Failure(absl::StatusCode::kNotFound, ChoosePort(TwoDevices(), settings, At("10.0.0.1:7"))),
      AllOf(HasSubstr("GID 1 of port 1 of a0 is fe80::1, and not that of 10.0.0.1:7"),
            HasSubstr("leave rdma.gid_index out")));
}

TEST(ChoosePortTest, AGidThatVerbsCannotName) {
  std::vector<DeviceInfo> devices = TwoDevices();
  devices[0].ports[0].gids[3].index = 256;
  EXPECT_THAT(Failure(absl::StatusCode::kNotFound, ChoosePort(devices, {}, At("10.0.0.1:1"))),
              HasSubstr("beyond what verbs can name: 0 to 255"));
}

TEST(ChoosePortTest, OnlyRoceV1) {
  std::vector<DeviceInfo> devices = TwoDevices();
  devices.pop_back();
  devices[0].ports[0].gids.resize(1);
  EXPECT_THAT(Failure(absl::StatusCode::kNotFound, ChoosePort(devices, {}, At("[fe80::1]:1"))),
              HasSubstr("RoCEv1 only; set gid_index: 0"));
  EXPECT_THAT(Failure(absl::StatusCode::kNotFound, ChoosePort(devices, {}, At("0.0.0.0:1"))),
              HasSubstr("no GID of RoCEv2 or InfiniBand on port 1 of a0"));
}

TEST(ChoosePortTest, APortThatIsDownOrNotThere) {
  std::vector<DeviceInfo> devices = TwoDevices();
  devices[0].ports[0].state = PortInfo::State::kDown;
  EXPECT_EQ(
      Failure(absl::StatusCode::kFailedPrecondition, ChoosePort(devices, {}, At("10.0.0.1:0"))),
      "port 1 of a0 is down; look at its cable, and run: ip link set eth0 up");
  config::Rdma settings;
  settings.set_device("b0");
  settings.set_port(2);
  EXPECT_EQ(Failure(absl::StatusCode::kNotFound, ChoosePort(devices, settings, At("0.0.0.0:0"))),
            "b0 has no port 2 (rdma.port), only 1");
}

TEST(ChoosePortTest, AnObstacleOfTheDeviceIsWhatIsSaid) {
  std::vector<DeviceInfo> devices = {
      {.name = "a0", .status = absl::PermissionDeniedError("cannot open it")}};
  EXPECT_EQ(Failure(absl::StatusCode::kPermissionDenied, ChoosePort(devices, {}, At("10.0.0.1:0"))),
            "cannot open it");
}

TEST(ChoosePortTest, InfiniBandHasOneGidWhateverTheIpAddress) {
  DeviceInfo device = Device("ib0", "", "10.0.0.1:0", "[fe80::1]:0");
  device.ports[0].is_infiniband = true;
  device.ports[0].gids = {Entry(0, GidType::kInfiniBand, "[fe80::1]:0", "")};
  EXPECT_EQ(ChoosePort({device}, {}, At("192.168.1.1:1"))->gid.index, 0u);
  device.ports[0].state = PortInfo::State::kInitializing;
  EXPECT_THAT(
      Failure(absl::StatusCode::kFailedPrecondition, ChoosePort({device}, {}, At("0.0.0.0:1"))),
      HasSubstr("is initializing; it waits for a subnet manager"));
}

}  // namespace
}  // namespace weft::rdma
