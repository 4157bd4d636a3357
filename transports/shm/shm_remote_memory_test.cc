// SPDX-License-Identifier: Apache-2.0
//
// Remote memory between processes that die and peers that do what no honest one does; what holds on
// every transport is in transports/conformance.
#include "weft/transports/shm/shm_remote_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "weft/transports/shm/grant_table.h"
#include "weft/transports/shm/rendezvous.h"
#include "weft/transports/shm/session.h"
#include "weft/transports/shm/test_util.h"

namespace weft::shm {
namespace {

using Kind = MemoryOperation::Kind;
constexpr MemoryAccess kAll = MemoryAccess::kRead | MemoryAccess::kWrite | MemoryAccess::kAtomic;

void Poll(RemoteMemory& port) {
  MemoryCompletion none[1];
  port.Poll(absl::MakeSpan(none));
}

PortEvent NextEventOf(RemoteMemory& port) {
  PortEvent event[1];
  while (port.TakeEvents(absl::MakeSpan(event)) == 0) Poll(port);
  return event[0];
}

absl::StatusCode Do(RemoteMemory& port, const MemoryOperation& operation) {
  MemoryCompletion end[1];
  EXPECT_EQ(port.Post({&operation, 1}), 1u);
  EXPECT_EQ(port.Poll(absl::MakeSpan(end)), 1u);
  return end[0].code;
}

class ShmRemoteMemoryTest : public ::testing::Test {
 protected:
  std::unique_ptr<RemoteMemory> Open(const std::string& name) {
    return transport_->OpenRemoteMemory({.local = Address::Shm(name)}).value();
  }

  // A peer of `port` called "raw", of which the test writes every byte.
  Session ConnectTo(RemoteMemory& port, uint32_t ring_bytes = kMemoryRingBytes) {
    config::Shm config;
    config.set_directory(directory_.path());
    auto session = Connect(
        Directory::FromConfig(config)->SocketPath(port.local_address().name(), Contract::kMemory),
        Contract::kMemory, "raw", ring_bytes);
    EXPECT_TRUE(session.ok()) << session.status();
    return *std::move(session);
  }
  static Notice NextNotice(RemoteMemory& port, Session& session, UniqueFd* descriptor) {
    Notice notice = {};
    while (ReceiveNotice(session.socket.get(), &notice, descriptor) == Received::kNothing) {
      Poll(port);
    }
    return notice;
  }

