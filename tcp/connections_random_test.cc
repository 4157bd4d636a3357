// SPDX-License-Identifier: Apache-2.0
//
// Handlers and coroutines that do to any connection whatever comes to their mind, over a simulated
// network that loses packets: at the end nothing is left, and every handler has had its last call.
// A seed that fails is printed, and gives the same run again.
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "gtest/gtest.h"
#include "weft/config/config.h"
#include "weft/core/loop.h"
#include "weft/core/prng.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/core/timer_wheel.h"
#include "weft/core/virtual_time.h"
#include "weft/tcp/connections.h"
#include "weft/transports/decorators/open.h"
#include "weft/transports/sim/seeds.h"

namespace weft::tcp {
namespace {

constexpr int kConnections = 24;

class World;

class Moody : public ConnectionHandler {
 public:
  explicit Moody(World& world);
  ~Moody() override;
  void OnConnected(Connection& connection) override { Act(connection); }
  void OnData(Connection& connection) override { Act(connection); }
  void OnRemoteClose(Connection& connection) override { Act(connection); }
  void OnWritable(Connection& connection) override { Act(connection); }
  void OnClose(Connection& connection) override { End(connection); }
  void OnReset(Connection& connection, int) override { End(connection); }

 private:
  void Act(Connection& connection);
  void End(Connection& connection);

  World& world_;
  bool ended_ = false;
  bool served_ = false;
  int acts_ = 0;
};

class World {
 public:
  explicit World(uint64_t seed) : prng(seed) {
    config::Transport config;
    config.set_name("sim");
    config.mutable_sim()->set_network("moody");
    config.mutable_sim()->set_seed(seed);
    config.mutable_sim()->set_loss(0.02);
    config.mutable_sim()->set_jitter_us(20);
    transport_ = *OpenTransport(config);
    loop = std::make_unique<Loop>(LoopOptions(), *transport_->virtual_time());
    for (auto* connections : {&server, &client}) {
      *connections = std::make_unique<Connections>(*loop, *transport_->OpenStreamPort({}));
    }
  }

  bool Until(absl::FunctionRef<bool()> done) {
    return RunVirtual(*transport_->virtual_time(), {loop.get()}, done);
  }

  // Does something to `connection`.
  void Act(Connection& connection) {
    if (over) return connection.Abort();
    const std::string text(1 + prng.Below(5000), 'm');
    switch (prng.Below(12)) {
      case 0:
        return connection.Close();
      case 1:
        return connection.Abort();
      case 2:
        return connection.CloseWrite();
      case 3:
        return std::move(connection).Serve(std::make_unique<Moody>(*this));
      case 4:
        if (!kept.empty()) kept.erase(kept.begin() + static_cast<long>(prng.Below(kept.size())));
        return;
      case 5:
        if (!kept.empty()) Act(kept[prng.Below(kept.size())]);
        return;
      case 6:
        if (!served.empty()) Act(*served[prng.Below(served.size())].connection);
        return;
      case 7:
        tasks.Spawn(Wait(*this));
        return;
      default:
        connection.Consume(prng.Below(connection.ReadView().size() + 1));
        connection.Send({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
    }
  }

  // A coroutine that takes a connection that nobody serves, and waits for it for a while.
  static Task<void> Wait(World& world) {
    if (world.kept.empty()) co_return;
    Connection connection = std::move(world.kept.back());
    world.kept.pop_back();
    const auto in = co_await connection.Read(absl::Microseconds(world.prng.Below(200)));
    if (in.ok()) connection.Consume(in->size());
    const std::string text(world.prng.Below(200'000), 'w');
    const absl::Status sent =
        co_await connection.Write({reinterpret_cast<const uint8_t*>(text.data()), text.size()},
                                  absl::Microseconds(world.prng.Below(1000)));
    if (sent.ok() && world.prng.Below(2) == 0) world.Act(connection);
  }

  Prng prng;

 private:
  std::unique_ptr<Transport> transport_;

 public:
  std::unique_ptr<Loop> loop;
  std::unique_ptr<Connections> server;
  std::unique_ptr<Connections> client;
  std::vector<Connection> kept;  // that nobody serves
  struct Served {
    Moody* by;
    Connection* connection;
  };
  std::vector<Served> served;  // by Moody, and not ended
  int handlers = 0;            // that there are
  bool over = false;           // everything is to be ended
  TaskGroup tasks;             // goes first
};

Moody::Moody(World& world) : world_(world) { ++world_.handlers; }

Moody::~Moody() {
  std::erase_if(world_.served, [this](const World::Served& served) { return served.by == this; });
  --world_.handlers;
}

void Moody::Act(Connection& connection) {
  ASSERT_FALSE(ended_);
  EXPECT_EQ(connection.status(), absl::OkStatus()) << "told of more than its end, though closed";
  if (!std::exchange(served_, true)) world_.served.push_back({this, &connection});
  world_.Act(connection);
  ++acts_;  // it is still there, whatever it did
}

void Moody::End(Connection& connection) {
  ASSERT_FALSE(ended_);
  ended_ = true;
  EXPECT_FALSE(connection.readable() || connection.writable());
  EXPECT_FALSE(connection.status().ok());
  connection.Abort();
  connection.Send({});
}

void Simulate(uint64_t seed) {
  World world(seed);
  const Address address =
      *world.server->Listen(Address::Sim("moody"), kConnections, [&world](Connection connection) {
        if (!world.over && world.prng.Below(3) == 0)
          return world.kept.push_back(std::move(connection));
        std::move(connection).Serve(std::make_unique<Moody>(world));
      });
  for (int i = 0; i < kConnections; ++i) {
    ASSERT_EQ(world.client->Connect(address, std::make_unique<Moody>(world)), absl::OkStatus());
  }
  // A while, in which many end and some wait for each other.
  Timer timer([](void* over, int64_t) { *static_cast<bool*>(over) = true; }, &world.over);
  world.loop->timers().Schedule(timer, world.loop->now_ns() + 500'000'000);
  ASSERT_TRUE(world.Until([&] { return world.over; }));
  world.tasks.Cancel();
  world.kept.clear();
  for (const World::Served& served : world.served) served.connection->Abort();
  EXPECT_TRUE(world.Until([&] {
    return world.client->size() == 0 && world.server->size() == 0 && world.handlers == 0;
  })) << world.client->size()
      << " " << world.server->size() << " " << world.handlers;
}

TEST(ConnectionsRandomTest, NothingIsLeftOfAnything) {
  constexpr uint64_t kSeeds = 300;
  for (const uint64_t seed : sim::SeedsToRun(kSeeds)) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Simulate(seed);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace weft::tcp
