// SPDX-License-Identifier: Apache-2.0
//
// A frame port over one AF_XDP socket.
//
// The chunks of the UMEM are the slots of a BufferPool: a frame that is received is a buffer, and
// one that is sent from such a buffer is sent from where it lies. Slots change hands between pool,
// user and kernel; `in_kernel_` says which the kernel has.
//
//   pool -> fill ring -> [kernel] -> rx ring -> user -> pool
//           user -> tx ring -> [kernel] -> completion ring -> pool
//
// Where the longest frame is longer than a chunk, the pool that users see has buffers that hold it,
// and the UMEM's is another one: frames are joined and cut, and each copy is counted.
#ifndef WEFT_TRANSPORTS_AFXDP_AFXDP_FRAME_PORT_H_
#define WEFT_TRANSPORTS_AFXDP_AFXDP_FRAME_PORT_H_

#include <linux/if_xdp.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/config/config.h"
#include "weft/core/buffer.h"
#include "weft/core/unique_fd.h"
#include "weft/transports/afxdp/interface.h"
#include "weft/transports/afxdp/shared_program.h"
#include "weft/transports/afxdp/xdp_socket.h"
#include "weft/transports/frame_port.h"
#include "weft/transports/linux/link_monitor.h"

namespace weft::afxdp {

// How frames lie in memory.
struct FrameLayout {
  size_t max_frame_bytes = 0;
  uint32_t chunk_bytes = 0;
  bool multi_buffer = false;  // the longest frame takes more than a chunk

  // InvalidArgument when `mtu_bytes` is more than the kernel can do.
  static absl::StatusOr<FrameLayout> For(const Interface& interface, size_t buffer_bytes);
};

struct AfxdpPortOptions {
  const config::Afxdp* config;
  const Interface* interface;
  uint32_t queue = 0;  // of the interface
  FrameLayout layout;
  size_t buffers = 0;
  Capabilities capabilities;
};

class AfxdpFramePort final : public FramePort {
 public:
  static absl::StatusOr<std::unique_ptr<FramePort>> Open(const AfxdpPortOptions& options,
                                                         ProgramUser program);
  ~AfxdpFramePort() override;

  Address local_address() const override { return {}; }
  MacAddress mac() const override { return interface_.mac; }
  bool link_up() const override { return link_.up(); }
  std::string device_name() const override { return interface_.name; }

  size_t Send(absl::Span<Buffer> burst) override;
  size_t Receive(absl::Span<Buffer> burst) override;
  absl::Status SetFilter(absl::Span<const Address> addresses,
                         absl::Span<const MacAddress> groups) override;

  int wait_fd() const override { return wait_fd_.get(); }
  bool Arm() override;
  void BindToThisThread() override;

  bool is_native() const { return program_->is_native(); }
  bool is_zero_copy() const { return is_zero_copy_; }

 private:
  AfxdpFramePort(const AfxdpPortOptions& options, BufferPool chunks,
                 std::optional<BufferPool> frames, std::unique_ptr<XdpSocket> socket,
                 ProgramUser program, linux_transport::LinkMonitor link, UniqueFd wait_fd);

  // Sending.
  size_t Enqueue(absl::Span<Buffer> burst);
  bool IsFrame(const Buffer& buffer) const;
  bool EnqueueCopy(const Buffer& buffer);
  void PutDescriptor(uint32_t index, internal::BufferSlot* slot, uint32_t options);
  size_t SendRoom() const { return socket_->tx.size - sending_; }
  bool HasUnsent() const;
  void Kick();
  size_t ReclaimSent();

  // Receiving.
  Buffer TakeReceived(const xdp_desc& descriptor);
  Buffer Join(Buffer piece, bool continues);
  bool CanSpareChunk();
  void Refill();
  void WakeReceiver();

  // The slot whose chunk has `offset` of the UMEM in it.
  internal::BufferSlot* SlotAt(uint64_t offset) const {
    return reinterpret_cast<internal::BufferSlot*>(umem_ + (offset & ~uint64_t{chunk_bytes_ - 1}));
  }
  size_t IndexOf(const internal::BufferSlot* slot) const {
    return static_cast<size_t>(reinterpret_cast<const uint8_t*>(slot) - umem_) / chunk_bytes_;
  }
  void GiveToKernel(const internal::BufferSlot* slot) { in_kernel_[IndexOf(slot)] = 1; }
  Buffer TakeFromKernel(internal::BufferSlot* slot) {
    in_kernel_[IndexOf(slot)] = 0;
    return Buffer::FromSlot(slot);
  }

  // Waiting.
  bool StartWaiting();
  void StopWaiting();

  // The slow part of polling.
  void CheckDevice();
  void LinkChanged(bool was_up);
  void ReadStatistics();

  const Interface interface_;
  const bool multi_buffer_;
  const bool need_wakeup_;
  const bool busy_poll_;
  const uint32_t chunk_bytes_;
  const uint32_t queue_;
  std::optional<BufferPool> own_chunks_;  // with multi_buffer_
  BufferPool& chunks_;                    // of the UMEM: *own_chunks_, or pool()
  uint8_t* const umem_;
  std::unique_ptr<XdpSocket> socket_;
  ProgramUser program_;
  linux_transport::LinkMonitor link_;
  UniqueFd wait_fd_;    // epoll: link_ and, if waits_, the socket
  bool waits_ = false;  // somebody has slept on it of late

  std::vector<uint8_t> in_kernel_;  // by slot: whether the kernel has it
  uint32_t sending_ = 0;            // slots in the tx and completion rings, and between them
  uint32_t receiving_ = 0;          // slots in the fill and rx rings, and between them
  uint32_t told_ = 0;               // of tx, what the kernel is known to have seen
  uint32_t fill_target_;            // of receiving_
  uint32_t fill_batch_;             // slots that are provided at once
  const bool is_zero_copy_;
  uint32_t calls_to_check_;  // of Receive(), until the next CheckDevice()
  bool send_blocked_ = false;

  Buffer partial_;         // beginning of a frame whose end is still to come
  bool skipping_ = false;  // the rest of a frame for which there was no room

  xdp_statistics seen_ = {};  // what stats() has already
};

}  // namespace weft::afxdp

#endif  // WEFT_TRANSPORTS_AFXDP_AFXDP_FRAME_PORT_H_
