// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/joined_segments.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include "weft/core/bytes.h"
#include "weft/transports/linux/frame_headers.h"

namespace weft::linux_transport {
namespace {

using frame_headers::Headers;

// TCP flags that are the last segment's, and the first one's (RFC 9293, 3.1; RFC 3168, 6.1.2).
constexpr uint8_t kFinAndPush = 0x09;
constexpr uint8_t kCwr = 0x80;
// Of a VLAN: the kernel may have taken one out, which the port puts back.
constexpr size_t kTagBytes = 4;

// Of TCP, and where its header ends. False if it is not all in `frame`.
bool FindTcp(absl::Span<const uint8_t> frame, size_t frame_bytes, Headers* found, size_t* end) {
  if (!frame_headers::Find(frame, frame_bytes, found)) return false;
  if (found->protocol != frame_headers::kTcp) return false;
  const size_t tcp_bytes = size_t{4} * (frame[found->l4 + 12] >> 4);
  *end = found->l4 + tcp_bytes;
  return tcp_bytes >= frame_headers::kTcpBytes && tcp_bytes <= found->l4_bytes &&
         *end <= frame.size();
}

// Makes the headers of all segments those of the one that begins `before` bytes behind the first
// one's payload and has `payload` bytes.
struct Piece {
  size_t count;  // which it is
  size_t before;
  size_t payload;
  bool last;
};
void Correct(const Headers& headers, size_t header_bytes, const Piece& piece, uint8_t* frame) {
  uint8_t* const ip = frame + headers.l3;
  uint8_t* const tcp = frame + headers.l4;
  const size_t ip_header = headers.l4 - headers.l3;
  const size_t tcp_bytes = header_bytes - headers.l4 + piece.payload;
  if (headers.ipv4) {
    StoreBig16(ip + 2, static_cast<uint16_t>(ip_header + tcp_bytes));
    StoreBig16(ip + 4, static_cast<uint16_t>(LoadBig16(ip + 4) + piece.count));
    frame_headers::FillIpv4Checksum(ip, ip_header);
  } else {
    StoreBig16(ip + 4, static_cast<uint16_t>(tcp_bytes));
  }
  StoreBig32(tcp + 4, LoadBig32(tcp + 4) + static_cast<uint32_t>(piece.before));
  if (!piece.last) tcp[13] &= static_cast<uint8_t>(~kFinAndPush);
  if (piece.count > 0) tcp[13] &= static_cast<uint8_t>(~kCwr);
  StoreBig16(tcp + frame_headers::kTcpChecksum,
             frame_headers::PseudoHeaderSum(ip, headers.ipv4, frame_headers::kTcp, tcp_bytes));
}

}  // namespace

JoinedSegments::Layout JoinedSegments::Segments(absl::Span<const uint8_t> frame,
                                                const VirtioHeader& header) {
  Headers headers;
  size_t header_bytes;
  // As long as it says, however much of it is here.
  const bool found = FindTcp(frame, kFrameBytesMax, &headers, &header_bytes);
  if (!found || header.segment_bytes == 0) return kAny;
  // Very short ones go several together.
  const size_t most = size_t{header.segment_bytes} * (kBuffersMax - 1);
  const size_t piece = header.segment_bytes * ((kFrameBytesMax + most - 1) / most);
  return {.first = header_bytes + piece, .other = piece};
}

void JoinedSegments::Prepare(BufferPool& pool, const Layout& layout, size_t bytes) {
  count_ = 0;
  for (size_t room = 0; count_ < kBuffersMax && room < bytes; ++count_) {
    Buffer& buffer = buffers_[count_];
    if (!buffer) buffer = pool.Allocate();
    if (!buffer) {
      // The last of those that were kept.
      Buffer* const kept =
          std::find_if(std::rbegin(buffers_), std::rend(buffers_), [](const Buffer& other) {
            return bool{other};
          }).base();
      if (kept <= &buffer) return;
      buffer = std::move(kept[-1]);
    }
    const size_t n = std::min(count_ == 0 ? layout.first : layout.other, buffer.tailroom());
    room_[count_] = {buffer.data(), n};
    room += n;
  }
}

bool JoinedSegments::Take(size_t bytes, const VirtioHeader& header) {
  next_ = end_ = 0;
  size_t used = 0;
  for (size_t left = bytes; left > 0; ++used) {
    if (used == count_) {
      // Longer than what there was.
      for (Buffer& buffer : absl::MakeSpan(buffers_, used)) buffer.TrimBack(buffer.size());
      return false;
    }
    const size_t n = std::min(left, room_[used].iov_len);
    buffers_[used].Append(n);
    left -= n;
  }
  if (used == 0) return false;
  if (used > 1 && !(IsJoined(header) && WriteHeaders(absl::MakeSpan(buffers_, used), bytes))) {
    for (Buffer& buffer : absl::MakeSpan(buffers_, used)) buffer.Reset();
    return false;
  }
  for (Buffer& buffer : absl::MakeSpan(buffers_, used)) buffer.offload() = FromVirtio(header);
  end_ = used;
  return true;
}

bool JoinedSegments::Copy(absl::Span<const uint8_t> frame, const VirtioHeader& header) {
  size_t at = 0;
  for (const iovec& room : this->room()) {
    const size_t n = std::min(room.iov_len, frame.size() - at);
    std::memcpy(room.iov_base, frame.data() + at, n);
    at += n;
  }
  return Take(frame.size(), header);
}

// The first has the headers of all.
bool JoinedSegments::WriteHeaders(absl::Span<Buffer> segments, size_t bytes) {
  uint8_t* const first = segments[0].data();
  Headers headers;
  size_t header_bytes;
  if (!FindTcp(std::as_const(segments[0]).bytes(), bytes, &headers, &header_bytes)) return false;
  if (headers.l4 + headers.l4_bytes != bytes) return false;
  Piece piece = {.count = segments.size() - 1, .before = 0, .payload = 0, .last = true};
  size_t before = bytes - header_bytes;
  // The last one first, as the first one's headers are copied.
  for (; piece.count > 0; --piece.count) {
    Buffer& segment = segments[piece.count];
    if (segment.headroom() < header_bytes + kTagBytes) return false;
    piece.payload = segment.size();
    before -= piece.payload;
    piece.before = before;
    uint8_t* const frame = segment.Prepend(header_bytes);
    std::memcpy(frame, first, header_bytes);
    Correct(headers, header_bytes, piece, frame);
    piece.last = false;
  }
  Correct(headers, header_bytes, {.count = 0, .before = 0, .payload = before, .last = false},
          first);
  return true;
}

Buffer JoinedSegments::Next() { return std::move(buffers_[next_++]); }

}  // namespace weft::linux_transport
