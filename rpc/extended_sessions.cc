// SPDX-License-Identifier: Apache-2.0
//
// Sessions: how they begin, are kept alive and end.
#include <algorithm>
#include <array>
#include <utility>

#include "weft/rpc/extended_server.h"

namespace weft::rpc {
namespace {

constexpr size_t kSessionsPerSweep = 64;
constexpr int64_t kSweepTickNsMin = 200'000;
constexpr int64_t kSweepsMin = 4;
constexpr size_t kDrainsPerTick = 64;

// Packets that ask for something, and so deserve to be told that nobody is here to give it.
bool IsQuestion(const ExtendedHeader& header) {
  return header.type == MessageType::kRequest || header.kind == ControlKind::kProgress ||
         header.kind == ControlKind::kCancel || header.kind == ControlKind::kPing ||
         header.kind == ControlKind::kClose;
}

}  // namespace

void ExtendedServer::OnHello(Datagram& datagram, const ExtendedHeader& header) {
  if (packet_bytes_max_ < kExtendedPacketBytesMin) {
    ++core_.stats.unexpected;  // the port carries too little for this format
    return;
  }
  Hello hello;
  if (!ReadHello(datagram.buffer.bytes(), &hello) || header.from_session == 0) {
    ++core_.stats.malformed;
    return;
  }
  ServerSession* session = sessions_.FindClient(hello.incarnation, header.from_session);
  if (session != nullptr && session->nonce != header.key) {
    if (static_cast<int32_t>(header.key - session->nonce) < 0) {
      // Late: the client has opened this session since. It counts its nonces up.
      ++core_.stats.duplicates;
      return;
    }
    EndSession(*session, SessionEvent::Kind::kLost);
    session = OpenSession(datagram, header, hello);
  } else if (session == nullptr) {
    session = OpenSession(datagram, header, hello);
  } else {
    ++core_.stats.duplicates;
  }
  if (session == nullptr) {
    return RefuseHello(datagram, header,
                       core_.draining ? DropReason::kShuttingDown : DropReason::kNoSessions);
  }
  session->peer = datagram.peer;
  session->heard_ms = CoarseTime(now_ns_);
  SendHelloAck(*session, datagram, header);
}

ServerSession* ExtendedServer::OpenSession(const Datagram& datagram, const ExtendedHeader& header,
                                           const Hello& hello) {
  if (core_.draining) return nullptr;
  ServerSession* session = sessions_.Open(hello.incarnation, header.from_session);
  if (session == nullptr) return nullptr;
  session->nonce = header.key;
  session->opened_ns = now_ns_;
  session->peer = datagram.peer;
  session->slots_max =
      static_cast<uint16_t>(std::min<size_t>(hello.slots, core_.options.session.slots));
  // A datagram as long as that has just got through; a longer one need not.
  const size_t proven =
      std::max(kExtendedHeaderBytes + datagram.buffer.size(), kExtendedPacketBytesMin);
  session->packet_bytes = static_cast<uint16_t>(
      std::min({size_t{hello.packet_bytes}, packet_bytes_max_, proven,
                std::max(core_.port->MaxPayloadTo(datagram.peer), kExtendedPacketBytesMin)}));
  const int64_t timeout_ns = std::min(timeout_ns_, int64_t{hello.timeout_us} * 1000);
  session->timeout_ms = CoarseTime(timeout_ns) + 1;
  ++core_.stats.sessions_opened;
  core_.stats.sessions.Set(static_cast<int64_t>(sessions_.open()));
  if (!sweep_.armed()) ScheduleSweep(now_ns_);
  if (events_) {
    events_(
        {.kind = SessionEvent::Kind::kOpened, .session = session->number, .peer = session->peer});
  }
  return session;
}

void ExtendedServer::RefuseHello(Datagram& datagram, const ExtendedHeader& header,
                                 DropReason reason) {
  ++core_.stats.sessions_refused;
  ++core_.stats.refused;
  ExtendedHeader drop = Control(ControlKind::kNone, header);
  drop.type = MessageType::kDrop;
  drop.code = reason;
  std::array<uint8_t, kDropBytes> body;
  WriteDrop(0, body.data());
  const Peer peer = datagram.peer;
  Send(peer, drop, body, Recycle(datagram));
}

void ExtendedServer::SendHelloAck(ServerSession& session, Datagram& datagram,
                                  const ExtendedHeader& header) {
  ExtendedHeader ack = Control(ControlKind::kHelloAck, header);
  ack.from_session = session.number;
  ack.timestamp = static_cast<uint32_t>(now_ns_);
  ack.credits = core_.credits;
  std::array<uint8_t, kHelloBytes> body;
  WriteHello({.slots = session.slots_max,
              .packet_bytes = session.packet_bytes,
              .incarnation = incarnation_,
              .timeout_us = static_cast<uint32_t>(timeout_ns_ / 1000),
              .key = session.key},
             body.data());
  Send(session.peer, ack, body, Recycle(datagram));
}

void ExtendedServer::OnClose(ServerSession& session, Datagram& datagram,
                             const ExtendedHeader& header) {
  const Peer peer = datagram.peer;
  Send(peer, Control(ControlKind::kCloseAck, header), {}, Recycle(datagram));
  EndSession(session, SessionEvent::Kind::kClosed);
}

void ExtendedServer::SendReset(Datagram& datagram, const ExtendedHeader& header) {
  if (!IsQuestion(header)) {
    ++core_.stats.unexpected;
    return;
  }
  ++core_.stats.resets;
  const Peer peer = datagram.peer;
  Send(peer, Control(ControlKind::kReset, header), {}, Recycle(datagram));
}

void ExtendedServer::EndSession(ServerSession& session, SessionEvent::Kind why) {
  // Not to be found any more: whoever holds a call of it sees it cancelled.
  sessions_.Close(session);
  for (uint16_t i = 0; i < session.slot_count; ++i) {
    Retire(session, session.slots[i]);
    cache_.Release(session, session.slots[i]);
  }
  FreeFlow(session);
  const SessionEvent event = {.kind = why,
                              .session = session.number,
                              .peer = session.peer,
                              .age_ns = NowNs() - session.opened_ns};
  sessions_.Free(session);
  ++(why == SessionEvent::Kind::kClosed ? core_.stats.sessions_closed : core_.stats.sessions_lost);
  core_.stats.sessions.Set(static_cast<int64_t>(sessions_.open()));
  if (sessions_.open() == 0) core_.loop.timers().Cancel(sweep_);
  if (events_) events_(event);
}

void ExtendedServer::Forget(const Peer& client) {
  for (uint32_t number = 1; number <= sessions_.places(); ++number) {
    ServerSession& session = *sessions_.At(number);
    if (session.key != 0 && session.peer == client) EndSession(session, SessionEvent::Kind::kLost);
  }
}

void ExtendedServer::OnSweep(void* self, int64_t now_ns) {
  auto& server = *static_cast<ExtendedServer*>(self);
  server.Sweep(now_ns);
  if (server.sessions_.open() > 0) server.ScheduleSweep(now_ns);
}

void ExtendedServer::ScheduleSweep(int64_t now_ns) {
  const auto slices = static_cast<int64_t>(sessions_.places() / kSessionsPerSweep);
  const int64_t most = std::max(kSweepsMin, sweep_period_ns_ / kSweepTickNsMin);
  core_.loop.timers().Schedule(sweep_,
                               now_ns + sweep_period_ns_ / std::clamp(slices, kSweepsMin, most));
}

void ExtendedServer::Sweep(int64_t now_ns) {
  const int64_t most = std::max(kSweepsMin, sweep_period_ns_ / kSweepTickNsMin);
  const size_t places = sessions_.places();
  // As many as ScheduleSweep() counts on.
  const size_t slice = std::max(kSessionsPerSweep, places / static_cast<size_t>(most) + 1);
  const uint32_t now_ms = CoarseTime(now_ns);
  for (size_t i = 0; i < std::min(slice, places); ++i) {
    if (sweep_hand_ >= places) sweep_hand_ = 0;
    ServerSession& session = *sessions_.At(static_cast<uint32_t>(++sweep_hand_));
    if (session.key == 0) continue;
    if (now_ms - session.heard_ms > session.timeout_ms &&
        static_cast<int32_t>(now_ms - session.heard_ms) > 0) {
      EndSession(session, SessionEvent::Kind::kLost);
    } else if (session.blocks > 0 || session.flow != nullptr || session.large > 0) {
      FreeOld(session, now_ms);
    }
  }
}

bool ExtendedServer::TellOfDraining() {
  for (size_t told = 0; drain_hand_ < sessions_.places() && told < kDrainsPerTick;) {
    if (core_.sending.room() <= core_.sending.capacity() / 2) return false;
    ServerSession& session = *sessions_.At(static_cast<uint32_t>(++drain_hand_));
    if (session.key == 0 || session.told_to_drain) continue;
    session.told_to_drain = true;
    ExtendedHeader drain = HeaderTo(session, MessageType::kAck, 0);
    drain.kind = ControlKind::kDrain;
    Send(session.peer, drain, {}, core_.port->pool().Allocate());
    ++told;
  }
  return drain_hand_ >= sessions_.places();
}

void ExtendedServer::CloseAll() {
  events_ = nullptr;
  for (uint32_t number = 1; number <= sessions_.places(); ++number) {
    ServerSession& session = *sessions_.At(number);
    if (session.key == 0) continue;
    if (number % kMaxBurst == 0) core_.sending.Flush(*core_.port);
    ExtendedHeader close = HeaderTo(session, MessageType::kAck, 0);
    close.kind = ControlKind::kClose;
    close.code = DropReason::kShuttingDown;
    Send(session.peer, close, {}, core_.port->pool().Allocate());
    EndSession(session, SessionEvent::Kind::kClosed);
  }
}

void ExtendedServer::ForEachSession(absl::FunctionRef<void(const ServerSession&)> f) {
  for (uint32_t number = 1; number <= sessions_.places(); ++number) {
    const ServerSession& session = *sessions_.At(number);
    if (session.key != 0) f(session);
  }
}

}  // namespace weft::rpc
