// SPDX-License-Identifier: Apache-2.0
//
// Replies and refusals: sent at once, kept for a while in case that they are lost.
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/rpc/extended_server.h"

namespace weft::rpc {
namespace {

using State = ServerSlot::State;

// Places that one search for replies to be freed looks at.
constexpr size_t kPlacesPerSearch = 256;

// Whether more than `age_ms` have passed between `then_ms` and `now_ms`.
bool IsOlder(uint32_t then_ms, uint32_t now_ms, uint32_t age_ms) {
  return static_cast<int32_t>(now_ms - then_ms) > static_cast<int32_t>(age_ms);
}

absl::Status NobodyWaits() {
  return absl::CancelledError("the client gave the call up, is gone, or its deadline has passed");
}

}  // namespace

// All that a short reply needs, in one piece of code.
[[gnu::flatten]] absl::Status ExtendedServer::Reply(const ServerCall& call, Buffer reply) {
  const Place place = Find(call);
  if (place.slot == nullptr) return NobodyWaits();
  if (reply.size() > place.session->payload_bytes()) {
    return ReplyInSeveral(place, Payload(std::move(reply)));
  }
  if (reply.headroom() < kExtendedHeaderBytes) {
    return ReplyWithPacket(place, reply.bytes(), CopyOf(core_.port->pool(), reply.bytes()));
  }
  const absl::Span<const uint8_t> bytes = reply.bytes();
  return ReplyWithPacket(place, bytes, std::move(reply));
}

absl::Status ExtendedServer::Reply(const ServerCall& call, absl::Span<const uint8_t> reply) {
  const Place place = Find(call);
  if (place.slot == nullptr) return NobodyWaits();
  if (reply.size() > place.session->payload_bytes()) {
    return ReplyInSeveral(place, CopyOfReply(*place.session, reply));
  }
  return ReplyWithPacket(place, reply, CopyOf(core_.port->pool(), reply));
}

absl::Status ExtendedServer::Reply(const ServerCall& call, Payload reply) {
  const Place place = Find(call);
  if (place.slot == nullptr) return NobodyWaits();
  if (reply.size() > place.session->payload_bytes()) return ReplyInSeveral(place, std::move(reply));
  if (Buffer buffer = reply.TakeBuffer()) return Reply(call, std::move(buffer));
  Buffer packet = core_.port->pool().Allocate();
  if (!packet) return core_.NoRoom(1);
  reply.ForEachPiece([&packet](absl::Span<const uint8_t> piece) {
    if (!piece.empty()) std::memcpy(packet.Append(piece.size()), piece.data(), piece.size());
  });
  const absl::Span<const uint8_t> bytes = packet.bytes();
  return ReplyWithPacket(place, bytes, std::move(packet));
}

absl::Status ExtendedServer::ReplyWithPacket(const Place& place, absl::Span<const uint8_t> bytes,
                                             Buffer packet) {
  ServerSession& session = *place.session;
  ServerSlot& slot = *place.slot;
  const int64_t now_ns = NowNs();
  const bool kept = Keep(session, slot, bytes);
  if (packet && core_.sending.room() > 0) [[likely]] {
    WriteExtendedHeader(AnswerTo(session, slot, MessageType::kResponse, now_ns),
                        packet.Prepend(kExtendedHeaderBytes));
    core_.sending.Push(session.peer, std::move(packet));
  } else if (kept) {
    // The client will ask again.
    ++core_.stats.send_overflows;
  } else {
    return core_.NoRoom(1);
  }
  Replied(session, slot, kept ? State::kReplied : State::kGone, now_ns);
  return absl::OkStatus();
}

bool ExtendedServer::Keep(ServerSession& session, ServerSlot& slot,
                          absl::Span<const uint8_t> reply) {
  if (cache_.full()) [[unlikely]] {
    MakeRoomForReplies();
    if (cache_.full()) return false;
  }
  cache_.Reserve(session, slot, reply.size());
  if (!reply.empty()) std::memcpy(slot.block, reply.data(), reply.size());
  slot.size = static_cast<uint16_t>(reply.size());
  return true;
}

void ExtendedServer::Replied(ServerSession& session, ServerSlot& slot, State state,
                             int64_t now_ns) {
  Execution* execution = slot.execution;
  if (&slot == running_) running_ = nullptr;
  slot.state = state;
  slot.replied_ms = CoarseTime(now_ns);
  --session.executing;
  if (execution != nullptr) executions_.Return(execution);
}

void ExtendedServer::Drop(const ServerCall& call, DropReason reason) {
  const Place place = Find(call);
  if (place.slot == nullptr) return;
  Replied(*place.session, *place.slot, State::kDropped, NowNs());
  place.slot->code = reason;
  SendDrop(*place.session, *place.slot, core_.port->pool().Allocate());
}

void ExtendedServer::ResendKept(ServerSession& session, ServerSlot& slot, Buffer packet) {
  ++core_.stats.retransmitted;
  ++session.retransmitted;
  ExtendedHeader header = AnswerTo(session, slot, MessageType::kResponse, NowNs());
  header.resent = true;
  Send(session.peer, header, {slot.block, slot.size}, std::move(packet));
}

void ExtendedServer::SendDrop(ServerSession& session, ServerSlot& slot, Buffer packet) {
  ExtendedHeader header = AnswerTo(session, slot, MessageType::kDrop, NowNs());
  header.code = slot.code;
  if (slot.state == State::kGone) {
    ++core_.stats.replies_gone;
    header.code = DropReason::kReplyGone;
  }
  std::array<uint8_t, kDropBytes> body;
  WriteDrop(header.code == DropReason::kOverloaded ? core_.RetryAfterUs() : 0, body.data());
  Send(session.peer, header, body, std::move(packet));
}

void ExtendedServer::SendProgress(ServerSession& session, ServerSlot& slot, uint16_t packets,
                                  Buffer packet) {
  ExtendedHeader header = AnswerTo(session, slot, MessageType::kAck, NowNs());
  header.kind = ControlKind::kProgress;
  header.packet_order = packets;
  std::array<uint8_t, kProgressBytesMax> body;
  const size_t bytes = WriteProgress({.granted = packets}, body.data());
  Send(session.peer, header, absl::MakeSpan(body).first(bytes), std::move(packet));
}

void ExtendedServer::FreeOld(ServerSession& session, uint32_t now_ms) {
  for (uint16_t i = 0; i < session.slot_count; ++i) {
    ServerSlot& slot = session.slots[i];
    switch (slot.state) {
      case State::kReceiving:
        if (IsOlder(slot.request->progress_ms, now_ms, reassembly_ms_)) {
          ++core_.stats.expired;
          EndRequest(session, slot);
          Refuse(session, slot, DropReason::kOverloaded, core_.port->pool().Allocate());
        }
        continue;
      case State::kExecuting:
        continue;  // its block is soon needed again
      case State::kReplying:
        if (IsOlder(slot.reply->heard_ms, now_ms, reply_cache_ms_)) EndReply(session, slot);
        continue;
      case State::kReplied:
        if (!IsOlder(slot.replied_ms, now_ms, reply_cache_ms_)) continue;
        slot.state = State::kGone;
        break;
      default:
        break;
    }
    cache_.Release(session, slot);
  }
  FreeUnusedFlow(session);
}

void ExtendedServer::MakeRoomForReplies() {
  const size_t places = sessions_.places();
  for (size_t i = 0; i < std::min(kPlacesPerSearch, places) && !cache_.roomy(); ++i) {
    if (reply_hand_ >= places) reply_hand_ = 0;
    ServerSession& session = *sessions_.At(static_cast<uint32_t>(++reply_hand_));
    for (uint16_t j = 0; j < session.slot_count && session.blocks > 0 && !cache_.roomy(); ++j) {
      ServerSlot& slot = session.slots[j];
      if (slot.state == State::kReplied) slot.state = State::kGone;
      cache_.Release(session, slot);
    }
  }
}

}  // namespace weft::rpc
