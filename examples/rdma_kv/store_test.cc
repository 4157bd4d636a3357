// SPDX-License-Identifier: Apache-2.0
//
// The store over a simulated network, where reads are cut into pieces, and over real transports
// with threads: whatever happens, what a client finds was there.
#include "weft/examples/rdma_kv/store.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/clock.h"
#include "weft/core/temp_directory.h"
#include "weft/core/virtual_time.h"
#include "weft/examples/rdma_kv/store_test_util.h"
#include "weft/transports/registry.h"
#include "weft/transports/remote_memory/open.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/seeds.h"
#include "weft/transports/sim/sim_transport.h"

namespace rdma_kv {
namespace {

using weft::Address;
using weft::Task;

constexpr uint64_t kSeeds = 30;

using Keys = std::vector<std::unique_ptr<KeyHistory>>;

Keys MakeKeys(size_t count) {
  Keys keys;
  for (size_t i = 0; i < count; ++i) {
    keys.push_back(std::make_unique<KeyHistory>(absl::StrCat("key", i)));
  }
  return keys;
}

// Two clients and a server on one simulated network.
class Simulation {
 public:
  explicit Simulation(uint64_t seed, const weft::sim::LinkOptions& links = {})
      : seed_(seed), network_(seed, links), transport_(weft::sim::OpenTransport(&network_)) {}

  void StartServer(const StoreOptions& options, bool with_memory = true) {
    server_ = std::make_unique<ServerSide>(loop_, Open("server"),
                                           with_memory ? OpenMemory("server-memory") : nullptr,
                                           options, ++seed_);
  }
  void StopServer() { server_.reset(); }
  ClientSide& AddClient(bool with_memory = true, const StoreClientOptions& options = {}) {
    const std::string name = absl::StrCat("client", clients_.size());
    std::unique_ptr<weft::RemoteMemory> memory;
    if (with_memory) {
      memory = std::make_unique<TornReads>(OpenMemory(name + "-memory"), seed_ + clients_.size());
    }
    clients_.push_back(std::make_unique<ClientSide>(loop_, Open(name), std::move(memory),
                                                    Address::Sim("server"), options, ++seed_));
    return *clients_.back();
  }

