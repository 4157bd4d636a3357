// SPDX-License-Identifier: Apache-2.0
//
// The ring in which a packet socket leaves what it receives, shared with the kernel: TPACKET_V2,
// slots of one size, each the program's as soon as it is filled; or TPACKET_V3, blocks of many
// frames that are handed over when they are full or old enough (kernel's
// Documentation/networking/packet_mmap.rst).
#ifndef WEFT_TRANSPORTS_LINUX_PACKET_RING_H_
#define WEFT_TRANSPORTS_LINUX_PACKET_RING_H_

#include <linux/if_packet.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "weft/core/unique_fd.h"
#include "weft/transports/linux/virtio_header.h"

namespace weft::linux_transport {

struct PacketRingOptions {
  size_t bytes = 4 << 20;
  size_t frame_bytes = 2048;      // longest that need not be cut off; TPACKET_V3 takes any
  unsigned block_timeout_ms = 0;  // 0: TPACKET_V2
};

struct ReceivedPacket {
  const uint8_t* data;
  uint32_t size;       // of data
  uint32_t wire_size;  // more than that if it was cut off
  uint32_t status;     // TP_STATUS_*
  uint16_t vlan_tci;   // with TP_STATUS_VLAN_VALID: a tag that is not in the data any more
  uint16_t vlan_tpid;  // with TP_STATUS_VLAN_TPID_VALID: its type, else 0x8100
  VirtioHeader virtio;
};

class PacketRing {
 public:
  // Sets `socket` up, which must not be bound yet.
  static absl::StatusOr<PacketRing> Make(const UniqueFd& socket, const PacketRingOptions& options);

  PacketRing(PacketRing&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)),
        memory_bytes_(other.memory_bytes_),
        block_bytes_(other.block_bytes_),
        blocks_(other.blocks_),
        slot_bytes_(other.slot_bytes_),
        slots_(other.slots_),
        v3_(other.v3_) {}
  PacketRing& operator=(PacketRing&&) = delete;
  ~PacketRing();

  // The oldest frame; false if there is none. Good until Pop(), which gives its place back.
  bool Peek(ReceivedPacket* packet) const;
  bool empty() const { return v3_ ? !BlockReady() : !SlotReady(); }
  void Pop();

 private:
  PacketRing() = default;
  uint8_t* Slot() const;
  uint8_t* Block() const { return memory_ + next_ * block_bytes_; }
  bool SlotReady() const;
  bool BlockReady() const;

  uint8_t* memory_ = nullptr;
  size_t memory_bytes_ = 0;
  size_t block_bytes_ = 0;
  size_t blocks_ = 0;
  size_t slot_bytes_ = 0;
  size_t slots_ = 0;  // of a block
  bool v3_ = false;
  // V2: block and slot in it. V3: block, frames of it that have been popped, where the next is.
  size_t next_ = 0;
  size_t in_block_ = 0;
  size_t offset_ = 0;
};

}  // namespace weft::linux_transport

#endif  // WEFT_TRANSPORTS_LINUX_PACKET_RING_H_
