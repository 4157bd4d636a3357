// SPDX-License-Identifier: Apache-2.0
//
// How a client's sessions are opened and watched.
#include "weft/rpc/client_sessions.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "weft/rpc/call_status.h"

namespace weft::rpc {
namespace {

constexpr int64_t kHelloFirstNs = 1'000'000;
constexpr int64_t kHelloMaxNs = 100'000'000;  // and a tenth of the session's timeout
// A HELLO is as long as the packets that it proposes. When so many were not answered, perhaps the
// path does not carry them: from then on they are as long as any path's.
constexpr uint32_t kLongHellos = 2;
constexpr size_t kSafePacketBytes = 1472;  // UDP payload of an Ethernet frame
constexpr uint32_t kNonceStepMax = 1 << 16;
constexpr uint32_t kCloses = 3;
// A server keeps a session for a second at most without a packet in it that shows that its client
// is where the HELLO came from. Until something is heard of it, it is sent one so often.
constexpr int64_t kConfirmNs = 100'000'000;
constexpr int64_t kCloseNs = 5'000'000;

absl::BitGen& SystemRandom() {
  static thread_local absl::BitGen random;
  return random;
}

// Over a port that loses nothing, a packet sent again only adds to what the peer is late with.
constexpr int64_t kReliableRtoMinNs = 10'000'000;

RttOptions RttOptionsOf(const SessionOptions& options, bool reliable) {
  RttOptions rtt;
  const int64_t least_ns = reliable ? kReliableRtoMinNs : 0;
  rtt.rto_max_ns = std::max(absl::ToInt64Nanoseconds(options.rto_max), least_ns);
  rtt.rto_initial_ns = std::max(absl::ToInt64Nanoseconds(options.rto_initial), least_ns);
  rtt.rto_min_ns = std::max(absl::ToInt64Nanoseconds(options.rto_min), least_ns);
  return rtt;
}

}  // namespace

ClientSession::ClientSession(ClientSessions* sessions, uint32_t number)
    : sessions(sessions),
      number(number),
      pacing(&ClientSessions::OnPacingTimer, this),
      timer(&ClientSessions::OnSessionTimer, this) {}

ClientSessions::ClientSessions(ClientBase& base, OriginalCalls& original)
    : base_(base),
      original_(original),
      rtt_(RttOptionsOf(base.options.session, base.port->capabilities().reliable)),
      timeout_ns_(TimeoutNs(base.options.session.timeout)),
      random_(base.options.request_id_seed ? *base.options.request_id_seed
                                           : absl::Uniform<uint64_t>(SystemRandom())),
      incarnation_(random_.Next() | 1),
      // The other half stays for requests, and for replies of one packet.
      budget_(
          {.buffers = base.port->pool().count() / 2, .waiting_max = base.options.outstanding_max},
          [this](ReceiveBudget::Reservation& room) {
            SendProgress(*static_cast<ClientCall*>(room.owner()), /*resent=*/false);
          }) {
  sessions_.push_back(std::make_unique<ClientSession>(this, 0));  // number 0 is nobody's
}

ClientSessions::~ClientSessions() {
  // While the budget and those who wait for it are still here.
  for (const auto& call : calls_) {
    if (call->transfer != nullptr) call->transfer->room.Reset();
  }
  for (const auto& session : sessions_) {
    if (session->is_open() && !session->is_pool()) SendControl(*session, ControlKind::kClose);
  }
  // Views of requests that end with this.
  for (const auto& call : calls_) ReleaseRequest(*call);
  base_.sending.Flush(*base_.port);
}

// --- Finding and opening

SessionId ClientSessions::IdOf(const ClientSession& session) {
  return {uint64_t{session.generation} << 32 | session.number};
}

ClientSession* ClientSessions::Find(SessionId id) {
  const auto number = static_cast<uint32_t>(id.value);
  if (number >= sessions_.size()) return nullptr;
  ClientSession& session = *sessions_[number];
  const bool same = session.generation == id.value >> 32;
  return same && session.state != ClientSession::State::kFree ? &session : nullptr;
}

absl::StatusOr<ClientSession*> ClientSessions::FindOrOpen(const Target& target) {
  if (target.session) {
    ClientSession* session = Find(target.session);
    if (session == nullptr || !session->own) {
      return NotExecuted(absl::NotFoundError("the session has been disconnected"));
    }
    return session;
  }
  ClientSession* session = nullptr;
  if (const auto it = by_peer_.find(target.server); it != by_peer_.end()) {
    session = sessions_[it->second].get();
  } else {
    absl::StatusOr<ClientSession*> made = NewSession(target.server, /*own=*/false);
    if (!made.ok()) return made.status();
    session = *made;
    by_peer_.emplace(target.server, session->number);
  }
  latest_peer_ = target.server;
  latest_ = session;
  return session;
}

// Gives up what is known of a server that is not talked to. Only at the limit of sessions.
bool ClientSessions::FreeUnused() {
  for (const auto& session : sessions_) {
    const bool idle = session->state == ClientSession::State::kIdle ||
                      session->state == ClientSession::State::kOriginal;
    if (!idle || session->own || !session->waiting.empty() || session->pinned > 0 ||
        session->slots_in_use() > 0) {
      continue;
    }
    if (session->is_pool()) LeavePool(*session, absl::OkStatus());
    by_peer_.erase(session->peer);
    latest_ = nullptr;
    session->state = ClientSession::State::kFree;
    free_sessions_.push_back(session->number);
    return true;
  }
  return false;
}

absl::StatusOr<ClientSession*> ClientSessions::NewSession(const Peer& server, bool own) {
  if (sessions_.size() - 1 - free_sessions_.size() >= base_.options.session.sessions_max &&
      !FreeUnused()) {
    return NotExecuted(absl::ResourceExhaustedError(
        absl::StrCat("there are as many sessions as rpc.session.sessions_max allows: ",
                     base_.options.session.sessions_max)));
  }
  if (free_sessions_.empty()) {
    free_sessions_.push_back(static_cast<uint32_t>(sessions_.size()));
    sessions_.push_back(std::make_unique<ClientSession>(this, free_sessions_.back()));
  }
  ClientSession& session = *sessions_[free_sessions_.back()];
  free_sessions_.pop_back();
  ++session.generation;
  session.own = own;
  session.peer = server;
  session.state = ClientSession::State::kIdle;
  session.calls = session.retransmissions = session.drops = 0;
  session.opened_ns = 0;
  session.pool = nullptr;
  session.pooled = false;
  session.pinned = 0;
  return &session;
}

absl::StatusOr<SessionId> ClientSessions::Connect(const Peer& server) {
  absl::StatusOr<ClientSession*> session = NewSession(server, /*own=*/true);
  if (!session.ok()) return session.status();
  StartConnecting(**session);
  return IdOf(**session);
}

size_t ClientSessions::PacketBytesTo(const Peer& peer) const {
  size_t bytes = std::min(base_.port->MaxPayloadTo(peer), base_.port->pool().payload_bytes());
  if (const size_t max = base_.options.session.packet_bytes_max; max != 0) {
    bytes = std::min(bytes, max);
  }
  return std::max(bytes, kExtendedPacketBytesMin);
}

SessionShape ClientSessions::ShapeOf(SessionId id) {
  const ClientSession* const session = Find(id);
  if (session == nullptr || !session->is_open()) return {};
  return {.packet_payload_bytes = session->packet_payload_bytes, .slots = session->slots_max};
}

void ClientSessions::StartConnecting(ClientSession& session) {
  session.state = ClientSession::State::kConnecting;
  session.began_ns = session.heard_ns = base_.loop.now_ns();
  // Servers tell by it a late HELLO from a client that has come back. Behind a router it is that
  // of all their sessions, as these come and go.
  if (session.pool != nullptr) session.nonce = session.pool->servers->nonce;
  NextNonce(session);
  if (session.pool != nullptr) session.pool->servers->nonce = session.nonce;
  session.tries = 0;
  session.rtt = session.response_time = RttEstimator();
  session.congestion = session.pool != nullptr
                           ? nullptr
                           : MakeCongestionControl(*base_.port, base_.options.session.congestion);
  SendHello(session);
}

void ClientSessions::NextNonce(ClientSession& session) {
  session.nonce += session.nonce == 0 ? RandomWord() : 1 + RandomWord() % kNonceStepMax;
  if (!session.is_open()) session.key = session.nonce;
}

void ClientSessions::SendHello(ClientSession& session) {
  const int64_t now_ns = base_.loop.now_ns();
  size_t bytes = PacketBytesTo(session.peer);
  if (session.tries >= kLongHellos) bytes = std::min(bytes, kSafePacketBytes);
  Buffer packet = base_.port->pool().Allocate();
  if (packet && packet.tailroom() >= bytes) {
    uint8_t* const out = packet.Append(bytes);
    std::memset(out, 0, bytes);
    WriteExtendedHeader({.type = MessageType::kAck,
                         .first = true,
                         .last = true,
                         .from_session = session.number,
                         .key = session.nonce,
                         .timestamp = static_cast<uint32_t>(now_ns),
                         .credits = static_cast<uint16_t>(base_.options.session.credits),
                         .kind = ControlKind::kHello},
                        out);
    WriteHello({.slots = static_cast<uint16_t>(base_.options.session.slots),
                .packet_bytes = static_cast<uint32_t>(bytes),
                .incarnation = incarnation_,
                .timeout_us =
                    static_cast<uint32_t>(std::clamp<int64_t>(timeout_ns_ / 1000, 1, UINT32_MAX))},
               out + kExtendedHeaderBytes);
    if (base_.bulk.exists()) WriteHelloFeatures(kFeatureBulk, out + kExtendedHeaderBytes);
    if (session.pool != nullptr) {
      WriteHelloPool(session.pool->number, out + kExtendedHeaderBytes + kHelloBytes);
    }
    base_.sending.Push(session.peer, std::move(packet));
  }
  ++session.tries;
  session.hello_ns = now_ns;
  if (session.state != ClientSession::State::kConnecting) return;
  const int64_t wait_ns =
      std::min({kHelloFirstNs << std::min(session.tries - 1, 16u), kHelloMaxNs, timeout_ns_ / 10});
  base_.loop.timers().Schedule(session.timer, now_ns + wait_ns);
}

void ClientSessions::OnHelloAck(const ExtendedHeader& header, absl::Span<const uint8_t> body) {
  Hello hello;
  if (header.session >= sessions_.size() || !ReadHello(body, &hello)) {
    ++base_.stats.malformed;
    return;
  }
  ClientSession& session = *sessions_[header.session];
  const bool asked = session.state == ClientSession::State::kConnecting ||
                     session.state == ClientSession::State::kOriginal ||
                     (session.is_pool() && session.servers->asking);
  const bool router = header.kind == ControlKind::kPool;
  // Behind a router there are servers.
  if (!asked || header.key != session.nonce || (router && session.pool != nullptr)) {
    ++base_.stats.unexpected;
    return;
  }
  if (router) return OpenPool(session, header, hello);
  if (session.is_pool()) {
    const uint32_t generation = session.generation;
    session.state = ClientSession::State::kConnecting;
    LeavePool(session, absl::UnavailableError(
                           "where a router was there is a server now; the request may or may not "
                           "have been executed"));
    if (session.generation != generation) return;
  }
  session.bulk = base_.bulk.exists() && (ReadHelloFeatures(body) & kFeatureBulk) != 0;
  OpenSession(session, header, hello);
}

void ClientSessions::OpenSession(ClientSession& session, const ExtendedHeader& header,
                                 const Hello& hello) {
  const int64_t now_ns = base_.loop.now_ns();
  session.state = ClientSession::State::kOpen;
  session.remote_number = header.from_session;
  session.key = hello.key;
  session.packet_payload_bytes =
      std::min<size_t>(hello.packet_bytes, PacketBytesTo(session.peer)) - kExtendedHeaderBytes;
  session.window_max = WindowPackets(session.packet_payload_bytes);
  session.slots_max = std::min<size_t>(hello.slots, base_.options.session.slots);
  session.credits = std::max<uint16_t>(header.credits, 1);
  session.timeout_ns =
      std::min(timeout_ns_, std::max<int64_t>(int64_t{hello.timeout_us} * 1000, kTimeoutLeastNs));
  session.opened_ns = session.heard_ns = now_ns;
  session.confirmed_ns = 0;
  // A server that had forgotten the session knows nothing of the old requests either.
  session.slots.clear();
  session.free_slots.clear();
  OnRoundTrip(session, header, 0);
  Watch(session, now_ns + PingPeriodNs(session));
  ++base_.stats.sessions_opened;
  const uint32_t generation = session.generation;
  Report(session, SessionEvent::Kind::kOpened);
  session.pool != nullptr ? OpenMember(session) : Pump(session);
  // What was sent shows the server that this client is where its HELLO came from.
  if (session.generation == generation && session.is_open() && session.pinned == 0 &&
      session.slots_in_use() == 0) {
    SendControl(session, ControlKind::kPing);
  }
  base_.gatherers.TellOfSession();
}

// --- Servers of the original format

// A HELLO was not answered in time.
void ClientSessions::AskAgain(ClientSession& session, int64_t now_ns) {
  const bool may_fall_back = MayFallBack(session);
  const int64_t limit_ns =
      may_fall_back ? TimeoutNs(base_.options.negotiation_timeout) : timeout_ns_;
  if (now_ns - session.began_ns < limit_ns) return SendHello(session);
  if (may_fall_back) return FallBack(session);
  Lose(session, NotExecuted(absl::UnavailableError("no answer to the session's HELLO")),
       SessionEvent::Kind::kLost, Waiting::kEnd);
}

// A server that has spoken the extended format is only away. Over a way for long messages there is
// nobody who speaks the original one only, and connections have to be made, however long it takes.
bool ClientSessions::MayFallBack(const ClientSession& session) const {
  return base_.options.wire == Wire::kAuto && !session.own && session.opened_ns == 0 &&
         session.pool == nullptr && !base_.bulk.exists();
}

void ClientSessions::FallBack(ClientSession& session) {
  session.state = ClientSession::State::kOriginal;
  ++base_.stats.fallbacks;
  Report(session, SessionEvent::Kind::kOriginal);
  const int64_t now_ns = base_.loop.now_ns();
  while (!session.waiting.empty() && session.state == ClientSession::State::kOriginal) {
    ClientCall& call = *session.waiting.front();
    session.waiting.Remove(call);
    call.due_ns = INT64_MAX;
    call.state = ClientCall::State::kOriginal;
    Uncount(call);  // it is counted where it goes on
    absl::StatusOr<CallId> begun = original_.Begin(
        session.peer, {}, std::move(call.request),
        [this, &call](absl::StatusOr<BufferChain> result) {
          Release(call);
          call.callback(std::move(result));
          Free(call);
        },
        call.policy, std::max<int64_t>(call.deadline_ns - now_ns, 1));
    if (begun.ok()) {
      call.original = *begun;
    } else {
      Fail(call, NotExecuted(begun.status()));
    }
  }
}

// --- Watching

void ClientSessions::OnSessionTimer(void* context, int64_t now_ns) {
  auto& session = *static_cast<ClientSession*>(context);
  ClientSessions& sessions = *session.sessions;
  switch (session.state) {
    case ClientSession::State::kConnecting:
      return sessions.AskAgain(session, now_ns);
    case ClientSession::State::kOpen:
    case ClientSession::State::kChoosing:
    case ClientSession::State::kDraining:
      return sessions.KeepAlive(session, now_ns);
    case ClientSession::State::kClosing:
      // Routers keep no sessions that they would have to be told of.
      if (session.is_pool() || session.tries >= kCloses) return sessions.Forget(session);
      ++session.tries;
      sessions.SendControl(session, ControlKind::kClose);
      sessions.base_.loop.timers().Schedule(session.timer, now_ns + (kCloseNs << session.tries));
      return;
    case ClientSession::State::kFree:
    case ClientSession::State::kIdle:
    case ClientSession::State::kOriginal:
      return;
  }
}

void ClientSessions::KeepAlive(ClientSession& session, int64_t now_ns) {
  const int64_t silent_ns = now_ns - session.heard_ns;
  const int64_t period_ns = PingPeriodNs(session);
  if (silent_ns >= session.timeout_ns) {
    const int64_t quarter_ns = session.timeout_ns / 4;
    // What lies in the port may be of this server. It is read in the rounds to come.
    if (base_.more_to_receive && silent_ns < session.timeout_ns + quarter_ns) {
      return Watch(session, now_ns);
    }
    // A timer that is so late shows that this process stood still, and has not asked the server. It
    // does so now, once.
    if (now_ns - session.watch_ns < quarter_ns || session.late_ns > session.heard_ns) {
      return Lose(session,
                  absl::UnavailableError(
                      absl::StrCat("the ", session.is_pool() ? "router" : "server",
                                   " was not heard of for ", silent_ns / 1'000'000, " ms")),
                  SessionEvent::Kind::kLost, Waiting::kReconnect);
    }
    session.late_ns = now_ns;
    SendControl(session, ControlKind::kPing);
    return Watch(session, now_ns + quarter_ns);
  }
  if (silent_ns >= period_ns) {
    SendControl(session, ControlKind::kPing);
    Watch(session, std::min(now_ns + period_ns, session.heard_ns + session.timeout_ns));
  } else {
    Watch(session, session.heard_ns + period_ns);
  }
}

void ClientSessions::Watch(ClientSession& session, int64_t when_ns) {
  session.watch_ns = when_ns;
  base_.loop.timers().Schedule(session.timer, when_ns);
}

int64_t ClientSessions::PingPeriodNs(const ClientSession& session) {
  const int64_t quarter_ns = session.timeout_ns / 4;
  return session.heard_ns > session.opened_ns ? quarter_ns : std::min(quarter_ns, kConfirmNs);
}

void ClientSessions::SendControl(ClientSession& session, ControlKind kind, uint64_t request_id) {
  ExtendedHeader header = HeaderTo(session, MessageType::kAck, request_id, base_.loop.now_ns());
  header.kind = kind;
  SendPacket(session, header, {}, nullptr);
}

void ClientSessions::OnControl(ClientSession& session, const ExtendedHeader& header,
                               absl::Span<const uint8_t> body) {
  if (session.state == ClientSession::State::kClosing &&
      (header.kind == ControlKind::kReset || header.kind == ControlKind::kClose)) {
    // The server has ended it too: that is as good as a CLOSE_ACK, which may have been lost.
    if (header.kind == ControlKind::kClose) SendControl(session, ControlKind::kCloseAck);
    return Forget(session);
  }
  switch (header.kind) {
    case ControlKind::kProgress:
      return OnProgress(session, header, body);
    case ControlKind::kPong:
      return OnRoundTrip(session, header, 0);
    case ControlKind::kReset:
      return Lose(session,
                  absl::UnavailableError(
                      "the server has restarted or given up the session; the request may or may "
                      "not have been executed"),
                  SessionEvent::Kind::kLost, Waiting::kReconnect);
    case ControlKind::kClose:
      SendControl(session, ControlKind::kCloseAck);
      return Lose(session, absl::UnavailableError("the server has closed the session"),
                  SessionEvent::Kind::kClosed, Waiting::kEnd);
    case ControlKind::kCloseAck:
      if (session.state == ClientSession::State::kClosing) Forget(session);
      return;
    case ControlKind::kDrain:
      if (session.state != ClientSession::State::kOpen) return;
      return OnDrain(session);
    default:
      ++base_.stats.unexpected;
  }
}

// What is in flight ends as it will; what has not been sent can go to another server at once.
void ClientSessions::OnDrain(ClientSession& session) {
  const uint32_t generation = session.generation;
  if (session.pool != nullptr && session.pool->servers->chosen == &session) OnDrain(*session.pool);
  if (session.generation != generation || session.state != ClientSession::State::kOpen) return;
  session.state = ClientSession::State::kDraining;
  Report(session, SessionEvent::Kind::kDraining);
  // Callbacks may disconnect the session and open another in its place.
  while (session.generation == generation && !session.waiting.empty()) {
    Fail(*session.waiting.front(),
         NotExecuted(absl::UnavailableError("the server is shutting down")));
  }
  CloseIfDrained(session);
}

void ClientSessions::OnRefusal(ClientSession& session, const ExtendedHeader& header,
                               absl::Span<const uint8_t> body) {
  ++base_.stats.sessions_refused;
  Lose(session, DropStatus(header.code, ReadDrop(body)), SessionEvent::Kind::kRefused,
       Waiting::kEnd);
}

}  // namespace weft::rpc
