// SPDX-License-Identifier: Apache-2.0
//
// Remote memory over wires that lose, peers that die and networks that part; what holds on every
// transport is in transports/conformance.
#include "weft/transports/sim/sim_remote_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "weft/core/prng.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/seeds.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::sim {
namespace {

using Kind = MemoryOperation::Kind;
constexpr MemoryAccess kAll = MemoryAccess::kRead | MemoryAccess::kWrite | MemoryAccess::kAtomic;

std::unique_ptr<RemoteMemory> OpenMemory(Transport& transport, const std::string& name) {
  return transport.OpenRemoteMemory({.local = Address::Sim(name)}).value();
}

bool Advance(Network& network) {
  if (network.NextEventNs() == INT64_MAX) return false;
  network.AdvanceTo(network.NextEventNs());
  return true;
}

RemoteKey GrantTo(Network& network, RemoteMemory& owner, RemoteMemory& user,
                  const MemoryRegion& region) {
  while (true) {
    const absl::StatusOr<RemoteKey> key =
        owner.Grant(*owner.Resolve(user.local_address()), region, 0, region.bytes.size(), kAll);
    if (key.ok()) return *key;
    EXPECT_EQ(key.status().code(), absl::StatusCode::kUnavailable) << key.status();
    Advance(network);
  }
}

// Posts, and lets time pass until it has ended.
MemoryCompletion Do(Network& network, RemoteMemory& user, const MemoryOperation& operation) {
  EXPECT_EQ(user.Post({&operation, 1}), 1u);
  MemoryCompletion end[1];
  while (user.Poll(absl::MakeSpan(end)) == 0) {
    if (!Advance(network)) {
      ADD_FAILURE() << "the operation does not end";
      break;
    }
  }
  return end[0];
}

TEST(SimRemoteMemoryTest, APartitionEndsOperationsAfterAWhile) {
  Network network(1);
  const auto transport = OpenTransport(&network);
  const auto owner = OpenMemory(*transport, "owner");
  const auto user = OpenMemory(*transport, "user");
  const MemoryRegion region = *owner->Allocate(64);
  MemoryOperation add = {.kind = Kind::kFetchAdd,
                         .peer = *user->Resolve(owner->local_address()),
                         .key = GrantTo(network, *owner, *user, region),
                         .operand = 1};
  EXPECT_EQ(Do(network, *user, add).code, absl::StatusCode::kOk);
  const NodeId node = *network.AddNode("owner");
  ASSERT_TRUE(network.Partition({{{node}}}).ok());
  const int64_t before_ns = network.NowNs();
  EXPECT_EQ(Do(network, *user, add).code, absl::StatusCode::kUnavailable);
  EXPECT_EQ(network.NowNs() - before_ns, SimRemoteMemory::kTimeoutNs);
  PortEvent event[1];
  ASSERT_EQ(user->TakeEvents(absl::MakeSpan(event)), 1u);
  EXPECT_EQ(event[0].kind, PortEvent::Kind::kPeerUnreachable);
  EXPECT_EQ(event[0].peer, add.peer);
  EXPECT_EQ(event[0].error, ETIMEDOUT);
  // Healed, the two find each other by themselves, and the key has stayed good.
  network.Heal();
  const MemoryCompletion end = Do(network, *user, add);
  EXPECT_EQ(end.code, absl::StatusCode::kOk);
  EXPECT_EQ(end.old_value, 1u);
}

// As the contract allows, and users must expect: a long read sees a write of the owner half done,
// and words whole.
TEST(SimRemoteMemoryTest, LongReadsMayBeTornBetweenWords) {
  int torn = 0;
  for (const uint64_t seed : SeedsToRun(20)) {
    Network network(seed);
    const auto transport = OpenTransport(&network);
    const auto owner = OpenMemory(*transport, "owner");
    const auto user = OpenMemory(*transport, "user");
    const MemoryRegion region = *owner->Allocate(64);
    const MemoryRegion local = *user->Allocate(64);
    const MemoryOperation read = {.kind = Kind::kRead,
                                  .peer = *user->Resolve(owner->local_address()),
                                  .key = GrantTo(network, *owner, *user, region),
                                  .local = local.bytes};
    const auto words = reinterpret_cast<uint64_t*>(region.bytes.data());
    uint8_t value = 0;
    bool over = false;
    std::function<void()> write = [&] {
      std::fill_n(words, 8, uint64_t{++value} * 0x0101010101010101);
      if (!over) network.events().At(network.NowNs() + 700, write);
    };
    write();
    for (int i = 0; i < 20; ++i) {
      ASSERT_EQ(Do(network, *user, read).code, absl::StatusCode::kOk);
      std::array<uint64_t, 8> seen;
      std::memcpy(seen.data(), local.bytes.data(), 64);
      torn += std::count(seen.begin(), seen.end(), seen[0]) != 8;
      for (const uint64_t word : seen) EXPECT_EQ(word % 0x0101010101010101, 0u);
    }
    over = true;
  }
  EXPECT_GT(torn, 0);
}

// Users add to the counters of owners over bad wires, while the network parts, heals, and owners
// die and come back. Returns a hash of all that was delivered.
class Turmoil {
 public:
  explicit Turmoil(uint64_t seed)
      : network_(seed, {.latency_ns = 5'000,
                        .jitter_ns = 20'000,
                        .bandwidth_bps = 1'000'000'000,
                        .queue_packets = 4,
                        .loss = 0.05,
                        .duplicate = 0.05,
                        .reorder = 0.05,
                        .corrupt = 0.05}),
        random_(seed) {}

