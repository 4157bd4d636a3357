// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/extended_server.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weft::rpc {
namespace {

constexpr size_t kPacketBytesLimit = 65535;  // what a session's field holds
// Of a burst, packets between two looks at the clock.
constexpr size_t kPacketsPerClock = 4;
// A packet that takes longer makes it worth while to read the clock for each, as handlers' time
// must not look like the network's.
constexpr int64_t kSlowNs = 1'000;
// How long a session stays half-open, unless its timeout is shorter.
constexpr int64_t kHalfOpenNs = 1'000'000'000;
// So many packets together make it worth to ask for memory ahead.
constexpr size_t kPrefetchFrom = 4;

// More than a packet takes that was sent before a session was open, and comes after.
constexpr int64_t kOnTheWayNs = 10'000'000;

int64_t BoundedNs(absl::Duration duration) {
  return TimeoutNs(std::clamp(duration, absl::ZeroDuration(), absl::Hours(1)));
}

}  // namespace

ExtendedServer::ExtendedServer(ServerCore& core)
    : core_(core),
      timeout_ns_(BoundedNs(core.options.session.timeout)),
      reassembly_ms_(CoarseTime(BoundedNs(core.options.reassembly_timeout))),
      reply_cache_ms_(CoarseTime(BoundedNs(core.options.reply_cache_time))),
      rtt_options_({.rto_initial_ns = BoundedNs(core.options.session.rto_initial),
                    .rto_min_ns = BoundedNs(core.options.session.rto_min),
                    .rto_max_ns = BoundedNs(core.options.session.rto_max)}),
      gather_(core.port->capabilities().gather),
      sessions_(core.options.session.sessions_max, core.options.key_seed),
      cache_(core.options.reply_cache_bytes_max, &core.stats.kept_reply_bytes),
      executions_(core.loop.timers(), &ExtendedServer::OnDeadline),
      // The other half stays for requests in one packet and for replies.
      budget_({.buffers = core.port->pool().count() / 2, .waiting_max = core.options.messages_max},
              [this](ReceiveBudget::Reservation& room) {
                OnRoom(*static_cast<LargeRequest*>(room.owner()));
              }),
      half_open_ns_(std::min(timeout_ns_, kHalfOpenNs)),
      half_open_timer_(&ExtendedServer::OnHalfOpenTimer, this),
      sweep_(&ExtendedServer::OnSweep, this),
      sweep_period_ns_(std::max<int64_t>(timeout_ns_ / 8, 1'000'000)) {
  incarnation_ = sessions_.Random();
}

absl::Status ExtendedServer::Init() {
  const SessionOptions& options = core_.options.session;
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  packet_bytes_max_ = std::min({core_.port->capabilities().max_payload_bytes,
                                core_.port->pool().payload_bytes(), kPacketBytesLimit});
  if (options.packet_bytes_max != 0) {
    packet_bytes_max_ = std::min(packet_bytes_max_, options.packet_bytes_max);
  }
  return absl::OkStatus();
}

// All that short requests need before their handlers, in one piece of code.
[[gnu::flatten]] void ExtendedServer::OnBurst(absl::Span<Datagram* const> burst) {
  const size_t n = burst.size();
  std::array<bool, kMaxBurst> valid;
  std::array<bool, kMaxBurst> picked;  // of those that are not
  for (size_t i = 0; i < n; ++i) {
    valid[i] = ReadExtendedHeader(burst[i]->buffer.bytes(), &headers_[i]);
    if (!valid[i]) [[unlikely]] {
      picked[i] = ReadPicked(*burst[i], &headers_[i]);
    } else if (n >= kPrefetchFrom) {
      __builtin_prefetch(sessions_.At(headers_[i].session), /*rw=*/1);
    }
  }
  if (n >= kPrefetchFrom) {
    for (size_t i = 0; i < n; ++i) Prefetch(headers_[i]);
  }
  ++burst_;
  in_burst_ = true;
  for (size_t i = 0; i < n; ++i) {
    if (i == 0) {
      now_ns_ = core_.loop.now_ns();
    } else if (i % kPacketsPerClock == 0 || slow_handlers_) {
      now_ns_ = core_.loop.clock().NowNs();
    }
    core_.Arrives(burst[i]);
    if (!valid[i]) [[unlikely]] {
      if (picked[i]) OnPicked(*burst[i], headers_[i]);
      continue;
    }
    burst[i]->buffer.TrimFront(kExtendedHeaderBytes);
    OnPacket(*burst[i], headers_[i]);
  }
  if (!to_acknowledge_.empty()) [[unlikely]]
    AcknowledgeRequests();
  in_burst_ = false;
}

void ExtendedServer::AfterBurst(size_t packets) {
  const int64_t took_ns = core_.loop.clock().NowNs() - core_.loop.now_ns();
  slow_handlers_ = took_ns > static_cast<int64_t>(packets) * kSlowNs;
}

void ExtendedServer::Prefetch(const ExtendedHeader& header) {
  const ServerSession* session = sessions_.At(header.session);
  if (session != nullptr && header.slot() < session->slot_count) {
    __builtin_prefetch(&session->slots[header.slot()], /*rw=*/1);
  }
}

