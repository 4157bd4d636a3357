// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/linux_stream_port.h"

#include <netinet/tcp.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weft::linux_transport {
namespace {

// The kernel resets a connection (ETIMEDOUT) that is being closed and whose peer has taken nothing
// for this long.
constexpr int kClosingStalledMs = 60'000;

}  // namespace

absl::StatusOr<std::unique_ptr<StreamPort>> LinuxStreamPort::Open(const config::Linux& config,
                                                                  const BufferPoolOptions& buffers,
                                                                  const Capabilities& capabilities,
                                                                  const PortOptions& options) {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot open a stream port: epoll_create1: ", std::strerror(errno)));
  }
  return std::unique_ptr<StreamPort>(
      new LinuxStreamPort(config, buffers, capabilities, options.queues > 1, std::move(epoll)));
}

LinuxStreamPort::LinuxStreamPort(const config::Linux& config, const BufferPoolOptions& buffers,
                                 const Capabilities& capabilities, bool share_addresses,
                                 UniqueFd epoll)
    : StreamPort(capabilities, buffers),
      config_(config),
      share_addresses_(share_addresses),
      epoll_(std::move(epoll)) {}

Address LinuxStreamPort::local_address() const {
  return listeners_.empty() ? Address() : listeners_.front().address;
}

bool LinuxStreamPort::Arm() {
  AssertOwner();
  return work_.empty() && ready_.empty() &&
         std::none_of(listeners_.begin(), listeners_.end(),
                      [](const Listener& listener) { return listener.CanProgress(); });
}

