// SPDX-License-Identifier: Apache-2.0
//
// Sessions over a simulated network that does not behave: calls of all sizes, some cancelled, some
// with little time, while packets are lost, doubled, overtaken and damaged, wires are narrow, nodes
// are cut off and servers restart. To servers, and through a router to those behind it, which
// restarts as well, and whose servers come and go. Long messages go in packets, or are fetched as
// far as that works. A weather and a seed fix everything that happens:
//
//   bazel test //rpc:reliable_simulation_test               some hundred runs
//   bazel test //rpc:reliable_simulation_long_test          some ten thousand
//   bazel run //rpc:reliable_simulation_test -- 1 4711      one seed of every weather, from 4711 on
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/core/task.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/call_status.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/rpc/test_router.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/seeds.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {
namespace {

constexpr uint64_t kSeeds = 12;
constexpr uint64_t kBulkSeeds = 4;

constexpr size_t kServers = 2;
constexpr size_t kClients = 2;
constexpr size_t kCalls = 30;        // of each client
constexpr size_t kBulkBuffers = 12;  // of each port: not enough for all
constexpr int64_t kCallTimeNs = 4'000'000'000;
constexpr int64_t kExpiryNs = 1'500'000'000;  // longer than ServerOptions::reassembly_timeout
// Replies that lie in a bulk buffer are kept there as long as others: reply_cache_time.
constexpr int64_t kBulkExpiryNs = 3'000'000'000;

struct Weather {
  const char* name;
  sim::LinkOptions link;
  bool cancels = false;    // the caller gives up, or has little time
  bool partition = false;  // a client is cut off for longer than a session lives
  bool restart = false;    // a server ends and begins anew
  bool router = false;     // in front of the servers
  bool router_restart = false;
  bool join = false;        // one more server comes, and another one gets no more requests
  double refuse = 0;        // requests that the router has no server for
  int64_t hold_ns_max = 0;  // of requests at the router
  bool bulk = false;        // long messages are fetched, as far as that works

  // Whether every call must succeed that is not given up.
  bool survivable() const {
    return link.corrupt == 0 && !partition && !restart && !router_restart && refuse == 0;
  }
};

std::vector<Weather> Weathers() {
  std::vector<Weather> weathers = {
      {.name = "fair", .link = {.latency_ns = 5000}},
      {.name = "loss", .link = {.latency_ns = 5000, .loss = 0.05}},
      {.name = "heavy loss", .link = {.latency_ns = 5000, .jitter_ns = 3000, .loss = 0.2}},
      {.name = "disorder",
       .link = {.latency_ns = 5000, .jitter_ns = 20'000, .duplicate = 0.2, .reorder = 0.3}},
      {.name = "narrow wires",
       .link = {.latency_ns = 50'000, .bandwidth_bps = 100'000'000, .queue_packets = 20}},
      {.name = "all of it, with cancellation",
       .link = {.latency_ns = 8000, .loss = 0.03, .duplicate = 0.05, .reorder = 0.1},
       .cancels = true},
      {.name = "damage", .link = {.latency_ns = 5000, .loss = 0.01, .corrupt = 0.1}},
      {.name = "partition", .link = {.latency_ns = 5000, .loss = 0.02}, .partition = true},
      {.name = "restart", .link = {.latency_ns = 5000, .loss = 0.02}, .restart = true},
  };
  // All of it again, through a router.
  for (size_t i = 0, direct = weathers.size(); i < direct; ++i) {
    Weather weather = weathers[i];
    weather.router = true;
    weathers.push_back(weather);
  }
  const sim::LinkOptions rough = {
      .latency_ns = 5000, .loss = 0.02, .duplicate = 0.05, .reorder = 0.1};
  weathers.push_back(
      {.name = "router restarts", .link = rough, .router = true, .router_restart = true});
  weathers.push_back({.name = "servers come and go", .link = rough, .router = true, .join = true});
  weathers.push_back({.name = "queue", .link = rough, .router = true, .hold_ns_max = 2'000'000});
  weathers.push_back({.name = "full router", .link = rough, .router = true, .refuse = 0.2});
  weathers.push_back({.name = "everything restarts",
                      .link = rough,
                      .cancels = true,
                      .restart = true,
                      .router = true,
                      .router_restart = true,
                      .join = true,
                      .refuse = 0.1,
                      .hold_ns_max = 500'000});
  return weathers;
}

// All of it once more, with messages that are fetched, and fetches that fail.
std::vector<Weather> BulkWeathers() {
  std::vector<Weather> weathers = Weathers();
  for (Weather& weather : weathers) weather.bulk = true;
  return weathers;
}

// The first bytes of a request say which it is, and how long the reply is to be.
struct Request {
  uint32_t number;
  uint32_t reply_bytes;
};

std::string Text(size_t size, uint32_t state) {
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return text;
}

std::string RequestText(const Request& request, size_t size) {
  std::string text = Text(std::max(size, sizeof(Request)), request.number);
  std::memcpy(text.data(), &request, sizeof(request));
  return text;
}

class SimulatedRun {
 public:
  SimulatedRun(const Weather& weather, uint64_t seed)
      : weather_(weather),
        tight_(weather.bulk && !weather.router && seed % 4 == 1),
        random_(seed),
        network_(seed, weather.link),
        transport_(sim::OpenTransport(&network_, {.count = tight_ ? size_t{160} : 2048},
                                      {.count = weather.bulk ? kBulkBuffers : 0,
                                       .bytes = tight_ ? size_t{250'000} : 150'000,
                                       .min_bytes = 2500})),
        loop_({}, network_) {
    // With some seeds all goes well.
    if (seed % 2 == 0 || seed % 8 == 1) {
      network_.bulk().faults = {.fail = 0.2, .no_buffer = 0.1, .no_way = 0.1, .set_up_ns = 100'000};
    }
    for (size_t i = 0; i < kServers; ++i) StartServer(i);
    if (weather.router) StartRouter();
    for (size_t i = 0; i < kClients; ++i) {
      clients_.push_back(*Client::Create(loop_, Open(absl::StrCat("client", i)),
                                         {.timeout = absl::Nanoseconds(kCallTimeNs),
                                          .request_id_seed = seed * 10 + i,
                                          .wire = Wire::kExtended,
                                          .session = Session()}));
    }
  }

  // The hash of all that was delivered.
  uint64_t Go() {
    const int64_t begin_ns = network_.NowNs();
    for (size_t client = 0; client < kClients; ++client) {
      for (size_t i = 0; i < kCalls; ++i) {
        network_.events().At(begin_ns + static_cast<int64_t>(random_.Below(60'000'000)),
                             [this, client] { Begin(*clients_[client]); });
      }
    }
    if (weather_.partition) SchedulePartition(begin_ns);
    if (weather_.router_restart) {
      network_.events().At(begin_ns + 25'000'000, [this] { router_.reset(); });
      network_.events().At(begin_ns + 30'000'000, [this] { StartRouter(); });
    }
    if (weather_.join) {
      network_.events().At(begin_ns + 10'000'000, [this] {
        StartServer(kServers);
        router_->Add(NameOf(kServers));
      });
      network_.events().At(begin_ns + 15'000'000, [this] { router_->Remove(NameOf(1)); });
    }
    if (weather_.restart) {
      // Longer than a packet takes: what was sent before it ended does not come after it began.
      network_.events().At(begin_ns + 29'000'000, [this] { servers_[0].reset(); });
      network_.events().At(begin_ns + 30'000'000, [this] { StartServer(0); });
    }
    // What a damaged packet began to be, of a request that nobody sends, has to expire.
    RunUntil(begin_ns + 60'000'000 + kCallTimeNs + (weather_.bulk ? kBulkExpiryNs : kExpiryNs));
    Check();
    return network_.digest();
  }

 private:
  struct Outcome {
    int ended = 0;
    int executed = 0;
    bool given_up = false;
    size_t size = 0;
    uint32_t reply_bytes = 0;
    absl::Status status;
  };

  SessionOptions Session() const {
    const bool lost = weather_.partition || weather_.restart || weather_.router_restart;
    return {.timeout = lost ? absl::Milliseconds(200) : absl::Seconds(2),
            .slots = 8,
            .rto_max = absl::Milliseconds(20)};
  }

  std::unique_ptr<DatagramPort> Open(const std::string& name) {
    return *transport_->OpenDatagramPort({.local = Address::Sim(name)});
  }

  static Address NameOf(size_t server) { return Address::Sim(absl::StrCat("server", server)); }

  void StartRouter() {
    const bool first = network_.NowNs() == 0;
    router_ = std::make_unique<TestRouter>(
        loop_, Open("router"),
        TestRouter::Options{.seed = random_.Next(),
                            .slots = 8,
                            .timeout_us = 200'000,
                            .refuse = weather_.refuse,
                            .hold_ns_max = weather_.hold_ns_max,
                            .remembers_ns = first ? int64_t{1} << 40 : 0});
    for (size_t i = 0; i < servers_.size(); ++i) router_->Add(NameOf(i));
  }

  void StartServer(size_t i) {
    servers_.resize(std::max(servers_.size(), i + 1));
    servers_[i] = *Server::Create(loop_, *transport_->OpenDatagramPort({.local = NameOf(i)}),
                                  {.session = Session(), .key_seed = random_.Next()},
                                  [this](ServerCall call) { return Serve(std::move(call)); });
  }

  Task<void> Serve(ServerCall call) {
    const std::string text = call.request().ToString();
    Request request = {};
    if (text.size() < sizeof(request)) co_return;  // only if it was damaged
    std::memcpy(&request, text.data(), sizeof(request));
    if (request.number >= outcomes_.size()) co_return;  // likewise
    Outcome& outcome = outcomes_[request.number];
    ++outcome.executed;
    if (weather_.link.corrupt == 0) {
      EXPECT_TRUE(text == RequestText(request, outcome.size)) << "a request that nobody sent";
    }
    if (request.number % 3 == 0) {
      co_await loop_.Sleep(absl::Microseconds(100 * (request.number % 30)));
    }
    const std::string reply = Text(outcomes_[request.number].reply_bytes, request.number);
    (void)call.Reply({reinterpret_cast<const uint8_t*>(reply.data()), reply.size()});
  }

  size_t RandomSize() {
    constexpr size_t kMax[] = {10, 1000, 3000, 20'000, 200'000};
    return random_.Below(kMax[random_.Below(std::size(kMax))]);
  }

  void Begin(Client& client) {
    const auto number = static_cast<uint32_t>(outcomes_.size());
    Outcome& outcome = outcomes_.emplace_back();
    outcome.size = RandomSize();
    outcome.reply_bytes = static_cast<uint32_t>(RandomSize());
    const std::string text = RequestText({number, outcome.reply_bytes}, outcome.size);
    const Address server = NameOf(random_.Below(kServers));
    const Peer target = *client.Resolve(weather_.router ? Address::Sim("router") : server);
    CallOptions options;
    const bool hasty = weather_.cancels && random_.Chance(0.2);
    if (hasty) options.timeout = absl::Microseconds(1 + random_.Below(2000));
    outcome.given_up = hasty;
    const absl::StatusOr<CallId> begun = client.Call(
        target, {reinterpret_cast<const uint8_t*>(text.data()), text.size()},
        [this, number](absl::StatusOr<BufferChain> reply) { OnEnd(number, std::move(reply)); },
        options);
    ASSERT_TRUE(begun.ok()) << begun.status();
    if (!weather_.cancels || hasty || !random_.Chance(0.3)) return;
    network_.events().At(network_.NowNs() + static_cast<int64_t>(random_.Below(500'000)),
                         [this, &client, number, id = *begun] {
                           if (outcomes_[number].ended > 0) return;
                           client.Cancel(id);
                           outcomes_[number].given_up = true;
                           ++outcomes_[number].ended;
                         });
  }

  void OnEnd(uint32_t number, absl::StatusOr<BufferChain> reply) {
    Outcome& outcome = outcomes_[number];
    ++outcome.ended;
    outcome.status = reply.status();
    if (!reply.ok() || weather_.link.corrupt > 0) return;
    EXPECT_TRUE(reply->ToString() == Text(outcome.reply_bytes, number)) << "not its reply";
  }

  // Where packet buffers are few, the longest messages can only be fetched, and that may fail.
  bool IsTooLong(const Outcome& outcome) const {
    const bool said = absl::IsInvalidArgument(outcome.status) ||
                      absl::IsOutOfRange(outcome.status) ||
                      absl::IsResourceExhausted(outcome.status);
    return tight_ && said && std::max<size_t>(outcome.size, outcome.reply_bytes) > 40'000;
  }

  void SchedulePartition(int64_t begin_ns) {
    network_.events().At(begin_ns + 20'000'000, [this] {
      const std::vector<sim::NodeId> alone = {*network_.AddNode("client0")};
      EXPECT_TRUE(network_.Partition({alone}).ok());
    });
    network_.events().At(begin_ns + 700'000'000, [this] { network_.Heal(); });
  }

  void RunUntil(int64_t end_ns) {
    bool over = false;
    network_.events().At(end_ns, [&over] { over = true; });
    RunVirtual(network_, {&loop_}, [&over] { return over; });
  }

  void Check() {
    ASSERT_EQ(outcomes_.size(), kClients * kCalls);
    if (router_ != nullptr) {
      EXPECT_GT(router_->placed(), 0u);
      if (weather_.link.corrupt == 0) {
        EXPECT_EQ(router_->others(), 0u) << "packets that are not for routers";
      }
      EXPECT_EQ(router_->port().pool().available(), router_->port().pool().count());
    }
    for (const Outcome& outcome : outcomes_) {
      EXPECT_EQ(outcome.ended, 1) << "a call ends exactly once";
      if (weather_.link.corrupt > 0) continue;  // a damaged number may be anybody's
      EXPECT_LE(outcome.executed, 1) << "a request is executed at most once";
      if (outcome.given_up) continue;
      EXPECT_TRUE(outcome.status.ok() || !weather_.survivable() || IsTooLong(outcome))
          << outcome.status;
      if (WasNotExecuted(outcome.status)) {
        EXPECT_EQ(outcome.executed, 0) << outcome.status;
      }
      if (outcome.status.ok()) {
        EXPECT_EQ(outcome.executed, 1);
      }
    }
    for (const auto& client : clients_) {
      EXPECT_EQ(client->outstanding(), 0u);
      CheckPort(client->port());
    }
    for (const auto& server : servers_) {
      EXPECT_EQ(server->stats().executing.value(), 0);
      EXPECT_EQ(server->incomplete(), 0u);
      CheckPort(server->port());
    }
    EXPECT_EQ(network_.bulk().exposures.size(), 0u) << "messages that nobody wants any more";
    EXPECT_EQ(network_.bulk().changed, 0u) << "messages that changed while they could be fetched";
    if (weather_.bulk && !weather_.router) {
      EXPECT_GT(network_.bulk().fetched, 0u);
    }
  }

  // Everything has come back to it.
  void CheckPort(DatagramPort& port) {
    EXPECT_EQ(port.pool().available(), port.pool().count());
    if (!weather_.bulk) return;
    const auto& bulk = static_cast<sim::SimBulk&>(*port.bulk());
    EXPECT_EQ(bulk.available(), kBulkBuffers);
    EXPECT_EQ(bulk.fetching(), 0u);
  }

  const Weather weather_;
  const bool tight_;  // few packet buffers
  Prng random_;
  sim::Network network_;
  std::unique_ptr<Transport> transport_;
  Loop loop_;
  std::vector<Outcome> outcomes_;
  std::vector<std::unique_ptr<Server>> servers_;
  std::unique_ptr<TestRouter> router_;
  std::vector<std::unique_ptr<Client>> clients_;
};

void RunAll(const std::vector<Weather>& weathers, uint64_t seeds) {
  for (const Weather& weather : weathers) {
    for (const uint64_t seed : sim::SeedsToRun(seeds)) {
      SCOPED_TRACE(absl::StrCat(weather.name, weather.router ? ", router" : "",
                                weather.bulk ? ", bulk" : "", ", seed ", seed));
      SimulatedRun(weather, seed).Go();
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST(ReliableSimulationTest, EveryCallEndsOnceAndRunsAtMostOnce) { RunAll(Weathers(), kSeeds); }

TEST(ReliableSimulationTest, SoItIsWithMessagesThatAreFetched) {
  RunAll(BulkWeathers(), kBulkSeeds);
}

TEST(ReliableSimulationTest, TheSameSeedIsTheSameRun) {
  const uint64_t seed = sim::SeedsToRun(kSeeds).front();
  std::vector<Weather> weathers = Weathers();
  weathers.push_back(BulkWeathers().back());
  for (const Weather& weather : weathers) {
    const uint64_t once = SimulatedRun(weather, seed).Go();
    EXPECT_EQ(SimulatedRun(weather, seed).Go(), once) << weather.name;
    EXPECT_NE(SimulatedRun(weather, seed + 1).Go(), once) << weather.name;
  }
}

}  // namespace
}  // namespace weft::rpc