  uint64_t Run() {
    for (size_t i = 0; i < kOwners; ++i) Restart(i);
    for (size_t i = 0; i < kUsers; ++i) {
      users_[i].port = OpenMemory(*transport_, "user" + std::to_string(i));
    }
    for (int step = 0; step < 600; ++step) {
      if (random_.Below(100) == 0) Restart(random_.Below(kOwners));
      if (random_.Below(100) == 0) Part();
      for (User& user : users_) PostSome(user);
      for (int i = 0; i < 5; ++i) Advance(network_);
      for (User& user : users_) Settle(user);
    }
    network_.Heal();
    while (Advance(network_)) {
    }
    for (User& user : users_) {
      Settle(user);
      EXPECT_TRUE(user.under_way.empty());
    }
    for (Owner& owner : owners_) Check(owner);
    EXPECT_GT(ok_, 200u);
    EXPECT_GT(unavailable_, 0u);
    return network_.digest();
  }

 private:
  static constexpr size_t kOwners = 2, kUsers = 3;
  struct Owner {
    std::unique_ptr<RemoteMemory> port;
    MemoryRegion region;
    uint64_t life = 0;
    uint64_t certain = 0, possible = 0;  // what was added in this life
  };
  struct User {
    std::unique_ptr<RemoteMemory> port;
    std::optional<RemoteKey> keys[kOwners];
    uint64_t lives[kOwners] = {};                               // of the owners when they granted
    std::map<uint64_t, std::pair<size_t, uint64_t>> under_way;  // context: owner and life
    uint64_t next_context = 0;
  };

  void Restart(size_t index) {
    Owner& owner = owners_[index];
    if (owner.port != nullptr) Check(owner);
    owner.port.reset();
    owner.port = OpenMemory(*transport_, "owner" + std::to_string(index));
    owner.region = *owner.port->Allocate(8);
    ++owner.life;
    owner.certain = owner.possible = 0;
  }
  static void Check(const Owner& owner) {
    uint64_t value;
    std::memcpy(&value, owner.region.bytes.data(), sizeof(value));
    EXPECT_GE(value, owner.certain);
    EXPECT_LE(value, owner.possible);
  }
  void Part() {
    network_.Heal();
    if (random_.Below(2) == 0) return;
    const NodeId alone = *network_.AddNode("owner" + std::to_string(random_.Below(kOwners)));
    EXPECT_TRUE(network_.Partition({{{alone}}}).ok());
  }
  void PostSome(User& user) {
    const size_t index = random_.Below(kOwners);
    Owner& owner = owners_[index];
    if (!user.keys[index].has_value()) {
      const auto key = owner.port->Grant(*owner.port->Resolve(user.port->local_address()),
                                         owner.region, 0, 8, kAll);
      if (!key.ok()) return;
      user.keys[index] = *key;
      user.lives[index] = owner.life;
    }
    const MemoryOperation add = {.kind = Kind::kFetchAdd,
                                 .peer = *user.port->Resolve(owner.port->local_address()),
                                 .key = *user.keys[index],
                                 .operand = 1,
                                 .context = user.next_context};
    if (user.port->Post({&add, 1}) == 0) return;
    user.under_way.emplace(user.next_context++, std::pair(index, user.lives[index]));
    if (owner.life == user.lives[index]) ++owner.possible;
  }
  void Settle(User& user) {
    MemoryCompletion done[16];
    for (size_t n; (n = user.port->Poll(absl::MakeSpan(done))) > 0;) {
      for (const MemoryCompletion& end : absl::MakeSpan(done, n)) {
        const auto it = user.under_way.find(end.context);
        ASSERT_NE(it, user.under_way.end()) << "ended twice";
        const auto [index, life] = it->second;
        user.under_way.erase(it);
        Owner& owner = owners_[index];
        const bool this_life = owner.life == life;
        if (end.code == absl::StatusCode::kOk) {
          ++ok_;
          if (this_life) ++owner.certain;
          continue;
        }
        // Denied or aborted is: not done.
        if (end.code == absl::StatusCode::kUnavailable) {
          ++unavailable_;
        } else if (this_life) {
          --owner.possible;
        }
        if (end.code != absl::StatusCode::kAborted) user.keys[index].reset();
      }
    }
  }

  Network network_;
  Prng random_;
  const std::unique_ptr<Transport> transport_ = OpenTransport(&network_);
  Owner owners_[kOwners];
  User users_[kUsers];
  uint64_t ok_ = 0, unavailable_ = 0;
};

TEST(SimRemoteMemoryTest, EveryOperationEndsOnceAndIsDoneOnceAtMost) {
  for (const uint64_t seed : SeedsToRun(5)) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    const uint64_t digest = Turmoil(seed).Run();
    EXPECT_EQ(Turmoil(seed).Run(), digest);
    EXPECT_NE(Turmoil(seed + 1'000'000).Run(), digest);
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace weft::sim
