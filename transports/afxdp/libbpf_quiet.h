// SPDX-License-Identifier: Apache-2.0
//
// Keeps libbpf and libxdp from writing to standard error: what went wrong is in the status.
#ifndef WEFT_TRANSPORTS_AFXDP_LIBBPF_QUIET_H_
#define WEFT_TRANSPORTS_AFXDP_LIBBPF_QUIET_H_

#include <bpf/libbpf.h>
#include <xdp/libxdp.h>

#include <mutex>

namespace weft::afxdp {

// The libraries have one print function a process: while one of these lives, it is none, and
// another has to wait. On the stack, around calls.
class LibbpfQuiet {
 public:
  LibbpfQuiet()
      : lock_(Mutex()), bpf_(libbpf_set_print(nullptr)), xdp_(libxdp_set_print(nullptr)) {}
  ~LibbpfQuiet() {
    libbpf_set_print(bpf_);
    libxdp_set_print(xdp_);
  }
  LibbpfQuiet(const LibbpfQuiet&) = delete;
  LibbpfQuiet& operator=(const LibbpfQuiet&) = delete;

 private:
  static std::mutex& Mutex() {
    static auto* mutex = new std::mutex;
    return *mutex;
  }
  std::lock_guard<std::mutex> lock_;
  libbpf_print_fn_t bpf_;
  libxdp_print_fn_t xdp_;
};

}  // namespace weft::afxdp

#endif  // WEFT_TRANSPORTS_AFXDP_LIBBPF_QUIET_H_
