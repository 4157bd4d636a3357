// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/server.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/core/bytes.h"
#include "weft/rpc/packets.h"

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

Server::Server(Loop& loop, std::unique_ptr<DatagramPort> port, const ServerOptions& options)
    : loop_(loop),
      port_(std::move(port)),
      options_(options),
      burst_(BurstOf(*port_)),
      reassembly_timeout_ns_(TimeoutNs(options.reassembly_timeout)),
      incoming_({.packets_max = options.message_packets_max,
                 .requests_max = options.messages_max,
                 .requests_per_peer_max = options.messages_per_peer_max,
                 // The other half stays for requests in one packet and for replies.
                 .buffers_max = port_->pool().count() / 2},
                [this](const Peer& client, uint16_t request_id) { Done(client, request_id); }),
      expiry_(&Server::OnExpiry, this),
      sending_(port_->pool().count(), &stats_.send_overflows) {
  loop_.Add(this);
}

Server::~Server() {
  // Both may hold calls, whose end the router and some clients are told of.
  tasks_.Cancel();
  handler_ = nullptr;
  sending_.Flush(*port_);
  loop_.Remove(this);
}

absl::Status Server::Init() {
  if (absl::Status status = CheckOptions(options_); !status.ok()) return status;
  absl::StatusOr<size_t> payload = PacketPayloadBytes(*port_);
  if (!payload.ok()) return payload.status();
  packet_payload_bytes_ = *payload;
  if (options_.router.kind() == Address::Kind::kNone) return absl::OkStatus();
  absl::StatusOr<Peer> router = port_->Resolve(options_.router);
  if (!router.ok()) return router.status();
  router_ = *router;
  return absl::OkStatus();
}

size_t Server::Poll() {
  size_t work = sending_.Flush(*port_);
  if (port_->has_events()) [[unlikely]] {
    work += OnEvents();
  }
  // Replies that cannot leave are a reason not to take more requests: they wait where the sender
  // feels it.
  if (sending_.size() > sending_.capacity() / 2) return work;
  const size_t n = port_->Receive(absl::MakeSpan(received_).first(burst_));
  if (n == 0) return work;
  for (size_t i = 0; i < n; ++i) {
    OnDatagram(received_[i]);
    received_[i].buffer.Reset();  // if it was dropped
  }
  sending_.Flush(*port_);
  return work + n;
}

size_t Server::OnEvents() {
  std::array<PortEvent, 8> events;
  const size_t n = port_->TakeEvents(absl::MakeSpan(events));
  for (size_t i = 0; i < n; ++i) incoming_.Forget(events[i].peer);
  return n;
}

void Server::OnDatagram(Datagram& datagram) {
  Header header;
  if (!ReadHeader(datagram.buffer.bytes(), &header)) {
    ++stats_.malformed;
    return;
  }
  if (header.type != MessageType::kRequest) {
    ++stats_.unexpected;
    return;
  }
  datagram.buffer.TrimFront(kHeaderBytes);
  OnRequest(datagram.peer, header, std::move(datagram.buffer));
}

void Server::OnRequest(const Peer& client, const Header& header, Buffer payload) {
  if (!header.first) return OnLaterPacket(client, header, std::move(payload));
  const bool replicated =
      header.policy == Policy::kReplicatedRoute || header.policy == Policy::kReplicatedRouteNoSe;
  if (replicated || header.packet_order > options_.message_packets_max ||
      (admission_ && !admission_(client, payload.bytes()))) {
    return Refuse(client, header.request_id);
  }
  if (header.last) [[likely]] {
    return Dispatch(client, header, BufferChain(std::move(payload)));
  }
  OnFirstOfSeveral(client, header, std::move(payload));
}

void Server::OnFirstOfSeveral(const Peer& client, const Header& header, Buffer payload) {
  switch (incoming_.Begin(client, header, std::move(payload), loop_.now_ns())) {
    case IncomingRequests::BeginResult::kTooMany:
    case IncomingRequests::BeginResult::kTooLong:
      return Refuse(client, header.request_id);
    case IncomingRequests::BeginResult::kAgain:
      // The ACK may have been lost.
      ++stats_.duplicates;
      break;
    case IncomingRequests::BeginResult::kBegun:
      stats_.evicted += incoming_.evicted() - stats_.evicted;
      if (!expiry_.armed()) {
        loop_.timers().Schedule(expiry_, loop_.now_ns() + reassembly_timeout_ns_);
      }
      break;
  }
  SendControl(MessageType::kAck, client, header.request_id, kAckPayload);
}

void Server::OnLaterPacket(const Peer& client, const Header& header, Buffer payload) {
  IncomingRequests::Result result;
  Header first;
  BufferChain request;
  if (!incoming_.Add(client, header, std::move(payload), loop_.now_ns(), &result, &first,
                     &request)) {
    ++stats_.unexpected;
    return;
  }
  switch (result) {
    case IncomingRequests::Result::kIncomplete:
      stats_.evicted += incoming_.evicted() - stats_.evicted;
      return;
    case IncomingRequests::Result::kComplete:
      return Dispatch(client, first, std::move(request));
    case IncomingRequests::Result::kDuplicate:
      ++stats_.duplicates;
      return;
    case IncomingRequests::Result::kContradiction:
    case IncomingRequests::Result::kTooLong:
      ++stats_.malformed;
      return;
  }
}

