// SPDX-License-Identifier: Apache-2.0
//
// What goes wrong is told in one sentence, with what to do about it.
#include <rte_ethdev.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "weft/core/unique_fd.h"
#include "weft/transports/dpdk/dpdk_test_util.h"
#include "weft/transports/dpdk/eal.h"
#include "weft/transports/dpdk/machine.h"
#include "weft/transports/dpdk/virtual_device.h"

// What drivers of DPDK use; not in its public headers.
extern "C" {
struct rte_eth_dev;
rte_eth_dev* rte_eth_dev_allocated(const char* name);
int rte_eth_dev_callback_process(rte_eth_dev* device, rte_eth_event_type event, void* result);
}

namespace weft::dpdk {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }

// `matcher`: of the message, which is one line.
void ExpectError(const absl::Status& status, absl::StatusCode code,
                 const testing::Matcher<std::string>& matcher) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(MessageOf(status), matcher);
  EXPECT_EQ(MessageOf(status).find('\n'), std::string::npos) << status;
}

// Runs first: EAL is not there yet.
TEST(BeforeEalTest, TooFewHugePages) {
  if (FindHugePages().free_mb >= (1 << 20)) GTEST_SKIP() << "this machine has a terabyte of them";
  config::Transport config = Config("virtual_devices: 'net_null0' memory_mb: 1048576");
  config.mutable_dpdk()->set_huge_pages(config::Dpdk::REQUIRED);
  ExpectError(OpenPlainTransport(config).status(), absl::StatusCode::kFailedPrecondition,
              AllOf(HasSubstr("needs 1048576 MB of huge pages and this machine has"),
                    HasSubstr("`sysctl vm.nr_hugepages="), HasSubstr("huge_pages: AUTO")));
}

TEST(BeforeEalTest, MainCoreMustBeAllowed) {
  ExpectError(TryOpen("virtual_devices: 'net_null0' main_core: '4000'").status(),
              absl::StatusCode::kInvalidArgument,
              HasSubstr("main_core: this process may not use core 4000; it may use "));
}

TEST(BeforeEalTest, PciDevicesThatAreNotThere) {
  ExpectError(
      TryOpen("device: 'ff:1f.7'").status(), absl::StatusCode::kNotFound,
      HasSubstr("there is no PCI device 0000:ff:1f.7; network devices of this machine are"));
}

TEST(BeforeEalTest, PciDevicesThatTheKernelHas) {
  std::string kernel_has;
  for (const std::string& address : NetworkPciDevices()) {
    if (absl::IsFailedPrecondition(CheckPciDevice(address))) kernel_has = address;
  }
  if (kernel_has.empty()) GTEST_SKIP() << "the kernel drives no PCI network device here";
  ExpectError(TryOpen(absl::StrCat("device: '", kernel_has, "'")).status(),
              absl::StatusCode::kFailedPrecondition,
              AllOf(HasSubstr(kernel_has), HasSubstr("dpdk-devbind.py --bind=vfio-pci")));
}

TEST(MachineTest, PciAddresses) {
  for (const char* yes : {"0000:00:03.0", "00:03.0", "0001:aF:1f.7"})
    EXPECT_TRUE(IsPciAddress(yes));
  for (const char* no : {"", "net_null0", "00:03", "00.3", "x0:03.0", "00:03.00", "a:b:c:d.0"}) {
    EXPECT_FALSE(IsPciAddress(no)) << no;
  }
  EXPECT_EQ(FullPciAddress("AF:03.0"), "0000:af:03.0");
  EXPECT_EQ(FullPciAddress("net_null0"), "net_null0");
}

