// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/receive_budget.h"

#include <cassert>

namespace weft::rpc {

void ReceiveBudget::Reservation::Reset() {
  if (budget_ == nullptr) return;
  if (!waiting_) return Release(buffers_);
  ReceiveBudget* budget = std::exchange(budget_, nullptr);
  budget->Unlink(*this);
  buffers_ = 0;
  budget->HandOut();
}

void ReceiveBudget::Reservation::Release(size_t n) {
  assert(n <= held());
  if (n == 0) return;
  ReceiveBudget* budget = budget_;
  buffers_ -= n;
  if (buffers_ == 0) budget_ = nullptr;
  budget->in_use_ -= n;
  budget->HandOut();
}

ReceiveBudget::~ReceiveBudget() { assert(in_use_ == 0 && head_ == nullptr); }

ReceiveBudget::Result ReceiveBudget::Reserve(size_t n, Reservation* reservation) {
  assert(n > 0 && reservation->budget_ == nullptr);
  if (n > options_.buffers) return Result::kNeverFits;
  // Within a callback there may be room that is about to go to those who wait.
  const bool fits = head_ == nullptr && n <= options_.buffers - in_use_;
  if (!fits && waiting_ == options_.waiting_max) return Result::kTooMany;
  reservation->budget_ = this;
  reservation->buffers_ = n;
  if (fits) {
    in_use_ += n;
    return Result::kReserved;
  }
  reservation->waiting_ = true;
  reservation->previous_ = tail_;
  (tail_ != nullptr ? tail_->next_ : head_) = reservation;
  tail_ = reservation;
  ++waiting_;
  return Result::kWaits;
}

void ReceiveBudget::Unlink(Reservation& r) {
  (r.previous_ != nullptr ? r.previous_->next_ : head_) = r.next_;
  (r.next_ != nullptr ? r.next_->previous_ : tail_) = r.previous_;
  r.previous_ = nullptr;
  r.next_ = nullptr;
  r.waiting_ = false;
  --waiting_;
}

void ReceiveBudget::HandOut() {
  // A callback that releases gets here again; the loop below sees what it gave back.
  if (handing_out_) return;
  handing_out_ = true;
  while (head_ != nullptr && head_->buffers_ <= options_.buffers - in_use_) {
    Reservation& next = *head_;
    Unlink(next);
    in_use_ += next.buffers_;
    granted_(next);
  }
  handing_out_ = false;
}

}  // namespace weft::rpc
