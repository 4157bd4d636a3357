// SPDX-License-Identifier: Apache-2.0
//
// Peers come and go; the data path is in shm_datapath.cc.
#include "weft/transports/shm/shm_datagram_port.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/transports/shm/shm_transport.h"

namespace weft::shm {

absl::StatusOr<std::unique_ptr<ShmDatagramPort>> ShmDatagramPort::Open(ShmTransport* transport,
                                                                       const Settings& settings,
                                                                       const PortOptions& options) {
  std::unique_ptr<ShmDatagramPort> port(new ShmDatagramPort(settings));
  if (absl::Status status = port->Start(transport, options); !status.ok()) return status;
  return port;
}

ShmDatagramPort::ShmDatagramPort(const Settings& settings)
    : DatagramPort(settings.capabilities, settings.buffers),
      directory_(settings.directory),
      ring_bytes_(settings.ring_bytes),
      max_peers_(settings.max_peers),
      max_payload_(settings.capabilities.max_payload_bytes) {}

absl::Status ShmDatagramPort::Start(ShmTransport* transport, const PortOptions& options) {
  absl::StatusOr<std::unique_ptr<Control>> control =
      Control::Create(this, Contract::kDatagrams, ring_bytes_);
  if (!control.ok()) return control.status();
  control_ = *std::move(control);

  const bool named = options.local.kind() != Address::Kind::kNone;
  name_ = named ? options.local.name() : MakeClientName();
  if (!named) {
    // A client in a directory of another user's is reached only by those it connects to.
    if (!directory_.PrepareToListen().ok()) return directory_.CheckToConnect();
    RemoveStaleClientSockets(directory_);
  }
  const int queue = named ? options.queue : 0;
  absl::StatusOr<std::shared_ptr<Listener>> listener =
      transport->Listen(name_, Contract::kDatagrams, SOMAXCONN, queue, named ? options.queues : 1);
  if (!listener.ok()) return listener.status();
  return control_->Listen(*std::move(listener), queue);
}

ShmDatagramPort::~ShmDatagramPort() {
  for (Link* link : active_) {
    if (link->state == State::kOpen) {
      SendNotice(link->session.socket.get(), {.kind = Notice::Kind::kGoodbye});
    }
    if (link->listener != nullptr) link->listener->AddPeers(link->queue, -1);
  }
}

absl::StatusOr<Peer> ShmDatagramPort::Resolve(const Address& address) {
  AssertOwner();
  if (address.kind() != Address::Kind::kShm) {
    return absl::InvalidArgumentError(absl::StrCat(
        address.ToString(), " is not an address of shared memory: those look like shm:NAME"));
  }
  for (const bool resolved : {true, false}) {
    for (const Link* link : active_) {
      if (link->state == State::kOpen && link->resolved == resolved &&
          (resolved || link->session.trust_name) && link->session.peer_name == address.name()) {
        return link->peer;
      }
    }
  }
  if (full()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("this port has its ", max_peers_, " peers: raise transport.shm.max_peers"));
  }
  if (absl::Status status = directory_.CheckToConnect(); !status.ok()) return status;
  absl::StatusOr<Session> session =
      Connect(directory_.SocketPath(address.name(), Contract::kDatagrams), Contract::kDatagrams,
              name_, ring_bytes_);
  if (!session.ok()) return session.status();
  session->peer_name = address.name();
  absl::StatusOr<Link*> link = AddLink(*std::move(session));
  if (!link.ok()) return link.status();
  (*link)->resolved = true;
  return (*link)->peer;
}

absl::StatusOr<Address> ShmDatagramPort::AddressOf(const Peer& peer) const {
  const Link* link = Find(peer);
  if (link == nullptr) return absl::NotFoundError("no such peer of this port, or it has gone");
  return Address::Shm(link->session.peer_name);
}

size_t ShmDatagramPort::MaxPayloadTo(const Peer& peer) const {
  const Link* link = Find(peer);
  return link == nullptr ? max_payload_
                         : std::min<size_t>(max_payload_, link->writer.max_payload());
}