  bool RunUntil(const std::function<bool()>& done) {
    return weft::RunVirtual(network_, {&loop_}, done, network_.NowNs() + 60'000'000'000);
  }
  template <typename T>
  T Run(Task<T> task) {
    std::optional<T> result;
    weft::TaskGroup tasks;
    tasks.Spawn(Keep(std::move(task), &result));
    EXPECT_TRUE(RunUntil([&] { return result.has_value(); }));
    return *std::move(result);
  }

  weft::Loop& loop() { return loop_; }
  ServerSide& server() { return *server_; }
  weft::sim::Network& network() { return network_; }

 private:
  template <typename T>
  static Task<void> Keep(Task<T> task, std::optional<T>* result) {
    result->emplace(co_await std::move(task));
  }
  std::unique_ptr<weft::DatagramPort> Open(const std::string& name) {
    auto port = transport_->OpenDatagramPort({.local = Address::Sim(name)});
    EXPECT_TRUE(port.ok()) << port.status();
    return *std::move(port);
  }
  std::unique_ptr<weft::RemoteMemory> OpenMemory(const std::string& name) {
    auto memory = transport_->OpenRemoteMemory({.local = Address::Sim(name)});
    EXPECT_TRUE(memory.ok()) << memory.status();
    return *std::move(memory);
  }

  uint64_t seed_;
  weft::sim::Network network_;
  std::unique_ptr<weft::Transport> transport_;
  weft::Loop loop_{{}, network_};
  std::unique_ptr<ServerSide> server_;
  std::vector<std::unique_ptr<ClientSide>> clients_;
};

Task<void> RunAndSet(Task<void> task, std::atomic<bool>* done) {
  co_await std::move(task);
  *done = true;
}

// Other keys, which make the table move, and keys that are revoked, until `*done`.
Task<void> Disturb(Simulation& simulation, StoreClient& store, uint64_t seed,
                   const std::atomic<bool>& done) {
  weft::Prng prng(seed);
  for (int i = 0; !done; ++i) {
    const auto written = co_await store.Put(absl::StrCat("more", i), "x");
    EXPECT_TRUE(written.ok()) << written.status();
    co_await simulation.loop().Sleep(absl::Microseconds(static_cast<int64_t>(prng.Below(100))));
    if (prng.Below(20) == 0) simulation.server().store->RevokeAll();
  }
}

TEST(StoreSimulationTest, EveryGetFindsWhatWasThere) {
  StoreClientStats all;
  uint64_t moves = 0;
  for (const uint64_t seed : weft::sim::SeedsToRun(kSeeds)) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Simulation simulation(
        seed, {.latency_ns = 2'000, .jitter_ns = 3'000, .loss = seed % 2 == 0 ? 0.0 : 0.01});
    simulation.StartServer({.slot_bytes = 256, .buckets = 4});
    ClientSide& writer = simulation.AddClient();
    ClientSide& reader = simulation.AddClient();
    Keys keys = MakeKeys(3);
    std::atomic<bool> done{false};
    weft::TaskGroup tasks;
    for (uint64_t i = 0; i < 4; ++i) {
      StoreClient& store = i < 3 ? *reader.store : *writer.store;
      tasks.Spawn(ReadAndCheck(store, keys, 10 * seed + i, done));
    }
    tasks.Spawn(Disturb(simulation, *writer.store, seed, done));
    tasks.Spawn(RunAndSet(Write(*writer.store, keys, 40), &done));
    ASSERT_TRUE(simulation.RunUntil([&] { return tasks.size() == 0; }));
    const StoreClientStats& stats = reader.store->stats();
    all.gets_by_read += stats.gets_by_read;
    all.gets_by_rpc += stats.gets_by_rpc;
    all.torn += stats.torn;
    all.key_lost += stats.key_lost;
    moves += simulation.server().store->stats().moves;
    if (HasFailure()) return;
  }
  // All of it has happened.
  EXPECT_GT(all.gets_by_read, all.gets_by_rpc);
  EXPECT_GT(all.gets_by_rpc, 0u);
  EXPECT_GT(all.torn, 0u);
  EXPECT_GT(all.key_lost, 0u);
  EXPECT_GT(moves, 0u);
}

TEST(StoreSimulationTest, SaysWhichWayItGoesAndWhy) {
  Simulation simulation(1);
  simulation.StartServer({});
  std::vector<std::string> ways;
  ClientSide& client =
      simulation.AddClient(true, {.on_way = [&](const std::string& way) { ways.push_back(way); }});
  StoreClient& store = *client.store;
  StoreClient::Value value;
  ASSERT_TRUE(simulation.Run(store.Put("key", "value")).ok());
  ASSERT_TRUE(simulation.Run(store.Attach()).ok());
  EXPECT_EQ(store.way(), "one-sided reads of sim:server-memory");
  const uint64_t asked = simulation.server().store->stats().gets;
  ASSERT_TRUE(simulation.Run(store.Get("key", &value)).ok());
  EXPECT_EQ(value.bytes, "value");
  EXPECT_TRUE(value.by_read);
  EXPECT_TRUE(absl::IsNotFound(simulation.Run(store.Get("no key", &value))));
  EXPECT_EQ(simulation.server().store->stats().gets, asked);  // the server knows nothing of it
  EXPECT_EQ(store.stats().gets_by_read, 2u);

  // Revoked: by RPC, and attached again meanwhile.
  simulation.server().store->RevokeAll();
  EXPECT_EQ(simulation.server().store->clients(), 0u);
  ASSERT_TRUE(simulation.Run(store.Get("key", &value)).ok());
  EXPECT_EQ(value.bytes, "value");
  EXPECT_FALSE(value.by_read);
  EXPECT_EQ(store.stats().key_lost, 1u);
  EXPECT_EQ(store.stats().gets_by_rpc, 1u);
  ASSERT_TRUE(simulation.Run(store.Attach()).ok());
  ASSERT_TRUE(simulation.Run(store.Get("key", &value)).ok());
  EXPECT_TRUE(value.by_read);
  ASSERT_EQ(ways.size(), 4u) << "not yet, reads, refused, reads";
  EXPECT_EQ(ways[2].substr(0, 4), "RPC:");
}

TEST(StoreSimulationTest, WithoutMemoryOnEitherSideItIsRpc) {
  for (const bool of_server : {false, true}) {
    Simulation simulation(1);
    simulation.StartServer({}, of_server);
    StoreClient& store = *simulation.AddClient(!of_server).store;
    ASSERT_TRUE(simulation.Run(store.Put("key", "value")).ok());
    EXPECT_TRUE(absl::IsUnimplemented(simulation.Run(store.Attach())));
    StoreClient::Value value;
    ASSERT_TRUE(simulation.Run(store.Get("key", &value)).ok());
    EXPECT_EQ(value.bytes, "value");
    EXPECT_FALSE(value.by_read);
    EXPECT_NE(store.way().find("no memory for one-sided reads"), std::string::npos);
    EXPECT_EQ(store.stats().gets_by_rpc, 1u);
    ASSERT_TRUE(simulation.Run(store.Delete("key")).ok());
    EXPECT_TRUE(absl::IsNotFound(simulation.Run(store.Get("key", &value))));
  }
}

TEST(StoreSimulationTest, AServerThatStartsAgainIsReadAgain) {
  Simulation simulation(1);
  simulation.StartServer({.slot_bytes = 128});
  StoreClient& store = *simulation.AddClient().store;
  StoreClient::Value value;
  ASSERT_TRUE(simulation.Run(store.Put("key", "old")).ok());
  ASSERT_TRUE(simulation.Run(store.Attach()).ok());
  ASSERT_TRUE(simulation.Run(store.Get("key", &value)).ok());
  simulation.StopServer();
  EXPECT_FALSE(simulation.Run(store.Get("key", &value)).ok());

  // Empty, and with longer slots.
  simulation.StartServer({.slot_bytes = 512});
  absl::Status status;
  do {
    status = simulation.Run(store.Get("key", &value));
  } while (!status.ok() && !absl::IsNotFound(status));
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  ASSERT_TRUE(simulation.Run(store.Put("key", std::string(300, 'n'))).ok());
  do {
    ASSERT_TRUE(simulation.Run(store.Get("key", &value)).ok());
    EXPECT_EQ(value.bytes, std::string(300, 'n'));
  } while (!value.by_read);
}

TEST(StoreSimulationTest, LimitsAreToldAndChangeNothing) {
  Simulation simulation(1);
  constexpr size_t kMax = 8 * 4 * 128;
  simulation.StartServer({.slot_bytes = 128, .buckets = 2, .table_bytes_max = kMax});
  StoreClient& store = *simulation.AddClient().store;
  EXPECT_TRUE(absl::IsInvalidArgument(simulation.Run(store.Put("", "value")).status()));
  EXPECT_TRUE(
      absl::IsInvalidArgument(simulation.Run(store.Put("key", std::string(128, 'x'))).status()));
  EXPECT_TRUE(
      absl::IsInvalidArgument(simulation.Run(store.Put(std::string(1000, 'k'), "")).status()));
  // However it gets: no key is that of an empty slot.
  ASSERT_TRUE(simulation.Run(store.Attach()).ok());
  StoreClient::Value value;
  EXPECT_TRUE(absl::IsInvalidArgument(simulation.Run(store.Get("", &value))));
  EXPECT_TRUE(absl::IsInvalidArgument(simulation.Run(store.Get(std::string(1000, 'k'), &value))));
  const std::string longest(128 - kSlotHeaderBytes - 4, 'x');
  int keys = 0;
  absl::Status status;
  while (true) {
    status = simulation.Run(store.Put(absl::StrCat(1000 + keys), longest)).status();
    if (!status.ok()) break;
    ++keys;
  }
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_GT(keys, 8);
  EXPECT_EQ(simulation.server().store->table().shape().bytes(), kMax);
  for (int i = 0; i < keys; ++i) {
    ASSERT_TRUE(simulation.Run(store.Get(absl::StrCat(1000 + i), &value)).ok());
    EXPECT_EQ(value.bytes, longest);
  }
  // What is there can be changed and deleted, and makes room.
  EXPECT_TRUE(simulation.Run(store.Put("1000", "short")).ok());
  for (int i = 0; i < keys; ++i) {
    EXPECT_EQ(*simulation.Run(store.Delete(absl::StrCat(1000 + i))), true);
  }
  EXPECT_TRUE(simulation.Run(store.Put("9999", longest)).ok());
}

TEST(StoreSimulationTest, RefusesWhatAServerCannotMean) {
  Simulation simulation(1);
  auto created = Store::Create(nullptr, {.slot_bytes = 100});
  EXPECT_TRUE(absl::IsInvalidArgument(created.status())) << created.status();
  created = Store::Create(nullptr, {.buckets = 3});
  EXPECT_TRUE(absl::IsInvalidArgument(created.status())) << created.status();
  created = Store::Create(nullptr, {.slot_bytes = 256, .buckets = 64, .table_bytes_max = 1000});
  EXPECT_TRUE(absl::IsInvalidArgument(created.status())) << created.status();
}

// Gets that are given up while they read leave the memory to the device, until that is done with
// it.
TEST(StoreSimulationTest, AGetMayBeGivenUp) {
  Simulation simulation(1);
  simulation.StartServer({});
  StoreClient& store = *simulation.AddClient(true, {.reads_max = 2}).store;
  ASSERT_TRUE(simulation.Run(store.Put("key", "value")).ok());
  ASSERT_TRUE(simulation.Run(store.Attach()).ok());
  StoreClient::Value value;
  for (int i = 0; i < 10; ++i) {
    {
      weft::TaskGroup tasks;
      tasks.Spawn([](StoreClient& from, StoreClient::Value* to) -> Task<void> {
        (void)co_await from.Get("key", to);
      }(store, &value));
      EXPECT_EQ(tasks.size(), 1u);
    }
    ASSERT_TRUE(simulation.Run(store.Get("key", &value)).ok());
    EXPECT_EQ(value.bytes, "value");
  }
  EXPECT_GT(store.stats().gets_by_read, 0u);
}

// With real threads: a server, and a client that writes and one that reads.
class StoreThreadsTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    weft::config::Transport config;
    config.set_name(GetParam());
    if (shm()) config.mutable_shm()->set_directory(directory_.path());
    auto opened = weft::OpenPlainTransport(config);
    ASSERT_TRUE(opened.ok()) << opened.status();
    transport_ = *std::move(opened);
  }

