// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/client.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "weft/rpc/call_status.h"
#include "weft/rpc/port_protection.h"

namespace weft::rpc {
namespace {

constexpr size_t kOutstandingLimit = 32768;  // half of the ids, so that the next free one is near

absl::Status CheckOptions(const ClientOptions& options) {
  if (options.outstanding_max == 0 || options.outstanding_max > kOutstandingLimit) {
    return absl::InvalidArgumentError(absl::StrCat("outstanding_max is ", options.outstanding_max,
                                                   "; it must be 1 to ", kOutstandingLimit));
  }
  absl::Status packets = CheckMessagePacketsMax(options.message_packets_max);
  if (!packets.ok()) return packets;
  if (options.timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("timeout must be greater than zero");
  }
  return options.wire == Wire::kOriginal ? absl::OkStatus() : options.session.Validate();
}

// Where packets are too short for sessions, the original format has to do, if it may.
absl::StatusOr<Wire> WireFor(const ClientOptions& options, DatagramPort& port) {
  const size_t room = std::min(port.capabilities().max_payload_bytes, port.pool().payload_bytes());
  if (room >= kExtendedPacketBytesMin || options.wire == Wire::kOriginal) return options.wire;
  if (options.wire == Wire::kAuto) return Wire::kOriginal;
  return absl::InvalidArgumentError(
      absl::StrCat("sessions need messages of ", kExtendedPacketBytesMin, " bytes; the port at ",
                   port.local_address().ToString(), " carries ", room));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Create(Loop& loop,
                                                       std::unique_ptr<DatagramPort> port,
                                                       const ClientOptions& options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  auto protected_port = Protect(loop, std::move(port), options.security.get(), Role::kClient);
  if (!protected_port.ok()) return protected_port.status();
  port = *std::move(protected_port);
  absl::StatusOr<Wire> wire = WireFor(options, *port);
  if (!wire.ok()) return wire.status();
  absl::StatusOr<size_t> payload = PacketPayloadBytes(*port);
  if (!payload.ok()) return payload.status();
  ClientOptions chosen = options;
  chosen.wire = *wire;
  return std::unique_ptr<Client>(new Client(loop, std::move(port), chosen, *payload));
}

Client::Client(Loop& loop, std::unique_ptr<DatagramPort> port, const ClientOptions& options,
               size_t packet_payload_bytes)
    : base_(loop, std::move(port), options),
      timeout_ns_(TimeoutNs(options.timeout)),
      burst_(BurstOf(*base_.port)),
      original_(base_, packet_payload_bytes),
      sessions_(base_, original_) {
  base_.loop.Add(this);
}

Client::~Client() { base_.loop.Remove(this); }

absl::StatusOr<Peer> Client::Resolve(const Address& address) {
  absl::Status allowed = MayTalkTo(*base_.port, address, base_.options.security.get());
  if (!allowed.ok()) return allowed;
  return base_.port->Resolve(address);
}

size_t Client::outstanding() const { return original_.outstanding() + sessions_.outstanding(); }

absl::StatusOr<CallId> Client::Begin(const Target& target, Payload&& request, bool copy,
                                     Callback&& callback, const CallOptions& options) {
  if (!base_.port->status().ok()) return NotExecuted(base_.port->status());
  if (base_.sending.room() == 0) {
    return NotExecuted(
        absl::ResourceExhaustedError("packets wait to be sent: the port is blocked"));
  }
  const Policy policy = options.policy.value_or(base_.options.policy);
  const int64_t now_ns = base_.loop.now_ns();
  if (options.deadline_ns <= now_ns) [[unlikely]] {
    return NotExecuted(absl::DeadlineExceededError("the deadline passed before the call began"));
  }
  const int64_t deadline_ns = DeadlineNs(options, now_ns);
  absl::StatusOr<CallId> begun =
      base_.options.wire == Wire::kOriginal
          ? original_.Begin(target.server, {}, std::move(request), std::move(callback), policy,
                            std::max<int64_t>(deadline_ns - now_ns, 1))
          : sessions_.Begin(target, std::move(request), copy, std::move(callback), policy,
                            deadline_ns, now_ns, options);
  if (!begun.ok()) [[unlikely]] {
    return NotExecuted(begun.status());
  }
  ++base_.stats.calls;
  return begun;
}

Buffer Client::Allocate(size_t bytes) {
  if (Buffer buffer = base_.bulk.Allocate(bytes)) return buffer;
  BufferPool& pool = base_.port->pool();
  return bytes <= pool.payload_bytes() ? pool.Allocate() : Buffer();
}

absl::StatusOr<Payload> Client::CopyOfRequest(absl::Span<const uint8_t> request) {
  if (Buffer buffer = base_.bulk.CopyOf(request)) return Payload(std::move(buffer));
  BufferPool& pool = base_.port->pool();
  const size_t piece_bytes = pool.payload_bytes();
  BufferChain copy;
  do {
    Buffer piece = CopyOf(pool, request.subspan(0, piece_bytes));
    if (!piece) return NotExecuted(absl::ResourceExhaustedError("no packet buffers left"));
    copy.Append(std::move(piece));
    request.remove_prefix(std::min(piece_bytes, request.size()));
  } while (!request.empty());
  return Payload(std::move(copy));
}

absl::StatusOr<CallId> Client::Call(const Target& target, absl::Span<const uint8_t> request,
                                    Callback callback, const CallOptions& options) {
  if (request.size() <= ClientCall::kSmallBytes) {
    return Begin(target, Payload::External(request), /*copy=*/true, std::move(callback), options);
  }
  absl::StatusOr<Payload> copy = CopyOfRequest(request);
  if (!copy.ok()) return copy.status();
  return Begin(target, *std::move(copy), /*copy=*/false, std::move(callback), options);
}

absl::StatusOr<CallId> Client::Call(const Target& target, Payload&& request, Callback&& callback,
                                    const CallOptions& options) {
  return Begin(target, std::move(request), /*copy=*/false, std::move(callback), options);
}

void Client::Cancel(CallId id) {
  ClientSessions::IsExtended(id) ? sessions_.Cancel(id) : original_.Cancel(id);
}

void Client::Abandon(CallId id) {
  ClientSessions::IsExtended(id) ? sessions_.Cancel(id, /*quietly=*/true) : original_.Cancel(id);
}

size_t Client::Poll() {
  base_.gatherers.Flush();
  size_t work = base_.sending.Flush(*base_.port);
  if (base_.port->has_events() || !base_.port->status().ok()) [[unlikely]] {
    work += OnEvents();
  }
  const size_t n = base_.port->Receive(absl::MakeSpan(received_).first(burst_));
  base_.more_to_receive = n == burst_;
  if (base_.bulk.busy()) [[unlikely]] {
    base_.bulk.NoteBusy(base_.loop.now_ns());
    if (base_.bulk.fetching() > 0) work += TakeFetched();
  }
  if (n == 0) return work;
  for (size_t i = 0; i < n; ++i) {
    Datagram& datagram = received_[i];
    if (IsExtended(datagram.buffer.bytes())) {
      sessions_.OnDatagram(datagram.peer, std::move(datagram.buffer));
    } else {
      original_.OnDatagram(datagram.peer, std::move(datagram.buffer));
    }
    datagram.buffer.Reset();  // if it was dropped
  }
  sessions_.EndBurst();
  base_.gatherers.Flush();
  base_.sending.Flush(*base_.port);
  return work + n;
}

size_t Client::TakeFetched() {
  const size_t n = sessions_.TakeFetched();
  if (n == 0) return 0;
  sessions_.EndBurst();
  base_.gatherers.Flush();
  base_.sending.Flush(*base_.port);
  return n;
}

size_t Client::OnEvents() {
  if (!base_.port->status().ok() && outstanding() > 0) [[unlikely]] {
    original_.FailAll(nullptr, base_.port->status());
    sessions_.FailAll(base_.port->status());
  }
  std::array<PortEvent, 8> events;
  const size_t n = base_.port->TakeEvents(absl::MakeSpan(events));
  for (size_t i = 0; i < n; ++i) {
    const bool closed = events[i].kind == PortEvent::Kind::kPeerClosed;
    absl::Status error = base_.port->WhyUnreachable(events[i].peer);
    if (closed) {
      error = absl::UnavailableError("the server has closed");
    } else if (error.ok()) {
      error = absl::UnavailableError(
          absl::StrCat("the server cannot be reached: ", std::strerror(events[i].error)));
    }
    original_.FailAll(&events[i].peer, error);
    sessions_.OnPeerEvent(events[i].peer, error);
  }
  return n;
}

Client::CallAwaiter Client::Call(const Target& target, absl::Span<const uint8_t> request,
                                 const CallOptions& options) {
  if (Buffer buffer = base_.bulk.CopyOf(request)) {
    return CallAwaiter(*this, target, Payload(std::move(buffer)), options);
  }
  return CallAwaiter(*this, target, Payload::External(request), options);
}

Client::CallAwaiter Client::Call(const Target& target, Payload&& request,
                                 const CallOptions& options) {
  return CallAwaiter(*this, target, std::move(request), options);
}

Client::CallAwaiter Client::Call(const Target& target, Buffer request, const CallOptions& options) {
  return CallAwaiter(*this, target, Payload(std::move(request)), options);
}

}  // namespace weft::rpc
