// SPDX-License-Identifier: Apache-2.0
//
// How messages that are fetched rather than sent end: given up in the midst, without a buffer or a
// way, too long for packets, and that nothing stays behind of them.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/rpc/bulk_fixture.h"

namespace weft::rpc {
namespace {

// --- Ends

TEST_F(BulkTest, ACallCancelledWhileItIsFetchedNeverRuns) {
  StartEcho();
  const size_t call = Begin(*clients_[0], 0, Filled(*clients_[0], Text(kMegabyte, 10)));
  RunUntil([&] { return BulkOf(servers_[0]->port()).fetching() > 0; });
  clients_[0]->Cancel(outcomes_[call]->id);
  EXPECT_EQ(network_.bulk().exposures.size(), 0u) << "from now on the buffer is used for others";
  // The next in the same slot, while the first is still being fetched.
  const std::string text = Text(20'000, 11);
  EXPECT_TRUE(Echo(text).reply == text);
  EXPECT_EQ(executed_, 1);
  EXPECT_EQ(outcomes_[call]->ended, 0);
}

TEST_F(BulkTest, AReplyCancelledWhileItIsFetchedIsGivenUp) {
  StartEcho();
  const size_t call = Begin(*clients_[0], 0, Filled(*clients_[0], Text(kMegabyte, 12)));
  RunUntil([&] { return BulkOf(clients_[0]->port()).fetching() > 0; });
  clients_[0]->Cancel(outcomes_[call]->id);
  Run(1'000'000);
  EXPECT_EQ(network_.bulk().exposures.size(), 0u);
  EXPECT_EQ(BulkOf(servers_[0]->port()).available(), kBuffers);
}

TEST_F(BulkTest, ADeadlineThatPassesWhileTheRequestIsFetched) {
  StartEcho();
  const size_t call = Begin(*clients_[0], 0, Filled(*clients_[0], Text(kMegabyte, 13)),
                            {.timeout = absl::Microseconds(300)});
  EXPECT_EQ(Await(call).status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(network_.bulk().exposures.size(), 0u);
  Run(10'000'000);
  EXPECT_EQ(executed_, 0);
}

TEST_F(BulkTest, AServerThatEndsWhileItFetches) {
  StartEcho();
  const size_t call = Begin(*clients_[0], 0, Filled(*clients_[0], Text(kMegabyte, 14)));
  RunUntil([&] { return BulkOf(servers_[0]->port()).fetching() > 0; });
  servers_.clear();
  EXPECT_EQ(Await(call).status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(network_.bulk().exposures.size(), 0u);
  StartServer([](ServerCall call) { (void)call.Reply(std::move(call.request())); });
  const std::string text = Text(kMegabyte, 15);
  EXPECT_TRUE(Echo(text).reply == text);
}

TEST_F(BulkTest, AClientThatIsCutOffLeavesNothingBehind) {
  StartEcho();
  const size_t request = Begin(*clients_[0], 0, Filled(*clients_[0], Text(kMegabyte, 16)));
  RunUntil([&] { return BulkOf(servers_[0]->port()).fetching() > 0; });
  const std::vector<sim::NodeId> alone = {*network_.AddNode("client0")};
  ASSERT_TRUE(network_.Partition({alone}).ok());
  EXPECT_FALSE(Await(request).status.ok());
  Run(2 * kSessionTimeoutNs);
  network_.Heal();
  const std::string text = Text(kMegabyte, 17);
  EXPECT_TRUE(Echo(text).reply == text);

  // The same with a reply.
  const size_t reply = Begin(*clients_[0], 0, Filled(*clients_[0], Text(kMegabyte, 18)));
  RunUntil([&] { return BulkOf(clients_[0]->port()).fetching() > 0; });
  ASSERT_TRUE(network_.Partition({alone}).ok());
  EXPECT_FALSE(Await(reply).status.ok());
  Run(2 * kSessionTimeoutNs);
  EXPECT_EQ(network_.bulk().exposures.size(), 0u);
  EXPECT_EQ(BulkOf(servers_[0]->port()).available(), kBuffers);
  network_.Heal();
}

// Whoever keeps what was fetched keeps others on packets, and no more.
TEST_F(BulkTest, BuffersThatTheApplicationKeepsAreMissedByNobody) {
  StartServer([this](ServerCall call) {
    const std::string text = call.request().ToString();
    if (Buffer buffer = call.request().PopFront()) held_.push_back(std::move(buffer));
    call.request().Clear();
    (void)call.Reply(BytesOf(text));
  });
  Client& client = StartClient();
  for (uint32_t i = 0; i < 2 * kBuffers; ++i) {
    const std::string text = Text(30'000, i);
    EXPECT_TRUE(Await(Begin(client, 0, Filled(client, text))).reply == text);
  }
  EXPECT_EQ(BulkOf(servers_[0]->port()).available(), 0u);
}

TEST_F(BulkTest, AServerThatEndsWhileItsReplyIsFetched) {
  StartEcho();
  const size_t call = Begin(*clients_[0], 0, Filled(*clients_[0], Text(kMegabyte, 20)));
  RunUntil([&] { return BulkOf(clients_[0]->port()).fetching() > 0; });
  EXPECT_EQ(network_.bulk().exposures.size(), 1u);
  servers_.clear();
  EXPECT_EQ(network_.bulk().exposures.size(), 0u);
  EXPECT_FALSE(Await(call).status.ok());
}

TEST_F(BulkTest, AClientThatEndsInTheMidstOfBoth) {
  StartEcho();
  Begin(*clients_[0], 0, Filled(*clients_[0], Text(kMegabyte, 21)));
  RunUntil([&] { return BulkOf(servers_[0]->port()).fetching() > 0; });
  clients_.clear();
  EXPECT_EQ(network_.bulk().exposures.size(), 0u);
  Run(10'000'000);
  EXPECT_EQ(executed_, 0);
  EXPECT_EQ(BulkOf(servers_[0]->port()).available(), kBuffers);

  Client& second = StartClient();
  Begin(second, 0, Filled(second, Text(kMegabyte, 22)));
  RunUntil([&] { return BulkOf(second.port()).fetching() > 0; });
  clients_.clear();
  Run(10'000'000);
  EXPECT_EQ(network_.bulk().exposures.size(), 0u) << "CLOSE ends it";
  EXPECT_EQ(BulkOf(servers_[0]->port()).available(), kBuffers);
}

// --- Messages that do not fit in packets

TEST_F(BulkTest, TheFirstLongMessagesWaitForTheWay) {
  packet_buffers_ = 256;
  StartEcho();
  network_.bulk().faults.set_up_ns = 100'000'000;
  const std::string text = Text(kMegabyte, 23);
  const Outcome& outcome = Echo(text);  // as long as many times the packet buffers
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_TRUE(outcome.reply == text);
  EXPECT_EQ(executed_, 1);
  EXPECT_LE(network_.stats().sent, 500u) << "who waits asks now and then";
  EXPECT_EQ(network_.bulk().fetched, 2u);
}

TEST_F(BulkTest, TheyGetThroughWhenFetchesFailNowAndThen) {
  packet_buffers_ = 256;
  StartEcho();
  network_.bulk().faults = {.fail = 0.5, .no_way = 0.5};
  for (uint32_t i = 0; i < 20; ++i) {
    const std::string text = Text(kMegabyte, i);
    Buffer request = BulkOf(clients_[0]->port()).Allocate(text.size());
    ASSERT_TRUE(request);
    std::memcpy(request.Append(text.size()), text.data(), text.size());
    const Outcome& outcome = Await(Begin(*clients_[0], 0, Payload(std::move(request))));
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_TRUE(outcome.reply == text);
  }
  EXPECT_EQ(executed_, 20);
}

TEST_F(BulkTest, TheyGetThroughWhenKeysAreLostWithTheWay) {
  packet_buffers_ = 256;
  StartEcho();
  network_.bulk().faults = {.lost = 0.5};
  for (uint32_t i = 0; i < 20; ++i) {
    const std::string text = Text(kMegabyte, i);
    const Outcome& outcome = Echo(text);
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_TRUE(outcome.reply == text);
  }
  EXPECT_EQ(executed_, 20);
}

TEST_F(BulkTest, TheyWaitForBuffersThatOthersHave) {
  packet_buffers_ = 256;
  StartEcho();
  for (size_t i = 0; i < kBuffers; ++i) {
    held_.push_back(BulkOf(servers_[0]->port()).Allocate(kMegabyte));
  }
  const std::string text = Text(kMegabyte, 24);
  const size_t call = Begin(*clients_[0], 0, Filled(*clients_[0], text));
  Run(300'000'000);
  EXPECT_EQ(outcomes_[call]->ended, 0);
  held_.clear();
  const Outcome& outcome = Await(call);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_TRUE(outcome.reply == text);
}

// It has no buffers left to fetch into, and waits for some.
TEST_F(BulkTest, AClientThatFetchesNothingLeavesBuffersForOthers) {
  const std::string text = Text(kMegabyte, 30);
  StartServer([&](ServerCall call) {
    if (Buffer reply = call.Allocate(text.size())) {
      std::memcpy(reply.Append(text.size()), text.data(), text.size());
      (void)call.Reply(std::move(reply));
    } else {
      (void)call.Reply(BytesOf(text));
    }
  });
  packet_buffers_ = 256;
  Client& idle = StartClient();
  while (Buffer buffer = BulkOf(idle.port()).Allocate(kMegabyte)) held_.push_back(buffer.Share());
  packet_buffers_ = 4096;
  Client& busy = StartClient();
  ASSERT_TRUE(Await(Begin(busy, 0, Payload())).status.ok());
  ASSERT_EQ(busy.stats().bulk_received, 1u);

  std::vector<size_t> never;
  for (size_t i = 0; i < 3 * kBuffers; ++i) never.push_back(Begin(idle, 0, Payload()));
  Run(50'000'000);
  EXPECT_LE(BulkOf(servers_[0]->port()).available(), kBuffers / 2);
  for (uint64_t i = 0; i < 10; ++i) {
    const size_t two[] = {Begin(busy, 0, Payload()), Begin(busy, 0, Payload())};
    for (const size_t call : two) EXPECT_TRUE(Await(call).reply == text);
    EXPECT_EQ(busy.stats().bulk_received, 3 + 2 * i) << "all are fetched";
  }
  EXPECT_GT(servers_[0]->stats().bulk_over_share, 0u);
  EXPECT_GT(idle.outstanding(), 0u) << "or it is not as was meant";
  for (const size_t call : never) idle.Cancel(outcomes_[call]->id);
}

TEST_F(BulkTest, RepliesThatAreCopiedCountAsWell) {
  const std::string text = Text(kMegabyte, 33);
  StartServer([&](ServerCall call) { (void)call.Reply(BytesOf(text)); });
  Client& idle = StartClient();
  Client& busy = StartClient();
  ASSERT_TRUE(Await(Begin(busy, 0, Payload())).status.ok());
  while (Buffer buffer = BulkOf(idle.port()).Allocate(kMegabyte)) held_.push_back(buffer.Share());
  std::vector<size_t> calls;
  for (size_t i = 0; i < kBuffers; ++i) calls.push_back(Begin(idle, 0, Payload()));
  for (const size_t call : calls) EXPECT_TRUE(Await(call).reply == text);
  EXPECT_EQ(servers_[0]->stats().bulk_over_share, kBuffers / 2);
}

// Alone it may have all.
TEST_F(BulkTest, TheOnlyClientHasAllBuffers) {
  StartEcho();
  const std::string text = Text(kMegabyte, 31);
  std::vector<size_t> calls;
  for (size_t i = 0; i < kBuffers; ++i) {
    calls.push_back(Begin(*clients_[0], 0, Filled(*clients_[0], text)));
  }
  for (const size_t call : calls) EXPECT_TRUE(Await(call).reply == text);
  EXPECT_EQ(servers_[0]->stats().bulk_over_share, 0u);
}

TEST_F(BulkTest, WhenTheWayNeverComesTheyEndWithAReason) {
  packet_buffers_ = 256;
  StartEcho();
  for (const sim::BulkFaults& faults : {sim::BulkFaults{.fail = 1}, sim::BulkFaults{.no_way = 1}}) {
    Payload request = Filled(*clients_[0], Text(kMegabyte, 25));
    network_.bulk().faults = faults;
    const Outcome& refused =
        Await(Begin(*clients_[0], 0, std::move(request), {.timeout = absl::Seconds(5)}));
    EXPECT_EQ(refused.status.code(), absl::StatusCode::kResourceExhausted) << refused.status;
  }
  EXPECT_EQ(executed_, 0);
  network_.bulk().faults = {};
  StartServer([&](ServerCall call) { (void)call.Reply(BytesOf(Text(kMegabyte, 26))); });
  EXPECT_TRUE(Await(Begin(*clients_[0], 1, Payload())).status.ok());
  network_.bulk().faults = {.no_way = 1};
  const Outcome& outcome = Await(Begin(*clients_[0], 1, Payload(), {.timeout = absl::Seconds(5)}));
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kOutOfRange) << outcome.status;
  network_.bulk().faults = {};
  // Nothing to wait for: it does not lie where it could be fetched.
  const int64_t began_ns = network_.NowNs();
  const Outcome& external =
      Await(Begin(*clients_[0], 0, Payload::Copy(BytesOf(Text(kMegabyte, 27)))));
  EXPECT_EQ(external.status.code(), absl::StatusCode::kInvalidArgument) << external.status;
  EXPECT_LE(network_.NowNs() - began_ns, 10'000'000);
}

// Ports with such a way make connections first.
TEST_F(BulkTest, AServerThatAnswersLateIsNotTakenForOneOfTheOriginalFormat) {
  StartServer([](ServerCall call) { (void)call.Reply(std::move(call.request())); });
  const std::vector<sim::NodeId> alone = {*network_.AddNode("server0")};
  ASSERT_TRUE(network_.Partition({alone}).ok());
  network_.events().At(network_.NowNs() + 150'000'000, [this] { network_.Heal(); });
  Client& client = StartClient(kBuffers, 16 << 20, Wire::kAuto);
  const std::string text = Text(kMegabyte, 28);
  const Outcome& outcome = Await(Begin(client, 0, Filled(client, text)));
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_TRUE(outcome.reply == text);
  EXPECT_EQ(client.stats().fallbacks, 0u);
}

}  // namespace
}  // namespace weft::rpc
