// SPDX-License-Identifier: Apache-2.0
//
// A client's calls in the extended format: requests, replies, and what is sent again.
#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/rpc/call_status.h"
#include "weft/rpc/client_sessions.h"

namespace weft::rpc {
namespace {

// Servers of the original format are asked now and then, when they are used, whether they have
// learnt better.
constexpr int64_t kAskAgainNs = 1'000'000'000;

// As in the header: 0, no limit, for what its field does not hold.
uint32_t MicrosecondsUntil(int64_t deadline_ns, int64_t now_ns) {
  const int64_t left_us = std::max<int64_t>((deadline_ns - now_ns) / 1000 + 1, 1);
  return left_us <= UINT32_MAX ? static_cast<uint32_t>(left_us) : 0;
}

}  // namespace

ClientCall::ClientCall(ClientSessions* sessions, uint32_t index)
    : sessions(sessions), index(index), timer(&ClientSessions::OnCallTimer, this) {}

// --- Beginning

CallId ClientSessions::IdOf(const ClientCall& call) {
  return {kExtendedCall | uint64_t{call.generation} << 24 | call.index};
}

ClientCall* ClientSessions::Find(CallId id) {
  const size_t index = id.value & 0xFFFFFF;
  if (!IsExtended(id) || index >= calls_.size()) return nullptr;
  ClientCall& call = *calls_[index];
  return call.state != ClientCall::State::kFree && IdOf(call) == id ? &call : nullptr;
}

ClientCall& ClientSessions::NewCall() {
  if (free_calls_ == nullptr) {
    calls_.push_back(std::make_unique<ClientCall>(this, static_cast<uint32_t>(calls_.size())));
    free_calls_ = calls_.back().get();
  }
  ClientCall& call = *free_calls_;
  free_calls_ = std::exchange(call.next, nullptr);
  ++call.generation;
  ++outstanding_;
  return call;
}

// All that a short request needs, in one piece of code.
[[gnu::flatten]] absl::StatusOr<CallId> ClientSessions::Begin(const Target& target,
                                                              Payload&& request, bool copy,
                                                              Callback&& callback, Policy policy,
                                                              int64_t deadline_ns, int64_t now_ns,
                                                              const CallOptions& options) {
  const bool held = options.held;
  if (!held && outstanding_ - held_ >= base_.options.outstanding_max) {
    return NotExecuted(absl::ResourceExhaustedError(absl::StrCat(
        outstanding_ - held_, " calls are outstanding, as many as outstanding_max allows")));
  }
  absl::StatusOr<ClientSession*> found = SessionFor(target);
  if (!found.ok()) return found.status();
  ClientSession& session = **found;
  if (!copy) {
    if (absl::Status size = CheckSize(session, request); !size.ok()) return size;
  }
  if (session.state != ClientSession::State::kOpen) [[unlikely]] {
    if (session.state == ClientSession::State::kDraining ||
        session.state == ClientSession::State::kClosing) {
      return NotExecuted(absl::UnavailableError("the server is shutting down"));
    }
    if (session.state == ClientSession::State::kOriginal) {
      if (now_ns - session.hello_ns > kAskAgainNs) SendHello(session);
      return original_.Begin(session.peer, {}, std::move(request), std::move(callback), policy,
                             std::max<int64_t>(deadline_ns - now_ns, 1));
    }
    if (session.state == ClientSession::State::kIdle) StartConnecting(session);
  }

  ClientCall& call = NewCall();
  call.session = &session;
  call.policy = policy;
  call.held = held;
  call.affinity = options.affinity;
  held_ += held;
  call.callback = std::move(callback);
  if (copy) {
    const absl::Span<const uint8_t> bytes = request.front();
    if (!bytes.empty()) std::memcpy(call.small, bytes.data(), bytes.size());
    call.request = Payload::External({call.small, bytes.size()});
  } else {
    call.request = std::move(request);
  }
  call.deadline_ns = deadline_ns;
  ++session.calls;
  if (session.waiting.empty() && CanStart(session)) [[likely]] {
    Start(call, now_ns);
  } else {
    call.state = ClientCall::State::kWaiting;
    session.waiting.PushBack(call);
    Arm(call, now_ns, deadline_ns - now_ns);
    SchedulePacing(session);
  }
  return IdOf(call);
}

// --- Sending

size_t ClientSessions::WindowOf(const ClientSession& session) const {
  const size_t window = std::min<size_t>(session.credits, session.window_max);
  return session.congestion == nullptr
             ? window
             : std::min<size_t>(window, session.congestion->window_packets());
}

bool ClientSessions::CanStart(const ClientSession& session) const {
  if (session.state != ClientSession::State::kOpen) return false;
  const bool slot = !session.free_slots.empty() || session.slots.size() < session.slots_max;
  if (!slot || session.in_flight >= WindowOf(session)) return false;
  const int64_t gap_ns = session.gap_ns();
  return gap_ns == 0 || session.pacer.Allowed(base_.loop.now_ns(), gap_ns, kPacedBurst) > 0;
}

void ClientSessions::Start(ClientCall& call, int64_t now_ns) {
  ClientSession& session = *call.session;
  if (session.free_slots.empty()) {
    session.free_slots.push_back(static_cast<uint16_t>(session.slots.size()));
    session.slots.emplace_back();
    // Servers behind a router answer without a key of a session: an id that nobody guesses instead.
    if (session.pooled) session.slots.back().sequence = random_.Next() >> 17;
  }
  const uint16_t number = session.free_slots.back();
  session.free_slots.pop_back();
  ClientSession::Slot& slot = session.slots[number];
  slot.call = &call;
  call.request_id = ++slot.sequence << 16 | number;
  call.tries = 0;
  call.sent_twice = false;
  call.sent_ns = now_ns;
  if (session.pooled) [[unlikely]]
    Choose(call);
  if (call.request.size() <= session.packet_payload_bytes) [[likely]] {
    call.state = ClientCall::State::kSent;
    call.packets = 1;
    // A short one that may be held for long must not keep others back for as long.
    call.counted = !call.held || call.request.size() > ClientCall::kSmallBytes;
    session.in_flight += call.counted;
    SendRequest(call, now_ns);
    Arm(call, now_ns, FirstRtoOf(call));
  } else {
    StartTransfer(call);
  }
}

// Whether a call that has waited would hardly be answered in time. Sending it would keep the server
// from those that can be: under overload all would wait until it is too late, and nothing but that
// be executed. Those that need not wait go in any case, so times that have become shorter are seen.
bool ClientSessions::IsTooLate(const ClientSession& session, const ClientCall& call,
                               int64_t now_ns) {
  return call.deadline_ns - now_ns < 2 * session.response_time.srtt_ns();
}

void ClientSessions::Pump(ClientSession& session) {
  // Calls that end below lead here again: however many there are, one after the other.
  if (session.pumping) return;
  session.pumping = true;
  for (ClientCall* call = session.sending.front(); call != nullptr;) {
    ClientCall* const next = call->next;
    PumpTransfer(*call);
    call = next;
  }
  // Those that callbacks begin meanwhile have not waited; if they were given up too, and begun
  // again, this might never end.
  size_t waited = session.waiting.size();
  for (; !session.waiting.empty() && CanStart(session); waited -= waited > 0) {
    ClientCall& call = *session.waiting.front();
    if (absl::Status size = CheckSize(session, call.request); !size.ok()) [[unlikely]] {
      Fail(call, std::move(size));  // it was begun before the session knew the length of packets
      continue;
    }
    const int64_t now_ns = base_.loop.now_ns();
    if (waited > 0 && IsTooLate(session, call, now_ns)) {
      ++base_.stats.timeouts;
      End(call, NotExecuted(absl::DeadlineExceededError("no time left for a reply")));
      continue;
    }
    session.waiting.Remove(call);
    Start(call, now_ns);
  }
  session.pumping = false;
  SchedulePacing(session);
  // Its last call may have been one that was cancelled.
  if (session.state == ClientSession::State::kDraining) [[unlikely]]
    CloseIfDrained(session);
}

ExtendedHeader ClientSessions::RequestHeader(const ClientCall& call, const ClientSession& way,
                                             int64_t now_ns) const {
  ExtendedHeader header = HeaderTo(way, MessageType::kRequest, call.request_id, now_ns);
  header.policy = call.policy;
  header.resent = call.sent_twice;
  header.deadline_us = MicrosecondsUntil(call.deadline_ns, now_ns);
  return header;
}

void ClientSessions::SendRequest(ClientCall& call, int64_t now_ns) {
  if (call.session->pooled) [[unlikely]]
    return SendInPool(call, now_ns);
  ExtendedHeader header = RequestHeader(call, *call.session, now_ns);
  if (call.packets > 1) {
    // A question whether it is still being executed: the server has the bytes.
    header.last = false;
    header.packet_order = call.packets;
  }
  if (call.request.contiguous()) [[likely]] {
    return SendPacket(*call.session, header, call.request.front(), &call);
  }
  SendPieces(call, *call.session, header);
}

// A request of one packet in several pieces: they are put together, but that a long last one stays
// where it is.
void ClientSessions::SendPieces(ClientCall& call, ClientSession& way,
                                const ExtendedHeader& header) {
  Buffer packet = base_.port->pool().Allocate();
  if (!packet || packet.tailroom() < kExtendedHeaderBytes + call.request.size()) [[unlikely]] {
    ++base_.stats.send_overflows;  // as if the network had lost it
    return;
  }
  WriteExtendedHeader(header, packet.Append(kExtendedHeaderBytes));
  const absl::Span<const uint8_t> tail = AppendPieces(call, call.request, packet);
  PushPacket(way, std::move(packet), tail);
}

absl::Span<const uint8_t> ClientSessions::AppendPieces(ClientCall& call, const Payload& request,
                                                       Buffer& packet) {
  size_t left = request.size();
  absl::Span<const uint8_t> tail;
  request.ForEachPiece([&](absl::Span<const uint8_t> piece) {
    left -= piece.size();
    if (left == 0 && piece.size() > kCopyMaxBytes && base_.port->capabilities().gather) {
      tail = piece;
      call.tail_epoch = base_.sending.epoch();
    } else if (!piece.empty()) {
      std::memcpy(packet.Append(piece.size()), piece.data(), piece.size());
    }
  });
  return tail;
}

void ClientSessions::SendPacket(ClientSession& session, const ExtendedHeader& header,
                                absl::Span<const uint8_t> bytes, ClientCall* view) {
  Buffer packet = base_.port->pool().Allocate();
  if (!packet || packet.tailroom() < kExtendedHeaderBytes + bytes.size()) [[unlikely]] {
    ++base_.stats.send_overflows;  // as if the network had lost it
    return;
  }
  absl::Span<const uint8_t> tail;
  if (view != nullptr && bytes.size() > kCopyMaxBytes && base_.port->capabilities().gather) {
    tail = bytes;
    view->tail_epoch = base_.sending.epoch();
    WriteExtendedHeader(header, packet.Append(kExtendedHeaderBytes));
  } else {
    uint8_t* const out = packet.Append(kExtendedHeaderBytes + bytes.size());
    WriteExtendedHeader(header, out);
    if (!bytes.empty()) std::memcpy(out + kExtendedHeaderBytes, bytes.data(), bytes.size());
  }
  PushPacket(session, std::move(packet), tail);
}

void ClientSessions::PushPacket(ClientSession& session, Buffer packet,
                                absl::Span<const uint8_t> tail) {
  if (!base_.sending.Push(session.peer, std::move(packet), tail)) [[unlikely]] {
    ++base_.stats.send_overflows;
  }
  Pace(session);
}

// Nearly all calls end long before they are due, so their timers are neither set anew nor cancelled
// for each: one that fires too early is set again, and then fires once a retransmission timeout.
void ClientSessions::Arm(ClientCall& call, int64_t now_ns, int64_t wait_ns) {
  call.due_ns = std::min(call.deadline_ns, now_ns + wait_ns);
  if (!call.timer.armed() || call.timer.deadline_ns() > call.due_ns) [[unlikely]] {
    base_.loop.timers().Schedule(call.timer, call.due_ns);
  }
}

// --- Receiving

// All that a short reply needs, in one piece of code.
[[gnu::flatten]] void ClientSessions::OnDatagram(const Peer& peer, Buffer&& datagram) {
  ExtendedHeader header;
  if (!ReadExtendedHeader(datagram.bytes(), &header)) {
    ++base_.stats.malformed;
    return;
  }
  const absl::Span<const uint8_t> body =
      absl::Span<const uint8_t>(datagram.bytes()).subspan(kExtendedHeaderBytes);
  if (header.kind != ControlKind::kNone) [[unlikely]] {
    const bool opens = header.kind == ControlKind::kHelloAck || header.kind == ControlKind::kPool;
    if (opens) return OnHelloAck(header, body);
  }
  if (header.session >= sessions_.size() || sessions_[header.session]->key != header.key)
      [[unlikely]] {
    return OnStrayPacket(peer, header);
  }
  ClientSession& session = *sessions_[header.session];
  if (!session.is_open()) [[unlikely]] {
    if (session.state == ClientSession::State::kConnecting && header.type == MessageType::kDrop) {
      OnRefusal(session, header, body);
    } else if (session.state == ClientSession::State::kClosing) {
      OnControl(session, header, body);
    } else {
      ++base_.stats.unexpected;
    }
    return;
  }
  session.heard_ns = base_.loop.now_ns();
  if (session.pooled) [[unlikely]] {
    return OnPooledPacket(peer, session, header, std::move(datagram));
  }
  switch (header.type) {
    case MessageType::kResponse:
      return OnResponse(session, header, std::move(datagram));
    case MessageType::kDrop:
      return OnDrop(session, header, body);
    case MessageType::kAck:
      return OnControl(session, header, body);
    default:
      ++base_.stats.unexpected;
  }
}

ClientCall* ClientSessions::CallOf(ClientSession& session, const ExtendedHeader& header) {
  if (header.slot() >= session.slots.size()) return nullptr;
  ClientCall* const call = session.slots[header.slot()].call;
  return call != nullptr && call->request_id == header.request_id ? call : nullptr;
}

void ClientSessions::OnRoundTrip(ClientSession& session, const ExtendedHeader& header,
                                 uint32_t packets) {
  session.credits = std::max<uint16_t>(header.credits, 1);
  session.OnRoundTrip(header, packets, base_.loop.now_ns(), rtt_, &base_.bulk);
}

void ClientSessions::OnResponse(ClientSession& session, const ExtendedHeader& header,
                                Buffer&& datagram) {
  ClientCall* const call = CallOf(session, header);
  if (call == nullptr) {
    ++base_.stats.unexpected;
    return;
  }
  datagram.TrimFront(kExtendedHeaderBytes);
  if (call->state == ClientCall::State::kCancelling) {
    return Discard(*call);
  }
  // Of a request that was sent twice, a server that said it was executing it tells at least that
  // it was not the network that took the time (Karn's algorithm, for all others). When the later
  // packets of a long reply come says how long it is.
  if (call->packets == 1 && !call->held && call->state != ClientCall::State::kReceiving &&
      (!call->sent_twice || call->state == ClientCall::State::kExecuting)) {
    const int64_t now_ns = base_.loop.now_ns();
    session.response_time.Add(rtt_, now_ns, now_ns - call->sent_ns);
  }
  if (call->state == ClientCall::State::kSent) {
    // A slow handler would have been reported (PROGRESS) when the request came again; a request
    // that waits at a router is not, and one that waits behind long messages is late.
    if (call->sent_twice && call->counted && !session.pooled &&
        !base_.bulk.WasBusySince(call->sent_ns)) [[unlikely]] {
      session.OnLoss(1, base_.loop.now_ns());
    }
    call->state = ClientCall::State::kExecuting;
    const bool counted = call->counted;
    Landed(*call);
    OnRoundTrip(session, header, counted);
  }
  if (header.first && header.last) [[likely]] {
    ++base_.stats.replies;
    return End(*call, BufferChain(std::move(datagram)));
  }
  OnReplyPacket(*call, header, std::move(datagram));
}

void ClientSessions::OnDrop(ClientSession& session, const ExtendedHeader& header,
                            absl::Span<const uint8_t> body) {
  ClientCall* const call = CallOf(session, header);
  if (call == nullptr) {
    ++base_.stats.unexpected;
    return;
  }
  session.credits = std::max<uint16_t>(header.credits, 1);
  if (call->state == ClientCall::State::kCancelling) {
    return Discard(*call);
  }
  ++base_.stats.drops_by_reason[static_cast<size_t>(header.code)];
  if (header.code == DropReason::kDeadline) {
    ++base_.stats.timeouts;
  } else {
    ++base_.stats.drops;
    ++session.drops;
  }
  End(*call, DropStatus(header.code, ReadDrop(body)));
}

// --- Ending

void ClientSessions::ReleaseRequest(ClientCall& call) {
  call.resent = nullptr;
  if (call.tail_epoch == base_.sending.epoch() && !call.request.empty()) {
    base_.sending.Withdraw(call.request);
  }
  call.request.Clear();
  if (call.transfer == nullptr) return;
  call.transfer->announced.End(base_.bulk);
  if (call.transfer->request.active()) {
    const Payload sent = call.transfer->request.Release();
    if (call.tail_epoch == base_.sending.epoch()) base_.sending.Withdraw(sent);
  }
}

void ClientSessions::Release(ClientCall& call) {
  ClientSession& session = *call.session;
  call.due_ns = INT64_MAX;
  switch (call.state) {
    case ClientCall::State::kWaiting:
      session.waiting.Remove(call);
      break;
    case ClientCall::State::kSent:
      Landed(call);
      break;
    case ClientCall::State::kSending:
    case ClientCall::State::kReceiving:
      EndTransfer(call);
      break;
    case ClientCall::State::kCancelling:
      --cancelling_;
      break;
    default:
      break;
  }
  if (call.request_id != 0) {
    session.slots[call.request_id & 0xFFFF].call = nullptr;
    if (session.pooled) [[unlikely]] {
      Unpin(call);
    } else {
      session.free_slots.push_back(static_cast<uint16_t>(call.request_id));
    }
    call.request_id = 0;
  }
  if (call.state != ClientCall::State::kCancelling && call.state != ClientCall::State::kOriginal) {
    Uncount(call);
  }
  ReleaseRequest(call);
  call.state = ClientCall::State::kFree;
}

void ClientSessions::Free(ClientCall& call) {
  call.callback = nullptr;
  call.next = free_calls_;
  free_calls_ = &call;
}

void ClientSessions::Discard(ClientCall& call) {
  ClientSession& session = *call.session;
  Release(call);
  Free(call);
  Pump(session);
}

void ClientSessions::End(ClientCall& call, absl::StatusOr<BufferChain>&& result) {
  ClientSession& session = *call.session;
  Release(call);
  // Where it is: nobody else gets this call before it is freed.
  call.callback(std::move(result));
  Free(call);
  if (!session.waiting.empty() || !session.sending.empty()) Pump(session);
  if (session.state == ClientSession::State::kDraining) [[unlikely]]
    CloseIfDrained(session);
}

void ClientSessions::Fail(ClientCall& call, absl::Status error) {
  ++base_.stats.failures;
  End(call, std::move(error));
}

}  // namespace weft::rpc
