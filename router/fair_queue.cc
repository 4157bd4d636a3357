// SPDX-License-Identifier: Apache-2.0
#include "weft/router/fair_queue.h"

#include <algorithm>
#include <cassert>
#include <numeric>

namespace weft::router {

FairQueue::FairQueue(size_t limit, absl::Span<const uint32_t> weights)
    : waiting_(std::max<size_t>(limit, 1)), active_(nullptr), limit_(waiting_.size()) {
  SetWeights(weights);
}

uint32_t FairQueue::Push(const Waiting& waiting) {
  assert(!full() && waiting.tenant < tenants_.size());
  const uint32_t ticket = free_ != kNoIndex ? free_ : static_cast<uint32_t>(used_++);
  if (ticket == free_) free_ = waiting_[ticket].next;
  ++size_;
  waiting_[ticket] = waiting;
  Tenant& tenant = tenants_[waiting.tenant];
  if (tenant.queue.empty()) {
    active_.PushBack(waiting.tenant);
    tenant.credit = tenant.weight;
  }
  tenant.queue.PushBack(ticket);
  return ticket;
}

uint32_t FairQueue::Pop() {
  assert(!empty());
  const uint32_t index = active_.front();
  Tenant& tenant = tenants_[index];
  const uint32_t ticket = tenant.queue.front();
  tenant.queue.Remove(ticket);
  Free(ticket);
  --tenant.credit;
  if (tenant.queue.empty()) {
    active_.Remove(index);
  } else if (tenant.credit == 0) {
    active_.Remove(index);
    active_.PushBack(index);
    tenant.credit = tenant.weight;
  }
  return ticket;
}

void FairQueue::Unpop(uint32_t ticket) {
  assert(free_ == ticket);
  Waiting& waiting = waiting_[ticket];
  free_ = waiting.next;
  ++size_;
  const uint32_t index = waiting.tenant;
  Tenant& tenant = tenants_[index];
  if (tenant.queue.empty()) {
    active_.PushFront(index);
    ++tenant.credit;
  } else if (active_.front() != index) {
    // Its turn had ended.
    active_.Remove(index);
    active_.PushFront(index);
    tenant.credit = 1;
  } else {
    // One that has the queue for itself may have had several turns.
    tenant.credit = std::min(tenant.credit + 1, tenant.weight);
  }
  tenant.queue.PushFront(ticket);
}

void FairQueue::Remove(uint32_t ticket) {
  const uint32_t index = waiting_[ticket].tenant;
  Tenant& tenant = tenants_[index];
  tenant.queue.Remove(ticket);
  if (tenant.queue.empty()) active_.Remove(index);
  Free(ticket);
}

uint32_t FairQueue::Victim(size_t newcomer) const {
  if (size_ > limit_)
    return kNoIndex;  // the limit is lower than it was: one place less helps nobody
  // With the newcomer, its tenant would have one more: lengths are compared as they would be then.
  size_t worst = newcomer;
  uint64_t length = tenants_[newcomer].queue.size() + 1;
  for (size_t i = 0; i < tenants_.size(); ++i) {
    if (i == newcomer) continue;
    const uint64_t other = tenants_[i].queue.size();
    if (other * tenants_[worst].weight > length * tenants_[i].weight) {
      worst = i;
      length = other;
    }
  }
  return worst == newcomer ? kNoIndex : tenants_[worst].queue.back();
}

void FairQueue::SetLimit(size_t limit) {
  limit_ = std::max<size_t>(limit, 1);
  if (limit_ <= waiting_.size()) return;
  waiting_.resize(limit_);
  for (Tenant& tenant : tenants_) tenant.queue.set_nodes(waiting_.data());
}

void FairQueue::SetWeights(absl::Span<const uint32_t> weights) {
  const size_t wanted = std::max<size_t>(weights.size(), 1);
  while (tenants_.size() > wanted && tenants_.back().queue.empty()) tenants_.pop_back();
  while (tenants_.size() < wanted) tenants_.emplace_back(waiting_.data());
  active_.set_nodes(tenants_.data());
  // Turns are as short as the weights allow.
  uint32_t divisor = 0;
  for (const uint32_t weight : weights) divisor = std::gcd(divisor, weight);
  for (size_t i = 0; i < tenants_.size(); ++i) {
    Tenant& tenant = tenants_[i];
    tenant.weight = i < weights.size() ? std::max(weights[i] / std::max(divisor, 1u), 1u) : 1;
    tenant.credit = tenant.weight;
  }
}

}  // namespace weft::router
