// SPDX-License-Identifier: Apache-2.0
//
// Ports of devices that live within this process: net_vhost and net_virtio_user joined by a socket,
// net_ring, net_null.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "weft/transports/dpdk/dpdk_test_util.h"

namespace weft::dpdk {
namespace {

using ::testing::HasSubstr;

// Two transports, one for each end of a wire.
class WireTest : public testing::Test {
 protected:
  explicit WireTest(const std::string& settings = "", const std::string& rest = "")
      : socket_(absl::StrCat(directory_.path(), "/wire")),
        host_(OpenDpdk(
            absl::StrCat("virtual_devices: 'net_vhost0,iface=", socket_, ",queues=2' ", settings),
            rest)) {
    host_port_ = OpenPort(*host_);
    guest_ = OpenDpdk(
        absl::StrCat("virtual_devices: 'net_virtio_user0,path=", socket_, ",queues=2' ", settings),
        rest);
    guest_port_ = OpenPort(*guest_);
    EXPECT_TRUE(AwaitLink(*host_port_, true));
    EXPECT_TRUE(AwaitLink(*guest_port_, true));
  }

  const TemporaryDirectory directory_;
  const std::string socket_;
  std::unique_ptr<Transport> host_;
  std::unique_ptr<Transport> guest_;
  std::unique_ptr<FramePort> host_port_;
  std::unique_ptr<FramePort> guest_port_;
};

TEST_F(WireTest, FramesOfEverySizeArriveAsTheyWere) {
  for (auto [from, to] : {std::pair(host_port_.get(), guest_port_.get()),
                          std::pair(guest_port_.get(), host_port_.get())}) {
    EXPECT_NE(from->mac(), to->mac());
    const size_t max = from->capabilities().max_frame_bytes;
    EXPECT_EQ(max, 1514u);
    for (size_t size = kHeaderBytes; size <= max; size += size < 70 ? 1 : 19) {
      const std::string payload(size - kHeaderBytes, static_cast<char>(size));
      ASSERT_TRUE(Send(*from, Frame(from->pool(), to->mac(), from->mac(), payload)));
      const Buffer got = Receive(*to);
      ASSERT_TRUE(got);
      EXPECT_EQ(PayloadOf(got).substr(0, payload.size()), payload);
      EXPECT_TRUE(to->pool().Owns(got));
    }
    EXPECT_EQ(from->stats().copied_buffers, 0u);
    EXPECT_EQ(to->stats().copied_buffers, 0u);
  }
}

}  // namespace
}  // namespace weft::dpdk
