// SPDX-License-Identifier: Apache-2.0
//
// A RemoteMemory on a loop, with operations that coroutines await.
//
//   auto memory = worker.OpenRemoteMemory(address);              // host/worker.h
//   MemoryClient client(worker.loop(), *std::move(memory));
//
//   Task<absl::Status> Get(MemoryClient& client, Peer server, RemoteKey key, MemoryRegion room) {
//     co_return co_await client.Read(server, key, /*offset=*/64, room.bytes.subspan(0, 128));
//   }
//   absl::StatusOr<uint64_t> old = co_await client.FetchAdd(server, key, 0, 1);
//   absl::StatusOr<RemoteKey> key =
//       co_await client.Grant(peer, region, 0, 4096, MemoryAccess::kRead, absl::Seconds(1));
//
// Whoever only has memory that others use makes one too: it is what polls the port.
//
// Operations begin in the order in which they are awaited, at once where the port has room, else as
// soon as it has. Several coroutines may wait at a time, up to any number: what waits lies in their
// frames. The errors are those of MemoryCompletion, with a message; a dead port's status() ends all
// that waits.
//
// A coroutine that is destroyed while it waits gives its operation up, if it has not begun. One
// that has begun goes on: it may be executed, and a read may write to its bytes, until the port has
// reported its end (`unfinished()` is then smaller).
//
// Threads: that of its loop.
#ifndef WEFT_TRANSPORTS_REMOTE_MEMORY_MEMORY_CLIENT_H_
#define WEFT_TRANSPORTS_REMOTE_MEMORY_MEMORY_CLIENT_H_

#include <array>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/transports/remote_memory.h"

namespace weft {

class MemoryClient final : public Pollable {
  class Awaiter;
  class ReadWrite;
  class Atomic;

 public:
  // Adds itself to `loop`, which must outlive it. At most `begun_max` operations are the port's at
  // a time; further ones wait in their coroutines.
  MemoryClient(Loop& loop, std::unique_ptr<RemoteMemory> memory, size_t begun_max = 1024);
  // Coroutines that wait for an operation must be gone already.
  ~MemoryClient() override;
  MemoryClient(const MemoryClient&) = delete;
  MemoryClient& operator=(const MemoryClient&) = delete;

  // For what takes no time: Allocate(), Resolve(), Revoke(), capabilities(). Its Post(), Poll() and
  // TakeEvents() are this object's.
  RemoteMemory& memory() { return *memory_; }
  const RemoteMemory& memory() const { return *memory_; }
  Loop& loop() { return loop_; }

  // `co_await` gives absl::Status. Of `local`, see MemoryOperation; a write takes bytes from it.
  ReadWrite Read(const Peer& peer, const RemoteKey& key, uint64_t offset,
                 absl::Span<uint8_t> local);
  ReadWrite Write(const Peer& peer, const RemoteKey& key, uint64_t offset,
                  absl::Span<uint8_t> local);
  // `co_await` gives absl::StatusOr<uint64_t>: what was there before.
  Atomic CompareSwap(const Peer& peer, const RemoteKey& key, uint64_t offset, uint64_t compare,
                     uint64_t swap);
  Atomic FetchAdd(const Peer& peer, const RemoteKey& key, uint64_t offset, uint64_t add);

  // RemoteMemory::Grant(), tried until there is a connection to the peer. Unavailable when the peer
  // cannot be reached, or not within `timeout`; else its errors.
  Task<absl::StatusOr<RemoteKey>> Grant(Peer peer, MemoryRegion region, size_t offset, size_t bytes,
                                        MemoryAccess access, absl::Duration timeout);

  // Called with the port's events, from the loop.
  void set_events(absl::AnyInvocable<void(const PortEvent&)> events) {
    on_event_ = std::move(events);
  }

  // Operations that the port has taken and not ended.
  size_t unfinished() const { return slots_.size() - free_.size(); }

  size_t Poll() override;
  int wait_fd() const override { return memory_->wait_fd(); }
  bool Arm() override { return memory_->Arm(); }
  void Disarm() override { memory_->Disarm(); }

 private:
  // One awaited operation; in a frame, and in the list of those that wait to begin until it has.
  class Awaiter {
   public:
    Awaiter(MemoryClient& client, const MemoryOperation& operation)
        : client_(client), operation_(operation) {}
    Awaiter(const Awaiter&) = delete;
    Awaiter& operator=(const Awaiter&) = delete;
    ~Awaiter() { client_.GiveUp(this); }

    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> awaiting) {
      awaiting_ = awaiting;
      client_.Begin(this);
    }

   protected:
    absl::Status status() const;
    uint64_t old_value() const { return completion_.old_value; }

   private:
    friend class MemoryClient;
    enum class State : uint8_t { kNew, kWaiting, kBegun, kEnded };

    MemoryClient& client_;
    MemoryOperation operation_;
    MemoryCompletion completion_;
    std::coroutine_handle<> awaiting_;
    Awaiter* previous_ = nullptr;
    Awaiter* next_ = nullptr;
    State state_ = State::kNew;
  };
  class [[nodiscard]] ReadWrite : public Awaiter {
   public:
    using Awaiter::Awaiter;
    absl::Status await_resume() const { return status(); }
  };
  class [[nodiscard]] Atomic : public Awaiter {
   public:
    using Awaiter::Awaiter;
    absl::StatusOr<uint64_t> await_resume() const {
      if (absl::Status failed = status(); !failed.ok()) return failed;
      return old_value();
    }
  };
  // A Grant() under way; in its frame.
  struct GrantWait;

  void Begin(Awaiter* awaiter);
  void GiveUp(Awaiter* awaiter);
  // False: the port, or the table, is full.
  bool Post(Awaiter* awaiter);
  void Queue(Awaiter* awaiter);
  void Unqueue(Awaiter* awaiter);
  size_t BeginWaiting();
  size_t EndAll();
  size_t OnEvents();
  void End(Awaiter* awaiter, const MemoryCompletion& completion);

  Loop& loop_;
  const std::unique_ptr<RemoteMemory> memory_;
  absl::AnyInvocable<void(const PortEvent&)> on_event_;
  std::vector<Awaiter*> slots_;  // by context; null where it was given up, or is free
  std::vector<uint32_t> free_;
  Awaiter* first_waiting_ = nullptr;
  Awaiter* last_waiting_ = nullptr;
  GrantWait* grants_ = nullptr;
  uint64_t moved_ = 0;  // packets, when they were last counted
  std::array<MemoryCompletion, 64> completions_;
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_REMOTE_MEMORY_MEMORY_CLIENT_H_
