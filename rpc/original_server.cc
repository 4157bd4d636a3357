// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/original_server.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "weft/rpc/packets.h"
#include "weft/rpc/port_protection.h"
#include "weft/rpc/security/security.h"

namespace weft::rpc {
namespace {

absl::Status CheckOptions(const ServerOptions& options) {
  absl::Status packets = CheckMessagePacketsMax(options.message_packets_max);
  if (!packets.ok()) return packets;
  if (options.messages_max == 0 || options.messages_per_peer_max == 0) {
    return absl::InvalidArgumentError("messages_max and messages_per_peer_max must be at least 1");
  }
  if (options.reassembly_timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("reassembly_timeout must be greater than zero");
  }
  return absl::OkStatus();
}

Header ReplyHeader(MessageType type, uint16_t request_id) {
  return {.type = type,
          .policy = Policy::kFixedRoute,
          .first = true,
          .last = true,
          .request_id = request_id,
          .packet_order = 1};
}

}  // namespace

OriginalServer::OriginalServer(ServerCore& core)
    : core_(core),
      reassembly_timeout_ns_(TimeoutNs(core.options.reassembly_timeout)),
      incoming_({.packets_max = core.options.message_packets_max,
                 .requests_max = core.options.messages_max,
                 .requests_per_peer_max = core.options.messages_per_peer_max,
                 // The other half stays for requests in one packet and for replies.
                 .buffers_max = core.port->pool().count() / 2},
                [this](const Peer& client, uint16_t request_id) {
                  core_.DoneUnheard(client, request_id);
                }),
      expiry_(&OriginalServer::OnExpiry, this) {}

absl::Status OriginalServer::Init() {
  if (absl::Status status = CheckOptions(core_.options); !status.ok()) return status;
  absl::StatusOr<size_t> payload = PacketPayloadBytes(*core_.port);
  if (!payload.ok()) return payload.status();
  packet_payload_bytes_ = *payload;
  const Security* const security = core_.options.security.get();
  limited_ = security != nullptr && security->mode() == Security::Mode::kPlaintext &&
             security->config().plaintext().original_format() == config::Plaintext::LIMITED &&
             !StaysWithinMachine(*core_.port, core_.port->local_address());
  return absl::OkStatus();
}

void OriginalServer::OnDatagram(Datagram& datagram) {
  Header header;
  if (!ReadHeader(datagram.buffer.bytes(), &header)) {
    ++core_.stats.malformed;
    return;
  }
  if (header.type != MessageType::kRequest) {
    ++core_.stats.unexpected;
    return;
  }
  datagram.buffer.TrimFront(kHeaderBytes);
  OnRequest(datagram.peer, header, std::move(datagram.buffer));
}

void OriginalServer::OnRequest(const Peer& client, const Header& header, Buffer payload) {
  if (!header.first) return OnLaterPacket(client, header, std::move(payload));
  const bool replicated =
      header.policy == Policy::kReplicatedRoute || header.policy == Policy::kReplicatedRouteNoSe;
  ServerStats& stats = core_.stats;
  const size_t bytes = payload.size();
  if (!core_.Authorises(client)) [[unlikely]] {
    return Refuse(client, header.request_id, bytes, stats.refused_forbidden);
  }
  if (replicated) return Refuse(client, header.request_id, bytes, stats.refused_unsupported);
  if (header.packet_order > core_.options.message_packets_max) {
    return Refuse(client, header.request_id, bytes, stats.refused_too_large);
  }
  if (core_.draining) return Refuse(client, header.request_id, bytes, stats.refused_shutting_down);
  if (core_.Overloaded()) return Refuse(client, header.request_id, bytes, stats.refused_overloaded);
  if (core_.admission && !core_.admission(client, payload.bytes())) {
    return Refuse(client, header.request_id, bytes, stats.refused_by_application);
  }
  if (header.last) [[likely]] {
    return Dispatch(client, header, BufferChain(std::move(payload)));
  }
  OnFirstOfSeveral(client, header, std::move(payload));
}

void OriginalServer::OnFirstOfSeveral(const Peer& client, const Header& header, Buffer payload) {
  const size_t bytes = payload.size();
  switch (incoming_.Begin(client, header, std::move(payload), core_.loop.now_ns())) {
    case IncomingRequests::BeginResult::kTooMany:
      return Refuse(client, header.request_id, bytes, core_.stats.refused_overloaded);
    case IncomingRequests::BeginResult::kTooLong:
      return Refuse(client, header.request_id, bytes, core_.stats.refused_too_large);
    case IncomingRequests::BeginResult::kAgain:
      // The ACK may have been lost.
      ++core_.stats.duplicates;
      break;
    case IncomingRequests::BeginResult::kBegun:
      core_.stats.evicted += incoming_.evicted() - core_.stats.evicted;
      if (!expiry_.armed()) {
        core_.loop.timers().Schedule(expiry_, core_.loop.now_ns() + reassembly_timeout_ns_);
      }
      break;
  }
  SendControl(MessageType::kAck, client, header.request_id, kAckPayload, bytes);
}

void OriginalServer::OnLaterPacket(const Peer& client, const Header& header, Buffer payload) {
  IncomingRequests::Result result;
  Header first;
  BufferChain request;
  if (!incoming_.Add(client, header, std::move(payload), core_.loop.now_ns(), &result, &first,
                     &request)) {
    ++core_.stats.unexpected;
    return;
  }
  switch (result) {
    case IncomingRequests::Result::kIncomplete:
      core_.stats.evicted += incoming_.evicted() - core_.stats.evicted;
      return;
    case IncomingRequests::Result::kComplete:
      return Dispatch(client, first, std::move(request));
    case IncomingRequests::Result::kDuplicate:
      ++core_.stats.duplicates;
      return;
    case IncomingRequests::Result::kContradiction:
    case IncomingRequests::Result::kTooLong:
      ++core_.stats.malformed;
      return;
  }
}

void OriginalServer::Dispatch(const Peer& client, const Header& header, BufferChain request) {
  const size_t packets = header.last ? 1 : header.packet_order;
  const size_t bytes = request.size() + packets * kHeaderBytes;
  core_.Run({.request_id = header.request_id,
             .key = static_cast<uint32_t>(std::min<size_t>(bytes, UINT32_MAX)),
             .policy = header.policy},
            client, ServerCall::kNever, std::move(request));
}

void OriginalServer::OnExpiry(void* self, int64_t now_ns) {
  auto& server = *static_cast<OriginalServer*>(self);
  server.core_.stats.expired += server.incoming_.Expire(now_ns - server.reassembly_timeout_ns_ + 1);
  if (server.incoming_.size() == 0) return;
  server.core_.loop.timers().Schedule(
      server.expiry_, server.incoming_.oldest_progress_ns() + server.reassembly_timeout_ns_);
}

void OriginalServer::Refuse(const Peer& client, uint16_t request_id, size_t request_bytes,
                            Counter& reason) {
  ++reason;
  ++core_.stats.refused;
  SendControl(MessageType::kDrop, client, request_id, kDropPayload, request_bytes);
  core_.DoneUnheard(client, request_id);
}

bool OriginalServer::IsNear(const Peer& client) const {
  const absl::StatusOr<Address> address = core_.port->AddressOf(client);
  return address.ok() && address->is_within_machine();
}

absl::Status OriginalServer::RefuseReply(const ServerCall& call, size_t bytes) {
  ++core_.stats.refused_amplification;
  ++core_.stats.refused;
  Drop(call);
  return absl::FailedPreconditionError(absl::StrCat(
      "a reply of ", bytes, " bytes to a request of ", call.ids_.key,
      " in the original format, whose sender's address may be forged: the client was told that it "
      "is refused. The extended format has no such limit; `security { plaintext { "
      "original_format: ANY } }` lifts it"));
}

void OriginalServer::SendControl(MessageType type, const Peer& client, uint16_t request_id,
                                 absl::string_view payload, size_t request_bytes) {
  if (!MaySend(client, payload.size(), request_bytes)) payload = payload.substr(0, request_bytes);
  Buffer packet = CopyOf(core_.port->pool(),
                         {reinterpret_cast<const uint8_t*>(payload.data()), payload.size()});
  if (packet) {
    WriteHeader(ReplyHeader(type, request_id), packet.Prepend(kHeaderBytes));
    if (core_.sending.Push(client, std::move(packet))) return;
  }
  ++core_.stats.send_overflows;
}

template <typename Pieces>
absl::Status OriginalServer::CopyReply(const ServerCall& call, size_t size, Pieces piece) {
  const size_t packets =
      std::max<size_t>(1, (size + packet_payload_bytes_ - 1) / packet_payload_bytes_);
  if (packets > core_.options.message_packets_max) {
    return absl::InvalidArgumentError(absl::StrCat("a reply of ", size, " bytes takes ", packets,
                                                   " packets; message_packets_max allows ",
                                                   core_.options.message_packets_max));
  }
  const size_t bytes = size + packets * kHeaderBytes;
  if (!MaySend(call.client_, bytes, call.ids_.key)) return RefuseReply(call, bytes);
  // All or nothing: a reply that is cut off in the middle only keeps the client waiting.
  if (packets > core_.sending.room() || packets > core_.port->pool().available())
    return core_.NoRoom(packets);
  size_t taken = 0;  // of *piece
  for (size_t i = 0; i < packets; ++i) {
    Buffer packet = core_.port->pool().Allocate();
    const size_t wanted = std::min(packet_payload_bytes_, size - i * packet_payload_bytes_);
    while (packet.size() < wanted) {
      const absl::Span<const uint8_t> rest = (*piece).subspan(taken, wanted - packet.size());
      if (!rest.empty()) std::memcpy(packet.Append(rest.size()), rest.data(), rest.size());
      taken += rest.size();
      if (taken == (*piece).size()) {
        ++piece;
        taken = 0;
      }
    }
    Header header =
        ReplyHeader(MessageType::kResponse, static_cast<uint16_t>(call.ids_.request_id));
    header.first = i == 0;
    header.last = i + 1 == packets;
    header.packet_order = static_cast<uint16_t>(i == 0 ? packets : i);
    WriteHeader(header, packet.Prepend(kHeaderBytes));
    core_.sending.Push(call.client_, std::move(packet));
  }
  return absl::OkStatus();
}

absl::Status OriginalServer::Reply(const ServerCall& call, absl::Span<const uint8_t> reply) {
  return CopyReply(call, reply.size(), &reply);
}

absl::Status OriginalServer::Reply(const ServerCall& call, Buffer reply) {
  if (reply.size() > packet_payload_bytes_ || reply.headroom() < kHeaderBytes) {
    return Reply(call, reply.bytes());
  }
  const size_t bytes = reply.size() + kHeaderBytes;
  if (!MaySend(call.client_, bytes, call.ids_.key)) return RefuseReply(call, bytes);
  if (core_.sending.room() == 0) return core_.NoRoom(1);
  WriteHeader(ReplyHeader(MessageType::kResponse, static_cast<uint16_t>(call.ids_.request_id)),
              reply.Prepend(kHeaderBytes));
  core_.sending.Push(call.client_, std::move(reply));
  return absl::OkStatus();
}

absl::Status OriginalServer::Reply(const ServerCall& call, const Payload& reply) {
  absl::InlinedVector<absl::Span<const uint8_t>, 8> pieces;
  reply.ForEachPiece([&](absl::Span<const uint8_t> piece) { pieces.push_back(piece); });
  return CopyReply(call, reply.size(), pieces.begin());
}

void OriginalServer::Drop(const ServerCall& call) {
  SendControl(MessageType::kDrop, call.client_, static_cast<uint16_t>(call.ids_.request_id),
              kDropPayload, call.ids_.key - kHeaderBytes);
}

}  // namespace weft::rpc
