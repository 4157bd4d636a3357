// SPDX-License-Identifier: Apache-2.0
//
// A router between clients and servers over a simulated network that does not behave. A seed fixes
// everything that happens.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/router/router_fixture.h"

namespace weft::router {
namespace {

constexpr int64_t kUs = 1000;
constexpr int64_t kKeepaliveNs = 20 * kMs;

// Which server has executed which request of which client.
using Executions = std::map<std::pair<uint64_t, uint64_t>, std::set<std::string>>;

// Serves one request after the other and gives numbered FEEDBACK, each datagram of which repeats
// what the ones before have said.
class SimServer final : public Pollable {
 public:
  SimServer(Loop& loop, Transport& transport, const std::string& name, uint64_t seed,
            Executions* executions)
      : loop_(loop),
        name_(name),
        port_(*transport.OpenDatagramPort({.local = Address::Sim(name)})),
        router_(*port_->Resolve(Address::Sim("router"))),
        random_(seed),
        incarnation_(random_.Next()),
        executions_(executions),
        done_([](void* self, int64_t) { static_cast<SimServer*>(self)->OnDone(); }, this),
        repeat_([](void* self, int64_t) { static_cast<SimServer*>(self)->Repeat(); }, this),
        join_([](void* self, int64_t) { static_cast<SimServer*>(self)->Join(); }, this) {
    loop_.Add(this);
  }
  ~SimServer() override { loop_.Remove(this); }

  void Join() {
    Send(router_, MembershipPacket(r2p2::ControlKind::kJoin, {.incarnation = incarnation_,
                                                              .keepalive_us = kKeepaliveNs / 1000,
                                                              .address = {}}));
    loop_.timers().Schedule(join_, loop_.now_ns() + kKeepaliveNs);
  }

  size_t Poll() override {
    Datagram burst[16];
    const size_t n = port_->Receive(absl::MakeSpan(burst));
    for (size_t i = 0; i < n; ++i) OnDatagram(burst[i]);
    return n;
  }

  size_t executed = 0;
  size_t most_at_once = 0;
  int64_t last_request_ns = 0;

 private:
  struct Task {
    Peer client;
    uint64_t key;
    uint64_t id;  // 0 in the original format
    uint16_t rid;
  };

  void OnDatagram(const Datagram& datagram) {
    const absl::Span<const uint8_t> bytes = datagram.buffer.bytes();
    const uint64_t client = r2p2::ClientIdOf(*port_->AddressOf(datagram.peer));
    r2p2::ExtendedHeader extended;
    r2p2::Anycast anycast;
    r2p2::Header header;
    Task task = {datagram.peer, 0, 0, 0};
    if (r2p2::ReadAnycast(bytes, &extended, &anycast)) {
      task.id = extended.request_id;
      task.rid = extended.slot();
      task.key = r2p2::RequestKey(client, extended.from_session, task.rid);
      // At most once at this server, as sessions see to.
      if (!seen_.insert({client, task.id}).second) return;
      (*executions_)[{client, task.id}].insert(name_);
    } else if (r2p2::ReadHeader(bytes, &header) && header.type == r2p2::MessageType::kRequest) {
      task.rid = header.request_id;
      task.key = r2p2::RequestKey(client, 0, task.rid);
    } else {
      return;
    }
    last_request_ns = loop_.now_ns();
    tasks_.push_back(task);
    most_at_once = std::max(most_at_once, tasks_.size());
    if (!done_.armed()) Begin();
  }
  void Begin() {
    const double service_ns = -20'000 * std::log(1 - random_.Unit());
    loop_.timers().Schedule(done_, loop_.now_ns() + static_cast<int64_t>(service_ns));
  }
  void OnDone() {
    const Task task = tasks_.front();
    tasks_.pop_front();
    ++executed;
    Bytes reply(r2p2::kHeaderBytes + 8);
    r2p2::WriteHeader(
        {.type = r2p2::MessageType::kResponse, .first = true, .last = true, .request_id = task.rid},
        reply.data());
    StoreBig64(&reply[r2p2::kHeaderBytes], task.id);
    Send(task.client, reply);
    entries_.push_back(task.key);
    if (entries_.size() > 32) entries_.pop_front();
    ++ended_;
    SendFeedback();
    repeats_ = 0;
    loop_.timers().Schedule(repeat_, loop_.now_ns() + 200 * kUs);
    if (!tasks_.empty()) Begin();
  }
  void Repeat() {
    SendFeedback();
    if (++repeats_ < 3) loop_.timers().Schedule(repeat_, loop_.now_ns() + 2 * kMs);
  }
  void SendFeedback() {
    Send(router_, FeedbackPacket(incarnation_, ended_ - entries_.size(),
                                 std::vector<uint64_t>(entries_.begin(), entries_.end())));
  }
  void Send(const Peer& to, absl::Span<const uint8_t> bytes) {
    Datagram datagram[1] = {{to, port_->pool().Allocate()}};
    if (!datagram[0].buffer) return;
    std::memcpy(datagram[0].buffer.Append(bytes.size()), bytes.data(), bytes.size());
    port_->Send(absl::MakeSpan(datagram));
  }

