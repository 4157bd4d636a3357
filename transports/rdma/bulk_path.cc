// SPDX-License-Identifier: Apache-2.0

#include "weft/transports/rdma/bulk_path.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace weft::rdma {
namespace {

using Role = RcConnections::Role;
using State = RcConnections::State;

// Contexts of requests: of reads, of binds, which tell the generation of what is exposed as well,
// and of invalidations.
constexpr uint32_t kFetchBit = 0x4000'0000;
constexpr uint32_t kBindBit = 0x8000'0000;

uint32_t BindContext(uint32_t index, uint32_t generation) {
  return kBindBit | (generation & 0x3fff) << 16 | index;
}

constexpr uint64_t kMaxReadBytes = 1 << 30;
constexpr size_t kMaxExposures = 65'536;  // by the bits of a key

}  // namespace

// A BulkKey's bytes, in the order of the machines, which RDMA wants to be the same.
struct BulkPath::KeyFields {
  uint64_t address = 0;
  uint64_t incarnation = 0;  // of the owner's port
  uint32_t remote_key = 0;
  uint32_t bytes = 0;
  uint32_t qpn = 0;  // of the owner's queue pair
  uint16_t slot = 0;
  uint16_t generation = 0;

  static KeyFields Of(const BulkKey& key) {
    static_assert(sizeof(KeyFields) == sizeof(BulkKey::bytes));
    KeyFields fields;
    std::memcpy(&fields, key.bytes.data(), sizeof(fields));
    return fields;
  }
  BulkKey ToKey() const {
    BulkKey key;
    std::memcpy(key.bytes.data(), this, sizeof(*this));
    return key;
  }
};

BufferPoolOptions BulkPath::PoolOptions(const Options& options) {
  return {.count = options.count,
          .bytes = options.headroom + options.max_bytes,
          .headroom = options.headroom};
}

absl::StatusOr<std::unique_ptr<BulkPath>> BulkPath::Open(Nic* nic, CompletionQueue* queue,
                                                         Rendezvous* rendezvous, const Peers* peers,
                                                         const Options& options) {
  if (!nic->limits().memory_windows) {
    return absl::FailedPreconditionError(
        "the device has no memory windows of type 2, without which a peer could read more than it "
        "is shown; long messages go in datagrams");
  }
  if (options.count == 0 || options.count > kMaxExposures) {
    return absl::InvalidArgumentError(
        absl::StrCat("1 to ", kMaxExposures, " buffers for long messages are possible"));
  }
  auto bulk = std::unique_ptr<BulkPath>(new BulkPath(nic, queue, rendezvous, peers, options));
  if (absl::Status status = bulk->RegisterBuffers(); !status.ok()) return status;
  return bulk;
}

absl::Status BulkPath::RegisterBuffers() {
  if (nic_->limits().is_software) {
    registrations_.resize(options_.count);
    return absl::OkStatus();
  }
  auto all = nic_->Register(pool_.region(), /*windows=*/true);
  if (!all.ok()) return all.status();
  registrations_.push_back(*std::move(all));
  return absl::OkStatus();
}

std::optional<uint32_t> BulkPath::LocalKeyOf(const Buffer& buffer) {
  if (!nic_->limits().is_software) return registrations_[0]->local_key();
  const auto offset = static_cast<size_t>(buffer.data() - pool_.region().data());
  const size_t slot = offset / pool_.stride();
  std::unique_ptr<Registration>& own = registrations_[slot];
  if (own == nullptr) {
    auto made = nic_->Register(pool_.region().subspan(slot * pool_.stride(), pool_.stride()),
                               /*windows=*/true);
    if (!made.ok()) return std::nullopt;
    own = *std::move(made);
  }
  return own->local_key();
}

BulkPath::BulkPath(Nic* nic, CompletionQueue* queue, Rendezvous* rendezvous, const Peers* peers,
                   const Options& options)
    : nic_(nic),
      rendezvous_(rendezvous),
      peers_(peers),
      options_(options),
      pool_(PoolOptions(options)),
      connections_(queue, rendezvous,
                   {.service = Offer::Service::kBulk,
                    .max_connections = options.max_connections,
                    .idle_ns = options.idle_ns},
                   this),
      exposures_(std::min(2 * options.count, kMaxExposures)),
      fetches_(options.count) {
  for (uint32_t i = 0; i < exposures_.size(); ++i) free_exposures_.push_back(i);
  for (uint32_t i = 0; i < fetches_.size(); ++i) free_fetches_.push_back(i);
  waiting_.reserve(fetches_.size());
  ended_.reserve(fetches_.size());
}

BulkPath::~BulkPath() {
  for (Exposure& exposure : exposures_) exposure.window.reset();
}

Buffer BulkPath::Allocate(size_t bytes) {
  return bytes <= options_.max_bytes ? pool_.Allocate() : Buffer();
}

std::optional<ConnectionId> BulkPath::ConnectionTo(const Peer& peer, Role role) {
  const std::optional<RcPeer> address = peers_->RcPeerOf(peer);
  if (!address.has_value()) return std::nullopt;
  const absl::StatusOr<ConnectionId> id = connections_.Get(*address, role, now_ns_);
  if (!id.ok() || connections_.state(*id) != State::kUp) return std::nullopt;
  return *id;
}

