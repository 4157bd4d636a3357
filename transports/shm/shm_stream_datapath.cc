// SPDX-License-Identifier: Apache-2.0
//
// Events, reading and writing of streams.
#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>

#include "weft/transports/shm/barrier.h"
#include "weft/transports/shm/shm_stream_port.h"

namespace weft::shm {

size_t ShmStreamPort::Poll(absl::Span<StreamEvent> events) {
  AssertOwner();
  control_->MaybeCheck();
  size_t taken = 0;
  for (size_t looks = std::min(active_.size(), kMaxLooks); looks > 0; --looks) {
    if (cursor_ >= active_.size()) {
      if (active_.empty()) break;
      cursor_ = 0;
    }
    taken += TakeNews(*active_[cursor_++], events.subspan(taken));
    if (taken == events.size()) break;
  }
  return taken;
}

// Tells what has happened since the last time, in the order in which it is to be told. What ends
// the stream takes effect only in a later call, so that bytes announced before can be read.
size_t ShmStreamPort::TakeNews(Stream& stream, absl::Span<StreamEvent> events) {
  size_t n = 0;
  const auto tell = [&](StreamEvent::Kind kind, int error = 0) {
    if (n == events.size()) return false;
    events[n++] = {kind, stream.id, error};
    return true;
  };
  if (stream.state == State::kClosed) {
    if (tell(StreamEvent::Kind::kClosed, stream.error)) Release(stream);
    return n;
  }
  if (stream.state == State::kConnecting) return n;
  if (!stream.greeted) {
    stream.greeted =
        tell(stream.accepted ? StreamEvent::Kind::kAccepted : StreamEvent::Kind::kConnected);
    if (!stream.greeted) return n;
  }
  if (!stream.reader.Look() || stream.writer.corrupt()) [[unlikely]] {
    ++stats_.receive_malformed;
    EndSession(stream, EPROTO);
    return n;
  }
  if (stream.reader.seen() != stream.told && !stream.reader.reset()) {
    if (!tell(StreamEvent::Kind::kReadable)) return n;
    stream.told = stream.reader.seen();
  }
  if (stream.wants_room && stream.writer.has_room()) {
    if (!tell(StreamEvent::Kind::kWritable)) return n;
    stream.wants_room = false;
  }
  if (stream.reader.fin() && !stream.remote_closed && !stream.reader.reset()) {
    if (!tell(StreamEvent::Kind::kRemoteClosed)) return n;
    stream.remote_closed = true;
  }
  if (n > 0) return n;
  if (const int end = EndOf(stream); end != kGoesOn) EndSession(stream, end);
  return 0;
}

// The error it ends with, or kGoesOn.
int ShmStreamPort::EndOf(const Stream& stream) {
  if (stream.reader.reset()) return ECONNRESET;
  const bool all_read = stream.begin == stream.end && stream.reader.available() == 0;
  if (stream.remote_closed && stream.write_closed && all_read) return 0;
  if (stream.broken) return EPIPE;
  // A peer that has gone did so in good order if it said so and had read all that we sent.
  const bool lost = !stream.write_closed && !stream.writer.drained();
  if (stream.peer_gone && (!stream.remote_closed || lost)) return ECONNRESET;
  return kGoesOn;
}

absl::Span<const uint8_t> ShmStreamPort::ReadView(StreamId id) {
  AssertOwner();
  Stream* stream = FindOpen(id);
  if (stream == nullptr) return {};
  if (stream->reader.Look() && stream->reader.available() > 0) FillInbox(*stream);
  return {stream->inbox.get() + stream->begin, stream->end - stream->begin};
}

void ShmStreamPort::FillInbox(Stream& stream) {
  // Twice what is shown, so that what is not consumed moves to the front only after as much has
  // been consumed as is moved.
  constexpr size_t kSpace = 2 * kInboxBytes;
  if (stream.inbox == nullptr) stream.inbox = std::make_unique_for_overwrite<uint8_t[]>(kSpace);
  const size_t shown = stream.end - stream.begin;
  if (shown == 0 || stream.end == kSpace) {
    std::memmove(stream.inbox.get(), stream.inbox.get() + stream.begin, shown);
    stream.begin = 0;
    stream.end = shown;
  }
  const size_t copied = stream.reader.CopyOut(stream.inbox.get() + stream.end,
                                              std::min(kInboxBytes - shown, kSpace - stream.end));
  if (copied == 0) return;
  stream.end += copied;
  if (stream.reader.available() == 0) stream.told = stream.reader.seen();  // no event for these
  stream.session.Announce(kWakeOnRoom);
  ++stats_.received;
  stats_.received_bytes += copied;
  ++stats_.copied_buffers;
  stats_.copied_bytes += copied;
}

void ShmStreamPort::Consume(StreamId id, size_t n) {
  AssertOwner();
  Stream* stream = FindOpen(id);
  if (stream == nullptr) return;
  assert(n <= stream->end - stream->begin);
  stream->begin += n;
}

absl::Span<uint8_t> ShmStreamPort::Reserve(StreamId id, size_t wanted) {
  AssertOwner();
  Stream* stream = FindOpen(id);
  if (stream == nullptr || !stream->greeted || stream->write_closed) return {};
  if (stream->peer_gone) {
    stream->broken = true;
    return {};
  }
  const absl::Span<uint8_t> room = stream->writer.Reserve(wanted);
  if (room.size() < wanted) stream->wants_room = true;
  return room;
}

void ShmStreamPort::Commit(StreamId id, size_t n) {
  AssertOwner();
  Stream* stream = FindOpen(id);
  if (stream == nullptr || stream->write_closed || n == 0) return;
  stream->writer.Commit(n);
  stream->session.Announce(kWakeOnData);
  ++stats_.sent;
  stats_.sent_bytes += n;
}

bool ShmStreamPort::HasNews(Stream& stream) const {
  if (stream.state == State::kClosed) return true;
  if (stream.state == State::kConnecting) return false;
  return !stream.greeted || !stream.reader.Look() || stream.writer.corrupt() ||
         stream.reader.reset() || stream.reader.seen() != stream.told ||
         (stream.reader.fin() && !stream.remote_closed) ||
         (stream.wants_room && stream.writer.has_room()) || EndOf(stream) != kGoesOn;
}

// As ShmDatagramPort::Arm().
bool ShmStreamPort::Arm() {
  AssertOwner();
  const auto news = [this] {
    return std::any_of(active_.begin(), active_.end(),
                       [this](Stream* stream) { return HasNews(*stream); });
  };
  if (news()) return false;
  for (Stream* stream : active_) {
    stream->session.memory.mine().wake_on.store(
        kWakeOnData | (stream->wants_room ? kWakeOnRoom : 0), std::memory_order_relaxed);
  }
  FullBarrier();
  if (!news()) return true;
  Disarm();
  return false;
}

void ShmStreamPort::Disarm() {
  for (Stream* stream : active_) {
    if (!stream->session.memory) continue;
    stream->session.memory.mine().wake_on.store(0, std::memory_order_relaxed);
  }
  control_->CheckSoon();  // whatever woke us lies in a socket
}

}  // namespace weft::shm
