// SPDX-License-Identifier: Apache-2.0
//
// What remote_memory.h promises of keys: what they let whom do, and until when.
#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "weft/transports/conformance/remote_memory_conformance.h"

namespace weft {
namespace {

class RemoteMemoryRightsConformance : public RemoteMemoryTest {
 protected:
  // That it is refused and changes nothing on either side.
  void ExpectDenied(MemoryEnd& user, const MemoryOperation& operation, const MemoryRegion& region,
                    const std::string& what) {
    const std::string there = TextOf(region.bytes);
    const std::string here = TextOf(operation.local);
    EXPECT_EQ(Do(user, operation).code, absl::StatusCode::kPermissionDenied)
        << what << ", kind " << static_cast<int>(operation.kind);
    EXPECT_TRUE(TextOf(region.bytes) == there) << what << " has written";
    EXPECT_TRUE(TextOf(operation.local) == here) << what << " has read";
  }
};

INSTANTIATE_TEST_SUITE_P(RemoteMemory, RemoteMemoryRightsConformance,
                         testing::ValuesIn(AdaptersWith(&Capabilities::remote_memory)),
                         AdapterName);

TEST_P(RemoteMemoryRightsConformance, EachAccessAllowsItsOperations) {
  MemoryEnd& owner = Open(0);
  MemoryEnd& user = Open(1);
  const MemoryRegion region = Allocate(owner, 4096);
  Fill(region.bytes, RandomBytes(4096, 1));
  Fill(user.scratch.bytes, RandomBytes(64, 2));
  const Peer peer = PeerAt(user, owner);
  for (uint8_t bits = 1; bits < 8; ++bits) {
    const auto access = static_cast<MemoryAccess>(bits);
    const RemoteKey key = Grant(owner, user, region, 1024, 64, access);
    for (const OperationKind kind : kAllOperations) {
      const MemoryOperation operation = Operation(kind, user, peer, key, 16);
      if (Includes(access, Needed(kind))) {
        EXPECT_EQ(Do(user, operation).code, absl::StatusCode::kOk)
            << "access " << int{bits} << ", kind " << static_cast<int>(kind);
      } else {
        ExpectDenied(user, operation, region, absl::StrCat("access ", int{bits}));
      }
    }
    owner.port->Revoke(key);
  }
}

TEST_P(RemoteMemoryRightsConformance, BoundsAreThoseOfTheGrant) {
  MemoryEnd& owner = Open(0);
  MemoryEnd& user = Open(1);
  const MemoryRegion region = Allocate(owner, 8192);
  Fill(region.bytes, RandomBytes(8192, 1));
  const Peer peer = PeerAt(user, owner);
  struct Range {
    size_t offset, bytes;
  };
  // In the middle, at the beginning, at the end, on and off the borders of pages and words.
  for (const Range& range : {Range{4096 - 64, 128}, {0, 64}, {8192 - 64, 64}, {101, 57}}) {
    const RemoteKey key = Grant(owner, user, region, range.offset, range.bytes, kEverything);
    for (const OperationKind kind : {OperationKind::kRead, OperationKind::kWrite}) {
      for (const size_t size : {size_t{1}, size_t{8}, range.bytes}) {
        for (const uint64_t offset : {uint64_t{0}, range.bytes - size}) {
          EXPECT_EQ(Do(user, Operation(kind, user, peer, key, offset, size)).code,
                    absl::StatusCode::kOk)
              << size << " bytes at " << offset;
        }
      }
    }
    struct Outside {
      uint64_t offset;
      size_t bytes;
    };
    for (const Outside& out : {Outside{range.bytes, 1},
                               {range.bytes - 1, 2},
                               {0, range.bytes + 1},
                               {1, range.bytes},
                               {uint64_t{0} - 1, 1},
                               {uint64_t{0} - 1, 2},
                               {uint64_t{0} - 8, 8},
                               {uint64_t{0} - 4, 8},
                               {uint64_t{0} - range.offset, 8},
                               {uint64_t{1} << 63, 8},
                               {uint64_t{1} << 32, 8}}) {
      if (out.offset == 0 && out.bytes == 8) continue;  // of the range that begins with the region
      for (const OperationKind kind : {OperationKind::kRead, OperationKind::kWrite}) {
        ExpectDenied(user, Operation(kind, user, peer, key, out.offset, out.bytes), region,
                     absl::StrCat(out.bytes, " bytes at ", out.offset));
      }
    }
    for (const OperationKind kind : {OperationKind::kCompareSwap, OperationKind::kFetchAdd}) {
      if (range.offset % 8 != 0) {
        // The address is crooked, though the offset is not.
        const std::string before = TextOf(region.bytes);
        EXPECT_NE(Do(user, Operation(kind, user, peer, key, 8)).code, absl::StatusCode::kOk);
        EXPECT_TRUE(TextOf(region.bytes) == before);
        continue;
      }
      EXPECT_EQ(Do(user, Operation(kind, user, peer, key, range.bytes - 8)).code,
                absl::StatusCode::kOk);
      for (const uint64_t offset : {uint64_t{range.bytes}, uint64_t{0} - 8, uint64_t{1} << 63}) {
        ExpectDenied(user, Operation(kind, user, peer, key, offset), region,
                     absl::StrCat("atomic at ", offset));
      }
    }
    owner.port->Revoke(key);
  }
}

TEST_P(RemoteMemoryRightsConformance, GrantsThatCannotBe) {
  MemoryEnd& owner = Open(0);
  MemoryEnd& user = Open(1);
  const MemoryRegion region = Allocate(owner, 4096);
  GrantAll(owner, user, region);  // there is a connection
  const Peer peer = PeerAt(owner, user);
  const auto grant = [&](const Peer& to, const MemoryRegion& of, size_t offset, size_t bytes) {
    return owner.port->Grant(to, of, offset, bytes, MemoryAccess::kRead).status().code();
  };
  EXPECT_EQ(grant(Peer(), region, 0, 8), absl::StatusCode::kNotFound);
  EXPECT_EQ(grant({{~uint64_t{0}, 1, 2}}, region, 0, 8), absl::StatusCode::kNotFound);
  for (const auto& [offset, bytes] : std::vector<std::pair<size_t, size_t>>{
           {0, 4097}, {4096, 1}, {4095, 2}, {SIZE_MAX, 1}, {SIZE_MAX, 2}, {1, SIZE_MAX}, {0, 0}}) {
    EXPECT_EQ(grant(peer, region, offset, bytes), absl::StatusCode::kInvalidArgument)
        << bytes << " bytes at " << offset;
  }
  EXPECT_EQ(grant(peer, MemoryRegion{}, 0, 8), absl::StatusCode::kInvalidArgument);
  owner.port->Deregister(region);
  EXPECT_EQ(grant(peer, region, 0, 8), absl::StatusCode::kInvalidArgument);
}

TEST_P(RemoteMemoryRightsConformance, AKeyIsForOnePeerAtOneOwner) {
  MemoryEnd& owner = Open(0);
  MemoryEnd& user = Open(1);
  MemoryEnd& thief = Open(2);
  MemoryEnd& other_owner = Open(3);
  const MemoryRegion region = Allocate(owner, 4096);
  const MemoryRegion other_region = Allocate(other_owner, 4096);
  const RemoteKey key = GrantAll(owner, user, region);
  // The thief has rights of its own, to other places.
  const MemoryRegion harmless = Allocate(owner, 4096);
  GrantAll(owner, thief, harmless);
  for (const OperationKind kind : kAllOperations) {
    ExpectDenied(thief, Operation(kind, thief, PeerAt(thief, owner), key), region, "a thief");
  }
  // Nor is it of use at another who has granted something as well.
  GrantAll(other_owner, user, other_region);
  for (const OperationKind kind : kAllOperations) {
    ExpectDenied(user, Operation(kind, user, PeerAt(user, other_owner), key), other_region,
                 "a key of somebody else's memory");
  }
  for (const OperationKind kind : kAllOperations) {
    EXPECT_EQ(Do(user, Operation(kind, user, PeerAt(user, owner), key)).code,
              absl::StatusCode::kOk);
  }
}

TEST_P(RemoteMemoryRightsConformance, OperationsAreCounted) {
  MemoryEnd& owner = Open(0);
  MemoryEnd& user = Open(1);
  const MemoryRegion region = Allocate(owner, 64);
  const RemoteKey key = GrantAll(owner, user, region);
  const Peer peer = PeerAt(user, owner);
  uint64_t posted = 0;
  const auto run = [&](OperationKind kind, const RemoteKey& by, size_t bytes) {
    ++posted;
    return Await(user, Post(user, Operation(kind, user, peer, by, 0, bytes))).code;
  };
  EXPECT_EQ(run(OperationKind::kRead, key, 40), absl::StatusCode::kOk);
  const PortStats& stats = user.port->stats();
  if (stats.received > 0) GTEST_SKIP() << "an emulation, which counts datagrams";
  EXPECT_EQ(run(OperationKind::kWrite, key, 24), absl::StatusCode::kOk);
  EXPECT_EQ(run(OperationKind::kFetchAdd, key, 8), absl::StatusCode::kOk);
  EXPECT_EQ(run(OperationKind::kCompareSwap, key, 8), absl::StatusCode::kOk);
  EXPECT_EQ(stats.send_failed, 0u);
  EXPECT_EQ(run(OperationKind::kRead, key, 65), absl::StatusCode::kPermissionDenied);
  owner.port->Revoke(key);
  EXPECT_EQ(run(OperationKind::kWrite, key, 8), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(stats.sent, posted);
  EXPECT_EQ(stats.send_failed, 2u);
  EXPECT_EQ(stats.received_bytes, 40u);
  EXPECT_EQ(stats.sent_bytes, 24u + 8 + 8);
}

TEST_P(RemoteMemoryRightsConformance, RevokedKeysAreOfNoUse) {
  MemoryEnd& owner = Open(0);
  MemoryEnd& user = Open(1);
  const MemoryRegion region = Allocate(owner, 4096);
  const Peer peer = PeerAt(user, owner);
  const RemoteKey revoked = Grant(owner, user, region, 0, 64, kEverything);
  const RemoteKey kept = Grant(owner, user, region, 0, 64, kEverything);
  EXPECT_NE(revoked, kept);
  for (const OperationKind kind : kAllOperations) {
    EXPECT_EQ(Do(user, Operation(kind, user, peer, revoked)).code, absl::StatusCode::kOk);
  }
  owner.port->Revoke(revoked);
  owner.port->Revoke(revoked);
  owner.port->Revoke(RemoteKey());
  user.port->Revoke(kept);  // is not the user's to revoke
  for (const OperationKind kind : kAllOperations) {
    ExpectDenied(user, Operation(kind, user, peer, revoked), region, "a revoked key");
    EXPECT_EQ(Do(user, Operation(kind, user, peer, kept)).code, absl::StatusCode::kOk);
  }
  // The next grants do not wake it up again.
  for (int i = 0; i < 20; ++i) {
    const RemoteKey next = Grant(owner, user, region, 0, 64, kEverything);
    EXPECT_NE(next, revoked);
    ExpectDenied(user, Operation(OperationKind::kWrite, user, peer, revoked), region,
                 "a revoked key");
    owner.port->Revoke(next);
  }
}

TEST_P(RemoteMemoryRightsConformance, DeregistrationRevokes) {
  MemoryEnd& owner = Open(0);
  MemoryEnd& user = Open(1);
  const MemoryRegion going = Allocate(owner, 4096);
  const MemoryRegion staying = Allocate(owner, 4096);
  const RemoteKey gone = GrantAll(owner, user, going);
  const RemoteKey stays = GrantAll(owner, user, staying);
  const Peer peer = PeerAt(user, owner);
  EXPECT_EQ(Do(user, Operation(OperationKind::kWrite, user, peer, gone)).code,
            absl::StatusCode::kOk);
  owner.port->Deregister(going);
  for (const OperationKind kind : kAllOperations) {
    ExpectDenied(user, Operation(kind, user, peer, gone), staying, "a region that has gone");
    EXPECT_EQ(Do(user, Operation(kind, user, peer, stays)).code, absl::StatusCode::kOk);
  }
  // Regions and keys can be had again and again.
  for (int i = 0; i < 50; ++i) {
    const MemoryRegion region = Allocate(owner, 4096);
    EXPECT_NE(region.id, going.id);
    const RemoteKey key = GrantAll(owner, user, region);
    ASSERT_EQ(Do(user, Operation(OperationKind::kWrite, user, peer, key)).code,
              absl::StatusCode::kOk);
    owner.port->Deregister(region);
  }
}

// Somebody writes and reads as fast as he can. Once Revoke() has returned nothing changes any more,
// and what the owner writes then is never read.
TEST_P(RemoteMemoryRightsConformance, RevocationAmidAStream) {
  constexpr size_t kBytes = 4096;
  MemoryEnd& owner = Open(0);
  MemoryEnd& user = Open(1);
  const MemoryRegion region = Allocate(owner, 2 * kBytes);
  const Peer peer = PeerAt(user, owner);
  RemoteMemory& port = *user.port;
  const absl::Span<uint8_t> from = user.scratch.bytes.subspan(0, kBytes);
  const absl::Span<uint8_t> into = user.scratch.bytes.subspan(kBytes, kBytes);
  for (int round = 0; round < 10; ++round) {
    const RemoteKey key = Grant(owner, user, region, 0, kBytes, kEverything);
    std::fill(region.bytes.begin(), region.bytes.end(), 0);
    std::atomic<uint64_t> ended{0};
    std::atomic<bool> denied{false};
    uint64_t posted = 0;
    const auto step = [&] {
      if (!denied.load()) {
        MemoryOperation both[2] = {Operation(OperationKind::kWrite, user, peer, key),
                                   Operation(OperationKind::kRead, user, peer, key)};
        both[0].local = from;
        both[1].local = into;
        posted += port.Post(both);
      }
      MemoryCompletion done[8];
      for (size_t n; (n = port.Poll(absl::MakeSpan(done))) > 0; ended += n) {
        for (const MemoryCompletion& end : absl::MakeSpan(done, n)) {
          if (end.code == absl::StatusCode::kPermissionDenied) denied.store(true);
          EXPECT_TRUE(end.code == absl::StatusCode::kOk ||
                      end.code == absl::StatusCode::kPermissionDenied ||
                      end.code == absl::StatusCode::kAborted)
              << static_cast<int>(end.code);
        }
      }
      return denied.load() && ended.load() == posted;
    };
    std::fill(from.begin(), from.end(), 1);
    const auto poll_owner = [&] {
      MemoryCompletion none[1];
      owner.port->Poll(absl::MakeSpan(none));
    };
    std::string after;
    const auto revoke = [&] {
      owner.port->Revoke(key);
      std::fill_n(region.bytes.begin(), kBytes / 2, 0xee);  // that nobody may see
      after = TextOf(region.bytes);
    };
    const uint64_t enough = 5 + static_cast<uint64_t>(round) * 7;
    bool over = false;
    if (is_virtual()) {
      EXPECT_TRUE(Until([&] {
        poll_owner();
        return step() || ended.load() >= enough;
      }));
      revoke();
      over = Until([&] {
        poll_owner();
        return step();
      });
    } else {
      std::atomic<bool> finished{false};
      std::thread streaming([&] {
        port.BindToThisThread();
        const auto end = std::chrono::steady_clock::now() + kConformancePatience;
        while (!(over = step()) && std::chrono::steady_clock::now() < end) {
        }
        finished.store(true);
      });
      EXPECT_TRUE(Until([&] {
        poll_owner();
        return ended.load() >= enough || denied.load();
      }));
      revoke();
      // What is under way may need an owner who polls.
      EXPECT_TRUE(Until([&] {
        poll_owner();
        return finished.load();
      }));
      streaming.join();
      port.BindToThisThread();
    }
    EXPECT_TRUE(over) << "operations do not end";
    EXPECT_TRUE(TextOf(region.bytes) == after) << "written after Revoke()";
    EXPECT_EQ(std::count(into.begin(), into.end(), 0xee), 0) << "read after Revoke()";
  }
}

// Keys are bytes that came in somebody's message.
TEST_P(RemoteMemoryRightsConformance, HostileKeys) {
  MemoryEnd& owner = Open(0);
  MemoryEnd& user = Open(1);
  const MemoryRegion region = Allocate(owner, 4096);
  Fill(region.bytes, RandomBytes(4096, 7));
  const std::string before = TextOf(region.bytes);
  const RemoteKey key = Grant(owner, user, region, 1024, 64, MemoryAccess::kRead);
  const Peer peer = PeerAt(user, owner);
  Prng prng(11);
  std::vector<RemoteKey> hostile(30);
  for (size_t i = 1; i < 10; ++i) {  // the first has only zeros
    for (uint8_t& byte : hostile[i].bytes) byte = static_cast<uint8_t>(prng.Next());
  }
  for (size_t i = 10; i < hostile.size(); ++i) {
    hostile[i] = key;
    if (i == 10) continue;
    // One bit, or one byte: another's index, a larger range, more access.
    uint8_t& byte = hostile[i].bytes[prng.Below(hostile[i].bytes.size())];
    byte ^= i % 2 == 0 ? 0xff : static_cast<uint8_t>(1 << prng.Below(8));
  }
  for (const RemoteKey& bytes : hostile) {
    for (const OperationKind kind : kAllOperations) {
      for (const uint64_t offset : {0, 64, 1024}) {
        const MemoryCompletion end = Do(user, Operation(kind, user, peer, bytes, offset));
        if (kind == OperationKind::kRead && offset == 0 && end.code == absl::StatusCode::kOk) {
          // Only what was granted: not all bits need mean something.
          EXPECT_EQ(TextOf(user.scratch.bytes.subspan(0, 8)), before.substr(1024, 8));
          continue;
        }
        EXPECT_TRUE(end.code == absl::StatusCode::kPermissionDenied ||
                    end.code == absl::StatusCode::kInvalidArgument)
            << static_cast<int>(end.code) << " from key " << &bytes - hostile.data()
            << ", operation " << static_cast<int>(kind) << " at " << offset;
      }
    }
    owner.port->Revoke(bytes == key ? RemoteKey() : bytes);
    user.port->Revoke(bytes);
  }
  EXPECT_EQ(TextOf(region.bytes), before);
  ExpectTheyWork(owner, user);
}

}  // namespace
}  // namespace weft