absl::StatusOr<ShmDatagramPort::Link*> ShmDatagramPort::AddLink(Session&& session) {
  auto free = std::find_if(links_.begin(), links_.end(),
                           [](const auto& link) { return link->state == State::kFree; });
  const size_t index = static_cast<size_t>(free - links_.begin());
  const absl::Status watched = control_->Watch(session.socket.get(), static_cast<uint32_t>(index));
  if (!watched.ok()) return watched;
  if (free == links_.end()) links_.push_back(std::make_unique<Link>());

  Link& link = *links_[index];
  const uint64_t generation = link.generation + 1;
  const SharedMemory& memory = session.memory;
  link = {.reader = RecordReader(memory.their_ring(), memory.ring_bytes(), &memory.mine().consumed),
          .writer = RecordWriter(memory.my_ring(), memory.ring_bytes(), &memory.theirs().consumed),
          .peer = {{index + 1, generation, 0}},
          .state = State::kOpen,
          .session = std::move(session),
          .generation = generation,
          .listener = nullptr};
  active_.push_back(&link);
  return &link;
}

int ShmDatagramPort::OnSession(Session& session, const std::shared_ptr<Listener>& listener,
                               int queue) {
  if (full()) return ENOBUFS;
  absl::StatusOr<Link*> link = AddLink(std::move(session));
  if (!link.ok()) return ENOMEM;
  (*link)->listener = listener;
  (*link)->queue = queue;
  listener->AddPeers(queue, 1);
  return 0;
}

void ShmDatagramPort::OnReadable(uint32_t index) {
  constexpr int kMaxNotices = 16;  // at a time; the rest keeps the socket readable
  Link& link = *links_[index];
  Notice notice;
  for (int i = 0; i < kMaxNotices && link.state == State::kOpen; ++i) {
    switch (ReceiveNotice(link.session.socket.get(), &notice)) {
      case Received::kNothing:
        return;
      case Received::kEnd:
        return SayFarewell(link, PortEvent::Kind::kPeerUnreachable, ECONNRESET);
      case Received::kGarbage:
        ++stats_.receive_malformed;
        return Remove(link, PortEvent::Kind::kPeerUnreachable, EPROTO);
      case Received::kNotice:
        break;
    }
    switch (notice.kind) {
      case Notice::Kind::kWake:
        break;
      case Notice::Kind::kWelcome:
        link.session.needs_fence = !(notice.flags & OwnFlags() & Hello::kIssuesBarrier);
        break;
      case Notice::Kind::kRefused:
        return SayFarewell(link, PortEvent::Kind::kPeerUnreachable, notice.error);
      case Notice::Kind::kGoodbye:
        return SayFarewell(link, PortEvent::Kind::kPeerClosed, 0);
      default:
        ++stats_.receive_malformed;
        return Remove(link, PortEvent::Kind::kPeerUnreachable, EPROTO);
    }
  }
}

void ShmDatagramPort::SayFarewell(Link& link, PortEvent::Kind kind, int error) {
  link.state = State::kLeaving;
  link.farewell = {kind, link.peer, error};
  link.drain_end = link.reader.position() + link.session.memory.ring_bytes();
  control_->Unwatch(link.session.socket.get());
  link.session.socket.Reset();
  ++leaving_;
}

void ShmDatagramPort::FinishLeaving() {
  for (size_t i = active_.size(); i-- > 0;) {
    Link& link = *active_[i];
    if (link.state == State::kLeaving &&
        (link.reader.Empty() || link.reader.position() > link.drain_end)) {
      Remove(link, link.farewell.kind, link.farewell.error);
    }
  }
}

void ShmDatagramPort::Remove(Link& link, PortEvent::Kind kind, int error) {
  events_.Add({kind, link.peer, error});
  if (link.state == State::kLeaving) {
    --leaving_;
  } else {
    control_->Unwatch(link.session.socket.get());
  }
  if (link.listener != nullptr) link.listener->AddPeers(link.queue, -1);
  auto it = std::find(active_.begin(), active_.end(), &link);
  *it = active_.back();
  active_.pop_back();
  const uint64_t generation = link.generation;
  link = Link();
  link.generation = generation;
}

}  // namespace weft::shm
