// SPDX-License-Identifier: Apache-2.0
//
// The data path of TapFramePort: a system call for each frame, as TAP devices have no other way.
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "weft/transports/linux/segment_joiner.h"
#include "weft/transports/linux/tap_frame_port.h"

namespace weft::linux_transport {
namespace {

constexpr size_t kPiecesMax = 64;  // of a frame that is joined from several

}  // namespace

// --- Sending

size_t TapFramePort::Send(absl::Span<Buffer> burst) {
  AssertOwner();
  size_t done = 0;
  size_t sent = 0;
  size_t bytes = 0;
  while (done < burst.size() && status_.ok()) {
    size_t frames = 1;
    const bool sendable = burst[done] && Sendable(burst[done]);
    const Outcome outcome = sendable ? SendSome(burst.subspan(done), &frames) : Outcome::kLost;
    if (outcome == Outcome::kBlocked) {
      ++stats_.send_blocked;
      send_blocked_ = true;
      break;
    }
    for (Buffer& frame : burst.subspan(done, frames)) {
      if (outcome == Outcome::kDone) bytes += frame.size();
      frame.Reset();
    }
    if (outcome == Outcome::kDone) {
      sent += frames;
    } else {
      stats_.send_failed += frames;
    }
    done += frames;
  }
  stats_.sent += sent;
  stats_.sent_bytes += bytes;
  return done;
}

TapFramePort::Outcome TapFramePort::SendSome(absl::Span<Buffer> burst, size_t* frames) {
  VirtioHeader header;
  iovec pieces[1 + kPiecesMax];
  pieces[0] = {&header, sizeof(header)};
  JoinedRun run;
  if (capabilities_.segmentation_offload) {
    run.Begin(burst, absl::MakeSpan(pieces).subspan(1));
  } else {
    run.BeginAlone(burst[0], &pieces[1]);
  }
  *frames = run.frames();
  if (!offload_) {
    FillMissingChecksum(burst[0]);
  } else if (!ToVirtio(burst[0], &header, run.frames() > 1)) {
    return Outcome::kLost;
  }
  const iovec* const from = offload_ ? pieces : pieces + 1;
  const int count = static_cast<int>(run.frames()) + (offload_ ? 1 : 0);
  while (writev(fd_.get(), from, count) < 0) {
    switch (errno) {
      case EINTR:
        continue;
      case EAGAIN:
      case ENOBUFS:
      case ENOMEM:
        run.Undo(burst[0]);
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
    const Outcome outcome = joined_ ? ReceiveJoined(burst[n]) : ReceiveOne(burst[n]);
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
    FailIfRemoved(errno);
    return Outcome::kBlocked;
  }
  const size_t frame_bytes = static_cast<size_t>(size) - (offload_ ? sizeof(header) : 0);
  if (!buffer || frame_bytes > room) return Outcome::kLost;
  buffer.Append(frame_bytes);
  buffer.offload() = FromVirtio(header);
  out = std::move(buffer);
  return Outcome::kDone;
}

// As ReceiveOne(), of frames of up to 64 KiB, to several buffers.
TapFramePort::Outcome TapFramePort::ReceiveJoined(Buffer& out) {
  if (!joined_->empty()) {
    out = joined_->Next();
    return Outcome::kDone;
  }
  out.Reset();
  joined_->Prepare(pool_, JoinedSegments::kAny);
  VirtioHeader header = {};
  uint8_t too_long;
  iovec pieces[JoinedSegments::kBuffersMax + 2];
  const absl::Span<const iovec> room = joined_->room();
  pieces[0] = {&header, sizeof(header)};
  std::copy(room.begin(), room.end(), pieces + 1);
  pieces[room.size() + 1] = {&too_long, 1};
  ssize_t size;
  do {
    size = readv(fd_.get(), pieces, static_cast<int>(room.size()) + 2);
  } while (size < 0 && errno == EINTR);
  if (size < 0) {
    FailIfRemoved(errno);
    return Outcome::kBlocked;
  }
  const size_t frame_bytes = static_cast<size_t>(size) - sizeof(header);
  if (!joined_->Take(frame_bytes, header)) return Outcome::kLost;
  out = joined_->Next();
  return Outcome::kDone;
}

// EBADFD: the device has been removed; the link monitor says so too, in its time.
void TapFramePort::FailIfRemoved(int error) {
  if (error != EBADFD) return;
  Fail(absl::UnavailableError(absl::StrCat("'", device_name(), "' has been removed")));
}

}  // namespace weft::linux_transport
