// SPDX-License-Identifier: Apache-2.0
//
// Requests and replies of several packets, as a client sends and receives them.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/rpc/call_status.h"
#include "weft/rpc/client_sessions.h"

namespace weft::rpc {
namespace {

// A request that the server has no room for is asked for again so often at least, as perhaps
// nothing else brings it back.
constexpr int64_t kProbeMaxNs = 5'000'000;

}  // namespace

absl::Status ClientSessions::CheckSizeOfLong(const ClientSession& session,
                                             const Payload& request) const {
  const size_t bytes_max = base_.options.session.message_bytes_max;
  if (request.size() > bytes_max) {
    return NotExecuted(absl::InvalidArgumentError(absl::StrCat(
        "the request has ", request.size(), " bytes; message_bytes_max allows ", bytes_max)));
  }
  if (session.packet_payload_bytes == 0 || request.size() <= session.packet_payload_bytes) {
    return absl::OkStatus();
  }
  const size_t packets = OutgoingMessage::PacketsOf(request, session.packet_payload_bytes);
  if (packets <= kExtendedPacketsMax) return absl::OkStatus();
  return NotExecuted(absl::InvalidArgumentError(absl::StrCat(
      "the request takes ", packets, " packets; a message has at most ", kExtendedPacketsMax)));
}

// --- Requests

void ClientSessions::StartTransfer(ClientCall& call) {
  ClientSession& session = *call.session;
  if (call.transfer == nullptr) call.transfer = std::make_unique<ClientTransfer>(&call);
  if (session.bulk && Announce(call)) return;
  OutgoingMessage& request = call.transfer->request;
  // A router sees the first packet only, so that no more may go before the server has answered.
  const bool routed = session.pooled && call.member == nullptr;
  const size_t granted = routed ? 1 : WayOf(call).credits;
  request.Start(std::move(call.request), session.packet_payload_bytes, granted);
  call.packets = static_cast<uint16_t>(request.packets());
  call.state = ClientCall::State::kSending;
  session.sending.PushBack(call);
  PumpTransfer(call);
  Arm(call, base_.loop.clock().NowNs(), RtoOf(session.rtt));
}

void ClientSessions::PumpTransfer(ClientCall& call) {
  ClientSession& session = *call.session;
  if (!WayOf(call).is_open()) return;
  // Some credits are left to short requests. Not some of the window of congestion control, which
  // grows only when it is full.
  const size_t most = std::min<size_t>(WayOf(call).credits, session.window_max);
  const size_t window = std::min(WindowOf(session), most - most / 8);
  // The round may have begun long ago: the application has just filled a long request, perhaps.
  const int64_t now_ns = base_.loop.clock().NowNs();
  while (const std::optional<size_t> index = call.transfer->request.Next()) {
    if (session.in_flight >= window || base_.sending.room() == 0) return;
    const int64_t gap_ns = session.gap_ns();
    if (gap_ns > 0 && session.pacer.Allowed(now_ns, gap_ns, kPacedBurst) == 0) return;
    SendRequestPacket(call, *index, now_ns);
  }
}

void ClientSessions::SendRequestPacket(ClientCall& call, size_t index, int64_t now_ns) {
  ClientSession& session = *call.session;
  OutgoingMessage& request = call.transfer->request;
  ExtendedHeader header = RequestHeader(call, WayOf(call), now_ns);
  header.first = index == 0;
  header.last = index + 1 == call.packets;
  header.packet_order = index == 0 ? call.packets : static_cast<uint16_t>(index);
  header.resent = request.WasSent(index);
  if (header.resent) {
    ++base_.stats.retransmissions;
    ++session.retransmissions;
    if (call.resent != nullptr) ++*call.resent;
  }
  if (session.pooled && call.member == nullptr) [[unlikely]] {
    SendAnycast(call, header, Payload::External(request.packet(index)), now_ns);
  } else {
    SendPacket(WayOf(call), header, request.packet(index), &call);
    if (session.pooled) Pace(session);
  }
  session.OnSent(request, index, now_ns);
}

void ClientSessions::OnProgress(ClientSession& session, const ExtendedHeader& header,
                                absl::Span<const uint8_t> body) {
  Progress progress;
  ClientCall* const call = CallOf(session, header);
  // Without `last` it would be about a reply, which clients do not send.
  if (call == nullptr || !header.last) {
    ++base_.stats.unexpected;
    return;
  }
  if (!ReadProgress(body, &progress)) {
    ++base_.stats.malformed;
    return;
  }
  if (call->state == ClientCall::State::kSent) {
    call->state = ClientCall::State::kExecuting;
    const bool counted = call->counted;
    Landed(*call);
    OnRoundTrip(session, header, counted);
    return Pump(session);
  }
  if (call->state != ClientCall::State::kSending) return;
  if (call->transfer->announced.active()) return OnAnnouncedProgress(*call, header, progress);

  const int64_t now_ns = base_.loop.now_ns();
  const OutgoingMessage::Acked acked =
      session.OnProgress(call->transfer->request, header, progress, now_ns, rtt_, &base_.bulk);
  if (!acked.valid) {
    ++base_.stats.malformed;
    return;
  }
  session.credits = std::max<uint16_t>(header.credits, 1);
  if (acked.packets > 0 || acked.moved_edge) {
    call->tries = 0;
    Arm(*call, now_ns, RtoOf(session.rtt));
  } else if (acked.refused) {
    Arm(*call, now_ns, std::min(RtoOf(session.rtt, call->tries), kProbeMaxNs));
  }
  if (acked.complete) {
    FinishRequest(*call);
    call->state = ClientCall::State::kExecuting;
    Arm(*call, now_ns, RtoOf(session.response_time));
  }
  Pump(session);
}

void ClientSessions::FinishRequest(ClientCall& call) {
  ClientSession& session = *call.session;
  session.in_flight -= call.transfer->request.in_flight();
  session.sending.Remove(call);
  ReleaseRequest(call);
}

void ClientSessions::OnTransferTimeout(ClientCall& call, int64_t now_ns) {
  ClientSession& session = *call.session;
  if (call.transfer->announced.active()) {
    return SendAnnouncement(call, /*resent=*/true, base_.loop.clock().NowNs());
  }
  OutgoingMessage& request = call.transfer->request;
  const size_t before = request.in_flight();
  SlowDown(call, now_ns, RtoOf(session.rtt, call.tries - 1));
  request.OnTimeout();
  session.in_flight -= before - request.in_flight();
  // Beyond the window too: one packet, so that the server says where it stands.
  SendRequestPacket(call, request.Next().value_or(0), base_.loop.clock().NowNs());
  PumpTransfer(call);
}

// --- Replies

// Whether there is room for the reply that `header` is of. False: the packet is to be dropped; the
// call may have ended.
bool ClientSessions::MakeRoom(ClientCall& call, const ExtendedHeader& header) {
  ReceiveBudget::Reservation& room = call.transfer->room;
  if (room.held() > 0) [[likely]]
    return true;
  const size_t packets = header.total();
  if (room.waiting() || packets == 0) return false;
  switch (budget_.Reserve(packets, &room)) {
    case ReceiveBudget::Result::kReserved:
      return true;
    case ReceiveBudget::Result::kWaits:
    case ReceiveBudget::Result::kTooMany:
      return false;
    case ReceiveBudget::Result::kNeverFits:
      SendControl(WayOf(call), ControlKind::kCancel, call.request_id);
      Fail(call, absl::OutOfRangeError(
                     absl::StrCat("the reply has ", packets, " packets; there is room for ",
                                  budget_.capacity(), " (half of transport.buffers.count)")));
      return false;
  }
  return false;
}

void ClientSessions::OnReplyPacket(ClientCall& call, const ExtendedHeader& header,
                                   Buffer&& payload) {
  ClientSession& session = *call.session;
  if (call.state == ClientCall::State::kSending) FinishRequest(call);
  call.state = ClientCall::State::kReceiving;
  ReleaseRequest(call);
  if (call.transfer == nullptr) call.transfer = std::make_unique<ClientTransfer>(&call);
  ClientTransfer& transfer = *call.transfer;
  if (header.kind == ControlKind::kAnnouncement) {
    return OnAnnouncement(call, header, payload.bytes());
  }
  if (transfer.fetch_bytes > 0) [[unlikely]] {
    ++base_.stats.unexpected;  // nobody has asked for packets
    return;
  }
  const CallId id = IdOf(call);
  const bool room = MakeRoom(call, header);
  // Without the length of the reply nothing can be said to it: it would look like a refusal.
  if (!room && (Find(id) == nullptr || header.total() == 0)) return;

  transfer.echo = header.timestamp;
  transfer.echo_arrived_ns = base_.loop.now_ns();
  AcknowledgeLater(call);
  if (!room) return;
  if (std::max(header.total(), header.index() + 1) > transfer.room.held()) [[unlikely]] {
    ++base_.stats.malformed;  // longer than it said at first
    return;
  }
  switch (transfer.reply.Add(header.index(), header.total(), header.last, std::move(payload))) {
    case Reassembly::Result::kIncomplete:
      break;
    case Reassembly::Result::kDuplicate:
      ++base_.stats.unexpected;
      break;
    case Reassembly::Result::kContradiction:
    case Reassembly::Result::kTooLong:
      ++base_.stats.malformed;
      break;
    case Reassembly::Result::kComplete: {
      SendProgress(call, /*resent=*/false);
      BufferChain reply = transfer.reply.Take();
      const size_t bytes_max = base_.options.session.message_bytes_max;
      if (reply.size() > bytes_max) {
        Fail(call,
             absl::OutOfRangeError(absl::StrCat("the reply has ", reply.size(),
                                                " bytes; message_bytes_max allows ", bytes_max)));
      } else {
        ++base_.stats.replies;
        End(call, std::move(reply));
      }
      return Pump(session);
    }
  }
}

void ClientSessions::SendProgress(ClientCall& call, bool resent) {
  ClientTransfer& transfer = *call.transfer;
  const int64_t now_ns = base_.loop.now_ns();
  const size_t here = transfer.reply.cumulative();
  const size_t granted = transfer.room.held() == 0
                             ? 0
                             : std::min(here + base_.options.session.credits, transfer.room.held());
  uint8_t body[kProgressBytesMax];
  uint8_t bitmap[Reassembly::kBitmapBytes];
  const size_t bytes = WriteProgress(transfer.reply.FillProgress(granted, bitmap), body);
  ClientSession& way = WayOf(call);
  ExtendedHeader header = HeaderTo(way, MessageType::kAck, call.request_id, now_ns);
  header.kind = ControlKind::kProgress;
  header.packet_order = static_cast<uint16_t>(here);
  header.last = false;  // it is about a reply
  header.resent = resent;
  header.echo_valid = transfer.acknowledge;
  header.echo = transfer.echo + static_cast<uint32_t>(now_ns - transfer.echo_arrived_ns);
  SendPacket(way, header, {body, bytes}, nullptr);
  transfer.acknowledge = false;
}

void ClientSessions::AcknowledgeReplies() {
  for (const CallId id : to_acknowledge_) {
    ClientCall* const call = Find(id);
    if (call == nullptr || call->state != ClientCall::State::kReceiving ||
        !call->transfer->acknowledge) {
      continue;
    }
    SendProgress(*call, /*resent=*/false);
    if (call->transfer->fetch_bytes == 0) call->tries = 0;
    const bool waits = call->transfer->waits_since_ns > 0;
    Arm(*call, base_.loop.now_ns(), waits ? kWayProbeNs : TransferRtoOf(*call));
  }
  to_acknowledge_.clear();
}

void ClientSessions::EndTransfer(ClientCall& call) {
  if (call.state == ClientCall::State::kSending) FinishRequest(call);
  call.transfer->reply.Reset();
  call.transfer->acknowledge = false;
  call.transfer->fetch_bytes = 0;
  call.transfer->in_packets = false;
  call.transfer->waits_since_ns = 0;
  call.transfer->room.Reset();
}

}  // namespace weft::rpc
