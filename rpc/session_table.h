// SPDX-License-Identifier: Apache-2.0
//
// The sessions of a server by number. Not for users.
#ifndef WEFT_RPC_SESSION_TABLE_H_
#define WEFT_RPC_SESSION_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/random/random.h"
#include "weft/core/prng.h"
#include "weft/rpc/server_session.h"

namespace weft::rpc {

// Numbers count from 1, are dense, and are used again. A session stays where it is in memory while
// it is open. A client has at most one session for each of its numbers, and beside it half-open
// ones, each for another nonce.
class SessionTable {
 public:
  // At most `sessions_max` at a time. `seed` makes the keys foreseeable; none: secrets.
  SessionTable(size_t sessions_max, std::optional<uint64_t> seed);
  ~SessionTable();
  SessionTable(const SessionTable&) = delete;
  SessionTable& operator=(const SessionTable&) = delete;

  // The open session with this number and key; null if there is none.
  ServerSession* Find(uint32_t number, uint32_t key) {
    ServerSession* session = At(number);
    return session != nullptr && session->key == key && key != 0 ? session : nullptr;
  }
  // The place of that number, whether it is open or not; null if there is no such place.
  ServerSession* At(uint32_t number) {
    const size_t index = size_t{number} - 1;
    return index < places_ ? &chunks_[index / kChunk][index % kChunk] : nullptr;
  }
  // Who opened a session: a client at an address, under a number of its own. That of a session
  // with one of the servers behind a router is the number of the session with the router, `pool`.
  struct Client {
    uint64_t id = 0;
    uint32_t number = 0;  // 0 in a pool
    uint32_t pool = 0;    // 0: none
    Peer peer;
    friend bool operator==(const Client&, const Client&) = default;
  };
  static Client ClientOf(const ServerSession& session) {
    const uint32_t number = session.pool_number == 0 ? session.client_number : 0;
    return {session.client_id, number, session.pool_number, session.peer};
  }
  // The session of that client that is open and not half-open.
  ServerSession* Find(const Client& client);
  // Its half-open one with that nonce.
  ServerSession* FindHalfOpen(const Client& client, uint32_t nonce);

  // Opens one, with a number and a key; it is half-open. Null when there are sessions_max.
  ServerSession* Open(const Client& client, uint32_t nonce, int64_t now_ns);
  // `session` is not half-open any more. Its client must have no other that is not.
  void Confirm(ServerSession& session);
  // Of those that are half-open; null if there are none.
  ServerSession* OldestHalfOpen() { return At(oldest_); }
  // Closed sessions are found no more, but the number is not given to another one before Free().
  void Close(ServerSession& session);
  void Free(ServerSession& session);

  // The slot of that index; null unless it is below slots_max.
  static ServerSlot* SlotAt(ServerSession& session, uint16_t index) {
    if (index >= session.slot_count) [[unlikely]] {
      if (index >= session.slots_max) return nullptr;
      GrowSlots(session, index);
    }
    return &session.slots[index];
  }

  // Of them, half_open() are half-open.
  size_t open() const { return clients_.size(); }
  size_t half_open() const { return half_open_; }
  // Numbers are 1 to places(), some of them free.
  size_t places() const { return places_; }
  // 64 random bits.
  uint64_t Random();

 private:
  static constexpr size_t kChunk = 128;

  struct Key {
    Client client;
    bool half_open = false;
    uint32_t nonce = 0;  // of half-open ones
    friend bool operator==(const Key&, const Key&) = default;
    template <typename H>
    friend H AbslHashValue(H h, const Key& k) {
      return H::combine(std::move(h), k.client.id, k.client.number, k.client.pool, k.client.peer,
                        k.half_open, k.nonce);
    }
  };
  static Key KeyOf(const ServerSession& session) {
    const bool half_open = session.half_open != 0;
    return {ClientOf(session), half_open, half_open ? session.nonce : 0};
  }
  ServerSession* Find(const Key& key);
  void Unlink(ServerSession& session);

  static void GrowSlots(ServerSession& session, uint16_t index);

  const size_t sessions_max_;
  std::optional<Prng> seeded_;
  absl::BitGen secret_;
  std::vector<std::unique_ptr<ServerSession[]>> chunks_;
  size_t places_ = 0;
  std::vector<uint32_t> free_;
  absl::flat_hash_map<Key, uint32_t> clients_;  // to numbers
  // Ends of the list of half-open sessions, by number; 0: it is empty.
  uint32_t oldest_ = 0;
  uint32_t newest_ = 0;
  size_t half_open_ = 0;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SESSION_TABLE_H_
