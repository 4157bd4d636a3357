// SPDX-License-Identifier: Apache-2.0
//
// Memory that peers read and write by themselves, without the help of whoever has it: one-sided
// operations as RDMA's verbs have them, over whatever offers them.
//
//   // Who has the memory:
//   absl::StatusOr<MemoryRegion> table = memory->Allocate(1 << 20);     // zeros, in table->bytes
//   absl::StatusOr<Peer> client = memory->Resolve(address_of_client);
//   absl::StatusOr<RemoteKey> key = memory->Grant(*client, *table, 0, 4096, MemoryAccess::kRead);
//   ... tell the client `key`, in a message of your own
//   memory->Revoke(*key);                     // from here on nobody reads by it
//
//   // Who uses it:
//   MemoryOperation get = {.kind = MemoryOperation::Kind::kRead, .peer = server, .key = key,
//                          .offset = 64, .local = buffer.bytes.subspan(0, 128), .context = 7};
//   if (memory->Post({&get, 1}) == 0) ...     // full: again later
//   for (size_t n = memory->Poll(done); ...)  // {context 7, ok}
//
// An address is one port's: PortOptions::queues other than 1 is InvalidArgument.
//
// Order: operations to one peer take effect in the order in which they were posted; those to
// different peers in any. Writes of up to 8 bytes, aligned to their size, are never seen half done;
// of longer ones a reader may see some bytes new and others old, in any order.
//
// Failure: a key that is wrong, revoked, for somebody else or too narrow ends the operation with
// PermissionDenied, and does not say which. Operations to the same peer that were posted behind one
// that fails may end with Aborted: they were not executed, and may be posted again. Operations to a
// peer that has gone end with Unavailable; those may have been executed. Every operation that
// Post() took ends, once.
//
// Counts: of stats(), `sent` are operations that Post() took, `send_failed` those that ended
// otherwise than well; of the others, `received_bytes` were read and `sent_bytes` written or the 8
// of atomics. An emulation over datagrams counts these instead.
//
// Sources: the verbs of the InfiniBand Architecture Specification, volume 1, chapters 9 to 11; of
// keys scoped to a peer, its memory windows of type 2 (10.6.7.2.2).
#ifndef WEFT_TRANSPORTS_REMOTE_MEMORY_H_
#define WEFT_TRANSPORTS_REMOTE_MEMORY_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/transports/address.h"
#include "weft/transports/port.h"

namespace weft {

// Memory of this process that a RemoteMemory knows. A handle: copied freely, and of no use once
// Deregister() was called. `bytes` is the memory itself.
struct MemoryRegion {
  uint32_t id = 0;  // 0: none
  absl::Span<uint8_t> bytes;
};

// What a peer may do with what it is granted; combined with |.
enum class MemoryAccess : uint8_t {
  kRead = 1,
  kWrite = 2,
  kAtomic = 4,
};
constexpr MemoryAccess operator|(MemoryAccess a, MemoryAccess b) {
  return static_cast<MemoryAccess>(static_cast<uint8_t>(a) | static_cast<uint8_t>(b));
}
constexpr bool Includes(MemoryAccess all, MemoryAccess one) {
  return (static_cast<uint8_t>(all) & static_cast<uint8_t>(one)) == static_cast<uint8_t>(one);
}

// The right to a stretch of a peer's memory; opaque bytes, to be carried to that peer as they are.
// It names its range, so that a mistake in an offset is found on this side; that it says so proves
// nothing to the other.
struct RemoteKey {
  std::array<uint8_t, 40> bytes = {};
  friend bool operator==(const RemoteKey&, const RemoteKey&) = default;
};

struct MemoryOperation {
  enum class Kind : uint8_t {
    kRead,         // into `local`
    kWrite,        // from `local`
    kCompareSwap,  // 8 bytes: if they are `compare`, they become `operand`
    kFetchAdd,     // 8 bytes: `operand` is added, modulo 2^64
  };
  Kind kind = Kind::kRead;
  Peer peer;
  RemoteKey key;
  // From the beginning of what was granted. Of atomic operations a multiple of 8, as is the address
  // there; integers are in the byte order of the machines, which must be the same.
  uint64_t offset = 0;
  // Of kRead and kWrite: 1 to max_operation_bytes within a region of this port (or its pool()'s
  // buffers). Must stay, and of a write not change, until the operation has ended.
  absl::Span<uint8_t> local = {};
  uint64_t compare = 0;
  uint64_t operand = 0;
  uint64_t context = 0;  // the caller's
};

struct MemoryCompletion {
  uint64_t context = 0;
  // kOk; kPermissionDenied, kAborted, kUnavailable (above); kInvalidArgument, not executed: nobody
  // is `peer`, `local` is not registered, too long or of no bytes, a crooked offset of an atomic.
  absl::StatusCode code = absl::StatusCode::kOk;
  uint64_t old_value = 0;  // of atomics: what was there before
};

// Threads: as all ports, one. The memory itself is anybody's.
class RemoteMemory : public Port {
 public:
  // Pages of the port's own, zeroed, that end with Deregister() or the port. The one kind of memory
  // that can be registered everywhere. ResourceExhausted, which says which limit and how to raise
  // it.
  virtual absl::StatusOr<MemoryRegion> Allocate(size_t bytes) = 0;
  // Memory of the caller's, which stays until Deregister(). Where capabilities() has
  // registers_any_memory; else Unimplemented.
  virtual absl::StatusOr<MemoryRegion> Register(absl::Span<uint8_t> memory) = 0;
  // Revokes all keys of the region first. No operation of this port may use it any more. An unknown
  // one is ignored.
  virtual void Deregister(const MemoryRegion& region) = 0;

  // Prepares for operations to `address`, which is the local_address() of another RemoteMemory, and
  // for its to here. As DatagramPort::Resolve(): it does not wait, gives an equal Peer again while
  // the peer lives, and a peer that is not there ends operations with Unavailable and is a
  // kPeerUnreachable.
  virtual absl::StatusOr<Peer> Resolve(const Address& address) = 0;
  virtual absl::StatusOr<Address> AddressOf(const Peer& peer) const = 0;

  // Lets `peer`, and nobody else, at `bytes` (1 or more) of `region` from `offset` on. For when a
  // connection is set up, not for each operation. Does not wait: Unavailable while there is no
  // connection to the peer, which the first call begins to make, so call again after some Poll();
  // kPeerUnreachable says that it has failed. InvalidArgument for a range that is not the region's,
  // or a region that is not this port's; NotFound for an
  // unknown peer, ResourceExhausted for too many keys.
  virtual absl::StatusOr<RemoteKey> Grant(const Peer& peer, const MemoryRegion& region,
                                          size_t offset, size_t bytes, MemoryAccess access) = 0;
  // When it returns, nothing more is read or written by `key`. An unknown one is ignored. Keys end
  // with their peer, too: one that comes back is granted anew.
  virtual void Revoke(const RemoteKey& key) = 0;

  // Begins a prefix of `operations` and returns its length. Less than all: too much is under way.
  // What is wrong with an operation is said by its completion.
  virtual size_t Post(absl::Span<const MemoryOperation> operations) = 0;
  // Takes operations that have ended, as many as fit, and returns their number. Must be called for
  // the port to do anything at all, by those too who only have memory: connections are set up here.
  virtual size_t Poll(absl::Span<MemoryCompletion> completions) = 0;

 protected:
  using Port::Port;
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_REMOTE_MEMORY_H_