TEST(VirtualDeviceTest, Parts) {
  const auto device = VirtualDevice::Parse("net_vhost0,iface=/tmp/x,queues=2");
  ASSERT_TRUE(device.ok());
  EXPECT_EQ(device->name, "net_vhost0");
  EXPECT_EQ(device->arguments, "iface=/tmp/x,queues=2");
  EXPECT_EQ(device->Argument("queues"), "2");
  EXPECT_EQ(device->Argument("que"), "");
  EXPECT_EQ(device->ListeningSocket(), "/tmp/x");
  EXPECT_EQ(VirtualDevice::Parse("net_vhost0,iface=/x,client=1")->ListeningSocket(), "");
  EXPECT_EQ(VirtualDevice::Parse("net_virtio_user0,path=/x")->ListeningSocket(), "");
  EXPECT_EQ(VirtualDevice::Parse("net_virtio_user0,path=/x,server=1")->ListeningSocket(), "/x");
  EXPECT_FALSE(VirtualDevice::Parse(",iface=x").ok());
}

// All of them with EAL as the first one started it.
class ErrorsTest : public testing::Test {
 protected:
  const TemporaryDirectory directory_;
  const std::unique_ptr<Transport> first_ =
      OpenDpdk("virtual_devices: 'net_null0' memory_mb: 256 eal_args: '--no-shconf'");
};

TEST_F(ErrorsTest, TheCallersThreadStaysWhereItWas) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  ASSERT_EQ(sched_getaffinity(0, sizeof(cores), &cores), 0);
  EXPECT_EQ(static_cast<size_t>(CPU_COUNT(&cores)), std::thread::hardware_concurrency());
}

TEST_F(ErrorsTest, EalHasOneSetOfSettings) {
  const std::string second = "virtual_devices: 'net_null1' ";
  EXPECT_TRUE(TryOpen(second).ok()) << "what is not set does not matter";
  EXPECT_TRUE(TryOpen(second + "memory_mb: 256 eal_args: '--no-shconf'").ok());
  ExpectError(TryOpen(second + "memory_mb: 512").status(), absl::StatusCode::kFailedPrecondition,
              AllOf(HasSubstr("EAL runs with memory_mb 256"), HasSubstr("started again with 512")));
  ExpectError(TryOpen(second + "eal_args: '--log-level=8'").status(),
              absl::StatusCode::kFailedPrecondition, HasSubstr("EAL runs with eal_args"));
  ExpectError(TryOpen(second + "main_core: '0'").status(), absl::StatusCode::kFailedPrecondition,
              HasSubstr("EAL runs with main_core ''"));
  config::Transport huge = Config(second);
  huge.mutable_dpdk()->set_huge_pages(config::Dpdk::REQUIRED);
  ExpectError(OpenPlainTransport(huge).status(), absl::StatusCode::kFailedPrecondition,
              HasSubstr("EAL runs with huge_pages NEVER"));
}

TEST_F(ErrorsTest, DevicesThatAreNotThere) {
  ExpectError(TryOpen("").status(), absl::StatusCode::kInvalidArgument,
              HasSubstr("names no device: set virtual_devices"));
  ExpectError(TryOpen("virtual_devices: ['net_null1', 'net_null2']").status(),
              absl::StatusCode::kInvalidArgument, HasSubstr("one of net_null1, net_null2"));
  ExpectError(TryOpen("virtual_devices: 'net_null1' device: 'net_nul1'").status(),
              absl::StatusCode::kNotFound,
              HasSubstr("device 'net_nul1': there is no such device; dpdk { } makes net_null1"));
  EXPECT_TRUE(TryOpen("virtual_devices: ['net_null1', 'net_null2'] device: 'net_null2'").ok());
}

TEST_F(ErrorsTest, DriversThatAreNotLinkedIn) {
  ExpectError(TryOpen("virtual_devices: 'net_memif0'").status(), absl::StatusCode::kUnimplemented,
              AllOf(HasSubstr("cannot make device 'net_memif0'"),
                    HasSubstr("net_vhost and net_virtio_user")));
}