std::optional<BulkKey> BulkPath::Expose(const Peer& peer, const Buffer& message) {
  if (!message || message.empty() || !Owns(message)) return std::nullopt;
  const std::optional<ConnectionId> id = ConnectionTo(peer, Role::kOwner);
  const std::optional<uint32_t> local_key = id.has_value() ? LocalKeyOf(message) : std::nullopt;
  if (!local_key.has_value() || free_exposures_.empty()) {
    ++stats_.not_exposed;
    return std::nullopt;
  }
  const uint32_t index = free_exposures_.back();
  Exposure& exposure = exposures_[index];
  if (exposure.window == nullptr) {
    absl::StatusOr<std::unique_ptr<Window>> window = nic_->OpenWindow();
    if (!window.ok()) {
      ++stats_.not_exposed;
      return std::nullopt;
    }
    ++stats_.windows_opened;
    exposure.window = *std::move(window);
  }
  RcRequest bind;
  bind.kind = RcRequest::Kind::kBind;
  bind.context = BindContext(index, exposure.generation);
  bind.local = {reinterpret_cast<uint64_t>(message.data()), static_cast<uint32_t>(message.size()),
                *local_key};
  bind.window = exposure.window.get();
  bind.remote_read = true;
  if (connections_.Post(*id, {&bind, 1}) == 0) {
    ++stats_.not_exposed;
    return std::nullopt;
  }
  free_exposures_.pop_back();
  connections_.Hold(*id);
  exposure.state = Exposure::State::kExposed;
  exposure.bound = exposure.doubtful = false;
  exposure.connection = *id;
  exposure.message = message.Share();
  const BulkKey key = KeyFields{.address = bind.local.address,
                                .incarnation = rendezvous_->incarnation(),
                                .remote_key = exposure.window->remote_key(),
                                .bytes = bind.local.bytes,
                                .qpn = connections_.owner_qpn(*id),
                                .slot = static_cast<uint16_t>(index),
                                .generation = static_cast<uint16_t>(exposure.generation)}
                          .ToKey();
  // A queue pair that has failed may say so at once.
  PollConnections();
  if (!IsExposed(key)) {
    ++stats_.not_exposed;
    return std::nullopt;
  }
  ++stats_.exposed;
  return key;
}

BulkPath::Exposure* BulkPath::FindExposure(const BulkKey& key) {
  const KeyFields fields = KeyFields::Of(key);
  if (fields.incarnation != rendezvous_->incarnation() || fields.slot >= exposures_.size()) {
    return nullptr;
  }
  Exposure& exposure = exposures_[fields.slot];
  const bool current = exposure.state == Exposure::State::kExposed &&
                       static_cast<uint16_t>(exposure.generation) == fields.generation;
  return current ? &exposure : nullptr;
}

void BulkPath::Conceal(const BulkKey& key) {
  Exposure* exposure = FindExposure(key);
  if (exposure == nullptr) return;
  ++stats_.concealed;
  RcRequest invalidate;
  invalidate.kind = RcRequest::Kind::kInvalidate;
  invalidate.context = static_cast<uint32_t>(exposure - exposures_.data());
  invalidate.window = exposure->window.get();
  if (!exposure->doubtful && connections_.Post(exposure->connection, {&invalidate, 1}) == 1) {
    exposure->state = Exposure::State::kEnding;
    return;
  }
  exposure->window.reset();  // which ends the key at once, at the price of a system call
  EndExposure(*exposure);
}

void BulkPath::EndExposure(Exposure& exposure) {
  exposure.state = Exposure::State::kFree;
  ++exposure.generation;
  exposure.message.Reset();
  connections_.Release(exposure.connection);
  free_exposures_.push_back(static_cast<uint32_t>(&exposure - exposures_.data()));
}

bool BulkPath::Fetch(const Peer& peer, const BulkKey& key, size_t bytes, Buffer& room,
                     uint64_t context) {
  if (bytes == 0 || bytes > options_.max_bytes || !room || !Owns(room) || !room.empty() ||
      room.tailroom() < bytes || room.is_shared()) {
    ++stats_.not_fetched;
    return false;
  }
  const KeyFields fields = KeyFields::Of(key);
  if (bytes > fields.bytes || fields.address > UINT64_MAX - bytes) {
    ++stats_.malformed;
    return false;
  }
  const std::optional<ConnectionId> id = ConnectionTo(peer, Role::kUser);
  if (!id.has_value() || free_fetches_.empty() ||
      connections_.peer_incarnation(*id) != fields.incarnation ||
      connections_.owner_qpn(*id) != fields.qpn) {
    ++stats_.not_fetched;
    return false;
  }
  const std::optional<uint32_t> local_key = LocalKeyOf(room);
  if (!local_key.has_value()) {
    ++stats_.not_fetched;
    return false;
  }
  const uint32_t index = free_fetches_.back();
  free_fetches_.pop_back();
  FetchState& fetch = fetches_[index];
  fetch = {.connection = *id,
           .room = std::move(room),
           .context = context,
           .address = fields.address,
           .key = fields.remote_key,
           .local_key = *local_key,
           .bytes = static_cast<uint32_t>(bytes)};
  // Behind those of the same connection, and not behind those of a peer that is slow or dead.
  const bool others_wait = std::any_of(waiting_.begin(), waiting_.end(), [&](uint32_t waiting) {
    return fetches_[waiting].connection == *id;
  });
  if (others_wait || !PostReads(index)) waiting_.push_back(index);
  return true;
}

