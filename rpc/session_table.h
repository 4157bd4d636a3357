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
// it is open.
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
  // The session that a client opened under its own number.
  ServerSession* FindClient(uint64_t client_id, uint32_t client_number);

  // Opens one, with a number and a key; null when there are sessions_max.
  ServerSession* Open(uint64_t client_id, uint32_t client_number);
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

  size_t open() const { return clients_.size(); }
  // Numbers are 1 to places(), some of them free.
  size_t places() const { return places_; }
  // 64 random bits.
  uint64_t Random();

 private:
  static constexpr size_t kChunk = 128;

  static void GrowSlots(ServerSession& session, uint16_t index);

  const size_t sessions_max_;
  std::optional<Prng> seeded_;
  absl::BitGen secret_;
  std::vector<std::unique_ptr<ServerSession[]>> chunks_;
  size_t places_ = 0;
  std::vector<uint32_t> free_;
  absl::flat_hash_map<std::pair<uint64_t, uint32_t>, uint32_t> clients_;  // to numbers
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SESSION_TABLE_H_
