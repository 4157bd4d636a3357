// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/sim/sim_stream_port.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/transports/sim/sim_ports.h"

namespace weft::sim {

absl::StatusOr<std::unique_ptr<SimStreamPort>> SimStreamPort::Open(
    Network* network, const PortOptions& options, const Capabilities& capabilities,
    const BufferPoolOptions& buffers) {
  std::unique_ptr<SimStreamPort> port(new SimStreamPort(network, options, capabilities, buffers));
  auto attachment = AttachPort(network, options, Channel::kStreams, port.get());
  if (!attachment.ok()) return attachment.status();
  port->attachments_.push_back(*std::move(attachment));
  return port;
}

SimStreamPort::~SimStreamPort() {
  for (auto& [id, entry] : streams_) entry.stream->Abort();
}

Address SimStreamPort::local_address() const {
  return Address::Sim(network_->NameOf(attachments_.front().node()));
}

absl::StatusOr<Address> SimStreamPort::Listen(const Address& address, int backlog) {
  AssertOwner();
  const absl::StatusOr<NodeId> node = NodeAt(network_, address);
  if (!node.ok()) return node.status();
  if (backlog < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("a backlog of ", backlog, " accepts nothing; it must be 1 or more"));
  }
  if (listeners_.contains(*node)) {
    return absl::AlreadyExistsError(
        absl::StrCat("this port listens at ", address.ToString(), " already"));
  }
  if (*node != attachments_.front().node()) {
    auto attachment = network_->Attach(*node, Channel::kStreams, queue_, queues_, this);
    if (!attachment.ok()) return attachment.status();
    attachments_.push_back(*std::move(attachment));
  }
  listeners_.emplace(*node, Listener{backlog});
  return address;
}

absl::StatusOr<StreamId> SimStreamPort::Connect(const Address& address) {
  AssertOwner();
  const absl::StatusOr<NodeId> node = NodeAt(network_, address);
  if (!node.ok()) return node.status();
  if (streams_.size() >= kMaxStreams) {
    return absl::ResourceExhaustedError(
        absl::StrCat("this port has its limit of ", kMaxStreams, " streams"));
  }
  Stream* stream = NewStream(attachments_.front().node(), *node);
  stream->Connect();
  return StreamId{stream->id()};
}

size_t SimStreamPort::Poll(absl::Span<StreamEvent> events) {
  AssertOwner();
  for (uint64_t id : expired_) {
    const auto it = streams_.find(id);
    accepted_.erase(it->second.stream->peer_id());
    streams_.erase(it);
  }
  expired_.clear();
  size_t n = 0;
  while (!ready_.empty()) {
    Entry& entry = streams_.at(ready_.front());
    while (n < events.size() && entry.stream->has_events()) {
      events[n] = entry.stream->TakeEvent();
      if (events[n++].kind == StreamEvent::Kind::kAccepted) {
        --listeners_.at(entry.stream->local()).waiting;
      }
    }
    if (entry.stream->has_events()) break;
    if (entry.stream->gone()) expired_.push_back(ready_.front());
    entry.ready = false;
    ready_.pop_front();
  }
  return n;
}

absl::Span<const uint8_t> SimStreamPort::ReadView(StreamId id) {
  AssertOwner();
  const Stream* stream = Find(id.value);
  return stream == nullptr ? absl::Span<const uint8_t>() : stream->ReadView();
}

void SimStreamPort::Consume(StreamId id, size_t n) {
  AssertOwner();
  Stream* stream = Find(id.value);
  if (stream == nullptr) return;
  stats_.received_bytes += std::min(n, stream->ReadView().size());
  stream->Consume(n);
}

absl::Span<uint8_t> SimStreamPort::Reserve(StreamId id, size_t wanted) {
  AssertOwner();
  Stream* stream = Usable(id);
  return stream == nullptr ? absl::Span<uint8_t>() : stream->Reserve(wanted);
}

void SimStreamPort::Commit(StreamId id, size_t n) {
  AssertOwner();
  Stream* stream = Usable(id);
  if (stream == nullptr) return;
  stats_.sent_bytes += n;
  stream->Commit(n);
}

