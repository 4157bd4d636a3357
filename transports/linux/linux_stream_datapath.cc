// SPDX-License-Identifier: Apache-2.0
//
// LinuxStreamPort::Poll() and what it does for each stream.
#include <sys/epoll.h>
#include <sys/socket.h>

#include <bit>
#include <cerrno>
#include <utility>

#include "weft/transports/linux/linux_stream_port.h"

namespace weft::linux_transport {
namespace {

constexpr int kKernelEvents = 64;  // taken by one Poll()
constexpr int kAcceptsATurn = 16;
constexpr size_t kReadAtLeast = 16384;  // room to have for a read before a fresh chunk is taken
constexpr uint32_t kHungUp = EPOLLRDHUP | EPOLLHUP | EPOLLERR;

// The connection that was to be accepted has failed meanwhile; there may be another (accept(2)).
bool IsOfConnection(int error) {
  switch (error) {
    case EINTR:
    case ECONNABORTED:
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
      return true;
    default:
      return false;
  }
}

uint8_t Bit(StreamEvent::Kind kind) { return static_cast<uint8_t>(1 << static_cast<int>(kind)); }

}  // namespace

size_t LinuxStreamPort::Poll(absl::Span<StreamEvent> events) {
  AssertOwner();
  FreeClosedStreams();
  TakeTurns();  // what was committed leaves before anything else is looked at
  TakeKernelEvents();
  for (Listener& listener : listeners_) {
    if (listener.CanProgress()) Accept(listener);
  }
  TakeTurns();
  return DeliverEvents(events);
}

// One for each stream that stands in the work list now.
void LinuxStreamPort::TakeTurns() {
  auto turns = std::exchange(work_, {});
  while (!turns.empty()) TakeTurn(*turns.Pop());
}

void LinuxStreamPort::TakeKernelEvents() {
  epoll_event events[kKernelEvents];
  const int n = epoll_wait(epoll_.get(), events, kKernelEvents, 0);
  for (int i = 0; i < n; ++i) {
    const uint64_t data = events[i].data.u64;
    if ((data & kListenerTag) != 0) {
      Listener& listener = listeners_[data - kListenerTag];
      listener.may_accept = true;
      listener.starved = false;
    } else if (Stream* stream = Find({data});
               stream != nullptr && stream->state != State::kClosed) {
      OnKernelEvent(*stream, events[i].events);
    } else if ((events[i].events & (EPOLLIN | kHungUp)) != 0) {
      lingering_.OnReadable(data);
    }
  }
}

void LinuxStreamPort::OnKernelEvent(Stream& stream, uint32_t events) {
  if ((events & kHungUp) != 0) stream.hung_up = true;
  if ((events & (EPOLLIN | kHungUp)) != 0) stream.may_read = true;
  if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) stream.may_write = true;
  work_.Push(stream);
}