  Loop& loop_;
  const std::string name_;
  const std::unique_ptr<DatagramPort> port_;
  const Peer router_;
  Prng random_;
  const uint64_t incarnation_;
  Executions* const executions_;
  std::set<std::pair<uint64_t, uint64_t>> seen_;
  std::deque<Task> tasks_;
  std::deque<uint64_t> entries_;
  uint64_t ended_ = 0;
  int repeats_ = 0;
  Timer done_;
  Timer repeat_;
  Timer join_;
};

// Sends requests at random times and counts how each ends. In the extended format it has 64 slots,
// and sends again what is not answered.
class SimClient final : public Pollable {
 public:
  SimClient(Loop& loop, Transport& transport, const std::string& name, uint64_t seed, bool extended,
            size_t total, double mean_gap_ns)
      : loop_(loop),
        port_(*transport.OpenDatagramPort({.local = Address::Sim(name)})),
        router_(*port_->Resolve(Address::Sim("router"))),
        random_(seed),
        extended_(extended),
        total_(total),
        mean_gap_ns_(mean_gap_ns),
        slots_(extended ? 64 : 65536),
        next_([](void* self, int64_t) { static_cast<SimClient*>(self)->OnNext(); }, this),
        resend_([](void* self, int64_t) { static_cast<SimClient*>(self)->OnResend(); }, this) {
    loop_.Add(this);
    loop_.timers().Schedule(next_, loop_.now_ns() + 1);
    if (extended_) loop_.timers().Schedule(resend_, loop_.now_ns() + 2 * kMs);
  }
  ~SimClient() override { loop_.Remove(this); }

  bool finished() const { return sent == total_; }
  size_t open() const {
    return static_cast<size_t>(std::ranges::count_if(slots_, [](const Slot& s) { return s.busy; }));
  }

  size_t Poll() override {
    Datagram burst[16];
    const size_t n = port_->Receive(absl::MakeSpan(burst));
    for (size_t i = 0; i < n; ++i) OnDatagram(burst[i].buffer.bytes());
    return n;
  }

  size_t sent = 0;
  size_t replies = 0;
  size_t drops = 0;

 private:
  struct Slot {
    bool busy = false;
    uint64_t sequence = 0;
    int64_t first_sent_ns = 0;
    int tries = 0;
  };

