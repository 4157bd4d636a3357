// SPDX-License-Identifier: Apache-2.0
#include "weft/core/frame_allocator.h"

#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/allocation_counter.h"

namespace weft::internal {
namespace {

TEST(FrameAllocatorTest, FramesOfEverySizeAreUsableAndAligned) {
  for (size_t size = 1; size <= 5000; ++size) {
    void* frame = AllocateFrame(size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(frame) % __STDCPP_DEFAULT_NEW_ALIGNMENT__, 0u);
    std::memset(frame, 0xab, size);
    FreeFrame(frame, size);
  }
}

TEST(FrameAllocatorTest, AFreedFrameIsUsedAgainForSizesOfItsStep) {
  void* frame = AllocateFrame(65);
  FreeFrame(frame, 65);
  const int64_t before = AllocationsOfThisThread();
  void* again = AllocateFrame(128);
  EXPECT_EQ(again, frame);
  EXPECT_EQ(AllocationsOfThisThread(), before);
  void* other = AllocateFrame(129);
  EXPECT_NE(other, frame);
  FreeFrame(again, 128);
  FreeFrame(other, 129);
}

TEST(FrameAllocatorTest, KeepsABoundedNumberOfEachSize) {
  std::vector<void*> frames(5000);
  for (void*& frame : frames) frame = AllocateFrame(300);
  for (void* frame : frames) FreeFrame(frame, 300);
  const int64_t before = AllocationsOfThisThread();
  for (void*& frame : frames) frame = AllocateFrame(300);
  EXPECT_EQ(AllocationsOfThisThread() - before, 5000 - 1024);
  for (void* frame : frames) FreeFrame(frame, 300);
}

TEST(FrameAllocatorTest, FramesMayBeFreedOnAnotherThread) {
  // The sanitizers see to it that nothing is lost or used twice.
  for (int round = 0; round < 10; ++round) {
    std::vector<void*> frames(2000);
    std::thread([&] {
      for (void*& frame : frames) frame = AllocateFrame(200);
    }).join();
    for (void* frame : frames) FreeFrame(frame, 200);
  }
}

TEST(FrameAllocatorTest, FramesFreedWhileAThreadEndsGoToTheHeap) {
  struct LateFree {
    ~LateFree() { FreeFrame(frame, 100); }
    void* frame = nullptr;
  };
  std::thread([] {
    // Made before the free lists, hence destroyed after them.
    static thread_local LateFree late;
    late.frame = AllocateFrame(100);
  }).join();
}

}  // namespace
}  // namespace weft::internal