uint32_t& BulkPath::ReadsOf(ConnectionId id) {
  if (id.index >= reads_.size()) reads_.resize(id.index + 1);
  return reads_[id.index];
}

// Posts what may be posted of a fetch. True: all of it.
bool BulkPath::PostReads(uint32_t index) {
  FetchState& fetch = fetches_[index];
  const uint64_t most = std::min<uint64_t>(nic_->limits().max_message_bytes, kMaxReadBytes);
  uint32_t& reads = ReadsOf(fetch.connection);
  while (fetch.posted < fetch.bytes) {
    if (reads >= std::max<size_t>(nic_->limits().reads_in_flight, 1)) return false;
    const auto bytes = static_cast<uint32_t>(std::min<uint64_t>(fetch.bytes - fetch.posted, most));
    RcRequest read;
    read.context = kFetchBit | index;
    read.local = {reinterpret_cast<uint64_t>(fetch.room.data()) + fetch.posted, bytes,
                  fetch.local_key};
    read.remote_address = fetch.address + fetch.posted;
    read.remote_key = fetch.key;
    if (connections_.Post(fetch.connection, {&read, 1}) == 0) return false;
    fetch.posted += bytes;
    ++reads;
  }
  return true;
}

void BulkPath::PostWaiting() {
  size_t left = 0;
  for (const uint32_t index : waiting_) {
    if (!PostReads(index)) waiting_[left++] = index;
  }
  waiting_.resize(left);
}

void BulkPath::EndFetch(uint32_t index, bool ok) {
  FetchState& fetch = fetches_[index];
  fetch.ended = true;
  fetch.ok = ok;
  if (ok) {
    fetch.room.Append(fetch.bytes);
    ++stats_.fetched;
    stats_.fetched_bytes += fetch.bytes;
  } else {
    ++stats_.fetch_failed;
  }
  ended_.push_back(index);
}

size_t BulkPath::TakeFetched(absl::Span<Fetched> fetched) {
  const size_t n = std::min(fetched.size(), ended_.size());
  for (size_t i = 0; i < n; ++i) {
    FetchState& fetch = fetches_[ended_[i]];
    fetched[i].context = fetch.context;
    fetched[i].buffer = std::move(fetch.room);
    fetched[i].ok = fetch.ok;
    fetch = {};
    free_fetches_.push_back(ended_[i]);
  }
  ended_.erase(ended_.begin(), ended_.begin() + static_cast<ptrdiff_t>(n));
  return n;
}

size_t BulkPath::PollConnections() {
  const size_t work = connections_.Poll(now_ns_);
  if (work > 0 && !waiting_.empty()) PostWaiting();
  return work;
}

void BulkPath::OnDone(ConnectionId id, uint32_t context) {
  if ((context & kBindBit) != 0) {
    const uint32_t index = context & 0xffff;
    Exposure& exposure = exposures_[index];
    if (BindContext(index, exposure.generation) == context) exposure.bound = true;
    return;
  }
  if ((context & kFetchBit) == 0) {
    Exposure& exposure = exposures_[context];
    if (exposure.state == Exposure::State::kEnding) EndExposure(exposure);
    return;
  }
  const uint32_t index = context & ~kFetchBit;
  FetchState& fetch = fetches_[index];
  --ReadsOf(id);
  // Reads of one fetch are done in order, and its last one is posted only after all others.
  const uint64_t most = std::min<uint64_t>(nic_->limits().max_message_bytes, kMaxReadBytes);
  fetch.done += static_cast<uint32_t>(std::min<uint64_t>(fetch.bytes - fetch.done, most));
  if (fetch.done == fetch.bytes) EndFetch(index, /*ok=*/true);
}

void BulkPath::OnUp(ConnectionId id) { ReadsOf(id) = 0; }

void BulkPath::OnDown(ConnectionId id, RcConnections::Loss loss, const absl::Status& /*why*/) {
  ReadsOf(id) = 0;
  for (uint32_t i = 0; i < fetches_.size(); ++i) {
    if (fetches_[i].room && !fetches_[i].ended && fetches_[i].connection == id) {
      std::erase(waiting_, i);
      EndFetch(i, /*ok=*/false);
    }
  }
  for (Exposure& exposure : exposures_) {
    if (exposure.state == Exposure::State::kFree || exposure.connection != id) continue;
    exposure.doubtful = true;
    if (exposure.state == Exposure::State::kEnding || !exposure.bound ||
        loss == RcConnections::Loss::kGone) {
      exposure.window.reset();
      EndExposure(exposure);
    }
  }
}

}  // namespace weft::rdma
