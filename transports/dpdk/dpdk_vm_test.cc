// SPDX-License-Identifier: Apache-2.0
//
// NICs on a PCI bus: three of QEMU's, on one hub, in a virtual machine (tools/vm/vm.bzl), bound to
// uio_pci_generic or to vfio-pci. Two are DPDK's; the third goes back to the kernel.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "weft/config/config.h"
#include "weft/transports/frame_port.h"
#include "weft/transports/registry.h"

namespace weft {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr size_t kHeaderBytes = 14;
constexpr size_t kBurst = 32;

// Polls until `done`; false when it takes too long, for which an emulated machine has its own idea.
bool Until(const std::function<bool()>& done) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    usleep(100);
  }
  return true;
}

// Frame `n` of `size` bytes, each byte of which depends on both.
std::string Bytes(const MacAddress& to, const MacAddress& from, size_t size, size_t n) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 7 + n + (i >> 8));
  std::memcpy(bytes.data(), to.data(), 6);
  std::memcpy(bytes.data() + 6, from.data(), 6);
  std::memcpy(bytes.data() + 12, "\x88\xb5", 2);  // for local experiments
  return bytes;
}

Buffer Frame(FramePort& port, const std::string& bytes) {
  Buffer frame = port.pool().Allocate();
  if (frame) std::memcpy(frame.Append(bytes.size()), bytes.data(), bytes.size());
  return frame;
}

// Frames of these sizes go from one port to the other, a burst at a time, and arrive in order and
// as they were.
void Exchange(FramePort& from, FramePort& to, absl::Span<const size_t> sizes) {
  for (size_t begin = 0; begin < sizes.size(); begin += kBurst) {
    std::vector<std::string> expected;
    std::vector<Buffer> burst;
    for (const size_t size : sizes.subspan(begin, kBurst)) {
      expected.push_back(Bytes(to.mac(), from.mac(), size, begin + burst.size()));
      burst.push_back(Frame(from, expected.back()));
      ASSERT_TRUE(burst.back());
    }
    auto rest = absl::MakeSpan(burst);
    ASSERT_TRUE(Until([&] {
      rest.remove_prefix(from.Send(rest));
      return rest.empty();
    })) << rest.size()
        << " frames are not taken";

    size_t received = 0;
    Buffer in[kBurst];
    while (received < expected.size()) {
      size_t count = 0;
      ASSERT_TRUE(Until([&] { return (count = to.Receive(absl::MakeSpan(in))) > 0; }))
          << "of a burst that begins with " << sizes[begin] << " bytes, " << received << " came";
      ASSERT_LE(received + count, expected.size()) << "frames that nobody sent";
      for (size_t i = 0; i < count; ++i, ++received) {
        const Buffer frame = std::move(in[i]);
        const std::string got(reinterpret_cast<const char*>(frame.data()), frame.size());
        // A device may pad.
        ASSERT_EQ(got.substr(0, expected[received].size()), expected[received]);
      }
    }
  }
}

class DpdkVmTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* const nics = std::getenv("WEFT_VM_NICS");
    if (nics == nullptr) GTEST_SKIP() << "not in a virtual machine with NICs; run as a vm_test";
    nics_ = absl::StrSplit(nics, ' ');
    ASSERT_EQ(nics_.size(), 3u);
  }

  absl::StatusOr<std::unique_ptr<FramePort>> Open(const std::string& nic) {
    config::Transport config;
    config.set_name("dpdk");
    config.mutable_dpdk()->set_device(nic);
    // Both list both: one that is closed must not take the other's with it.
    for (size_t i = 0; i < 2; ++i) config.mutable_dpdk()->add_pci_devices(nics_[i]);
    config.mutable_dpdk()->set_huge_pages(config::Dpdk::REQUIRED);
    auto transport = OpenPlainTransport(config);
    if (!transport.ok()) return transport.status();
    transports_.push_back(*std::move(transport));
    return transports_.back()->OpenFramePort({});
  }
  void OpenBoth() {
    for (size_t i = 0; i < 2; ++i) {
      auto port = Open(nics_[i]);
      ASSERT_TRUE(port.ok()) << port.status();
      ports_.push_back(*std::move(port));
    }
    for (auto& port : ports_) ASSERT_TRUE(WaitForLink(*port, true));
  }

  // Looks after the port as a loop does until its link is so.
  bool WaitForLink(FramePort& port, bool up) {
    return Until([&] {
      LookAfter(port);
      return port.link_up() == up;
    });
  }
  // Likewise, until it is told so: the device's thread may have changed the link since Receive().
  bool WaitForEvent(FramePort& port, PortEvent::Kind kind) {
    return Until([&] {
      LookAfter(port);
      return !events_.empty() && events_.back() == kind;
    });
  }
  void LookAfter(FramePort& port) {
    Buffer in[kBurst];
    port.Receive(absl::MakeSpan(in));
    PortEvent events[8];
    const size_t count = port.TakeEvents(absl::MakeSpan(events));
    for (size_t i = 0; i < count; ++i) events_.push_back(events[i].kind);
  }

  // What the machine's monitor does to the first NIC.
  static void SetCable(bool plugged) {
    std::ofstream("/run/port.monitor") << "set_link nic0 " << (plugged ? "on" : "off") << std::endl;
  }

  std::vector<std::string> nics_;
  std::vector<std::unique_ptr<Transport>> transports_;
  std::vector<std::unique_ptr<FramePort>> ports_;  // after what they belong to
  std::vector<PortEvent::Kind> events_;
};

