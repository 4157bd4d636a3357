// SPDX-License-Identifier: Apache-2.0
#include "weft/examples/rdma_kv/client.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "weft/examples/rdma_kv/reachable.h"
#include "weft/rpc/service/client_context.h"

namespace rdma_kv {

using absl::string_view;
using weft::Task;

namespace {

// Longer than the server waits for the way to us.
constexpr absl::Duration kAttachTimeout = absl::Seconds(5);

}  // namespace

StoreClient::StoreClient(weft::rpc::Channel& channel, weft::MemoryClient* memory,
                         const StoreClientOptions& options)
    : loop_(channel.loop()),
      stub_(channel),
      memory_(memory),
      options_(options),
      attach_again_(options.attach_again_min) {
  SetWay(memory == nullptr ? "RPC: there is no memory for one-sided reads here"
                           : "RPC: not attached yet");
}

StoreClient::~StoreClient() = default;

StoreClient::Room::Room(StoreClient& store) : store_(store) {
  if (store.rooms_.empty() && store.memory_->unfinished() == 0) {
    std::swap(store.rooms_, store.abandoned_);  // nothing writes there any more
  }
  if (store.rooms_.empty()) return;
  bytes_ = store.rooms_.back();
  store.rooms_.pop_back();
}

StoreClient::Room::~Room() {
  if (bytes_.size() != store_.room_bytes_) return;  // there are larger ones now, or it is none
  (reading_ ? store_.abandoned_ : store_.rooms_).push_back(bytes_);
}

Task<absl::Status> StoreClient::Get(string_view key, Value* value) {
  if (attached()) {
    std::optional<absl::Status> status = co_await GetByRead(key, value);
    if (status.has_value()) {
      ++stats_.gets_by_read;
      co_return *std::move(status);
    }
  }
  if (!attached()) AttachInBackground();
  ++stats_.gets_by_rpc;
  co_return co_await GetByRpc(key, value);
}

Task<std::optional<absl::Status>> StoreClient::GetByRead(string_view key, Value* value) {
  // Meanwhile there may be another.
  const Attachment at = *attachment_;
  // What cannot be a key, as that of an empty slot, is for the server to refuse.
  if (key.empty() || !at.shape.fits(key.size(), 0)) co_return std::nullopt;
  Room room(*this);
  if (room.bytes().empty()) {
    ++stats_.no_room;
    co_return std::nullopt;
  }
  const KeyBuckets buckets = BucketsOf(at.shape, key);
  for (const uint32_t bucket : {buckets.first, buckets.second}) {
    const std::optional<Sight> sight = co_await ReadBucket(at, bucket, room, key);
    if (!sight.has_value()) co_return std::nullopt;
    if (sight->kind == Sight::Kind::kAbsent) continue;
    value->bytes.assign(sight->value.data(), sight->value.size());
    value->version = sight->version;
    value->by_read = true;
    co_return absl::OkStatus();
  }
  co_return absl::NotFoundError(absl::StrCat("there is no key '", key, "'"));
}

Task<std::optional<Sight>> StoreClient::ReadBucket(const Attachment& at, uint32_t bucket,
                                                   Room& room, string_view key) {
  const size_t bytes = at.shape.bucket_bytes();
  absl::Status status;
  for (int attempt = 0; attempt < options_.attempts_max; ++attempt) {
    ++stats_.buckets_read;
    room.set_reading(true);
    status = co_await memory_->Read(at.peer, at.key, bucket * bytes, room.bytes().first(bytes));
    room.set_reading(false);
    // Another one to the same server failed, and took this with it.
    if (absl::IsAborted(status)) continue;
    if (!status.ok()) {
      ++stats_.key_lost;
      Lose(at.number, status);
      co_return std::nullopt;
    }
    const Sight sight = FindInBucket(at.shape, bucket, room.bytes().first(bytes), key);
    if (sight.kind != Sight::Kind::kTorn) co_return sight;
    ++stats_.torn;
  }
  ++stats_.gave_up;
  Lose(at.number, status.ok() ? absl::DataLossError("what is read is no table") : status);
  co_return std::nullopt;
}

Task<absl::Status> StoreClient::GetByRpc(string_view key, Value* value) {
  GetRequest request;
  request.set_key(std::string(key));
  GetResponse response;
  absl::Status status = co_await stub_.Get(request, &response);
  if (!status.ok()) co_return status;
  value->bytes = std::move(*response.mutable_value());
  value->version = response.version();
  value->by_read = false;
  co_return absl::OkStatus();
}

Task<absl::StatusOr<StoreClient::Written>> StoreClient::Put(string_view key, string_view value) {
  PutRequest request;
  request.set_key(std::string(key));
  request.set_value(std::string(value));
  PutResponse response;
  absl::Status status = co_await stub_.Put(request, &response);
  if (!status.ok()) co_return status;
  co_return Written{response.replaced(), response.version()};
}

Task<absl::StatusOr<bool>> StoreClient::Delete(string_view key) {
  DeleteRequest request;
  request.set_key(std::string(key));
  DeleteResponse response;
  absl::Status status = co_await stub_.Delete(request, &response);
  if (!status.ok()) co_return status;
  co_return response.deleted();
}

Task<absl::Status> StoreClient::Attach() {
  if (memory_ == nullptr) co_return absl::UnimplementedError(way_);
  if (!attached() && !attaching_) co_await RunAttach();
  while (attaching_) co_await loop_.Sleep(absl::Milliseconds(1));
  co_return attached() ? absl::OkStatus() : attach_status_;
}

void StoreClient::AttachInBackground() {
  if (memory_ == nullptr || attaching_ || loop_.now_ns() < attach_again_ns_) return;
  tasks_.Spawn(RunAttach());
}

Task<void> StoreClient::RunAttach() {
  attaching_ = true;
  const absl::Cleanup done = [this] { attaching_ = false; };
  AttachRequest request;
  request.set_memory_address(memory_->memory().local_address().ToString());
  AttachResponse response;
  weft::rpc::ClientContext context;
  context.set_timeout(kAttachTimeout);
  attach_status_ = co_await stub_.Attach(request, &response, &context);
  if (attach_status_.ok()) attach_status_ = Accept(response);
  if (attach_status_.ok()) {
    attach_again_ = options_.attach_again_min;
    co_return;
  }
  attach_again_ns_ = loop_.now_ns() + absl::ToInt64Nanoseconds(attach_again_);
  attach_again_ = std::min(2 * attach_again_, options_.attach_again_max);
  SetWay(absl::StrCat("RPC: ", attach_status_.message()));
}

// What a server says is checked as all that comes from a wire.
absl::Status StoreClient::Accept(const AttachResponse& response) {
  Attachment next = {.number = attachments_ + 1,
                     .peer = {},
                     .key = {},
                     .shape = {.id = response.table_id(),
                               .buckets = response.buckets(),
                               .slot_bytes = response.slot_bytes()}};
  if (!next.shape.valid() || response.key().size() != next.key.bytes.size()) {
    return absl::InvalidArgumentError("the server tells of a table that cannot be");
  }
  std::copy(response.key().begin(), response.key().end(), next.key.bytes.begin());
  const absl::StatusOr<weft::Address> address =
      MemoryAddressOf(response.memory_address(), options_.server);
  if (!address.ok()) return address.status();
  absl::StatusOr<weft::Peer> peer = memory_->memory().Resolve(*address);
  if (!peer.ok()) return peer.status();
  next.peer = *peer;
  if (absl::Status status = MakeRooms(next.shape.bucket_bytes()); !status.ok()) return status;
  attachment_ = next;
  ++attachments_;
  ++stats_.attached;
  SetWay(absl::StrCat("one-sided reads of ", address->ToString()));
  return absl::OkStatus();
}

// Room for reads of that length. Regions that have become too small stay with the port: they are
// few, as each is at least twice as large as the one before.
absl::Status StoreClient::MakeRooms(size_t room_bytes) {
  if (room_bytes <= room_bytes_) return absl::OkStatus();
  room_bytes = std::bit_ceil(room_bytes);
  if (room_bytes > memory_->memory().capabilities().max_operation_bytes) {
    return absl::InvalidArgumentError("the server's buckets are longer than one read");
  }
  absl::StatusOr<weft::MemoryRegion> region =
      memory_->memory().Allocate(options_.reads_max * room_bytes);
  if (!region.ok()) return region.status();
  room_bytes_ = room_bytes;
  rooms_.clear();
  abandoned_.clear();
  for (size_t i = 0; i < options_.reads_max; ++i) {
    rooms_.push_back(region->bytes.subspan(i * room_bytes, room_bytes));
  }
  return absl::OkStatus();
}

void StoreClient::Lose(uint64_t attachment, const absl::Status& status) {
  // Others that were under way may have found out before, and a new one be there already.
  if (!attachment_.has_value() || attachment_->number != attachment) return;
  attachment_.reset();
  SetWay(absl::StrCat("RPC: ", status.message()));
}

void StoreClient::SetWay(std::string way) {
  if (way == way_) return;
  way_ = std::move(way);
  if (options_.on_way) options_.on_way(way_);
}

}  // namespace rdma_kv
