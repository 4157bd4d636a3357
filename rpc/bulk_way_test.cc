// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/bulk_way.h"

#include <memory>
#include <utility>

#include "gtest/gtest.h"
#include "weft/rpc/congestion_control.h"
#include "weft/rpc/send_flow.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_bulk.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {
namespace {

constexpr size_t kBytes = 64 * 1024;

class BulkWayTest : public testing::Test {
 protected:
  BulkWayTest() {
    Buffer buffer = way_.Allocate(kBytes);
    buffer.Append(kBytes);
    Payload payload(std::move(buffer));
    EXPECT_TRUE(message_.Begin(way_, payload));
  }
  ~BulkWayTest() override { message_.End(way_); }

  std::unique_ptr<DatagramPort> Open(const char* name) {
    const auto transport =
        sim::OpenTransport(&network_, {.count = 16}, {.count = 4, .bytes = kBytes});
    return *transport->OpenDatagramPort({.local = Address::Sim(name)});
  }

  sim::Network network_{/*seed=*/1, {.latency_ns = 5000}};
  const std::unique_ptr<DatagramPort> port_ = Open("owner");
  const std::unique_ptr<DatagramPort> reader_ = Open("reader");
  const Peer peer_ = *port_->Resolve(Address::Sim("reader"));
  BulkWay way_{*port_};
  AnnouncedMessage message_;
};

TEST_F(BulkWayTest, IsBusyWhileAMessageMayBeFetched) {
  EXPECT_FALSE(way_.busy());
  ASSERT_TRUE(message_.Expose(way_, peer_));
  EXPECT_FALSE(message_.Expose(way_, peer_)) << "it is exposed already";
  EXPECT_TRUE(way_.busy());
  EXPECT_EQ(message_.End(way_).size(), kBytes);
  EXPECT_FALSE(way_.busy());
}

TEST_F(BulkWayTest, IsBusyWithAMessageOnceHoweverManyKeysAreLost) {
  network_.bulk().faults = {.lost = 1};
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(message_.Expose(way_, peer_));
  EXPECT_TRUE(way_.busy());
  message_.End(way_);
  EXPECT_FALSE(way_.busy());
}

TEST_F(BulkWayTest, IsNotBusyWithAMessageWhoseKeyAndWayAreLost) {
  network_.bulk().faults = {.lost = 1};
  ASSERT_TRUE(message_.Expose(way_, peer_));
  network_.bulk().faults = {.no_way = 1};
  EXPECT_FALSE(message_.Expose(way_, peer_));
  EXPECT_FALSE(message_.exposed());
  EXPECT_FALSE(way_.busy());
}

// Or losses would make it smaller and smaller, for as long as there is always a long message.
TEST_F(BulkWayTest, WindowsGrowAgainAfterLossesWhileItIsBusy) {
  const CongestionOptions options;
  SendFlow flow;
  flow.congestion = MakeCongestionControl(options);
  int64_t now_ns = 0;
  for (int i = 0; i < 10; ++i) flow.OnLoss(1, now_ns += 10'000'000);
  ASSERT_LT(flow.congestion->window(), 1);
  ASSERT_TRUE(message_.Expose(way_, peer_));
  for (int i = 0; i < 100; ++i) {
    now_ns += 10'000'000;
    flow.in_flight = flow.congestion->window_packets() - 1;
    const ExtendedHeader late = {.echo_valid = true,
                                 .echo = static_cast<uint32_t>(now_ns - 5'000'000)};
    flow.OnRoundTrip(late, 1, now_ns, {}, &way_);
  }
  EXPECT_GT(flow.congestion->window(), 5);
}

}  // namespace
}  // namespace weft::rpc
