// SPDX-License-Identifier: Apache-2.0
//
// The connections of a port, found by their place in a table: nothing is hashed for a datagram. Not
// for users.
#ifndef WEFT_RPC_SECURITY_CONNECTION_TABLE_H_
#define WEFT_RPC_SECURITY_CONNECTION_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "weft/rpc/security/connection.h"

namespace weft::rpc {

class ConnectionTable {
 public:
  // Numbers are an index in their low bits, and above it a salt that changes with each new set of
  // keys, so that records of old keys are not taken for those of new ones.
  static constexpr unsigned kIndexBits = 20;
  static constexpr size_t kConnectionsMax = size_t{1} << kIndexBits;

  explicit ConnectionTable(size_t connections_max);

  // A new one; null when the table is full.
  Connection* Add(const Peer& below, bool client);
  void Remove(Connection* connection);
  // The peer below has become another one.
  void Move(Connection* connection, const Peer& below);
  bool full() const { return free_.empty() && slots_.size() >= max_; }

  // A number that this connection's peer is to use, other than those before.
  uint32_t NewNumber(const Connection& connection);

  // Null when it has gone.
  Connection* Find(const Peer& peer) const {
    const uint64_t index = peer.words[0] - 1;
    if (index >= slots_.size()) return nullptr;
    Connection* const connection = slots_[index].get();
    return connection != nullptr && connection->generation == peer.words[1] ? connection : nullptr;
  }

  // The one that the number was given to, now or before. Null: none.
  Connection* FindNumber(uint32_t number) const {
    const uint32_t index = number & (kConnectionsMax - 1);
    return index < slots_.size() ? slots_[index].get() : nullptr;
  }

  // That with the peer below that this side (`client`) or the peer began; null: none.
  Connection* FindBelow(const Peer& below, bool client) const;

  // One that may go for another: of some that the peers began, the one that was silent for longest.
  // Null: none.
  Connection* Idlest();

  template <typename F>
  void ForEachBelow(const Peer& below, F f) const {
    for (const bool client : {true, false}) {
      if (Connection* const connection = FindBelow(below, client)) f(connection);
    }
  }

 private:
  using ByPeer = absl::flat_hash_map<Peer, Connection*>;

  const size_t max_;
  std::vector<std::unique_ptr<Connection>> slots_;
  std::vector<uint32_t> free_;  // indices
  ByPeer began_here_;
  ByPeer began_there_;
  uint64_t generations_ = 0;
  uint32_t salt_;
  size_t hand_ = 0;  // where Idlest() goes on
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SECURITY_CONNECTION_TABLE_H_
