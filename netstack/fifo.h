// SPDX-License-Identifier: Apache-2.0
//
// Fifo: a queue whose memory grows to what it once held and stays: unlike std::deque, which
// allocates again and again while things go through it.
//
//   Fifo<Datagram> queue;
//   queue.push_back(std::move(datagram));
//   while (!queue.empty()) Handle(queue.pop_front());
#ifndef WEFT_NETSTACK_FIFO_H_
#define WEFT_NETSTACK_FIFO_H_

#include <cassert>
#include <cstddef>
#include <utility>
#include <vector>

namespace weft::netstack {

// Of movable, default-made values. One thread. It has no limit of its own: ask size() first.
template <typename T>
class Fifo {
 public:
  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }

  void push_back(T value) {
    if (size_ == slots_.size()) [[unlikely]] {
      Grow();
    }
    slots_[(front_ + size_) & (slots_.size() - 1)] = std::move(value);
    ++size_;
  }

  // Must not be empty.
  T pop_front() {
    assert(!empty());
    T value = std::move(slots_[front_]);
    front_ = (front_ + 1) & (slots_.size() - 1);
    --size_;
    return value;
  }

 private:
  static constexpr size_t kFirstSlots = 16;

  void Grow() {
    std::vector<T> more(slots_.empty() ? kFirstSlots : 2 * slots_.size());
    for (size_t i = 0; i < size_; ++i) {
      more[i] = std::move(slots_[(front_ + i) & (slots_.size() - 1)]);
    }
    slots_ = std::move(more);
    front_ = 0;
  }

  std::vector<T> slots_;  // a power of two, or none
  size_t front_ = 0;
  size_t size_ = 0;
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_FIFO_H_
