// SPDX-License-Identifier: Apache-2.0
//
// Frames through packet sockets (AF_PACKET) on an interface that the kernel goes on using.
//
// Two sockets: one receives into a ring that is polled without a system call; the other sends. A
// ring for sending would save little (most of a send is the device's own work) and is not sound:
// devices such as veth report a frame as sent while its memory is still to be read.
#ifndef WEFT_TRANSPORTS_LINUX_PACKET_FRAME_PORT_H_
#define WEFT_TRANSPORTS_LINUX_PACKET_FRAME_PORT_H_

#include <sys/socket.h>
#include <sys/uio.h>

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/config/config.h"
#include "weft/transports/linux/joined_segments.h"
#include "weft/transports/linux/kernel_frame_port.h"
#include "weft/transports/linux/packet_ring.h"
#include "weft/transports/linux/segment_joiner.h"
#include "weft/transports/linux/virtio_header.h"
#include "weft/transports/transport.h"

namespace weft::linux_transport {

// The ports of one transport that share what arrives (PACKET_FANOUT): the first to join makes the
// kernel's group, and it goes with the last. Thread-safe.
class PacketFanout {
 public:
  absl::Status Join(const UniqueFd& socket, config::Packet::Fanout mode);
  void Leave();  // after the socket is closed

 private:
  std::mutex mutex_;
  int members_ = 0;
  int id_ = 0;
};

class PacketFramePort final : public KernelFramePort {
 public:
  // `fanout` must outlive the port.
  static absl::StatusOr<std::unique_ptr<FramePort>> Open(const config::Packet& config,
                                                         const BufferPoolOptions& buffers,
                                                         const Capabilities& capabilities,
                                                         const PortOptions& options,
                                                         PacketFanout* fanout);
  // What `config` asks for, if it is there: an Ethernet device that is up.
  static absl::StatusOr<Interface> FindDevice(const config::Packet& config);

  ~PacketFramePort() override;

  size_t Send(absl::Span<Buffer> burst) override;
  size_t Receive(absl::Span<Buffer> burst) override;
  bool Arm() override;
  // Groups become those of the device; addresses make no difference.
  absl::Status SetFilter(absl::Span<const Address> addresses,
                         absl::Span<const MacAddress> groups) override;

 private:
  // Of one system call; beyond that a larger one gains nothing.
  static constexpr size_t kSendFrames = 32;
  static constexpr size_t kSendPieces = 3 * kSendFrames;

  struct Sockets {
    UniqueFd receive;
    UniqueFd send;
  };

  PacketFramePort(const BufferPoolOptions& buffers, const Capabilities& capabilities,
                  const Interface& interface, Sockets sockets, PacketRing ring, LinkMonitor link,
                  UniqueFd wait_fd);

  // Sending.
  size_t Gather(absl::Span<Buffer> burst, size_t* messages);
  size_t SendGathered(absl::Span<Buffer> burst, size_t messages);
  bool GiveUp(int error);
  void Sent(absl::Span<Buffer> frames);
  void Drop(Buffer& frame);

  // Receiving.
  bool Deliver(Buffer& out);
  bool DeliverJoined(const ReceivedPacket& packet, Buffer& out);
  void BeginDatagrams(const ReceivedPacket& packet);
  size_t ReadQueued(const ReceivedPacket& packet, absl::Span<const iovec> room,
                    VirtioHeader* header);
  Buffer Copy(const ReceivedPacket& packet);
  Buffer CopySegment();
  void CountDrops();
  void ClearSocketError();

  const int interface_index_;
  Sockets sockets_;
  PacketRing ring_;
  PacketFanout* fanout_ = nullptr;  // that it has joined
  bool all_groups_ = true;
  std::vector<MacAddress> groups_;
  bool send_blocked_ = false;
  bool keeps_joined_ = false;  // TCP segments, as far as buffers hold them
  // Of the frame at the ring's front, if that is one of several that were joined.
  UdpSegments segments_;
  std::vector<uint8_t> datagrams_;  // whose memory it may be
  JoinedSegments joined_;

  // Of one system call: messages, the pieces of all of them, and what frames they are.
  mmsghdr headers_[kSendFrames] = {};
  VirtioHeader virtio_[kSendFrames];
  JoinedRun runs_[kSendFrames];
  iovec pieces_[kSendPieces];
};

}  // namespace weft::linux_transport

#endif  // WEFT_TRANSPORTS_LINUX_PACKET_FRAME_PORT_H_
