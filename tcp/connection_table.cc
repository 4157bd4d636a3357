// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/connection_table.h"

#include <cassert>
#include <new>
#include <utility>

namespace weft::tcp {

void ConnectionTable::Slots::Allocate(size_t capacity) {
  // Large ones come as pages of zeros that are taken as they are touched.
  slots.reset(static_cast<Slot*>(std::calloc(capacity, sizeof(Slot))));
  if (slots == nullptr) throw std::bad_alloc();
  mask = capacity - 1;
}

void ConnectionTable::Slots::Insert(uint32_t hash, uint32_t index) {
  size_t place = hash & mask;
  while (slots[place].mark != 0) place = (place + 1) & mask;
  slots[place] = {hash, index + 1};
}

size_t ConnectionTable::Slots::Locate(uint32_t hash, uint32_t index) const {
  if (slots == nullptr) return 0;
  for (size_t place = hash & mask; slots[place].mark != 0; place = (place + 1) & mask) {
    if (slots[place].hash == hash && slots[place].mark == index + 1) return place;
  }
  return capacity();
}

// What stands behind the gap and would not be found any more moves into it (Knuth, "The Art of
// Computer Programming", volume 3, 6.4, algorithm R), so that no marks of erased entries pile up.
void ConnectionTable::Slots::EraseAndCloseGap(size_t place) {
  size_t gap = place;
  for (size_t next = (gap + 1) & mask; slots[next].mark != 0; next = (next + 1) & mask) {
    const size_t home = slots[next].hash & mask;
    if (((next - home) & mask) >= ((next - gap) & mask)) {
      slots[gap] = slots[next];
      gap = next;
    }
  }
  slots[gap] = {0, 0};
}

ConnectionTable::ConnectionTable() { now_.Allocate(kFirstSlots); }

void ConnectionTable::Insert(uint32_t hash, uint32_t index) {
  assert(index < kIndexMax);
  if (before_.slots != nullptr) MoveSome();
  // At most five eighths are in use. The former table, half as large, has been moved long before
  // this one is full: each insertion moves 16 of its places.
  if (before_.slots == nullptr && (size_ + 1) * 8 > now_.capacity() * 5) {
    before_ = std::move(now_);
    moved_ = 0;
    now_.Allocate(before_.capacity() * 2);
    MoveSome();
  }
  now_.Insert(hash, index);
  ++size_;
}

void ConnectionTable::MoveSome() {
  const size_t end = before_.capacity();
  for (size_t n = 0; n < kMovedAtOnce && moved_ < end; ++n, ++moved_) {
    Slot& slot = before_.slots[moved_];
    if (slot.mark == 0 || slot.mark == kMoved) continue;
    now_.Insert(slot.hash, slot.mark - 1);
    slot.mark = kMoved;  // what lies behind it is still found
  }
  if (moved_ == end) before_ = Slots();
}

void ConnectionTable::Erase(uint32_t hash, uint32_t index) {
  const size_t place = now_.Locate(hash, index);
  if (place != now_.capacity()) {
    now_.EraseAndCloseGap(place);
  } else {
    const size_t old_place = before_.Locate(hash, index);
    assert(old_place != before_.capacity());
    if (old_place == before_.capacity()) return;
    before_.slots[old_place].mark = kMoved;
  }
  --size_;
}

}  // namespace weft::tcp
