// SPDX-License-Identifier: Apache-2.0
//
// Receiving by LinuxDatagramPort: at most one system call where one will do.
//
// A message that the kernel has joined from several is cut by copying, unless such messages follow
// each other with segments of one size: those are received straight into a buffer a segment.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "weft/transports/linux/linux_datagram_port.h"

namespace weft::linux_transport {
namespace {

// Receives of one message that find one before the next asks for two. A loop that sleeps between
// messages makes no empty receive, and must not pay for a second look each time.
constexpr uint32_t kSinglesBeforeBatch = 8;

// Shorter segments are copied: a buffer and a piece of a message more cost about as much.
constexpr size_t kScatterBytesMin = 512;
// Receives without a joined message that end it. Each of them costs more than a plain one.
constexpr uint32_t kScatterMissesMax = 64;
// Buffers wait for segments: a smaller pool has none to spare.
constexpr size_t kScatterPoolMin = 512;

constexpr size_t kUdpMessageMax = 65535;

}  // namespace

size_t LinuxDatagramPort::Receive(absl::Span<Datagram> burst) {
  AssertOwner();
  if (receive_next_ == receive_filled_ && !Fill(burst.size())) return 0;
  size_t n = 0;
  while (n < burst.size() && receive_next_ < receive_filled_) n += Deliver(burst.subspan(n));
  return n;
}

// One system call. It asks for a single message while messages come one at a time, as looking for a
// second one costs; for more as soon as the last call got all it asked for.
bool LinuxDatagramPort::Fill(size_t wanted) {
  if (wanted == 0) return false;
  if (scatter_bytes_ != 0) return FillScattered();
  const size_t batch = std::min(receive_batch_, wanted);
  for (size_t i = 0; i < batch; ++i) {
    if (!receive_buffers_[i]) ProvideBuffer(i);
  }
  const int filled =
      batch == 1 ? ReceiveOne() : recvmmsg(fd_.get(), receive_headers_, batch, 0, nullptr);
  if (filled <= 0) {
    receive_batch_ = 1;
    full_receives_ = 0;
    if (errno != EAGAIN) TakeSocketErrors();
    return false;
  }
  receive_next_ = 0;
  receive_filled_ = static_cast<size_t>(filled);
  if (receive_filled_ < batch) {
    receive_batch_ = receive_filled_;
    full_receives_ = 0;
  } else if (batch > 1 || ++full_receives_ == kSinglesBeforeBatch) {
    receive_batch_ = std::min(2 * batch, kReceiveMessages);
    if (batch == kReceiveMessages && gro_ == Gro::kOnDemand) StartCoalescing();
  }
  return true;
}

// The plainest call that does it: 1, or -1 with errno set.
int LinuxDatagramPort::ReceiveOne() {
  mmsghdr& message = receive_headers_[0];
  ssize_t bytes;
  if (gro_ == Gro::kOn) {
    bytes = recvmsg(fd_.get(), &message.msg_hdr, 0);
  } else {
    const iovec& piece = receive_pieces_[0][0];
    bytes = recvfrom(fd_.get(), piece.iov_base, piece.iov_len, MSG_TRUNC, &receive_names_[0].any,
                     &message.msg_hdr.msg_namelen);
  }
  message.msg_len = static_cast<unsigned>(bytes);
  return bytes < 0 ? -1 : 1;
}

// From now on the kernel joins messages of one sender; what it has queued already stays as it is.
// There is no way back: one that has been joined could no longer be told apart.
void LinuxDatagramPort::StartCoalescing() {
  gro_ = SetOption(fd_, IPPROTO_UDP, UDP_GRO, 1) ? Gro::kOn : Gro::kOff;
  if (gro_ == Gro::kOff) return;
  for (mmsghdr& message : receive_headers_) message.msg_hdr.msg_iovlen = 2;
}

// When the pool is empty, messages are still taken from the socket, and dropped: nothing else would
// show that there are any.
void LinuxDatagramPort::ProvideBuffer(size_t index) {
  Buffer buffer = pool_.Allocate();
  receive_pieces_[index][0] = {};
  if (buffer) receive_pieces_[index][0] = {buffer.data(), buffer.tailroom()};
  receive_buffers_[index] = std::move(buffer);
}

// Makes header `index`, which the kernel has written to, fit for another call.
void LinuxDatagramPort::RenewHeader(size_t index) {
  msghdr& header = receive_headers_[index].msg_hdr;
  header.msg_namelen = sizeof(sockaddr_in6);
  header.msg_flags = 0;
  header.msg_controllen = gro_ == Gro::kOn ? sizeof(gro_controls_[index].bytes) : 0;
}

// As Fill(), with a buffer for each segment of the next message; what they do not hold goes to the
// stretch of `tails_` that it has anyway.
bool LinuxDatagramPort::FillScattered() {
  const size_t wanted = std::min(kSegments, kUdpMessageMax / scatter_bytes_ + 1);
  size_t n = 0;
  for (; n < wanted; ++n) {
    Buffer& buffer = scatter_buffers_[n];
    if (!buffer) {
      buffer = pool_.Allocate();
      if (!buffer) break;
      scatter_pieces_[n] = {buffer.data(), scatter_bytes_};
    }
  }
  scatter_room_ = n * scatter_bytes_;
  scatter_pieces_[n] = receive_pieces_[0][1];
  mmsghdr& message = receive_headers_[0];
  message.msg_hdr.msg_iov = scatter_pieces_;
  message.msg_hdr.msg_iovlen = n + 1;
  const ssize_t bytes = recvmsg(fd_.get(), &message.msg_hdr, 0);
  if (bytes < 0) {
    if (errno != EAGAIN) TakeSocketErrors();
    MissScattered();
    return false;
  }
  message.msg_len = static_cast<unsigned>(bytes);
  receive_next_ = 0;
  receive_filled_ = 1;
  return true;
}

// A receive that did not need the buffers of many segments.
void LinuxDatagramPort::MissScattered() {
  if (++scatter_misses_ == kScatterMissesMax) ScatterBy(0);
}

// From now on a buffer for every `bytes` of a message; 0: one for all of it. No message is left of
// the last call.
void LinuxDatagramPort::ScatterBy(size_t bytes) {
  scatter_misses_ = 0;
  if (bytes == scatter_bytes_) return;
  scatter_bytes_ = bytes;
  for (Buffer& buffer : scatter_buffers_) buffer.Reset();
  receive_headers_[0].msg_hdr.msg_iov = receive_pieces_[0];
  receive_headers_[0].msg_hdr.msg_iovlen = 2;
}

// Hands out as much of the current message as fits `burst`; returns how many datagrams that was.
size_t LinuxDatagramPort::Deliver(absl::Span<Datagram> burst) {
  const size_t index = receive_next_;
  const mmsghdr& message = receive_headers_[index];
  const bool scattered = message.msg_hdr.msg_iov == scatter_pieces_;
  size_t delivered;
  // There is a control message only if the kernel has coalesced.
  if (gro_ == Gro::kOn && message.msg_hdr.msg_controllen != 0) {
    const size_t segment_bytes = SegmentBytes(index);
    delivered = DeliverSegments(index, segment_bytes, burst);
    if (receive_offset_ < message.msg_len) return delivered;
    receive_offset_ = 0;
    if (scattered || receive_next_ + 1 == receive_filled_) ConsiderScattering(segment_bytes);
  } else if (scattered) {
    delivered = DeliverSegments(index, message.msg_len, burst.first(1));
    receive_offset_ = 0;
    if (message.msg_len > scatter_bytes_) {
      ScatterBy(0);
    } else {
      MissScattered();
    }
  } else {
    delivered = DeliverWhole(index, burst[0]) ? 1 : 0;
  }
  RenewHeader(index);
  ++receive_next_;
  return delivered;
}

// What the next messages probably are, after one with such segments.
void LinuxDatagramPort::ConsiderScattering(size_t segment_bytes) {
  const bool worth_it = segment_bytes >= kScatterBytesMin &&
                        segment_bytes <= pool_.payload_bytes() && pool_.count() >= kScatterPoolMin;
  ScatterBy(worth_it ? segment_bytes : 0);
}

bool LinuxDatagramPort::DeliverWhole(size_t index, Datagram& out) {
  const mmsghdr& message = receive_headers_[index];
  Buffer& buffer = receive_buffers_[index];
  if (!buffer || message.msg_len > buffer.tailroom() ||
      (message.msg_hdr.msg_flags & MSG_TRUNC) != 0) [[unlikely]] {
    ++stats_.receive_dropped;
    return false;
  }
  buffer.Append(message.msg_len);
  ++stats_.received;
  stats_.received_bytes += message.msg_len;
  out = {PeerOf(receive_names_[index]), std::move(buffer)};
  return true;
}

size_t LinuxDatagramPort::SegmentBytes(size_t index) const {
  int bytes;
  std::memcpy(&bytes, CMSG_DATA(reinterpret_cast<const cmsghdr*>(gro_controls_[index].bytes)),
              sizeof(bytes));
  return static_cast<size_t>(bytes);
}

size_t LinuxDatagramPort::DeliverSegments(size_t index, size_t segment_bytes,
                                          absl::Span<Datagram> burst) {
  const size_t message_bytes = receive_headers_[index].msg_len;
  const Peer peer = PeerOf(receive_names_[index]);
  size_t n = 0;
  size_t bytes = 0;
  do {
    const size_t size = std::min(segment_bytes, message_bytes - receive_offset_);
    Buffer buffer = TakeSegment(index, segment_bytes, size);
    if (buffer) [[likely]] {
      burst[n++] = {peer, std::move(buffer)};
      bytes += size;
    } else {
      ++stats_.receive_dropped;
    }
    receive_offset_ += size;
  } while (n < burst.size() && receive_offset_ < message_bytes);
  stats_.received += n;
  stats_.received_bytes += bytes;
  return n;
}

// The `size` bytes at receive_offset_: in the buffer that they were received into if that holds
// just them, else in a copy. Null without a buffer that has room.
Buffer LinuxDatagramPort::TakeSegment(size_t index, size_t segment_bytes, size_t size) {
  const mmsghdr& message = receive_headers_[index];
  const bool fits_pieces =
      segment_bytes == scatter_bytes_ || (size == message.msg_len && size <= scatter_bytes_);
  if (message.msg_hdr.msg_iov == scatter_pieces_ && fits_pieces && receive_offset_ < scatter_room_)
      [[likely]] {
    Buffer buffer = std::move(scatter_buffers_[receive_offset_ / scatter_bytes_]);
    buffer.Append(size);
    return buffer;
  }
  Buffer buffer = pool_.Allocate();
  if (!buffer || size > buffer.tailroom()) return Buffer();
  CopyOut(index, receive_offset_, {buffer.Append(size), size});
  ++stats_.copied_buffers;
  stats_.copied_bytes += size;
  return buffer;
}

// Bytes of message `index` from `offset` on, in whichever pieces they lie.
void LinuxDatagramPort::CopyOut(size_t index, size_t offset, absl::Span<uint8_t> out) const {
  for (const iovec* piece = receive_headers_[index].msg_hdr.msg_iov; !out.empty(); ++piece) {
    if (offset >= piece->iov_len) {
      offset -= piece->iov_len;
      continue;
    }
    const size_t n = std::min(out.size(), piece->iov_len - offset);
    std::memcpy(out.data(), static_cast<const uint8_t*>(piece->iov_base) + offset, n);
    out.remove_prefix(n);
    offset = 0;
  }
}

}  // namespace weft::linux_transport