  bool shm() const { return GetParam() == "shm"; }
  Address At(const std::string& name) const {
    return shm() ? Address::Shm(name) : Address::Ipv4({127, 0, 0, 1}, 0);
  }
  std::unique_ptr<weft::DatagramPort> Open(const std::string& name) {
    auto port = transport_->OpenDatagramPort({.local = At(name)});
    EXPECT_TRUE(port.ok()) << port.status();
    return *std::move(port);
  }
  std::unique_ptr<weft::RemoteMemory> OpenMemory(const std::string& name) {
    auto memory = weft::OpenRemoteMemory(*transport_, {.local = At(name)}, {});
    EXPECT_TRUE(memory.ok()) << memory.status();
    return *std::move(memory);
  }

  const weft::TempDirectory directory_;
  std::unique_ptr<weft::Transport> transport_;
};

TEST_P(StoreThreadsTest, EveryGetFindsWhatWasThere) {
  std::atomic<bool> done{false};
  std::atomic<bool> has_read{false};
  Keys keys = MakeKeys(3);
  weft::Loop server_loop({}, weft::RealClock());
  auto server_port = Open("server");
  const Address address = server_port->local_address();
  std::thread server([&, port = std::move(server_port)]() mutable {
    port->BindToThisThread();
    ServerSide side(server_loop, std::move(port), OpenMemory("server-memory"), {.buckets = 2});
    server_loop.Run();
  });
  StoreClientStats stats;
  const auto run_client = [&](const std::string& name, auto&& make_task) {
    weft::Loop loop({}, weft::RealClock());
    ClientSide side(loop, Open(name), OpenMemory(name + "-memory"), address);
    weft::TaskGroup tasks;
    make_task(tasks, *side.store);
    while (tasks.size() > 0) {
      loop.RunOnce();
      if (name == "reader" && side.store->stats().gets_by_read > 0) has_read = true;
    }
    return side.store->stats();
  };
  std::thread reader([&] {
    stats = run_client("reader", [&](weft::TaskGroup& tasks, StoreClient& store) {
      for (uint64_t i = 0; i < 4; ++i) tasks.Spawn(ReadAndCheck(store, keys, i, done));
    });
  });
  run_client("writer", [&](weft::TaskGroup& tasks, StoreClient& store) {
    tasks.Spawn(Write(store, keys, 700));
  });
  // On a busy machine, the reader may have had no turn yet.
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!has_read && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
  done = true;
  reader.join();
  server_loop.Stop();
  server.join();
  EXPECT_GT(stats.gets_by_read, 0u);
}

INSTANTIATE_TEST_SUITE_P(Transports, StoreThreadsTest, ::testing::Values("shm", "linux"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace rdma_kv
