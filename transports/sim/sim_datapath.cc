// SPDX-License-Identifier: Apache-2.0
//
// Sending and receiving of datagrams and frames. The network carries copies, as a wire does: a
// sender's buffer is free again when Send() returns, and a slow receiver holds none of anybody's.

#include <cassert>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/transports/sim/sim_ports.h"

namespace weft::sim {
namespace {

constexpr size_t kEthernetHeaderBytes = 14;

Peer PeerOf(NodeId node) { return {{uint64_t{node} + 1, 0, 0}}; }

MacAddress MacOf(NodeId node) {
  return {0x02,
          0x00,
          static_cast<uint8_t>(node >> 24),
          static_cast<uint8_t>(node >> 16),
          static_cast<uint8_t>(node >> 8),
          static_cast<uint8_t>(node)};
}

}  // namespace

void Inbox::Push(PacketPtr packet) {
  if (packets_.size() < kMaxPackets) {
    packets_.push_back(std::move(packet));
  } else {
    ++stats_->receive_dropped;
    network_->Recycle(std::move(packet));
  }
}

Buffer Inbox::Pop(NodeId* from) {
  while (!packets_.empty()) {
    Buffer buffer = pool_->Allocate();
    if (!buffer) return buffer;  // the packet waits until one is free
    PacketPtr packet = std::move(packets_.front());
    packets_.pop_front();
    const std::vector<uint8_t>& bytes = packet->bytes;
    const bool fits = bytes.size() <= buffer.tailroom();
    if (fits) {
      if (!bytes.empty()) std::memcpy(buffer.Append(bytes.size()), bytes.data(), bytes.size());
      *from = packet->from;
      ++stats_->received;
      stats_->received_bytes += bytes.size();
      ++stats_->copied_buffers;
      stats_->copied_bytes += bytes.size();
    } else {
      ++stats_->receive_dropped;  // from a port with larger buffers
    }
    network_->Recycle(std::move(packet));
    if (fits) return buffer;
  }
  return Buffer();
}

size_t SimDatagramPort::Send(absl::Span<Datagram> burst) {
  AssertOwner();
  const NodeId from = attachment_.node();
  for (Datagram& datagram : burst) SendOne(std::exchange(datagram, {datagram.peer, {}}), from);
  return burst.size();
}

size_t SimDatagramPort::Forward(absl::Span<Datagram> burst, absl::Span<const Peer> sources) {
  AssertOwner();
  assert(sources.size() == burst.size());
  for (size_t i = 0; i < burst.size(); ++i) {
    SendOne(std::exchange(burst[i], {burst[i].peer, {}}), sources[i].words[0] - 1);
  }
  return burst.size();
}

void SimDatagramPort::SendOne(const Datagram& datagram, uint64_t source) {
  const NodeId own = attachment_.node();
  const uint64_t to = datagram.peer.words[0] - 1;
  if (!datagram.buffer || !network_->IsNode(to) || !network_->IsNode(source) ||
      datagram.size() > capabilities_.max_payload_bytes) {
    ++stats_.send_failed;
    return;
  }
  const absl::Span<const uint8_t> bytes = datagram.buffer.bytes();
  if (source == own) {
    network_->Send(own, static_cast<NodeId>(to), Channel::kDatagrams, attachment_.queue(),
                   /*flow=*/own, bytes, datagram.tail);
  } else {
    network_->Forward(own, static_cast<NodeId>(source), static_cast<NodeId>(to),
                      Channel::kDatagrams, bytes, datagram.tail);
  }
  ++stats_.sent;
  stats_.sent_bytes += datagram.size();
}

size_t SimDatagramPort::Receive(absl::Span<Datagram> burst) {
  AssertOwner();
  size_t n = 0;
  for (; n < burst.size(); ++n) {
    NodeId from = 0;
    Buffer buffer = inbox_.Pop(&from);
    if (!buffer) break;
    burst[n] = {PeerOf(from), std::move(buffer)};
  }
  return n;
}

absl::StatusOr<Peer> SimDatagramPort::Resolve(const Address& address) {
  AssertOwner();
  const absl::StatusOr<NodeId> node = NodeAt(network_, address);
  if (!node.ok()) return node.status();
  return PeerOf(*node);
}

absl::StatusOr<Address> SimDatagramPort::AddressOf(const Peer& peer) const {
  if (!network_->IsNode(peer.words[0] - 1)) {
    return absl::NotFoundError("the peer is not one of this port's");
  }
  return Address::Sim(network_->NameOf(static_cast<NodeId>(peer.words[0] - 1)));
}

void SimDatagramPort::OnUnreachable(PacketPtr packet) {
  const Peer peer = PeerOf(packet->to);
  network_->Recycle(std::move(packet));
  events_.Add({PortEvent::Kind::kPeerUnreachable, peer, ECONNREFUSED});
}

MacAddress SimFramePort::mac() const { return MacOf(attachment_.node()); }

size_t SimFramePort::Send(absl::Span<Buffer> burst) {
  AssertOwner();
  for (Buffer& buffer : burst) SendOne(std::exchange(buffer, Buffer()));
  return burst.size();
}

void SimFramePort::SendOne(const Buffer& frame) {
  if (!frame || frame.size() < kEthernetHeaderBytes ||
      frame.size() > capabilities_.max_frame_bytes) {
    ++stats_.send_failed;
    return;
  }
  ++stats_.sent;
  stats_.sent_bytes += frame.size();
  const NodeId from = attachment_.node();
  const uint8_t* destination = frame.data();
  if ((destination[0] & 1) != 0) {
    network_->Broadcast(from, Channel::kFrames, /*flow=*/from, frame.bytes());
    return;
  }
  NodeId to = 0;
  for (size_t i = 2; i < 6; ++i) to = to << 8 | destination[i];
  if (network_->IsNode(to) && std::memcmp(MacOf(to).data(), destination, 6) == 0) {
    network_->Send(from, to, Channel::kFrames, attachment_.queue(), /*flow=*/from, frame.bytes());
  }
}

size_t SimFramePort::Receive(absl::Span<Buffer> burst) {
  AssertOwner();
  size_t n = 0;
  for (; n < burst.size(); ++n) {
    NodeId from = 0;
    Buffer buffer = inbox_.Pop(&from);
    if (!buffer) break;
    burst[n] = std::move(buffer);
  }
  return n;
}

}  // namespace weft::sim