  TempDirectory directory_;
  std::unique_ptr<Transport> transport_ = OpenShm(Config(directory_.path()));
};

TEST_F(ShmRemoteMemoryTest, Layout) {
  EXPECT_EQ(sizeof(SharedGrant), 64u);
  EXPECT_EQ(offsetof(SharedGrant, serial), 0u);
  EXPECT_EQ(offsetof(SharedGrant, offset), 8u);
  EXPECT_EQ(offsetof(SharedGrant, bytes), 16u);
  EXPECT_EQ(offsetof(SharedGrant, mapping), 24u);
  EXPECT_EQ(offsetof(SharedGrant, access), 28u);
  EXPECT_EQ(static_cast<int>(Notice::Kind::kRegion), 5);
  EXPECT_EQ(static_cast<int>(Notice::Kind::kForget), 6);
  EXPECT_EQ(kMaxGrants, 4096u);
}

TEST_F(ShmRemoteMemoryTest, WhatIsGrantedForReadingCannotBeMappedForWriting) {
  auto owner = Open("owner");
  Session raw = ConnectTo(*owner);
  const MemoryRegion region = *owner->Allocate(8192);
  UniqueFd descriptor;
  EXPECT_EQ(NextNotice(*owner, raw, &descriptor).kind, Notice::Kind::kWelcome);
  const Peer peer = *owner->Resolve(Address::Shm("raw"));

  ASSERT_TRUE(owner->Grant(peer, region, 0, 64, MemoryAccess::kRead).ok());
  Notice notice = NextNotice(*owner, raw, &descriptor);
  EXPECT_EQ(notice.kind, Notice::Kind::kRegion);
  EXPECT_EQ(notice.flags, 0);
  ASSERT_TRUE(descriptor);
  EXPECT_EQ(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor.get(), 0),
            MAP_FAILED);
  EXPECT_EQ(write(descriptor.get(), "x", 1), -1);
  EXPECT_EQ(ftruncate(descriptor.get(), 0), -1);
  struct stat info;
  ASSERT_EQ(fstat(descriptor.get(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0400u);
  EXPECT_EQ(info.st_size, 8192);
  EXPECT_FALSE(MappedPages::Open(descriptor, /*writable=*/true).ok());
  EXPECT_TRUE(MappedPages::Open(descriptor, /*writable=*/false).ok());

  // Handed over once for each way to use it.
  ASSERT_TRUE(owner->Grant(peer, region, 64, 64, MemoryAccess::kRead).ok());
  ASSERT_TRUE(owner->Grant(peer, region, 0, 64, MemoryAccess::kWrite).ok());
  ASSERT_TRUE(owner->Grant(peer, region, 0, 64, MemoryAccess::kAtomic).ok());
  notice = NextNotice(*owner, raw, &descriptor);
  EXPECT_EQ(notice.kind, Notice::Kind::kRegion);
  EXPECT_EQ(notice.flags, Notice::kWritable);
  EXPECT_TRUE(MappedPages::Open(descriptor, /*writable=*/true).ok());
  owner->Deregister(region);
  EXPECT_EQ(NextNotice(*owner, raw, &descriptor).kind, Notice::Kind::kForget);
  EXPECT_EQ(NextNotice(*owner, raw, &descriptor).kind, Notice::Kind::kForget);
}

// Regions come and go while the peer does not look: grants have to wait, and nothing is used up.
TEST_F(ShmRemoteMemoryTest, APeerThatDoesNotPollHoldsUpItsGrantsOnly) {
  auto owner = Open("owner");
  Session raw = ConnectTo(*owner);
  UniqueFd descriptor;
  EXPECT_EQ(NextNotice(*owner, raw, &descriptor).kind, Notice::Kind::kWelcome);
  const Peer peer = *owner->Resolve(Address::Shm("raw"));
  for (int round = 0; round < 3; ++round) {
    absl::Status status;
    for (int i = 0; status.ok(); ++i) {
      ASSERT_LT(i, 10'000) << "there is no limit";
      const MemoryRegion region = *owner->Allocate(4096);
      status = owner->Grant(peer, region, 0, 64, MemoryAccess::kRead).status();
      owner->Deregister(region);
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    int regions = 0;
    Notice notice;
    while (ReceiveNotice(raw.socket.get(), &notice, &descriptor) == Received::kNotice) {
      regions += notice.kind == Notice::Kind::kRegion;
      EXPECT_LT(PlaceOf(static_cast<uint32_t>(notice.error)), 2u);  // places are used again
    }
    EXPECT_GT(regions, 50);
  }
}

// A region takes the place of another, and the key to it is used before the user has looked at his
// socket: that is not taken for a key to the pages that were there before.
TEST_F(ShmRemoteMemoryTest, ARegionInThePlaceOfAnotherIsNotTakenForIt) {
  auto owner = Open("owner");
  auto user = Open("user");
  const MemoryRegion local = *user->Allocate(64);
  const Peer at_user = *user->Resolve(Address::Shm("owner"));
  Poll(*owner);
  const Peer peer = *owner->Resolve(Address::Shm("user"));
  for (int round = 1; round <= 300; ++round) {
    const MemoryRegion region = *owner->Allocate(64);
    std::memset(region.bytes.data(), round, 64);
    const auto key = owner->Grant(peer, region, 0, 64, kAll);
    ASSERT_TRUE(key.ok()) << key.status();
    // Now and then after very many have come and gone.
    if (round % 100 != 0 || round == 300) {
      const MemoryOperation read = {.peer = at_user, .key = *key, .local = local.bytes.first(64)};
      ASSERT_EQ(user->Post({&read, 1}), 1u);
      MemoryCompletion end[1];
      ASSERT_EQ(user->Poll(absl::MakeSpan(end)), 1u);
      ASSERT_EQ(end[0].code, absl::StatusCode::kOk) << "round " << round;
      ASSERT_EQ(local.bytes[0], static_cast<uint8_t>(round));
    }
    owner->Deregister(region);
    for (int i = 0; round == 299 && i < 60; ++i) {
      const MemoryRegion other = *owner->Allocate(64);
      ASSERT_TRUE(owner->Grant(peer, other, 0, 64, kAll).ok());
      owner->Deregister(other);
    }
  }
}

// Operations to one peer take effect in the order in which they were posted, a read behind a write
// too: of two who each write and then read what the other writes, one sees the other.
TEST_F(ShmRemoteMemoryTest, AReadDoesNotOvertakeTheWriteBeforeIt) {
  constexpr int kRounds = 20'000;
  auto owner = Open("owner");
  const MemoryRegion region = *owner->Allocate(4096);
  const char* const names[] = {"first", "second"};
  std::unique_ptr<RemoteMemory> users[2];
  Peer owners[2];
  RemoteKey keys[2];
  for (int i : {0, 1}) {
    users[i] = Open(names[i]);
    owners[i] = *users[i]->Resolve(Address::Shm("owner"));
    Poll(*owner);
    keys[i] = *owner->Grant(*owner->Resolve(Address::Shm(names[i])), region, 0, 4096, kAll);
  }
  std::atomic<int> arrived{0};
  std::vector<uint64_t> seen[2];
  const auto run = [&](int i) {
    users[i]->BindToThisThread();
    const absl::Span<uint8_t> local = users[i]->Allocate(16)->bytes;
    MemoryOperation both[2] = {{.kind = Kind::kWrite,
                                .peer = owners[i],
                                .key = keys[i],
                                .offset = static_cast<uint64_t>(i) * 512,
                                .local = local.first(8)},
                               {.kind = Kind::kRead,
                                .peer = owners[i],
                                .key = keys[i],
                                .offset = static_cast<uint64_t>(1 - i) * 512,
                                .local = local.subspan(8, 8)}};
    for (uint64_t round = 1; round <= kRounds; ++round) {
      std::memcpy(local.data(), &round, 8);
      ++arrived;
      for (int spins = 0; arrived.load() < static_cast<int>(2 * round); ++spins) {
        if (spins > 5'000) std::this_thread::yield();
      }
      users[i]->Post(both);
      MemoryCompletion ends[2];
      users[i]->Poll(absl::MakeSpan(ends));
      uint64_t value;
      std::memcpy(&value, local.data() + 8, 8);
      seen[i].push_back(value);
    }
  };
  std::thread other(run, 1);
  run(0);
  other.join();
  int neither = 0;
  for (int i = 0; i < kRounds; ++i) {
    const auto round = static_cast<uint64_t>(i) + 1;
    neither += seen[0][static_cast<size_t>(i)] < round && seen[1][static_cast<size_t>(i)] < round;
  }
  EXPECT_EQ(neither, 0);
  for (int i : {0, 1}) users[i]->BindToThisThread();
}

// A user that is within an operation holds up Revoke() for as long as that lasts, and no longer
// than it lives; one that stays there is given up.
TEST_F(ShmRemoteMemoryTest, RevokeWaitsForOperationsThatAreUnderWay) {
  auto owner = Open("owner");
  const MemoryRegion region = *owner->Allocate(4096);
  enum class Then { kEnds, kDies, kStays };
  for (const Then then : {Then::kEnds, Then::kDies, Then::kStays}) {
    Session raw = ConnectTo(*owner);
    UniqueFd descriptor;
    EXPECT_EQ(NextNotice(*owner, raw, &descriptor).kind, Notice::Kind::kWelcome);
    const Peer peer = *owner->Resolve(Address::Shm("raw"));
    const RemoteKey key = *owner->Grant(peer, region, 0, 64, kAll);
    std::atomic<uint64_t>& produced = raw.memory.mine().produced;
    produced.store(1);
    std::atomic<bool> over{false};
    std::thread user([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      over.store(true);
      if (then == Then::kEnds) produced.store(2);
      if (then == Then::kDies) raw.socket.Reset();
    });
    owner->Revoke(key);
    EXPECT_TRUE(over.load());
    user.join();
    if (then == Then::kEnds) {
      EXPECT_TRUE(owner->AddressOf(peer).ok());
      raw.socket.Reset();
    }
    const PortEvent event = NextEventOf(*owner);
    EXPECT_EQ(event.kind, PortEvent::Kind::kPeerUnreachable);
    EXPECT_EQ(event.peer, peer);
    EXPECT_EQ(event.error, then == Then::kStays ? ETIMEDOUT : ECONNRESET);
    EXPECT_FALSE(owner->AddressOf(peer).ok());
  }
}

// Whatever an owner writes into its table, its user stays within the pages that it was handed.
TEST_F(ShmRemoteMemoryTest, AHostileOwnersTableIsNotBelieved) {
  auto user = Open("user");
  const MemoryRegion local = *user->Allocate(4096);
  Session raw = ConnectTo(*user);
  UniqueFd descriptor;
  EXPECT_EQ(NextNotice(*user, raw, &descriptor).kind, Notice::Kind::kWelcome);
  const Peer peer = *user->Resolve(Address::Shm("raw"));
  OwnPages pages = *OwnPages::Create(8192);
  SendNotice(raw.socket.get(), {.kind = Notice::Kind::kRegion, .error = 3},
             *pages.Descriptor(false));

  auto* const table = reinterpret_cast<SharedGrant*>(raw.memory.my_ring());
  ShmKey key = {};
  key.owner_side = Side::kConnector;
  key.serial = 77;
  key.entry = 5;
  MemoryOperation operation = {.peer = peer, .key = {}, .local = local.bytes.first(64)};
  std::memcpy(operation.key.bytes.data(), &key, sizeof(key));
  SharedGrant& grant = table[5];
  grant.serial = 77;
  grant.access = 7;
  const auto with = [&](uint64_t offset, uint64_t bytes, uint32_t mapping, Kind kind = Kind::kRead,
                        uint64_t at = 0) {
    grant.offset = offset;
    grant.bytes = bytes;
    grant.mapping = mapping;
    operation.kind = kind;
    operation.offset = at;
    return Do(*user, operation);
  };
  EXPECT_EQ(with(0, 64, 3), absl::StatusCode::kOk);
  EXPECT_EQ(with(8192 - 64, 64, 3), absl::StatusCode::kOk);
  constexpr auto kDenied = absl::StatusCode::kPermissionDenied;
  EXPECT_EQ(with(8192 - 63, 64, 3), kDenied);
  EXPECT_EQ(with(0, 1 << 30, 3, Kind::kRead, 8192), kDenied);
  EXPECT_EQ(with(UINT64_MAX - 7, 64, 3), kDenied);
  EXPECT_EQ(with(8, UINT64_MAX - 7, 3), kDenied);
  for (const uint32_t mapping : {0u, 2u, 4u, UINT32_MAX}) EXPECT_EQ(with(0, 64, mapping), kDenied);
  // Pages for reading are not written to, whatever the table allows.
  for (const Kind kind : {Kind::kWrite, Kind::kFetchAdd, Kind::kCompareSwap}) {
    EXPECT_EQ(with(0, 64, 3, kind), kDenied);
  }
  std::mt19937_64 random(3);
  for (int i = 0; i < 20'000; ++i) {
    grant.access = static_cast<uint32_t>(random());
    with(random() >> (random() % 64), random() >> (random() % 64),
         static_cast<uint32_t>(random() % 6), static_cast<Kind>(random() % 4),
         random() >> (random() % 64));
  }
  for (int i = 0; i < 20'000; ++i) {
    for (uint8_t& byte : operation.key.bytes) byte = static_cast<uint8_t>(random());
    if (i % 2 == 0) std::memcpy(operation.key.bytes.data() + 8, "\5\0\0\0\0", 5);
    with(0, 64, 3);
  }
}

TEST_F(ShmRemoteMemoryTest, NoticesThatNoHonestPeerSendsEndTheSession) {
  auto user = Open("user");
  UniqueFd unsealed(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(ftruncate(unsealed.get(), 4096), 0);
  UniqueFd empty(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(fcntl(empty.get(), F_ADD_SEALS, F_SEAL_SHRINK), 0);
  UniqueFd file(open("/dev/null", O_RDWR | O_CLOEXEC));
  OwnPages pages = *OwnPages::Create(4096);
  struct Bad {
    Notice notice;
    int descriptor;
  };
  const Notice region = {.kind = Notice::Kind::kRegion};
  for (const Bad& bad : {Bad{region, -1},
                         {region, unsealed.get()},
                         {region, empty.get()},
                         {region, file.get()},
                         {{.kind = Notice::Kind::kRegion, .error = -1}, *pages.Descriptor(true)},
                         {{.kind = Notice::Kind::kWake}, -1},
                         {{.kind = static_cast<Notice::Kind>(99)}, -1}}) {
    const size_t descriptors = OpenDescriptors();
    {
      Session raw = ConnectTo(*user);
      UniqueFd none;
      EXPECT_EQ(NextNotice(*user, raw, &none).kind, Notice::Kind::kWelcome);
      SendNotice(raw.socket.get(), bad.notice, bad.descriptor);
      EXPECT_EQ(NextEventOf(*user).error, EPROTO);
    }
    EXPECT_EQ(OpenDescriptors(), descriptors);
  }
  EXPECT_EQ(user->stats().receive_malformed, 7u);
  // Other sizes than those of a table.
  Session small = ConnectTo(*user, 4096);
  UniqueFd none;
  const Notice refused = NextNotice(*user, small, &none);
  EXPECT_EQ(refused.kind, Notice::Kind::kRefused);
  EXPECT_EQ(refused.error, EPROTO);
}

// Users that are killed at any moment: Revoke() returns, and the owner is as before.
TEST_F(ShmRemoteMemoryTest, UsersThatAreKilledAmidOperations) {
  auto owner = Open("owner");
  const MemoryRegion region = *owner->Allocate(1 << 20);
  std::mt19937 random(5);
  // Where the user hands its name on, and the owner the key.
  struct Shared {
    std::atomic<int> state;
    RemoteKey key;
  };
  auto* const shared = static_cast<Shared*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const size_t descriptors = OpenDescriptors();
  for (int round = 0; round < 20; ++round) {
    shared->state = 0;
    const pid_t child = fork();
    if (child == 0) {
      auto transport = OpenShm(Config(directory_.path()));
      auto user = *transport->OpenRemoteMemory({.local = Address::Shm("user")});
      const MemoryRegion local = *user->Allocate(1 << 20);
      const Peer peer = *user->Resolve(Address::Shm("owner"));
      shared->state = 1;
      while (shared->state != 2) Poll(*user);
      const MemoryOperation write = {
          .kind = Kind::kWrite, .peer = peer, .key = shared->key, .local = local.bytes};
      while (true) {
        if (Do(*user, write) == absl::StatusCode::kOk) shared->state = 3;
      }
    }
    while (shared->state != 1) Poll(*owner);
    const Peer peer = *owner->Resolve(Address::Shm("user"));
    shared->key = *owner->Grant(peer, region, 0, region.bytes.size(), kAll);
    shared->state = 2;
    while (shared->state != 3) Poll(*owner);
    if (round % 2 == 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 1000));
      kill(child, SIGKILL);
    }
    owner->Revoke(shared->key);
    std::fill(region.bytes.begin(), region.bytes.end(), 0x5a);
    if (round % 2 == 1) kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    EXPECT_EQ(std::count(region.bytes.begin(), region.bytes.end(), 0x5a), 1 << 20);
    const PortEvent event = NextEventOf(*owner);
    EXPECT_EQ(event.peer, peer);
    EXPECT_EQ(event.error, ECONNRESET);
  }
  EXPECT_EQ(OpenDescriptors(), descriptors);
  munmap(shared, 4096);
}

}  // namespace
}  // namespace weft::shm
