// SPDX-License-Identifier: Apache-2.0
//
// The slow paths of AfxdpFramePort: opening, closing, news of the device.
#include "weft/transports/afxdp/afxdp_frame_port.h"

#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weft::afxdp {
namespace {

using linux_transport::LinkMonitor;

constexpr size_t kEthernetHeaderBytes = 14;
constexpr size_t kVlanTagsBytes = 8;  // two of them, in front of a payload of a full MTU
constexpr size_t kSlotBytes = sizeof(internal::BufferSlot);
constexpr size_t kHeadroomBytes = BufferPoolOptions().headroom;

// Pieces of one frame that the kernel handles (MAX_SKB_FRAGS).
constexpr size_t kPiecesMax = 17;

// Polls of the receive ring between two looks at the device. Nobody notices a few system calls in
// so many; whoever sleeps looks before.
constexpr uint32_t kCallsToCheck = 1 << 15;

constexpr uint32_t kFillBatchMax = 64;

// Of a received frame that fits one chunk.
constexpr size_t PieceBytes(size_t chunk_bytes) {
  return chunk_bytes - kKernelHeadroomBytes - kSlotBytes;
}

BufferPoolOptions ChunkOptions(const AfxdpPortOptions& options) {
  return {.count = options.buffers,
          .bytes = options.layout.chunk_bytes - kSlotBytes,
          .headroom = kHeadroomBytes};
}

// One descriptor that is readable when `a` or `b` is.
absl::StatusOr<UniqueFd> OpenEpoll(int link_fd) {
  UniqueFd fd(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event = {.events = EPOLLIN, .data = {}};
  if (!fd || epoll_ctl(fd.get(), EPOLL_CTL_ADD, link_fd, &event) != 0) {
    return absl::ErrnoToStatus(errno, "cannot wait for an AF_XDP socket");
  }
  return fd;
}

}  // namespace

absl::StatusOr<FrameLayout> FrameLayout::For(const Interface& interface, size_t buffer_bytes) {
  FrameLayout layout;
  layout.max_frame_bytes = interface.mtu + kEthernetHeaderBytes;
  const size_t longest = layout.max_frame_bytes + kVlanTagsBytes;
  layout.chunk_bytes = buffer_bytes <= 2048 && longest <= PieceBytes(2048) ? 2048 : 4096;
  layout.multi_buffer = longest > PieceBytes(layout.chunk_bytes);
  if (longest > kPiecesMax * PieceBytes(layout.chunk_bytes)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the MTU of interface '", interface.name, "', ", interface.mtu,
        ", is more than AF_XDP can carry; at most ",
        kPiecesMax * PieceBytes(4096) - kEthernetHeaderBytes - kVlanTagsBytes, " fits"));
  }
  return layout;
}

absl::StatusOr<std::unique_ptr<FramePort>> AfxdpFramePort::Open(const AfxdpPortOptions& options,
                                                                ProgramUser program) {
  BufferPool chunks(ChunkOptions(options));
  // All of it is pinned anyway, and the kernel goes round all of it.
  madvise(chunks.region().data(), chunks.region().size(), MADV_HUGEPAGE);
  std::optional<BufferPool> frames;
  if (options.layout.multi_buffer) {
    frames.emplace(
        BufferPoolOptions{.count = options.buffers,
                          .bytes = options.layout.max_frame_bytes + kVlanTagsBytes + kHeadroomBytes,
                          .headroom = kHeadroomBytes});
  }
  absl::StatusOr<std::unique_ptr<XdpSocket>> socket =
      XdpSocket::Open({.interface = options.interface,
                       .queue = options.queue,
                       .umem = chunks.region(),
                       .chunk_bytes = options.layout.chunk_bytes,
                       .headroom = kSlotBytes,
                       .config = options.config,
                       .multi_buffer = options.layout.multi_buffer});
  if (!socket.ok()) return socket.status();
  absl::StatusOr<LinkMonitor> link = LinkMonitor::Open(options.interface->index);
  if (!link.ok()) return link.status();
  absl::StatusOr<UniqueFd> wait_fd = OpenEpoll(link->fd());
  if (!wait_fd.ok()) return wait_fd.status();
  const int fd = (*socket)->fd();
  std::unique_ptr<AfxdpFramePort> port(
      new AfxdpFramePort(options, std::move(chunks), std::move(frames), *std::move(socket),
                         std::move(program), *std::move(link), *std::move(wait_fd)));
  if (absl::Status s = port->program_->AddSocket(options.queue, fd); !s.ok()) return s;
  return port;
}

