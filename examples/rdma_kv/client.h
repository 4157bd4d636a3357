// SPDX-License-Identifier: Apache-2.0
//
// The client: reads the server's table by itself where it can, and asks where it cannot.
//
//   StoreClient store(channel, &memory);          // weft::rpc::Channel, weft::MemoryClient
//   StoreClient::Value value;
//   absl::Status status = co_await store.Get("colour", &value);
//
// To read the table a client needs the right to, which Attach() of store.proto gives, and which
// ends when the table moves, the server restarts, or revokes it. That is asked for in the
// background, with the first call of Get() and whenever it was lost: until it is there, and where
// it cannot be had, Get() is an RPC. So no call waits for it, and none fails for the lack of it.
// way() tells what is done now and why, and the counts what was done.
//
// What Get() finds was there at some moment between its begin and its end, and never goes back: one
// that begins after another has ended, or after a Put() has, finds that or something newer.
#ifndef WEFT_EXAMPLES_RDMA_KV_CLIENT_H_
#define WEFT_EXAMPLES_RDMA_KV_CLIENT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/examples/rdma_kv/layout.h"
#include "weft/examples/rdma_kv/store.weft.h"
#include "weft/rpc/service/channel.h"
#include "weft/transports/address.h"
#include "weft/transports/remote_memory/memory_client.h"

namespace rdma_kv {

struct StoreClientOptions {
  // Where the server's RPC is reached: its memory is believed to be at the same machine only.
  weft::Address server = {};
  // Reads of buckets at a time. A Get() that finds all under way is an RPC.
  size_t reads_max = 64;
  // Of one bucket, until a Get() that finds it being written each time is an RPC.
  int attempts_max = 16;
  // Between one failure to attach and the next attempt, which comes with a Get(): doubled each
  // time.
  absl::Duration attach_again_min = absl::Milliseconds(10);
  absl::Duration attach_again_max = absl::Seconds(1);
  // Told of each change of way().
  std::function<void(const std::string& way)> on_way = nullptr;
};

struct StoreClientStats {
  uint64_t gets_by_read = 0;  // of keys that are there and of others
  uint64_t gets_by_rpc = 0;
  uint64_t buckets_read = 0;
  uint64_t torn = 0;     // of those: seen while they were written, and read again
  uint64_t gave_up = 0;  // attempts_max times in a row
  uint64_t no_room = 0;  // reads_max were under way
  uint64_t attached = 0;
  uint64_t key_lost = 0;  // a read was refused or could not be done: the right to it has ended
};

// One thread, that of the channel's client and of `memory`.
class StoreClient {
 public:
  // Both outlive it; `memory` may be null: all is done by RPC.
  StoreClient(weft::rpc::Channel& channel, weft::MemoryClient* memory,
              const StoreClientOptions& options = {});
  // Coroutines that use it must be gone already.
  ~StoreClient();
  StoreClient(const StoreClient&) = delete;
  StoreClient& operator=(const StoreClient&) = delete;

  struct Value {
    std::string bytes;
    uint64_t version = 0;  // of its last change; grows, while the server runs
    bool by_read = false;  // one-sided, and not by RPC
  };
  // NotFound: there is no such key. Else the errors of RPC. `key` and `value` must stay until it
  // has ended.
  weft::Task<absl::Status> Get(absl::string_view key, Value* value);

  struct Written {
    bool existed = false;  // before
    uint64_t version = 0;
  };
  weft::Task<absl::StatusOr<Written>> Put(absl::string_view key, absl::string_view value);
  // Whether there was such a key.
  weft::Task<absl::StatusOr<bool>> Delete(absl::string_view key);

  // Waits until the table can be read, or not: for those who want the first Get() to be a read.
  // Else why it is RPC.
  weft::Task<absl::Status> Attach();

  bool attached() const { return attachment_.has_value(); }
  // "one-sided reads of shm:kv-memory", "RPC: ..." and why.
  const std::string& way() const { return way_; }
  const StoreClientStats& stats() const { return stats_; }

 private:
  // What is needed to read the table; small, and copied by those who do.
  struct Attachment {
    uint64_t number;
    weft::Peer peer;
    weft::RemoteKey key;
    TableShape shape;
  };
  // Memory for one bucket, while a Get() needs it.
  class Room {
   public:
    explicit Room(StoreClient& store);
    ~Room();
    Room(const Room&) = delete;
    Room& operator=(const Room&) = delete;
    absl::Span<uint8_t> bytes() const { return bytes_; }  // empty: there is none
    // A coroutine that is destroyed meanwhile leaves a read that may still write.
    void set_reading(bool reading) { reading_ = reading; }

   private:
    StoreClient& store_;
    absl::Span<uint8_t> bytes_;
    bool reading_ = false;
  };

  // Nothing: it must be an RPC.
  weft::Task<std::optional<absl::Status>> GetByRead(absl::string_view key, Value* value);
  weft::Task<std::optional<Sight>> ReadBucket(const Attachment& at, uint32_t bucket, Room& room,
                                              absl::string_view key);
  weft::Task<absl::Status> GetByRpc(absl::string_view key, Value* value);

  void AttachInBackground();
  weft::Task<void> RunAttach();
  absl::Status Accept(const AttachResponse& response);
  absl::Status MakeRooms(size_t room_bytes);
  void Lose(uint64_t attachment, const absl::Status& status);
  void SetWay(std::string way);

  weft::Loop& loop_;
  KeyValueClient stub_;
  weft::MemoryClient* const memory_;
  const StoreClientOptions options_;
  std::string way_;
  StoreClientStats stats_;
  std::optional<Attachment> attachment_;
  uint64_t attachments_ = 0;
  size_t room_bytes_ = 0;
  std::vector<absl::Span<uint8_t>> rooms_;      // of room_bytes_, that nobody uses
  std::vector<absl::Span<uint8_t>> abandoned_;  // a read may still write to them
  bool attaching_ = false;
  absl::Status attach_status_;  // of the last attempt
  int64_t attach_again_ns_ = 0;
  absl::Duration attach_again_;
  weft::TaskGroup tasks_;
};

}  // namespace rdma_kv

#endif  // WEFT_EXAMPLES_RDMA_KV_CLIENT_H_
