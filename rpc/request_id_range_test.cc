// SPDX-License-Identifier: Apache-2.0
//
// Sequence numbers of requests that have come far: past 16 and 32 bits, and to the end of their 48.
#include <cstddef>
#include <cstdint>

#include "gtest/gtest.h"
#include "weft/rpc/client_session.h"
#include "weft/rpc/restart_fixture.h"

namespace weft::rpc {
namespace {

class RequestIdRangeTest : public RestartFixture, public testing::WithParamInterface<uint64_t> {
 protected:
  // As if so many calls had gone through each slot.
  void SetSequences(uint64_t sequence) {
    client_->sessions().ForEach([&](const ClientSession& session) {
      for (const ClientSession::Slot& slot : session.slots) {
        const_cast<ClientSession::Slot&>(slot).sequence = sequence;
      }
    });
  }
  void SetLoss(double loss) {
    const sim::NodeId client = *network_.AddNode("client");
    const sim::NodeId server = *network_.AddNode("server");
    network_.SetLink(client, server, {.latency_ns = 5'000, .loss = loss, .duplicate = loss});
    network_.SetLink(server, client, {.latency_ns = 5'000, .loss = loss, .duplicate = loss});
  }
};

TEST_P(RequestIdRangeTest, CallsRunOnceAndEndWell) {
  StartServer();
  StartClient();
  for (size_t i = 0; i < session_.slots; ++i) Begin();
  ASSERT_TRUE(Finish());
  SetSequences(GetParam());
  SetLoss(0.2);
  for (int i = 0; i < 60; ++i) {
    Begin(i % 3 == 0 ? 300 : 0);
    if (i % 20 != 10) continue;
    Outcome& cancelled = outcomes_[Begin(1000)];
    client_->Cancel(cancelled.id);
    cancelled.ended = 1;
    cancelled.status = absl::CancelledError("by the caller");
  }
  ASSERT_TRUE(Finish());
  for (const Outcome& outcome : outcomes_) {
    EXPECT_TRUE(outcome.status.ok() || absl::IsCancelled(outcome.status)) << outcome.status;
  }
  SetLoss(0);
  RunFor(20'000'000);  // less than what a PING is sent after
  ExpectNothingLeft();
}

INSTANTIATE_TEST_SUITE_P(All, RequestIdRangeTest,
                         testing::Values((uint64_t{1} << 16) - 4, (uint64_t{1} << 31) - 4,
                                         (uint64_t{1} << 32) - 4, (uint64_t{1} << 47) - 4,
                                         (uint64_t{1} << 48) - 40));

}  // namespace
}  // namespace weft::rpc