AfxdpFramePort::AfxdpFramePort(const AfxdpPortOptions& options, BufferPool chunks,
                               std::optional<BufferPool> frames, std::unique_ptr<XdpSocket> socket,
                               ProgramUser program, LinkMonitor link, UniqueFd wait_fd)
    : FramePort(options.capabilities, frames ? *std::move(frames) : std::move(chunks)),
      interface_(*options.interface),
      multi_buffer_(options.layout.multi_buffer),
      need_wakeup_(options.config->need_wakeup()),
      busy_poll_(options.config->busy_poll_us() > 0),
      chunk_bytes_(options.layout.chunk_bytes),
      queue_(options.queue),
      own_chunks_(multi_buffer_ ? std::optional<BufferPool>(std::move(chunks)) : std::nullopt),
      chunks_(multi_buffer_ ? *own_chunks_ : pool_),
      umem_(chunks_.region().data()),
      socket_(std::move(socket)),
      program_(std::move(program)),
      link_(std::move(link)),
      wait_fd_(std::move(wait_fd)),
      in_kernel_(chunks_.count()),
      // The other half is for those that are sent, and for users.
      fill_target_(static_cast<uint32_t>(std::min<size_t>(socket_->rx.size, chunks_.count() / 2))),
      fill_batch_(std::min(kFillBatchMax, fill_target_ / 4)),
      is_zero_copy_(socket_->IsZeroCopy()),
      calls_to_check_(kCallsToCheck) {
  Refill();
}

AfxdpFramePort::~AfxdpFramePort() {
  program_->RemoveQueue(queue_);
  socket_.reset();
  // The kernel has let go of them.
  for (size_t i = 0; i < in_kernel_.size(); ++i) {
    if (in_kernel_[i] != 0) TakeFromKernel(SlotAt(i * chunk_bytes_));
  }
}

absl::Status AfxdpFramePort::SetFilter(absl::Span<const Address> addresses,
                                       absl::Span<const MacAddress> groups) {
  AssertOwner();
  return program_->SetFilter(queue_, addresses, groups);
}

void AfxdpFramePort::BindToThisThread() {
  FramePort::BindToThisThread();
  chunks_.BindToThisThread();
}

bool AfxdpFramePort::Arm() {
  AssertOwner();
  if (!status_.ok()) return true;
  CheckDevice();
  if (has_events_ || !status_.ok()) return false;
  if (!StartWaiting()) return false;
  ReclaimSent();
  Refill();
  // The descriptor tells of frames, even of those that came before; it does not tell when there is
  // room to send again. That is soon, so whoever waits for it tries again in the next round.
  const bool was_blocked = std::exchange(send_blocked_, false);
  if (HasUnsent()) Kick();
  return !was_blocked && !(link_.up() && HasUnsent());
}

// A socket that somebody may sleep on costs the kernel some work for each frame, so that it is not
// waited for while nobody does.
bool AfxdpFramePort::StartWaiting() {
  if (waits_) return true;
  epoll_event event = {.events = EPOLLIN, .data = {.fd = socket_->fd()}};
  waits_ = epoll_ctl(wait_fd_.get(), EPOLL_CTL_ADD, socket_->fd(), &event) == 0;
  return waits_;
}

void AfxdpFramePort::StopWaiting() {
  if (!waits_) return;
  epoll_ctl(wait_fd_.get(), EPOLL_CTL_DEL, socket_->fd(), nullptr);
  waits_ = false;
}

void AfxdpFramePort::CheckDevice() {
  calls_to_check_ = kCallsToCheck;
  if (!status_.ok()) return;
  const bool was_up = link_.up();
  if (link_.Poll()) LinkChanged(was_up);
  ReadStatistics();
}

void AfxdpFramePort::LinkChanged(bool was_up) {
  if (link_.up() != was_up) AddLinkEvent(link_.up());
  if (!link_.gone()) return;
  status_ =
      absl::UnavailableError(absl::StrCat("interface '", interface_.name, "' has been removed"));
  // They would be readable for ever.
  StopWaiting();
  epoll_ctl(wait_fd_.get(), EPOLL_CTL_DEL, link_.fd(), nullptr);
}

void AfxdpFramePort::ReadStatistics() {
  xdp_statistics now = {};
  socklen_t size = sizeof(now);
  if (getsockopt(socket_->fd(), SOL_XDP, XDP_STATISTICS, &now, &size) != 0) return;
  // rx_dropped: no chunk was provided, or the frame is too long.
  stats_.receive_dropped +=
      now.rx_dropped - seen_.rx_dropped + now.rx_ring_full - seen_.rx_ring_full;
  stats_.send_failed += now.tx_invalid_descs - seen_.tx_invalid_descs;
  seen_ = now;
}

}  // namespace weft::afxdp
