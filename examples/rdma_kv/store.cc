// SPDX-License-Identifier: Apache-2.0
#include "weft/examples/rdma_kv/store.h"

#include <random>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/examples/rdma_kv/reachable.h"

namespace rdma_kv {
namespace {

using weft::Task;
using weft::rpc::ServerContext;

absl::Status NoSuchKey(const std::string& key) {
  return absl::NotFoundError(absl::StrCat("there is no key '", key, "'"));
}

uint64_t RandomSeed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

}  // namespace

Store::Store(weft::MemoryClient* memory, const StoreOptions& options)
    : memory_(memory), options_(options), ids_(options.seed ? *options.seed : RandomSeed()) {
  if (memory == nullptr) return;
  memory->set_events([this](const weft::PortEvent& event) {
    // A client that has gone, and its key with it, or not: one that comes back asks for another.
    if (event.kind == weft::PortEvent::Kind::kPeerUnreachable ||
        event.kind == weft::PortEvent::Kind::kPeerClosed) {
      const auto key = keys_.find(event.peer);
      if (key == keys_.end()) return;
      memory_->memory().Revoke(key->second);
      keys_.erase(key);
    }
  });
}

Store::~Store() {
  if (memory_ != nullptr) memory_->set_events({});
  Free(room_);
}

absl::StatusOr<std::unique_ptr<Store>> Store::Create(weft::MemoryClient* memory,
                                                     const StoreOptions& options) {
  std::unique_ptr<Store> store(new Store(memory, options));
  const TableShape shape = store->NextShape(options.buckets);
  if (!shape.valid()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a table of ", options.buckets, " buckets with slots of ", options.slot_bytes,
        " bytes: their number is a power of two from ", kBucketsMin,
        " on, and slots have a multiple of ", kSlotBytesUnit, " bytes, at most ", kSlotBytesMax));
  }
  if (shape.bytes() > options.table_bytes_max) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a table of ", shape.bytes(), " bytes, more than the limit of ", options.table_bytes_max));
  }
  if (memory != nullptr &&
      shape.bucket_bytes() > memory->memory().capabilities().max_operation_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("buckets of ", shape.bucket_bytes(), " bytes, where one operation reads ",
                     memory->memory().capabilities().max_operation_bytes, ": give shorter slots"));
  }
  absl::StatusOr<Room> room = store->Allocate(shape.bytes());
  if (!room.ok()) return room.status();
  store->room_ = *std::move(room);
  store->table_.emplace(shape, store->room_.bytes);
  return store;
}

absl::StatusOr<Store::Room> Store::Allocate(size_t bytes) {
  Room room;
  if (memory_ == nullptr) {
    room.own.resize(bytes / sizeof(uint64_t));
    room.bytes = {reinterpret_cast<uint8_t*>(room.own.data()), bytes};
    return room;
  }
  absl::StatusOr<weft::MemoryRegion> region = memory_->memory().Allocate(bytes);
  if (!region.ok()) return region.status();
  room.region = *region;
  room.bytes = region->bytes.subspan(0, bytes);
  return room;
}

void Store::Free(const Room& room) {
  // Revokes its keys.
  if (room.region.id != 0) memory_->memory().Deregister(room.region);
}

TableShape Store::NextShape(uint32_t buckets) {
  return {.id = ids_.Next(), .buckets = buckets, .slot_bytes = options_.slot_bytes};
}

absl::Status Store::Grow() {
  for (uint64_t buckets = uint64_t{table_->shape().buckets} * 2; buckets <= kBucketsMax;
       buckets *= 2) {
    const TableShape shape = NextShape(static_cast<uint32_t>(buckets));
    if (shape.bytes() > options_.table_bytes_max) break;
    absl::StatusOr<Room> room = Allocate(shape.bytes());
    if (!room.ok()) return room.status();
    Table table(shape, room->bytes);
    if (!table.CopyFrom(*table_)) {  // ill luck: the next has another hash, too
      Free(*room);
      continue;
    }
    // From here on nobody reads the old table, and only then does the new one change.
    Free(room_);
    keys_.clear();
    room_ = *std::move(room);
    table_.emplace(std::move(table));
    ++stats_.moves;
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("the store is full: its table may have ", options_.table_bytes_max, " bytes"));
}

void Store::RevokeAll() {
  for (const auto& [peer, key] : keys_) memory_->memory().Revoke(key);
  keys_.clear();
}

