// SPDX-License-Identifier: Apache-2.0
//
// What the stacks of several workers on one device know of each other and hand to each other.
//
// Each stack has a queue of the device and all state of its own. The device, however, decides to
// which queue a frame goes: an answer to one worker may arrive at another. Such a frame moves
// through a ring from the one to the other: one producer, one consumer, no lock. Where the device
// spreads flows as they are sent, nothing is ever handed over, and nothing written is shared.
#ifndef WEFT_NETSTACK_SIBLINGS_H_
#define WEFT_NETSTACK_SIBLINGS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "weft/core/buffer.h"
#include "weft/core/spsc_ring.h"
#include "weft/core/unique_fd.h"
#include "weft/netstack/port_binding.h"

namespace weft::netstack {

// Which stacks listen where, by one protocol. Any thread; its lock is taken when ports are opened
// and closed, and by a stack that meets something for a port that it does not have, once for each
// change.
class PortDirectory {
 public:
  struct Owner {
    PortBinding binding;
    int queue = 0;
    bool shared = false;  // by several stacks, each of which may take what is for it
  };

  // AlreadyExists where another listens there, unless both share it and are of different stacks. Of
  // one stack, a special binding and a general one live side by side; of two they do not, as what
  // is for the special one might reach the general one first. `first`: shared or not, for whoever
  // wants a port that nobody has, and shares it afterwards.
  absl::Status Add(const Owner& owner, bool first = false);
  void Remove(const Owner& owner);

  // Changes whenever the owners do.
  uint64_t generation() const { return generation_.load(std::memory_order_acquire); }
  std::vector<Owner> owners() const;

 private:
  mutable std::mutex mutex_;
  std::vector<Owner> owners_;  // guarded by mutex_
  std::atomic<uint64_t> generation_{1};
};

// A directory's owners as one stack sees them, read again when they have changed.
class PortOwners {
 public:
  explicit PortOwners(const PortDirectory* directory) : directory_(directory) {}

  const std::vector<PortDirectory::Owner>& Get() {
    if (const uint64_t generation = directory_->generation(); generation != generation_) {
      owners_ = directory_->owners();
      generation_ = generation;
    }
    return owners_;
  }

  // A worker other than `own` that listens at this address and port; of several the one that `hash`
  // falls on. -1: none.
  int FindOther(const IpAddress& destination, uint16_t port, int own, uint32_t hash);
  // Where several workers share the port: the one of them that `hash` falls on. Else -1.
  int Spread(const IpAddress& destination, uint16_t port, uint32_t hash);

 private:
  template <typename Takes>
  int Pick(const IpAddress& destination, uint16_t port, uint32_t hash, size_t least, Takes takes);

  const PortDirectory* const directory_;
  std::vector<PortDirectory::Owner> owners_;
  uint64_t generation_ = 0;
};

class Siblings {
 public:
  // Packets on their way from one stack to another, at most.
  static constexpr size_t kRingPackets = 512;

  // Of `count` stacks, 1 or more.
  explicit Siblings(int count);
  ~Siblings();

  int count() const { return count_; }
  PortDirectory& udp() { return udp_; }
  PortDirectory& tcp() { return tcp_; }  // of listeners

  // Stack `queue`, whose thread calls, takes and gives packets from now on, until Leave(). Of its
  // `buffers` never more than a quarter are on their way to others. What was on its way to one that
  // was here before is dropped.
  void Enter(int queue, size_t buffers);
  void Leave(int queue);

  bool IsHere(int queue) const {
    return ends_[static_cast<size_t>(queue)].open.load(std::memory_order_relaxed);
  }

  // Hands `packet` from one stack, whose thread calls, to another. False: the ring is full or
  // nobody is there, and the packet is still the caller's.
  bool Push(int from, int to, Buffer& packet);

  // The next packet for stack `to`, whose thread calls; null when there is none.
  Buffer Pop(int to);

  // Readable when something was pushed to stack `to` while it was asleep; -1 for a single stack.
  int wait_fd(int to) const { return ends_[static_cast<size_t>(to)].wake.get(); }
  // Before sleeping. False: there is something already.
  bool Arm(int to);
  void Disarm(int to);

 private:
  using Ring = SpscRing<internal::BufferSlot*>;
  struct alignas(128) End {
    UniqueFd wake;  // an eventfd
    std::atomic<bool> open{false};
    std::atomic<bool> asleep{false};
    int next = 0;  // whose ring is looked at first
  };

  // Null as long as stack `from` has not been there.
  std::atomic<Ring*>& RingOf(int from, int to) {
    return rings_[static_cast<size_t>(to) * static_cast<size_t>(count_) +
                  static_cast<size_t>(from)];
  }
  bool HasAny(int to);

  const int count_;
  PortDirectory udp_;
  PortDirectory tcp_;
  std::vector<End> ends_;
  std::vector<std::atomic<Ring*>> rings_;  // made by Enter() of `from`; none to itself
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_SIBLINGS_H_
