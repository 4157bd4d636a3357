// SPDX-License-Identifier: Apache-2.0
//
// What emulated memory does beyond the contract, whose tests are in conformance_test.cc: its bytes,
// what it believes of strangers, its limits; how it is opened; and coroutines that use it.
#include "weft/transports/remote_memory/emulated_memory.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/crc32c.h"
#include "weft/core/loop.h"
#include "weft/core/task_group.h"
#include "weft/transports/registry.h"
#include "weft/transports/remote_memory/memory_client.h"
#include "weft/transports/remote_memory/open.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft {
namespace {

using emulated::Action;
using emulated::Kind;
using emulated::Packet;

constexpr MemoryAccess kAll = MemoryAccess::kRead | MemoryAccess::kWrite | MemoryAccess::kAtomic;

TEST(Crc32cTest, KnownValuesAndBothWays) {
  const std::string digits = "123456789";
  const absl::Span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(digits.data()), 9);
  EXPECT_EQ(Crc32c(bytes), 0xe3069283);  // RFC 3720, B.4 has more of them
  EXPECT_EQ(Crc32c(std::vector<uint8_t>(32, 0xff)), 0x62a8ab43);
  EXPECT_EQ(ExtendCrc32c(Crc32c(bytes.subspan(0, 5)), bytes.subspan(5)), 0xe3069283);
  std::vector<uint8_t> many(1000);
  for (size_t i = 0; i < many.size(); ++i) many[i] = static_cast<uint8_t>(i * 7);
  for (size_t size = 0; size < many.size(); size += 13) {
    const absl::Span<const uint8_t> part(many.data(), size);
    EXPECT_EQ(Crc32c(part), internal::ExtendCrc32cByTable(0, part));
  }
}

