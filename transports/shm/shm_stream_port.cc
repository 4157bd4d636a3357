// SPDX-License-Identifier: Apache-2.0
//
// Streams come and go; their data path is in shm_stream_datapath.cc.
#include "weft/transports/shm/shm_stream_port.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/transports/shm/shm_transport.h"

namespace weft::shm {
namespace {

absl::Status CheckAddress(const Address& address) {
  if (address.kind() == Address::Kind::kShm) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      address.ToString(), " is not an address of shared memory: those look like shm:NAME"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ShmStreamPort>> ShmStreamPort::Open(ShmTransport* transport,
                                                                   const Settings& settings,
                                                                   const PortOptions& options) {
  std::unique_ptr<ShmStreamPort> port(new ShmStreamPort(transport, settings, options));
  absl::StatusOr<std::unique_ptr<Control>> control =
      Control::Create(port.get(), Contract::kStreams, settings.ring_bytes);
  if (!control.ok()) return control.status();
  port->control_ = *std::move(control);
  return port;
}

ShmStreamPort::ShmStreamPort(ShmTransport* transport, const Settings& settings,
                             const PortOptions& options)
    : StreamPort(settings.capabilities, settings.buffers),
      transport_(transport),
      directory_(settings.directory),
      ring_bytes_(settings.ring_bytes),
      max_peers_(settings.max_peers),
      queue_(options.queue),
      queues_(options.queues),
      name_(MakeClientName()) {}

ShmStreamPort::~ShmStreamPort() {
  for (Stream* stream : active_) {
    if (stream->state == State::kOpen) stream->writer.End(kReset);
    if (stream->listener != nullptr) stream->listener->AddPeers(stream->queue, -1);
  }
}

absl::StatusOr<Address> ShmStreamPort::Listen(const Address& address, int backlog) {
  AssertOwner();
  if (absl::Status status = CheckAddress(address); !status.ok()) return status;
  absl::StatusOr<std::shared_ptr<Listener>> listener = transport_->Listen(
      address.name(), Contract::kStreams, std::clamp(backlog, 1, SOMAXCONN), queue_, queues_);
  if (!listener.ok()) return listener.status();
  if (absl::Status status = control_->Listen(*std::move(listener), queue_); !status.ok()) {
    return status;
  }
  if (!std::exchange(listening_, true)) name_ = address.name();
  return address;
}

absl::StatusOr<StreamId> ShmStreamPort::Connect(const Address& address) {
  AssertOwner();
  if (absl::Status status = CheckAddress(address); !status.ok()) return status;
  if (active_.size() >= max_peers_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("this port has its ", max_peers_, " streams: raise transport.shm.max_peers"));
  }
  if (absl::Status status = directory_.CheckToConnect(); !status.ok()) return status;
  absl::StatusOr<Session> session =
      shm::Connect(directory_.SocketPath(address.name(), Contract::kStreams), Contract::kStreams,
                   name_, ring_bytes_);
  if (absl::IsNotFound(session.status()) || absl::IsUnavailable(session.status())) {
    // As with TCP, that nobody accepts is an event.
    Stream& stream = AddStream(State::kClosed);
    stream.error = ECONNREFUSED;
    return stream.id;
  }
  if (!session.ok()) return session.status();
  session->peer_name = address.name();
  Stream& stream = AddStream(State::kConnecting);
  const StreamId id = stream.id;
  if (absl::Status status = AttachSession(stream, *std::move(session)); !status.ok()) {
    return status;
  }
  return id;
}

absl::StatusOr<Address> ShmStreamPort::PeerAddress(StreamId id) const {
  const Stream* stream = Find(id);
  if (stream == nullptr || stream->session.peer_name.empty()) {
    return absl::NotFoundError("no such stream of this port, or it has closed");
  }
  return Address::Shm(stream->session.peer_name);
}

absl::StatusOr<Address> ShmStreamPort::LocalAddress(StreamId id) const {
  if (absl::StatusOr<Address> peer = PeerAddress(id); !peer.ok()) return peer.status();
  const Stream* stream = Find(id);
  return Address::Shm(stream->listener != nullptr ? stream->listener->name() : name_);
}

ShmStreamPort::Stream* ShmStreamPort::Find(StreamId id) const {
  const uint64_t index = (id.value & 0xffffffff) - 1;
  if (index >= streams_.size() || streams_[index]->id != id) return nullptr;
  return streams_[index].get();
}

ShmStreamPort::Stream* ShmStreamPort::FindOpen(StreamId id) const {
  Stream* stream = Find(id);
  return stream != nullptr && stream->state == State::kOpen ? stream : nullptr;
}

ShmStreamPort::Stream& ShmStreamPort::AddStream(State state) {
  auto free = std::find_if(streams_.begin(), streams_.end(),
                           [](const auto& stream) { return stream->state == State::kFree; });
  const auto index = static_cast<size_t>(free - streams_.begin());
  if (free == streams_.end()) streams_.push_back(std::make_unique<Stream>());
  Stream& stream = *streams_[index];
  ++stream.generation;
  stream.id = {uint64_t{stream.generation} << 32 | (index + 1)};
  stream.state = state;
  active_.push_back(&stream);
  return stream;
}

// On failure the stream is released.
absl::Status ShmStreamPort::AttachSession(Stream& stream, Session&& session) {
  const auto index = static_cast<uint32_t>((stream.id.value & 0xffffffff) - 1);
  if (absl::Status status = control_->Watch(session.socket.get(), index); !status.ok()) {
    Release(stream);
    return status;
  }
  const SharedMemory& memory = session.memory;
  stream.reader = ByteReader(memory.their_ring(), memory.ring_bytes(), &memory.theirs().produced,
                             &memory.mine().consumed);
  stream.writer = ByteWriter(memory.my_ring(), memory.ring_bytes(), &memory.mine().produced,
                             &memory.theirs().consumed);
  stream.session = std::move(session);
  return absl::OkStatus();
}

int ShmStreamPort::OnSession(Session& session, const std::shared_ptr<Listener>& listener,
                             int queue) {
  if (active_.size() >= max_peers_) return ENOBUFS;
  Stream& stream = AddStream(State::kOpen);
  if (!AttachSession(stream, std::move(session)).ok()) return ENOMEM;
  stream.accepted = true;
  stream.listener = listener;
  stream.queue = queue;
  listener->AddPeers(queue, 1);
  return 0;
}

void ShmStreamPort::OnReadable(uint32_t index) {
  constexpr int kMaxNotices = 16;  // at a time; the rest keeps the socket readable
  Stream& stream = *streams_[index];
  const auto live = [&] {
    return (stream.state == State::kConnecting || stream.state == State::kOpen) &&
           !stream.peer_gone;
  };
  Notice notice;
  for (int i = 0; i < kMaxNotices && live(); ++i) {
    switch (ReceiveNotice(stream.session.socket.get(), &notice)) {
      case Received::kNothing:
        return;
      case Received::kEnd:
        if (stream.state == State::kConnecting) return EndSession(stream, ECONNREFUSED);
        stream.peer_gone = true;
        control_->Unwatch(stream.session.socket.get());
        return;
      case Received::kGarbage:
        ++stats_.receive_malformed;
        return EndSession(stream, EPROTO);
      case Received::kNotice:
        break;
    }
    if (notice.kind == Notice::Kind::kWelcome && stream.state == State::kConnecting) {
      stream.state = State::kOpen;
      stream.session.needs_fence = !(notice.flags & OwnFlags() & Hello::kIssuesBarrier);
    } else if (notice.kind == Notice::Kind::kRefused && stream.state == State::kConnecting) {
      return EndSession(stream, ECONNREFUSED);
    } else if (notice.kind != Notice::Kind::kWake) {
      ++stats_.receive_malformed;
      return EndSession(stream, EPROTO);
    }
  }
}

// Lets go of socket and memory. kClosed is still to be told.
void ShmStreamPort::EndSession(Stream& stream, int error) {
  if (stream.state == State::kClosed) return;
  if (stream.session.socket) control_->Unwatch(stream.session.socket.get());
  stream.session.socket.Reset();
  stream.session.memory = SharedMemory();
  stream.reader = ByteReader();
  stream.writer = ByteWriter();
  stream.inbox.reset();
  stream.state = State::kClosed;
  stream.error = error;
}

void ShmStreamPort::Release(Stream& stream) {
  if (stream.listener != nullptr) stream.listener->AddPeers(stream.queue, -1);
  auto it = std::find(active_.begin(), active_.end(), &stream);
  *it = active_.back();
  active_.pop_back();
  const uint32_t generation = stream.generation;
  stream = Stream();
  stream.generation = generation;
}

void ShmStreamPort::CloseWrite(StreamId id) {
  AssertOwner();
  Stream* stream = FindOpen(id);
  if (stream == nullptr || std::exchange(stream->write_closed, true)) return;
  stream->writer.End(kFin);
  stream->session.Announce(kWakeOnData);
}

void ShmStreamPort::Close(StreamId id) {
  AssertOwner();
  Stream* stream = Find(id);
  if (stream == nullptr) return;
  if (stream->state == State::kOpen) stream->writer.End(kFin);
  EndSession(*stream, 0);
}

void ShmStreamPort::Abort(StreamId id) {
  AssertOwner();
  Stream* stream = Find(id);
  if (stream == nullptr) return;
  if (stream->state == State::kOpen) stream->writer.End(kReset);
  EndSession(*stream, ECONNABORTED);
}

}  // namespace weft::shm
