// SPDX-License-Identifier: Apache-2.0
//
// Sessions with routers, and with the servers behind them.
//
// A router answers HELLO with POOL. From then on slots, window and waiting calls are those of the
// session with it, and requests go to it as ANYCAST. The server that it picks answers the client,
// which from the first packet on knows where the call is: the call is pinned to the session with
// that server, a member of the pool. A server that does not know the client yet answers RESET, and
// the client says HELLO to it.
#include <algorithm>
#include <utility>

#include "weft/rpc/call_status.h"
#include "weft/rpc/client_sessions.h"

namespace weft::rpc {
namespace {

// A router that has a new key is asked for it so often at most.
constexpr int64_t kAskRouterNs = 10'000'000;

uint32_t Microseconds32(int64_t ns) {
  return static_cast<uint32_t>(std::clamp<int64_t>(ns / 1000, 0, UINT32_MAX));
}

}  // namespace

// --- The session with a router

void ClientSessions::OpenPool(ClientSession& session, const ExtendedHeader& header,
                              const Hello& hello) {
  const int64_t now_ns = base_.loop.now_ns();
  const bool again = session.is_pool();
  const bool was_open = session.is_open();
  const size_t slots = std::min<size_t>(hello.slots, base_.options.session.slots);
  if (again) {
    // The servers know the old requests, whatever has become of the router.
    session.servers->asking = false;
    LimitSlots(session, std::min(slots, session.slots_max));
  } else {
    session.slots.clear();
    session.free_slots.clear();
    session.slots_max = slots;
    session.servers = std::make_unique<ClientPool>();
    session.servers->nonce = RandomWord();
    session.pooled = true;
  }
  session.bulk = false;  // a request finds its server by what it says itself
  session.remote_number = header.from_session;
  session.key = static_cast<uint32_t>(hello.incarnation);
  session.packet_payload_bytes =
      std::min<size_t>(hello.packet_bytes, PacketBytesTo(session.peer)) - kAnycastHeaderBytes;
  session.window_max = WindowPackets(session.packet_payload_bytes);
  // The router's queue is what holds requests back.
  session.credits = std::max<uint16_t>(header.credits, static_cast<uint16_t>(slots));
  session.timeout_ns =
      std::min(timeout_ns_, std::max<int64_t>(int64_t{hello.timeout_us} * 1000, kTimeoutLeastNs));
  session.heard_ns = now_ns;
  if (was_open) return;
  session.state = ClientSession::State::kOpen;
  session.opened_ns = now_ns;
  OnRoundTrip(session, header, 0);
  session.credits = std::max<uint16_t>(session.credits, static_cast<uint16_t>(slots));
  Watch(session, now_ns + PingPeriodNs(session));
  ++base_.stats.sessions_opened;
  Report(session, SessionEvent::Kind::kOpened);
  Pump(session);
  base_.gatherers.TellOfSession();
}

void ClientSessions::LimitSlots(ClientSession& pool, size_t slots) {
  pool.slots_max = std::min(pool.slots_max, slots);
  pool.servers->slots_lost +=
      std::erase_if(pool.free_slots, [&pool](uint16_t number) { return number >= pool.slots_max; });
}

void ClientSessions::AskRouterAgain(ClientSession& pool) {
  if (!pool.is_open() || base_.loop.now_ns() - pool.hello_ns < kAskRouterNs) return;
  pool.servers->asking = true;
  pool.tries = 0;
  NextNonce(pool);
  SendHello(pool);
}

void ClientSessions::LeavePool(ClientSession& pool, const absl::Status& error) {
  const uint32_t generation = pool.generation;
  EndCallsOf(pool, error, Waiting::kReconnect);
  while (pool.generation == generation && pool.is_pool() && !pool.servers->members.empty()) {
    CloseMember(*sessions_[pool.servers->members.begin()->second], error);
  }
  if (pool.generation != generation || !pool.is_pool()) return;  // callbacks have done it
  pool.servers.reset();
  pool.pooled = false;
  pool.slots.clear();
  pool.free_slots.clear();
}

// --- Sessions with servers

ClientSession* ClientSessions::FindMember(ClientSession& pool, const Peer& server) {
  const auto it = pool.servers->members.find(server);
  return it != pool.servers->members.end() ? sessions_[it->second].get() : nullptr;
}

absl::StatusOr<ClientSession*> ClientSessions::NewMember(ClientSession& pool, const Peer& server) {
  absl::StatusOr<ClientSession*> made = NewSession(server, /*own=*/false);
  if (!made.ok()) return made;
  ClientSession& member = **made;
  member.pool = &pool;
  member.pooled = true;
  member.confirmed_ns = 0;
  member.slots.clear();
  member.free_slots.clear();
  pool.servers->members.emplace(server, member.number);
  ++base_.stats.members_opened;
  StartConnecting(member);
  return made;
}

// It is open. Sends what has waited for that.
void ClientSessions::OpenMember(ClientSession& member) {
  ClientSession& pool = *member.pool;
  const uint32_t generation = member.generation;
  LimitSlots(pool, member.slots_max);
  pool.packet_payload_bytes = std::min(pool.packet_payload_bytes, member.packet_payload_bytes);
  // Callbacks may begin calls, or end the session.
  for (size_t i = 0; i < pool.slots.size(); ++i) {
    ClientCall* const call = pool.slots[i].call;
    if (call == nullptr || call->member != &member) continue;
    if (i >= member.slots_max) {
      Fail(*call, NotExecuted(absl::UnavailableError(
                      "the server grants fewer slots than its router; try again")));
    } else {
      SendAgain(*call);
    }
    if (member.generation != generation || member.pool != &pool || !member.is_open()) return;
  }
}

void ClientSessions::SendAgain(ClientCall& call) {
  const int64_t now_ns = base_.loop.now_ns();
  ClientSession& pool = *call.session;
  const bool sending = call.state == ClientCall::State::kSending;
  const size_t longest = sending ? call.transfer->request.packet(0).size() : call.request.size();
  if (longest > call.member->packet_payload_bytes) {
    return Fail(call, NotExecuted(absl::UnavailableError(
                          "the server takes shorter packets than its router; try again")));
  }
  if (sending) {
    OutgoingMessage& request = call.transfer->request;
    const size_t before = request.in_flight();
    request.OnTimeout();
    pool.in_flight -= before - request.in_flight();
    SendRequestPacket(call, request.Next().value_or(0), base_.loop.clock().NowNs());
    Arm(call, now_ns, RtoOf(pool.rtt));
  } else if (call.state == ClientCall::State::kCancelling) {
    SendControl(*call.member, ControlKind::kCancel, call.request_id);
  } else {
    SendInPool(call, now_ns);
    Arm(call, now_ns, FirstRtoOf(call));
  }
}

void ClientSessions::CloseMember(ClientSession& member, const absl::Status& error) {
  const std::vector<CallId> ending = CallsOf(member, Waiting::kEnd);
  const bool open = member.is_open();
  Detach(member);
  member.state = ClientSession::State::kClosing;
  member.tries = 0;
  EndCalls(ending, error);
  if (!open) return Forget(member);
  OnSessionTimer(&member, base_.loop.now_ns());
}

void ClientSessions::Detach(ClientSession& member) {
  ClientPool& servers = *member.pool->servers;
  servers.members.erase(member.peer);
  servers.lost_ns = base_.loop.now_ns();
  if (servers.chosen == &member) servers.chosen = nullptr;
  member.pool = nullptr;
  member.pooled = false;
  member.own = true;  // like those of the application, it is free once it has ended
}

// --- Calls

void ClientSessions::Choose(ClientCall& call) {
  ClientSession& pool = *call.session;
  if (!pool.own) return;
  if (pool.servers->chosen != nullptr) {
    Pin(call, *pool.servers->chosen);
  } else {
    pool.state = ClientSession::State::kChoosing;
  }
}

bool ClientSessions::Pin(ClientCall& call, ClientSession& member) {
  ClientSession& pool = *call.session;
  call.member = &member;
  ++member.pinned;
  ++member.calls;
  if (pool.state != ClientSession::State::kChoosing) return false;
  pool.servers->chosen = &member;
  pool.state = ClientSession::State::kOpen;
  return true;
}

void ClientSessions::Unpin(ClientCall& call) {
  ClientSession& pool = *call.session;
  const auto number = static_cast<uint16_t>(call.request_id);
  if (number < pool.slots_max) {
    pool.free_slots.push_back(number);
  } else {
    ++pool.servers->slots_lost;
  }
  if (ClientSession* const member = std::exchange(call.member, nullptr)) {
    --member->pinned;
    if (member->state == ClientSession::State::kDraining) CloseIfDrained(*member);
  } else if (pool.state == ClientSession::State::kChoosing) {
    pool.state = ClientSession::State::kOpen;  // the next one is to make the router choose
  }
}

void ClientSessions::SendInPool(ClientCall& call, int64_t now_ns) {
  ClientSession& pool = *call.session;
  if (call.member == nullptr) {
    return SendAnycast(call, RequestHeader(call, pool, now_ns), call.request, now_ns);
  }
  if (!call.member->is_open()) return;  // OpenMember() will
  ExtendedHeader header = RequestHeader(call, *call.member, now_ns);
  if (call.packets > 1) {
    header.last = false;  // a question, as in SendRequest()
    header.packet_order = call.packets;
  }
  if (call.request.contiguous()) {
    SendPacket(*call.member, header, call.request.front(), &call);
  } else {
    SendPieces(call, *call.member, header);
  }
  Pace(pool);
}

void ClientSessions::SendAnycast(ClientCall& call, ExtendedHeader header, const Payload& body,
                                 int64_t now_ns) {
  header.session = header.key = 0;
  Buffer packet = base_.port->pool().Allocate();
  if (!packet || packet.tailroom() < kAnycastHeaderBytes + body.size()) [[unlikely]] {
    ++base_.stats.send_overflows;  // as if the network had lost it
    return;
  }
  WriteAnycast(header,
               {.incarnation = incarnation_,
                .affinity = call.affinity,
                .age_us = Microseconds32(now_ns - call.sent_ns)},
               packet.Append(kAnycastHeaderBytes));
  const absl::Span<const uint8_t> tail = AppendPieces(call, body, packet);
  ++base_.stats.routed;
  PushPacket(*call.session, std::move(packet), tail);
}

void ClientSessions::CancelInPool(ClientCall& call, int64_t now_ns) {
  ExtendedHeader header = HeaderTo(*call.session, MessageType::kAck, call.request_id, now_ns);
  header.kind = ControlKind::kCancel;
  SendAnycast(call, header, Payload(), now_ns);
}

// --- Receiving

void ClientSessions::OnPooledPacket(const Peer& peer, ClientSession& session,
                                    ExtendedHeader& header, Buffer&& datagram) {
  if (session.pool != nullptr) return OnMemberPacket(session, header, std::move(datagram));
  header.credits = session.credits;
  switch (header.type) {
    case MessageType::kDrop: {
      const ClientCall* const call = CallOf(session, header);
      if (call != nullptr && call->member != nullptr) break;  // of another copy of the request
      // A router that has forgotten a request does not know whether it was executed.
      if (header.code == DropReason::kReplyGone) header.code = DropReason::kServerLost;
      return OnDrop(session, header, datagram.bytes().subspan(kExtendedHeaderBytes));
    }
    case MessageType::kAck:
      if (header.kind == ControlKind::kPong) return OnRoundTrip(session, header, 0);
      if (header.kind != ControlKind::kReset) break;
      if (header.request_id != 0) return OnUnknownToServer(session, peer, header);
      return Lose(session, absl::UnavailableError("the router has gone"), SessionEvent::Kind::kLost,
                  Waiting::kReconnect);
    default:
      break;
  }
  ++base_.stats.unexpected;
}

void ClientSessions::OnMemberPacket(ClientSession& member, ExtendedHeader& header,
                                    Buffer&& datagram) {
  ClientSession& pool = *member.pool;
  const int64_t now_ns = base_.loop.now_ns();
  if (member.confirmed_ns == 0) member.confirmed_ns = now_ns;
  const absl::Span<const uint8_t> body = datagram.bytes().subspan(kExtendedHeaderBytes);
  const bool control = header.type == MessageType::kAck && header.kind != ControlKind::kProgress;
  if (control && header.kind == ControlKind::kPong) return;
  if (control) return OnControl(member, header, body);
  ClientCall* const call = CallOf(pool, header);
  const bool its = call != nullptr && (call->member == nullptr || call->member == &member);
  if (!its || header.type == MessageType::kRequest) {
    ++base_.stats.unexpected;
    return;
  }
  // Of this server. What the pool may send is not for one of them to say.
  member.credits = std::max<uint16_t>(header.credits, 1);
  header.credits = pool.credits;
  bool chosen = false;
  const uint32_t generation = pool.generation;
  if (call->member == nullptr) {
    pool.heard_ns = now_ns;  // the router has sent it there
    chosen = Pin(*call, member);
    if (call->state == ClientCall::State::kCancelling) {
      SendControl(member, ControlKind::kCancel, call->request_id);
    }
  }
  if (header.type == MessageType::kResponse) {
    OnResponse(pool, header, std::move(datagram));
  } else if (header.type == MessageType::kDrop) {
    OnDrop(pool, header, body);
  } else {
    OnProgress(pool, header, body);
  }
  if (chosen && pool.generation == generation) Pump(pool);
}

void ClientSessions::OnStrayPacket(const Peer& peer, const ExtendedHeader& header) {
  if (header.session < sessions_.size() && sessions_[header.session]->is_pool()) {
    ClientSession& pool = *sessions_[header.session];
    if (header.kind == ControlKind::kReset && header.request_id != 0) {
      return OnUnknownToServer(pool, peer, header);
    }
    // Perhaps the router has restarted.
    if (header.type == MessageType::kDrop || header.kind == ControlKind::kPong) {
      AskRouterAgain(pool);
    }
  }
  ++base_.stats.unexpected;
}

// The router has sent the request to a server that does not know this client, and so does not
// execute it. Nobody else can say so who has not read the request's id.
void ClientSessions::OnUnknownToServer(ClientSession& pool, const Peer& server,
                                       const ExtendedHeader& header) {
  ClientCall* const call = CallOf(pool, header);
  if (call == nullptr || call->member != nullptr) {
    ++base_.stats.unexpected;
    return;
  }
  pool.heard_ns = base_.loop.now_ns();
  if (call->state == ClientCall::State::kCancelling) return Discard(*call);
  const CallId id = IdOf(*call);
  ClientSession* known = FindMember(pool, server);
  // An answer to what was sent before the server knew the session is only late. One that names the
  // session says that the request may be older.
  if (known != nullptr && header.from_session == 0 && known->confirmed_ns != 0 &&
      call->sent_ns >= known->confirmed_ns) {
    Lose(*known,
         absl::UnavailableError("the server has restarted or given up the session; the request "
                                "may or may not have been executed"),
         SessionEvent::Kind::kLost, Waiting::kEnd);
    if (Find(id) == nullptr) return;  // a callback has cancelled it
    known = FindMember(pool, server);
  }
  // What was sent first may have come to a server that knew this client then, and has restarted.
  // (Of a long request that would only be the first packet.)
  if (call->sent_twice && call->sent_ns <= pool.servers->lost_ns) {
    return Fail(*call, absl::UnavailableError("a server of the pool has gone; the request may or "
                                              "may not have been executed"));
  }
  if (known == nullptr) {
    const absl::StatusOr<ClientSession*> made = NewMember(pool, server);
    if (!made.ok()) return Fail(*call, made.status());
    known = *made;
  }
  ClientSession& member = *known;
  call->sent_twice = true;  // how long it takes says little
  const uint32_t generation = pool.generation;
  const bool chosen = Pin(*call, member);
  if (member.is_open()) SendAgain(*call);
  if (chosen && pool.generation == generation) Pump(pool);
}

}  // namespace weft::rpc
