// SPDX-License-Identifier: Apache-2.0
//
// The data path of PacketFramePort: one system call a burst sent, none to receive.
#include <linux/if_packet.h>

#include <algorithm>
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
    size_t messages = 0;
    size_t taken = Gather(rest, &messages);
    if (taken != 0) {
      taken = SendGathered(rest.first(taken), messages);
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

// Describes the first frames of `burst`, up to one that can never be sent, for one system call:
// `*messages` of it.
size_t PacketFramePort::Gather(absl::Span<Buffer> burst, size_t* messages) {
  size_t n = 0;
  size_t used = 0;  // of pieces_
  size_t count = 0;
  while (n < burst.size() && count < kSendFrames && used + 2 <= kSendPieces) {
    Buffer& frame = burst[n];
    if (!frame || !Sendable(frame)) break;
    const absl::Span<iovec> pieces = absl::MakeSpan(pieces_).subspan(used);
    JoinedRun& run = runs_[count];
    if (capabilities_.segmentation_offload) {
      run.Begin(burst.subspan(n), pieces.subspan(1));
    } else {
      run.BeginAlone(frame, &pieces[1]);
    }
    if (!ToVirtio(frame, &virtio_[count], run.frames() > 1)) {
      run.Undo(frame);
      break;
    }
    pieces[0] = {&virtio_[count], sizeof(virtio_[count])};
    headers_[count].msg_hdr.msg_iov = pieces.data();
    headers_[count].msg_hdr.msg_iovlen = 1 + run.frames();
    used += 1 + run.frames();
    n += run.frames();
    ++count;
  }
  *messages = count;
  return n;
}

// How many of `burst`, which has been gathered, are gone; 0: try again later.
size_t PacketFramePort::SendGathered(absl::Span<Buffer> burst, size_t messages) {
  for (;;) {
    int sent;
    if (messages == 1) {
      sent = sendmsg(sockets_.send.get(), &headers_[0].msg_hdr, 0) < 0 ? -1 : 1;
    } else {
      sent = sendmmsg(sockets_.send.get(), headers_, static_cast<unsigned>(messages), 0);
    }
    if (sent < 0 && errno == EINTR) continue;
    const int error = errno;
    const size_t gone = sent > 0 ? static_cast<size_t>(sent) : 0;
    size_t frames = 0;  // of those that are gone
    for (size_t i = 0, at = 0; i < messages; at += runs_[i++].frames()) {
      if (i < gone) {
        frames += runs_[i].frames();
      } else {
        runs_[i].Undo(burst[at]);
      }
    }
    if (gone > 0) {
      Sent(burst.first(frames));
      return frames;
    }
    if (!GiveUp(error)) return 0;
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
  for (size_t taken = 0; taken < burst.size() && !(joined_.empty() && ring_.empty()); ++taken) {
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
  const bool datagrams = UdpSegments::IsJoined(packet.virtio);
  const bool whole = packet.wire_size <= packet.size;
  if (!datagrams && (!whole || JoinedSegments::IsJoined(packet.virtio))) {
    return DeliverJoined(packet, out);
  }
  if (datagrams) [[unlikely]] {
    if (!segments_.valid()) BeginDatagrams(packet);
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
    out = Copy(packet);
    ring_.Pop();
  }
  if (!out) [[unlikely]] {
    ++stats_.receive_dropped;
    return false;
  }
  if (packet.status & TP_STATUS_VLAN_VALID) RestoreTag(packet, out);
  return true;
}

// The frame at the ring's front, or a part of it: it is longer than its slot, or several segments
// of TCP that were joined.
bool PacketFramePort::DeliverJoined(const ReceivedPacket& packet, Buffer& out) {
  bool there = !joined_.empty();
  if (!there) {
    const absl::Span<const uint8_t> begin(packet.data, packet.size);
    joined_.Prepare(
        pool_,
        keeps_joined_ ? JoinedSegments::kAny : JoinedSegments::Segments(begin, packet.virtio),
        packet.wire_size);
    if (packet.wire_size <= packet.size) {
      there = joined_.Copy(begin, packet.virtio);
    } else {
      VirtioHeader header = {};
      const size_t size = ReadQueued(packet, joined_.room(), &header);
      there = size > 0 && joined_.Take(size, header);
    }
  }
  if (there) out = joined_.Next();
  if (there && (packet.status & TP_STATUS_VLAN_VALID) != 0) RestoreTag(packet, out);
  if (joined_.empty()) ring_.Pop();
  if (!there) ++stats_.receive_dropped;
  return there;
}

void PacketFramePort::BeginDatagrams(const ReceivedPacket& packet) {
  if (packet.wire_size <= packet.size) {
    segments_ = UdpSegments({packet.data, packet.size}, packet.virtio);
    return;
  }
  datagrams_.resize(JoinedSegments::kFrameBytesMax);
  const iovec room = {datagrams_.data(), datagrams_.size()};
  VirtioHeader header = {};
  const size_t size = ReadQueued(packet, {&room, 1}, &header);
  if (size > 0 && size <= datagrams_.size()) {
    segments_ = UdpSegments({datagrams_.data(), size}, header);
  }
}

// Reads from the socket's queue what no slot of the ring holds: the whole frame, whose length is
// returned, however much of it there was room for; 0 if it is lost.
size_t PacketFramePort::ReadQueued(const ReceivedPacket& packet, absl::Span<const iovec> room,
                                   VirtioHeader* header) {
  if ((packet.status & TP_STATUS_COPY) == 0) return 0;
  iovec pieces[JoinedSegments::kBuffersMax + 1];
  pieces[0] = {header, sizeof(*header)};
  std::copy(room.begin(), room.end(), pieces + 1);
  msghdr message = {};
  message.msg_iov = pieces;
  message.msg_iovlen = 1 + room.size();
  ssize_t size;
  // An error of the socket, as of a link that went down, is told once, and the frame still waits:
  // if it stayed there, each of the ring's would be taken for the one before it from then on.
  int tries = 4;
  do {
    size = recvmsg(sockets_.receive.get(), &message, MSG_DONTWAIT | MSG_TRUNC);
  } while (size < 0 && errno != EAGAIN && --tries > 0);
  if (size < static_cast<ssize_t>(sizeof(*header))) return 0;
  return static_cast<size_t>(size) - sizeof(*header);
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