bool LinuxStreamPort::Watch(int fd, uint32_t events, uint64_t data) {
  epoll_event event = {.events = events | EPOLLET, .data = {.u64 = data}};
  return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

absl::StatusOr<Address> LinuxStreamPort::Listen(const Address& address, int backlog) {
  AssertOwner();
  if (absl::Status status = CheckIp(address); !status.ok()) return status;
  absl::StatusOr<UniqueFd> fd = OpenBoundSocket(SOCK_STREAM, address, share_addresses_);
  if (!fd.ok()) return fd.status();
  // Accepted streams inherit it.
  if (config_.tcp_no_delay()) SetOption(*fd, IPPROTO_TCP, TCP_NODELAY, 1);
  backlog = std::clamp(backlog, 1, static_cast<int>(config_.listen_backlog()));
  if (listen(fd->get(), backlog) != 0) return SocketError(errno, "listen at", address);
  absl::StatusOr<SocketAddress> bound = BoundAddress(*fd);
  if (!bound.ok()) return bound.status();
  if (!Watch(fd->get(), EPOLLIN, kListenerTag + listeners_.size())) {
    return SocketError(errno, "watch", address);
  }
  listeners_.push_back({.fd = *std::move(fd), .address = ToAddress(*bound)});
  return listeners_.back().address;
}

absl::StatusOr<StreamId> LinuxStreamPort::Connect(const Address& address) {
  AssertOwner();
  if (absl::Status status = CheckIp(address); !status.ok()) return status;
  const SocketAddress peer = ToSocketAddress(address);
  const auto open = [&] {
    return UniqueFd(socket(peer.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  };
  UniqueFd fd = open();
  if (!fd && errno == EMFILE && lingering_.CloseAll() > 0) fd = open();
  if (!fd) return SocketError(errno, "open a socket for", address);
  if (config_.tcp_no_delay()) SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  const bool begun = connect(fd.get(), &peer.any, peer.length) == 0 || errno == EINPROGRESS;
  const int error = begun ? 0 : errno;
  Stream* stream = NewStream(std::move(fd), peer, State::kConnecting);
  if (stream == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot connect to ", address.ToString(), ": too many streams"));
  }
  if (!begun) Retire(*stream, error);
  return stream->id;
}

// Null when there are too many streams, or no memory in the kernel for one more.
LinuxStreamPort::Stream* LinuxStreamPort::NewStream(UniqueFd fd, const SocketAddress& peer,
                                                    State state) {
  if (free_.empty()) {
    if (streams_.size() > kIndexMask) return nullptr;
    const size_t index = streams_.size();
    streams_.emplace_back(chunks_).id.value = index;
    free_.push_back(static_cast<uint32_t>(index));
  }
  Stream& stream = streams_[free_.back()];
  const StreamId id = {stream.id.value + kGeneration};
  if (!Watch(fd.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP, id.value)) return nullptr;
  free_.pop_back();
  stream.id = id;
  stream.state = state;
  stream.fd = std::move(fd);
  stream.peer = peer;
  stream.may_read = stream.may_write = stream.hung_up = stream.remote_closed = false;
  stream.write_closing = stream.write_closed = stream.wants_room = false;
  stream.write_error = stream.error = 0;
  stream.events = 0;
  return &stream;
}

LinuxStreamPort::Stream* LinuxStreamPort::Find(StreamId id) {
  AssertOwner();
  const uint64_t index = id.value & kIndexMask;
  if (index >= streams_.size()) return nullptr;
  Stream& stream = streams_[index];
  return stream.id == id && stream.state != State::kFree ? &stream : nullptr;
}

const LinuxStreamPort::Stream* LinuxStreamPort::Find(StreamId id) const {
  return const_cast<LinuxStreamPort*>(this)->Find(id);
}

absl::Span<const uint8_t> LinuxStreamPort::ReadView(StreamId id) {
  const Stream* stream = Find(id);
  return stream == nullptr ? absl::Span<const uint8_t>() : stream->in.Front();
}

void LinuxStreamPort::Consume(StreamId id, size_t n) {
  Stream* stream = Find(id);
  if (stream == nullptr) return;
  stream->in.Consume(std::min(n, stream->in.Front().size()));
  if (CanProgress(*stream)) work_.Push(*stream);
}

absl::Span<uint8_t> LinuxStreamPort::Reserve(StreamId id, size_t wanted) {
  Stream* stream = Find(id);
  if (stream == nullptr || stream->state != State::kOpen || stream->write_closing ||
      stream->write_error != 0 || wanted == 0) {
    return {};
  }
  absl::Span<uint8_t> room = stream->out.Room(wanted);
  if (room.size() >= wanted) return room.first(wanted);
  stream->wants_room = true;
  work_.Push(*stream);
  return room;
}

void LinuxStreamPort::Commit(StreamId id, size_t n) {
  Stream* stream = Find(id);
  if (stream == nullptr || stream->state != State::kOpen || stream->write_closing) return;
  stream->out.Commit(n);
  if (stream->may_write) work_.Push(*stream);
}

void LinuxStreamPort::CloseWrite(StreamId id) {
  Stream* stream = Find(id);
  if (stream == nullptr) return;
  stream->write_closing = true;
  stream->wants_room = false;
  work_.Push(*stream);
}

void LinuxStreamPort::Close(StreamId id) {
  Stream* stream = Find(id);
  if (stream == nullptr || stream->state >= State::kClosing) return;
  stream->events = 0;
  stream->in.Clear();
  if (stream->state == State::kConnecting) {
    Retire(*stream, 0);
    return;
  }
  stream->state = State::kClosing;
  stream->write_closing = true;
  // A peer that never reads must not hold the slot, or the kernel's memory, for ever.
  SetOption(stream->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, kClosingStalledMs);
  work_.Push(*stream);
}

void LinuxStreamPort::Abort(StreamId id) {
  Stream* stream = Find(id);
  if (stream == nullptr || stream->state == State::kClosed) return;
  stream->events = 0;
  stream->in.Clear();
  const linger reset = {.l_onoff = 1, .l_linger = 0};
  setsockopt(stream->fd.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  Retire(*stream, ECONNABORTED);
}

absl::StatusOr<Address> LinuxStreamPort::PeerAddress(StreamId id) const {
  const Stream* stream = Find(id);
  if (stream == nullptr) return absl::NotFoundError("the stream is closed");
  return ToAddress(stream->peer);
}

}  // namespace weft::linux_transport