  void OnNext() {
    const size_t slot = FreeSlot();
    if (slot < slots_.size()) {
      Slot& s = slots_[slot];
      s = {true, s.sequence + 1, loop_.now_ns(), 1};
      ++sent;
      SendSlot(slot);
    }
    if (sent == total_) return;
    const double gap_ns = -mean_gap_ns_ * std::log(1 - random_.Unit());
    loop_.timers().Schedule(next_, loop_.now_ns() + static_cast<int64_t>(gap_ns) + 1);
  }
  size_t FreeSlot() {
    for (size_t i = 0; i < slots_.size(); ++i) {
      const size_t slot = (last_ + 1 + i) % slots_.size();
      if (!slots_[slot].busy) return last_ = slot;
      if (!extended_) return slots_.size();
    }
    return slots_.size();
  }
  void SendSlot(size_t slot) {
    const auto rid = static_cast<uint16_t>(slot);
    const Slot& s = slots_[slot];
    const auto age_us = static_cast<uint32_t>((loop_.now_ns() - s.first_sent_ns) / 1000);
    const Bytes bytes =
        extended_ ? AnycastRequest(s.sequence, rid, age_us, s.tries > 1) : OriginalRequest(rid);
    Datagram datagram[1] = {{router_, port_->pool().Allocate()}};
    if (!datagram[0].buffer) return;
    std::memcpy(datagram[0].buffer.Append(bytes.size()), bytes.data(), bytes.size());
    port_->Send(absl::MakeSpan(datagram));
  }
  void OnResend() {
    for (size_t i = 0; i < slots_.size(); ++i) {
      Slot& s = slots_[i];
      if (!s.busy || loop_.now_ns() - s.first_sent_ns < s.tries * 2 * kMs) continue;
      if (++s.tries > 8) {
        s.busy = false;  // given up
        continue;
      }
      SendSlot(i);
    }
    if (!finished() || open() > 0) {
      loop_.timers().Schedule(resend_, loop_.now_ns() + 2 * kMs);
    }
  }
  void OnDatagram(absl::Span<const uint8_t> bytes) {
    r2p2::ExtendedHeader extended;
    r2p2::Header header;
    if (r2p2::ReadExtendedHeader(bytes, &extended)) {
      End(extended.slot(), extended.request_id, &drops);
    } else if (r2p2::ReadHeader(bytes, &header) && header.type == r2p2::MessageType::kDrop) {
      End(header.request_id, 0, &drops);
    } else if (header.type == r2p2::MessageType::kResponse && bytes.size() == 16) {
      End(header.request_id, LoadBig64(&bytes[8]), &replies);
    }
  }
  void End(size_t slot, uint64_t id, size_t* counter) {
    if (slot >= slots_.size() || !slots_[slot].busy) return;
    if (extended_ && id >> 16 != slots_[slot].sequence) return;
    slots_[slot].busy = false;
    ++*counter;
  }

  Loop& loop_;
  const std::unique_ptr<DatagramPort> port_;
  const Peer router_;
  Prng random_;
  const bool extended_;
  const size_t total_;
  const double mean_gap_ns_;
  std::vector<Slot> slots_;
  size_t last_ = 0;
  Timer next_;
  Timer resend_;
};

constexpr size_t kServers = 4;
constexpr size_t kRequests = 3000;  // of each client

struct Simulation : RouterNetwork {
  using RouterNetwork::RouterNetwork;