// As docs/protocols/remote_memory.md has them.
TEST(RemoteMemoryWireTest, Layouts) {
  BufferPool pool({.count = 1, .bytes = 512});
  const auto hex = [&](const Packet& packet) {
    Buffer buffer = pool.Allocate();
    emulated::Append(packet, &buffer);
    Packet parsed;
    EXPECT_TRUE(emulated::Parse(buffer.bytes(), &parsed));
    for (size_t bit = 0; bit < buffer.size() * 8; ++bit) {
      buffer.data()[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
      EXPECT_FALSE(emulated::Parse(buffer.bytes(), &parsed)) << "with bit " << bit << " flipped";
      buffer.data()[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    }
    std::memset(buffer.data() + 4, 0, 4);  // the checksum
    return absl::BytesToHexString({reinterpret_cast<const char*>(buffer.data()), buffer.size()});
  };
  EXPECT_EQ(hex({.kind = Kind::kHello,
                 .packet_max = 1472,
                 .nonce = 0x1112131415161718,
                 .sender_index = 7,
                 .window = 32}),
            "574d0101"
            "00000000"
            "0000000000000000"
            "00000000"
            "000005c0"
            "1112131415161718"
            "00000007"
            "0020"
            "0000");
  EXPECT_EQ(hex({.kind = Kind::kRequest,
                 .token = 0x0102030405060708,
                 .index = 9,
                 .sequence = 10,
                 .answered_below = 8,
                 .key = {.index = 3, .secret = {0x2122232425262728, 0x3132333435363738}},
                 .action = Action::kCompareSwap,
                 .offset = 64,
                 .bytes = 8,
                 .piece_bytes = 8,
                 .compare = 1,
                 .operand = 2}),
            "574d0106"
            "00000000"
            "0102030405060708"
            "00000009"
            "0000000a"
            "00000008"
            "00000003"
            "2122232425262728"
            "3132333435363738"
            "03000000"
            "00000008"
            "0000000000000040"
            "00000008"
            "00000000"
            "0000000000000001"
            "0000000000000002");
  const uint8_t data[] = {0xaa, 0xbb};
  EXPECT_EQ(hex({.kind = Kind::kResponse, .token = 1, .index = 2, .sequence = 3, .data = data}),
            "574d0107"
            "00000000"
            "0000000000000001"
            "00000002"
            "00000003"
            "0000000000000000"
            "aabb");
  EXPECT_EQ(hex({.kind = Kind::kAck, .token = 1, .index = 2, .sequence = 3}),
            "574d0108"
            "00000000"
            "0000000000000001"
            "00000002"
            "00000003");
}

class EmulatedMemoryTest : public testing::Test {
 protected:
  std::unique_ptr<EmulatedMemory> Open(const std::string& name,
                                       const EmulatedMemoryOptions& options = {}) {
    auto port = transport_->OpenDatagramPort({.local = Address::Sim(name)});
    EXPECT_TRUE(port.ok()) << port.status();
    auto memory = EmulatedMemory::Create(*std::move(port), network_, &network_, options);
    EXPECT_TRUE(memory.ok()) << memory.status();
    memories_.push_back(memory->get());
    return *std::move(memory);
  }
  // Polls all for some time.
  void Run(int64_t duration_ns = 20'000'000) {
    for (const int64_t end_ns = network_.NowNs() + duration_ns; network_.NowNs() < end_ns;) {
      network_.AdvanceTo(std::min(network_.NextEventNs(), network_.NowNs() + 100'000));
      network_.timers().Advance(network_.NowNs());
      for (EmulatedMemory* const memory : memories_) {
        MemoryCompletion completions[16];
        const size_t n = memory->Poll(absl::MakeSpan(completions));
        done_.insert(done_.end(), completions, completions + n);
      }
    }
  }
  RemoteKey Grant(EmulatedMemory& owner, const std::string& user, const MemoryRegion& region) {
    const Peer peer = *owner.Resolve(Address::Sim(user));
    auto key = owner.Grant(peer, region, 0, region.bytes.size(), kAll);
    for (int i = 0; i < 100 && absl::IsUnavailable(key.status()); ++i) {
      Run(1'000'000);
      key = owner.Grant(peer, region, 0, region.bytes.size(), kAll);
    }
    EXPECT_TRUE(key.ok()) << key.status();
    return key.value_or(RemoteKey());
  }
  absl::StatusCode Add(EmulatedMemory& user, const std::string& owner, const RemoteKey& key) {
    const MemoryOperation add = {.kind = MemoryOperation::Kind::kFetchAdd,
                                 .peer = *user.Resolve(Address::Sim(owner)),
                                 .key = key,
                                 .operand = 1};
    done_.clear();
    EXPECT_EQ(user.Post({&add, 1}), 1u);
    Run(50'000'000);
    EXPECT_EQ(done_.size(), 1u);
    return done_.empty() ? absl::StatusCode::kUnknown : done_[0].code;
  }

  sim::Network network_{1};
  std::unique_ptr<Transport> transport_ = sim::OpenTransport(&network_, {.count = 64});
  std::vector<EmulatedMemory*> memories_;
  std::vector<MemoryCompletion> done_;  // of all
};

TEST_F(EmulatedMemoryTest, StrangersChangeNothing) {
  const auto user = Open("user");
  const auto owner = Open("owner", {.peers_max = 2});
  const MemoryRegion region = *owner->Allocate(64);
  const RemoteKey key = Grant(*owner, "user", region);
  EXPECT_EQ(Add(*user, "owner", key), absl::StatusCode::kOk);
  // One who sees nothing, and tries what he can guess: indexes, numbers, kinds.
  auto stranger = *transport_->OpenDatagramPort({.local = Address::Sim("stranger")});
  const Peer victims[] = {*stranger->Resolve(Address::Sim("owner")),
                          *stranger->Resolve(Address::Sim("user"))};
  uint64_t token = 0;
  for (int round = 0; round < 200; ++round) {
    for (const Peer& victim : victims) {
      for (uint8_t kind = 1; kind <= 10; ++kind) {
        Datagram datagram = {.peer = victim, .buffer = stranger->pool().Allocate()};
        ASSERT_TRUE(datagram.buffer);
        emulated::Append({.kind = static_cast<Kind>(kind),
                          .token = ++token,
                          .index = static_cast<uint32_t>(round % 3),
                          .packet_max = 1472,
                          .nonce = token,
                          .window = 8,
                          .sequence = static_cast<uint32_t>(round % 5),
                          .key = emulated::ShapeOf(key).name,
                          .action = Action::kFetchAdd,
                          .bytes = 8,
                          .piece_bytes = 8,
                          .operand = 1},
                         &datagram.buffer);
        stranger->Send({&datagram, 1});
      }
    }
    Run(200'000);
    Datagram received[32];
    while (stranger->Receive(absl::MakeSpan(received)) > 0) {
    }
  }
  EXPECT_FALSE(user->has_events());
  EXPECT_FALSE(owner->has_events());
  EXPECT_EQ(Add(*user, "owner", key), absl::StatusCode::kOk);
  EXPECT_EQ(region.bytes[0], 2);
  // Greetings that nobody stood by took no place: one more peer has room.
  const auto other = Open("other");
  EXPECT_EQ(Add(*other, "owner", Grant(*owner, "other", region)), absl::StatusCode::kOk);
}

TEST_F(EmulatedMemoryTest, MorePeersThanThereIsRoomForAreRefused) {
  const auto user = Open("user");
  const auto owner = Open("owner", {.peers_max = 1});
  const auto first = Open("first");
  const MemoryRegion region = *owner->Allocate(64);
  Grant(*owner, "first", region);
  EXPECT_EQ(owner->Resolve(Address::Sim("user")).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Add(*user, "owner", RemoteKey()), absl::StatusCode::kUnavailable);
  PortEvent event[1];
  ASSERT_EQ(user->TakeEvents(absl::MakeSpan(event)), 1u);
  EXPECT_EQ(event[0].kind, PortEvent::Kind::kPeerUnreachable);
  EXPECT_EQ(event[0].error, ECONNREFUSED);
}

TEST_F(EmulatedMemoryTest, WhoSaysNothingForLongIsMissed) {
  const auto user = Open("user");
  const auto owner =
      Open("owner", {.peer_timeout = absl::Milliseconds(50), .keepalive = absl::Milliseconds(100)});
  const MemoryRegion region = *owner->Allocate(64);
  const RemoteKey key = Grant(*owner, "user", region);
  Run(1'000'000'000);
  EXPECT_FALSE(owner->has_events());
  EXPECT_EQ(Add(*user, "owner", key), absl::StatusCode::kOk);
  ASSERT_TRUE(network_.Partition({{*network_.AddNode("user")}}).ok());
  Run(500'000'000);
  EXPECT_TRUE(owner->has_events());
  network_.Heal();
  // Its keys have ended. It learns of that when it comes.
  EXPECT_NE(Add(*user, "owner", key), absl::StatusCode::kOk);
  EXPECT_EQ(region.bytes[0], 1);
  EXPECT_EQ(Add(*user, "owner", Grant(*owner, "user", region)), absl::StatusCode::kOk);
}

// Long reads by many at once, of an owner with few buffers: all are done, in the end.
TEST_F(EmulatedMemoryTest, FewBuffersMakeItSlowOnly) {
  transport_ = sim::OpenTransport(&network_, {.count = 16, .bytes = 1024});
  const auto user = Open("user");
  const auto owner = Open("owner");
  const MemoryRegion region = *owner->Allocate(200'000);
  const MemoryRegion local = *user->Allocate(200'000);
  for (size_t i = 0; i < region.bytes.size(); ++i) region.bytes[i] = static_cast<uint8_t>(i / 5);
  const MemoryOperation read = {.peer = *user->Resolve(Address::Sim("owner")),
                                .key = Grant(*owner, "user", region),
                                .local = local.bytes};
  ASSERT_EQ(user->Post({&read, 1}), 1u);
  Run(3'000'000'000);
  ASSERT_EQ(done_.size(), 1u);
  EXPECT_EQ(done_[0].code, absl::StatusCode::kOk);
  EXPECT_TRUE(local.bytes == region.bytes);
}

// One who vanishes while the owner keeps all the answers for him that it may holds up nobody else.
TEST_F(EmulatedMemoryTest, WhoGoesWithoutAWordHoldsUpNobody) {
  const auto owner = Open("owner");
  const auto gone = Open("gone");
  const auto user = Open("user");
  const MemoryRegion region = *owner->Allocate(200'000);
  const auto read = [&](EmulatedMemory& by, const std::string& name, size_t bytes) {
    const MemoryOperation operation = {.peer = *by.Resolve(Address::Sim("owner")),
                                       .key = Grant(*owner, name, region),
                                       .local = by.Allocate(200'000)->bytes.first(bytes)};
    done_.clear();
    EXPECT_EQ(by.Post({&operation, 1}), 1u);
  };
  read(*gone, "gone", 200'000);
  for (int i = 0; i < 100 && owner->session_stats().not_taken.value() == 0; ++i) Run(10'000);
  ASSERT_GT(owner->session_stats().not_taken.value(), 0u);
  ASSERT_TRUE(network_.Partition({{*network_.AddNode("gone")}}).ok());
  ASSERT_TRUE(done_.empty());
  read(*user, "user", 10'000);
  Run(1'000'000'000);
  ASSERT_EQ(done_.size(), 1u);
  EXPECT_EQ(done_[0].code, absl::StatusCode::kOk);
}

std::unique_ptr<Transport> Linux() {
  config::Transport config;
  config.set_name("linux");
  return *OpenPlainTransport(config);
}

TEST(OpenRemoteMemoryTest, PlainTextStaysOnThisMachineUnlessAllowed) {
  const auto transport = Linux();
  const Address beyond = *Address::Parse("192.0.2.1:7000");
  const Address anywhere = *Address::Parse("0.0.0.0:0");
  EXPECT_EQ(OpenRemoteMemory(*transport, {.local = anywhere}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  const auto here = OpenRemoteMemory(*transport, {});
  ASSERT_TRUE(here.ok()) << here.status();
  EXPECT_TRUE((*here)->local_address().is_within_machine());
  EXPECT_EQ((*here)->Resolve(beyond).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE((*here)->Resolve(*Address::Parse("127.0.0.1:7000")).ok());
  const auto allowed = OpenRemoteMemory(*transport, {.local = anywhere}, {.beyond_machine = true});
  ASSERT_TRUE(allowed.ok()) << allowed.status();
  EXPECT_TRUE((*allowed)->Resolve(beyond).ok());
}

TEST(OpenRemoteMemoryTest, TheTransportsOwnWhereItHasOneAndNothingIsToBeProtected) {
  sim::Network network(1);
  const auto transport = sim::OpenTransport(&network);
  ASSERT_TRUE(transport->capabilities().remote_memory);
  const auto own = OpenRemoteMemory(*transport, {.local = Address::Sim("own")});
  ASSERT_TRUE(own.ok()) << own.status();
  EXPECT_EQ(dynamic_cast<EmulatedMemory*>(own->get()), nullptr);
  int wrapped = 0;
  const auto emulated = OpenRemoteMemory(*transport, {.local = Address::Sim("emulated")},
                                         {.protect = [&](std::unique_ptr<DatagramPort> port) {
                                           ++wrapped;
                                           return port;
                                         }});
  ASSERT_TRUE(emulated.ok()) << emulated.status();
  EXPECT_NE(dynamic_cast<EmulatedMemory*>(emulated->get()), nullptr);
  EXPECT_EQ(wrapped, 1);
}

class MemoryClientTest : public EmulatedMemoryTest {
 protected:
  bool RunLoop(absl::FunctionRef<bool()> done) {
    Loop* const loops[] = {&loop_};
    return RunVirtual(network_, loops, done, network_.NowNs() + 10'000'000'000);
  }

  Loop loop_{{}, network_};
  TaskGroup tasks_;
};

Task<void> UseAll(MemoryClient& owner, MemoryClient& user, bool* done) {
  const MemoryRegion region = *owner.memory().Allocate(4096);
  const MemoryRegion local = *user.memory().Allocate(4096);
  const auto key = co_await owner.Grant(*owner.memory().Resolve(user.memory().local_address()),
                                        region, 0, 4096, kAll, absl::Seconds(1));
  EXPECT_TRUE(key.ok()) << key.status();
  const Peer peer = *user.memory().Resolve(owner.memory().local_address());
  std::memcpy(local.bytes.data(), "written", 7);
  EXPECT_TRUE((co_await user.Write(peer, *key, 100, local.bytes.subspan(0, 7))).ok());
  EXPECT_EQ(std::memcmp(region.bytes.data() + 100, "written", 7), 0);
  EXPECT_TRUE((co_await user.Read(peer, *key, 100, local.bytes.subspan(8, 7))).ok());
  EXPECT_EQ(std::memcmp(local.bytes.data() + 8, "written", 7), 0);
  EXPECT_EQ(*co_await user.FetchAdd(peer, *key, 0, 5), 0u);
  EXPECT_EQ(*co_await user.CompareSwap(peer, *key, 0, 5, 9), 5u);
  EXPECT_EQ(*co_await user.FetchAdd(peer, *key, 0, 1), 9u);
  owner.memory().Revoke(*key);
  const absl::StatusOr<uint64_t> refused = co_await user.FetchAdd(peer, *key, 0, 1);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kPermissionDenied);
  *done = true;
}

TEST_F(MemoryClientTest, OperationsAreAwaited) {
  MemoryClient owner(loop_, Open("owner"));
  MemoryClient user(loop_, Open("user"));
  bool done = false;
  tasks_.Spawn(UseAll(owner, user, &done));
  EXPECT_TRUE(RunLoop([&] { return done; }));
  EXPECT_EQ(user.unfinished(), 0u);
}

Task<void> AddOne(MemoryClient& user, Peer peer, RemoteKey key, std::vector<uint64_t>* seen) {
  const absl::StatusOr<uint64_t> old = co_await user.FetchAdd(peer, key, 0, 1);
  EXPECT_TRUE(old.ok()) << old.status();
  if (old.ok()) seen->push_back(*old);
}

// More than the port takes, in order; and those that are given up do no harm.
TEST_F(MemoryClientTest, ManyWaitAndSomeAreGivenUp) {
  MemoryClient owner(loop_, Open("owner"));
  MemoryClient user(loop_, Open("user"), /*begun_max=*/8);
  const MemoryRegion region = *owner.memory().Allocate(64);
  std::optional<RemoteKey> key;
  const auto grant = [](MemoryClient& owner, MemoryRegion region,
                        std::optional<RemoteKey>* key) -> Task<void> {
    *key = *co_await owner.Grant(*owner.memory().Resolve(Address::Sim("user")), region, 0, 64, kAll,
                                 absl::Seconds(1));
  };
  tasks_.Spawn(grant(owner, region, &key));
  ASSERT_TRUE(RunLoop([&] { return key.has_value(); }));
  const Peer peer = *user.memory().Resolve(Address::Sim("owner"));
  std::vector<uint64_t> seen, never;
  for (int i = 0; i < 20; ++i) tasks_.Spawn(AddOne(user, peer, *key, &seen));
  {
    TaskGroup given_up;
    for (int i = 0; i < 20; ++i) given_up.Spawn(AddOne(user, peer, *key, &never));
  }
  for (int i = 0; i < 20; ++i) tasks_.Spawn(AddOne(user, peer, *key, &seen));
  EXPECT_EQ(user.unfinished(), 8u);
  EXPECT_TRUE(RunLoop([&] { return seen.size() == 40; }));
  for (size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], i);
  EXPECT_TRUE(never.empty());
}

// Ends each operation at once, as shared memory does.
class InstantMemory final : public RemoteMemory {
 public:
  InstantMemory()
      : RemoteMemory(Capabilities(), BufferPoolOptions{.count = 1, .bytes = 64, .headroom = 0}) {}
  Address local_address() const override { return Address::Sim("instant"); }
  absl::StatusOr<MemoryRegion> Allocate(size_t) override { return absl::UnimplementedError(""); }
  absl::StatusOr<MemoryRegion> Register(absl::Span<uint8_t>) override {
    return absl::UnimplementedError("");
  }
  void Deregister(const MemoryRegion&) override {}
  absl::StatusOr<Peer> Resolve(const Address&) override { return Peer{{1, 0, 0}}; }
  absl::StatusOr<Address> AddressOf(const Peer&) const override { return local_address(); }
  absl::StatusOr<RemoteKey> Grant(const Peer&, const MemoryRegion&, size_t, size_t,
                                  MemoryAccess) override {
    return RemoteKey();
  }
  void Revoke(const RemoteKey&) override {}
  size_t Post(absl::Span<const MemoryOperation> operations) override {
    for (const MemoryOperation& operation : operations) ended_.push_back({operation.context});
    return operations.size();
  }
  size_t Poll(absl::Span<MemoryCompletion> completions) override {
    const size_t n = std::min(completions.size(), ended_.size());
    std::copy_n(ended_.begin(), n, completions.begin());
    ended_.erase(ended_.begin(), ended_.begin() + static_cast<ptrdiff_t>(n));
    return n;
  }

 private:
  size_t DoTakeEvents(absl::Span<PortEvent>) override { return 0; }

  std::vector<MemoryCompletion> ended_;
};

// Many coroutines that post again as soon as they are resumed leave the loop its turn.
TEST_F(MemoryClientTest, OperationsThatEndAtOnceDoNotKeepTheLoop) {
  MemoryClient user(loop_, std::make_unique<InstantMemory>());
  bool stop = false;
  size_t operations = 0;
  const auto use = [](MemoryClient& user, const bool* stop, size_t* operations) -> Task<void> {
    while (!*stop && ++*operations < 10'000'000) {
      EXPECT_TRUE((co_await user.FetchAdd(Peer(), RemoteKey(), 0, 1)).ok());
    }
  };
  for (int i = 0; i < 200; ++i) tasks_.Spawn(use(user, &stop, &operations));
  for (int i = 0; i < 10; ++i) EXPECT_GT(user.Poll(), 0u);
  EXPECT_LT(operations, 10'000u);
  stop = true;
  while (user.Poll() > 0) {
  }
  EXPECT_EQ(tasks_.size(), 0u);
}

Task<void> GrantTo(const char* name, MemoryClient& owner, absl::Duration timeout,
                   std::optional<absl::Status>* ended) {
  const MemoryRegion region = *owner.memory().Allocate(64);
  const Peer peer = *owner.memory().Resolve(Address::Sim(name));
  *ended = (co_await owner.Grant(peer, region, 0, 64, kAll, timeout)).status();
}

TEST_F(MemoryClientTest, AGrantToNobodyEnds) {
  MemoryClient owner(loop_, Open("owner"));
  std::optional<absl::Status> ended;
  tasks_.Spawn(GrantTo("nobody", owner, absl::Seconds(60), &ended));
  EXPECT_TRUE(RunLoop([&] { return ended.has_value(); }));
  EXPECT_EQ(ended->code(), absl::StatusCode::kUnavailable);
}

TEST_F(MemoryClientTest, AGrantMayWaitForEver) {
  MemoryClient owner(loop_, Open("owner")), user(loop_, Open("user"));
  std::optional<absl::Status> ended;
  tasks_.Spawn(GrantTo("user", owner, absl::InfiniteDuration(), &ended));
  EXPECT_TRUE(RunLoop([&] { return ended.has_value(); }));
  EXPECT_TRUE(ended->ok()) << *ended;
}

}  // namespace
}  // namespace weft
