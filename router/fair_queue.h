// SPDX-License-Identifier: Apache-2.0
//
// Requests that wait, in a queue for each tenant. The tenants take turns, each with as many
// requests as its weight (deficit round robin, Shreedhar and Varghese, SIGCOMM 1995, for requests
// that all count the same); within a tenant they keep their order.
//
//   FairQueue queue(/*limit=*/4096, /*weights=*/{3, 1});
//   if (queue.full()) queue.Remove(queue.Victim(tenant));
//   const uint32_t ticket = queue.Push({.tenant = tenant, ...});
//   const uint32_t next = queue.Pop();
//
// When it is full, the tenant that has most in relation to its weight loses its newest request: so
// that who sends too much cannot take the places of others. One thread.
#ifndef WEFT_ROUTER_FAIR_QUEUE_H_
#define WEFT_ROUTER_FAIR_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "weft/router/index_list.h"

namespace weft::router {

struct Waiting {
  uint32_t previous = 0;
  uint32_t next = 0;  // in its tenant's queue, or free
  uint32_t placement = 0;
  uint16_t tenant = 0;
  int64_t since_ns = 0;
  uint64_t affinity = 0;
};

class FairQueue {
 public:
  // `limit`: 1 to 2^31, of all tenants. `weights`: one for each, at least one, none 0.
  FairQueue(size_t limit, absl::Span<const uint32_t> weights);
  FairQueue(const FairQueue&) = delete;
  FairQueue& operator=(const FairQueue&) = delete;

  bool empty() const { return size_ == 0; }
  bool full() const { return size_ >= limit_; }
  size_t size() const { return size_; }
  size_t size(size_t tenant) const { return tenants_[tenant].queue.size(); }
  size_t tenants() const { return tenants_.size(); }

  // Behind the others of its tenant. Must not be full. The ticket is the waiting one's until it is
  // popped or removed.
  uint32_t Push(const Waiting& waiting);
  // Whose turn it is. Must not be empty. The ticket stays valid until the next Push().
  uint32_t Pop();
  // Takes back the latest Pop() that was not taken back.
  void Unpop(uint32_t ticket);
  void Remove(uint32_t ticket);

  // Who gives way to one of `tenant` when the queue is full; kNoIndex: nobody, that one is refused.
  uint32_t Victim(size_t tenant) const;

  Waiting& operator[](uint32_t ticket) { return waiting_[ticket]; }

  // A lower limit takes effect as the queue gets shorter: all who wait stay.
  void SetLimit(size_t limit);
  // Tenants that are no more have weight 1 as long as somebody waits.
  void SetWeights(absl::Span<const uint32_t> weights);

 private:
  struct Tenant {
    explicit Tenant(Waiting* waiting) : queue(waiting) {}
    uint32_t previous = 0;
    uint32_t next = 0;
    IndexList<Waiting> queue;
    uint32_t weight = 1;
    uint32_t credit = 0;  // requests left of its turn
  };

  void Free(uint32_t ticket) {
    waiting_[ticket].next = free_;
    free_ = ticket;
    --size_;
  }

  std::vector<Waiting> waiting_;
  std::vector<Tenant> tenants_;
  IndexList<Tenant> active_;  // who has requests; the first one's turn it is
  size_t limit_;
  size_t used_ = 0;
  size_t size_ = 0;
  uint32_t free_ = kNoIndex;
};

}  // namespace weft::router

#endif  // WEFT_ROUTER_FAIR_QUEUE_H_
