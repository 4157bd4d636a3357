// SPDX-License-Identifier: Apache-2.0
#include "weft/core/frame_allocator.h"

#include <cstdint>
#include <new>

namespace weft::internal {
namespace {

constexpr size_t kStepBytes = 64;
constexpr size_t kSizes = 64;
constexpr uint32_t kFramesKept = 1024;  // of each size, at most

struct FreeFrameNode {
  FreeFrameNode* next;
};

struct FreeLists {
  FreeFrameNode* head[kSizes] = {};
  uint32_t length[kSizes] = {};
  ~FreeLists() {
    for (FreeFrameNode*& list : head) {
      while (list != nullptr) {
        FreeFrameNode* node = list;
        list = node->next;
        ::operator delete(node);
      }
    }
    // Frames freed by destructors that run later in this thread's end go to the heap.
    for (uint32_t& n : length) n = kFramesKept;
  }
};

thread_local FreeLists lists;

}  // namespace

void* AllocateFrame(size_t size) {
  const size_t step = (size - 1) / kStepBytes;
  if (step >= kSizes) return ::operator new(size);
  FreeFrameNode* node = lists.head[step];
  if (node == nullptr) return ::operator new((step + 1) * kStepBytes);
  lists.head[step] = node->next;
  --lists.length[step];
  return node;
}

void FreeFrame(void* frame, size_t size) {
  const size_t step = (size - 1) / kStepBytes;
  if (step >= kSizes || lists.length[step] >= kFramesKept) {
    ::operator delete(frame);
    return;
  }
  auto* node = static_cast<FreeFrameNode*>(frame);
  node->next = lists.head[step];
  lists.head[step] = node;
  ++lists.length[step];
}

}  // namespace weft::internal
