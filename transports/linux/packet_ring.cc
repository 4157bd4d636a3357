// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/packet_ring.h"

#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "weft/transports/linux/interface.h"

namespace weft::linux_transport {
namespace {

constexpr size_t kBlockBytes = 64 << 10;
constexpr size_t kBlockBytesV3 = 256 << 10;  // room for joined frames of 64 KiB
// What precedes a frame in its slot: the kernel's header, a copy of the Ethernet header's room, and
// the virtio-net header.
constexpr size_t kSlotHeaderBytes = TPACKET_ALIGN(TPACKET2_HDRLEN + 16 + sizeof(VirtioHeader));

uint32_t LoadStatus(void* field) {
  return std::atomic_ref<uint32_t>(*static_cast<uint32_t*>(field)).load(std::memory_order_acquire);
}
void GiveBack(void* field) {
  std::atomic_ref<uint32_t>(*static_cast<uint32_t*>(field))
      .store(TP_STATUS_KERNEL, std::memory_order_release);
}

template <typename Header>
void Describe(const uint8_t* frame, const Header& header, ReceivedPacket* packet) {
  packet->data = frame + header.tp_mac;
  packet->size = header.tp_snaplen;
  packet->wire_size = header.tp_len;
  packet->status = header.tp_status;
  std::memcpy(&packet->virtio, packet->data - sizeof(VirtioHeader), sizeof(VirtioHeader));
}

}  // namespace

absl::StatusOr<PacketRing> PacketRing::Make(const UniqueFd& socket,
                                            const PacketRingOptions& options) {
  PacketRing ring;
  ring.v3_ = options.block_timeout_ms != 0;
  ring.slot_bytes_ =
      ring.v3_ ? size_t{2048} : TPACKET_ALIGN(kSlotHeaderBytes + options.frame_bytes);
  ring.block_bytes_ =
      std::max(ring.v3_ ? kBlockBytesV3 : kBlockBytes, std::bit_ceil(ring.slot_bytes_));
  ring.blocks_ = std::max<size_t>(options.bytes / ring.block_bytes_, ring.v3_ ? 2 : 1);
  ring.slots_ = ring.block_bytes_ / ring.slot_bytes_;
  tpacket_req3 request = {};  // whose beginning is that of V2
  request.tp_block_size = static_cast<unsigned>(ring.block_bytes_);
  request.tp_block_nr = static_cast<unsigned>(ring.blocks_);
  request.tp_frame_size = static_cast<unsigned>(ring.slot_bytes_);
  request.tp_frame_nr = static_cast<unsigned>(ring.slots_ * ring.blocks_);
  request.tp_retire_blk_tov = options.block_timeout_ms;
  const int version = ring.v3_ ? TPACKET_V3 : TPACKET_V2;
  const int virtio = 1;
  if (setsockopt(socket.get(), SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) != 0 ||
      setsockopt(socket.get(), SOL_PACKET, PACKET_VNET_HDR, &virtio, sizeof(virtio)) != 0 ||
      setsockopt(socket.get(), SOL_PACKET, PACKET_RX_RING, &request,
                 ring.v3_ ? sizeof(tpacket_req3) : sizeof(tpacket_req)) != 0) {
    return DeviceError(errno, absl::StrCat("make a receive ring of ", options.bytes, " bytes"), "");
  }
  ring.memory_bytes_ = ring.block_bytes_ * ring.blocks_;
  void* const memory = mmap(nullptr, ring.memory_bytes_, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_POPULATE, socket.get(), 0);
  if (memory == MAP_FAILED) return DeviceError(errno, "map a receive ring", "");
  ring.memory_ = static_cast<uint8_t*>(memory);
  return ring;
}

PacketRing::~PacketRing() {
  if (memory_ != nullptr) munmap(memory_, memory_bytes_);
}

uint8_t* PacketRing::Slot() const { return Block() + in_block_ * slot_bytes_; }

bool PacketRing::SlotReady() const {
  auto* const header = reinterpret_cast<tpacket2_hdr*>(Slot());
  return (LoadStatus(&header->tp_status) & TP_STATUS_USER) != 0;
}

bool PacketRing::BlockReady() const {
  auto* const block = reinterpret_cast<tpacket_block_desc*>(Block());
  return (LoadStatus(&block->hdr.bh1.block_status) & TP_STATUS_USER) != 0;
}

bool PacketRing::Peek(ReceivedPacket* packet) const {
  if (empty()) return false;
  if (!v3_) {
    const auto* const header = reinterpret_cast<const tpacket2_hdr*>(Slot());
    Describe(Slot(), *header, packet);
    packet->vlan_tci = header->tp_vlan_tci;
    packet->vlan_tpid = header->tp_vlan_tpid;
    return true;
  }
  const auto* const block = reinterpret_cast<const tpacket_block_desc*>(Block());
  const uint8_t* const frame =
      Block() + (in_block_ == 0 ? block->hdr.bh1.offset_to_first_pkt : offset_);
  const auto* const header = reinterpret_cast<const tpacket3_hdr*>(frame);
  Describe(frame, *header, packet);
  packet->status |= block->hdr.bh1.block_status & TP_STATUS_LOSING;
  packet->vlan_tci = static_cast<uint16_t>(header->hv1.tp_vlan_tci);
  packet->vlan_tpid = header->hv1.tp_vlan_tpid;
  return true;
}

void PacketRing::Pop() {
  if (!v3_) {
    GiveBack(&reinterpret_cast<tpacket2_hdr*>(Slot())->tp_status);
    if (++in_block_ < slots_) return;
  } else {
    auto* const block = reinterpret_cast<tpacket_block_desc*>(Block());
    if (in_block_ == 0) offset_ = block->hdr.bh1.offset_to_first_pkt;
    offset_ += reinterpret_cast<const tpacket3_hdr*>(Block() + offset_)->tp_next_offset;
    if (++in_block_ < block->hdr.bh1.num_pkts) return;
    GiveBack(&block->hdr.bh1.block_status);
  }
  in_block_ = 0;
  next_ = next_ + 1 < blocks_ ? next_ + 1 : 0;
}

}  // namespace weft::linux_transport
