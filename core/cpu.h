// SPDX-License-Identifier: Apache-2.0
//
// Processor cores and threads: which cores there are, and where a thread runs.

#ifndef WEFT_CORE_CPU_H_
#define WEFT_CORE_CPU_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace weft {

// Core numbers are below this.
inline constexpr int kMaxCores = 4096;

// The cores that this process may run on, ascending, as taskset or a container left them: what the
// first caller's thread was allowed, whatever threads have been pinned to since.
std::vector<int> AllowedCores();

// Has the calling thread run on `core` alone. Threads and processes that it starts from then on
// inherit that. Fails with InvalidArgument, naming the cores that are allowed, when `core` does not
// exist or the process may not use it.
absl::Status PinThisThread(int core);

// Reads cores as taskset and cgroups write them: numbers and ascending ranges, as in "0-3,8". The
// cores are returned in the order written. Fails with InvalidArgument for an empty list, anything
// that is not such a list, a core of kMaxCores or more, and a core that is listed twice.
absl::StatusOr<std::vector<int>> ParseCoreList(absl::string_view text);

// Names the calling thread in top, gdb and perf. Linux keeps the first 15 bytes.
void NameThisThread(absl::string_view name);

// For threads that serve people rather than data paths, at their beginning: gives the calling
// thread a name, a low priority, and all allowed cores wherever it was started, and leaves signals,
// SIGPIPE too, to other threads.
void RunInBackground(absl::string_view name);

// What a thread does between two looks at memory that another core is going to write: gives its
// pipeline to the other thread of the core and saves power, for some tens of cycles.
inline void CpuRelax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield" ::: "memory");
#endif
}

}  // namespace weft

#endif  // WEFT_CORE_CPU_H_
