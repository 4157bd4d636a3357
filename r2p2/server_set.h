// SPDX-License-Identifier: Apache-2.0
//
// The servers among which a policy (policy/policy.h) chooses: which there are, which are available,
// and how many requests each one has.
//
//   ServerSet servers(/*servers_max=*/1024);
//   const ServerIndex a = servers.Add(ClientIdOf(address), /*slots=*/2, /*weight=*/1);
//   servers.Take(a);    // a request goes to it: policies do so for those that they pick
//   servers.Return(a);  // it is done
//
// Take() and Return() cost the same however many servers there are, and allocate nothing. A plain
// value of one thread; an index must be one of a server that there is.
#ifndef WEFT_R2P2_SERVER_SET_H_
#define WEFT_R2P2_SERVER_SET_H_

#include <array>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace weft::r2p2 {

// Of a server as long as it is in the set; then of another one.
using ServerIndex = uint32_t;
inline constexpr ServerIndex kNoServerIndex = UINT32_MAX;

class ServerSet {
 public:
  static constexpr size_t kServersLimit = 65536;
  static constexpr uint32_t kSlotsLimit = 65535;

  // `servers_max` is at most kServersLimit.
  explicit ServerSet(size_t servers_max);
  ServerSet(const ServerSet&) = delete;
  ServerSet& operator=(const ServerSet&) = delete;

  // A server that is available. `name` says who it is, to all who choose among the same servers: a
  // hash of its address. `slots`, 0 to kSlotsLimit: requests that it should have at a time, which
  // bounded policies respect. `weight`: its part of the requests; 0 is taken for 1.
  // kNoServerIndex when there are `servers_max` already.
  ServerIndex Add(uint64_t name, uint32_t slots, uint32_t weight);
  // With all that it has: nothing of it may be returned afterwards.
  void Remove(ServerIndex server);

  // Whether it may be picked. What it has, it keeps.
  void SetAvailable(ServerIndex server, bool available);
  void SetSlots(ServerIndex server, uint32_t slots);
  void SetWeight(ServerIndex server, uint32_t weight);
  // Forgets the requests that it has: it has been started anew.
  void ReturnAll(ServerIndex server);

  // A request goes to it, whether it has a free slot or not.
  void Take(ServerIndex server) {
    assert(contains(server));
    ++servers_[server].outstanding;
    ++outstanding_;
    if (order_ != Order::kNone) Place(server);
  }
  // One of its requests is done. Nothing happens if it has none.
  void Return(ServerIndex server) {
    assert(contains(server));
    if (servers_[server].outstanding == 0) [[unlikely]]
      return;
    --servers_[server].outstanding;
    --outstanding_;
    if (order_ != Order::kNone) Place(server);
  }

  size_t servers_max() const { return servers_.size(); }
  size_t size() const { return size_; }
  // The indices of all servers are below this.
  size_t index_end() const { return index_end_; }
  bool contains(ServerIndex server) const {
    return server < servers_.size() && servers_[server].present;
  }
  bool is_available(ServerIndex server) const { return servers_[server].position != kNowhere; }
  uint64_t name(ServerIndex server) const { return names_[server]; }
  uint32_t slots(ServerIndex server) const { return servers_[server].slots; }
  uint32_t weight(ServerIndex server) const { return servers_[server].weight; }
  uint32_t outstanding(ServerIndex server) const { return servers_[server].outstanding; }
  uint32_t free_slots(ServerIndex server) const {
    const Server& s = servers_[server];
    return s.slots > s.outstanding ? s.slots - s.outstanding : 0;
  }
  // Of all servers.
  uint64_t outstanding() const { return outstanding_; }

  // Those that may be picked, in an order that means nothing.
  absl::Span<const ServerIndex> available() const { return available_; }
  // That of them with the lowest index, which was the first to be added if none has been removed;
  // kNoServerIndex: there is none. Looked for anew only when `generation` has changed.
  ServerIndex FirstAvailable() const;

  // Changes when servers come or go, become available or not, and when weights do.
  uint64_t generation() const { return generation_; }
  // Changes when servers come or go.
  uint64_t members_generation() const { return members_generation_; }

  // --- For policies

