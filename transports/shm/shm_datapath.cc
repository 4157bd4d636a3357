// SPDX-License-Identifier: Apache-2.0
//
// Sending and receiving: what happens for each burst and each message.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "weft/core/clock.h"
#include "weft/transports/shm/barrier.h"
#include "weft/transports/shm/shm_datagram_port.h"

namespace weft::shm {

size_t ShmDatagramPort::Send(absl::Span<Datagram> burst) {
  AssertOwner();
  Link* open = nullptr;  // written to, not yet committed and announced
  uint64_t sent = 0, bytes = 0;
  size_t taken = 0;
  for (; taken < burst.size(); ++taken) {
    Datagram& datagram = burst[taken];
    if (!datagram.buffer) [[unlikely]] {
      Drop(datagram);
      continue;
    }
    Link* link = Find(datagram.peer);
    const size_t size = datagram.size();
    if (link == nullptr || link->state != State::kOpen || size > max_payload_ ||
        size > link->writer.max_payload()) [[unlikely]] {
      Drop(datagram);
      continue;
    }
    const RecordWriter::Result result = link->writer.Put(datagram.buffer.bytes(), datagram.tail);
    if (result == RecordWriter::Result::kDone) [[likely]] {
      link->blocked = false;
      if (open != link) {
        if (open != nullptr) Show(*open);
        open = link;
      }
      datagram.buffer.Reset();
      datagram.tail = {};
      ++sent;
      bytes += size;
    } else if (result == RecordWriter::Result::kFull) {
      if (!OnFull(*link)) break;
      Drop(datagram);
    } else {
      if (open == link) open = nullptr;
      ++stats_.receive_malformed;
      Remove(*link, PortEvent::Kind::kPeerUnreachable, EPROTO);
      Drop(datagram);
    }
  }
  if (open != nullptr) Show(*open);
  stats_.sent += sent;
  stats_.sent_bytes += bytes;
  stats_.copied_buffers += sent;
  stats_.copied_bytes += bytes;
  if (taken < burst.size()) ++stats_.send_blocked;
  return taken;
}

// Lets the other side see what was written for it, and wakes it if it sleeps.
void ShmDatagramPort::Show(Link& link) {
  link.writer.Commit();
  link.session.Announce(kWakeOnData);
}

void ShmDatagramPort::Drop(Datagram& datagram) {
  datagram.buffer.Reset();
  datagram.tail = {};
  ++stats_.send_failed;
}

// True if the peer is stuck, so that what does not fit is to be dropped rather than waited with.
bool ShmDatagramPort::OnFull(Link& link) {
  const int64_t now_ns = RealClock().NowNs();
  const uint64_t consumed = link.writer.consumed_seen();
  link.blocked = true;
  if (link.full_since_ns == 0 || consumed - link.full_at >= link.session.memory.ring_bytes() / 2) {
    link.full_since_ns = now_ns;
    link.full_at = consumed;
    link.stuck = false;
    if (now_ns - link.stuck_at_ns > kForgiveNs) link.patience_ns = kPatienceNs;
  }
  if (!link.stuck && now_ns - link.full_since_ns >= link.patience_ns) {
    link.stuck = true;
    link.stuck_at_ns = now_ns;
    link.patience_ns /= 2;
    events_.Add({PortEvent::Kind::kPeerUnreachable, link.peer, ETIMEDOUT});
  }
  return link.stuck;
}

size_t ShmDatagramPort::Receive(absl::Span<Datagram> burst) {
  AssertOwner();
  control_->MaybeCheck();
  size_t received = 0;
  for (size_t looks = std::min(active_.size(), kMaxLooks); looks > 0; --looks) {
    if (cursor_ >= active_.size()) {
      if (active_.empty()) break;
      cursor_ = 0;
    }
    Link& link = *active_[cursor_++];
    if (link.reader.Empty()) continue;
    received += ReceiveFrom(link, burst.subspan(received));
    if (received == burst.size()) break;
  }
  if (leaving_ > 0) [[unlikely]]
    FinishLeaving();
  return received;
}

size_t ShmDatagramPort::ReceiveFrom(Link& link, absl::Span<Datagram> burst) {
  size_t received = 0;
  uint64_t bytes = 0;
  RecordReader::Result result = RecordReader::Result::kNone;
  // Looking for a record that is not there yet costs a cache line's way between two cores and back.
  // So: one record at a time while they come one at a time, and as many as came last time, and
  // more, once they come in bursts, whose lines are then asked for ahead of their turn.
  const size_t limit = std::min(burst.size(), link.burst);
  if (limit > 1) link.reader.PrefetchBurst();
  for (size_t looks = limit; looks > 0; --looks) {
    const uint8_t* payload;
    uint32_t size;
    if (limit > 1) link.reader.PrefetchAhead();
    result = link.reader.Peek(&payload, &size);
    if (result != RecordReader::Result::kRecord) break;
    if (size <= max_payload_) [[likely]] {
      Buffer buffer = pool_.Allocate();
      if (!buffer) [[unlikely]]
        break;  // it stays in the ring, which holds up its sender
      CopyBytes(buffer.Append(size), payload, size);
      Datagram& datagram = burst[received++];
      datagram.peer = link.peer;
      datagram.tail = {};
      datagram.buffer = std::move(buffer);
      bytes += size;
    } else {
      ++stats_.receive_dropped;  // from a peer with larger buffers than ours
    }
    link.reader.Pop(size);
  }
  link.burst = received == limit ? std::min(2 * limit, kMaxBurst) : std::max<size_t>(received, 1);
  // What is received is mostly answered, and the lines for that travel while the answer is made.
  if (received > 0) link.writer.PrefetchRoom(bytes + received * kRecordHeaderBytes);
  stats_.received += received;
  stats_.received_bytes += bytes;
  stats_.copied_buffers += received;
  stats_.copied_bytes += bytes;
  if (result == RecordReader::Result::kCorrupt) [[unlikely]] {
    ++stats_.receive_malformed;
    Remove(link, PortEvent::Kind::kPeerUnreachable, EPROTO);
  } else if (link.reader.Publish() && link.state == State::kOpen) {
    link.session.Announce(kWakeOnRoom);
  }
  return received;
}

// Of the other side's stores and ours around the barrier, at least one side sees the other's:
// either we see the data (or room) in the second look and stay awake, or the sender sees wake_on
// after it has stored the data, and wakes us. See barrier.h. The same holds for a sender with a
// fence of its own in Announce(), because FullBarrier() is a fence as well.
bool ShmDatagramPort::Arm() {
  AssertOwner();
  const auto work = [this] {
    return std::any_of(active_.begin(), active_.end(), [](const Link* link) {
      return !link->reader.Empty() || (link->blocked && link->writer.ReaderMoved());
    });
  };
  if (events_.KeepsAwake() || work()) return false;
  for (Link* link : active_) {
    link->session.memory.mine().wake_on.store(kWakeOnData | (link->blocked ? kWakeOnRoom : 0),
                                              std::memory_order_relaxed);
  }
  FullBarrier();
  if (!work()) return true;
  Disarm();
  return false;
}

void ShmDatagramPort::Disarm() {
  for (Link* link : active_) {
    link->session.memory.mine().wake_on.store(0, std::memory_order_relaxed);
  }
  control_->CheckSoon();  // whatever woke us lies in a socket
}

}  // namespace weft::shm
