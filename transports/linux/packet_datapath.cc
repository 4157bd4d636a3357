// SPDX-License-Identifier: Apache-2.0
//
// The data path of PacketFramePort: one system call a burst sent, none to receive.
#include <linux/if_packet.h>

#include <cerrno>
#include <cstring>

#include "weft/core/bytes.h"
#include "weft/transports/linux/packet_frame_port.h"

namespace weft::linux_transport {
namespace {

constexpr size_t kMacsBytes = 12;
constexpr size_t kVlanBytes = 4;
constexpr uint16_t kVlanType = 0x8100;

// Puts the tag that the kernel has taken out of `frame` back to where it was.
void RestoreTag(const ReceivedPacket& packet, Buffer& frame) {
  uint8_t* const data = frame.Prepend(kVlanBytes);
  std::memmove(data, data + kVlanBytes, kMacsBytes);
  const bool typed = (packet.status & TP_STATUS_VLAN_TPID_VALID) != 0;
  StoreBig16(data + kMacsBytes, typed ? packet.vlan_tpid : kVlanType);
  StoreBig16(data + kMacsBytes + 2, packet.vlan_tci);
}

}  // namespace

// --- Sending

size_t PacketFramePort::Send(absl::Span<Buffer> burst) {
  AssertOwner();
  size_t done = 0;
  while (done < burst.size() && status_.ok()) {
    const absl::Span<Buffer> rest = burst.subspan(done);
    size_t taken = Gather(rest);
    if (taken != 0) {
      taken = SendGathered(rest.first(taken));
    } else {
      Drop(rest[0]);
      taken = 1;
    }
    if (taken == 0) {
      ++stats_.send_blocked;
      send_blocked_ = true;
      break;
    }
    done += taken;
  }
  return done;
}

// Describes the first frames of `burst`, up to one that can never be sent, for one system call.
size_t PacketFramePort::Gather(absl::Span<Buffer> burst) {
  size_t n = 0;
  for (; n < burst.size() && n < kSendFrames; ++n) {
    Buffer& frame = burst[n];
    if (!frame || !Sendable(frame) || !ToVirtio(frame, &virtio_[n])) break;
    pieces_[n][1] = {frame.data(), frame.size()};
  }
  return n;
}

// How many of `burst`, which has been gathered, are gone; 0: try again later.
size_t PacketFramePort::SendGathered(absl::Span<Buffer> burst) {
  for (;;) {
    int sent;
    if (burst.size() == 1) {
      sent = sendmsg(sockets_.send.get(), &headers_[0].msg_hdr, 0) < 0 ? -1 : 1;
    } else {
      sent = sendmmsg(sockets_.send.get(), headers_, static_cast<unsigned>(burst.size()), 0);
    }
    if (sent > 0) {
      Sent(burst.first(static_cast<size_t>(sent)));
      return static_cast<size_t>(sent);
    }
    if (errno == EINTR) continue;
    if (!GiveUp(errno)) return 0;
    Drop(burst[0]);
    return 1;
  }
}

// Whether the frame that was refused with `error` is lost, rather than to be tried again.
bool PacketFramePort::GiveUp(int error) {
  switch (error) {
    case EAGAIN:
    case ENOMEM:
      return false;
    case ENOBUFS:
      // The device's queue is full, or, without a queue in front of it, the link is down.
      LookAtLink();
      return !link_up();
    case ENXIO:
    case ENODEV:
      LookAtLink();
      return true;
    default:  // ENETDOWN, EMSGSIZE, EINVAL
      return true;
  }
}

void PacketFramePort::Sent(absl::Span<Buffer> frames) {
  size_t bytes = 0;
  for (Buffer& frame : frames) {
    bytes += frame.size();
    frame.Reset();
  }
  stats_.sent += frames.size();
  stats_.sent_bytes += bytes;
}

void PacketFramePort::Drop(Buffer& frame) {
  ++stats_.send_failed;
  frame.Reset();
}

// --- Receiving

size_t PacketFramePort::Receive(absl::Span<Buffer> burst) {
  AssertOwner();
  if (CheckLink()) [[unlikely]]
    ClearSocketError();
  if (!status_.ok()) [[unlikely]]
    return 0;
  size_t n = 0;
  size_t bytes = 0;
  // Those that are lost count too: a flood without buffers must not hold up the thread.
  for (size_t taken = 0; taken < burst.size() && !ring_.empty(); ++taken) {
    if (!Deliver(burst[n])) continue;
    bytes += burst[n].size();
    ++n;
  }
  if (n == 0) return 0;
  stats_.received += n;
  stats_.received_bytes += bytes;
  stats_.copied_buffers += n;
  stats_.copied_bytes += bytes;
  return n;
}

// Takes the frame at the ring's front, or one of those that were joined to it. False if it is lost.
bool PacketFramePort::Deliver(Buffer& out) {
  out.Reset();  // it may be the one that the pool lacks
  ReceivedPacket packet;
  ring_.Peek(&packet);
  if (packet.status & TP_STATUS_LOSING) [[unlikely]]
    CountDrops();
  const bool whole = packet.wire_size <= packet.size;
  if (whole && UdpSegments::IsJoined(packet.virtio)) [[unlikely]] {
    if (!segments_.valid()) segments_ = UdpSegments({packet.data, packet.size}, packet.virtio);
    if (!segments_.valid()) {
      ring_.Pop();
      ++stats_.receive_malformed;
      return false;
    }
    out = CopySegment();
    if (segments_.done()) {
      segments_ = {};
      ring_.Pop();
    }
  } else {
    if (whole) out = Copy(packet);
    ring_.Pop();
  }
  if (!out) [[unlikely]] {
    ++stats_.receive_dropped;
    return false;
  }
  if (packet.status & TP_STATUS_VLAN_VALID) RestoreTag(packet, out);
  return true;
}

// Null when it does not fit a buffer, or there is none.
Buffer PacketFramePort::Copy(const ReceivedPacket& packet) {
  Buffer buffer = pool_.Allocate();
  if (!buffer || packet.size > buffer.tailroom() || packet.size < kEthernetBytes) [[unlikely]] {
    return Buffer();
  }
  std::memcpy(buffer.Append(packet.size), packet.data, packet.size);
  buffer.offload() = FromVirtio(packet.virtio);
  return buffer;
}

Buffer PacketFramePort::CopySegment() {
  Buffer buffer = pool_.Allocate();
  if (!buffer || segments_.next_bytes() > buffer.tailroom()) {
    segments_.Skip();
    return Buffer();
  }
  segments_.Next(buffer);
  return buffer;
}

// What the kernel could not put in the ring. Reading starts its count anew.
void PacketFramePort::CountDrops() {
  tpacket_stats_v3 drops = {};
  socklen_t size = sizeof(drops);
  if (getsockopt(sockets_.receive.get(), SOL_PACKET, PACKET_STATISTICS, &drops, &size) == 0) {
    stats_.receive_dropped += drops.tp_drops;
  }
}

// An interface that goes down leaves an error, which would end every wait.
void PacketFramePort::ClearSocketError() {
  int error;
  socklen_t size = sizeof(error);
  getsockopt(sockets_.receive.get(), SOL_SOCKET, SO_ERROR, &error, &size);
}

}  // namespace weft::linux_transport