  // By what First() chooses. Equal ones take turns.
  enum class Order : uint8_t {
    kNone,
    kFewestOutstanding,  // kRanks - 1 and more are alike
    // Servers that have no request, then those with most free slots (kRanks - 1 and more are
    // alike); those that have none are not there.
    kIdleThenMostFree,
  };
  // Keeps the servers in this order from now on. In which order equal ones take turns at first
  // comes from `seed`, so that not all who have the same servers send to the same one. Allocates.
  void OrderBy(Order order, uint64_t seed);
  Order order() const { return order_; }
  // The available server that is first in the order, which is not kNone; kNoServerIndex: none.
  ServerIndex First() const {
    if (ranks_used_ == 0) return kNoServerIndex;
    const int word = std::countr_zero(ranks_used_);
    return heads_[static_cast<size_t>(word) * 64 +
                  static_cast<size_t>(std::countr_zero(rank_words_[static_cast<size_t>(word)]))];
  }

  static constexpr size_t kRanks = 4096;

 private:
  static constexpr uint32_t kNowhere = UINT32_MAX;
  static constexpr uint16_t kUnranked = UINT16_MAX;

  // Two of them in a cache line.
  struct Server {
    uint32_t outstanding = 0;
    uint32_t slots = 0;
    uint32_t next = kNoServerIndex;  // of the same rank, from the one whose turn is first
    uint32_t previous = kNoServerIndex;
    uint32_t position = kNowhere;  // in available_
    uint32_t weight = 1;
    uint16_t rank = kUnranked;
    bool present = false;
  };
  static_assert(sizeof(Server) <= 32);

  uint16_t RankOf(const Server& server) const {
    if (server.position == kNowhere) [[unlikely]]
      return kUnranked;
    constexpr uint32_t kLast = kRanks - 1;
    if (order_ == Order::kFewestOutstanding) {
      return static_cast<uint16_t>(server.outstanding < kLast ? server.outstanding : kLast);
    }
    if (server.outstanding >= server.slots) return kUnranked;
    if (server.outstanding == 0) return 0;
    const uint32_t free = server.slots - server.outstanding;
    return static_cast<uint16_t>(free < kLast ? kRanks - free : 1);
  }
  // Puts it where it belongs in the order, behind all that are there already.
  void Place(ServerIndex index) {
    Server& server = servers_[index];
    const uint16_t rank = RankOf(server);
    if (rank == server.rank) return;
    if (server.rank != kUnranked) Unlink(server);
    server.rank = rank;
    if (rank != kUnranked) Link(index, server);
  }
  void Link(ServerIndex index, Server& server) {
    const size_t rank = server.rank;
    const uint64_t bit = uint64_t{1} << (rank % 64);
    server.next = kNoServerIndex;
    if ((rank_words_[rank / 64] & bit) != 0) {
      server.previous = tails_[rank];
      servers_[server.previous].next = index;
    } else {
      server.previous = kNoServerIndex;
      heads_[rank] = index;
      rank_words_[rank / 64] |= bit;
      ranks_used_ |= uint64_t{1} << (rank / 64);
    }
    tails_[rank] = index;
  }
  void Unlink(Server& server) {
    const size_t rank = server.rank;
    if (server.next != kNoServerIndex) {
      servers_[server.next].previous = server.previous;
    } else {
      tails_[rank] = server.previous;
    }
    if (server.previous != kNoServerIndex) {
      servers_[server.previous].next = server.next;
    } else if (server.next != kNoServerIndex) {
      heads_[rank] = server.next;
    } else {
      rank_words_[rank / 64] &= ~(uint64_t{1} << (rank % 64));
      if (rank_words_[rank / 64] == 0) ranks_used_ &= ~(uint64_t{1} << (rank / 64));
    }
  }

  std::vector<Server> servers_;  // servers_max
  std::vector<uint64_t> names_;
  std::vector<ServerIndex> free_;  // below index_end_
  std::vector<ServerIndex> available_;
  size_t size_ = 0;
  size_t index_end_ = 0;
  uint64_t outstanding_ = 0;
  uint64_t generation_ = 0;
  uint64_t members_generation_ = 0;
  mutable uint64_t first_generation_ = UINT64_MAX;  // of first_available_
  mutable ServerIndex first_available_ = kNoServerIndex;

  // The order: a list a rank, and a bit for each rank that has a server.
  Order order_ = Order::kNone;
  uint64_t ranks_used_ = 0;  // words of rank_words_ that are not 0
  std::array<uint64_t, kRanks / 64> rank_words_ = {};
  std::vector<ServerIndex> heads_;  // of ranks that have a server
  std::vector<ServerIndex> tails_;
};

}  // namespace weft::r2p2

#endif  // WEFT_R2P2_SERVER_SET_H_
