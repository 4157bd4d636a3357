// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/session_table.h"

#include <algorithm>
#include <bit>

namespace weft::rpc {

SessionTable::SessionTable(size_t sessions_max, std::optional<uint64_t> seed)
    : sessions_max_(sessions_max) {
  if (seed.has_value()) seeded_.emplace(*seed);
}

SessionTable::~SessionTable() {
  for (size_t i = 0; i < places_; ++i) delete[] chunks_[i / kChunk][i % kChunk].slots;
}

uint64_t SessionTable::Random() {
  return seeded_.has_value() ? seeded_->Next() : absl::Uniform<uint64_t>(secret_);
}

ServerSession* SessionTable::Find(const Key& key) {
  const auto it = clients_.find(key);
  return it != clients_.end() ? At(it->second) : nullptr;
}

ServerSession* SessionTable::Find(const Client& client) { return Find(Key{client}); }

ServerSession* SessionTable::FindHalfOpen(const Client& client, uint32_t nonce) {
  return Find(Key{client, /*half_open=*/true, nonce});
}

ServerSession* SessionTable::Open(const Client& client, uint32_t nonce, int64_t now_ns) {
  if (open() >= sessions_max_) return nullptr;
  if (free_.empty()) {
    if (places_ % kChunk == 0) chunks_.push_back(std::make_unique<ServerSession[]>(kChunk));
    free_.push_back(static_cast<uint32_t>(++places_));
  }
  const uint32_t number = free_.back();
  free_.pop_back();
  ServerSession& session = *At(number);
  session.number = number;
  do {
    session.key = static_cast<uint32_t>(Random());
  } while (session.key == 0);
  session.client_id = client.id;
  session.client_number = client.number;
  session.pool_number = client.pool;
  session.peer = client.peer;
  session.nonce = nonce;
  session.opened_ns = now_ns;
  session.half_open = 1;
  session.older = newest_;
  (newest_ != 0 ? At(newest_)->newer : oldest_) = number;
  newest_ = number;
  ++half_open_;
  clients_.emplace(KeyOf(session), number);
  return &session;
}

void SessionTable::Confirm(ServerSession& session) {
  clients_.erase(KeyOf(session));
  Unlink(session);
  clients_.emplace(KeyOf(session), session.number);
}

void SessionTable::Unlink(ServerSession& session) {
  (session.older != 0 ? At(session.older)->newer : oldest_) = session.newer;
  (session.newer != 0 ? At(session.newer)->older : newest_) = session.older;
  session.older = session.newer = 0;
  session.half_open = 0;
  --half_open_;
}

void SessionTable::Close(ServerSession& session) {
  clients_.erase(KeyOf(session));
  if (session.half_open) Unlink(session);
  session.key = 0;
}

void SessionTable::Free(ServerSession& session) {
  delete[] session.slots;
  const uint32_t number = session.number;
  session = ServerSession();
  free_.push_back(number);
}

void SessionTable::GrowSlots(ServerSession& session, uint16_t index) {
  // Four are two cache lines; most sessions never need more.
  const size_t wanted = std::bit_ceil(std::max<size_t>(size_t{index} + 1, 4));
  const size_t count = std::min<size_t>(wanted, session.slots_max);
  auto* slots = new ServerSlot[count];
  std::copy_n(session.slots, session.slot_count, slots);
  delete[] session.slots;
  session.slots = slots;
  session.slot_count = static_cast<uint16_t>(count);
}

}  // namespace weft::rpc
