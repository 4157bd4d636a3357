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
constexpr size_t kExpiredPerTick = 1024;
constexpr size_t kForgottenPerPoll = 4096;  // looked at, some tens of microseconds
constexpr int64_t kExpiryTickNsMin = 1'000'000;

// In the order of nonces, which come round (RFC 1982).
bool IsBefore(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }

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
  const uint32_t pool = ReadHelloPool(datagram.buffer.bytes());
  const SessionTable::Client client = {hello.incarnation, pool == 0 ? header.from_session : 0, pool,
                                       datagram.peer};
  ServerSession* session = sessions_.Find(client);
  if (session != nullptr && session->nonce != header.key) {
    if (IsBefore(header.key, session->nonce)) {
      // Late: the client has opened this session since. It counts its nonces up.
      ++core_.stats.duplicates;
      return;
    }
    // It opens the session anew, or somebody says so: what is open ends in Confirm().
    session = nullptr;
  }
  if (session == nullptr) session = sessions_.FindHalfOpen(client, header.key);
  if (session != nullptr) {
    ++core_.stats.duplicates;
  } else {
    session = OpenSession(datagram, client, header.key, hello);
    if (session != nullptr) session->client_number = header.from_session;
  }
  if (session == nullptr) {
    return RefuseHello(datagram, header,
                       core_.draining ? DropReason::kShuttingDown : DropReason::kNoSessions);
  }
  SendHelloAck(*session, datagram, header);
}

ServerSession* ExtendedServer::OpenSession(const Datagram& datagram,
                                           const SessionTable::Client& client, uint32_t nonce,
                                           const Hello& hello) {
  if (core_.draining) return nullptr;
  if (sessions_.open() >= core_.options.session.sessions_max) {
    ServerSession* const oldest = sessions_.OldestHalfOpen();
    if (oldest == nullptr) return nullptr;
    EndHalfOpen(*oldest, core_.stats.half_open_evicted);
  }
  ServerSession* const session = sessions_.Open(client, nonce, now_ns_);
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
  const uint32_t features = ReadHelloFeatures(datagram.buffer.bytes());
  session->bulk = core_.bulk.exists() && (features & kFeatureBulk) != 0;
  CountSessions();
  if (!half_open_timer_.armed()) {
    core_.loop.timers().Schedule(half_open_timer_, now_ns_ + half_open_ns_);
  }
  return session;
}

bool ExtendedServer::Confirm(ServerSession& session) {
  if (ServerSession* const other = sessions_.Find(SessionTable::ClientOf(session))) {
    if (IsBefore(session.nonce, other->nonce)) {
      EndHalfOpen(session, core_.stats.half_open_expired);
      return false;
    }
    EndSession(*other, SessionEvent::Kind::kLost);
  }
  sessions_.Confirm(session);
  session.opened_ns = now_ns_;
  ++core_.stats.sessions_opened;
  CountSessions();
  if (sessions_.half_open() == 0) core_.loop.timers().Cancel(half_open_timer_);
  if (!sweep_.armed()) ScheduleSweep(now_ns_);
  if (core_.draining) Tell(session, ControlKind::kDrain, DropReason::kNone);
  if (events_) {
    events_({.kind = SessionEvent::Kind::kOpened, .session = session.number, .peer = session.peer});
  }
  return true;
}

void ExtendedServer::EndHalfOpen(ServerSession& session, Counter& why) {
  sessions_.Close(session);
  sessions_.Free(session);
  ++why;
  CountSessions();
  if (sessions_.half_open() == 0) core_.loop.timers().Cancel(half_open_timer_);
}

void ExtendedServer::OnHalfOpenTimer(void* self, int64_t now_ns) {
  static_cast<ExtendedServer*>(self)->ExpireHalfOpen(now_ns);
}

void ExtendedServer::ExpireHalfOpen(int64_t now_ns) {
  for (size_t i = 0; i < kExpiredPerTick; ++i) {
    ServerSession* const oldest = sessions_.OldestHalfOpen();
    if (oldest == nullptr || now_ns - oldest->opened_ns < half_open_ns_) break;
    EndHalfOpen(*oldest, core_.stats.half_open_expired);
  }
  if (const ServerSession* const oldest = sessions_.OldestHalfOpen()) {
    core_.loop.timers().Schedule(
        half_open_timer_, std::max(oldest->opened_ns + half_open_ns_, now_ns + kExpiryTickNsMin));
  }
}

