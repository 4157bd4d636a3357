// SPDX-License-Identifier: Apache-2.0
//
// Bursts.
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include <rte_prefetch.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "weft/transports/dpdk/dpdk_frame_port.h"
#include "weft/transports/dpdk/mbuf_pool.h"
#include "weft/transports/dpdk/offload.h"

namespace weft::dpdk {
namespace {

constexpr size_t kSegmentedFrameBytesMax = 65536;
constexpr uint32_t kCallsBetweenLooks = 256;  // at the clock

// Drivers of rings in shared memory hand on the length that the other side has written there.
bool IsWithinItsMemory(const rte_mbuf& mbuf) {
  return size_t{mbuf.data_off} + mbuf.data_len <= mbuf.buf_len;
}

bool IsShared(const internal::BufferSlot* slot) {
  return slot->shares.load(std::memory_order_acquire) != 0;
}

rte_mbuf* MbufOfBuffer(Buffer& buffer) {
  // The slot stays the buffer's own until the device has taken the mbuf.
  auto* memory = buffer.data() - buffer.headroom();
  return MbufOf(reinterpret_cast<internal::BufferSlot*>(memory) - 1);
}

}  // namespace

// Frames of one burst that the device is going to be offered.
struct DpdkFramePort::Batch {
  static constexpr size_t kFramesMax = 32;