void ExtendedServer::OnPacket(Datagram& datagram, const ExtendedHeader& header) {
  ServerSession* session = sessions_.Find(header.session, header.key);
  if (session == nullptr) [[unlikely]] {
    if (header.kind == ControlKind::kHello) return OnHello(datagram, header);
    if (core_.routers != nullptr && core_.routers->OnControl(datagram, header)) return;
    return SendReset(datagram, header);
  }
  if (session->client_number != header.from_session) [[unlikely]] {
    ++core_.stats.malformed;
    return;
  }
  if (session->peer != datagram.peer) [[unlikely]] {
    ++core_.stats.wrong_address;
    return SendReset(datagram, header);
  }
  if (session->half_open && !Confirm(*session)) [[unlikely]] {
    return SendReset(datagram, header);
  }
  session->heard_ms = CoarseTime(now_ns_);
  if (header.type == MessageType::kRequest) [[likely]] {
    return OnRequest(*session, datagram, header);
  }
  if (header.type == MessageType::kAck) return OnControl(*session, datagram, header);
  ++core_.stats.unexpected;
}

// Names the session in `header` by this side's number and key, if there is one.
bool ExtendedServer::ReadPicked(const Datagram& datagram, ExtendedHeader* header) {
  Anycast anycast;
  if (!ReadAnycast(datagram.buffer.bytes(), header, &anycast)) {
    ++core_.stats.malformed;
    header->session = 0;
    return false;
  }
  const ServerSession* const session = sessions_.Find(
      SessionTable::Client{anycast.incarnation, 0, header->from_session, datagram.peer});
  if (session != nullptr) {
    header->session = session->number;
    header->key = session->key;
    header->echo = anycast.age_us;  // which requests do not use
  }
  return true;
}

// Whether a request that was sent before may have come to a session that this one followed, of this
// server before it restarted, say, and have been executed in that. Whether there was one, its
// client knows.
bool ExtendedServer::MayBeOlder(const ExtendedHeader& header, const ServerSession& session) const {
  if (!header.resent) [[likely]]
    return false;
  const int64_t age_ns = int64_t{header.echo} * 1000 + kOnTheWayNs;
  if (age_ns < now_ns_ - session.opened_ns) return false;
  return header.slot() >= session.slot_count ||
         session.slots[header.slot()].request_id < header.request_id;
}

void ExtendedServer::OnPicked(Datagram& datagram, const ExtendedHeader& header) {
  datagram.buffer.TrimFront(kAnycastHeaderBytes);
  ServerSession* const session = sessions_.Find(header.session, header.key);
  ++core_.stats.picked;
  if (header.kind == ControlKind::kCancel && session != nullptr) {
    session->heard_ms = CoarseTime(now_ns_);
    return OnCancelPacket(*session, datagram, header);
  }
  if (session == nullptr || MayBeOlder(header, *session)) {
    core_.DoneRouted(datagram.peer, header.from_session, header.slot());
    ExtendedHeader question = header;
    question.session = session != nullptr ? session->number : 0;
    question.key = 0;
    return SendReset(datagram, question);
  }
  session->heard_ms = CoarseTime(now_ns_);
  picked_ = true;
  OnRequest(*session, datagram, header);
  picked_ = false;
}

void ExtendedServer::OnControl(ServerSession& session, Datagram& datagram,
                               const ExtendedHeader& header) {
  switch (header.kind) {
    case ControlKind::kProgress:
      return OnProgress(session, datagram, header);
    case ControlKind::kCancel:
      return OnCancelPacket(session, datagram, header);
    case ControlKind::kPing: {
      ExtendedHeader pong = HeaderTo(session, MessageType::kAck, header.request_id, NowNs());
      pong.kind = ControlKind::kPong;
      pong.echo_valid = true;
      pong.echo = header.timestamp;
      return Send(session.peer, pong, {}, Recycle(datagram));
    }
    case ControlKind::kClose:
      return OnClose(session, datagram, header);
    default:
      ++core_.stats.unexpected;
  }
}

ExtendedHeader ExtendedServer::Control(ControlKind kind, const ExtendedHeader& question) {
  return {.type = MessageType::kAck,
          .first = true,
          .last = true,
          .echo_valid = true,
          .session = question.from_session,
          .from_session = question.session,
          .key = question.key,
          .request_id = question.request_id,
          .echo = question.timestamp,
          .kind = kind};
}

Buffer ExtendedServer::Recycle(Datagram& datagram) {
  Buffer packet = std::move(datagram.buffer);
  packet.TrimBack(packet.size());
  return packet;
}

void ExtendedServer::Send(const Peer& peer, const ExtendedHeader& header,
                          absl::Span<const uint8_t> body, Buffer packet) {
  if (packet && body.size() <= packet.tailroom() && packet.headroom() >= kExtendedHeaderBytes &&
      core_.sending.room() > 0) [[likely]] {
    if (!body.empty()) std::memcpy(packet.Append(body.size()), body.data(), body.size());
    WriteExtendedHeader(header, packet.Prepend(kExtendedHeaderBytes));
    core_.sending.Push(peer, std::move(packet));
    return;
  }
  ++core_.stats.send_overflows;
}

}  // namespace weft::rpc