void ExtendedServer::CountSessions() {
  const size_t half_open = sessions_.half_open();
  core_.stats.sessions.Set(static_cast<int64_t>(sessions_.open() - half_open));
  core_.stats.sessions_half_open.Set(static_cast<int64_t>(half_open));
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
  std::array<uint8_t, kHelloFeaturesAt + kHelloFeaturesBytes> body = {};
  WriteHello({.slots = session.slots_max,
              .packet_bytes = session.packet_bytes,
              .incarnation = incarnation_,
              .timeout_us = static_cast<uint32_t>(timeout_ns_ / 1000),
              .key = session.key},
             body.data());
  absl::Span<const uint8_t> said = absl::MakeSpan(body).first(kHelloBytes);
  if (session.bulk) {
    WriteHelloFeatures(kFeatureBulk, body.data());
    said = body;
  }
  Send(session.peer, ack, said, Recycle(datagram));
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
  // A router that asks whether anybody is here learns who it is.
  std::array<uint8_t, r2p2::kIncarnationBytes> incarnation;
  absl::Span<const uint8_t> body;
  if (header.kind == ControlKind::kPing && header.session == 0 && core_.routers != nullptr &&
      datagram.buffer.size() >= incarnation.size()) {
    r2p2::WriteIncarnation(core_.routers->server_incarnation(), incarnation.data());
    body = incarnation;
  }
  Send(peer, Control(ControlKind::kReset, header), body, Recycle(datagram));
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
  CountSessions();
  if (sessions_.open() == sessions_.half_open()) core_.loop.timers().Cancel(sweep_);
  if (events_) events_(event);
}

void ExtendedServer::Forget(absl::Span<const Peer> clients) {
  gone_.assign(clients.begin(), clients.end());
  gone_hand_ = 0;
  ForgetSome();
}

void ExtendedServer::ForgetSome() {
  const size_t end = std::min(sessions_.places(), gone_hand_ + kForgottenPerPoll);
  while (gone_hand_ < end) {
    ServerSession& session = *sessions_.At(static_cast<uint32_t>(++gone_hand_));
    if (session.key == 0 || std::find(gone_.begin(), gone_.end(), session.peer) == gone_.end()) {
      continue;
    }
    session.half_open ? EndHalfOpen(session, core_.stats.half_open_expired)
                      : EndSession(session, SessionEvent::Kind::kLost);
  }
  if (gone_hand_ >= sessions_.places()) gone_.clear();
}

void ExtendedServer::OnSweep(void* self, int64_t now_ns) {
  auto& server = *static_cast<ExtendedServer*>(self);
  // This process has stood still, and what clients sent meanwhile lies in the port. One that is
  // always late has no excuse.
  const int64_t grace_ns = server.timeout_ns_ / 4;
  if (now_ns - server.sweep_due_ns_ > grace_ns &&
      now_ns - server.timeout_ns_ > server.lenient_until_ns_) {
    server.lenient_until_ns_ = now_ns + grace_ns;
  }
  server.Sweep(now_ns);
  if (server.sessions_.open() > server.sessions_.half_open()) server.ScheduleSweep(now_ns);
}

void ExtendedServer::ScheduleSweep(int64_t now_ns) {
  const auto slices = static_cast<int64_t>(sessions_.places() / kSessionsPerSweep);
  const int64_t most = std::max(kSweepsMin, sweep_period_ns_ / kSweepTickNsMin);
  sweep_due_ns_ = now_ns + sweep_period_ns_ / std::clamp(slices, kSweepsMin, most);
  core_.loop.timers().Schedule(sweep_, sweep_due_ns_);
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
    if (session.key == 0 || session.half_open) continue;
    if (now_ms - session.heard_ms > session.timeout_ms &&
        static_cast<int32_t>(now_ms - session.heard_ms) > 0 && now_ns >= lenient_until_ns_) {
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
    if (session.key == 0 || session.half_open || session.told_to_drain) continue;
    Tell(session, ControlKind::kDrain, DropReason::kNone);
    ++told;
  }
  return drain_hand_ >= sessions_.places();
}

void ExtendedServer::Tell(ServerSession& session, ControlKind kind, DropReason code) {
  if (kind == ControlKind::kDrain) session.told_to_drain = 1;
  ExtendedHeader header = HeaderTo(session, MessageType::kAck, 0, NowNs());
  header.kind = kind;
  header.code = code;
  Send(session.peer, header, {}, core_.port->pool().Allocate());
}

void ExtendedServer::CloseAll() {
  events_ = nullptr;
  for (uint32_t number = 1; number <= sessions_.places(); ++number) {
    ServerSession& session = *sessions_.At(number);
    if (session.key == 0) continue;
    if (session.half_open) {
      EndHalfOpen(session, core_.stats.half_open_expired);
      continue;
    }
    if (number % kMaxBurst == 0) core_.sending.Flush(*core_.port);
    Tell(session, ControlKind::kClose, DropReason::kShuttingDown);
    EndSession(session, SessionEvent::Kind::kClosed);
  }
}

void ExtendedServer::ForEachSession(absl::FunctionRef<void(const ServerSession&)> f) {
  for (uint32_t number = 1; number <= sessions_.places(); ++number) {
    const ServerSession& session = *sessions_.At(number);
    if (session.key != 0 && !session.half_open) f(session);
  }
}

}  // namespace weft::rpc
