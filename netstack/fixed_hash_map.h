// SPDX-License-Identifier: Apache-2.0
//
// A hash map of bounded size for tables that strangers fill: all memory is taken when it is made,
// so that it neither allocates nor moves its values afterwards.
//
//   FixedHashMap<IpAddress, uint32_t> packets_of(64);
//   uint32_t* count = packets_of.Find(source);
//   if (count == nullptr) count = packets_of.Insert(source);  // null when 64 sources are there
//
// Keys hash by absl::Hash, whose seed differs between processes: a stranger cannot aim at one
// chain. One thread at a time.
#ifndef WEFT_NETSTACK_FIXED_HASH_MAP_H_
#define WEFT_NETSTACK_FIXED_HASH_MAP_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/hash/hash.h"

namespace weft::netstack {

template <typename Key, typename Value>
class FixedHashMap {
 public:
  // `capacity`: 1 to 2^31.
  explicit FixedHashMap(size_t capacity)
      : nodes_(capacity), heads_(std::bit_ceil(capacity), kNone), free_(kNone) {
    for (uint32_t i = 0; i < capacity; ++i) nodes_[i].next = i + 1 < capacity ? i + 1 : kNone;
    free_ = 0;
  }
  FixedHashMap(const FixedHashMap&) = delete;
  FixedHashMap& operator=(const FixedHashMap&) = delete;

  size_t size() const { return size_; }
  size_t capacity() const { return nodes_.size(); }

  // Null when it is not there. Values stay in their places until they are erased.
  Value* Find(const Key& key) {
    for (uint32_t i = Head(key); i != kNone; i = nodes_[i].next) {
      if (nodes_[i].key == key) return &nodes_[i].value;
    }
    return nullptr;
  }

  // Adds a default value for `key`, which is not there; null when the map is full.
  Value* Insert(const Key& key) {
    if (free_ == kNone) return nullptr;
    const uint32_t index = free_;
    Node& node = nodes_[index];
    free_ = node.next;
    uint32_t& head = Head(key);
    node.key = key;
    node.next = head;
    head = index;
    ++size_;
    return &node.value;
  }

  // Drops `key` with its value; nothing happens where it is not there. The key must not lie in the
  // value.
  void Erase(const Key& key) {
    for (uint32_t* link = &Head(key); *link != kNone; link = &nodes_[*link].next) {
      Node& node = nodes_[*link];
      if (!(node.key == key)) continue;
      const uint32_t index = *link;
      *link = node.next;
      node.value = Value();
      node.next = free_;
      free_ = index;
      --size_;
      return;
    }
  }

 private:
  static constexpr uint32_t kNone = 0xffffffff;
  struct Node {
    Key key = {};
    Value value = {};
    uint32_t next = kNone;  // in a chain or in the free list
  };

  uint32_t& Head(const Key& key) { return heads_[absl::Hash<Key>()(key) & (heads_.size() - 1)]; }

  std::vector<Node> nodes_;
  std::vector<uint32_t> heads_;
  uint32_t free_;
  size_t size_ = 0;
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_FIXED_HASH_MAP_H_
