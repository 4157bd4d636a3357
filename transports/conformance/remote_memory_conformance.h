// SPDX-License-Identifier: Apache-2.0
//
// What the tests of remote_memory.h share: ports that are polled together, by one thread, as real
// devices and virtual time both allow; and operations that are done one at a time.
#ifndef WEFT_TRANSPORTS_CONFORMANCE_REMOTE_MEMORY_CONFORMANCE_H_
#define WEFT_TRANSPORTS_CONFORMANCE_REMOTE_MEMORY_CONFORMANCE_H_

#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "weft/transports/conformance/conformance.h"
#include "weft/transports/remote_memory.h"

namespace weft {

using OperationKind = MemoryOperation::Kind;
inline constexpr OperationKind kAllOperations[] = {OperationKind::kRead, OperationKind::kWrite,
                                                   OperationKind::kCompareSwap,
                                                   OperationKind::kFetchAdd};
inline constexpr MemoryAccess kEverything =
    MemoryAccess::kRead | MemoryAccess::kWrite | MemoryAccess::kAtomic;

inline MemoryAccess Needed(OperationKind kind) {
  if (kind == OperationKind::kRead) return MemoryAccess::kRead;
  return kind == OperationKind::kWrite ? MemoryAccess::kWrite : MemoryAccess::kAtomic;
}
inline bool IsAtomic(OperationKind kind) { return Needed(kind) == MemoryAccess::kAtomic; }

inline void Fill(absl::Span<uint8_t> to, const std::string& bytes) {
  std::memcpy(to.data(), bytes.data(), bytes.size());
}
inline std::string TextOf(absl::Span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline uint64_t WordAt(absl::Span<const uint8_t> bytes, size_t offset) {
  uint64_t word;
  std::memcpy(&word, bytes.data() + offset, sizeof(word));
  return word;
}

// A port, and what has come out of it. It has a region of its own for the local side of operations.
struct MemoryEnd {
  std::unique_ptr<RemoteMemory> port;
  MemoryRegion scratch;
  std::map<uint64_t, MemoryCompletion> done;  // by context, until it is asked for
  std::map<uint64_t, int> ends;               // how often each context has ended
  std::deque<PortEvent> events;
  uint64_t next_context = 1;

  void Poll() {
    MemoryCompletion completions[16];
    for (size_t n; (n = port->Poll(absl::MakeSpan(completions))) > 0;) {
      ASSERT_LE(n, std::size(completions));
      for (const MemoryCompletion& c : absl::MakeSpan(completions, n)) {
        EXPECT_EQ(++ends[c.context], 1) << "operation " << c.context << " has ended twice";
        done[c.context] = c;
      }
    }
    PortEvent taken[16];
    for (size_t n; (n = port->TakeEvents(absl::MakeSpan(taken))) > 0;) {
      events.insert(events.end(), taken, taken + n);
    }
  }
};

class RemoteMemoryTest : public ConformanceTest {
 protected:
  static constexpr size_t kScratchBytes = 64 << 10;

  // The test's n-th port. It is polled whenever the test waits, until Close().
  MemoryEnd& Open(size_t n) { return OpenAt(n, Local(n)); }
  MemoryEnd& OpenAt(size_t n, const Address& local) {
    auto end = std::make_unique<MemoryEnd>();
    auto port = transport(n).OpenRemoteMemory({.local = local});
    EXPECT_TRUE(port.ok()) << port.status();
    if (!port.ok()) std::abort();
    end->port = *std::move(port);
    end->scratch = Allocate(*end, kScratchBytes);
    opened_.push_back(std::move(end));
    return *opened_.back();
  }
  void Close(MemoryEnd& end) {
    std::erase_if(opened_, [&](const auto& other) { return other.get() == &end; });
  }

  static MemoryRegion Allocate(MemoryEnd& end, size_t bytes) {
    const absl::StatusOr<MemoryRegion> region = end.port->Allocate(bytes);
    EXPECT_TRUE(region.ok()) << region.status();
    if (!region.ok()) std::abort();
    return *region;
  }

  static Peer PeerAt(MemoryEnd& from, MemoryEnd& to) {
    const absl::StatusOr<Peer> peer = from.port->Resolve(to.port->local_address());
    EXPECT_TRUE(peer.ok()) << peer.status();
    return peer.value_or(Peer());
  }

  void PollAll() {
    for (auto& end : opened_) end->Poll();
  }
  bool WaitUntil(absl::FunctionRef<bool()> done) {
    return Until([&] {
      PollAll();
      return done();
    });
  }

  // Waits for a connection if need be.
  RemoteKey Grant(MemoryEnd& owner, MemoryEnd& user, const MemoryRegion& region, size_t offset,
                  size_t bytes, MemoryAccess access) {
    absl::StatusOr<RemoteKey> key = absl::UnknownError("not asked for");
    EXPECT_TRUE(WaitUntil([&] {
      // Anew each time: who comes back may do so only now.
      const absl::StatusOr<Peer> peer = owner.port->Resolve(user.port->local_address());
      if (!peer.ok()) return false;
      key = owner.port->Grant(*peer, region, offset, bytes, access);
      return key.ok() || key.status().code() != absl::StatusCode::kUnavailable;
    }));
    EXPECT_TRUE(key.ok()) << key.status();
    return key.value_or(RemoteKey());
  }
  RemoteKey GrantAll(MemoryEnd& owner, MemoryEnd& user, const MemoryRegion& region) {
    return Grant(owner, user, region, 0, region.bytes.size(), kEverything);
  }

  // Posts and returns the context by which the operation ends; waits while there is no room.
  uint64_t Post(MemoryEnd& user, MemoryOperation operation) {
    operation.context = user.next_context++;
    EXPECT_TRUE(WaitUntil([&] { return user.port->Post({&operation, 1}) == 1; }));
    return operation.context;
  }
  // How it ends.
  MemoryCompletion Await(MemoryEnd& user, uint64_t context) {
    const bool ended = WaitUntil([&] { return user.done.contains(context); });
    EXPECT_TRUE(ended) << "operation " << context << " does not end";
    if (!ended) return {.context = context, .code = absl::StatusCode::kUnknown};
    return user.done.extract(context).mapped();
  }
  // From beginning to end; again if it fell victim to one before it.
  MemoryCompletion Do(MemoryEnd& user, const MemoryOperation& operation) {
    MemoryCompletion end;
    EXPECT_TRUE(WaitUntil([&] {
      end = Await(user, Post(user, operation));
      return end.code != absl::StatusCode::kAborted;
    }));
    return end;
  }

  // Operations between the beginning of `user`'s scratch and `offset` of what was granted.
  static MemoryOperation Operation(OperationKind kind, MemoryEnd& user, const Peer& peer,
                                   const RemoteKey& key, uint64_t offset = 0, size_t bytes = 8) {
    MemoryOperation operation = {.kind = kind, .peer = peer, .key = key, .offset = offset};
    if (!IsAtomic(kind)) operation.local = user.scratch.bytes.subspan(0, bytes);
    operation.operand = 1;
    return operation;
  }

  // That `user` reads what `owner` has written, and the other way round.
  void ExpectTheyWork(MemoryEnd& owner, MemoryEnd& user) {
    const MemoryRegion region = Allocate(owner, 64);
    const RemoteKey key = GrantAll(owner, user, region);
    const Peer peer = PeerAt(user, owner);
    Fill(region.bytes, "from the owner");
    ASSERT_EQ(Do(user, Operation(OperationKind::kRead, user, peer, key, 0, 14)).code,
              absl::StatusCode::kOk);
    ASSERT_EQ(TextOf(user.scratch.bytes.subspan(0, 14)), "from the owner");
    Fill(user.scratch.bytes, "from its user");
    ASSERT_EQ(Do(user, Operation(OperationKind::kWrite, user, peer, key, 16, 13)).code,
              absl::StatusCode::kOk);
    ASSERT_EQ(TextOf(region.bytes.subspan(16, 13)), "from its user");
    owner.port->Deregister(region);
  }

  size_t max_operation() { return transport().capabilities().max_operation_bytes; }

  std::vector<std::unique_ptr<MemoryEnd>> opened_;

  void TearDown() override { opened_.clear(); }
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_CONFORMANCE_REMOTE_MEMORY_CONFORMANCE_H_
