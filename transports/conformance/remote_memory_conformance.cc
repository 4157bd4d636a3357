// SPDX-License-Identifier: Apache-2.0
//
// What remote_memory.h promises of regions, operations and their order, of what is under way, and
// of waiting. Rights are in remote_memory_rights_conformance.cc, peers that come and go in
// remote_memory_peers_conformance.cc.
#include "weft/transports/conformance/remote_memory_conformance.h"

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "weft/core/allocation_counter.h"

namespace weft {
namespace {

class RemoteMemoryConformance : public RemoteMemoryTest {};

INSTANTIATE_TEST_SUITE_P(RemoteMemory, RemoteMemoryConformance,
                         testing::ValuesIn(AdaptersWith(&Capabilities::remote_memory)),
                         AdapterName);

TEST_P(RemoteMemoryConformance, CapabilitiesOfThePort) {
  MemoryEnd& a = Open(0);
  const Capabilities& capabilities = a.port->capabilities();
  EXPECT_GE(capabilities.max_operation_bytes, 4096u);
  EXPECT_EQ(capabilities.max_operation_bytes, max_operation());
  EXPECT_EQ(capabilities.registers_any_memory, transport().capabilities().registers_any_memory);
  EXPECT_EQ(a.port->wait_fd() >= 0, capabilities.can_wait);
  EXPECT_TRUE(a.port->pool().Allocate());
  EXPECT_TRUE(a.port->status().ok());
}

TEST_P(RemoteMemoryConformance, AllocatedMemoryIsZeroAndPages) {
  MemoryEnd& a = Open(0);
  for (const size_t bytes : {size_t{1}, size_t{4096}, size_t{100'000}}) {
    const MemoryRegion region = Allocate(a, bytes);
    EXPECT_NE(region.id, 0u);
    ASSERT_EQ(region.bytes.size(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(region.bytes.data()) % 4096, 0u);
    EXPECT_TRUE(std::all_of(region.bytes.begin(), region.bytes.end(),
                            [](uint8_t byte) { return byte == 0; }));
    std::fill(region.bytes.begin(), region.bytes.end(), 0xff);
    a.port->Deregister(region);
    a.port->Deregister(region);  // is ignored
  }
  EXPECT_EQ(a.port->Allocate(0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(a.port->Allocate(size_t{1} << 62).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST_P(RemoteMemoryConformance, MemoryOfTheCallersWhereOffered) {
  MemoryEnd& owner = Open(0);
  std::vector<uint8_t> memory(10'000, 7);
  const absl::StatusOr<MemoryRegion> region = owner.port->Register(absl::MakeSpan(memory));
  if (!transport().capabilities().registers_any_memory) {
    EXPECT_EQ(region.status().code(), absl::StatusCode::kUnimplemented);
    return;
  }
  ASSERT_TRUE(region.ok()) << region.status();
  EXPECT_EQ(region->bytes.data(), memory.data());
  EXPECT_EQ(region->bytes.size(), memory.size());
  EXPECT_FALSE(owner.port->Register({}).ok());
  MemoryEnd& user = Open(1);
  const RemoteKey key = Grant(owner, user, *region, 5000, 100, kEverything);
  const Peer peer = PeerAt(user, owner);
  Fill(user.scratch.bytes, "remote");
  MemoryOperation write = Operation(OperationKind::kWrite, user, peer, key, 3, 6);
  EXPECT_EQ(Do(user, write).code, absl::StatusCode::kOk);
  EXPECT_EQ(TextOf(absl::MakeSpan(memory).subspan(5002, 8)), "\x07remote\x07");
  owner.port->Deregister(*region);
  write.offset = 50;
  EXPECT_EQ(Do(user, write).code, absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(memory[5050], 7);
}

// Sizes and alignments of every kind, and nothing beside them changes on either side.
TEST_P(RemoteMemoryConformance, ReadsAndWritesOfEverySize) {
  MemoryEnd& owner = Open(0);
  MemoryEnd& user = Open(1);
  const MemoryRegion region = Allocate(owner, kScratchBytes);
  const RemoteKey key = GrantAll(owner, user, region);
  const Peer peer = PeerAt(user, owner);
  Prng prng(1);
  std::vector<size_t> sizes;
  for (size_t size = 1; size <= 40; ++size) sizes.push_back(size);
  for (size_t size = 64; size <= 32 << 10; size *= 2) {
    for (const size_t near : {size - 1, size, size + 1}) sizes.push_back(near);
  }
  for (const size_t size : sizes) {
    if (size > max_operation()) break;
    std::string here = RandomBytes(kScratchBytes, 2 * size);
    std::string there = RandomBytes(kScratchBytes, 2 * size + 1);
    Fill(user.scratch.bytes, here);
    Fill(region.bytes, there);
    const size_t at = prng.Below(kScratchBytes - size + 1);
    const size_t offset = prng.Below(kScratchBytes - size + 1);
    MemoryOperation operation = Operation(OperationKind::kWrite, user, peer, key, offset);
    operation.local = user.scratch.bytes.subspan(at, size);
    ASSERT_EQ(Do(user, operation).code, absl::StatusCode::kOk);
    there.replace(offset, size, here, at, size);
    ASSERT_EQ(TextOf(region.bytes), there) << size << " bytes";
    operation.kind = OperationKind::kRead;
    operation.offset = prng.Below(kScratchBytes - size + 1);
    ASSERT_EQ(Do(user, operation).code, absl::StatusCode::kOk);
    here.replace(at, size, there, operation.offset, size);
    ASSERT_EQ(TextOf(user.scratch.bytes), here) << size << " bytes";
    ASSERT_EQ(TextOf(region.bytes), there);
  }
}

TEST_P(RemoteMemoryConformance, BuffersOfThePoolAreLocalMemory) {
  MemoryEnd& owner = Open(0);
  MemoryEnd& user = Open(1);
  const MemoryRegion region = Allocate(owner, 64);
  MemoryOperation operation = {.kind = OperationKind::kWrite,
                               .peer = PeerAt(user, owner),
                               .key = GrantAll(owner, user, region)};
  Buffer buffer = user.port->pool().Allocate();
  std::memcpy(buffer.Append(5), "hello", 5);
  operation.local = buffer.bytes();
  EXPECT_EQ(Do(user, operation).code, absl::StatusCode::kOk);
  EXPECT_EQ(TextOf(region.bytes.subspan(0, 5)), "hello");
  Fill(region.bytes, "olleh");
  operation.kind = OperationKind::kRead;
  EXPECT_EQ(Do(user, operation).code, absl::StatusCode::kOk);
  EXPECT_EQ(TextOf(buffer.bytes()), "olleh");
}

TEST_P(RemoteMemoryConformance, LongOperations) {
  const size_t longest = std::min<size_t>(max_operation(), 4 << 20);
  MemoryEnd& owner = Open(0);
  MemoryEnd& user = Open(1);
  const MemoryRegion region = Allocate(owner, longest + 1);
  const MemoryRegion local = Allocate(user, longest + 1);
  const Peer peer = PeerAt(user, owner);
  MemoryOperation operation = {.kind = OperationKind::kWrite,
                               .peer = peer,
                               .key = GrantAll(owner, user, region),
                               .offset = 1,
                               .local = local.bytes.subspan(0, longest)};
  const std::string bytes = RandomBytes(longest, 3);
  Fill(local.bytes, bytes);
  EXPECT_EQ(Do(user, operation).code, absl::StatusCode::kOk);
  EXPECT_TRUE(TextOf(region.bytes.subspan(1)) == bytes);
  EXPECT_EQ(region.bytes[0], 0);
  std::reverse(region.bytes.begin(), region.bytes.end());
  operation.kind = OperationKind::kRead;
  operation.offset = 0;
  operation.local = local.bytes.subspan(1);
  EXPECT_EQ(Do(user, operation).code, absl::StatusCode::kOk);
  EXPECT_TRUE(TextOf(local.bytes.subspan(1)) == std::string(bytes.rbegin(), bytes.rend()));
  if (longest == max_operation()) {
    operation.local = local.bytes;
    EXPECT_EQ(Do(user, operation).code, absl::StatusCode::kInvalidArgument);
  }
}

TEST_P(RemoteMemoryConformance, AtomicOperations) {
  MemoryEnd& owner = Open(0);
  MemoryEnd& user = Open(1);
  const MemoryRegion region = Allocate(owner, 32);
  const RemoteKey key = GrantAll(owner, user, region);
  MemoryOperation add = Operation(OperationKind::kFetchAdd, user, PeerAt(user, owner), key, 8);
  MemoryOperation swap = add;
  swap.kind = OperationKind::kCompareSwap;
  const auto expect = [&](const MemoryOperation& operation, uint64_t old_value, uint64_t value) {
    const MemoryCompletion end = Do(user, operation);
    EXPECT_EQ(end.code, absl::StatusCode::kOk);
    EXPECT_EQ(end.old_value, old_value);
    EXPECT_EQ(WordAt(region.bytes, 8), value);
  };
  add.operand = 5;
  expect(add, 0, 5);
  add.operand = UINT64_MAX;  // less one
  expect(add, 5, 4);
  add.operand = UINT64_MAX - 3;
  expect(add, 4, 0);
  swap.compare = 1;
  swap.operand = 2;
  expect(swap, 0, 0);
  swap.compare = 0;
  swap.operand = UINT64_MAX;
  expect(swap, 0, UINT64_MAX);
  EXPECT_EQ(WordAt(region.bytes, 0), 0u);
  EXPECT_EQ(WordAt(region.bytes, 16), 0u);
}

// What is posted later sees and overwrites what was posted earlier, whatever the kinds and sizes.
TEST_P(RemoteMemoryConformance, OperationsToAPeerTakeEffectInOrder) {
  MemoryEnd& owner = Open(0);
  MemoryEnd& user = Open(1);
  constexpr size_t kWords = 512;
  const MemoryRegion region = Allocate(owner, 8 * kWords);
  const RemoteKey key = GrantAll(owner, user, region);
  const Peer peer = PeerAt(user, owner);
  const auto words = reinterpret_cast<uint64_t*>(user.scratch.bytes.data());
  for (uint64_t round = 1; round <= 50; ++round) {
    std::fill_n(words, kWords, round);
    words[kWords] = 1000 + round;
    MemoryOperation all = Operation(OperationKind::kWrite, user, peer, key, 0, 8 * kWords);
    MemoryOperation one = Operation(OperationKind::kWrite, user, peer, key, 80, 8);
    one.local = user.scratch.bytes.subspan(8 * kWords, 8);
    MemoryOperation add = Operation(OperationKind::kFetchAdd, user, peer, key, 80);
    MemoryOperation back = Operation(OperationKind::kRead, user, peer, key, 72, 24);
    back.local = user.scratch.bytes.subspan(8 * kWords + 64, 24);
    std::vector<uint64_t> contexts;
    for (const MemoryOperation& operation : {all, one, add, back}) {
      contexts.push_back(Post(user, operation));
    }
    MemoryCompletion ends[4];
    for (size_t i = 0; i < 4; ++i) {
      ends[i] = Await(user, contexts[i]);
      ASSERT_EQ(ends[i].code, absl::StatusCode::kOk);
    }
    EXPECT_EQ(ends[2].old_value, 1000 + round);
    EXPECT_EQ(WordAt(back.local, 0), round);
    EXPECT_EQ(WordAt(back.local, 8), 1001 + round);
    EXPECT_EQ(WordAt(back.local, 16), round);
  }
}

TEST_P(RemoteMemoryConformance, OperationsThatCannotBe) {
  MemoryEnd& owner = Open(0);
  MemoryEnd& user = Open(1);
  const MemoryRegion region = Allocate(owner, 64);
  const RemoteKey key = GrantAll(owner, user, region);
  const Peer peer = PeerAt(user, owner);
  std::string foreign(16, 'x');
  const absl::Span<uint8_t> scratch = user.scratch.bytes;
  for (const OperationKind kind : kAllOperations) {
    std::vector<MemoryOperation> wrong(3, Operation(kind, user, peer, key));
    wrong[0].peer = Peer();
    wrong[1].peer = {{~uint64_t{0}, 12345, 99}};
    wrong[2].kind = static_cast<OperationKind>(200);
    if (IsAtomic(kind)) {
      for (const uint64_t crooked : {1, 4, 7, 9, 63}) {
        wrong.push_back(Operation(kind, user, peer, key, crooked));
      }
    } else {
      wrong.resize(7, wrong.back());
      for (size_t i = 3; i < 7; ++i) wrong[i] = Operation(kind, user, peer, key);
      wrong[3].local = {};
      wrong[4].local = scratch.subspan(0, 0);
      wrong[5].local = {reinterpret_cast<uint8_t*>(foreign.data()), foreign.size()};
      wrong[6].local = {scratch.data() + scratch.size() - 4, (1 << 20) + size_t{8}};
    }
    for (size_t i = 0; i < wrong.size(); ++i) {
      EXPECT_EQ(Do(user, wrong[i]).code, absl::StatusCode::kInvalidArgument)
          << "kind " << static_cast<int>(kind) << ", mistake " << i;
    }
  }
  EXPECT_EQ(foreign, std::string(16, 'x'));
  EXPECT_EQ(TextOf(region.bytes), std::string(64, '\0'));
  // Local memory that is known no more.
  const MemoryRegion local = Allocate(user, 64);
  MemoryOperation read = Operation(OperationKind::kRead, user, peer, key);
  read.local = local.bytes.subspan(0, 8);
  EXPECT_EQ(Do(user, read).code, absl::StatusCode::kOk);
  user.port->Deregister(local);
  EXPECT_EQ(Do(user, read).code, absl::StatusCode::kInvalidArgument);
  ExpectTheyWork(owner, user);
}

// Who does not poll can have only so much under way. All of it ends, once, and then there is room.
TEST_P(RemoteMemoryConformance, TooMuchUnderWay) {
  MemoryEnd& owner = Open(0);
  MemoryEnd& user = Open(1);
  const MemoryRegion region = Allocate(owner, 64);
  const RemoteKey key = GrantAll(owner, user, region);
  const Peer peer = PeerAt(user, owner);
  for (int round = 0; round < 3; ++round) {
    std::vector<MemoryOperation> burst(64, Operation(OperationKind::kFetchAdd, user, peer, key));
    uint64_t posted = 0;
    const uint64_t first = user.next_context;
    for (size_t taken = burst.size(); taken == burst.size();) {
      for (MemoryOperation& operation : burst) {
        operation.context = first + posted + static_cast<uint64_t>(&operation - burst.data());
      }
      taken = user.port->Post(burst);
      ASSERT_LE(taken, burst.size());
      posted += taken;
      ASSERT_LT(posted, 1u << 20) << "there is no limit";
    }
    EXPECT_GE(posted, 16u);
    user.next_context += posted;
    std::vector<uint64_t> seen;
    for (uint64_t i = 0; i < posted; ++i) {
      const MemoryCompletion end = Await(user, first + i);
      ASSERT_EQ(end.code, absl::StatusCode::kOk);
      seen.push_back(end.old_value);
    }
    EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
    EXPECT_EQ(WordAt(region.bytes, 0), seen.back() + 1);
    EXPECT_EQ(user.port->Post({}), 0u);
    EXPECT_EQ(user.port->Poll({}), 0u);
  }
}

TEST_P(RemoteMemoryConformance, NoAllocationsInSteadyState) {
  if (is_virtual()) GTEST_SKIP() << "the simulation itself allocates";
  MemoryEnd& owner = Open(0);
  MemoryEnd& user = Open(1);
  const RemoteKey key = GrantAll(owner, user, owner.scratch);
  std::vector<MemoryOperation> burst;
  for (const OperationKind kind : kAllOperations) {
    burst.push_back(Operation(kind, user, PeerAt(user, owner), key, 64, 4096));
  }
  MemoryCompletion done[8];
  size_t ended = 0;
  const auto round = [&] {
    size_t posted = 0;
    for (const size_t target = ended + burst.size(); ended < target;) {
      posted += user.port->Post(absl::MakeConstSpan(burst).subspan(posted));
      ended += user.port->Poll(absl::MakeSpan(done));
      owner.port->Poll(absl::MakeSpan(done));
      if (GetParam().work) GetParam().work();
    }
  };
  for (int i = 0; i < 300; ++i) round();
  const int64_t before = AllocationsOfThisThread();
  for (int i = 0; i < 300; ++i) round();
  EXPECT_EQ(AllocationsOfThisThread() - before, 0);
}

// The owner sleeps until it is needed, as the user does until its operation has ended: a lost
// wake-up of the user stops them, one of the owner makes them slow.
TEST_P(RemoteMemoryConformance, NoWakeUpIsLost) {
  if (!transport().capabilities().can_wait) GTEST_SKIP() << "ports cannot be waited for";
  MemoryEnd& owner = Open(0);
  MemoryEnd& user = Open(1);
  const MemoryRegion region = Allocate(owner, 64);
  const MemoryOperation add =
      Operation(OperationKind::kFetchAdd, user, PeerAt(user, owner), GrantAll(owner, user, region));
  std::atomic<bool> over{false};
  std::thread owning([&] {
    owner.port->BindToThisThread();
    MemoryCompletion none[1];
    while (!over.load()) {
      EXPECT_EQ(owner.port->Poll(absl::MakeSpan(none)), 0u);
      if (!owner.port->Arm()) continue;
      pollfd fd = {owner.port->wait_fd(), POLLIN, 0};
      ::poll(&fd, 1, 50);
      owner.port->Disarm();
    }
  });
  for (uint64_t i = 0; i < 500 && !HasFailure(); ++i) {
    ASSERT_EQ(user.port->Post({&add, 1}), 1u);
    MemoryCompletion end[1];
    while (user.port->Poll(absl::MakeSpan(end)) == 0) {
      if (!WaitFor(*user.port)) {
        ADD_FAILURE() << "waited for nothing";
        break;
      }
    }
    EXPECT_EQ(end[0].old_value, i);
  }
  over.store(true);
  owning.join();
  owner.port->BindToThisThread();
}

TEST_P(RemoteMemoryConformance, AnIdlePortLetsItsThreadSleep) {
  if (!transport().capabilities().can_wait) GTEST_SKIP() << "ports cannot be waited for";
  MemoryEnd& a = Open(0);
  MemoryEnd& b = Open(1);
  ExpectTheyWork(a, b);
  for (MemoryEnd* end : {&a, &b}) {
    EXPECT_TRUE(WaitUntil([&] {
      if (!end->port->Arm()) return false;
      pollfd fd = {end->port->wait_fd(), POLLIN, 0};
      const bool quiet = ::poll(&fd, 1, 0) == 0;
      end->port->Disarm();
      return quiet;
    }));
  }
}

// Many users add to and swap the words of one owner, each on a thread of its own where there are
// threads; so does the owner's processor where that is promised.
TEST_P(RemoteMemoryConformance, AtomicityAmongPeers) {
  constexpr uint64_t kUsers = 3, kRounds = 100;
  MemoryEnd& owner = Open(0);
  const MemoryRegion region = Allocate(owner, 64);
  struct User {
    MemoryEnd* end;
    MemoryOperation add, swap;
    std::vector<uint64_t> seen;
    uint64_t swapped = 0;
    bool waiting = false;
  };
  std::vector<User> users;
  for (uint64_t i = 0; i < kUsers; ++i) {
    MemoryEnd& end = Open(1 + i);
    const RemoteKey key = GrantAll(owner, end, region);
    users.push_back({&end,
                     Operation(OperationKind::kFetchAdd, end, PeerAt(end, owner), key),
                     Operation(OperationKind::kCompareSwap, end, PeerAt(end, owner), key, 8),
                     {}});
  }
  // One step of a user; true when it has done all of its rounds.
  const auto step = [](User& user) {
    RemoteMemory& port = *user.end->port;
    MemoryCompletion end[1];
    if (user.waiting && port.Poll(absl::MakeSpan(end)) == 1) {
      EXPECT_EQ(end[0].code, absl::StatusCode::kOk);
      user.waiting = false;
      if (end[0].context == 0) {
        user.seen.push_back(end[0].old_value);
      } else {
        const bool swapped = end[0].old_value == user.swap.compare;
        user.swapped += swapped;
        user.swap.compare = end[0].old_value + swapped;
      }
    }
    if (user.waiting) return false;
    const bool adds = user.seen.size() < kRounds;
    if (!adds && user.swapped == kRounds) return true;
    user.swap.operand = user.swap.compare + 1;
    MemoryOperation next = adds ? user.add : user.swap;
    next.context = adds ? 0 : 1;
    user.waiting = port.Post({&next, 1}) == 1;
    return false;
  };
  const bool with_processor = transport().capabilities().atomic_with_processor;
  const auto words = reinterpret_cast<uint64_t*>(region.bytes.data());
  uint64_t own = 0;
  const auto work_beside = [&] {
    if (!with_processor || own == kRounds) return;
    std::atomic_ref(words[0]).fetch_add(1);
    uint64_t expected = std::atomic_ref(words[1]).load();
    while (!std::atomic_ref(words[1]).compare_exchange_weak(expected, expected + 1)) {
    }
    ++own;
  };
  if (is_virtual()) {
    EXPECT_TRUE(Until([&] {
      work_beside();
      owner.Poll();
      size_t ready = 0;
      for (User& user : users) ready += step(user);
      return ready == users.size();
    }));
  } else {
    std::atomic<size_t> ready{0};
    std::vector<std::thread> threads;
    for (User& user : users) {
      threads.emplace_back([&] {
        user.end->port->BindToThisThread();
        const auto end = std::chrono::steady_clock::now() + kConformancePatience;
        while (!step(user) && std::chrono::steady_clock::now() < end) std::this_thread::yield();
        ++ready;
      });
    }
    MemoryCompletion none[1];
    while (ready.load() < users.size()) {
      work_beside();
      owner.port->Poll(absl::MakeSpan(none));
      if (GetParam().work) GetParam().work();
      std::this_thread::yield();
    }
    for (std::thread& thread : threads) thread.join();
    for (User& user : users) user.end->port->BindToThisThread();
  }
  std::vector<uint64_t> all;
  for (const User& user : users) {
    EXPECT_TRUE(std::is_sorted(user.seen.begin(), user.seen.end()));
    all.insert(all.end(), user.seen.begin(), user.seen.end());
  }
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::adjacent_find(all.begin(), all.end()), all.end()) << "seen twice";
  EXPECT_EQ(words[0], kUsers * kRounds + own);
  EXPECT_EQ(words[1], kUsers * kRounds + own);
}

TEST_P(RemoteMemoryConformance, APortMayMoveToAnotherThread) {
  if (is_virtual()) GTEST_SKIP() << "one thread is all there is in virtual time";
  MemoryEnd& owner = Open(0);
  MemoryEnd& user = Open(1);
  ExpectTheyWork(owner, user);
  std::thread([&] {
    owner.port->BindToThisThread();
    user.port->BindToThisThread();
    ExpectTheyWork(owner, user);
    opened_.clear();
  }).join();
}

}  // namespace
}  // namespace weft
