// SPDX-License-Identifier: Apache-2.0
//
// Replies of several packets: sent as far as client and network allow, again where they were lost,
// and kept until the client has them.
#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/rpc/extended_server.h"

namespace weft::rpc {
namespace {

using State = ServerSlot::State;

}  // namespace

absl::Status ExtendedServer::ReplyInSeveral(const Place& place, Payload payload) {
  ServerSession& session = *place.session;
  const size_t bytes = payload.size();
  const size_t packets = OutgoingMessage::PacketsOf(payload, session.payload_bytes());
  if (bytes > core_.options.session.message_bytes_max || packets > kExtendedPacketsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("a reply of ", bytes, " bytes takes ", packets,
                     " packets; message_bytes_max allows ", core_.options.session.message_bytes_max,
                     " bytes, and a message has at most ", kExtendedPacketsMax, " packets"));
  }
  if (session.bulk && AnnounceReply(place, payload, packets)) return absl::OkStatus();
  if (cache_.full()) {
    MakeRoomForReplies();
    if (cache_.full()) return core_.NoRoom(packets);
  }
  cache_.Charge(static_cast<int64_t>(bytes));
  LargeReply* const reply = replies_.Take().release();
  reply->charged = bytes;
  reply->message.Start(std::move(payload), session.payload_bytes(),
                       std::max<size_t>(session.client_credits, 1));
  BeginReply(place, reply);
  PumpReplies(session);
  return absl::OkStatus();
}

void ExtendedServer::BeginReply(const Place& place, LargeReply* reply) {
  ServerSession& session = *place.session;
  ServerSlot& slot = *place.slot;
  reply->name = {session.number, session.key, slot.request_id};
  reply->heard_ms = CoarseTime(NowNs());
  Replied(session, slot, State::kReplying, NowNs());
  slot.reply = reply;
  ++session.large;
  ++replies_under_way_;
  FlowOf(session).PushBack(*reply);
}

void ExtendedServer::PumpReplies(ServerSession& session) {
  ReplyFlow& flow = *session.flow;
  const int64_t now_ns =
      core_.loop.clock().NowNs();  // after the handler, which may have taken long
  const size_t window = std::min(flow.window(), WindowPackets(session.packet_bytes));
  const int64_t gap_ns = flow.gap_ns();
  // Some of the buffers, and of the queue, stay for short replies.
  const BufferPool& pool = core_.port->pool();
  const size_t reserve = pool.count() / 16;
  size_t buffers = pool.available();
  for (LargeReply* reply = flow.head; reply != nullptr; reply = reply->next) {
    while (const std::optional<size_t> index = reply->message.Next()) {
      if (flow.in_flight >= window) return;
      if (core_.sending.room() <= core_.sending.capacity() / 2 || buffers <= reserve) {
        if (!std::exchange(flow.waits, true)) waiting_.push_back(flow.name);
        return;
      }
      if (gap_ns > 0 && flow.pacer.Allowed(now_ns, gap_ns, kPacedBurst) == 0) {
        core_.loop.timers().Schedule(flow.pacing, flow.pacer.NextNs(gap_ns));
        return;
      }
      SendReplyPacket(session, *reply, *index, now_ns);
      --buffers;
    }
  }
}

void ExtendedServer::SendReplyPacket(ServerSession& session, LargeReply& reply, size_t index,
                                     int64_t now_ns) {
  ReplyFlow& flow = *session.flow;
  OutgoingMessage& message = reply.message;
  const ServerSlot& slot = session.slots[static_cast<uint16_t>(reply.name.request_id)];
  const size_t packets = message.packets();
  ExtendedHeader header = AnswerTo(session, slot, MessageType::kResponse, now_ns);
  header.first = index == 0;
  header.last = index + 1 == packets;
  header.packet_order = static_cast<uint16_t>(index == 0 ? packets : index);
  header.resent = message.WasSent(index);
  if (header.resent) {
    ++core_.stats.retransmitted;
    ++session.retransmitted;
  }

  const absl::Span<const uint8_t> bytes = message.packet(index);
  Buffer packet = core_.port->pool().Allocate();
  if (gather_ && bytes.size() > kCopyMaxBytes && packet) {
    WriteExtendedHeader(header, packet.Append(kExtendedHeaderBytes));
    reply.tail_epoch = core_.sending.epoch();
    if (!core_.sending.Push(session.peer, std::move(packet), bytes)) ++core_.stats.send_overflows;
  } else {
    Send(session.peer, header, bytes, std::move(packet));
  }
  flow.OnSent(message, index, now_ns);
  reply.sent_ns = now_ns;
  flow.pacer.OnSent(now_ns, flow.gap_ns(), kPacedBurst, 1);
}

