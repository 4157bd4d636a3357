// SPDX-License-Identifier: Apache-2.0
//
// Requests of several packets: room for them, what has come of them, and what the client is told.
#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "weft/rpc/extended_server.h"

namespace weft::rpc {
namespace {

using State = ServerSlot::State;

// Of the buffers, what stays for requests in one packet and for replies.
constexpr size_t kReservedPart = 16;

}  // namespace

void ExtendedServer::BeginRequest(ServerSession& session, ServerSlot& slot, bool admitted) {
  LargeRequest* const request = requests_.Take().release();
  request->name = {session.number, session.key, slot.request_id};
  request->progress_ms = CoarseTime(now_ns_);
  request->admitted = admitted;
  slot.state = State::kReceiving;
  slot.request = request;
  ++session.large;
  ++incomplete_;
}

void ExtendedServer::OnRequestPacket(ServerSession& session, ServerSlot& slot, Datagram& datagram,
                                     const ExtendedHeader& header) {
  LargeRequest& request = *slot.request;
  if (header.kind == ControlKind::kAnnouncement) {
    return OnAnnouncement(session, slot, datagram, header);
  }
  slot.echo_base = header.timestamp - static_cast<uint32_t>(now_ns_);
  if (request.fetch != 0) [[unlikely]] {
    ++core_.stats.unexpected;  // nobody has asked for packets
    return AcknowledgeLater(request);
  }
  request.in_packets = true;
  if (header.first && !request.admitted) {
    if (core_.admission && !core_.admission(datagram.peer, datagram.buffer.bytes())) {
      EndRequest(session, slot);
      return Refuse(session, slot, DropReason::kRefused, Recycle(datagram));
    }
    request.admitted = true;
  }
  if (request.room.held() == 0 && !request.room.waiting() && header.total() == 0) {
    // Without its length there is no knowing whether there will be room, so nothing to be said.
    return;
  }
  AcknowledgeLater(request);
  if (request.room.held() == 0 && !MakeRoom(session, slot, header.total())) return;
  if (std::max(header.total(), header.index() + 1) > request.room.held()) [[unlikely]] {
    ++core_.stats.malformed;  // longer than it said at first
    return;
  }

  const size_t bytes = datagram.buffer.size();
  switch (request.packets.Add(header.index(), header.total(), header.last,
                              std::move(datagram.buffer))) {
    case Reassembly::Result::kIncomplete:
    case Reassembly::Result::kComplete:
      break;
    case Reassembly::Result::kDuplicate:
      ++core_.stats.duplicates;
      return;
    case Reassembly::Result::kContradiction:
    case Reassembly::Result::kTooLong:
      ++core_.stats.malformed;
      return;
  }
  request.progress_ms = CoarseTime(now_ns_);
  request.bytes += bytes;
  ++arrived_;
  if (request.bytes > core_.options.session.message_bytes_max) {
    EndRequest(session, slot);
    return Refuse(session, slot, DropReason::kTooLarge, core_.port->pool().Allocate());
  }
  if (!request.packets.complete()) return;
  AcknowledgeRequest(session, slot);
  const auto packets = static_cast<uint16_t>(request.packets.total());
  BufferChain message = request.packets.Take();
  arrived_ -= packets;
  EndRequest(session, slot);
  // Much may have changed since it began.
  if (core_.draining || core_.TooManyExecute()) {
    return Refuse(session, slot,
                  core_.draining ? DropReason::kShuttingDown : DropReason::kOverloaded,
                  core_.port->pool().Allocate());
  }
  Execute(session, slot, header, std::move(message), packets);
}

// Whether there is room for the request, of so many packets. False: the packet that came is to be
// dropped; the request may have been refused.
bool ExtendedServer::MakeRoom(ServerSession& session, ServerSlot& slot, size_t packets) {
  ReceiveBudget::Reservation& room = slot.request->room;
  if (room.waiting()) return false;
  if (packets <= budget_.capacity() && !HasBuffers(packets)) return false;  // the client asks again
  switch (budget_.Reserve(packets, &room)) {
    case ReceiveBudget::Result::kReserved:
      return true;
    case ReceiveBudget::Result::kWaits:
    case ReceiveBudget::Result::kTooMany:
      return false;
    case ReceiveBudget::Result::kNeverFits:
      EndRequest(session, slot);
      Refuse(session, slot, DropReason::kTooLarge, core_.port->pool().Allocate());
      return false;
  }
  return false;
}

// Handlers, and replies on their way, may still have the buffers of requests that have left the
// budget.
bool ExtendedServer::HasBuffers(size_t more) const {
  const BufferPool& pool = core_.port->pool();
  const size_t promised = budget_.in_use() - arrived_;
  return pool.available() >= promised + more + pool.count() / kReservedPart;
}

// It waited, and its turn has come.
void ExtendedServer::OnRoom(LargeRequest& request) {
  ServerSession* const session = sessions_.Find(request.name.session, request.name.key);
  if (session == nullptr) return;
  if (!HasBuffers(0)) return request.room.Reset();  // the client asks again
  ServerSlot& slot = session->slots[static_cast<uint16_t>(request.name.request_id)];
  slot.request->progress_ms = CoarseTime(NowNs());
  AcknowledgeRequest(*session, slot);
}

void ExtendedServer::AcknowledgeRequests() {
  for (const RequestName& name : to_acknowledge_) {
    ServerSession* const session = sessions_.Find(name.session, name.key);
    if (session == nullptr) continue;
    ServerSlot& slot = session->slots[static_cast<uint16_t>(name.request_id)];
    if (slot.request_id == name.request_id && slot.state == State::kReceiving &&
        slot.request->acknowledge) {
      AcknowledgeRequest(*session, slot);
    }
  }
  to_acknowledge_.clear();
}

void ExtendedServer::AcknowledgeRequest(ServerSession& session, ServerSlot& slot) {
  LargeRequest& request = *slot.request;
  request.acknowledge = false;
  const size_t here = request.packets.cumulative();
  const size_t held = request.room.held();
  const size_t granted = held == 0 ? 0 : std::min(here + core_.credits, held);
  ExtendedHeader header = AnswerTo(session, slot, MessageType::kAck, NowNs());
  header.kind = ControlKind::kProgress;
  header.packet_order = static_cast<uint16_t>(here);
  std::array<uint8_t, Reassembly::kBitmapBytes> bitmap;
  std::array<uint8_t, kProgressBytesMax> body;
  const size_t bytes =
      WriteProgress(request.packets.FillProgress(granted, bitmap.data()), body.data());
  Send(session.peer, header, absl::MakeSpan(body).first(bytes), core_.port->pool().Allocate());
}

void ExtendedServer::EndRequest(ServerSession& session, ServerSlot& slot) {
  std::unique_ptr<LargeRequest> request(std::exchange(slot.request, nullptr));
  slot.state = State::kUnused;
  --session.large;
  --incomplete_;
  arrived_ -= request->packets.held();
  request->packets.Reset();
  request->bytes = 0;
  request->admitted = false;
  request->acknowledge = false;
  request->fetch = 0;
  request->in_packets = false;
  request->room.Reset();  // others may go on
  requests_.Return(std::move(request));
}

}  // namespace weft::rpc