void LinuxStreamPort::Accept(Listener& listener) {
  for (int i = 0; i < kAcceptsATurn; ++i) {
    SocketAddress peer;
    UniqueFd fd(accept4(listener.fd.get(), &peer.any, &peer.length, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) {
      if (IsOfConnection(errno)) continue;
      if (errno == EAGAIN) {
        listener.may_accept = false;
      } else if (lingering_.CloseAll() == 0) {
        listener.starved = true;  // of descriptors or memory
      }
      return;
    }
    Stream* stream = NewStream(std::move(fd), peer, State::kOpen);
    if (stream == nullptr) {
      ++stats_.receive_dropped;
      continue;
    }
    stream->may_write = true;
    Raise(*stream, StreamEvent::Kind::kAccepted);
  }
}

void LinuxStreamPort::TakeTurn(Stream& stream) {
  if (stream.state == State::kFree || stream.state == State::kClosed) return;
  if (stream.state == State::kConnecting && !FinishConnecting(stream)) return;
  if (stream.may_write) Write(stream);
  if (stream.may_read && !stream.remote_closed && stream.in.HasRoom()) Read(stream);
  if (stream.state == State::kClosed) return;

  if (stream.state == State::kClosing) stream.in.Clear();
  if (stream.write_error != 0 && (!stream.may_read || stream.remote_closed)) {
    Retire(stream, stream.write_error);
  } else if (stream.write_closed &&
             (stream.state == State::kClosing || (stream.remote_closed && stream.in.empty()))) {
    Retire(stream, 0);
  } else {
    if (stream.wants_room && stream.out.HasRoom()) {
      stream.wants_room = false;
      Raise(stream, StreamEvent::Kind::kWritable);
    }
    if (CanProgress(stream)) work_.Push(stream);
  }
}

// Whether another turn would do something without news from the kernel.
bool LinuxStreamPort::CanProgress(const Stream& stream) const {
  if (stream.state != State::kOpen && stream.state != State::kClosing) return false;
  return (stream.may_write && !stream.out.empty()) ||
         (stream.may_read && !stream.remote_closed && stream.in.HasRoom()) ||
         (stream.write_closed && stream.remote_closed && stream.in.empty());
}

bool LinuxStreamPort::FinishConnecting(Stream& stream) {
  if (!stream.may_write) return false;
  int error = 0;
  socklen_t length = sizeof(error);
  if (getsockopt(stream.fd.get(), SOL_SOCKET, SO_ERROR, &error, &length) != 0) error = errno;
  if (error != 0) {
    Retire(stream, error);
    return false;
  }
  stream.state = State::kOpen;
  Raise(stream, StreamEvent::Kind::kConnected);
  return true;
}

void LinuxStreamPort::Write(Stream& stream) {
  if (!stream.out.empty()) {
    iovec pieces[ByteQueue::kChunks];
    msghdr header = {};
    header.msg_iov = pieces;
    header.msg_iovlen = stream.out.Pieces(pieces);
    // The end follows below: held back until then, the last bytes share a packet with it.
    const int more = stream.write_closing ? MSG_MORE : 0;
    const ssize_t n = sendmsg(stream.fd.get(), &header, MSG_NOSIGNAL | more);
    if (n < 0) {
      if (errno == EINTR) return;
      stream.may_write = false;
      if (errno == EAGAIN) return;
      // What the other side sent before it failed is still there to be read, and so may be the
      // reason.
      stream.write_error = errno;
      stream.may_read = true;
      stream.out.Clear();
      return;
    }
    if (static_cast<size_t>(n) < stream.out.size()) stream.may_write = false;
    stats_.sent_bytes += static_cast<size_t>(n);
    stream.out.Consume(static_cast<size_t>(n));
  }
  if (stream.write_closing && stream.out.empty() && !stream.write_closed) {
    shutdown(stream.fd.get(), SHUT_WR);
    stream.write_closed = true;
  }
}

void LinuxStreamPort::Read(Stream& stream) {
  absl::Span<uint8_t> room = stream.in.Room(kReadAtLeast);
  const ssize_t n = recv(stream.fd.get(), room.data(), room.size(), 0);
  const int error = n < 0 ? errno : 0;
  stream.in.Commit(n > 0 ? static_cast<size_t>(n) : 0);
  if (n > 0) {
    stats_.received_bytes += static_cast<size_t>(n);
    // Less than was asked for: that was all, and more is an event; but an end that has come already
    // is none.
    if (static_cast<size_t>(n) < room.size() && !stream.hung_up) stream.may_read = false;
    Raise(stream, StreamEvent::Kind::kReadable);
  } else if (n == 0 && stream.write_error != 0) {
    // The error was told once, to the write that failed; this need not be an end in good order.
    Retire(stream, stream.write_error);
  } else if (n == 0) {
    stream.may_read = false;
    stream.remote_closed = true;
    Raise(stream, StreamEvent::Kind::kRemoteClosed);
  } else if (error == EAGAIN) {
    stream.may_read = false;
  } else if (error != EINTR) {
    Retire(stream, error);
  }
}

void LinuxStreamPort::Raise(Stream& stream, StreamEvent::Kind kind) {
  if (stream.state == State::kClosing) return;
  stream.events |= Bit(kind);
  ready_.Push(stream);
}

void LinuxStreamPort::Retire(Stream& stream, int error) {
  if (error == 0 && stream.write_closed && !stream.remote_closed) {
    lingering_.Add(std::move(stream.fd), stream.id.value);
    // What has been told and not been read is not told again.
    if (stream.may_read) lingering_.OnReadable(stream.id.value);
  }
  stream.fd.Reset();
  stream.out.Clear();
  stream.state = State::kClosed;
  stream.error = error;
  Raise(stream, StreamEvent::Kind::kClosed);
  // There is a descriptor again.
  for (Listener& listener : listeners_) listener.starved = false;
}

size_t LinuxStreamPort::DeliverEvents(absl::Span<StreamEvent> events) {
  size_t n = 0;
  while (n < events.size() && !ready_.empty()) {
    Stream& stream = *ready_.front();
    if (stream.events == 0) {
      ready_.Pop();
      continue;
    }
    const auto kind = static_cast<StreamEvent::Kind>(std::countr_zero(stream.events));
    stream.events &= static_cast<uint8_t>(stream.events - 1);
    events[n++] = {.kind = kind,
                   .stream = stream.id,
                   .error = kind == StreamEvent::Kind::kClosed ? stream.error : 0};
    if (kind == StreamEvent::Kind::kClosed) closed_.push_back(&stream);
  }
  return n;
}

// Not before the next Poll(): until then the last bytes that arrived can still be read.
void LinuxStreamPort::FreeClosedStreams() {
  for (Stream* stream : closed_) {
    stream->in.Clear();
    stream->state = State::kFree;
    free_.push_back(static_cast<uint32_t>(stream->id.value & kIndexMask));
  }
  closed_.clear();
}

}  // namespace weft::linux_transport