void ExtendedServer::OnProgress(ServerSession& session, Datagram& datagram,
                                const ExtendedHeader& header) {
  // With `last` it would be about a request, which servers do not send.
  if (header.slot() >= session.slot_count || header.last) {
    ++core_.stats.unexpected;
    return;
  }
  ServerSlot& slot = session.slots[header.slot()];
  if (slot.request_id != header.request_id || slot.state != State::kReplying) {
    // One that waits for more is told that there is no more.
    const bool gone = slot.request_id == header.request_id && slot.state == State::kGone;
    if (gone && header.resent) return SendDrop(session, slot, Recycle(datagram));
    ++core_.stats.unexpected;
    return;
  }
  Progress progress;
  if (!ReadProgress(datagram.buffer.bytes(), &progress)) {
    ++core_.stats.malformed;
    return;
  }
  LargeReply& reply = *slot.reply;
  if (reply.announced.active()) return OnAnnouncedProgress(session, slot, header, progress);
  ReplyFlow& flow = *session.flow;
  const OutgoingMessage::Acked acked =
      flow.OnProgress(reply.message, header, progress, now_ns_, rtt_options_);
  if (!acked.valid) {
    ++core_.stats.malformed;
    return;
  }
  reply.heard_ms = CoarseTime(now_ns_);
  slot.echo_base = header.timestamp - static_cast<uint32_t>(now_ns_);
  if (acked.complete) {
    EndReply(session, slot);
  } else if (header.resent) {
    RecoverReply(session, reply);
  }
  PumpReplies(session);
}

void ExtendedServer::RecoverReply(ServerSession& session, LargeReply& reply) {
  ReplyFlow& flow = *session.flow;
  OutgoingMessage& message = reply.message;
  const int64_t now_ns = core_.loop.clock().NowNs();
  const int64_t patience_ns =
      flow.rtt.has_sample() ? flow.rtt.srtt_ns() : rtt_options_.rto_initial_ns;
  if (now_ns - reply.sent_ns < patience_ns) return;
  if (reply.announced.active()) {
    ServerSlot& slot = session.slots[static_cast<uint16_t>(reply.name.request_id)];
    return SendAnnouncement(session, slot, /*resent=*/true);
  }
  const size_t in_flight = flow.in_flight;
  const size_t before = message.in_flight();
  message.OnTimeout();
  flow.in_flight -= before;
  if (before > 0 && flow.congestion != nullptr) {
    flow.congestion->OnTimeout(now_ns, static_cast<uint32_t>(in_flight));
  }
  // Beyond the window too: one packet, to which the client says where it stands.
  SendReplyPacket(session, reply, message.Next().value_or(0), now_ns);
  PumpReplies(session);
}

void ExtendedServer::EndReply(ServerSession& session, ServerSlot& slot) {
  std::unique_ptr<LargeReply> reply(std::exchange(slot.reply, nullptr));
  slot.state = State::kGone;
  --session.large;
  --replies_under_way_;
  session.flow->in_flight -= reply->message.in_flight();
  session.flow->Remove(*reply);
  cache_.Charge(-static_cast<int64_t>(std::exchange(reply->charged, 0)));
  reply->announced.End(core_.bulk);
  if (std::exchange(reply->in_bulk, false) && --session.flow->in_bulk == 0) --bulk_sessions_;
  const Payload sent = reply->message.Release();
  if (reply->tail_epoch == core_.sending.epoch()) core_.sending.Withdraw(sent);
  replies_.Return(std::move(reply));
}

bool ExtendedServer::Resume() {
  const size_t before = core_.sending.size();
  resumed_.swap(waiting_);
  for (const RequestName& name : resumed_) {
    ServerSession* const session = sessions_.Find(name.session, name.key);
    if (session == nullptr || session->flow == nullptr) continue;
    session->flow->waits = false;
    PumpReplies(*session);
  }
  resumed_.clear();
  return core_.sending.size() > before;
}

ReplyFlow& ExtendedServer::FlowOf(ServerSession& session) {
  if (session.flow == nullptr) {
    session.flow =
        new ReplyFlow(this, &ExtendedServer::OnPacing,
                      MakeCongestionControl(*core_.port, core_.options.session.congestion));
    session.flow->name = {session.number, session.key, 0};
  }
  session.flow->unused = false;
  return *session.flow;
}

void ExtendedServer::FreeUnusedFlow(ServerSession& session) {
  if (session.flow == nullptr || session.flow->head != nullptr) return;
  // What was learnt is kept for a while.
  if (std::exchange(session.flow->unused, true)) FreeFlow(session);
}

void ExtendedServer::FreeFlow(ServerSession& session) {
  delete std::exchange(session.flow, nullptr);
}

void ExtendedServer::OnPacing(void* self, int64_t) {
  const ReplyFlow& flow = *static_cast<ReplyFlow*>(self);
  ExtendedServer& server = *flow.server;
  ServerSession* const session = server.sessions_.Find(flow.name.session, flow.name.key);
  if (session != nullptr) server.PumpReplies(*session);
}

}  // namespace weft::rpc
