// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/server.h"

#include <array>
#include <utility>

#include "absl/types/span.h"
#include "weft/rpc/extended_server.h"
#include "weft/rpc/original_server.h"
#include "weft/rpc/server_transfer.h"
#include "weft/rpc/wire.h"

namespace weft::rpc {
namespace {

constexpr int64_t kDrainTickNs = 1'000'000;

}  // namespace

Server::Server(Loop& loop, std::unique_ptr<DatagramPort> port, const ServerOptions& options)
    : core_(loop, std::move(port), options),
      original_(std::make_unique<OriginalServer>(core_)),
      extended_(std::make_unique<ExtendedServer>(core_)),
      burst_(BurstOf(*core_.port)),
      drain_tick_(&Server::OnDrainTick, this) {
  core_.original = original_.get();
  core_.extended = extended_.get();
  core_.loop.Add(this);
}

Server::~Server() {
  extended_->CloseAll();
  // Both may hold calls, whose end the router and some clients are told of.
  core_.tasks.CancelAll();
  core_.handler = nullptr;
  if (core_.routers != nullptr) core_.routers->End();
  core_.sending.Flush(*core_.port);
  core_.loop.Remove(this);
}

absl::Status Server::Init() {
  if (absl::Status status = original_->Init(); !status.ok()) return status;
  if (absl::Status status = extended_->Init(); !status.ok()) return status;
  core_.authorisation = MakeAuthorisation({""});
  const RouterOptions& router = core_.options.router;
  if (router.control.empty() && router.forwards_from.empty()) return router.Validate();
  core_.routers =
      std::make_unique<RouterLinks>(core_.loop, *core_.port, core_.sending, core_.stats);
  return core_.routers->Init(core_.options);
}

std::unique_ptr<Authorisation> Server::MakeAuthorisation(std::vector<std::string> methods) const {
  const std::shared_ptr<const Security> security = core_.options.security;
  if (security == nullptr || security->config().allow().empty()) return nullptr;
  return std::make_unique<Authorisation>(
      [security](absl::string_view method, absl::string_view identity) {
        return security->Allows(method, identity);
      },
      std::move(methods));
}

std::unique_ptr<Authorisation> Server::LeaveAuthorisationTo(std::vector<std::string> methods) {
  core_.authorisation = nullptr;
  return MakeAuthorisation(std::move(methods));
}

size_t Server::Poll() {
  PacketQueue& sending = core_.sending;
  core_.gatherers.Flush();
  size_t work = sending.Flush(*core_.port);
  if (extended_->SendWaiting()) [[unlikely]] {
    work += 1 + sending.Flush(*core_.port);
  }
  if (core_.port->has_events() || extended_->is_forgetting()) [[unlikely]] {
    work += OnEvents();
  }
  // Replies that cannot leave are a reason not to take more requests: they wait where the sender
  // feels it.
  if (sending.size() > sending.capacity() / 2) return work;
  const size_t n = core_.port->Receive(absl::MakeSpan(core_.burst).first(burst_));
  if (n > 0) {
    OnBurst(n);
  } else if (has_feedback()) [[unlikely]] {
    // Of calls that ended by themselves since the last round.
    core_.routers->SendFeedback();
    work += 1 + sending.Flush(*core_.port);
  }
  if (core_.bulk.fetching() > 0) [[unlikely]] {
    work += TakeFetched();
  }
  return work + n;
}

size_t Server::TakeFetched() {
  core_.BeginBurst();
  const size_t n = extended_->TakeFetched();
  if (n == 0) return 0;
  core_.gatherers.Flush();
  if (has_feedback()) core_.routers->SendFeedback();
  core_.sending.Flush(*core_.port);
  return n;
}

void Server::OnBurst(size_t n) {
  core_.BeginBurst();
  if (core_.routers != nullptr) core_.burst_routers.fill(RouterLinks::kAnyRouter);
  std::array<Datagram*, kMaxBurst> extended;
  size_t extended_count = 0;
  for (size_t i = 0; i < n; ++i) {
    Datagram& datagram = core_.burst[i];
    if (IsRouted(datagram.buffer.bytes()) && !TakeRoute(i)) [[unlikely]]
      continue;
    if (IsExtended(datagram.buffer.bytes()) || IsAnycast(datagram.buffer.bytes())) {
      extended[extended_count++] = &datagram;
    } else {
      core_.Arrives(&datagram);
      original_->OnDatagram(datagram);
    }
  }
  if (extended_count > 0) extended_->OnBurst({extended.data(), extended_count});
  core_.Arrives(nullptr);
  core_.gatherers.Flush();
  if (has_feedback()) core_.routers->SendFeedback();
  core_.sending.Flush(*core_.port);
  for (size_t i = 0; i < n; ++i) core_.burst[i].buffer.Reset();  // what was dropped
  if (extended_count > 0) extended_->AfterBurst(extended_count);
}

bool Server::TakeRoute(size_t index) {
  if (core_.routers != nullptr) {
    return core_.routers->TakeRoute(core_.burst[index], &core_.burst_routers[index]);
  }
  ++core_.stats.routed_untrusted;
  return false;
}

bool Server::Arm() {
  return core_.sending.empty() && !has_feedback() && !core_.gatherers.wanted() &&
         !extended_->is_forgetting() && core_.port->Arm();
}

size_t Server::OnEvents() {
  if (extended_->is_forgetting()) {
    extended_->ForgetSome();
    return 1;
  }
  std::array<PortEvent, 8> events;
  std::array<Peer, 8> gone;
  size_t gone_count = 0;
  const size_t n = core_.port->TakeEvents(absl::MakeSpan(events));
  for (size_t i = 0; i < n; ++i) {
    if (!events[i].peer) continue;
    if (core_.routers != nullptr) core_.routers->OnGone(events[i].peer);
    original_->Forget(events[i].peer);
    gone[gone_count++] = events[i].peer;
  }
  if (gone_count > 0) extended_->Forget(absl::MakeSpan(gone).first(gone_count));
  return n;
}

size_t Server::incomplete() const { return original_->incomplete() + extended_->incomplete(); }

void Server::set_session_events(absl::AnyInvocable<void(const SessionEvent&)> events) {
  extended_->set_events(std::move(events));
}

void Server::Drain(absl::AnyInvocable<void()> done) {
  drained_ = std::move(done);
  if (core_.routers == nullptr || !core_.routers->has_joined()) return BeginDrain();
  core_.routers->Leave([this] { BeginDrain(); });
}

void Server::BeginDrain() {
  core_.draining = true;
  core_.loop.timers().Schedule(drain_tick_, core_.loop.now_ns());
  core_.gatherers.TellOfDraining();
}

void Server::Cancel(const ServerCall::Name& call) { extended_->Cancel(call); }

void Server::OnDrainTick(void* self, int64_t now_ns) {
  auto& server = *static_cast<Server*>(self);
  const bool told = server.extended_->TellOfDraining();
  server.core_.sending.Flush(*server.core_.port);
  if (told && server.core_.stats.executing.value() == 0 && server.core_.stats.parked.value() == 0 &&
      server.core_.sending.empty() && server.extended_->replies_under_way() == 0) {
    auto done = std::exchange(server.drained_, nullptr);
    if (done) done();
    return;
  }
  server.core_.loop.timers().Schedule(server.drain_tick_, now_ns + kDrainTickNs);
}

void Server::ForEachSession(absl::FunctionRef<void(const SessionInfo&)> f) const {
  const int64_t now_ns = core_.loop.now_ns();
  extended_->ForEachSession([&](const ServerSession& session) {
    const ReplyFlow* const flow = session.flow;
    const bool limited = flow != nullptr && flow->congestion != nullptr;
    f({.session = session.number,
       .peer = session.peer,
       .age_ns = now_ns - session.opened_ns,
       .silent_ns = int64_t{CoarseTime(now_ns) - session.heard_ms} << 20,
       .requests = session.requests,
       .executing = session.executing,
       .kept_replies = session.blocks,
       .slots = session.slots_max,
       .packet_bytes = session.packet_bytes,
       .credits = core_.credits,
       .retransmissions = session.retransmitted,
       .refused = session.refused,
       .srtt_ns = flow != nullptr ? flow->rtt.srtt_ns() : 0,
       .rttvar_ns = flow != nullptr ? flow->rtt.rttvar_ns() : 0,
       .window_packets = limited ? flow->congestion->window() : 0});
  });
}

}  // namespace weft::rpc
