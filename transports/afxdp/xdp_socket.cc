// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/afxdp/xdp_socket.h"

#include <sys/socket.h>
#include <time.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "weft/transports/afxdp/libbpf_quiet.h"

// Of Linux 5.11; the C library's <sys/socket.h> has not got them all.
#ifndef SO_PREFER_BUSY_POLL
#define SO_PREFER_BUSY_POLL 69
#endif
#ifndef SO_BUSY_POLL_BUDGET
#define SO_BUSY_POLL_BUDGET 70
#endif

namespace weft::afxdp {
namespace {

// A queue is given back by the kernel some time after its socket was closed.
constexpr int kBusyTries = 200;
constexpr timespec kBusyPause = {.tv_sec = 0, .tv_nsec = 5'000'000};

constexpr int kBusyPollBudget = 64;  // frames a poll; the kernel's own default is 8

absl::Status UmemError(int error, const XdpSocketOptions& options) {
  const size_t kib = options.umem.size() / 1024;
  switch (error) {
    case EPERM:
      return absl::PermissionDeniedError(
          "AF_XDP sockets need the capability CAP_NET_RAW: run as root, or `setcap "
          "cap_net_admin,cap_net_raw,cap_bpf+ep PROGRAM`");
    case ENOBUFS:
      return absl::ResourceExhaustedError(
          absl::StrCat("the limit of locked memory does not allow the ", kib,
                       " KiB of buffers of one port: raise it (`ulimit -l`, LimitMEMLOCK= of "
                       "systemd), give the program CAP_IPC_LOCK, or lower buffers.count"));
    case ENOMEM:
      return absl::ResourceExhaustedError(absl::StrCat(
          "no memory for the ", kib, " KiB of buffers of one port; lower buffers.count"));
    case EAFNOSUPPORT:
      return absl::UnavailableError("this kernel has no AF_XDP (CONFIG_XDP_SOCKETS)");
    default:
      return absl::ErrnoToStatus(error, "cannot share buffers with an AF_XDP socket");
  }
}

absl::Status BindError(int error, const XdpSocketOptions& options) {
  const std::string& name = options.interface->name;
  switch (error) {
    case EBUSY:
      return absl::AlreadyExistsError(absl::StrCat("queue ", options.queue, " of interface '", name,
                                                   "' has an AF_XDP socket already"));
    case EPERM:
      return UmemError(error, options);
    case ENODEV:
      return absl::NotFoundError(absl::StrCat("interface '", name, "' has gone"));
    case ENETDOWN:
      return absl::FailedPreconditionError(
          absl::StrCat("interface '", name, "' is down; `ip link set ", name, " up` brings it up"));
    case EOPNOTSUPP:
      return absl::UnimplementedError(
          options.config->zero_copy() == config::Afxdp::REQUIRED
              ? absl::StrCat("the driver of interface '", name,
                             "' has no AF_XDP zero copy; set afxdp.zero_copy to TRY")
              : absl::StrCat("the driver of interface '", name, "' has no AF_XDP"));
    case EINVAL:
      if (options.multi_buffer) {
        return absl::UnimplementedError(absl::StrCat(
            "this kernel has no AF_XDP with frames in several pieces (Linux 6.6): set the MTU of "
            "interface '",
            name, "', now ", options.interface->mtu, ", to 1500"));
      }
      if (options.interface->queues == 0) {
        return absl::NotFoundError(
            absl::StrCat("interface '", name, "' has no queue ", options.queue));
      }
      [[fallthrough]];
    default:
      return absl::ErrnoToStatus(error, absl::StrCat("cannot bind an AF_XDP socket to queue ",
                                                     options.queue, " of '", name, "'"));
  }
}

uint16_t BindFlags(const XdpSocketOptions& options) {
  uint16_t flags = 0;
  // With neither of them the kernel tries zero copy and falls back.
  if (options.config->zero_copy() == config::Afxdp::REQUIRED) flags |= XDP_ZEROCOPY;
  if (options.config->zero_copy() == config::Afxdp::NEVER) flags |= XDP_COPY;
  if (options.config->need_wakeup()) flags |= XDP_USE_NEED_WAKEUP;
  if (options.multi_buffer) flags |= kUseMultiBuffer;
  return flags;
}

absl::Status SetBusyPolling(int fd, const config::Afxdp& config) {
  if (config.busy_poll_us() == 0) return absl::OkStatus();
  const int on = 1;
  const auto us = static_cast<int>(config.busy_poll_us());
  if (setsockopt(fd, SOL_SOCKET, SO_PREFER_BUSY_POLL, &on, sizeof(on)) == 0 &&
      setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL, &us, sizeof(us)) == 0 &&
      setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL_BUDGET, &kBusyPollBudget, sizeof(kBusyPollBudget)) ==
          0) {
    return absl::OkStatus();
  }
  return absl::ErrnoToStatus(
      errno, "this kernel cannot poll a driver from its sockets; set afxdp.busy_poll_us to 0");
}

}  // namespace

absl::StatusOr<std::unique_ptr<XdpSocket>> XdpSocket::Open(const XdpSocketOptions& options) {
  for (int tries = 1;; ++tries) {
    auto made = std::make_unique<XdpSocket>();
    bool umem_failed = false;
    const int error = made->Create(options, &umem_failed);
    if (error == 0) {
      absl::Status status = SetBusyPolling(made->fd(), *options.config);
      if (!status.ok()) return status;
      return made;
    }
    if (umem_failed) return UmemError(error, options);
    if (error != EBUSY || tries == kBusyTries) return BindError(error, options);
    made.reset();
    nanosleep(&kBusyPause, nullptr);
  }
}

int XdpSocket::Create(const XdpSocketOptions& options, bool* umem_failed) {
  const LibbpfQuiet quiet;
  const xsk_umem_config umem_config = {.fill_size = options.config->receive_descriptors(),
                                       .comp_size = options.config->send_descriptors(),
                                       .frame_size = options.chunk_bytes,
                                       .frame_headroom = options.headroom,
                                       .flags = 0};
  int error = -xsk_umem__create(&umem, options.umem.data(), options.umem.size(), &fill, &completion,
                                &umem_config);
  *umem_failed = error != 0;
  if (error != 0) {
    umem = nullptr;
    return error;
  }
  xsk_socket_config socket_config = {};
  socket_config.rx_size = options.config->receive_descriptors();
  socket_config.tx_size = options.config->send_descriptors();
  socket_config.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD;
  socket_config.bind_flags = BindFlags(options);
  error = -xsk_socket__create(&socket, options.interface->name.c_str(), options.queue, umem, &rx,
                              &tx, &socket_config);
  if (error != 0) socket = nullptr;
  return error;
}

XdpSocket::~XdpSocket() {
  const LibbpfQuiet quiet;
  if (socket != nullptr) xsk_socket__delete(socket);
  if (umem != nullptr) xsk_umem__delete(umem);
}

bool XdpSocket::IsZeroCopy() const {
  xdp_options options = {};
  socklen_t size = sizeof(options);
  return getsockopt(fd(), SOL_XDP, XDP_OPTIONS, &options, &size) == 0 &&
         (options.flags & XDP_OPTIONS_ZEROCOPY) != 0;
}

}  // namespace weft::afxdp
