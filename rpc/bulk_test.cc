// SPDX-License-Identifier: Apache-2.0
//
// Requests and replies that are fetched rather than sent, over a simulated network: what an
// application sees of them, and that nothing stays behind of them however they end.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_bulk.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {
namespace {

constexpr size_t kMegabyte = 1 << 20;
constexpr size_t kBuffers = 8;
constexpr int64_t kSessionTimeoutNs = 200'000'000;

absl::Span<const uint8_t> BytesOf(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string Text(size_t size, uint32_t state) {
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return text;
}

class BulkTest : public testing::Test {
 protected:
  using Handler = absl::AnyInvocable<void(ServerCall)>;

  struct Outcome {
    int ended = 0;
    absl::Status status;
    std::string reply;
    size_t pieces = 0;
    CallId id;
  };

  ~BulkTest() override {
    // Replies that nobody has asked for again go last.
    if (!HasFailure()) Run(3'000'000'000);
    held_.clear();
    for (const auto& client : clients_) {
      EXPECT_EQ(client->outstanding(), 0u);
      CheckPort(client->port());
    }
    for (const auto& server : servers_) {
      EXPECT_EQ(server->incomplete(), 0u);
      CheckPort(server->port());
    }
    EXPECT_EQ(network_.bulk().exposures.size(), 0u);
    EXPECT_EQ(network_.bulk().changed, 0u);
  }

  static sim::SimBulk& BulkOf(DatagramPort& port) {
    return static_cast<sim::SimBulk&>(*port.bulk());
  }
  static void CheckPort(DatagramPort& port) {
    EXPECT_EQ(port.pool().available(), port.pool().count());
    if (port.bulk() == nullptr) return;
    EXPECT_EQ(BulkOf(port).available(), BulkOf(port).options().count);
    EXPECT_EQ(BulkOf(port).fetching(), 0u);
  }

  std::unique_ptr<DatagramPort> Open(const std::string& name, size_t buffers = kBuffers) {
    const auto transport =
        sim::OpenTransport(&network_, {.count = packet_buffers_},
                           {.count = buffers, .bytes = kMegabyte, .min_bytes = 8192});
    return *transport->OpenDatagramPort({.local = Address::Sim(name)});
  }

  Server& StartServer(Handler handler, size_t buffers = kBuffers) {
    const std::string name = absl::StrCat("server", servers_.size());
    servers_.push_back(*Server::Create(
        loop_, Open(name, buffers),
        {.session = {.timeout = absl::Nanoseconds(kSessionTimeoutNs), .slots = 32}, .key_seed = 1},
        std::move(handler)));
    return *servers_.back();
  }
  Client& StartClient(size_t buffers = kBuffers, size_t message_bytes_max = 16 << 20,
                      Wire wire = Wire::kExtended) {
    const std::string name = absl::StrCat("client", clients_.size());
    clients_.push_back(*Client::Create(loop_, Open(name, buffers),
                                       {.timeout = absl::Seconds(2),
                                        .request_id_seed = clients_.size(),
                                        .wire = wire,
                                        .session = {.timeout = absl::Nanoseconds(kSessionTimeoutNs),
                                                    .slots = 32,
                                                    .message_bytes_max = message_bytes_max}}));
    return *clients_.back();
  }
  // A client with an open session to a server that echoes.
  void StartEcho(size_t client_buffers = kBuffers, size_t server_buffers = kBuffers) {
    StartServer(
        [this](ServerCall call) {
          ++executed_;
          pieces_ = call.request().pieces();
          (void)call.Reply(std::move(call.request()));
        },
        server_buffers);
    Client& client = StartClient(client_buffers);
    const size_t first = Begin(client, 0, Payload());
    RunUntil([&] { return outcomes_[first]->ended > 0; });
    ASSERT_TRUE(outcomes_[first]->status.ok());
    executed_ = 0;
  }

  // Returns the number of its outcome.
  size_t Begin(Client& client, size_t server, Payload request, const CallOptions& options = {}) {
    const Peer peer = *client.Resolve(Address::Sim(absl::StrCat("server", server)));
    outcomes_.push_back(std::make_unique<Outcome>());
    Outcome* const outcome = outcomes_.back().get();
    absl::StatusOr<CallId> id = client.Call(
        peer, std::move(request),
        [outcome](absl::StatusOr<BufferChain> reply) {
          ++outcome->ended;
          outcome->status = reply.status();
          if (!reply.ok()) return;
          outcome->reply = reply->ToString();
          outcome->pieces = reply->pieces();
        },
        options);
    EXPECT_TRUE(id.ok()) << id.status();
    if (id.ok()) outcome->id = *id;
    return outcomes_.size() - 1;
  }
  static Payload Filled(Client& client, const std::string& text) {
    Buffer buffer = client.Allocate(text.size());
    if (!buffer) return Payload::Copy(BytesOf(text));
    std::memcpy(buffer.Append(text.size()), text.data(), text.size());
    return Payload(std::move(buffer));
  }
  const Outcome& Await(size_t number) {
    RunUntil([&] { return outcomes_[number]->ended > 0; });
    return *outcomes_[number];
  }
  const Outcome& Echo(const std::string& text) {
    return Await(Begin(*clients_[0], 0, Filled(*clients_[0], text)));
  }

  void RunUntil(absl::FunctionRef<bool()> done) { RunVirtual(network_, {&loop_}, done); }
  void Run(int64_t time_ns) {
    bool over = false;
    network_.events().At(network_.NowNs() + time_ns, [&over] { over = true; });
    RunUntil([&over] { return over; });
  }

  sim::Network network_{/*seed=*/1, {.latency_ns = 5000}};
  Loop loop_{{}, network_};
  size_t packet_buffers_ = 4096;  // of ports to be opened
  std::vector<Buffer> held_;
  std::vector<std::unique_ptr<Outcome>> outcomes_;
  std::vector<std::unique_ptr<Server>> servers_;
  std::vector<std::unique_ptr<Client>> clients_;
  int executed_ = 0;
  size_t pieces_ = 0;
};

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
