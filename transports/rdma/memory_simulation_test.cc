// SPDX-License-Identifier: Apache-2.0
//
// Remote memory over the simulated device, while packets are lost, networks part and ports start
// anew. What else it has to do, the conformance suite checks.
#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/transports/rdma/rdma_remote_memory.h"
#include "weft/transports/rdma/sim_nic.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/seeds.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rdma {
namespace {

constexpr uint64_t kSeeds = 15;

// Remote memory over a network of its own, each port on a device of its own.
class MemoryWorld {
 public:
  MemoryWorld(uint64_t seed, const sim::LinkOptions& link)
      : network_(seed, link), datagrams_(sim::OpenTransport(&network_, {.count = 64})) {}
  std::unique_ptr<RdmaRemoteMemory> Open(const std::string& name,
                                         std::shared_ptr<SimNic> nic = nullptr,
                                         size_t max_peers = 1024) {
    const Address local = Address::Sim(name);
    if (nic == nullptr) nic = *SimNic::Open(&network_, local);
    return *RdmaRemoteMemory::Open(std::move(nic), *datagrams_->OpenDatagramPort({.local = local}),
                                   Capabilities(),
                                   {.clock = &network_,
                                    .virtual_time = &network_,
                                    .incarnation = network_.random().Next(),
                                    .connect_timeout_ns = 100'000'000,
                                    .max_peers = max_peers,
                                    .buffers = {.count = 64}});
  }
  // Polls all while time passes, until `done`, or for so long; what ends goes to `ended`.
  bool Until(absl::Span<RdmaRemoteMemory* const> ports, absl::FunctionRef<bool()> done,
             int64_t for_ns, std::vector<MemoryCompletion>* ended) {
    const int64_t end_ns = network_.NowNs() + for_ns;
    while (true) {
      for (RdmaRemoteMemory* port : ports) {
        MemoryCompletion some[8];
        const size_t n = port->Poll(absl::MakeSpan(some));
        ended->insert(ended->end(), some, some + n);
      }
      if (done()) return true;
      if (network_.NowNs() >= end_ns) return false;
      network_.AdvanceTo(network_.NowNs() + std::max<int64_t>(for_ns / 20'000, 5'000));
    }
  }
  sim::Network& network() { return network_; }

 private:
  sim::Network network_;
  const std::unique_ptr<Transport> datagrams_;
};

// Users who add to a word of an owner, who revokes, grants anew and starts anew, over a network
// that loses packets and parts: every operation ends once, and what ended well was done once.
class MemorySimulation {
 public:
  explicit MemorySimulation(uint64_t seed)
      : world_(seed, {.jitter_ns = static_cast<int64_t>(seed % 3) * 4000,
                      .loss = 0.01 * static_cast<double>(seed % 11),
                      .duplicate = 0.01 * static_cast<double>(seed % 4)}),
        random_(seed) {}

