// SPDX-License-Identifier: Apache-2.0
#include "weft/core/frame_allocator.h"

#include <cstdint>
#include <new>

// Frames on a free list are poisoned, so that the sanitizer sees who uses one that was freed.
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

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

  void Push(size_t step, void* frame) {
    head[step] = new (frame) FreeFrameNode{head[step]};
    ++length[step];
    ASAN_POISON_MEMORY_REGION(frame, (step + 1) * kStepBytes);
  }

  void* Pop(size_t step) {
    FreeFrameNode* node = head[step];
    if (node == nullptr) return nullptr;
    ASAN_UNPOISON_MEMORY_REGION(node, (step + 1) * kStepBytes);
    head[step] = node->next;
    --length[step];
    return node;
  }

  ~FreeLists() {
    for (size_t step = 0; step < kSizes; ++step) {
      while (void* frame = Pop(step)) ::operator delete(frame);
      // Frames freed by destructors that run later in this thread's end go to the heap.
      length[step] = kFramesKept;
    }
  }
};

thread_local FreeLists lists;

}  // namespace

void* AllocateFrame(size_t size) {
  const size_t step = (size - 1) / kStepBytes;
  if (step >= kSizes) return ::operator new(size);
  void* frame = lists.Pop(step);
  return frame != nullptr ? frame : ::operator new((step + 1) * kStepBytes);
}

void FreeFrame(void* frame, size_t size) {
  const size_t step = (size - 1) / kStepBytes;
  if (step >= kSizes || lists.length[step] >= kFramesKept) {
    ::operator delete(frame);
    return;
  }
  lists.Push(step, frame);
}

}  // namespace weft::internal