  size_t n = 0;
  bool offloads = false;  // some frame asks for one
  rte_mbuf* mbufs[kFramesMax];
  uint32_t bytes[kFramesMax];
  uint8_t places[kFramesMax];  // in the burst
};

size_t DpdkFramePort::Send(absl::Span<Buffer> burst) {
  AssertOwner();
  if (!status_.ok()) [[unlikely]]
    return 0;
  size_t taken = 0;
  while (taken < burst.size()) {
    const absl::Span<Buffer> some = burst.subspan(taken, Batch::kFramesMax);
    bool blocked = false;
    taken += SendBatch(some, &blocked);
    if (blocked) {
      ++stats_.send_blocked;
      break;
    }
  }
  return taken;
}

size_t DpdkFramePort::SendBatch(absl::Span<Buffer> burst, bool* blocked) {
  Batch batch;
  size_t prefix = 0;  // of the burst, that is taken
  while (prefix < burst.size() && !*blocked) {
    *blocked = Prepare(burst[prefix], prefix, &batch) == Prepared::kBlocked;
    if (!*blocked) ++prefix;
  }
  size_t ready = batch.n;
  if (batch.offloads) {
    ready = rte_eth_tx_prepare(port_id_, queue_, batch.mbufs, static_cast<uint16_t>(batch.n));
  }
  const size_t sent =
      ready == 0 ? 0
                 : rte_eth_tx_burst(port_id_, queue_, batch.mbufs, static_cast<uint16_t>(ready));
  if (sent < ready) {
    prefix = batch.places[sent];
    *blocked = true;
  } else if (ready < batch.n) {
    prefix = batch.places[ready] + size_t{1};  // with the frame that the driver refused
    *blocked = false;
  }

  // From here on the mbufs that were sent are the device's, and not to be looked at.
  size_t sent_bytes = 0;
  for (size_t i = 0; i < sent; ++i) {
    sent_bytes += batch.bytes[i];
    burst[batch.places[i]].ReleaseSlot();
  }
  stats_.sent += sent;
  stats_.sent_bytes += sent_bytes;
  if (prefix != sent) [[unlikely]] {
    // What was taken and is still there was refused.
    stats_.send_failed += prefix - sent;
    for (Buffer& frame : burst.first(prefix)) frame.Reset();
  }
  return prefix;
}

DpdkFramePort::Prepared DpdkFramePort::Prepare(Buffer& frame, size_t place, Batch* batch) {
  if (!frame || frame.size() < RTE_ETHER_HDR_LEN) return Prepared::kRefused;
  const bool segment = (frame.offload().flags & honoured_ & FrameOffload::kSegment) != 0;
  if (frame.size() > (segment ? kSegmentedFrameBytesMax : capabilities_.max_frame_bytes)) {
    return Prepared::kRefused;
  }
  if (!pool_.Owns(frame)) [[unlikely]] {
    if (frame.size() > pool_.payload_bytes()) return Prepared::kRefused;
    Buffer copy = Copy(frame);
    if (!copy) return Prepared::kBlocked;
    // If it is not taken now, the caller tries again with the copy.
    frame = std::move(copy);
  }
  rte_mbuf* const mbuf = MbufOfBuffer(frame);
  mbuf->data_off = static_cast<uint16_t>(frame.headroom());
  mbuf->data_len = static_cast<uint16_t>(frame.size());
  mbuf->pkt_len = static_cast<uint32_t>(frame.size());
  mbuf->ol_flags = 0;
  if ((frame.offload().flags & honoured_) != 0) {
    if (!RequestOffload(frame.offload(), honoured_, send_offloads_, mbuf)) {
      return Prepared::kRefused;
    }
    batch->offloads = true;
  }
  batch->mbufs[batch->n] = mbuf;
  batch->bytes[batch->n] = mbuf->pkt_len;
  batch->places[batch->n] = static_cast<uint8_t>(place);
  ++batch->n;
  return Prepared::kReady;
}

Buffer DpdkFramePort::Copy(const Buffer& frame) {
  Buffer copy = pool_.Allocate();
  if (!copy) return copy;
  std::memcpy(copy.Append(frame.size()), frame.data(), frame.size());
  copy.offload() = frame.offload();
  ++stats_.copied_buffers;
  stats_.copied_bytes += frame.size();
  return copy;
}

size_t DpdkFramePort::Receive(absl::Span<Buffer> burst) {
  AssertOwner();
  const uint32_t link = signals_.link.load(std::memory_order_acquire);
  if (link != link_seen_) [[unlikely]]
    NoticeSignals(link);
  if (!status_.ok()) [[unlikely]]
    return 0;
  if (++calls_ % kCallsBetweenLooks == 0) Maintain();

  constexpr size_t kAtOnce = 64;
  rte_mbuf* mbufs[kAtOnce];
  size_t n = 0;
  size_t bytes = 0;
  // Those that are lost count too: a flood of them must not hold up the thread.
  for (size_t taken = 0; taken < burst.size();) {
    const size_t wanted = std::min(burst.size() - taken, kAtOnce);
    const size_t got = rte_eth_rx_burst(port_id_, queue_, mbufs, static_cast<uint16_t>(wanted));
    taken += got;
    for (size_t i = 0; i < got; ++i) {
      Buffer frame = BufferOf(mbufs[i]);
      if (!frame) [[unlikely]]
        continue;
      bytes += frame.size();
      burst[n++] = std::move(frame);
    }
    if (got < wanted) break;
  }
  stats_.received += n;
  stats_.received_bytes += bytes;
  return n;
}

Buffer DpdkFramePort::BufferOf(rte_mbuf* mbuf) {
  // A driver may attach memory of its own to an mbuf of ours (net_vhost with ext-buffer=1).
  const bool ours = RTE_MBUF_DIRECT(mbuf) && (mbuf->pool == mempool_ || IsSlotOfAPool(*mbuf));
  // A software device (net_ring) hands over the very mbuf that was sent, which its sender may keep.
  if (!ours || mbuf->nb_segs != 1 || IsShared(SlotOf(mbuf))) [[unlikely]]
    return CopyOut(mbuf);
  if (!IsWithinItsMemory(*mbuf)) [[unlikely]]
    return Malformed(mbuf);
  internal::BufferSlot* const slot = SlotOf(mbuf);
  slot->offset = mbuf->data_off;
  slot->size = mbuf->data_len;
  slot->offload.flags = OffloadResults(mbuf->ol_flags);
  return Buffer::FromSlot(slot);
}

// Of a frame in several pieces, in memory that is no BufferPool's, or whose sender keeps it.
Buffer DpdkFramePort::CopyOut(rte_mbuf* mbuf) {
  size_t size = 0;
  for (const rte_mbuf* piece = mbuf; piece != nullptr; piece = piece->next) {
    if (!IsWithinItsMemory(*piece)) return Malformed(mbuf);
    size += piece->data_len;
  }
  Buffer frame = pool_.Allocate();
  if (!frame || size > frame.tailroom()) {
    ++stats_.receive_dropped;
    rte_pktmbuf_free(mbuf);
    return Buffer();
  }
  for (const rte_mbuf* piece = mbuf; piece != nullptr; piece = piece->next) {
    std::memcpy(frame.Append(piece->data_len), rte_pktmbuf_mtod(piece, const uint8_t*),
                piece->data_len);
  }
  frame.offload().flags = OffloadResults(mbuf->ol_flags);
  ++stats_.copied_buffers;
  stats_.copied_bytes += size;
  rte_pktmbuf_free(mbuf);
  return frame;
}

Buffer DpdkFramePort::Malformed(rte_mbuf* mbuf) {
  ++stats_.receive_malformed;
  rte_pktmbuf_free(mbuf);
  return Buffer();
}

}  // namespace weft::dpdk
