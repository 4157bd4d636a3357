// SPDX-License-Identifier: Apache-2.0
//
// What remote_memory.h promises of peers: who they are, and what becomes of operations and keys
// when they go and come back.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "weft/transports/conformance/remote_memory_conformance.h"

namespace weft {
namespace {

class RemoteMemoryPeersConformance : public RemoteMemoryTest {
 protected:
  // A port that has an address of its own to come back to: what Local() chose, made definite.
  static bool IsAbout(const PortEvent& event, const Peer& peer) {
    return event.peer == peer && (event.kind == PortEvent::Kind::kPeerUnreachable ||
                                  event.kind == PortEvent::Kind::kPeerClosed);
  }
  bool HearsOf(MemoryEnd& end, const Peer& peer) {
    return WaitUntil([&] {
      return std::any_of(end.events.begin(), end.events.end(),
                         [&](const PortEvent& event) { return IsAbout(event, peer); });
    });
  }
  // Posts until an operation ends so. One that is refused for lack of a right is as good as one
  // that finds nobody: it may be that the peer has come back.
  bool UntilUnavailable(MemoryEnd& user, const MemoryOperation& operation) {
    const auto end = std::chrono::steady_clock::now() + kConformancePatience;
    while (std::chrono::steady_clock::now() < end) {
      const absl::StatusCode code = Do(user, operation).code;
      if (code == absl::StatusCode::kUnavailable) return true;
      if (HasFailure()) return false;
      PollAll();
    }
    return false;
  }
};

INSTANTIATE_TEST_SUITE_P(RemoteMemory, RemoteMemoryPeersConformance,
                         testing::ValuesIn(AdaptersWith(&Capabilities::remote_memory)),
                         AdapterName);

TEST_P(RemoteMemoryPeersConformance, AddressesAndPeersCorrespond) {
  MemoryEnd& a = Open(0);
  MemoryEnd& b = Open(1);
  const Address address = b.port->local_address();
  EXPECT_EQ(*Address::Parse(address.ToString()), address);
  EXPECT_NE(address, a.port->local_address());
  const Peer peer = PeerAt(a, b);
  EXPECT_TRUE(peer);
  EXPECT_EQ(peer, PeerAt(a, b));
  ExpectTheyWork(a, b);
  EXPECT_EQ(peer, PeerAt(a, b));
  EXPECT_EQ(*a.port->AddressOf(peer), address);
  EXPECT_FALSE(a.port->AddressOf(Peer{}).ok());
}

TEST_P(RemoteMemoryPeersConformance, AddressesOfOthersAreRefused) {
  MemoryEnd& a = Open(0);
  for (const Address& foreign : ForeignAddresses()) {
    EXPECT_EQ(a.port->Resolve(foreign).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(transport().OpenRemoteMemory({.local = foreign}).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(a.port->Resolve(Address()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(transport().OpenRemoteMemory({.local = a.port->local_address()}).status().code(),
            absl::StatusCode::kAlreadyExists);
  // An address is one port's.
  for (const auto& [queue, queues] : {std::pair{0, 2}, {1, 1}, {-1, 1}, {0, 0}}) {
    EXPECT_EQ(transport()
                  .OpenRemoteMemory({.local = Local(0), .queue = queue, .queues = queues})
                  .status()
                  .code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST_P(RemoteMemoryPeersConformance, APortWithoutAnAddressWorksBothWays) {
  MemoryEnd& a = Open(0);
  MemoryEnd& b = OpenAt(1, Address());
  if (a.port->local_address().kind() != b.port->local_address().kind()) {
    GTEST_SKIP() << "an address of the transport's choice is of the other family";
  }
  ExpectTheyWork(a, b);
  ExpectTheyWork(b, a);
}

TEST_P(RemoteMemoryPeersConformance, ManyPeersUseEachOther) {
  std::vector<MemoryEnd*> all;
  for (size_t i = 0; i < 4; ++i) all.push_back(&Open(i));
  for (MemoryEnd* owner : all) {
    for (MemoryEnd* user : all) {
      if (owner != user) ExpectTheyWork(*owner, *user);
    }
  }
}

TEST_P(RemoteMemoryPeersConformance, NobodyIsThere) {
  MemoryEnd& a = Open(0);
  MemoryEnd& b = Open(1);
  MemoryEnd& leaver = Open(2);
  const Address nowhere = leaver.port->local_address();
  Close(leaver);
  const absl::StatusOr<Peer> peer = a.port->Resolve(nowhere);
  if (!peer.ok()) {
    EXPECT_TRUE(peer.status().code() == absl::StatusCode::kNotFound ||
                peer.status().code() == absl::StatusCode::kUnavailable)
        << peer.status();
  } else {
    const MemoryOperation read = Operation(OperationKind::kRead, a, *peer, RemoteKey());
    EXPECT_EQ(Do(a, read).code, absl::StatusCode::kUnavailable);
    EXPECT_TRUE(HearsOf(a, *peer));
    const absl::Status granted =
        a.port->Grant(*peer, a.scratch, 0, 8, MemoryAccess::kRead).status();
    EXPECT_TRUE(granted.code() == absl::StatusCode::kUnavailable ||
                granted.code() == absl::StatusCode::kNotFound)
        << granted;
  }
  ExpectTheyWork(a, b);
  EXPECT_TRUE(a.port->status().ok());
}

// The owner goes, with operations under way, and another comes at its address.
TEST_P(RemoteMemoryPeersConformance, AnOwnerGoesAndComesBack) {
  MemoryEnd& user = Open(0);
  MemoryEnd* owner = &Open(1);
  MemoryEnd& other = Open(2);
  const Address address = owner->port->local_address();
  MemoryRegion region = Allocate(*owner, 4096);
  RemoteKey key = GrantAll(*owner, user, region);
  Peer peer = PeerAt(user, *owner);
  for (int round = 0; round < 3; ++round) {
    std::vector<uint64_t> under_way;
    for (int i = 0; i < 8; ++i) {
      under_way.push_back(Post(user, Operation(OperationKind::kFetchAdd, user, peer, key)));
    }
    user.events.clear();
    Close(*owner);
    for (const uint64_t context : under_way) {
      const absl::StatusCode code = Await(user, context).code;
      EXPECT_TRUE(code == absl::StatusCode::kOk || code == absl::StatusCode::kUnavailable ||
                  code == absl::StatusCode::kPermissionDenied || code == absl::StatusCode::kAborted)
          << static_cast<int>(code);
    }
    EXPECT_TRUE(UntilUnavailable(user, Operation(OperationKind::kRead, user, peer, key)));
    EXPECT_TRUE(HearsOf(user, peer));
    ExpectTheyWork(other, user);

    owner = &OpenAt(1, address);
    region = Allocate(*owner, 4096);
    const std::string before = TextOf(region.bytes);
    const RemoteKey old_key = key;
    key = GrantAll(*owner, user, region);
    peer = PeerAt(user, *owner);
    EXPECT_EQ(Do(user, Operation(OperationKind::kWrite, user, peer, old_key)).code,
              absl::StatusCode::kPermissionDenied);
    EXPECT_EQ(TextOf(region.bytes), before);
    EXPECT_EQ(Do(user, Operation(OperationKind::kFetchAdd, user, peer, key)).code,
              absl::StatusCode::kOk);
  }
}

// A key does not pass to who comes next at the same address.
TEST_P(RemoteMemoryPeersConformance, AUserGoesAndItsKeysWithIt) {
  MemoryEnd& owner = Open(0);
  MemoryEnd* user = &Open(1);
  const Address address = user->port->local_address();
  const MemoryRegion region = Allocate(owner, 4096);
  for (int round = 0; round < 3; ++round) {
    const RemoteKey key = GrantAll(owner, *user, region);
    const MemoryOperation write =
        Operation(OperationKind::kWrite, *user, PeerAt(*user, owner), key);
    EXPECT_EQ(Do(*user, write).code, absl::StatusCode::kOk);
    Close(*user);
    user = &OpenAt(1, address);
    const Peer peer = PeerAt(*user, owner);
    const std::string before = TextOf(region.bytes);
    Fill(user->scratch.bytes, RandomBytes(8, 9));
    EXPECT_EQ(Do(*user, Operation(OperationKind::kWrite, *user, peer, key)).code,
              absl::StatusCode::kPermissionDenied);
    EXPECT_EQ(TextOf(region.bytes), before);
    // The owner knows by now that this is another.
    const RemoteKey next = Grant(owner, *user, region, 64, 64, kEverything);
    EXPECT_EQ(Do(*user, Operation(OperationKind::kWrite, *user, peer, next)).code,
              absl::StatusCode::kOk);
    owner.port->Revoke(key);  // has ended with its peer
    EXPECT_EQ(Do(*user, Operation(OperationKind::kWrite, *user, peer, next)).code,
              absl::StatusCode::kOk);
    owner.port->Revoke(next);
  }
}

// Operations of all kinds, right and wrong, to several peers, as many as there is room for: each
// ends once, those that end well have done what they should, and no others.
TEST_P(RemoteMemoryPeersConformance, EveryOperationEndsOnce) {
  constexpr size_t kOwners = 3, kOperations = 1500, kSlots = 64, kSlotBytes = 256;
  MemoryEnd& user = Open(0);
  struct Owner {
    MemoryEnd* end;
    MemoryRegion region;
    Peer peer;
    RemoteKey good, narrow;
    uint64_t added = 0;
  };
  std::vector<Owner> owners;
  for (size_t i = 0; i < kOwners; ++i) {
    MemoryEnd& end = Open(1 + i);
    const MemoryRegion region = Allocate(end, kSlots * kSlotBytes);
    owners.push_back({&end, region, PeerAt(user, end), GrantAll(end, user, region),
                      Grant(end, user, region, 0, 8, MemoryAccess::kRead)});
  }
  struct Posted {
    Owner* owner;
    MemoryOperation operation;
    bool good;
  };
  std::map<uint64_t, Posted> under_way;
  Prng prng(5);
  const uint64_t first = user.next_context;
  const auto settle = [&] {
    for (auto it = user.done.begin(); it != user.done.end(); it = user.done.erase(it)) {
      const Posted& posted = under_way.at(it->first);
      const absl::StatusCode code = it->second.code;
      if (posted.good && code == absl::StatusCode::kOk) {
        posted.owner->added += posted.operation.operand;
      } else if (posted.good) {
        EXPECT_EQ(code, absl::StatusCode::kAborted);
      } else {
        EXPECT_TRUE(code == absl::StatusCode::kPermissionDenied ||
                    code == absl::StatusCode::kInvalidArgument ||
                    code == absl::StatusCode::kAborted)
            << static_cast<int>(code);
      }
      under_way.erase(it->first);
    }
  };
  for (size_t i = 0; i < kOperations; ++i) {
    Owner& owner = owners[prng.Below(kOwners)];
    const bool good = prng.Below(20) != 0;
    MemoryOperation operation = Operation(OperationKind::kFetchAdd, user, owner.peer, owner.good);
    operation.operand = 1 + prng.Below(1000);
    if (!good) {
      switch (prng.Below(4)) {
        case 0:
          operation.key = owner.narrow;
          break;
        case 1:
          operation.offset = kSlots * kSlotBytes;
          break;
        case 2:
          operation.offset = 3;
          break;
        default:
          operation.peer = Peer();
      }
    } else if (prng.Below(2) == 0) {
      operation.kind = OperationKind::kRead;
      operation.local = user.scratch.bytes.subspan(prng.Below(1000), 1 + prng.Below(2000));
      operation.offset = prng.Below(kSlots * kSlotBytes - operation.local.size());
      operation.operand = 0;
    }
    operation.context = user.next_context;
    if (user.port->Post({&operation, 1}) == 1) {
      under_way.emplace(user.next_context++, Posted{&owner, operation, good});
    } else {
      WaitUntil([&] { return !user.done.empty(); });
    }
    settle();
  }
  EXPECT_TRUE(WaitUntil([&] {
    settle();
    return under_way.empty();
  })) << under_way.size()
      << " have not ended";
  for (uint64_t context = first; context < user.next_context; ++context) {
    EXPECT_EQ(user.ends[context], 1);
  }
  for (const Owner& owner : owners) EXPECT_EQ(WordAt(owner.region.bytes, 0), owner.added);
}

TEST_P(RemoteMemoryPeersConformance, PortsMayEndAmidOperations) {
  MemoryEnd& owner = Open(0);
  const MemoryRegion region = Allocate(owner, 4096);
  for (int i = 0; i < 10; ++i) {
    MemoryEnd& user = Open(1);
    const Peer peer = PeerAt(user, owner);
    const RemoteKey key = GrantAll(owner, user, region);
    for (int k = 0; k < 16; ++k) {
      MemoryOperation operation =
          Operation(kAllOperations[k % 4], user, peer, key, 0, k % 4 < 2 ? 4096 : 8);
      user.port->Post({&operation, 1});
    }
    Close(user);
    PollAll();
  }
  ExpectTheyWork(owner, Open(2));
}

TEST_P(RemoteMemoryPeersConformance, PortsLeaveNothingBehind) {
  std::optional<size_t> files;
  for (int i = 0; i < 20; ++i) {
    MemoryEnd& a = Open(0);
    MemoryEnd& b = Open(1);
    ExpectTheyWork(a, b);
    Close(a);
    Close(b);
    // A device may open what it needs only once.
    if (i == 2) files = OpenFiles();
  }
  EXPECT_TRUE(Until([&] { return OpenFiles() <= *files; })) << OpenFiles() << " of " << *files;
}

}  // namespace
}  // namespace weft