  RouterOptions Settings() {
    RouterOptions options = Options();
    options.keepalive = absl::Nanoseconds(kKeepaliveNs);
    options.join = true;
    options.lease = absl::Milliseconds(300);
    return options;
  }
  SimServer& AddServer(size_t i, uint64_t seed) {
    const std::string name = "server" + std::to_string(i);
    sim_servers_.push_back(
        std::make_unique<SimServer>(loop_, *transport_, name, seed, &executions_));
    return *sim_servers_.back();
  }
  // Two clients at `load` of all servers.
  void StartAll(RouterOptions options, uint64_t seed, double load, bool configured = true) {
    for (size_t i = 0; i < kServers; ++i) {
      AddServer(i, seed * 100 + i);
      if (configured) {
        options.servers.push_back({.address = Address::Sim("server" + std::to_string(i))});
      }
    }
    Start(options);
    for (const auto& server : sim_servers_) server->Join();
    RunFor();
    const double gap_ns = 20'000.0 / kServers / load * 2;
    clients_.push_back(std::make_unique<SimClient>(loop_, *transport_, "client0", seed * 7, false,
                                                   kRequests, gap_ns));
    clients_.push_back(std::make_unique<SimClient>(loop_, *transport_, "client1", seed * 9, true,
                                                   kRequests, gap_ns));
  }
  void RunUntilSent() {
    RunVirtual(
        network_, {&loop_},
        [this] {
          return std::ranges::all_of(clients_, [](const auto& c) { return c->finished(); });
        },
        network_.NowNs() + 10'000 * kMs);
  }
  size_t Replies() const { return clients_[0]->replies + clients_[1]->replies; }
  size_t Drops() const { return clients_[0]->drops + clients_[1]->drops; }
  size_t Open() const { return clients_[0]->open() + clients_[1]->open(); }
  void ExpectNoneExecutedByTwo() {
    for (const auto& [request, servers] : executions_) {
      ASSERT_LE(servers.size(), 1u) << "request " << (request.second >> 16);
    }
  }

  uint64_t ForwardedTo(const Address& server) {
    uint64_t forwarded = 0;
    router_->ForEachMember([&](const Member& member) {
      if (member.server.address == server) forwarded = member.forwarded;
    });
    return forwarded;
  }

  Executions executions_;
  std::vector<std::unique_ptr<SimServer>> sim_servers_;
  std::vector<std::unique_ptr<SimClient>> clients_;
};

TEST(RouterSimulationTest, InGoodWeatherAllAreAnsweredAndServersHaveNoMoreThanTheirSlots) {
  Simulation s(1);
  s.StartAll(s.Settings(), 1, 0.8);
  s.RunUntilSent();
  s.RunFor(20 * kMs);
  EXPECT_EQ(s.Replies(), 2 * kRequests);
  EXPECT_EQ(s.Drops(), 0u);
  for (const auto& server : s.sim_servers_) EXPECT_LE(server->most_at_once, 2u);
  EXPECT_GT(s.dispatcher_stats().queued.value(), 100u);
  EXPECT_EQ(s.dispatcher_stats().leases_expired.value(), 0u);
  s.ExpectNoneExecutedByTwo();
  s.ExpectNothingHeld();
}

TEST(RouterSimulationTest, OverloadIsAnsweredByDropsNeverBySilence) {
  Simulation s(2);
  RouterOptions options = s.Settings();
  options.queue_max = 32;
  s.StartAll(options, 2, 3);
  s.RunUntilSent();
  s.RunFor(20 * kMs);
  EXPECT_EQ(s.Replies() + s.Drops(), 2 * kRequests);
  EXPECT_EQ(s.Open(), 0u);
  EXPECT_GT(s.Drops(), kRequests / 4);
  s.ExpectNothingHeld();
}

TEST(RouterSimulationTest, InAnyWeatherNothingIsHeldAndNothingRunsTwice) {
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    Simulation s(seed, {.latency_ns = 5000,
                        .jitter_ns = 20'000,
                        .loss = 0.02,
                        .duplicate = 0.02,
                        .reorder = 0.05});
    // A request that is lost on its way to a server takes a slot until the lease ends.
    RouterOptions options = s.Settings();
    options.lease = absl::Milliseconds(3);
    s.StartAll(options, seed, 0.2);
    if (seed % 2 == 0) {
      const auto server = *s.network_.AddNode("server1");
      s.network_.events().At(s.network_.NowNs() + 10 * kMs, [&s, server] {
        EXPECT_TRUE(s.network_.Partition({{{server}}}).ok());
      });
      s.network_.events().At(s.network_.NowNs() + 90 * kMs, [&s] { s.network_.Heal(); });
    }
    s.RunUntilSent();
    s.RunFor(700 * kMs);
    EXPECT_EQ(s.clients_[1]->open(), 0u);
    EXPECT_GT(s.Replies(), kRequests);
    s.ExpectNoneExecutedByTwo();
    s.ExpectNothingHeld();
  }
}

// Without a checksum below, any byte may be anything.
TEST(RouterSimulationTest, FlippedBitsLoseNoSlot) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE(seed);
    Simulation s(seed, {.latency_ns = 5000, .corrupt = 0.1});
    RouterOptions options = s.Settings();
    options.lease = absl::Milliseconds(3);
    s.StartAll(options, seed, 0.1);
    s.RunUntilSent();
    s.RunFor(700 * kMs);
    EXPECT_GT(s.stats().malformed.value(), 10u);
    s.ExpectNothingHeld();
  }
}

