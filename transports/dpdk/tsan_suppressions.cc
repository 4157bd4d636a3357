// SPDX-License-Identifier: Apache-2.0
//
// DPDK is not instrumented: of what its own two threads and its allocator do, ThreadSanitizer sees
// the calls of libc and not what orders them. Code of ours runs on all other threads.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "race:eal_intr_thread_main\n"
         "race:fdset_event_dispatch\n"
         "race:malloc_elem_\n";
}
