// SPDX-License-Identifier: Apache-2.0
//
// Ports that use each other's memory over a network that loses, doubles, reorders, delays and
// damages packets, is partitioned, and on which ports are closed and opened again; and what must
// hold all the same:
//   counters   fetch-and-add of 1: each result once, in an order that time allows (so each is
//              executed once and they are linearizable), none beyond those that may have been
//   swaps      compare-and-swap from each value to a new one: nobody else swaps the same one
//   registers  one writer: readers see what time and the order of posting allow
//   blocks     of many packets, by one writer, who reads back what he wrote
//   revoked    memory does not change any more
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/transports/remote_memory/emulated_memory.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft {
namespace {

constexpr size_t kNodes = 3;
constexpr size_t kBlockWords = 1024;  // 8 KiB: several packets
// Words of a node's memory: a counter, a swapped word, registers of each user, blocks of each.
constexpr size_t kCounter = 0;
constexpr size_t kSwap = 1;
constexpr size_t kRegisters = 2;
constexpr size_t kBlocks = 16;
constexpr size_t kWords = kBlocks + kNodes * kBlockWords;
constexpr size_t kSecretWords = 8;  // of another region, revoked now and then
constexpr size_t kOutstandingMax = 24;

enum class What { kAdd, kSwap, kPut, kGet, kPutBlock, kGetBlock, kSecret };

struct Operation {
  What what;
  size_t owner;
  int64_t begun_ns;
  uint64_t first = 0;   // kSwap: from; kPut: the value; kGet: the least that it may see
  uint64_t second = 0;  // kSwap: to; kGet: the most, if it is the writer's own register
  size_t target = 0;    // kGet: whose register
  size_t room = 0;      // of local memory
};

// An ended fetch-and-add.
struct Added {
  uint64_t old_value;
  int64_t begun_ns;
  int64_t ended_ns;
};

// What the world must know of one node's memory, as it was since the node was opened.
struct Truth {
  std::vector<Added> added;
  uint64_t perhaps_added = 0;
  std::set<uint64_t> swapped_from;
  uint64_t last_posted[kNodes] = {};    // registers, by writer
  uint64_t last_finished[kNodes] = {};  // likewise
  uint64_t block[kNodes] = {};          // its seed, by writer; 0: not known
};

struct Node {
  std::string name;
  std::unique_ptr<EmulatedMemory> port;
  std::vector<uint64_t> memory = std::vector<uint64_t>(kWords);
  std::vector<uint64_t> secret = std::vector<uint64_t>(kSecretWords);
  std::vector<uint64_t> local = std::vector<uint64_t>(kOutstandingMax * kBlockWords);
  MemoryRegion region, secret_region;
  std::set<size_t> rooms;  // free
  std::map<uint64_t, Operation> outstanding;
  std::map<size_t, RemoteKey> key, secret_key;  // of others' memory, by owner
  std::map<size_t, RemoteKey> given;            // of the secret, by user
  bool revoked = false;                         // all of these, since the secret was last filled
  Truth truth;
};

absl::Span<uint8_t> BytesOf(std::vector<uint64_t>& words) {
  return {reinterpret_cast<uint8_t*>(words.data()), words.size() * 8};
}

class World {
 public:
  World(uint64_t seed, const sim::LinkOptions& links, bool disturb)
      : random_(seed), network_(seed, links), disturb_(disturb) {
    transport_ = sim::OpenTransport(&network_, {.count = 256, .bytes = 1536});
    for (size_t i = 0; i < kNodes; ++i) {
      nodes_.emplace_back();
      nodes_[i].name = absl::StrCat("node", i);
      Open(i);
    }
  }

  void Run(int64_t duration_ns) {
    const int64_t end_ns = network_.NowNs() + duration_ns;
    while (network_.NowNs() < end_ns && !testing::Test::HasFailure()) {
      for (size_t i = 0; i < kNodes; ++i) Post(i);
      if (disturb_) Disturb();
      Step();
    }
    network_.Heal();
    for (int64_t last_ns = network_.NowNs() + 10'000'000'000; network_.NowNs() < last_ns;) {
      if (AllEnded() || testing::Test::HasFailure()) break;
      Step();
    }
    EXPECT_TRUE(AllEnded()) << "operations that never end";
    for (size_t i = 0; i < kNodes; ++i) CheckMemory(i);
  }

  uint64_t finished = 0, denied = 0, unavailable = 0;
  uint64_t sent_again() const {
    uint64_t sum = 0;
    for (const Node& node : nodes_) sum += node.port->session_stats().sent_again.value();
    return sum;
  }

 private:
  void Open(size_t i) {
    Node& node = nodes_[i];
    auto datagrams = transport_->OpenDatagramPort({.local = Address::Sim(node.name)});
    ASSERT_TRUE(datagrams.ok()) << datagrams.status();
    auto port = EmulatedMemory::Create(*std::move(datagrams), network_, &network_,
                                       {.peers_max = kNodes,
                                        .operations_max = kOutstandingMax,
                                        .window = 8,
                                        .connect_timeout = absl::Milliseconds(disturb_ ? 50 : 1000),
                                        .peer_timeout = absl::Milliseconds(disturb_ ? 100 : 1000),
                                        .keepalive = absl::Milliseconds(80)});
    ASSERT_TRUE(port.ok()) << port.status();
    node.port = *std::move(port);
    std::fill(node.memory.begin(), node.memory.end(), 0);
    node.truth = Truth();
    node.region = *node.port->Register(BytesOf(node.memory));
    node.secret_region = *node.port->Register(BytesOf(node.secret));
    ASSERT_TRUE(node.port->Register(BytesOf(node.local)).ok());
    for (size_t room = 0; room < kOutstandingMax; ++room) node.rooms.insert(room);
  }

  // The node's process ends, and another begins.
  void Restart(size_t i) {
    Node& node = nodes_[i];
    for (const auto& [context, operation] : node.outstanding) Perhaps(i, operation);
    node.outstanding.clear();
    node.rooms.clear();
    node.key.clear();
    node.secret_key.clear();
    node.given.clear();
    node.revoked = false;
    CheckMemory(i);
    node.port.reset();
    Open(i);
    // What others knew of its memory is history.
    for (Node& other : nodes_) {
      other.key.erase(i);
      other.secret_key.erase(i);
      for (auto& [context, operation] : other.outstanding) {
        if (operation.owner == i) operation.owner = kNodes;
      }
    }
  }

  void Disturb() {
    if (random_.Chance(0.001)) Restart(random_.Below(kNodes));
    if (random_.Chance(0.001)) {
      const auto id = network_.AddNode(nodes_[random_.Below(kNodes)].name);
      ASSERT_TRUE(network_.Partition({{*id}}).ok());
      heal_ns_ = network_.NowNs() + static_cast<int64_t>(random_.Below(250'000'000));
    }
    if (network_.NowNs() >= heal_ns_) {
      network_.Heal();
      heal_ns_ = INT64_MAX;
    }
    if (random_.Chance(0.01)) Revoke(random_.Below(kNodes));
  }

  // Whoever is revoked changes nothing from then on: the memory is what its owner makes it.
  void Revoke(size_t owner) {
    Node& node = nodes_[owner];
    for (const auto& [user, key] : node.given) node.port->Revoke(key);
    node.given.clear();
    node.revoked = true;
    mark_ += 1;
    std::fill(node.secret.begin(), node.secret.end(), mark_ << 32);
  }
  void CheckRevoked(size_t owner) {
    Node& node = nodes_[owner];
    if (!node.revoked) return;
    for (const uint64_t word : node.secret) {
      ASSERT_EQ(word & 0xffffffff, 0u) << "written after its key was revoked";
    }
  }

  void Step() {
    int64_t next_ns = std::min(network_.NextEventNs(), network_.timers().NextDeadlineNs());
    next_ns = std::min(next_ns, network_.NowNs() + 50'000);
    network_.AdvanceTo(std::max(next_ns, network_.NowNs()));
    network_.timers().Advance(network_.NowNs());
    for (size_t i = 0; i < kNodes; ++i) {
      Poll(i);
      CheckRevoked(i);
    }
  }

  void Poll(size_t i) {
    Node& node = nodes_[i];
    MemoryCompletion done[4];
    for (size_t n; (n = node.port->Poll(absl::MakeSpan(done))) > 0;) {
      for (const MemoryCompletion& completion : absl::MakeSpan(done, n)) {
        const auto found = node.outstanding.find(completion.context);
        ASSERT_NE(found, node.outstanding.end()) << "ended twice";
        Operation operation = found->second;
        node.outstanding.erase(found);
        Ended(i, operation, completion);
        node.rooms.insert(operation.room);
      }
    }
    PortEvent events[8];
    for (size_t n; (n = node.port->TakeEvents(absl::MakeSpan(events))) > 0;) {
      for (const PortEvent& event : absl::MakeSpan(events, n)) {
        // Keys that were given to it have ended.
        for (size_t user = 0; user < kNodes; ++user) {
          if (*node.port->AddressOf(event.peer) != Address::Sim(nodes_[user].name)) continue;
          nodes_[user].key.erase(i);
          nodes_[user].secret_key.erase(i);
          node.given.erase(user);
        }
      }
    }
  }

  void Ended(size_t i, const Operation& operation, const MemoryCompletion& completion) {
    if (completion.code == absl::StatusCode::kUnavailable) {
      ++unavailable;
      return Perhaps(i, operation);
    }
    if (completion.code == absl::StatusCode::kPermissionDenied) {
      ++denied;
      nodes_[i].secret_key.erase(operation.owner);
      if (operation.what == What::kPutBlock) ForgetBlock(i, operation.owner);
      if (operation.what != What::kSecret) nodes_[i].key.erase(operation.owner);
      return;
    }
    ASSERT_EQ(completion.code, absl::StatusCode::kOk);
    ++finished;
    if (operation.owner == kNodes) return;  // of a process that has ended since
    Truth& truth = nodes_[operation.owner].truth;
    const uint64_t* const local = &nodes_[i].local[operation.room * kBlockWords];
    switch (operation.what) {
      case What::kAdd:
        truth.added.push_back({completion.old_value, operation.begun_ns, network_.NowNs()});
        break;
      case What::kSwap:
        if (completion.old_value != operation.first) break;
        ASSERT_TRUE(truth.swapped_from.insert(operation.first).second) << "swapped twice";
        break;
      case What::kPut:
        truth.last_finished[i] = std::max(truth.last_finished[i], operation.first);
        break;
      case What::kGet:
        ASSERT_GE(local[0], operation.first) << "older than what had been written";
        if (operation.target == i) {
          ASSERT_LE(local[0], operation.second) << "from the future";
        }
        ASSERT_LE(local[0], truth.last_posted[operation.target]);
        break;
      case What::kGetBlock:
        if (operation.first == 0) break;
        for (size_t word = 0; word < kBlockWords; ++word) {
          ASSERT_EQ(local[word], operation.first + word);
        }
        break;
      case What::kPutBlock:
      case What::kSecret:
        break;
    }
  }

  // It may have been executed, or not.
  void Perhaps(size_t i, const Operation& operation) {
    if (operation.owner == kNodes) return;
    Truth& truth = nodes_[operation.owner].truth;
    if (operation.what == What::kAdd) ++truth.perhaps_added;
    if (operation.what == What::kSwap) nodes_[i].key.erase(operation.owner);
    if (operation.what == What::kPutBlock) ForgetBlock(i, operation.owner);
  }

  // None, all or some of what `i` wrote there has been written, whatever reads behind it expect.
  void ForgetBlock(size_t i, size_t owner) {
    if (owner == kNodes) return;
    nodes_[owner].truth.block[i] = 0;
    for (auto& [context, operation] : nodes_[i].outstanding) {
      if (operation.what == What::kGetBlock && operation.owner == owner) operation.first = 0;
    }
  }

  bool GetKeys(size_t user, size_t owner) {
    Node& from = nodes_[owner];
    Node& to = nodes_[user];
    if (to.key.contains(owner) && to.secret_key.contains(owner)) return true;
    const Peer back = *from.port->Resolve(Address::Sim(to.name));
    const MemoryAccess all = MemoryAccess::kRead | MemoryAccess::kWrite | MemoryAccess::kAtomic;
    if (!to.key.contains(owner)) {
      auto key = from.port->Grant(back, from.region, 0, kWords * 8, all);
      if (!key.ok()) return false;
      to.key[owner] = *key;
    }
    auto secret = from.port->Grant(back, from.secret_region, 0, kSecretWords * 8, all);
    if (!secret.ok()) return false;
    if (const auto old = from.given.find(user); old != from.given.end()) {
      from.port->Revoke(old->second);
    }
    to.secret_key[owner] = from.given[user] = *secret;
    from.revoked = false;
    return true;
  }

  void Post(size_t i) {
    Node& node = nodes_[i];
    while (!node.rooms.empty() && random_.Chance(0.6)) {
      const size_t owner = (i + 1 + random_.Below(kNodes - 1)) % kNodes;
      const auto peer = node.port->Resolve(Address::Sim(nodes_[owner].name));
      ASSERT_TRUE(peer.ok()) << peer.status();
      if (!GetKeys(i, owner)) return;
      Operation operation = {.what = static_cast<What>(random_.Below(7)),
                             .owner = owner,
                             .begun_ns = network_.NowNs(),
                             .room = *node.rooms.begin()};
      MemoryOperation posted = Make(i, *peer, &operation);
      posted.context = ++context_;
      ASSERT_EQ(node.port->Post({&posted, 1}), 1u);
      node.rooms.erase(node.rooms.begin());
      node.outstanding[posted.context] = operation;
    }
  }

  MemoryOperation Make(size_t i, const Peer& peer, Operation* operation) {
    Node& node = nodes_[i];
    Truth& truth = nodes_[operation->owner].truth;
    absl::Span<uint64_t> room(&node.local[operation->room * kBlockWords], kBlockWords);
    absl::Span<uint8_t> word(reinterpret_cast<uint8_t*>(room.data()), 8);
    absl::Span<uint8_t> block(reinterpret_cast<uint8_t*>(room.data()), kBlockWords * 8);
    MemoryOperation posted = {.peer = peer, .key = node.key[operation->owner], .local = {}};
    switch (operation->what) {
      case What::kAdd:
        posted.kind = MemoryOperation::Kind::kFetchAdd;
        posted.offset = kCounter * 8;
        posted.operand = 1;
        break;
      case What::kSwap:
        posted.kind = MemoryOperation::Kind::kCompareSwap;
        posted.offset = kSwap * 8;
        // What is there, which the test may look at; or a guess.
        operation->first = nodes_[operation->owner].memory[kSwap];
        operation->second = ++unique_;
        posted.compare = operation->first;
        posted.operand = operation->second;
        break;
      case What::kPut:
        posted.kind = MemoryOperation::Kind::kWrite;
        posted.offset = (kRegisters + i) * 8;
        posted.local = word;
        room[0] = operation->first = ++truth.last_posted[i];
        break;
      case What::kGet:
        posted.kind = MemoryOperation::Kind::kRead;
        operation->target = random_.Below(kNodes);
        posted.offset = (kRegisters + operation->target) * 8;
        posted.local = word;
        // Those of one's own that were posted before have taken effect, and no later one.
        operation->first = truth.last_finished[operation->target];
        operation->second = truth.last_posted[i];
        break;
      case What::kPutBlock:
        posted.kind = MemoryOperation::Kind::kWrite;
        posted.offset = (kBlocks + i * kBlockWords) * 8;
        posted.local = block;
        truth.block[i] = ++unique_ << 20;
        for (size_t w = 0; w < kBlockWords; ++w) room[w] = truth.block[i] + w;
        break;
      case What::kGetBlock:
        posted.kind = MemoryOperation::Kind::kRead;
        posted.offset = (kBlocks + i * kBlockWords) * 8;
        posted.local = block;
        operation->first = truth.block[i];
        break;
      case What::kSecret:
        posted.kind = MemoryOperation::Kind::kFetchAdd;
        posted.key = node.secret_key[operation->owner];
        posted.offset = random_.Below(kSecretWords) * 8;
        posted.operand = 1;
        break;
    }
    return posted;
  }

  bool AllEnded() const {
    return std::all_of(nodes_.begin(), nodes_.end(),
                       [](const Node& node) { return node.outstanding.empty(); });
  }

  void CheckMemory(size_t i) {
    Truth& truth = nodes_[i].truth;
    const uint64_t count = nodes_[i].memory[kCounter];
    ASSERT_GE(count, truth.added.size());
    uint64_t outstanding = 0;
    for (const Node& node : nodes_) {
      for (const auto& [context, operation] : node.outstanding) {
        outstanding += operation.owner == i && operation.what == What::kAdd ? 1 : 0;
      }
    }
    ASSERT_LE(count, truth.added.size() + truth.perhaps_added + outstanding)
        << "something was executed twice";
    std::sort(truth.added.begin(), truth.added.end(),
              [](const Added& a, const Added& b) { return a.old_value < b.old_value; });
    int64_t latest_begin_ns = 0;
    for (size_t n = 0; n < truth.added.size(); ++n) {
      ASSERT_LT(truth.added[n].old_value, count);
      if (n > 0) {
        ASSERT_NE(truth.added[n].old_value, truth.added[n - 1].old_value);
      }
      ASSERT_GE(truth.added[n].ended_ns, latest_begin_ns) << "not linearizable";
      latest_begin_ns = std::max(latest_begin_ns, truth.added[n].begun_ns);
    }
  }

  Prng random_;
  sim::Network network_;
  const bool disturb_;
  std::unique_ptr<Transport> transport_;
  std::deque<Node> nodes_;
  int64_t heal_ns_ = INT64_MAX;
  uint64_t context_ = 0;
  uint64_t unique_ = 0;
  uint64_t mark_ = 0;
};

uint64_t Seeds() {
  const char* const wanted = std::getenv("WEFT_SEEDS");
  return wanted == nullptr ? 4 : std::strtoull(wanted, nullptr, 10);
}

TEST(EmulatedMemorySimulation, OverABadNetwork) {
  uint64_t sent_again = 0;
  for (uint64_t seed = 1; seed <= Seeds(); ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    World world(
        seed,
        {.jitter_ns = 20'000, .loss = 0.05, .duplicate = 0.05, .reorder = 0.1, .corrupt = 0.02},
        /*disturb=*/false);
    world.Run(100'000'000);
    if (HasFailure()) return;
    EXPECT_GT(world.finished, 100u);
    EXPECT_EQ(world.unavailable, 0u);
    sent_again += world.sent_again();
  }
  EXPECT_GT(sent_again, 100u);
}

TEST(EmulatedMemorySimulation, WithPartitionsRestartsAndRevocation) {
  uint64_t denied = 0, unavailable = 0;
  for (uint64_t seed = 1; seed <= Seeds(); ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    World world(
        seed,
        {.jitter_ns = 20'000, .loss = 0.02, .duplicate = 0.05, .reorder = 0.1, .corrupt = 0.01},
        /*disturb=*/true);
    world.Run(500'000'000);
    if (HasFailure()) return;
    EXPECT_GT(world.finished, 100u);
    denied += world.denied;
    unavailable += world.unavailable;
  }
  EXPECT_GT(denied, 0u);
  EXPECT_GT(unavailable, 0u);
}

}  // namespace
}  // namespace weft