TEST(RouterSimulationTest, FeedbackThatIsLostCostsNoSlot) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE(seed);
    Simulation s(seed);
    const auto router = *s.network_.AddNode("router");
    for (size_t i = 0; i < kServers; ++i) {
      s.network_.SetLink(*s.network_.AddNode("server" + std::to_string(i)), router,
                         {.latency_ns = 5000, .loss = 0.1});
    }
    s.StartAll(s.Settings(), seed, 0.7);
    s.RunUntilSent();
    s.RunFor(20 * kMs);
    EXPECT_EQ(s.Replies(), 2 * kRequests);
    EXPECT_EQ(s.dispatcher_stats().leases_expired.value(), 0u);
    EXPECT_EQ(s.stats().feedback_lost.value(), 0u);
    EXPECT_GT(s.stats().feedback_repeated.value(), kRequests);
    s.ExpectNothingHeld();
  }
}

TEST(RouterSimulationTest, AKilledServerIsFoundInTimeGetsNothingLaterAndComesBack) {
  Simulation s(5);
  s.StartAll(s.Settings(), 5, 0.1, /*configured=*/false);
  s.RunFor(10 * kMs);
  const Address address = Address::Sim("server2");
  ASSERT_EQ(s.StateOf(address), "up");
  // It goes without a word: the network swallows what is sent to it.
  ASSERT_TRUE(s.network_.Partition({{{*s.network_.AddNode("server2")}}}).ok());
  const int64_t killed_ns = s.network_.NowNs();
  RunVirtual(
      s.network_, {&s.loop_}, [&] { return s.StateOf(address) == "down"; },
      killed_ns + 10 * kKeepaliveNs);
  EXPECT_LE(s.network_.NowNs() - killed_ns, 3 * kKeepaliveNs);
  const uint64_t forwarded = s.ForwardedTo(address);
  s.RunFor(10 * kMs);
  EXPECT_EQ(s.ForwardedTo(address), forwarded);
  EXPECT_FALSE(s.clients_[0]->finished());
  const size_t executed = s.sim_servers_[2]->executed;
  s.network_.Heal();
  s.RunUntilSent();
  EXPECT_EQ(s.StateOf(address), "up");
  EXPECT_GT(s.sim_servers_[2]->executed, executed);
  s.RunFor(400 * kMs);
  s.ExpectNothingHeld();
}

TEST(RouterSimulationTest, ReloadAndDrainUnderLoadFailNoRequest) {
  Simulation s(6);
  s.StartAll(s.Settings(), 6, 0.7);
  for (size_t i = kServers; i < kServers + 2; ++i) s.AddServer(i, 600 + i);
  for (size_t change = 0; change < 10; ++change) {
    s.RunFor(3 * kMs);
    RouterOptions options = s.router_->options();
    options.servers.clear();
    for (size_t i = 0; i < 4; ++i) {
      const size_t server = (change + i) % (kServers + 2);
      options.servers.push_back({.address = Address::Sim("server" + std::to_string(server)),
                                 .slots = static_cast<uint32_t>(2 + change % 3)});
    }
    options.policy = change % 2 == 0 ? "power_of_two" : "jbsq";
    options.queue_max = change % 2 == 0 ? 2000 : 1500;
    ASSERT_TRUE(s.router_->Apply(options).ok());
  }
  s.RunFor(3 * kMs);
  EXPECT_TRUE(s.router_->Drain(s.router_->options().servers[0].address).ok());
  s.RunUntilSent();
  s.RunFor(20 * kMs);
  EXPECT_EQ(s.Replies(), 2 * kRequests);
  EXPECT_EQ(s.Drops(), 0u);
  s.ExpectNoneExecutedByTwo();
  s.ExpectNothingHeld();
}

}  // namespace
}  // namespace weft::router
