// SPDX-License-Identifier: Apache-2.0
//
// Counts what tests must not find on a data path: a test that links this library replaces the
// global operator new by one that counts.
//
//   const int64_t before = AllocationsOfThisThread();
//   ... the data path, warmed up ...
//   EXPECT_EQ(AllocationsOfThisThread() - before, 0);
#ifndef WEFT_CORE_ALLOCATION_COUNTER_H_
#define WEFT_CORE_ALLOCATION_COUNTER_H_

#include <cstdint>

namespace weft {

// Calls of operator new, in all its forms, by this thread so far.
int64_t AllocationsOfThisThread();

}  // namespace weft

#endif  // WEFT_CORE_ALLOCATION_COUNTER_H_
