// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/engine.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/tcp/engine_core.h"

namespace weft::tcp {
namespace {

absl::Status Check(const World& world) {
  constexpr size_t kMtuLeast = 576;  // RFC 791, 3.2
  if (world.timers == nullptr || world.pool == nullptr) {
    return absl::InvalidArgumentError("world: timers and pool are needed");
  }
  if (world.mtu < kMtuLeast) {
    return absl::InvalidArgumentError(
        absl::StrCat("world.mtu: ", world.mtu, " is too small; give at least ", kMtuLeast));
  }
  if (world.port_min == 0 || world.port_min > world.port_max || world.workers == 0 ||
      world.worker >= world.workers || world.port_max - world.port_min < world.workers) {
    return absl::InvalidArgumentError("world: the ports do not suffice for the workers");
  }
  if (world.outbox_segments == 0) {
    return absl::InvalidArgumentError("world.outbox_segments: give at least 1");
  }
  return absl::OkStatus();
}

}  // namespace

Engine::Engine(std::unique_ptr<EngineCore> core) : core_(std::move(core)) {}
Engine::~Engine() = default;

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const Options& options, const World& world) {
  if (absl::Status status = Check(world); !status.ok()) return status;
  const auto algorithm = FindCongestionAlgorithm(options.congestion_control);
  if (!algorithm.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("tcp.congestion_control: ", algorithm.status().message()));
  }
  return std::unique_ptr<Engine>(
      new Engine(std::make_unique<EngineCore>(options, world, *algorithm)));
}

void Engine::Receive(absl::Span<netstack::ReceivedSegment> burst, int64_t now_ns) {
  core_->Receive(burst, now_ns);
}
void Engine::Reject(absl::Span<netstack::ReceivedSegment> burst, int64_t now_ns) {
  core_->Reject(burst, now_ns);
}
bool Engine::OnIcmpError(const netstack::IcmpErrorReport& report, int64_t now_ns) {
  return core_->OnIcmpError(report, now_ns);
}
void Engine::OnPathMtu(const netstack::IpAddress& remote, size_t mtu, int64_t now_ns) {
  core_->OnPathMtu(remote, mtu, now_ns);
}
absl::Span<netstack::OutgoingSegment> Engine::pending() { return core_->pending(); }
void Engine::Sent(size_t n, int64_t now_ns) { core_->Sent(n, now_ns); }
void Engine::Flush(int64_t now_ns) { core_->Flush(now_ns); }
bool Engine::has_output() const { return core_->has_output(); }
bool Engine::is_searching() const { return core_->is_searching(); }

absl::StatusOr<uint16_t> Engine::AddUser() { return core_->AddUser(); }
void Engine::RemoveUser(uint16_t user, int64_t now_ns) { core_->RemoveUser(user, now_ns); }
void Engine::EndAll(int error, int64_t now_ns) { core_->EndAll(error, now_ns); }

absl::StatusOr<uint16_t> Engine::Listen(const netstack::IpAddress& local, uint16_t port,
                                        int backlog, uint16_t user) {
  return core_->Listen(local, port, backlog, user);
}
absl::Status Engine::StopListening(const netstack::IpAddress& local, uint16_t port) {
  return core_->StopListening(local, port);
}
absl::StatusOr<StreamId> Engine::Connect(const Flow& flow, int64_t now_ns, uint16_t user) {
  return core_->Connect(flow, now_ns, user);
}
absl::Span<const uint8_t> Engine::ReadView(StreamId stream) const {
  return core_->ReadView(stream);
}
void Engine::Consume(StreamId stream, size_t n, int64_t now_ns) {
  core_->Consume(stream, n, now_ns);
}
absl::Span<uint8_t> Engine::Reserve(StreamId stream, size_t wanted) {
  return core_->Reserve(stream, wanted);
}
void Engine::Commit(StreamId stream, size_t n, int64_t now_ns) { core_->Commit(stream, n, now_ns); }
bool Engine::SendBuffer(StreamId stream, Buffer* buffer, int64_t now_ns) {
  return core_->SendBuffer(stream, buffer, now_ns);
}
void Engine::CloseWrite(StreamId stream, int64_t now_ns) { core_->CloseWrite(stream, now_ns); }
void Engine::Close(StreamId stream, int64_t now_ns) { core_->Close(stream, now_ns); }
void Engine::Abort(StreamId stream, int64_t now_ns) { core_->Abort(stream, now_ns); }
absl::Status Engine::SetOptions(StreamId stream, const StreamOptions& options, int64_t now_ns) {
  return core_->SetOptions(stream, options, now_ns);
}
absl::StatusOr<StreamInfo> Engine::Info(StreamId stream, int64_t now_ns) const {
  return core_->Info(stream, now_ns);
}
absl::StatusOr<Flow> Engine::FlowOf(StreamId stream) const { return core_->FlowOf(stream); }
size_t Engine::TakeEvents(absl::Span<StreamEvent> events, uint16_t user) {
  return core_->TakeEvents(events, user);
}
bool Engine::has_events(uint16_t user) const { return core_->has_events(user); }
const TcpStats& Engine::stats() const { return core_->stats(); }
const Options& Engine::options() const { return core_->options(); }
bool Engine::Look(Scan* scan, size_t places, int64_t now_ns,
                  absl::FunctionRef<bool(const Flow&, StreamInfo::State)> wanted,
                  absl::FunctionRef<void(StreamId, const Flow&, const StreamInfo&)> show) const {
  return core_->Look(scan, places, now_ns, wanted, show);
}
void Engine::ForEach(int64_t now_ns,
                     absl::FunctionRef<void(StreamId, const Flow&, const StreamInfo&)> show) const {
  constexpr size_t kPlaces = 4096;
  const auto all = [](const Flow&, StreamInfo::State) { return true; };
  Scan scan;
  while (Look(&scan, kPlaces, now_ns, all, show)) {
  }
}
void Engine::ForEachListener(absl::FunctionRef<void(const ListenerInfo&)> show) const {
  core_->ForEachListener(show);
}
size_t Engine::BytesOfIdleConnection() { return TcbSlab::BytesOfPlace(); }

}  // namespace weft::tcp
