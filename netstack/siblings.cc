// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/siblings.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weft::netstack {

absl::Status PortDirectory::Add(const Owner& owner, bool first) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const Owner& other : owners_) {
    // Within a stack a special binding and a general one live side by side.
    const bool may_share = !first && owner.shared && other.shared;
    const bool conflict = owner.queue == other.queue
                              ? owner.binding == other.binding
                              : owner.binding.Overlaps(other.binding) && !may_share;
    if (!conflict) continue;
    return absl::AlreadyExistsError(absl::StrCat(
        owner.binding.address.ToAddress(owner.binding.port).ToString(),
        " is in use by another port of this program; choose another one, or 0 for a free one"));
  }
  owners_.push_back(owner);
  generation_.fetch_add(1, std::memory_order_release);
  return absl::OkStatus();
}

void PortDirectory::Remove(const Owner& owner) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto it = std::find_if(owners_.begin(), owners_.end(), [&](const Owner& other) {
    return other.binding == owner.binding && other.queue == owner.queue;
  });
  if (it == owners_.end()) return;
  owners_.erase(it);
  generation_.fetch_add(1, std::memory_order_release);
}

std::vector<PortDirectory::Owner> PortDirectory::owners() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return owners_;
}

// Bindings to the very address come before those to any.
template <typename Takes>
int PortOwners::Pick(const IpAddress& destination, uint16_t port, uint32_t hash, size_t least,
                     Takes takes) {
  const std::vector<PortDirectory::Owner>& owners = Get();
  for (const bool exact : {true, false}) {
    const auto is_one = [&](const PortDirectory::Owner& owner) {
      return owner.binding.port == port && takes(owner) &&
             (exact ? owner.binding.address == destination : owner.binding.Takes(destination));
    };
    const auto n = static_cast<size_t>(std::count_if(owners.begin(), owners.end(), is_one));
    if (n == 0) continue;
    if (n < least) return -1;
    size_t nth = hash % n;
    for (const PortDirectory::Owner& owner : owners) {
      if (is_one(owner) && nth-- == 0) return owner.queue;
    }
  }
  return -1;
}

int PortOwners::FindOther(const IpAddress& destination, uint16_t port, int own, uint32_t hash) {
  return Pick(destination, port, hash, /*least=*/1,
              [own](const PortDirectory::Owner& owner) { return owner.queue != own; });
}

int PortOwners::Spread(const IpAddress& destination, uint16_t port, uint32_t hash) {
  return Pick(destination, port, hash, /*least=*/2,
              [](const PortDirectory::Owner& owner) { return owner.shared; });
}

Siblings::Siblings(int count)
    : count_(count),
      ends_(static_cast<size_t>(count)),
      rings_(static_cast<size_t>(count) * static_cast<size_t>(count)) {
  if (count == 1) return;
  for (End& end : ends_) end.wake = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

Siblings::~Siblings() {
  for (int to = 0; to < count_; ++to) {
    while (Pop(to)) {
    }
  }
  for (const std::atomic<Ring*>& ring : rings_) delete ring.load(std::memory_order_relaxed);
}

void Siblings::Enter(int queue, size_t buffers) {
  if (count_ == 1) return;
  while (Pop(queue)) {
  }
  const size_t share = buffers / 4 / (static_cast<size_t>(count_) - 1);
  const size_t packets = std::bit_floor(std::clamp<size_t>(share, 1, kRingPackets));
  for (int to = 0; to < count_; ++to) {
    std::atomic<Ring*>& ring = RingOf(queue, to);
    // One that was made before may hold packets, and the other side looks at it.
    if (to == queue || ring.load(std::memory_order_relaxed) != nullptr) continue;
    ring.store(new Ring(packets), std::memory_order_release);
  }
  ends_[static_cast<size_t>(queue)].open.store(true, std::memory_order_relaxed);
}

void Siblings::Leave(int queue) {
  ends_[static_cast<size_t>(queue)].open.store(false, std::memory_order_relaxed);
  // What comes in between is dropped by the next Enter().
  while (Pop(queue)) {
  }
}

bool Siblings::Push(int from, int to, Buffer& packet) {
  End& end = ends_[static_cast<size_t>(to)];
  if (!IsHere(to)) return false;
  internal::BufferSlot* const slot = packet.ReleaseSlot();
  if (!RingOf(from, to).load(std::memory_order_relaxed)->producer().TryPush(slot)) {
    packet = Buffer::FromSlot(slot);
    return false;
  }
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
    Ring* const ring = RingOf(from, to).load(std::memory_order_acquire);
    internal::BufferSlot* slot = nullptr;
    if (ring != nullptr && ring->consumer().TryPop(&slot)) return Buffer::FromSlot(slot);
  }
  return Buffer();
}

bool Siblings::HasAny(int to) {
  for (int from = 0; from < count_; ++from) {
    Ring* const ring = RingOf(from, to).load(std::memory_order_acquire);
    if (ring != nullptr && ring->consumer().Front() != nullptr) return true;
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
