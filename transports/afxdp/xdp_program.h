// SPDX-License-Identifier: Apache-2.0
//
// The XDP program of an interface: loaded, attached, told what to take, and taken off again.
//
//   auto program = XdpProgram::Attach({.interface = eth0, .queues = 1, .filter = filter});
//   absl::Status status = (*program)->AddSocket(/*queue=*/0, xsk_fd);
//
// It is attached by a BPF link, which the kernel removes when the process ends, however it ends
// (docs/adr/0008-xdp-program-by-link.md).
//
// Threads: any, several at once.
#ifndef WEFT_TRANSPORTS_AFXDP_XDP_PROGRAM_H_
#define WEFT_TRANSPORTS_AFXDP_XDP_PROGRAM_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/config/config.h"
#include "weft/core/unique_fd.h"
#include "weft/transports/afxdp/filter.h"
#include "weft/transports/afxdp/interface.h"

struct bpf_object;

namespace weft::afxdp {

struct XdpProgramOptions {
  Interface interface;
  config::Afxdp::Mode mode = config::Afxdp::AUTO;
  uint32_t queues = 1;        // sockets may be added for those below
  bool multi_buffer = false;  // frames may come in several pieces
  FilterConfig filter;
};

class XdpProgram {
 public:
  // Errors: PermissionDenied; AlreadyExists when the interface has a program already, saying whose;
  // Unimplemented when the driver has no native mode and that was required, or the kernel is too
  // old.
  static absl::StatusOr<std::unique_ptr<XdpProgram>> Attach(const XdpProgramOptions& options);
  ~XdpProgram();
  XdpProgram(const XdpProgram&) = delete;
  XdpProgram& operator=(const XdpProgram&) = delete;

  bool is_native() const { return is_native_; }

  // What `queue` receives of what is ours goes to the socket `fd` until it is closed.
  absl::Status AddSocket(uint32_t queue, int fd);

  // What the user of `queue` wants, as FramePort::SetFilter(); it holds together with what others
  // want, until RemoveQueue(). Addresses of the configuration come before. FailedPrecondition names
  // an address that cannot be taken (ShareWithKernel()); the rest is.
  absl::Status SetFilter(uint32_t queue, absl::Span<const Address> addresses,
                         absl::Span<const MacAddress> groups);
  void RemoveQueue(uint32_t queue);

 private:
  struct Wanted {
    std::vector<Address> addresses;
    std::vector<MacAddress> groups;
  };

  XdpProgram(const XdpProgramOptions& options, KernelAddresses kernel)
      : options_(options), kernel_(std::move(kernel)) {}

  absl::Status Load();
  absl::Status AttachLink();
  absl::Status ExplainOccupied() const;
  int FindMap(const char* name) const;
  // Makes the maps say what `wanted_` does, as far as it can be had.
  absl::Status Apply();
  absl::Status ApplyAddresses(absl::Span<const OwnedAddress> addresses);
  absl::Status ApplyGroups();

  const XdpProgramOptions options_;
  const KernelAddresses kernel_;
  bpf_object* object_ = nullptr;
  int program_fd_ = -1;  // of object_
  UniqueFd link_;
  bool is_native_ = false;

  std::mutex mutex_;  // guards what follows, and changes of the maps
  std::map<uint32_t, Wanted> wanted_;
  std::vector<AfxdpAddress> applied_addresses_;
  std::vector<uint64_t> applied_groups_;
};

// OK if this process may load and attach XDP programs and open AF_XDP sockets; quick.
absl::Status CheckPermissions();

}  // namespace weft::afxdp

#endif  // WEFT_TRANSPORTS_AFXDP_XDP_PROGRAM_H_
