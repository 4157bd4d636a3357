// SPDX-License-Identifier: Apache-2.0
//
// The data path of TapFramePort: a system call for each frame, as TAP devices have no other way.
#include <sys/uio.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "weft/transports/linux/tap_frame_port.h"

namespace weft::linux_transport {

// --- Sending

size_t TapFramePort::Send(absl::Span<Buffer> burst) {
  AssertOwner();
  size_t done = 0;
  size_t sent = 0;
  size_t bytes = 0;
  while (done < burst.size() && status_.ok()) {
    Buffer& frame = burst[done];
    const Outcome outcome = frame && Sendable(frame) ? SendOne(frame) : Outcome::kLost;
    if (outcome == Outcome::kBlocked) {
      ++stats_.send_blocked;
      send_blocked_ = true;
      break;
    }
    if (outcome == Outcome::kDone) {
      ++sent;
      bytes += frame.size();
    } else {
      ++stats_.send_failed;
    }
    frame.Reset();
    ++done;
  }
  stats_.sent += sent;
  stats_.sent_bytes += bytes;
  return done;
}

TapFramePort::Outcome TapFramePort::SendOne(Buffer& frame) {
  VirtioHeader header;
  if (!offload_) {
    FillMissingChecksum(frame);
  } else if (!ToVirtio(frame, &header)) {
    return Outcome::kLost;
  }
  const iovec pieces[] = {{&header, sizeof(header)}, {frame.data(), frame.size()}};
  const iovec* const from = offload_ ? pieces : pieces + 1;
  while (writev(fd_.get(), from, offload_ ? 2 : 1) < 0) {
    switch (errno) {
      case EINTR:
        continue;
      case EAGAIN:
      case ENOBUFS:
      case ENOMEM:
        return Outcome::kBlocked;
      default:  // EIO: the link is down; EINVAL
        return Outcome::kLost;
    }
  }
  return Outcome::kDone;
}

// --- Receiving

size_t TapFramePort::Receive(absl::Span<Buffer> burst) {
  AssertOwner();
  CheckLink();
  size_t n = 0;
  size_t bytes = 0;
  // Those that are lost count too: a flood without buffers must not hold up the thread.
  for (size_t taken = 0; taken < burst.size() && status_.ok(); ++taken) {
    const Outcome outcome = ReceiveOne(burst[n]);
    if (outcome == Outcome::kBlocked) break;
    if (outcome == Outcome::kLost) {
      ++stats_.receive_dropped;
      continue;
    }
    bytes += burst[n].size();
    ++n;
  }
  if (n == 0) return 0;
  stats_.received += n;
  stats_.received_bytes += bytes;
  return n;
}

// When the pool is empty, frames are still taken from the device, and dropped: nothing else would
// show that there are any.
TapFramePort::Outcome TapFramePort::ReceiveOne(Buffer& out) {
  out.Reset();  // it may be the one that the pool lacks
  Buffer buffer = pool_.Allocate();
  VirtioHeader header = {};
  uint8_t too_long;  // is what reaches it
  const size_t room = buffer ? buffer.tailroom() : 0;
  const iovec pieces[] = {
      {&header, sizeof(header)}, {buffer ? buffer.data() : nullptr, room}, {&too_long, 1}};
  const iovec* const into = offload_ ? pieces : pieces + 1;
  ssize_t size;
  do {
    size = readv(fd_.get(), into, offload_ ? 3 : 2);
  } while (size < 0 && errno == EINTR);
  if (size < 0) {
    // EBADFD: the device has been removed; the link monitor says so too, in its time.
    if (errno == EBADFD) {
      Fail(absl::UnavailableError(absl::StrCat("'", device_name(), "' has been removed")));
    }
    return Outcome::kBlocked;
  }
  const size_t frame_bytes = static_cast<size_t>(size) - (offload_ ? sizeof(header) : 0);
  if (!buffer || frame_bytes > room) return Outcome::kLost;
  buffer.Append(frame_bytes);
  buffer.offload() = FromVirtio(header);
  out = std::move(buffer);
  return Outcome::kDone;
}

}  // namespace weft::linux_transport
