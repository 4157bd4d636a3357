// SPDX-License-Identifier: Apache-2.0
//
// Requests and replies that are announced and fetched rather than sent, as a server sees them.
#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include "weft/rpc/extended_server.h"

namespace weft::rpc {
namespace {

using State = ServerSlot::State;

// As a header has it: never 0, which would be no limit.
uint32_t MicrosecondsLeft(int64_t deadline_ns, int64_t now_ns) {
  if (deadline_ns == ServerCall::kNever) return 0;
  return static_cast<uint32_t>(
      std::clamp<int64_t>((deadline_ns - now_ns) / 1000, 1, int64_t{UINT32_MAX}));
}

}  // namespace

// --- Requests

void ExtendedServer::OnAnnouncement(ServerSession& session, ServerSlot& slot, Datagram& datagram,
                                    const ExtendedHeader& header) {
  LargeRequest& request = *slot.request;
  slot.echo_base = header.timestamp - static_cast<uint32_t>(now_ns_);
  Announcement announcement;
  if (!ReadAnnouncement(datagram.buffer.bytes(), &announcement)) {
    ++core_.stats.malformed;
    return;
  }
  if (request.fetch != 0) {
    ++core_.stats.duplicates;
    request.progress_ms = CoarseTime(now_ns_);  // its client is still there, and so is the fetch
    return AcknowledgeLater(request);
  }
  if (!request.in_packets) {
    if (announcement.bytes > core_.options.session.message_bytes_max) {
      EndRequest(session, slot);
      return Refuse(session, slot, DropReason::kTooLarge, Recycle(datagram));
    }
    const uint64_t fetch = fetches_.Begin(request.name);
    if (core_.bulk.Fetch(session.peer, announcement, fetch)) {
      request.fetch = fetch;
      request.fetch_bytes = announcement.bytes;
      request.fetch_packets = header.packet_order;
      request.policy = header.policy;
      request.deadline_ns = header.deadline_us == 0 ? ServerCall::kNever
                                                    : now_ns_ + int64_t{header.deadline_us} * 1000;
      return;
    }
    fetches_.End(fetch);
    if (WaitsForWay(announcement.bytes, header.total())) return AcknowledgeLater(request);
    core_.stats.bulk_failed += announcement.fetchable;
    request.in_packets = true;
  }
  AcknowledgeLater(request);
  if (request.room.held() == 0) MakeRoom(session, slot, header.total());
}

// Whether a request that cannot be fetched now is too long to come in any other way, and may yet
// be. It waits as long as any that makes no progress.
bool ExtendedServer::WaitsForWay(size_t bytes, size_t packets) const {
  return packets > budget_.capacity() && core_.bulk.MayFetch(bytes);
}

void ExtendedServer::AcknowledgeLater(LargeRequest& request) {
  if (std::exchange(request.acknowledge, true)) return;
  to_acknowledge_.push_back(request.name);
}

size_t ExtendedServer::TakeFetched() {
  now_ns_ = core_.loop.clock().NowNs();
  in_burst_ = true;
  const size_t n = core_.bulk.TakeFetched([this](BulkTransfers::Fetched&& fetched) {
    // What it was for may have ended: then the buffer goes back at once.
    const std::optional<RequestName> name = fetches_.End(fetched.context);
    if (!name.has_value()) return;
    ServerSession* const session = sessions_.Find(name->session, name->key);
    const auto index = static_cast<uint16_t>(name->request_id);
    if (session == nullptr || index >= session->slot_count) return;
    ServerSlot& slot = session->slots[index];
    if (slot.request_id != name->request_id || slot.state != State::kReceiving ||
        slot.request->fetch != fetched.context) {
      return;
    }
    fetched.ok ? OnFetched(*session, slot, std::move(fetched.buffer))
               : OnFetchFailed(*session, slot, std::move(fetched.buffer));
    if (slow_handlers_) now_ns_ = core_.loop.clock().NowNs();
  });
  in_burst_ = false;
  return n;
}

void ExtendedServer::OnFetched(ServerSession& session, ServerSlot& slot, Buffer message) {
  const LargeRequest& request = *slot.request;
  const uint16_t packets = request.fetch_packets;
  const ExtendedHeader header = {.policy = request.policy,
                                 .deadline_us = MicrosecondsLeft(request.deadline_ns, now_ns_),
                                 .request_id = slot.request_id};
  const bool late = now_ns_ >= request.deadline_ns;
  ++core_.stats.bulk_received;
  EndRequest(session, slot);
  BufferPool& pool = core_.port->pool();
  if (late) {
    ++core_.stats.deadlines;
    slot.state = State::kDropped;
    slot.code = DropReason::kDeadline;
    return SendDrop(session, slot, pool.Allocate());
  }
  // Its client may let go of it.
  SendProgress(session, slot, packets, pool.Allocate());
  if (core_.draining) return Refuse(session, slot, DropReason::kShuttingDown, pool.Allocate());
  if (core_.TooManyExecute()) {
    return Refuse(session, slot, DropReason::kOverloaded, pool.Allocate());
  }
  const auto first = message.bytes().first(std::min(message.size(), session.payload_bytes()));
  if (core_.admission && !core_.admission(session.peer, first)) {
    return Refuse(session, slot, DropReason::kRefused, pool.Allocate());
  }
  Execute(session, slot, header, BufferChain(std::move(message)), packets);
}

void ExtendedServer::OnFetchFailed(ServerSession& session, ServerSlot& slot, Buffer room) {
  LargeRequest& request = *slot.request;
  room.Reset();
  ++core_.stats.bulk_failed;
  request.fetch = 0;
  if (WaitsForWay(request.fetch_bytes, request.fetch_packets)) return;  // it is announced again
  request.in_packets = true;
  request.progress_ms = CoarseTime(now_ns_);
  MakeRoom(session, slot, request.fetch_packets);
  // It may have been refused.
  if (slot.state == State::kReceiving) AcknowledgeRequest(session, slot);
}

// --- Replies

Payload ExtendedServer::CopyOfReply(const ServerSession& session, absl::Span<const uint8_t> reply) {
  Buffer copy = session.bulk ? core_.bulk.Allocate(reply.size()) : Buffer();
  if (!copy) return Payload::Copy(reply);
  if (HasItsShare(session)) {
    ++core_.stats.bulk_over_share;
    return Payload::Copy(reply);
  }
  std::memcpy(copy.Append(reply.size()), reply.data(), reply.size());
  return Payload(std::move(copy));
}

// Whether its replies hold as many buffers as they may, if there are other sessions: a client that
// asks for replies and does not fetch them would have all of them in the end.
bool ExtendedServer::HasItsShare(const ServerSession& session) const {
  if (session.flow == nullptr || sessions_.open() - sessions_.half_open() <= 1) return false;
  const size_t users = std::max<size_t>(bulk_sessions_ + (session.flow->in_bulk == 0), 2);
  return session.flow->in_bulk >= core_.bulk.ShareOf(users);
}

bool ExtendedServer::AnnounceReply(const Place& place, Payload& payload, size_t packets) {
  ServerSession& session = *place.session;
  ServerSlot& slot = *place.slot;
  std::unique_ptr<LargeReply> reply = replies_.Take();
  bool announce = reply->announced.Begin(core_.bulk, payload);
  if (announce && HasItsShare(session)) {
    announce = false;
    ++core_.stats.bulk_over_share;
    const Payload whole = reply->announced.End(core_.bulk);
    whole.ForEachPiece(
        [&payload](absl::Span<const uint8_t> piece) { payload = Payload::Copy(piece); });
  }
  if (!announce) {
    replies_.Return(std::move(reply));
    return false;
  }
  reply->packets = static_cast<uint16_t>(packets);
  reply->in_bulk = true;
  BeginReply(place, reply.release());
  if (session.flow->in_bulk++ == 0) ++bulk_sessions_;
  SendAnnouncement(session, slot, /*resent=*/false);
  return true;
}

void ExtendedServer::SendAnnouncement(ServerSession& session, ServerSlot& slot, bool resent) {
  LargeReply& reply = *slot.reply;
  reply.sent_ns = core_.loop.clock().NowNs();
  if (reply.announced.Expose(core_.bulk, session.peer)) ++core_.stats.bulk_sent;
  std::array<uint8_t, kAnnouncementBytes> body;
  const size_t bytes = reply.announced.WriteBody(body.data());
  ExtendedHeader header = AnswerTo(session, slot, MessageType::kResponse, NowNs());
  header.kind = ControlKind::kAnnouncement;
  header.last = false;
  header.packet_order = reply.packets;
  header.resent = resent;
  if (resent) {
    ++core_.stats.retransmitted;
    ++session.retransmitted;
  }
  Send(session.peer, header, absl::MakeSpan(body).first(bytes), core_.port->pool().Allocate());
}

// The client has fetched the reply, or is about to, or wants packets instead.
void ExtendedServer::OnAnnouncedProgress(ServerSession& session, ServerSlot& slot,
                                         const ExtendedHeader& header, const Progress& progress) {
  LargeReply& reply = *slot.reply;
  const bool complete = header.packet_order == reply.packets;
  if (!complete && header.packet_order != 0) {
    ++core_.stats.malformed;
    return;
  }
  reply.heard_ms = CoarseTime(now_ns_);
  slot.echo_base = header.timestamp - static_cast<uint32_t>(now_ns_);
  session.flow->OnRoundTrip(header, 0, now_ns_, rtt_options_);
  if (complete) return EndReply(session, slot);
  if (progress.granted == 0) {
    // It fetches, or has no room yet.
    if (header.resent) RecoverReply(session, reply);
    return;
  }
  core_.stats.bulk_failed += reply.announced.exposed();
  reply.message.Start(reply.announced.End(core_.bulk), session.payload_bytes(), /*granted=*/0);
  // So that what was said earlier and comes later is known to be old.
  session.flow->OnProgress(reply.message, header, progress, now_ns_, rtt_options_);
  PumpReplies(session);
}

}  // namespace weft::rpc