void Server::Dispatch(const Peer& client, const Header& header, BufferChain request) {
  ++stats_.requests;
  handler_(ServerCall(this, client, header, std::move(request)));
}

void Server::OnExpiry(void* self, int64_t now_ns) {
  auto& server = *static_cast<Server*>(self);
  server.stats_.expired += server.incoming_.Expire(now_ns - server.reassembly_timeout_ns_ + 1);
  if (server.incoming_.size() == 0) return;
  server.loop_.timers().Schedule(
      server.expiry_, server.incoming_.oldest_progress_ns() + server.reassembly_timeout_ns_);
}

void Server::Refuse(const Peer& client, uint16_t request_id) {
  ++stats_.refused;
  SendControl(MessageType::kDrop, client, request_id, kDropPayload);
  Done(client, request_id);
}

void Server::SendControl(MessageType type, const Peer& client, uint16_t request_id,
                         absl::string_view payload) {
  Buffer packet =
      CopyOf(port_->pool(), {reinterpret_cast<const uint8_t*>(payload.data()), payload.size()});
  if (packet) {
    WriteHeader(ReplyHeader(type, request_id), packet.Prepend(kHeaderBytes));
    if (sending_.Push(client, std::move(packet))) return;
  }
  ++stats_.send_overflows;
}

void Server::Done(const Peer& client, uint16_t request_id) {
  if (!router_) [[likely]]
    return;
  const absl::StatusOr<Address> address = port_->AddressOf(client);
  if (!address.ok() || address->kind() != Address::Kind::kIpv4) return;
  Buffer packet = port_->pool().Allocate();
  if (packet) {
    const Address::Ipv4Bytes ip = address->ipv4();
    WriteFeedback({request_id, address->port(), LoadBig32(ip.data())},
                  packet.Append(kFeedbackBytes));
    if (sending_.Push(router_, std::move(packet))) {
      ++stats_.feedbacks;
      return;
    }
  }
  ++stats_.send_overflows;
}

absl::Status Server::SendReply(const ServerCall& call, Buffer reply) {
  if (sending_.room() == 0) return NoRoom(1);
  WriteHeader(ReplyHeader(MessageType::kResponse, call.request_id_), reply.Prepend(kHeaderBytes));
  sending_.Push(call.client_, std::move(reply));
  return absl::OkStatus();
}

template <typename Pieces>
absl::Status Server::CopyReply(const ServerCall& call, size_t size, Pieces piece) {
  const size_t packets =
      std::max<size_t>(1, (size + packet_payload_bytes_ - 1) / packet_payload_bytes_);
  if (packets > options_.message_packets_max) {
    return absl::InvalidArgumentError(absl::StrCat("a reply of ", size, " bytes takes ", packets,
                                                   " packets; message_packets_max allows ",
                                                   options_.message_packets_max));
  }
  // All or nothing: a reply that is cut off in the middle only keeps the client waiting.
  if (packets > sending_.room() || packets > port_->pool().available()) return NoRoom(packets);
  size_t taken = 0;  // of *piece
  for (size_t i = 0; i < packets; ++i) {
    Buffer packet = port_->pool().Allocate();
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
    Header header = ReplyHeader(MessageType::kResponse, call.request_id_);
    header.first = i == 0;
    header.last = i + 1 == packets;
    header.packet_order = static_cast<uint16_t>(i == 0 ? packets : i);
    WriteHeader(header, packet.Prepend(kHeaderBytes));
    sending_.Push(call.client_, std::move(packet));
  }
  return absl::OkStatus();
}

absl::Status Server::NoRoom(size_t packets) {
  ++stats_.send_overflows;
  return absl::ResourceExhaustedError(absl::StrCat(
      "a reply of ", packets, " packets found no buffers, or no room to wait for the port"));
}

ServerCall::~ServerCall() {
  if (server_ == nullptr) return;
  ++server_->stats_.unanswered;
  server_->Done(client_, request_id_);
}

Loop& ServerCall::loop() const { return server_->loop_; }

Buffer ServerCall::Allocate() { return server_->port_->pool().Allocate(); }

absl::Status ServerCall::Reply(absl::Span<const uint8_t> reply) {
  return Finish(server_->CopyReply(*this, reply.size(), &reply));
}

absl::Status ServerCall::Reply(Buffer reply) {
  if (!reply) return absl::InvalidArgumentError("the reply is a null buffer");
  if (reply.size() > server_->packet_payload_bytes_ || reply.headroom() < kHeaderBytes) {
    return Reply(reply.bytes());
  }
  return Finish(server_->SendReply(*this, std::move(reply)));
}

absl::Status ServerCall::Reply(BufferChain reply) {
  if (reply.pieces() == 1) return Reply(reply.PopFront());
  return Finish(server_->CopyReply(*this, reply.size(), reply.begin()));
}

absl::Status ServerCall::Finish(absl::Status sent) {
  if (sent.ok()) {
    ++server_->stats_.replies;
    std::exchange(server_, nullptr)->Done(client_, request_id_);
  }
  return sent;
}

void ServerCall::Drop() {
  assert(server_ != nullptr);
  std::exchange(server_, nullptr)->Refuse(client_, request_id_);
}

}  // namespace weft::rpc