  void Run() {
    OpenOwner();
    for (int i = 0; i < 2; ++i) {
      users_.emplace_back();
      users_[i].port = world_.Open(absl::StrCat("user-", i));
      users_[i].scratch = *users_[i].port->Allocate(4096);
      users_[i].name = i;
    }
    for (int round = 0; round < 150; ++round) {
      Step(users_[random_.Below(users_.size())]);
      Pass(static_cast<int64_t>(random_.Below(40'000)));
      if (random_.Below(40) == 0) Part();
      if (random_.Below(60) == 0) RestartOwner();
    }
    Settle();
    CheckWord();
    for (User& user : users_) {
      if (user.key.has_value()) owner_->Revoke(*user.key);
    }
    EXPECT_EQ(owner_->keys(), 0u);
    EXPECT_EQ(owner_->connections().held(), 0u);
    for (User& user : users_) EXPECT_EQ(user.port->operations(), 0u);
  }

 private:
  struct User {
    std::unique_ptr<RdmaRemoteMemory> port;
    MemoryRegion scratch;
    int name = 0;
    std::optional<RemoteKey> key;
    bool revoked = false;
    std::map<uint64_t, MemoryOperation> under_way;
  };

  void OpenOwner() {
    owner_ = world_.Open("owner");
    region_ = *owner_->Allocate(4096);
    done_ = maybe_ = 0;
  }
  void Step(User& user) {
    const Peer peer = *owner_->Resolve(user.port->local_address());
    if (!user.key.has_value()) {
      const auto key =
          owner_->Grant(peer, region_, 8, 1024, MemoryAccess::kRead | MemoryAccess::kAtomic);
      EXPECT_TRUE(key.ok() || key.status().code() == absl::StatusCode::kUnavailable);
      if (key.ok()) user.key = *key;
      user.revoked = false;
    } else if (random_.Below(25) == 0) {
      owner_->Revoke(*user.key);
      user.revoked = true;
    } else if (user.revoked && random_.Below(4) == 0) {
      user.key.reset();
      return;
    }
    if (!user.key.has_value()) return;
    for (size_t n = 1 + random_.Below(6); n > 0; --n) {
      MemoryOperation operation = {.kind = MemoryOperation::Kind::kFetchAdd,
                                   .peer = *user.port->Resolve(Address::Sim("owner")),
                                   .key = *user.key,
                                   .operand = 1 + random_.Below(100),
                                   .context = ++context_};
      if (random_.Below(3) == 0) {
        operation.kind = MemoryOperation::Kind::kRead;
        operation.local = user.scratch.bytes.subspan(0, 1 + random_.Below(1000));
        operation.offset = random_.Below(40);
      }
      ASSERT_EQ(user.port->Post({&operation, 1}), 1u);
      user.under_way.emplace(context_, operation);
    }
  }
  void Poll(User& user) {
    MemoryCompletion ended[8];
    for (size_t n; (n = user.port->Poll(absl::MakeSpan(ended))) > 0;) {
      for (size_t i = 0; i < n; ++i) {
        auto operation = user.under_way.extract(ended[i].context);
        ASSERT_FALSE(operation.empty()) << "ended twice";
        if (operation.mapped().kind != MemoryOperation::Kind::kFetchAdd) continue;
        if (ended[i].code == absl::StatusCode::kOk) done_ += operation.mapped().operand;
        if (ended[i].code == absl::StatusCode::kUnavailable) maybe_ += operation.mapped().operand;
      }
    }
    PortEvent events[8];
    user.port->TakeEvents(absl::MakeSpan(events));
  }
  void PollAll() {
    MemoryCompletion none[1];
    if (owner_ != nullptr) owner_->Poll(absl::MakeSpan(none));
    for (User& user : users_) Poll(user);
  }
  bool Until(absl::FunctionRef<bool()> done, int64_t for_ns) {
    sim::Network& network = world_.network();
    const int64_t end_ns = network.NowNs() + for_ns;
    while (true) {
      PollAll();
      if (done()) return true;
      if (network.NowNs() >= end_ns) return false;
      network.AdvanceTo(std::min({end_ns, network.NextEventNs(),
                                  std::max(network.NowNs(), network.timers().NextDeadlineNs())}));
      network.timers().Advance(network.NowNs());
    }
  }
  void Pass(int64_t ns) {
    Until([] { return false; }, ns);
  }
  void Settle() {
    EXPECT_TRUE(Until(
        [&] {
          return std::all_of(users_.begin(), users_.end(),
                             [](const User& user) { return user.under_way.empty(); });
        },
        20'000'000'000));
  }
  // What was done was done once, and nothing else was.
  void CheckWord() {
    uint64_t word;
    std::memcpy(&word, region_.bytes.data() + 8, sizeof(word));
    EXPECT_GE(word, done_);
    EXPECT_LE(word, done_ + maybe_);
  }
  void Part() {
    sim::Network& network = world_.network();
    const std::vector<sim::NodeId> one = {*network.AddNode(
        random_.Below(2) == 0 ? "owner" : absl::StrCat("user-", random_.Below(2)))};
    EXPECT_TRUE(network.Partition({one}).ok());
    Pass(static_cast<int64_t>(random_.Below(30'000'000)));
    network.Heal();
  }
  void RestartOwner() {
    Settle();
    CheckWord();
    owner_ = nullptr;
    Pass(static_cast<int64_t>(random_.Below(2'000'000)));
    OpenOwner();
    // The keys that they have are of no use any more, and may do no harm.
    for (User& user : users_) user.revoked = true;
  }

  MemoryWorld world_;
  Prng random_;
  std::unique_ptr<RdmaRemoteMemory> owner_;
  MemoryRegion region_;
  std::vector<User> users_;
  uint64_t context_ = 0;
  uint64_t done_ = 0, maybe_ = 0;  // sums of what was added for certain, and of what may have been
};

TEST(MemorySimulationTest, OperationsEndWhenTheDeviceGoesBeforeTheyAreConnected) {
  MemoryWorld world(1, {});
  const std::shared_ptr<SimNic> nic = *SimNic::Open(&world.network(), Address::Sim("user"));
  const auto user = world.Open("user", nic);
  const auto owner = world.Open("owner");
  const MemoryRegion region = *user->Allocate(64);
  const Peer peer = *user->Resolve(owner->local_address());
  nic->Remove();
  const MemoryOperation read[] = {{.kind = MemoryOperation::Kind::kRead,
                                   .peer = peer,
                                   .key = {},
                                   .local = region.bytes,
                                   .context = 7}};
  ASSERT_EQ(user->Post(read), 1u);
  MemoryCompletion done[2];
  ASSERT_EQ(user->Poll(absl::MakeSpan(done)), 1u);
  EXPECT_EQ(done[0].context, 7u);
  EXPECT_EQ(done[0].code, absl::StatusCode::kUnavailable);
  EXPECT_EQ(user->operations(), 0u);
}

// Nobody has told the owner, whose queue pair has failed, and his device may be slow to say so.
TEST(MemorySimulationTest, AKeyThatIsGrantedRightAfterADenialIsGood) {
  for (const int64_t flush_ns : {0, 2000}) {
    SCOPED_TRACE(flush_ns);
    MemoryWorld world(1, {});
    SimNicOptions device;
    device.flush_ns = flush_ns;
    const auto owner =
        world.Open("owner", *SimNic::Open(&world.network(), Address::Sim("owner"), device));
    const auto user = world.Open("user");
    const MemoryRegion region = *owner->Allocate(64);
    const MemoryRegion scratch = *user->Allocate(64);
    const Peer at_owner = *owner->Resolve(user->local_address());
    const Peer at_user = *user->Resolve(owner->local_address());
    const auto pass = [&] { world.network().AdvanceTo(world.network().NowNs() + 10'000); };
    MemoryCompletion done[1];
    const auto grant = [&] {
      auto key = owner->Grant(at_owner, region, 0, 64, MemoryAccess::kRead);
      for (int i = 0; i < 1000 && !key.ok(); ++i) {
        owner->Poll(absl::MakeSpan(done));
        user->Poll(absl::MakeSpan(done));
        pass();
        key = owner->Grant(at_owner, region, 0, 64, MemoryAccess::kRead);
      }
      EXPECT_TRUE(key.ok()) << key.status();
      return key.value_or(RemoteKey());
    };
    const auto read = [&](const RemoteKey& key, bool owner_looks) {
      const MemoryOperation operation = {.kind = MemoryOperation::Kind::kRead,
                                         .peer = at_user,
                                         .key = key,
                                         .local = scratch.bytes.subspan(0, 8)};
      EXPECT_EQ(user->Post({&operation, 1}), 1u);
      for (int i = 0; i < 1000; ++i) {
        if (user->Poll(absl::MakeSpan(done)) > 0) return done[0].code;
        if (owner_looks) owner->Poll(absl::MakeSpan(done));
        pass();
      }
      return absl::StatusCode::kUnknown;
    };
    EXPECT_EQ(read(grant(), true), absl::StatusCode::kOk);
    for (int i = 0; i < 10; ++i) {
      const RemoteKey revoked = grant();
      owner->Revoke(revoked);
      EXPECT_EQ(read(revoked, false), absl::StatusCode::kPermissionDenied);
      EXPECT_EQ(read(grant(), true), absl::StatusCode::kOk) << i;
    }
  }
}

// Others who want a connection do not get that of an operation that waits for its to come back.
TEST(MemorySimulationTest, AnOperationThatWaitsForItsConnectionEndsThoughThereAreTooMany) {
  MemoryWorld world(1, {});
  const auto user = world.Open("user", nullptr, /*max_peers=*/1);  // 2 connections
  const auto owner = world.Open("owner");
  const auto first = world.Open("first"), second = world.Open("second");
  const MemoryRegion scratch = *user->Allocate(64);
  const MemoryOperation read = {.kind = MemoryOperation::Kind::kRead,
                                .peer = *user->Resolve(owner->local_address()),
                                .key = {},
                                .local = scratch.bytes};
  std::vector<MemoryCompletion> ended;
  const std::vector<RdmaRemoteMemory*> all = {user.get(), owner.get(), first.get(), second.get()};
  const auto ends = [&](size_t count) {
    return world.Until(
        all, [&] { return ended.size() == count; }, 1'000'000'000, &ended);
  };
  ASSERT_TRUE(world.network().Partition({{*world.network().AddNode("owner")}}).ok());
  ASSERT_EQ(user->Post({&read, 1}), 1u);
  ASSERT_TRUE(ends(1));
  EXPECT_EQ(ended[0].code, absl::StatusCode::kUnavailable);
  // Not to be asked for again yet.
  ASSERT_EQ(user->Post({&read, 1}), 1u);
  for (const auto& other : {first.get(), second.get()}) {
    const Peer at_other = *other->Resolve(user->local_address());
    const MemoryRegion region = *other->Allocate(64);
    EXPECT_TRUE(world.Until(
        all, [&] { return other->Grant(at_other, region, 0, 64, MemoryAccess::kRead).ok(); },
        400'000, &ended));
  }
  EXPECT_EQ(ended.size(), 1u);
  world.network().Heal();
  ASSERT_TRUE(ends(2));
  EXPECT_EQ(ended[1].code, absl::StatusCode::kPermissionDenied) << "it has no key";
}

TEST(MemorySimulationTest, WhoWasUsedLongestAgoMakesRoomForAnother) {
  MemoryWorld world(1, {});
  const auto port = world.Open("port", nullptr, /*max_peers=*/3);
  const auto user = world.Open("user");
  const MemoryRegion region = *port->Allocate(64);
  const auto resolve = [&](const char* name) { return *port->Resolve(Address::Sim(name)); };
  const Peer with_key = resolve("user");
  const std::vector<RdmaRemoteMemory*> both = {port.get(), user.get()};
  std::vector<MemoryCompletion> ended;
  ASSERT_TRUE(world.Until(
      both, [&] { return port->Grant(with_key, region, 0, 64, MemoryAccess::kRead).ok(); },
      1'000'000, &ended));
  const Peer used = resolve("used"), unused = resolve("unused");
  EXPECT_EQ(resolve("used"), used);
  const Peer another = resolve("another");
  EXPECT_TRUE(port->AddressOf(with_key).ok());
  EXPECT_TRUE(port->AddressOf(used).ok());
  EXPECT_TRUE(port->AddressOf(another).ok());
  EXPECT_EQ(port->AddressOf(unused).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(port->keys(), 1u);
}

// Reads by a key, and returns how that ended.
absl::StatusCode Read(MemoryWorld& world, RdmaRemoteMemory& user, RdmaRemoteMemory& owner,
                      const RemoteKey& key) {
  const MemoryRegion scratch = *user.Allocate(8);
  const MemoryOperation read = {.kind = MemoryOperation::Kind::kRead,
                                .peer = *user.Resolve(owner.local_address()),
                                .key = key,
                                .local = scratch.bytes};
  EXPECT_EQ(user.Post({&read, 1}), 1u);
  std::vector<MemoryCompletion> ended;
  const std::vector<RdmaRemoteMemory*> both = {&user, &owner};
  EXPECT_TRUE(world.Until(
      both, [&] { return !ended.empty(); }, 1'000'000'000, &ended));
  user.Deregister(scratch);
  return ended.empty() ? absl::StatusCode::kUnknown : ended[0].code;
}

// An owner does not see that he is read, nor that he is not any more.
TEST(MemorySimulationTest, KeysOfWhoDiesWithoutAWordEndAndThoseOfWhoIsSilentDoNot) {
  MemoryWorld world(1, {});
  const auto owner = world.Open("owner");
  const auto silent = world.Open("silent");
  auto dies = world.Open("dies");
  const MemoryRegion region = *owner->Allocate(64);
  std::vector<RdmaRemoteMemory*> ports = {owner.get(), silent.get(), dies.get()};
  std::vector<MemoryCompletion> ended;
  const auto grant = [&](const RdmaRemoteMemory& user) {
    const Peer peer = *owner->Resolve(user.local_address());
    absl::StatusOr<RemoteKey> key;
    EXPECT_TRUE(world.Until(
        ports, [&] { return (key = owner->Grant(peer, region, 0, 8, MemoryAccess::kRead)).ok(); },
        100'000'000, &ended));
    return key.value_or(RemoteKey());
  };
  const RemoteKey lasts = grant(*silent);
  grant(*dies);
  EXPECT_EQ(owner->keys(), 2u);
  const Peer gone = *owner->Resolve(dies->local_address());

  ASSERT_TRUE(world.network().Partition({{*world.network().AddNode("dies")}}).ok());
  dies = nullptr;
  world.network().Heal();
  ports.pop_back();
  EXPECT_TRUE(world.Until(
      ports, [&] { return owner->keys() == 1; }, 60'000'000'000, &ended));
  PortEvent events[4];
  ASSERT_EQ(owner->TakeEvents(absl::MakeSpan(events)), 1u);
  EXPECT_EQ(events[0].kind, PortEvent::Kind::kPeerUnreachable);
  EXPECT_EQ(events[0].peer, gone);

  // Longer than a connection lasts that nobody uses.
  world.Until(
      ports, [] { return false; }, 100'000'000'000, &ended);
  EXPECT_EQ(owner->keys(), 1u);
  EXPECT_EQ(owner->connections().stats().broken, 0u);
  EXPECT_EQ(Read(world, *silent, *owner, lasts), absl::StatusCode::kOk);
  EXPECT_EQ(silent->connections().stats().idle_ended, 0u);
}

TEST(MemorySimulationTest, KeysOutlastThatTheirUserCannotBeReachedForAMoment) {
  MemoryWorld world(1, {});
  const auto owner = world.Open("owner"), user = world.Open("user");
  const MemoryRegion region = *owner->Allocate(64);
  const std::vector<RdmaRemoteMemory*> both = {owner.get(), user.get()};
  const Peer peer = *owner->Resolve(user->local_address());
  std::vector<MemoryCompletion> ended;
  absl::StatusOr<RemoteKey> key;
  ASSERT_TRUE(world.Until(
      both, [&] { return (key = owner->Grant(peer, region, 0, 8, MemoryAccess::kRead)).ok(); },
      100'000'000, &ended));
  ASSERT_TRUE(world.network().Partition({{*world.network().AddNode("user")}}).ok());
  world.Until(
      both, [] { return false; }, 15'000'000'000, &ended);  // one question
  world.network().Heal();
  EXPECT_GT(owner->connections().stats().asked_after, 0u);
  EXPECT_EQ(owner->keys(), 1u);
  EXPECT_EQ(Read(world, *user, *owner, *key), absl::StatusCode::kOk);
  ASSERT_TRUE(world.network().Partition({{*world.network().AddNode("user")}}).ok());
  EXPECT_TRUE(world.Until(
      both, [&] { return owner->keys() == 0; }, 60'000'000'000, &ended));
}

TEST(MemorySimulationTest, EveryOperationEndsOnceAndIsDoneOnce) {
  for (const uint64_t seed : sim::SeedsToRun(kSeeds)) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    MemorySimulation(seed).Run();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace weft::rdma
