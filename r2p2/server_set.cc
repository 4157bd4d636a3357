// SPDX-License-Identifier: Apache-2.0
#include "weft/r2p2/server_set.h"

#include <algorithm>
#include <utility>

#include "weft/core/prng.h"

namespace weft::r2p2 {

ServerSet::ServerSet(size_t servers_max)
    : servers_(std::min(servers_max, kServersLimit)), names_(servers_.size()) {
  free_.reserve(servers_.size());
  available_.reserve(servers_.size());
}

ServerIndex ServerSet::Add(uint64_t name, uint32_t slots, uint32_t weight) {
  ServerIndex index;
  if (!free_.empty()) {
    index = free_.back();
    free_.pop_back();
  } else if (index_end_ < servers_.size()) {
    index = static_cast<ServerIndex>(index_end_++);
  } else {
    return kNoServerIndex;
  }
  servers_[index] = {.slots = std::min(slots, kSlotsLimit),
                     .weight = std::max(weight, uint32_t{1}),
                     .present = true};
  names_[index] = name;
  ++size_;
  ++members_generation_;
  SetAvailable(index, true);
  return index;
}

void ServerSet::Remove(ServerIndex server) {
  assert(contains(server));
  SetAvailable(server, false);
  outstanding_ -= servers_[server].outstanding;
  servers_[server] = Server();
  free_.push_back(server);
  --size_;
  ++members_generation_;
  ++generation_;
}

void ServerSet::SetAvailable(ServerIndex server, bool available) {
  assert(contains(server));
  if (available == is_available(server)) return;
  ++generation_;
  if (available) {
    servers_[server].position = static_cast<uint32_t>(available_.size());
    available_.push_back(server);
  } else {
    const uint32_t position = std::exchange(servers_[server].position, kNowhere);
    const ServerIndex last = available_.back();
    available_.pop_back();
    if (last != server) {
      available_[position] = last;
      servers_[last].position = position;
    }
  }
  if (order_ != Order::kNone) Place(server);
}

void ServerSet::SetSlots(ServerIndex server, uint32_t slots) {
  assert(contains(server));
  servers_[server].slots = std::min(slots, kSlotsLimit);
  if (order_ != Order::kNone) Place(server);
}

void ServerSet::SetWeight(ServerIndex server, uint32_t weight) {
  assert(contains(server));
  weight = std::max(weight, uint32_t{1});
  if (std::exchange(servers_[server].weight, weight) != weight) ++generation_;
}

void ServerSet::ReturnAll(ServerIndex server) {
  assert(contains(server));
  outstanding_ -= std::exchange(servers_[server].outstanding, 0);
  if (order_ != Order::kNone) Place(server);
}

ServerIndex ServerSet::FirstAvailable() const {
  if (first_generation_ != generation_) {
    first_generation_ = generation_;
    const auto first = std::min_element(available_.begin(), available_.end());
    first_available_ = first == available_.end() ? kNoServerIndex : *first;
  }
  return first_available_;
}

void ServerSet::OrderBy(Order order, uint64_t seed) {
  order_ = order;
  ranks_used_ = 0;
  rank_words_.fill(0);
  for (size_t i = 0; i < index_end_; ++i) servers_[i].rank = kUnranked;
  if (order == Order::kNone) return;
  heads_.resize(kRanks);
  tails_.resize(kRanks);
  std::vector<ServerIndex> shuffled(available_);
  Prng random(seed);
  for (size_t i = shuffled.size(); i > 1; --i)
    std::swap(shuffled[i - 1], shuffled[random.Below(i)]);
  for (const ServerIndex server : shuffled) Place(server);
}

}  // namespace weft::r2p2
