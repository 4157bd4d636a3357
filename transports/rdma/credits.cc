// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/rdma/credits.h"

#include <algorithm>
#include <cassert>

namespace weft::rdma {
namespace {

// Those that go within so short a time settle together, so that the list stays short.
constexpr int64_t kTogetherNs = 10'000'000;

uint32_t ReserveOf(uint32_t slots) {
  return std::max(SlotShares::kMinReserve, slots / SlotShares::kReserveRatio);
}

}  // namespace

SlotShares::SlotShares(uint32_t slots, uint32_t max_peers)
    : slots_(slots),
      reserve_(ReserveOf(slots)),
      // A third is for lending at least: with nothing but one slot each, all would be slow.
      max_peers_(std::min(max_peers, (slots - reserve_) / 3)),
      free_(slots - reserve_ - 2 * max_peers_) {
  assert(slots >= kMinSlots);
}

bool SlotShares::Open(Share* share) {
  if (peers_ == max_peers_) return false;
  ++peers_;
  const uint32_t lent = std::min(kFirstWindow - 1, free_ / 8);
  free_ -= lent;
  *share = {.limit = 1 + lent, .told = 1 + lent, .open = true};
  return true;
}

void SlotShares::Close(Share* share, int64_t now_ns) {
  if (!share->open) return;
  const uint32_t lent = share->lent();
  *share = {};
  const int64_t end_ns = now_ns + kSettleNs + kTogetherNs;
  if (!settling_.empty() && settling_.back().end_ns - end_ns > -kTogetherNs) {
    ++settling_.back().peers;
    settling_.back().lent += lent;
  } else {
    settling_.push_back({end_ns, 1, lent});
  }
}

void SlotShares::Settle(int64_t now_ns) {
  while (!settling_.empty() && settling_.front().end_ns <= now_ns) {
    peers_ -= settling_.front().peers;
    free_ += settling_.front().lent;
    settling_.pop_front();
  }
}

bool SlotShares::OnNext(Share* share, uint32_t next) {
  const uint32_t ahead = next - share->next;
  if (ahead > share->limit - share->next) return static_cast<int32_t>(ahead) < 0;
  Advance(share, next);
  share->credit_sent = false;
  return true;
}

bool SlotShares::Grow(Share* share) {
  const uint32_t window = share->window();
  const uint32_t lent = share->lent();
  if (window >= kMaxWindow) return true;
  if (lent >= free_ / 4) return false;
  // Then a quarter of what is free is what is lent.
  const uint32_t due = (free_ - 4 * lent) / 5;
  const uint32_t more = std::min({window, due, kMaxWindow - window});
  free_ -= more;
  share->limit += more;
  return more > 0;
}

uint32_t SlotShares::GiveBack(Share* share, uint32_t n) {
  const uint32_t back = std::min(n, (4 * share->lent() - free_ + 4) / 5);
  free_ += back;
  return back;
}

}  // namespace weft::rdma