void SimStreamPort::CloseWrite(StreamId id) {
  AssertOwner();
  if (Stream* stream = Usable(id)) stream->CloseWrite();
}

void SimStreamPort::Close(StreamId id) {
  AssertOwner();
  if (Stream* stream = Usable(id)) stream->Close();
}

void SimStreamPort::Abort(StreamId id) {
  AssertOwner();
  if (Stream* stream = Usable(id)) stream->Abort();
}

absl::StatusOr<Address> SimStreamPort::PeerAddress(StreamId id) const {
  const Stream* stream = Usable(id);
  if (stream == nullptr) return absl::NotFoundError("the stream is closed");
  return Address::Sim(network_->NameOf(stream->peer()));
}

absl::StatusOr<Address> SimStreamPort::LocalAddress(StreamId id) const {
  const Stream* stream = Usable(id);
  if (stream == nullptr) return absl::NotFoundError("the stream is closed");
  return Address::Sim(network_->NameOf(stream->local()));
}

void SimStreamPort::OnPacket(PacketPtr packet) {
  const std::optional<Segment> segment = ParseSegment(packet->bytes);
  if (!segment.has_value()) {
    ++stats_.receive_malformed;
  } else if (Stream* stream = Find(segment->to)) {
    stream->OnSegment(*segment);
  } else if (segment->to == 0 && segment->Has(Segment::kSyn)) {
    OnSyn(*packet, *segment);
  } else if (!segment->Has(Segment::kReset)) {
    Refuse(*packet, *segment);
  }
  network_->Recycle(std::move(packet));
}

void SimStreamPort::OnSyn(const Packet& packet, const Segment& syn) {
  if (const auto known = accepted_.find(syn.from); known != accepted_.end()) {
    if (Stream* stream = Find(known->second); stream->usable()) stream->AcceptAgain();
    return;
  }
  const auto listener = listeners_.find(packet.to);
  if (listener == listeners_.end()) return Refuse(packet, syn);
  if (listener->second.waiting >= listener->second.backlog || streams_.size() >= kMaxStreams) {
    ++stats_.receive_dropped;  // the other side tries again
    return;
  }
  Stream* stream = NewStream(packet.to, packet.from);
  ++listener->second.waiting;
  accepted_.emplace(syn.from, stream->id());
  stream->Accept(syn);
}

// Tells the sender of `segment` that there is no such stream.
void SimStreamPort::Refuse(const Packet& packet, const Segment& segment) {
  Segment reset;
  reset.from = segment.to;
  reset.to = segment.from;
  reset.flags = Segment::kReset;
  uint8_t bytes[Segment::kHeaderBytes];
  SealSegment(reset, absl::MakeSpan(bytes));
  network_->Send(packet.to, packet.from, Channel::kStreams, static_cast<uint32_t>(queue_),
                 static_cast<uint32_t>(segment.from & 0xff), bytes);
}

void SimStreamPort::OnUnreachable(PacketPtr packet) {
  if (const std::optional<Segment> segment = ParseSegment(packet->bytes)) {
    if (Stream* stream = Find(segment->from)) stream->OnUnreachable();
  }
  network_->Recycle(std::move(packet));
}

void SimStreamPort::OnStreamReady(const Stream& stream) {
  Entry& entry = streams_.at(stream.id());
  if (std::exchange(entry.ready, true)) return;
  ready_.push_back(stream.id());
}

Stream* SimStreamPort::NewStream(NodeId local, NodeId peer) {
  const uint64_t id = network_->NextUnique() << 8 | static_cast<uint64_t>(queue_);
  StreamOwner* const owner = this;  // a conversion that only this class may make
  auto stream = std::make_unique<Stream>(network_, owner, id, local, peer);
  return streams_.emplace(id, Entry{std::move(stream)}).first->second.stream.get();
}

Stream* SimStreamPort::Find(uint64_t id) const {
  const auto it = streams_.find(id);
  return it == streams_.end() ? nullptr : it->second.stream.get();
}

Stream* SimStreamPort::Usable(StreamId id) const {
  Stream* stream = Find(id.value);
  return stream != nullptr && stream->usable() ? stream : nullptr;
}

}  // namespace weft::sim
