// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/siblings.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weft::netstack {

absl::Status UdpDirectory::Add(const Owner& owner, bool first) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const Owner& other : owners_) {
    const bool may_share = !first && owner.shared && other.shared && owner.queue != other.queue;
    if (may_share && owner.binding == other.binding) continue;
    // A special binding and a general one of the same port live side by side; two alike do not.
    if (!(owner.binding == other.binding)) continue;
    return absl::AlreadyExistsError(absl::StrCat(
        owner.binding.address.ToAddress(owner.binding.port).ToString(),
        " is in use by another port of this program; choose another one, or 0 for a free one"));
  }
  owners_.push_back(owner);
  generation_.fetch_add(1, std::memory_order_release);
  return absl::OkStatus();
}

void UdpDirectory::Remove(const Owner& owner) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto it = std::find_if(owners_.begin(), owners_.end(), [&](const Owner& other) {
    return other.binding == owner.binding && other.queue == owner.queue;
  });
  if (it == owners_.end()) return;
  owners_.erase(it);
  generation_.fetch_add(1, std::memory_order_release);
}

std::vector<UdpDirectory::Owner> UdpDirectory::owners() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return owners_;
}

Siblings::Siblings(int count, size_t ring_packets)
    : count_(count), ends_(static_cast<size_t>(count)) {
  if (count == 1) return;
  for (End& end : ends_) end.wake = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  for (int to = 0; to < count; ++to) {
    for (int from = 0; from < count; ++from) {
      rings_.push_back(from == to ? nullptr : std::make_unique<Ring>(ring_packets));
    }
  }
}

Siblings::~Siblings() {
  for (int to = 0; to < count_; ++to) {
    while (Pop(to)) {
    }
  }
}

bool Siblings::Push(int from, int to, Buffer& packet) {
  internal::BufferSlot* const slot = packet.ReleaseSlot();
  if (!RingOf(from, to).producer().TryPush(slot)) {
    packet = Buffer::FromSlot(slot);
    return false;
  }
  End& end = ends_[static_cast<size_t>(to)];
  // Pairs with the fence of Arm(): either it sees the packet, or this sees that it sleeps.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (end.asleep.load(std::memory_order_relaxed)) eventfd_write(end.wake.get(), 1);
  return true;
}

Buffer Siblings::Pop(int to) {
  if (count_ == 1) return Buffer();
  End& end = ends_[static_cast<size_t>(to)];
  for (int i = 0; i < count_; ++i) {
    const int from = end.next;
    end.next = from + 1 == count_ ? 0 : from + 1;
    if (from == to) continue;
    internal::BufferSlot* slot = nullptr;
    if (RingOf(from, to).consumer().TryPop(&slot)) return Buffer::FromSlot(slot);
  }
  return Buffer();
}

bool Siblings::HasAny(int to) {
  for (int from = 0; from < count_; ++from) {
    if (from != to && RingOf(from, to).consumer().Front() != nullptr) return true;
  }
  return false;
}

bool Siblings::Arm(int to) {
  if (count_ == 1) return true;
  std::atomic<bool>& asleep = ends_[static_cast<size_t>(to)].asleep;
  asleep.store(true, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!HasAny(to)) return true;
  asleep.store(false, std::memory_order_relaxed);
  return false;
}

void Siblings::Disarm(int to) {
  if (count_ == 1) return;
  End& end = ends_[static_cast<size_t>(to)];
  end.asleep.store(false, std::memory_order_relaxed);
  eventfd_t ignored;
  eventfd_read(end.wake.get(), &ignored);
}

}  // namespace weft::netstack