TEST_F(ErrorsTest, DevicesInUse) {
  ExpectError(TryOpen("virtual_devices: 'net_null0'").status(), absl::StatusCode::kAlreadyExists,
              HasSubstr("device 'net_null0' belongs to another transport of this process"));
  // A socket that somebody listens at.
  const std::string path = absl::StrCat(directory_.path(), "/taken");
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM, 0));
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listener.get(), 1), 0);
  ExpectError(TryOpen(absl::StrCat("virtual_devices: 'net_vhost0,iface=", path, "'")).status(),
              absl::StatusCode::kAlreadyExists,
              AllOf(HasSubstr("net_vhost0"), HasSubstr("another process uses the socket"),
                    HasSubstr(path)));
  EXPECT_TRUE(std::filesystem::exists(path));
}

TEST_F(ErrorsTest, NobodyListens) {
  ExpectError(TryOpen(absl::StrCat("virtual_devices: 'net_virtio_user0,path=", directory_.path(),
                                   "/nobody'"))
                  .status(),
              absl::StatusCode::kNotFound,
              AllOf(HasSubstr("net_virtio_user0"), HasSubstr("start the other side first")));
}

TEST_F(ErrorsTest, FilesInTheWayStay) {
  const std::string path = absl::StrCat(directory_.path(), "/precious");
  std::ofstream(path) << "data";
  ExpectError(TryOpen(absl::StrCat("virtual_devices: 'net_vhost0,iface=", path, "'")).status(),
              absl::StatusCode::kAlreadyExists, HasSubstr("is there and is no socket"));
  EXPECT_TRUE(std::filesystem::exists(path));
}

TEST_F(ErrorsTest, AMtuOutOfRange) {
  ExpectError(TryOpen("virtual_devices: 'net_null1' mtu: 65500").status(),
              absl::StatusCode::kInvalidArgument,
              AllOf(HasSubstr("mtu 65500 is out of its range"), HasSubstr(" to ")));
}

TEST_F(ErrorsTest, MoreMemoryThanThereIs) {
  const auto transport = OpenDpdk("virtual_devices: 'net_null1'", "buffers { count: 1000000 }");
  ExpectError(transport->OpenFramePort({}).status(), absl::StatusCode::kResourceExhausted,
              AllOf(HasSubstr("DPDK has no memory for 100"), HasSubstr("raise memory_mb")));
  const auto modest = OpenDpdk("virtual_devices: 'net_null2'");
  EXPECT_TRUE(modest->OpenFramePort({}).ok());
}

TEST_F(ErrorsTest, FramesHaveNoAddressAndNothingElseIsOffered) {
  ExpectError(first_->OpenFramePort({.local = *Address::Parse("10.0.0.1:1")}).status(),
              absl::StatusCode::kInvalidArgument, HasSubstr("have no address"));
  ExpectError(first_->OpenDatagramPort({}).status(), absl::StatusCode::kUnimplemented,
              HasSubstr("it offers frames"));
  const auto port = OpenPort(*first_);
  EXPECT_EQ(port->local_address().kind(), Address::Kind::kNone);
  EXPECT_EQ(port->device_name(), "net_null0");
}

TEST_F(ErrorsTest, RemovalIsLatched) {
  const auto port = OpenPort(*first_);
  Buffer burst[1];
  EXPECT_EQ(port->Receive(absl::MakeSpan(burst)), 1u);
  // As a driver tells it of a card that was pulled out.
  rte_eth_dev_callback_process(rte_eth_dev_allocated("net_null0"), RTE_ETH_EVENT_INTR_RMV, nullptr);
  Buffer none[1];
  EXPECT_EQ(port->Receive(absl::MakeSpan(none)), 0u);
  ExpectError(port->status(), absl::StatusCode::kUnavailable,
              HasSubstr("device 'net_null0' was removed"));
  EXPECT_EQ(port->Send(absl::MakeSpan(burst)), 0u);
  EXPECT_TRUE(burst[0]);
  PortEvent event;
  ASSERT_EQ(port->TakeEvents({&event, 1}), 1u);
  EXPECT_EQ(event.kind, PortEvent::Kind::kLinkDown);
}

}  // namespace
}  // namespace weft::dpdk
