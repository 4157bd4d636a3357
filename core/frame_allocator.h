// SPDX-License-Identifier: Apache-2.0
//
// Memory for coroutine frames: free lists of the calling thread by size, in steps of 64 bytes up to
// 4 KiB; larger frames, and the first of each size, come from the heap. A frame may be freed on
// another thread than it was allocated on; it then stays with that thread. Each list keeps a
// bounded number of frames and a thread's lists are freed when it ends.
#ifndef WEFT_CORE_FRAME_ALLOCATOR_H_
#define WEFT_CORE_FRAME_ALLOCATOR_H_

#include <cstddef>

namespace weft::internal {

void* AllocateFrame(size_t size);

// `size` is what the frame was allocated with.
void FreeFrame(void* frame, size_t size);

}  // namespace weft::internal

#endif  // WEFT_CORE_FRAME_ALLOCATOR_H_
