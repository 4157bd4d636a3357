// SPDX-License-Identifier: Apache-2.0
//
// EAL, the part of DPDK that all the rest stands on: memory, buses, a thread for interrupts. It
// starts once in a process, and never again.
//
//   const std::lock_guard<std::mutex> lock(ControlMutex());
//   if (absl::Status status = StartEal(config.dpdk(), {}, memory_mb); !status.ok()) return status;
//   const EalLog log;
//   if (rte_eal_hotplug_add("vdev", "net_null0", "") != 0) return log.Explain("net_null0", -rc);
#ifndef WEFT_TRANSPORTS_DPDK_EAL_H_
#define WEFT_TRANSPORTS_DPDK_EAL_H_

#include <csignal>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "weft/config/config.h"

namespace weft::dpdk {

// Held by whoever calls a function of DPDK that is none of a data path.
std::mutex& ControlMutex();

// Starts EAL, or sees that it runs as `config` wants it: a field that is not set is content with
// what the first caller had. `pci_devices`: addresses of those that EAL may touch; the rest of the
// machine's stays as it is. `memory_mb`: what the caller is going to need, if the configuration
// does not say.
//
// The calling thread keeps its affinity, and is no thread of EAL's. EAL's own threads get no
// signals.
//
// Errors: FailedPrecondition for too few huge pages, and for settings that differ from those EAL
// was started with; InvalidArgument for what EAL does not understand; PermissionDenied.
absl::Status StartEal(const config::Dpdk& config, const std::vector<std::string>& pci_devices,
                      uint32_t memory_mb);

// DPDK tells by its log what went wrong. It goes to nobody's terminal, but into memory, and from
// there into a status.
class EalLog {
 public:
  // Takes what is logged from here on.
  EalLog();
  std::string text() const;

  // One sentence: what failed, why as far as `error` (an errno, or 0) and the log tell, and what to
  // do.
  absl::Status Explain(absl::string_view what, int error) const;

 private:
  uint64_t begin_;
};

// Blocks all signals of the calling thread, so that threads which are started meanwhile never see
// one, and a socket of which the other end is gone does not end the process.
class ScopedSignalBlock {
 public:
  ScopedSignalBlock();
  ~ScopedSignalBlock();
  ScopedSignalBlock(const ScopedSignalBlock&) = delete;
  ScopedSignalBlock& operator=(const ScopedSignalBlock&) = delete;

 private:
  sigset_t before_;
  bool pipe_pending_;  // before it began
};

}  // namespace weft::dpdk

#endif  // WEFT_TRANSPORTS_DPDK_EAL_H_
