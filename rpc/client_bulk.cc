// SPDX-License-Identifier: Apache-2.0
//
// Requests and replies that are announced and fetched rather than sent, as a client sees them.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/rpc/client_sessions.h"

namespace weft::rpc {
namespace {

// A reply that is too long for packets is waited for so long, when it cannot be fetched.
constexpr int64_t kWaitForWayNs = 1'000'000'000;

}  // namespace

int64_t ClientSessions::TransferRtoOf(const ClientCall& call) const {
  const ClientTransfer& transfer = *call.transfer;
  const size_t bytes =
      transfer.announced.active() ? transfer.announced.bytes() : transfer.fetch_bytes;
  const int64_t rto_ns = RtoOf(call.session->rtt, call.tries);
  return bytes == 0 ? rto_ns : rto_ns + FetchPatienceNs(bytes, call.tries);
}

// --- Requests

bool ClientSessions::Announce(ClientCall& call) {
  ClientSession& session = *call.session;
  const size_t packets = OutgoingMessage::PacketsOf(call.request, session.packet_payload_bytes);
  if (!call.transfer->announced.Begin(base_.bulk, call.request)) return false;
  call.packets = static_cast<uint16_t>(packets);
  call.state = ClientCall::State::kSending;
  session.sending.PushBack(call);
  const int64_t now_ns = base_.loop.clock().NowNs();
  SendAnnouncement(call, /*resent=*/false, now_ns);
  Arm(call, now_ns, TransferRtoOf(call));
  return true;
}

void ClientSessions::SendAnnouncement(ClientCall& call, bool resent, int64_t now_ns) {
  AnnouncedMessage& announced = call.transfer->announced;
  if (announced.Expose(base_.bulk, call.session->peer)) ++base_.stats.bulk_sent;
  uint8_t body[kAnnouncementBytes];
  const size_t bytes = announced.WriteBody(body);
  ExtendedHeader header = RequestHeader(call, *call.session, now_ns);
  header.kind = ControlKind::kAnnouncement;
  header.last = false;
  header.packet_order = call.packets;
  header.resent = resent;
  SendPacket(*call.session, header, {body, bytes}, nullptr);
}

// The server has fetched the request, or is about to, or wants packets instead.
void ClientSessions::OnAnnouncedProgress(ClientCall& call, const ExtendedHeader& header,
                                         const Progress& progress) {
  ClientSession& session = *call.session;
  const int64_t now_ns = base_.loop.now_ns();
  const bool complete = header.packet_order == call.packets;
  if (!complete && header.packet_order != 0) {
    ++base_.stats.malformed;
    return;
  }
  OnRoundTrip(session, header, 0);
  if (complete) {
    FinishRequest(call);
    call.tries = 0;
    call.state = ClientCall::State::kExecuting;
    Arm(call, now_ns, RtoOf(session.response_time));
  } else if (progress.granted == 0) {
    // It fetches, or has no room yet, and is asked again. Or it could only fetch it, and waits for
    // a way, as this does.
    const bool exposed = call.transfer->announced.exposed();
    if (!exposed) call.tries = 0;
    Arm(call, now_ns, exposed ? TransferRtoOf(call) : kWayProbeNs);
  } else {
    base_.stats.bulk_failed += call.transfer->announced.exposed();
    OutgoingMessage& request = call.transfer->request;
    request.Start(call.transfer->announced.End(base_.bulk), session.packet_payload_bytes,
                  /*granted=*/0);
    // So that what was said earlier and comes later is known to be old.
    session.OnProgress(request, header, progress, now_ns, rtt_, &base_.bulk);
    call.tries = 0;
    Arm(call, now_ns, RtoOf(session.rtt));
  }
  Pump(session);
}

// --- Replies

void ClientSessions::OnAnnouncement(ClientCall& call, const ExtendedHeader& header,
                                    absl::Span<const uint8_t> body) {
  ClientTransfer& transfer = *call.transfer;
  Announcement announcement;
  if (!ReadAnnouncement(body, &announcement)) {
    ++base_.stats.malformed;
    return;
  }
  transfer.echo = header.timestamp;
  transfer.echo_arrived_ns = base_.loop.now_ns();
  if (transfer.fetch_bytes > 0) return AcknowledgeLater(call);
  if (!transfer.in_packets) {
    const size_t bytes_max = base_.options.session.message_bytes_max;
    if (announcement.bytes > bytes_max) {
      SendControl(WayOf(call), ControlKind::kCancel, call.request_id);
      return Fail(call, absl::OutOfRangeError(absl::StrCat("the reply has ", announcement.bytes,
                                                           " bytes; message_bytes_max allows ",
                                                           bytes_max)));
    }
    if (base_.bulk.Fetch(WayOf(call).peer, announcement, IdOf(call).value)) {
      transfer.fetch_bytes = announcement.bytes;
      transfer.fetch_packets = header.packet_order;
      call.tries = 0;
      return Arm(call, base_.loop.now_ns(), TransferRtoOf(call));
    }
    if (WaitsForWay(call, announcement.bytes, header.packet_order)) return AcknowledgeLater(call);
    base_.stats.bulk_failed += announcement.fetchable;
    transfer.in_packets = true;
  }
  const CallId id = IdOf(call);
  MakeRoom(call, header);
  if (Find(id) != nullptr) AcknowledgeLater(call);
}

// Whether a reply that cannot be fetched now is too long to come in any other way, and may yet be.
bool ClientSessions::WaitsForWay(ClientCall& call, size_t bytes, size_t packets) {
  if (packets <= budget_.capacity() || !base_.bulk.MayFetch(bytes)) return false;
  int64_t& since_ns = call.transfer->waits_since_ns;
  if (since_ns == 0) since_ns = base_.loop.now_ns();
  return base_.loop.now_ns() - since_ns < kWaitForWayNs;
}

void ClientSessions::AcknowledgeLater(ClientCall& call) {
  if (std::exchange(call.transfer->acknowledge, true)) return;
  to_acknowledge_.push_back(IdOf(call));
}

size_t ClientSessions::TakeFetched() {
  return base_.bulk.TakeFetched([this](BulkTransfers::Fetched&& fetched) {
    // Whose call has ended goes back at once.
    ClientCall* const call = Find(CallId{fetched.context});
    if (call == nullptr || call->state != ClientCall::State::kReceiving ||
        call->transfer->fetch_bytes == 0) {
      return;
    }
    OnFetched(*call, std::move(fetched));
  });
}

void ClientSessions::OnFetched(ClientCall& call, BulkTransfers::Fetched&& fetched) {
  ClientSession& session = *call.session;
  ClientTransfer& transfer = *call.transfer;
  const size_t bytes = std::exchange(transfer.fetch_bytes, 0);
  if (fetched.ok && fetched.buffer.size() == bytes) {
    SendComplete(call);
    ++base_.stats.replies;
    ++base_.stats.bulk_received;
    End(call, BufferChain(std::move(fetched.buffer)));
    return Pump(session);
  }
  ++base_.stats.bulk_failed;
  fetched.buffer.Reset();
  if (WaitsForWay(call, bytes, transfer.fetch_packets)) {
    call.tries = 0;
    return Arm(call, base_.loop.now_ns(), kWayProbeNs);
  }
  transfer.in_packets = true;
  const CallId id = IdOf(call);
  MakeRoom(call, {.first = true, .packet_order = transfer.fetch_packets});
  if (Find(id) == nullptr) return;
  SendProgress(call, /*resent=*/false);
  call.tries = 0;
  Arm(call, base_.loop.now_ns(), RtoOf(session.rtt));
}

// All of the reply is here: whoever has it may let go of it.
void ClientSessions::SendComplete(const ClientCall& call) {
  const ClientTransfer& transfer = *call.transfer;
  const int64_t now_ns = base_.loop.now_ns();
  uint8_t body[kProgressBytesMax];
  const size_t bytes = WriteProgress({.granted = transfer.fetch_packets}, body);
  ClientSession& way = WayOf(call);
  ExtendedHeader header = HeaderTo(way, MessageType::kAck, call.request_id, now_ns);
  header.kind = ControlKind::kProgress;
  header.packet_order = transfer.fetch_packets;
  header.last = false;  // it is about a reply
  header.echo_valid = true;
  header.echo = transfer.echo + static_cast<uint32_t>(now_ns - transfer.echo_arrived_ns);
  SendPacket(way, header, {body, bytes}, nullptr);
}

}  // namespace weft::rpc
