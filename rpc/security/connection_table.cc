// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/security/connection_table.h"

#include <openssl/rand.h>

#include <algorithm>

namespace weft::rpc {
namespace {

uint32_t RandomSalt() {
  uint32_t salt = 0;
  RAND_bytes(reinterpret_cast<unsigned char*>(&salt), sizeof(salt));
  return salt;
}

}  // namespace

ConnectionTable::ConnectionTable(size_t connections_max)
    : max_(std::min(connections_max, kConnectionsMax)), salt_(RandomSalt()) {}

Connection* ConnectionTable::Add(const Peer& below, bool client) {
  if (full()) return nullptr;
  uint32_t index = 0;
  if (!free_.empty()) {
    index = free_.back();
    free_.pop_back();
  } else {
    index = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
  }
  slots_[index] = std::make_unique<Connection>();
  Connection* const connection = slots_[index].get();
  connection->below = below;
  connection->generation = ++generations_;
  connection->index = index;
  connection->client = client;
  (client ? began_here_ : began_there_)[below] = connection;
  return connection;
}

void ConnectionTable::Remove(Connection* connection) {
  ByPeer& by_peer = connection->client ? began_here_ : began_there_;
  const auto found = by_peer.find(connection->below);
  if (found != by_peer.end() && found->second == connection) by_peer.erase(found);
  const uint32_t index = connection->index;
  slots_[index].reset();
  free_.push_back(index);
}

void ConnectionTable::Move(Connection* connection, const Peer& below) {
  ByPeer& by_peer = connection->client ? began_here_ : began_there_;
  by_peer.erase(connection->below);
  connection->below = below;
  by_peer[below] = connection;
}

uint32_t ConnectionTable::NewNumber(const Connection& connection) {
  // The salt comes round: never the number that is in use.
  uint32_t number = 0;
  do {
    number = ++salt_ << kIndexBits | connection.index;
  } while (number == connection.keys.number);
  return number;
}

Connection* ConnectionTable::FindBelow(const Peer& below, bool client) const {
  const ByPeer& by_peer = client ? began_here_ : began_there_;
  const auto found = by_peer.find(below);
  return found == by_peer.end() ? nullptr : found->second;
}

Connection* ConnectionTable::Idlest() {
  // So many are looked at that one that is in use is as good as never the best of them.
  constexpr size_t kLookAt = 64;
  Connection* idlest = nullptr;
  for (size_t looked = 0, steps = 0; looked < kLookAt && steps < slots_.size(); ++steps) {
    hand_ = hand_ + 1 < slots_.size() ? hand_ + 1 : 0;
    Connection* const connection = slots_[hand_].get();
    if (connection == nullptr || connection->client) continue;
    ++looked;
    if (idlest == nullptr || connection->heard_ns < idlest->heard_ns) idlest = connection;
  }
  return idlest;
}

}  // namespace weft::rpc
