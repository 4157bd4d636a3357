// SPDX-License-Identifier: Apache-2.0
//
// One connection between two ports: a Unix socket and the memory handed over it.
//
// The connector sends a Hello that carries a sealed memfd and uses the memory at once; the acceptor
// answers kWelcome or kRefused. The socket stays open while the session lives: it carries wake-ups
// and the good-bye, and its end tells of the other side's death. Wake-ups go over the socket rather
// than an eventfd because an eventfd is shared with all its flags: a peer could drain the wake-ups
// of others, or make a write to it block.
#ifndef WEFT_TRANSPORTS_SHM_SESSION_H_
#define WEFT_TRANSPORTS_SHM_SESSION_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "weft/core/unique_fd.h"
#include "weft/transports/shm/shared_memory.h"

namespace weft::shm {

enum class Contract : uint8_t { kDatagrams = 1, kStreams = 2, kMemory = 3 };

inline constexpr size_t kMaxNameBytes = 64;

// First message of a connection, host byte order. The memfd comes with it.
struct Hello {
  static constexpr uint32_t kMagic = 0x4d485357;  // "WSHM"
  static constexpr uint16_t kVersion = 1;
  static constexpr uint8_t kIssuesBarrier = 1;  // flag: FullBarrier() is more than a fence

  uint32_t magic;
  uint16_t version;
  Contract contract;
  uint8_t flags;
  uint32_t ring_bytes;  // of each direction
  uint8_t name_size;    // of the connector's own name
  char name[67];
};
static_assert(sizeof(Hello) == 80);

// Every other message.
struct Notice {
  enum class Kind : uint8_t {
    kWelcome = 1,
    kRefused,
    kWake,
    kGoodbye,
    kRegion,  // with the descriptor of pages that keys may be granted of
    kForget,  // those pages are not needed any more
  };
  static constexpr uint8_t kWritable = 1;  // flag of kRegion
  Kind kind;
  uint8_t flags = 0;  // kWelcome: as in Hello
  uint16_t zero = 0;
  int32_t error = 0;  // kRefused: an errno; kRegion, kForget: the number of the mapping
};
static_assert(sizeof(Notice) == 8);

// The flags this process sends.
uint8_t OwnFlags();

// With `descriptor`, if it is not negative. Waits for nothing: false if it could not be sent.
bool SendNotice(int socket, const Notice& notice, int descriptor = -1);

enum class Received { kNotice, kNothing, kEnd, kGarbage };
Received ReceiveNotice(int socket, Notice* notice);
// The same where descriptors are welcome; null if none came.
Received ReceiveNotice(int socket, Notice* notice, UniqueFd* descriptor);

// One side of a connection.
struct Session {
  UniqueFd socket;
  SharedMemory memory;
  std::string peer_name;    // as it says itself; well-formed
  bool trust_name = false;  // it runs as our user, who could do worse than lie about its name
  bool needs_fence = true;  // before wake_on is looked at: the other side issues no barrier

  // After data was published or consumed: wakes the other side if that is what it sleeps for.
  void Announce(uint32_t what) const {
    if (needs_fence) {
      std::atomic_thread_fence(std::memory_order_seq_cst);
    } else {
      std::atomic_signal_fence(std::memory_order_seq_cst);
    }
    if (memory.theirs().wake_on.load(std::memory_order_relaxed) & what) [[unlikely]]
      Wake();
  }

 private:
  void Wake() const;
};

// Connects to the socket at `path` and says hello as `own_name`. Waits for nothing; kWelcome or
// kRefused follows. NotFound (nobody listens there), Unavailable (too many wait to be accepted),
// PermissionDenied, ResourceExhausted.
absl::StatusOr<Session> Connect(const std::string& path, Contract contract,
                                const std::string& own_name, uint32_t ring_bytes);

// Makes a session of what an accepted connection said first. `ring_bytes_max` is the largest ring
// that is tolerated. On failure `*error` is the errno to refuse with, or EAGAIN if nothing has come
// yet; `*socket` is taken only on success.
absl::StatusOr<Session> ReceiveHello(UniqueFd* socket, Contract contract, uint32_t ring_bytes_max,
                                     int* error);

}  // namespace weft::shm

#endif  // WEFT_TRANSPORTS_SHM_SESSION_H_