absl::StatusOr<weft::Peer> Store::ResolveMemory(const ServerContext& context,
                                                const std::string& address) {
  if (!options_.address_of) return absl::UnimplementedError("it is not known where callers are");
  const absl::StatusOr<weft::Address> caller = options_.address_of(context.peer());
  if (!caller.ok()) return caller.status();
  const absl::StatusOr<weft::Address> memory = MemoryAddressOf(address, *caller);
  if (!memory.ok()) return memory.status();
  return memory_->memory().Resolve(*memory);
}

Task<absl::StatusOr<weft::RemoteKey>> Store::Grant(weft::Peer peer) {
  while (true) {
    const TableShape shape = table_->shape();
    absl::StatusOr<weft::RemoteKey> key = co_await memory_->Grant(
        peer, room_.region, 0, shape.bytes(), weft::MemoryAccess::kRead, options_.attach_timeout);
    if (table_->shape().id != shape.id) continue;  // it has moved meanwhile, and the key has ended
    if (!key.ok()) co_return key;
    // One that attaches again has no use for the key that it had.
    if (const auto old = keys_.find(peer); old != keys_.end()) {
      memory_->memory().Revoke(old->second);
      keys_.erase(old);
    }
    if (keys_.size() >= options_.clients_max) {
      memory_->memory().Revoke(*key);
      co_return absl::ResourceExhaustedError(
          absl::StrCat(options_.clients_max, " clients read the table already"));
    }
    keys_[peer] = *key;
    co_return key;
  }
}

Task<absl::Status> Store::Attach(ServerContext& context, const AttachRequest& request,
                                 AttachResponse* response) {
  if (memory_ == nullptr) {
    co_return absl::UnimplementedError("the server has no memory for one-sided reads");
  }
  const absl::StatusOr<weft::Peer> peer = ResolveMemory(context, request.memory_address());
  if (!peer.ok()) {
    ++stats_.attach_failed;
    co_return peer.status();
  }
  const absl::StatusOr<weft::RemoteKey> key = co_await Grant(*peer);
  if (!key.ok()) {
    ++stats_.attach_failed;
    co_return key.status();
  }
  ++stats_.attached;
  response->set_memory_address(memory_->memory().local_address().ToString());
  response->set_key(std::string(key->bytes.begin(), key->bytes.end()));
  const TableShape& shape = table_->shape();
  response->set_table_id(shape.id);
  response->set_buckets(shape.buckets);
  response->set_slot_bytes(shape.slot_bytes);
  co_return absl::OkStatus();
}

absl::Status Store::CheckKey(const std::string& key) const {
  if (!key.empty() && table_->shape().fits(key.size(), 0)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a key of ", key.size(), " bytes; give 1 to ",
                                                 options_.slot_bytes - kSlotHeaderBytes));
}

Task<absl::Status> Store::Get(ServerContext&, const GetRequest& request, GetResponse* response) {
  ++stats_.gets;
  if (absl::Status status = CheckKey(request.key()); !status.ok()) co_return status;
  const std::optional<SlotContents> found = table_->Get(request.key());
  if (!found.has_value()) co_return NoSuchKey(request.key());
  response->set_value(std::string(found->value));
  response->set_version(found->version);
  co_return absl::OkStatus();
}

Task<absl::Status> Store::Put(ServerContext&, const PutRequest& request, PutResponse* response) {
  ++stats_.puts;
  if (absl::Status status = CheckKey(request.key()); !status.ok()) co_return status;
  if (!table_->shape().fits(request.key().size(), request.value().size())) {
    co_return absl::InvalidArgumentError(absl::StrCat(
        "a value of ", request.value().size(), " bytes; with its key of ", request.key().size(),
        " there is room for ", options_.slot_bytes - kSlotHeaderBytes - request.key().size()));
  }
  std::optional<Table::Change> change;
  while (!(change = table_->Put(request.key(), request.value())).has_value()) {
    if (absl::Status status = Grow(); !status.ok()) co_return status;
  }
  response->set_replaced(change->existed);
  response->set_version(change->version);
  co_return absl::OkStatus();
}

Task<absl::Status> Store::Delete(ServerContext&, const DeleteRequest& request,
                                 DeleteResponse* response) {
  ++stats_.deletes;
  if (absl::Status status = CheckKey(request.key()); !status.ok()) co_return status;
  response->set_deleted(table_->Delete(request.key()).existed);
  co_return absl::OkStatus();
}

}  // namespace rdma_kv
