// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/rdma/peer_table.h"

namespace weft::rdma {

void PeerTable::Unlink(PeerEntry& entry) {
  const auto first = by_address_.find(entry.address);
  if (first == by_address_.end()) return;
  const uint32_t index = IndexOf(entry);
  if (first->second == index) {
    if (entry.next_at_address == 0) {
      by_address_.erase(first);
    } else {
      first->second = entry.next_at_address - 1;
    }
    return;
  }
  for (PeerEntry* at = &entries_[first->second]; at != nullptr; at = NextAtAddress(*at)) {
    if (at->next_at_address == index + 1) at->next_at_address = entry.next_at_address;
  }
}

PeerEntry* PeerTable::Add(const Address& address) {
  PeerEntry* place = nullptr;
  if (used_places_ < size_) {
    place = &entries_[used_places_++];
  } else {
    for (PeerEntry& entry : used()) {
      if (entry.state != PeerEntry::State::kIdle) continue;
      if (place == nullptr || entry.used < place->used) place = &entry;
    }
    if (place == nullptr) return nullptr;
    Unlink(*place);
  }
  place->state = PeerEntry::State::kIdle;
  ++place->generation;
  place->address = address;
  place->worker = -1;
  place->incarnation = 0;
  place->remote_number = 0;
  place->why = absl::OkStatus();
  const auto [first, is_new] = by_address_.try_emplace(address, IndexOf(*place));
  place->next_at_address = is_new ? 0 : first->second + 1;
  first->second = IndexOf(*place);
  Touch(*place);
  return place;
}

}  // namespace weft::rdma
