// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/sim/sim_bulk.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "weft/core/bytes.h"
#include "weft/transports/sim/hash.h"

namespace weft::sim {
namespace {

// After so long without an answer a device gives up.
constexpr int64_t kGiveUpNs = 2'000'000;
// What a fetch that fails leaves in its room, at most.
constexpr size_t kLeftoverBytes = 4096;

BulkKey KeyOf(uint64_t exposure) {
  BulkKey key;
  StoreBig64(&key.bytes[0], exposure);
  StoreBig64(&key.bytes[8], HashNumber(exposure, 1));  // so that nobody guesses one
  return key;
}

// 0: no key of this network's.
uint64_t ExposureOf(const BulkKey& key) {
  const uint64_t exposure = LoadBig64(&key.bytes[0]);
  return KeyOf(exposure) == key ? exposure : 0;
}

}  // namespace

SimBulk::SimBulk(Network* network, const BulkOptions& options)
    : network_(network),
      options_(options),
      pool_({.count = options.count, .bytes = options.bytes + kHeadroom, .headroom = kHeadroom}),
      pending_(options.count) {}

SimBulk::~SimBulk() {
  for (const Pending& fetch : pending_) {
    if (fetch.room) network_->events().Cancel(fetch.end);
  }
  absl::erase_if(network_->bulk().exposures,
                 [this](const auto& entry) { return entry.second.port == this; });
}

Buffer SimBulk::Allocate(size_t bytes) {
  BulkSpace& space = network_->bulk();
  if (bytes > options_.bytes || network_->random().Chance(space.faults.no_buffer)) return Buffer();
  return pool_.Allocate();
}

bool SimBulk::HasWayTo(NodeId peer) {
  const BulkFaults& faults = network_->bulk().faults;
  if (network_->random().Chance(faults.no_way)) return false;
  const int64_t now_ns = network_->NowNs();
  const auto [way, is_new] = ways_.try_emplace(peer, now_ns + faults.set_up_ns);
  return way->second <= now_ns;
}

std::optional<BulkKey> SimBulk::Expose(const Peer& peer, const Buffer& message) {
  assert(message && Owns(message));
  const uint64_t reader = peer.words[0] - 1;
  if (!network_->IsNode(reader) || !HasWayTo(static_cast<NodeId>(reader))) return std::nullopt;
  BulkSpace& space = network_->bulk();
  const uint64_t id = network_->NextUnique();
  ++space.exposed;
  if (network_->random().Chance(space.faults.lost)) return KeyOf(id);
  space.exposures[id] = {.port = this,
                         .owner = node_,
                         .reader = static_cast<NodeId>(reader),
                         .bytes = message.bytes(),
                         .hash = HashBytes(id, message.bytes())};
  return KeyOf(id);
}

bool SimBulk::IsExposed(const BulkKey& key) const {
  const BulkSpace& space = network_->bulk();
  const auto found = space.exposures.find(ExposureOf(key));
  return found != space.exposures.end() && found->second.port == this;
}

void SimBulk::Conceal(const BulkKey& key) {
  BulkSpace& space = network_->bulk();
  const auto found = space.exposures.find(ExposureOf(key));
  if (found == space.exposures.end() || found->second.port != this) return;
  const BulkSpace::Exposure& exposure = found->second;
  if (HashBytes(found->first, exposure.bytes) != exposure.hash) ++space.changed;
  space.exposures.erase(found);
}

bool SimBulk::Fetch(const Peer& peer, const BulkKey& key, size_t bytes, Buffer& room,
                    uint64_t context) {
  assert(room && Owns(room));
  const uint64_t owner = peer.words[0] - 1;
  if (bytes == 0 || bytes > room.tailroom() || !network_->IsNode(owner) ||
      !HasWayTo(static_cast<NodeId>(owner))) {
    return false;
  }
  const auto free = std::find_if(pending_.begin(), pending_.end(),
                                 [](const Pending& fetch) { return !fetch.room; });
  if (free == pending_.end()) return false;
  const auto index = static_cast<size_t>(free - pending_.begin());
  *free = {.end = {},
           .owner = static_cast<NodeId>(owner),
           .exposure = ExposureOf(key),
           .bytes = bytes,
           .context = context,
           .room = std::move(room)};
  const LinkOptions& link = network_->OptionsOf(free->owner, node_);
  int64_t wire_ns = 0;
  if (link.bandwidth_bps != 0) {
    wire_ns = static_cast<int64_t>(uint64_t{bytes} * 8 * 1'000'000 /
                                   std::max<uint64_t>(link.bandwidth_bps / 1000, 1));
  }
  wire_free_ns_ = std::max(wire_free_ns_, network_->NowNs() + 2 * link.latency_ns) + wire_ns;
  int64_t end_ns = wire_free_ns_;
  const bool answers = free->exposure == 0 || network_->bulk().exposures.contains(free->exposure);
  if (!answers || !network_->Reaches(node_, free->owner)) end_ns += kGiveUpNs;
  free->end = network_->events().At(end_ns, [this, index] { End(index); });
  ++under_way_;
  return true;
}

// At the moment when the last byte would arrive.
bool SimBulk::Succeeds(const Pending& fetch) {
  BulkSpace& space = network_->bulk();
  const auto found = space.exposures.find(fetch.exposure);
  if (found == space.exposures.end() || !network_->Reaches(node_, fetch.owner)) return false;
  const BulkSpace::Exposure& exposure = found->second;
  if (exposure.owner != fetch.owner || exposure.reader != node_ ||
      exposure.bytes.size() < fetch.bytes) {
    return false;
  }
  if (HashBytes(found->first, exposure.bytes) != exposure.hash) ++space.changed;
  return !network_->random().Chance(space.faults.fail);
}

void SimBulk::End(size_t index) {
  Pending& fetch = pending_[index];
  BulkSpace& space = network_->bulk();
  --under_way_;
  const bool ok = Succeeds(fetch);
  if (ok) {
    const BulkSpace::Exposure& exposure = space.exposures.find(fetch.exposure)->second;
    std::memcpy(fetch.room.Append(fetch.bytes), exposure.bytes.data(), fetch.bytes);
    ++space.fetched;
    space.fetched_bytes += fetch.bytes;
  } else {
    std::memset(fetch.room.data(), 0xEE, std::min(fetch.bytes, kLeftoverBytes));
    ++space.failed;
  }
  ended_.push_back({.context = fetch.context, .buffer = std::move(fetch.room), .ok = ok});
}

size_t SimBulk::TakeFetched(absl::Span<Fetched> fetched) {
  const size_t n = std::min(fetched.size(), ended_.size());
  std::move(ended_.begin(), ended_.begin() + static_cast<ptrdiff_t>(n), fetched.begin());
  ended_.erase(ended_.begin(), ended_.begin() + static_cast<ptrdiff_t>(n));
  return n;
}

}  // namespace weft::sim