// First: no EAL has run yet, and none runs for a device that it could not use.
TEST_F(DpdkVmTest, KernelsNicIsRefusedWithWhatToDo) {
  const std::string bind = absl::StrCat("tools/vm/bind_nics virtio-pci ", nics_[2]);
  ASSERT_EQ(std::system(bind.c_str()), 0);
  EXPECT_THAT(Open(nics_[2]).status().ToString(),
              AllOf(HasSubstr(nics_[2]), HasSubstr("virtio-pci"), HasSubstr("bind")));
}

TEST_F(DpdkVmTest, MissingNicIsRefusedWithWhatThereIs) {
  EXPECT_THAT(Open("0000:00:1e.7").status().ToString(),
              AllOf(HasSubstr("0000:00:1e.7"), HasSubstr(nics_[0]), HasSubstr(nics_[1])));
}

TEST_F(DpdkVmTest, FramesOfAllSizesCross) {
  ASSERT_NO_FATAL_FAILURE(OpenBoth());
  EXPECT_EQ(ports_[0]->mac(), (MacAddress{0x52, 0x54, 0, 0x77, 0, 0}));
  EXPECT_EQ(ports_[1]->mac(), (MacAddress{0x52, 0x54, 0, 0x77, 0, 1}));
  EXPECT_EQ(ports_[0]->device_name(), nics_[0]);
  const size_t largest = ports_[0]->capabilities().max_frame_bytes;
  EXPECT_EQ(largest, 1514u);
  std::vector<size_t> sizes(largest - kHeaderBytes + 1);
  std::iota(sizes.begin(), sizes.end(), kHeaderBytes);
  ASSERT_NO_FATAL_FAILURE(Exchange(*ports_[0], *ports_[1], sizes));
  std::reverse(sizes.begin(), sizes.end());
  ASSERT_NO_FATAL_FAILURE(Exchange(*ports_[1], *ports_[0], sizes));

  const size_t bytes = std::accumulate(sizes.begin(), sizes.end(), size_t{0});
  for (const auto& port : ports_) {
    EXPECT_EQ(port->stats().sent, sizes.size());
    EXPECT_EQ(port->stats().sent_bytes, bytes);
    EXPECT_EQ(port->stats().send_failed, 0u);
    EXPECT_EQ(port->stats().received, sizes.size());
    EXPECT_GE(port->stats().received_bytes, bytes);
    EXPECT_EQ(port->stats().receive_dropped, 0u);
    EXPECT_EQ(port->stats().receive_malformed, 0u);
  }
}

// Rings and buffers go round many times, and nothing is lost on the way.
TEST_F(DpdkVmTest, BuffersComeBack) {
  ASSERT_NO_FATAL_FAILURE(OpenBoth());
  const std::vector<size_t> sizes(20'000, 60);
  ASSERT_NO_FATAL_FAILURE(Exchange(*ports_[0], *ports_[1], sizes));
  EXPECT_EQ(ports_[1]->stats().received, sizes.size());
}

TEST_F(DpdkVmTest, LinkGoesAndComesBack) {
  ASSERT_NO_FATAL_FAILURE(OpenBoth());
  events_.clear();
  SetCable(false);
  ASSERT_TRUE(WaitForLink(*ports_[0], false)) << "the link stays up";
  EXPECT_TRUE(WaitForEvent(*ports_[0], PortEvent::Kind::kLinkDown));
  SetCable(true);
  ASSERT_TRUE(WaitForLink(*ports_[0], true)) << "the link stays down";
  EXPECT_TRUE(WaitForEvent(*ports_[0], PortEvent::Kind::kLinkUp));
  EXPECT_TRUE(ports_[0]->status().ok()) << ports_[0]->status();
  EXPECT_TRUE(ports_[1]->link_up());
  ASSERT_NO_FATAL_FAILURE(Exchange(*ports_[0], *ports_[1], {60, 1514}));
  ASSERT_NO_FATAL_FAILURE(Exchange(*ports_[1], *ports_[0], {60, 1514}));
}

TEST_F(DpdkVmTest, NicIsOpenedAgainWhileTheOtherRuns) {
  ASSERT_NO_FATAL_FAILURE(OpenBoth());
  for (int i = 0; i < 3; ++i) {
    ports_.pop_back();
    auto port = transports_[1]->OpenFramePort({});
    ASSERT_TRUE(port.ok()) << port.status();
    ports_.push_back(*std::move(port));
    ASSERT_TRUE(WaitForLink(*ports_[1], true));
    ASSERT_NO_FATAL_FAILURE(Exchange(*ports_[0], *ports_[1], {60, 1514}));
    ASSERT_NO_FATAL_FAILURE(Exchange(*ports_[1], *ports_[0], {60, 1514}));
  }
  EXPECT_TRUE(ports_[0]->status().ok()) << ports_[0]->status();
  // Its own alone, of which the first may have come after the link itself.
  events_.clear();
  LookAfter(*ports_[0]);
  EXPECT_THAT(events_, Not(Contains(PortEvent::Kind::kLinkDown)));
}

TEST_F(DpdkVmTest, OtherStationsFramesStayAway) {
  ASSERT_NO_FATAL_FAILURE(OpenBoth());
  const MacAddress stranger = {0x52, 0x54, 0, 0x77, 0, 0x99};
  Buffer burst[] = {Frame(*ports_[0], Bytes(stranger, ports_[0]->mac(), 60, 0))};
  ASSERT_TRUE(Until([&] { return ports_[0]->Send(absl::MakeSpan(burst)) == 1; }));
  // Exchange() sees a frame that it did not send.
  ASSERT_NO_FATAL_FAILURE(Exchange(*ports_[0], *ports_[1], {60}));
  EXPECT_EQ(ports_[1]->stats().received, 1u);
}

}  // namespace
}  // namespace weft
