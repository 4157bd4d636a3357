// SPDX-License-Identifier: Apache-2.0
//
// The server: the service of store.proto, with its table in memory that clients are let at.
//
// The table grows by moving: into twice the memory, under another id, and who could read the old
// one can no more before anything is changed in the new one. So a client never reads what was true
// once: its read fails, it attaches again, and asks by RPC until then.
#ifndef WEFT_EXAMPLES_RDMA_KV_STORE_H_
#define WEFT_EXAMPLES_RDMA_KV_STORE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "weft/core/prng.h"
#include "weft/core/task.h"
#include "weft/examples/rdma_kv/store.weft.h"
#include "weft/examples/rdma_kv/table.h"
#include "weft/transports/address.h"
#include "weft/transports/remote_memory/memory_client.h"

namespace rdma_kv {

struct StoreOptions {
  uint32_t slot_bytes = 256;  // what a key and its value have, with kSlotHeaderBytes
  uint32_t buckets = 64;      // to begin with; a power of two
  // At the limit the store is full. While it moves, it holds half as much again.
  size_t table_bytes_max = size_t{256} << 20;
  size_t clients_max = 4096;  // that may read the table
  // How long Attach() waits for the way to a client's memory port.
  absl::Duration attach_timeout = absl::Seconds(2);
  // Where a peer of the RPC server is: the table is shown to memory of the same machine only. Null:
  // to nobody. Not called by Create().
  std::function<absl::StatusOr<weft::Address>(const weft::Peer&)> address_of = nullptr;
  // Makes the ids of tables foreseeable, so that a simulation can be repeated; none: random.
  std::optional<uint64_t> seed = std::nullopt;
};

struct StoreStats {
  uint64_t attached = 0;
  uint64_t attach_failed = 0;
  uint64_t gets = 0;  // by RPC: those that clients do by themselves nobody here sees
  uint64_t puts = 0;
  uint64_t deletes = 0;
  uint64_t moves = 0;
};

// One thread, that of its server's loop and of `memory`.
class Store final : public KeyValueService {
 public:
  // `memory` outlives the store, which takes its events; null: nobody reads the table by himself.
  // InvalidArgument for options that cannot be; else the errors of RemoteMemory::Allocate().
  static absl::StatusOr<std::unique_ptr<Store>> Create(weft::MemoryClient* memory,
                                                       const StoreOptions& options);
  ~Store() override;

  weft::Task<absl::Status> Attach(weft::rpc::ServerContext& context, const AttachRequest& request,
                                  AttachResponse* response) override;
  weft::Task<absl::Status> Get(weft::rpc::ServerContext& context, const GetRequest& request,
                               GetResponse* response) override;
  weft::Task<absl::Status> Put(weft::rpc::ServerContext& context, const PutRequest& request,
                               PutResponse* response) override;
  weft::Task<absl::Status> Delete(weft::rpc::ServerContext& context, const DeleteRequest& request,
                                  DeleteResponse* response) override;

  // Nobody whom the table was shown to can read it any more; he may attach again.
  void RevokeAll();

  const Table& table() const { return *table_; }
  const StoreStats& stats() const { return stats_; }
  size_t clients() const { return keys_.size(); }

 private:
  Store(weft::MemoryClient* memory, const StoreOptions& options);

  // The memory of a table: a region, or a vector where there is no RemoteMemory.
  struct Room {
    weft::MemoryRegion region;
    std::vector<uint64_t> own;
    absl::Span<uint8_t> bytes;
  };
  absl::StatusOr<Room> Allocate(size_t bytes);
  void Free(const Room& room);

  TableShape NextShape(uint32_t buckets);
  // Moves to a table with more buckets. ResourceExhausted: it has as much as it may, or as there
  // is.
  absl::Status Grow();
  absl::Status CheckKey(const std::string& key) const;
  absl::StatusOr<weft::Peer> ResolveMemory(const weft::rpc::ServerContext& context,
                                           const std::string& address);
  weft::Task<absl::StatusOr<weft::RemoteKey>> Grant(weft::Peer peer);

  weft::MemoryClient* const memory_;
  const StoreOptions options_;
  weft::Prng ids_;
  Room room_;
  std::optional<Table> table_;
  absl::flat_hash_map<weft::Peer, weft::RemoteKey> keys_;  // of room_, by who has them
  StoreStats stats_;
};

}  // namespace rdma_kv

#endif  // WEFT_EXAMPLES_RDMA_KV_STORE_H_
