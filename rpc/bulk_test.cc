// SPDX-License-Identifier: Apache-2.0
//
// Requests and replies that are fetched rather than sent, as an application sees them.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/rpc/bulk_fixture.h"

namespace weft::rpc {
namespace {

TEST_F(BulkTest, LongRequestsAndRepliesAreFetchedAsTheyAre) {
  StartEcho();
  const std::string text = Text(kMegabyte, 1);
  const uint64_t client_sent = clients_[0]->port().stats().sent;
  const uint64_t server_sent = servers_[0]->port().stats().sent;
  const uint64_t copied = servers_[0]->port().stats().copied_bytes;
  const Outcome& outcome = Echo(text);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_TRUE(outcome.reply == text);
  EXPECT_EQ(outcome.pieces, 1u);
  EXPECT_EQ(pieces_, 1u);
  EXPECT_EQ(network_.bulk().fetched, 2u);
  EXPECT_EQ(clients_[0]->stats().bulk_sent, 1u);
  EXPECT_EQ(clients_[0]->stats().bulk_received, 1u);
  EXPECT_EQ(servers_[0]->stats().bulk_sent, 1u);
  EXPECT_EQ(servers_[0]->stats().bulk_received, 1u);
  Run(1'000'000);
  // An announcement and a PROGRESS a side, and perhaps a question how it goes.
  EXPECT_LE(clients_[0]->port().stats().sent - client_sent, 4u);
  EXPECT_LE(servers_[0]->port().stats().sent - server_sent, 4u);
  EXPECT_LE(servers_[0]->port().stats().copied_bytes - copied, 1000u) << "only of small packets";
  EXPECT_EQ(network_.bulk().exposures.size(), 0u) << "the client has told that it has the reply";
}

TEST_F(BulkTest, ShortAndEmptyMessagesGoAsEver) {
  StartEcho();
  for (const size_t size : {size_t{0}, size_t{1}, size_t{1000}, size_t{1428}, size_t{8000}}) {
    const Outcome& outcome = Echo(Text(size, 2));
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_EQ(outcome.reply, Text(size, 2));
  }
  EXPECT_EQ(network_.bulk().exposed, 0u);
  EXPECT_EQ(Echo(Text(8192, 2)).reply, Text(8192, 2));
  EXPECT_EQ(network_.bulk().fetched, 2u);
  EXPECT_TRUE(Echo(Text(kMegabyte + 1, 2)).reply == Text(kMegabyte + 1, 2)) << "too long";
  EXPECT_EQ(network_.bulk().fetched, 2u);
}

TEST_F(BulkTest, SpansAreCopiedOnceIntoABufferOfTheWay) {
  const std::string text = Text(100'000, 3);
  StartServer([&](ServerCall call) { (void)call.Reply(BytesOf(call.request().ToString())); });
  Client& client = StartClient();
  const Peer peer = *client.Resolve(Address::Sim("server0"));
  std::string reply;
  ASSERT_TRUE(client
                  .Call(peer, BytesOf(text),
                        [&](absl::StatusOr<BufferChain> got) {
                          ASSERT_TRUE(got.ok()) << got.status();
                          reply = got->ToString();
                        })
                  .ok());
  RunUntil([&] { return !reply.empty(); });
  EXPECT_TRUE(reply == text);
  EXPECT_EQ(network_.bulk().fetched, 2u);

  bool done = false;
  const auto call = [&]() -> Task<void> {
    absl::StatusOr<BufferChain> got = co_await client.Call(peer, BytesOf(text));
    EXPECT_TRUE(got.ok() && got->ToString() == text);
    done = true;
  };
  TaskGroup tasks;
  tasks.Spawn(call());
  RunUntil([&] { return done; });
  EXPECT_EQ(network_.bulk().fetched, 4u);
}

TEST_F(BulkTest, ManyAtATimeUseWhatBuffersThereAre) {
  StartEcho();
  std::vector<size_t> calls;
  for (uint32_t i = 0; i < 30; ++i) {
    calls.push_back(Begin(*clients_[0], 0, Filled(*clients_[0], Text(60'000 + i, i))));
  }
  for (uint32_t i = 0; i < 30; ++i) {
    const Outcome& outcome = Await(calls[i]);
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_TRUE(outcome.reply == Text(60'000 + i, i));
  }
  EXPECT_EQ(executed_, 30);
  EXPECT_GE(network_.bulk().fetched, kBuffers);
}

TEST_F(BulkTest, ManySessions) {
  StartEcho();
  for (int i = 0; i < 20; ++i) StartClient();
  std::vector<size_t> calls;
  for (uint32_t i = 0; i < 20; ++i) {
    calls.push_back(Begin(*clients_[i], 0, Filled(*clients_[i], Text(100'000, i))));
  }
  for (uint32_t i = 0; i < 20; ++i) EXPECT_TRUE(Await(calls[i]).reply == Text(100'000, i));
}

TEST_F(BulkTest, NestedCallsPassOnWhatTheyWereGiven) {
  StartEcho();
  Client& inner = StartClient();
  StartServer([&](ServerCall call) {
    const Peer peer = *inner.Resolve(Address::Sim("server0"));
    auto held = std::make_shared<ServerCall>(std::move(call));
    (void)inner.Call(peer, Payload(std::move(held->request())),
                     [held](absl::StatusOr<BufferChain> reply) {
                       ASSERT_TRUE(reply.ok()) << reply.status();
                       (void)held->Reply(*std::move(reply));
                     });
  });
  const std::string text = Text(300'000, 5);
  const Outcome& outcome = Await(Begin(*clients_[0], 1, Filled(*clients_[0], text)));
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_TRUE(outcome.reply == text);
}

TEST_F(BulkTest, OneBufferSharedByCallsToSeveralServers) {
  StartEcho();
  for (int i = 0; i < 3; ++i) {
    StartServer([](ServerCall call) { (void)call.Reply(std::move(call.request())); });
  }
  const std::string text = Text(200'000, 6);
  Buffer shared = clients_[0]->Allocate(text.size());
  std::memcpy(shared.Append(text.size()), text.data(), text.size());
  std::vector<size_t> calls;
  for (size_t server = 0; server < 4; ++server) {
    calls.push_back(Begin(*clients_[0], server, Payload(shared.Share())));
  }
  shared.Reset();
  for (const size_t call : calls) EXPECT_TRUE(Await(call).reply == text);
  EXPECT_EQ(network_.bulk().fetched, 8u);
}

TEST_F(BulkTest, WhatCannotBeFetchedGoesInPackets) {
  StartEcho();
  const std::string text = Text(200'000, 7);
  using Faults = sim::BulkFaults;
  for (const Faults& faults : {Faults{.fail = 1}, Faults{.no_way = 1}, Faults{.no_buffer = 1},
                               Faults{.set_up_ns = 1'000'000'000}}) {
    network_.bulk().faults = {};
    Payload request = Filled(*clients_[0], text);
    network_.bulk().faults = faults;
    const Outcome& outcome = Await(Begin(*clients_[0], 0, std::move(request)));
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_TRUE(outcome.reply == text);
  }
  EXPECT_EQ(executed_, 4);
}

TEST_F(BulkTest, PeersThatKnowNothingOfItGetPackets) {
  const std::string text = Text(100'000, 8);
  StartEcho(/*client_buffers=*/kBuffers, /*server_buffers=*/0);
  EXPECT_TRUE(Echo(text).reply == text);
  clients_.clear();
  servers_.clear();
  StartEcho(/*client_buffers=*/0, /*server_buffers=*/kBuffers);
  EXPECT_TRUE(Echo(text).reply == text);
  EXPECT_EQ(network_.bulk().exposed, 0u);
}

// Nothing is sent twice over while a slow fetch goes on, and nobody takes the other for dead.
TEST_F(BulkTest, ASlowFetchIsWaitedFor) {
  const sim::LinkOptions slow = {.latency_ns = 5000, .bandwidth_bps = 20'000'000};
  StartEcho();
  network_.SetLink(*network_.AddNode("client0"), *network_.AddNode("server0"), slow);
  network_.SetLink(*network_.AddNode("server0"), *network_.AddNode("client0"), slow);
  const uint64_t sent = network_.stats().sent;
  const std::string text = Text(kMegabyte, 9);  // 0.4 s
  EXPECT_TRUE(Echo(text).reply == text);
  EXPECT_EQ(network_.bulk().fetched, 2u);
  EXPECT_EQ(network_.bulk().failed, 0u);
  EXPECT_LE(network_.stats().sent - sent, 250u);
}

TEST_F(BulkTest, PacketsThatComeTwiceChangeNothing) {
  StartEcho();
  const sim::LinkOptions twice = {.latency_ns = 5000, .jitter_ns = 20'000, .duplicate = 1};
  network_.SetLink(*network_.AddNode("client0"), *network_.AddNode("server0"), twice);
  network_.SetLink(*network_.AddNode("server0"), *network_.AddNode("client0"), twice);
  for (uint32_t i = 0; i < 20; ++i) EXPECT_TRUE(Echo(Text(50'000, i)).reply == Text(50'000, i));
  EXPECT_EQ(executed_, 20);
  EXPECT_EQ(network_.bulk().fetched, 40u);
  EXPECT_EQ(clients_[0]->stats().bulk_failed + servers_[0]->stats().bulk_failed, 0u);
}
// --- What the application may say to it

TEST_F(BulkTest, AdmissionSeesTheFirstBytesOfWhatWasFetched) {
  Server& server = StartServer([this](ServerCall call) {
    ++executed_;
    (void)call.Reply(std::move(call.request()));
  });
  std::vector<std::string> seen;
  server.set_admission([&](Peer, absl::Span<const uint8_t> first) {
    seen.emplace_back(first.begin(), first.end());
    return first.empty() || first[0] != 'x';
  });
  Client& client = StartClient();
  const std::string good(50'000, 'a');
  EXPECT_TRUE(Await(Begin(client, 0, Filled(client, good))).reply == good);
  const Outcome& refused = Await(Begin(client, 0, Filled(client, std::string(50'000, 'x'))));
  EXPECT_EQ(refused.status.code(), absl::StatusCode::kResourceExhausted) << refused.status;
  EXPECT_EQ(executed_, 1);
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0], good.substr(0, seen[0].size()));
  EXPECT_GE(seen[0].size(), 1000u);
}

TEST_F(BulkTest, RepliesLongerThanTheClientTakes) {
  StartServer([](ServerCall call) { (void)call.Reply(BytesOf(std::string(100'000, 'r'))); });
  Client& client = StartClient(kBuffers, /*message_bytes_max=*/50'000);
  EXPECT_EQ(Await(Begin(client, 0, Payload())).status.code(), absl::StatusCode::kOutOfRange);
  Run(1'000'000);
  EXPECT_EQ(network_.bulk().exposures.size(), 0u);
}

// A simulated network allocates for its packets, and nobody else allocates anything.
TEST_F(BulkTest, FetchedMessagesAllocateNothing) {
  StartEcho();
  const Peer peer = *clients_[0]->Resolve(Address::Sim("server0"));
  uint64_t packets = 0;
  const auto allocations = [&](size_t bytes) {
    const int64_t before = AllocationsOfThisThread();
    const uint64_t sent_before = network_.stats().sent;
    for (int i = 0; i < 500; ++i) {
      bool done = false;
      Buffer request = clients_[0]->Allocate(bytes);
      request.Append(bytes);
      EXPECT_TRUE(clients_[0]
                      ->Call(peer, std::move(request),
                             [&](absl::StatusOr<BufferChain> reply) { done = reply.ok(); })
                      .ok());
      RunUntil([&] { return done; });
    }
    packets = network_.stats().sent - sent_before;
    return AllocationsOfThisThread() - before;
  };
  allocations(1000);
  allocations(100'000);
  const auto small = static_cast<double>(allocations(1000));
  const double a_packet = small / static_cast<double>(packets);
  const auto large = static_cast<double>(allocations(100'000));
  EXPECT_EQ(network_.bulk().fetched, 2000u);
  EXPECT_LE(large, a_packet * static_cast<double>(packets) + 100) << "of 500 calls";
}

}  // namespace
}  // namespace weft::rpc
