// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/endpoint.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weft::tcp {
namespace {

using netstack::IpAddress;
using netstack::PortBinding;
using netstack::Stack;

// The least that a host must take is 576 bytes with 40 of headers (RFC 9293, 3.7.1).
constexpr size_t kPayloadLeast = 536;

absl::Status CheckBuffers(Stack& stack) {
  const Buffer buffer = stack.Allocate();
  const bool fits = !buffer || (buffer.headroom() >= Endpoint::kHeadroom &&
                                stack.device().pool().payload_bytes() >= kPayloadLeast);
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("buffers of ", stack.interface().name, " have no room for TCP: it needs ",
                   Endpoint::kHeadroom, " bytes of headers and at least ", kPayloadLeast,
                   " of payload; raise transport.buffers.bytes"));
}

// A segment that the device cuts: what fits a buffer, and the length of an IP packet.
size_t CutBytesMax(Stack& stack) {
  if (!stack.segmentation_offload()) return 0;
  constexpr size_t kIpBytesMax = 65535, kIpv6HeaderBytes = 40;
  return std::min<size_t>(stack.device().pool().payload_bytes(),
                          kIpBytesMax - kIpv6HeaderBytes - netstack::kTcpHeaderBytesMax);
}

absl::Status NoRoute(const IpAddress& to, const Stack& stack) {
  return absl::UnavailableError(absl::StrCat("no route to ", to.ToString(), " from ",
                                             stack.interface().ToString(),
                                             "; add one to netstack.routes"));
}

}  // namespace

absl::StatusOr<std::shared_ptr<Endpoint>> Endpoint::Open(std::shared_ptr<Stack> stack,
                                                         const Options& options, uint64_t secret,
                                                         TcpStats* stats) {
  if (absl::Status status = CheckBuffers(*stack); !status.ok()) return status;
  Stack* const s = stack.get();
  World world = {
      .timers = &s->timers(),
      .pool = &s->device().pool(),
      .headroom = Stack::kSegmentHeadroom,
      .secret = secret,
      .mtu = s->interface().mtu,
      .port_min = s->options().ephemeral_port_min,
      .port_max = s->options().ephemeral_port_max,
      .worker = static_cast<uint16_t>(s->queue()),
      .workers = static_cast<uint16_t>(s->queues()),
      .cut_bytes_max = CutBytesMax(*s),
      .path_mtu = [s](const IpAddress& remote) { return s->PathMtu(remote); },
      .confirm_reachable = [s](const IpAddress& remote) { s->ConfirmReachable(remote); },
      .is_listened_at = [s](uint16_t port) { return s->HasTcpListener(port); },
      .stats = stats,
  };
  auto engine = Engine::Create(options, world);
  if (!engine.ok()) return engine.status();
  std::shared_ptr<Endpoint> endpoint(new Endpoint(std::move(stack), *std::move(engine)));
  // Where the search for a port to listen at begins is nobody's business (RFC 6056, 3.3.1).
  endpoint->next_port_ = static_cast<uint32_t>((secret ^ secret >> 32) * 0x9e3779b1u);
  s->SetSegmentHandler(endpoint.get());
  return endpoint;
}

Endpoint::Endpoint(std::shared_ptr<Stack> stack, std::unique_ptr<Engine> engine)
    : stack_(std::move(stack)), engine_(std::move(engine)) {}

Endpoint::~Endpoint() { stack_->SetSegmentHandler(nullptr); }

void Endpoint::Poll() {
  Send();
  stack_->PollSegments();
  Send();
  if (!stack_->device().status().ok()) [[unlikely]]
    CheckDevice();
}

void Endpoint::Send() {
  if (!engine_->has_output()) return;
  // Round trips and timeouts begin now, however long ago the last poll was.
  stack_->ReadClock();
  engine_->Flush(now_ns());
  for (;;) {
    const absl::Span<netstack::OutgoingSegment> pending = engine_->pending();
    if (pending.empty()) return;
    const size_t sent = stack_->SendSegments(pending);
    const bool all = sent == pending.size();
    engine_->Sent(sent, now_ns());
    if (!all) return;
  }
}

void Endpoint::CheckDevice() {
  if (status_.ok()) {
    status_ = stack_->device().status();
    engine_->EndAll(ENETDOWN, now_ns());
  }
}

absl::StatusOr<PortBinding> Endpoint::Listen(const PortBinding& at, int backlog, bool shared,
                                             uint16_t user) {
  if (!status_.ok()) return status_;
  PortBinding binding = at;
  if (at.port != 0) {
    if (absl::Status status = stack_->AddTcpListener(at, shared); !status.ok()) return status;
  } else {
    const auto port = AddAtFreePort(at.address, shared);
    if (!port.ok()) return port.status();
    binding.port = *port;
  }
  const auto port = engine_->Listen(binding.address, binding.port, backlog, user);
  if (port.ok()) return binding;
  stack_->RemoveTcpListener(binding);
  return port.status();
}

// Numbers whose connections would be this worker's: those of another may be under way.
absl::StatusOr<uint16_t> Endpoint::AddAtFreePort(const IpAddress& address, bool shared) {
  const uint32_t least = stack_->options().ephemeral_port_min;
  const uint32_t count = stack_->options().ephemeral_port_max - least + 1;
  for (uint32_t i = 0; i < count; ++i) {
    const auto port = static_cast<uint16_t>(least + next_port_++ % count);
    if (stack_->TcpPortOwner(port) != stack_->queue() || stack_->HasTcpListener(port)) continue;
    const absl::Status status = stack_->AddTcpListener({address, port}, shared, /*first=*/true);
    if (status.ok()) return port;
    if (!absl::IsAlreadyExists(status)) return status;
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("no port is free from ", least, " to ", least + count - 1));
}

void Endpoint::StopListening(const PortBinding& at) {
  (void)engine_->StopListening(at.address, at.port);
  stack_->RemoveTcpListener(at);
}

absl::StatusOr<StreamId> Endpoint::Connect(const PortBinding& from, const PortBinding& to,
                                           uint16_t user) {
  if (!status_.ok()) return status_;
  if (!stack_->HasRoute(to.address)) return NoRoute(to.address, *stack_);
  IpAddress source = from.address;
  if (source.is_unspecified()) source = stack_->LookAtDestination(to.address).source;
  if (source.is_unspecified()) return NoRoute(to.address, *stack_);
  return engine_->Connect({source, to.address, from.port, to.port}, now_ns(), user);
}

void Endpoint::OnSegments(absl::Span<netstack::ReceivedSegment> burst) {
  stack_->ReadClock();
  engine_->Receive(burst, now_ns());
}

void Endpoint::OnStraySegments(absl::Span<netstack::ReceivedSegment> burst) {
  engine_->Reject(burst, now_ns());
}

bool Endpoint::OnIcmpError(const netstack::IcmpErrorReport& report) {
  return engine_->OnIcmpError(report, now_ns());
}

void Endpoint::OnPathMtu(const IpAddress& destination, size_t mtu) {
  engine_->OnPathMtu(destination, mtu, now_ns());
}

}  // namespace weft::tcp
