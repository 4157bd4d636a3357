// SPDX-License-Identifier: Apache-2.0
//
// A doubly linked list of elements of an array, which have the links in them. All operations take
// constant time; nothing is allocated.
//
//   struct Node { uint32_t previous, next; ... };
//   std::vector<Node> nodes(100);
//   IndexList<Node> list(nodes.data());
//   list.PushBack(7);
//   if (!list.empty()) Use(nodes[list.front()]);
//
// An element is in one list at a time. One thread.
#ifndef WEFT_ROUTER_INDEX_LIST_H_
#define WEFT_ROUTER_INDEX_LIST_H_

#include <cstddef>
#include <cstdint>

namespace weft::router {

inline constexpr uint32_t kNoIndex = UINT32_MAX;

template <typename Node>
class IndexList {
 public:
  // `nodes` outlive the list.
  explicit IndexList(Node* nodes) : nodes_(nodes) {}

  // They have moved.
  void set_nodes(Node* nodes) { nodes_ = nodes; }

  bool empty() const { return front_ == kNoIndex; }
  size_t size() const { return size_; }
  // kNoIndex: it is empty.
  uint32_t front() const { return front_; }
  uint32_t back() const { return back_; }

  void PushBack(uint32_t index) {
    Node& node = nodes_[index];
    node.previous = back_;
    node.next = kNoIndex;
    (back_ == kNoIndex ? front_ : nodes_[back_].next) = index;
    back_ = index;
    ++size_;
  }
  void PushFront(uint32_t index) {
    Node& node = nodes_[index];
    node.previous = kNoIndex;
    node.next = front_;
    (front_ == kNoIndex ? back_ : nodes_[front_].previous) = index;
    front_ = index;
    ++size_;
  }
  void Remove(uint32_t index) {
    const Node& node = nodes_[index];
    (node.previous == kNoIndex ? front_ : nodes_[node.previous].next) = node.next;
    (node.next == kNoIndex ? back_ : nodes_[node.next].previous) = node.previous;
    --size_;
  }

 private:
  Node* nodes_;
  uint32_t front_ = kNoIndex;
  uint32_t back_ = kNoIndex;
  size_t size_ = 0;
};

}  // namespace weft::router

#endif  // WEFT_ROUTER_INDEX_LIST_H_
