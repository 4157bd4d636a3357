// SPDX-License-Identifier: Apache-2.0
//
// The data path of AfxdpFramePort. A system call a burst that is sent (the kernel wants to be
// told), and none to receive.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "weft/transports/afxdp/afxdp_frame_port.h"

namespace weft::afxdp {
namespace {

constexpr size_t kHeaderBytes = 14;

// Kicks of one Send(): each moves 32 frames where the kernel copies.
constexpr int kKicksMax = 64;

// What the kernel has written on another core is fetched while the rest is seen to.
void PrefetchHeaders(const uint8_t* frame) {
  __builtin_prefetch(frame);
  __builtin_prefetch(frame + 64);
}

// Shared with the kernel; libxdp has no name for reading one end of a ring without taking from it.
uint32_t Consumed(const xsk_ring_prod& ring) {
  return __atomic_load_n(ring.consumer, __ATOMIC_ACQUIRE);
}

}  // namespace

// --- Sending

size_t AfxdpFramePort::Send(absl::Span<Buffer> burst) {
  AssertOwner();
  if (!status_.ok()) [[unlikely]]
    return 0;
  // In batches: most have been reclaimed by a Receive() that found nothing.
  if (sending_ >= fill_batch_) ReclaimSent();
  size_t accepted = Enqueue(burst);
  Kick();
  // What has gone may have made room.
  while (accepted < burst.size() && ReclaimSent() > 0) {
    accepted += Enqueue(burst.subspan(accepted));
    Kick();
  }
  if (accepted < burst.size()) {
    ++stats_.send_blocked;
    send_blocked_ = true;
  }
  return accepted;
}

bool AfxdpFramePort::IsFrame(const Buffer& buffer) const {
  return buffer && buffer.size() >= kHeaderBytes && buffer.size() <= capabilities_.max_frame_bytes;
}

// Puts as much of `burst` into the tx ring as fits; returns how many frames that was.
size_t AfxdpFramePort::Enqueue(absl::Span<Buffer> burst) {
  xsk_ring_prod& tx = socket_->tx;
  size_t sent = 0;
  size_t bytes = 0;
  size_t n = 0;
  for (; n < burst.size(); ++n) {
    Buffer& buffer = burst[n];
    if (!IsFrame(buffer)) [[unlikely]] {
      ++stats_.send_failed;
      buffer.Reset();
      continue;
    }
    const size_t size = buffer.size();
    if (chunks_.Owns(buffer)) [[likely]] {
      if (SendRoom() == 0) break;
      PutDescriptor(tx.cached_prod++, buffer.ReleaseSlot(), 0);
    } else {
      if (!EnqueueCopy(buffer)) break;
      buffer.Reset();
    }
    ++sent;
    bytes += size;
  }
  stats_.sent += sent;
  stats_.sent_bytes += bytes;
  __atomic_store_n(tx.producer, tx.cached_prod, __ATOMIC_RELEASE);
  return n;
}

void AfxdpFramePort::PutDescriptor(uint32_t index, internal::BufferSlot* slot, uint32_t options) {
  GiveToKernel(slot);
  ++sending_;
  xdp_desc* descriptor = xsk_ring_prod__tx_desc(&socket_->tx, index);
  descriptor->addr = static_cast<uint64_t>(slot->memory() + slot->offset - umem_);
  descriptor->len = slot->size;
  descriptor->options = options;
}

// A frame in somebody else's memory goes into as many chunks as it needs. False when there are too
// few, or too little room in the ring.
bool AfxdpFramePort::EnqueueCopy(const Buffer& buffer) {
  xsk_ring_prod& tx = socket_->tx;
  const size_t piece_bytes = chunks_.payload_bytes();
  const size_t pieces = (buffer.size() + piece_bytes - 1) / piece_bytes;
  if (SendRoom() < pieces) return false;
  internal::BufferSlot* slots[64];
  for (size_t i = 0; i < pieces; ++i) {
    Buffer chunk = chunks_.Allocate();
    if (!chunk) {
      while (i > 0) Buffer::FromSlot(slots[--i]);
      return false;
    }
    const size_t offset = i * piece_bytes;
    const size_t size = std::min(piece_bytes, buffer.size() - offset);
    std::memcpy(chunk.Append(size), buffer.data() + offset, size);
    slots[i] = chunk.ReleaseSlot();
  }
  for (size_t i = 0; i < pieces; ++i) {
    PutDescriptor(tx.cached_prod++, slots[i], i + 1 < pieces ? kFrameContinues : 0);
  }
  ++stats_.copied_buffers;
  stats_.copied_bytes += buffer.size();
  return true;
}

// Whether the tx ring has frames that the kernel wants to be told of.
bool AfxdpFramePort::HasUnsent() const {
  const xsk_ring_prod& tx = socket_->tx;
  if (!is_zero_copy_) return told_ != tx.cached_prod;
  // A driver may ask for it at any time, or never.
  return sending_ > 0 && Consumed(tx) != tx.cached_prod &&
         (!need_wakeup_ || xsk_ring_prod__needs_wakeup(&tx));
}

// Tells the kernel of frames in the tx ring. Where it copies, it sends them before this returns, 32
// at a time; what it cannot send now stays in the ring for the next call.
void AfxdpFramePort::Kick() {
  xsk_ring_prod& tx = socket_->tx;
  for (int i = 0; i < kKicksMax && HasUnsent(); ++i) {
    const uint32_t before = Consumed(tx);
    if (sendto(socket_->fd(), nullptr, 0, MSG_DONTWAIT, nullptr, 0) >= 0) {
      told_ = tx.cached_prod;
      return;
    }
    if (errno == EBUSY) {  // The device has dropped one.
      ++stats_.send_failed;
    } else if (errno == ENXIO || errno == ENETDOWN || errno == ENODEV) {
      calls_to_check_ = 1;
      return;
    } else if (Consumed(tx) == before) {  // EAGAIN, and not because there is more: no room for it
      return;
    }
  }
}

// Gives slots that have been sent back to the pool; returns how many.
size_t AfxdpFramePort::ReclaimSent() {
  if (sending_ == 0) return 0;
  xsk_ring_cons& completion = socket_->completion;
  uint32_t index = 0;
  const uint32_t n = xsk_ring_cons__peek(&completion, completion.size, &index);
  if (n == 0) return 0;
  for (uint32_t i = 0; i < n; ++i) {
    TakeFromKernel(SlotAt(*xsk_ring_cons__comp_addr(&completion, index + i)));
  }
  xsk_ring_cons__release(&completion, n);
  sending_ -= n;
  return n;
}

// --- Receiving

size_t AfxdpFramePort::Receive(absl::Span<Buffer> burst) {
  AssertOwner();
  if (--calls_to_check_ == 0) [[unlikely]] {
    CheckDevice();
    StopWaiting();  // Nobody has slept for as many calls.
  }
  if (!status_.ok()) [[unlikely]]
    return 0;
  xsk_ring_cons& rx = socket_->rx;
  uint32_t index = 0;
  const auto wanted = static_cast<uint32_t>(std::min<size_t>(burst.size(), rx.size));
  const uint32_t descriptors = xsk_ring_cons__peek(&rx, wanted, &index);
  if (HasUnsent()) [[unlikely]]
    Kick();
  if (descriptors == 0) {
    // Time for what others wait less for.
    ReclaimSent();
    if (receiving_ < fill_target_) Refill();
    if (busy_poll_) WakeReceiver();
    return 0;
  }
  size_t n = 0;
  size_t bytes = 0;
  for (uint32_t i = 0; i < descriptors; ++i) {
    const xdp_desc& descriptor = *xsk_ring_cons__rx_desc(&rx, index + i);
    PrefetchHeaders(umem_ + descriptor.addr);
    Buffer frame = TakeReceived(descriptor);
    if (multi_buffer_) frame = Join(std::move(frame), descriptor.options & kFrameContinues);
    if (!frame) continue;
    if (!CanSpareChunk()) [[unlikely]] {
      ++stats_.receive_dropped;
      continue;
    }
    bytes += frame.size();
    burst[n++] = std::move(frame);
  }
  xsk_ring_cons__release(&rx, descriptors);
  stats_.received += n;
  stats_.received_bytes += bytes;
  if (fill_target_ - receiving_ >= fill_batch_) Refill();
  return n;
}

// Whether the kernel has, without a chunk that was just taken from it, enough of them. If not, the
// frame in that is dropped so that it can be replaced, as a NIC's driver does: were all chunks with
// users, the kernel would have to drop whatever comes until the next call. Enough is a part of what
// it should have: users who keep all that they may (TCP does what is not acknowledged) would never
// hear again what makes them let go.
bool AfxdpFramePort::CanSpareChunk() {
  if (fill_target_ - receiving_ < fill_batch_) [[likely]]
    return true;
  ReclaimSent();
  Refill();
  return receiving_ >= fill_target_ / 4;
}

Buffer AfxdpFramePort::TakeReceived(const xdp_desc& descriptor) {
  internal::BufferSlot* slot = SlotAt(descriptor.addr);
  slot->offset = static_cast<uint32_t>(umem_ + descriptor.addr - slot->memory());
  slot->size = descriptor.len;
  slot->offload = {};
  --receiving_;
  return TakeFromKernel(slot);
}

// The frame that ends with `piece`, in one buffer; null when there is none: it goes on, or it was
// dropped for want of a buffer.
Buffer AfxdpFramePort::Join(Buffer piece, bool continues) {
  if (!continues && !partial_ && !skipping_) [[likely]]
    return piece;
  if (!skipping_) {
    if (!partial_) partial_ = pool_.Allocate();
    if (partial_ && piece.size() <= partial_.tailroom()) {
      std::memcpy(partial_.Append(piece.size()), piece.data(), piece.size());
    } else {
      ++stats_.receive_dropped;
      partial_.Reset();
      skipping_ = true;
    }
  }
  if (continues) return Buffer();
  skipping_ = false;
  if (partial_) {
    ++stats_.copied_buffers;
    stats_.copied_bytes += partial_.size();
  }
  return std::move(partial_);
}

// Provides chunks for the kernel to receive into, as far as there are any.
void AfxdpFramePort::Refill() {
  xsk_ring_prod& fill = socket_->fill;
  const uint32_t before = receiving_;
  while (receiving_ < fill_target_) {
    Buffer buffer = chunks_.Allocate();
    if (!buffer) break;
    internal::BufferSlot* slot = buffer.ReleaseSlot();
    GiveToKernel(slot);
    // There is room: the ring holds as many as are ever provided.
    *xsk_ring_prod__fill_addr(&fill, fill.cached_prod++) =
        static_cast<uint64_t>(reinterpret_cast<uint8_t*>(slot) - umem_);
    ++receiving_;
  }
  if (receiving_ == before) return;
  __atomic_store_n(fill.producer, fill.cached_prod, __ATOMIC_RELEASE);
  if (need_wakeup_ && xsk_ring_prod__needs_wakeup(&fill)) WakeReceiver();
}

void AfxdpFramePort::WakeReceiver() {
  recvfrom(socket_->fd(), nullptr, 0, MSG_DONTWAIT, nullptr, nullptr);
}

}  // namespace weft::afxdp
