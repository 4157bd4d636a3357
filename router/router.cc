// SPDX-License-Identifier: Apache-2.0
#include "weft/router/router.h"

#include <algorithm>
#include <utility>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/router/clients.h"
#include "weft/router/control_path.h"
#include "weft/router/request_path.h"

namespace weft::router {
namespace {

uint64_t Secret(const std::optional<uint64_t>& seed, uint64_t what) {
  return seed.has_value() ? r2p2::internal::Mix(*seed ^ what)
                          : absl::Uniform<uint64_t>(absl::BitGen());
}

// A whole one for the clients, too, who see its lower half.
uint64_t IncarnationOf(const RouterOptions& options, const RouterGroup* group) {
  const uint64_t incarnation = group != nullptr && !options.seed.has_value()
                                   ? group->incarnation()
                                   : Secret(options.seed, 1);
  return static_cast<uint32_t>(incarnation) == 0 ? incarnation + 1 : incarnation;
}

}  // namespace

class Router::Poller final : public Pollable {
 public:
  Poller(Router& router, DatagramPort& port, bool control)
      : router_(router), port_(port), control_(control) {
    router_.loop_.Add(this);
  }
  ~Poller() override { router_.loop_.Remove(this); }

  size_t Poll() override { return control_ ? router_.PollControl() : router_.PollRequests(); }
  int wait_fd() const override { return port_.wait_fd(); }
  bool Arm() override {
    const bool idle = control_ ? router_.control_path_->idle() : router_.requests_->idle();
    return idle && port_.Arm();
  }
  void Disarm() override { port_.Disarm(); }

 private:
  Router& router_;
  DatagramPort& port_;
  const bool control_;
};

absl::StatusOr<std::unique_ptr<Router>> Router::Create(
    Loop& loop, std::unique_ptr<DatagramPort> listen, std::unique_ptr<DatagramPort> control,
    const RouterOptions& options, std::shared_ptr<RouterGroup> group, size_t worker) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  std::unique_ptr<Router> router(
      new Router(loop, std::move(listen), std::move(control), options, std::move(group), worker));
  if (absl::Status status = router->Init(); !status.ok()) return status;
  return router;
}

Router::Router(Loop& loop, std::unique_ptr<DatagramPort> listen,
               std::unique_ptr<DatagramPort> control, const RouterOptions& options,
               std::shared_ptr<RouterGroup> group, size_t worker)
    : loop_(loop),
      listen_(std::move(listen)),
      control_(std::move(control)),
      options_(options),
      group_(group != nullptr && group->workers() > 1 ? std::move(group) : nullptr),
      worker_(worker),
      incarnation_(IncarnationOf(options_, group_.get())),
      missed_(group_ != nullptr ? group_->workers() : 0),
      lease_timer_(
          [](void* self, int64_t now_ns) { static_cast<Router*>(self)->OnLeaseTimer(now_ns); },
          this),
      tick_([](void* self, int64_t now_ns) { static_cast<Router*>(self)->OnTick(now_ns); }, this) {}

Router::~Router() {
  if (group_ != nullptr) group_->Detach(worker_);
}

absl::Status Router::Init() {
  using Forwarding = RouterOptions::Forwarding;
  const bool can_keep = listen_->capabilities().keeps_foreign_source;
  if (options_.forwarding == Forwarding::kKeepSource && !can_keep) {
    return absl::UnimplementedError(
        "router.forwarding: this transport cannot send under a client's address, as KEEP_SOURCE "
        "needs; give ADDRESS_IN_HEADER, or `linux { foreign_source: true }`, or `netstack`");
  }
  // What waits must leave buffers for what comes.
  options_.queue_max =
      std::min(options_.queue_max, std::max<size_t>(listen_->pool().count() / 2, 1));
  auto tenants = Tenants::From(options_.tenants);
  if (!tenants.ok()) return tenants.status();
  auto dispatcher = Dispatcher::Create({.policy = options_.policy,
                                        .servers_max = options_.servers_max,
                                        .queue_max = options_.queue_max,
                                        .placements_max = options_.placements_max,
                                        .lease_ns = absl::ToInt64Nanoseconds(options_.lease),
                                        .tenant_weights = tenants->weights(),
                                        .seed = Secret(options_.seed, 2 + worker_),
                                        .now_ns = loop_.now_ns()});
  if (!dispatcher.ok()) return dispatcher.status();
  dispatcher_ = *std::move(dispatcher);
  members_ = std::make_unique<Members>(*dispatcher_, *listen_, control_.get(), stats_);
  members_->set_slots(options_.slots);
  members_->set_keepalive(absl::ToInt64Nanoseconds(options_.keepalive));
  requests_ = std::make_unique<RequestPath>(
      *listen_, *dispatcher_, *members_, stats_, *std::move(tenants),
      RequestPath::Settings{
          .keep_source = can_keep && options_.forwarding != Forwarding::kAddressInHeader,
          .queue_max = options_.queue_max,
          .incarnation = incarnation_,
          .retry_after_us = static_cast<uint32_t>(absl::ToInt64Microseconds(options_.keepalive))});
  control_path_ =
      std::make_unique<ControlPath>(*listen_, control_.get(), *dispatcher_, *members_, *requests_,
                                    stats_, group_.get(), worker_, SettingsOfControl());
  for (size_t i = 0; i < options_.servers.size(); ++i) {
    const auto added = members_->Add(options_.servers[i], /*configured=*/true, loop_.now_ns());
    if (!added.ok()) {
      return absl::Status(
          added.status().code(),
          absl::StrCat("router.servers[", i, "].address: ", added.status().message()));
    }
  }
  listen_poller_ = std::make_unique<Poller>(*this, *listen_, false);
  if (control_ != nullptr) control_poller_ = std::make_unique<Poller>(*this, *control_, true);
  loop_.timers().Schedule(tick_, loop_.now_ns());
  if (group_ == nullptr) return absl::OkStatus();
  group_->Attach(worker_, loop_.mailbox(), this);
  if (worker_ == 0) {
    members_->set_listener([this](const MemberChange& change) { Publish(change); });
    for (size_t i = 1; i < group_->workers(); ++i) SendAllMembers(i);
  } else {
    group_->Post(0, [worker = worker_](Router& first) { first.SendAllMembers(worker); });
  }
  return absl::OkStatus();
}

ControlSettings Router::SettingsOfControl() const {
  return {.join = options_.join,
          .may_join = options_.may_join,
          .control_protected = options_.control_protected,
          .keepalive_ns = absl::ToInt64Nanoseconds(options_.keepalive),
          .incarnation = incarnation_};
}

bool Router::keeps_source() const { return requests_->keeps_source(); }

const absl::Status& Router::status() const {
  return control_ != nullptr && !control_->status().ok() ? control_->status() : listen_->status();
}

size_t Router::PollRequests() {
  const int64_t now_ns = loop_.now_ns();
  size_t work = 0;
  if (group_ != nullptr) work += control_path_->TakePassedOn(now_ns);
  if (listen_->has_events()) [[unlikely]] {
    OnEvents(*listen_);
    ++work;
  }
  const size_t polled = requests_->Poll(now_ns, *control_path_);
  if (polled > 0) {
    if (group_ != nullptr) group_->Wake(worker_);
    ScheduleLease();
  }
  return work + polled;
}

size_t Router::PollControl() {
  if (control_->has_events()) [[unlikely]]
    OnEvents(*control_);
  const size_t work = control_path_->Poll(loop_.now_ns());
  if (work > 0) ScheduleLease();
  return work;
}

void Router::OnEvents(DatagramPort& port) {
  std::array<PortEvent, 16> events;
  const size_t n = port.TakeEvents(absl::MakeSpan(events));
  for (size_t i = 0; i < n; ++i) {
    const bool gone = events[i].kind == PortEvent::Kind::kPeerUnreachable ||
                      events[i].kind == PortEvent::Kind::kPeerClosed;
    if (gone) control_path_->OnUnreachable(events[i].peer, &port == control_.get());
  }
  if (n > 0) Continue();
}

void Router::ScheduleLease() {
  if (lease_timer_.armed()) return;
  const int64_t deadline_ns = dispatcher_->NextDeadlineNs();
  if (deadline_ns != INT64_MAX) loop_.timers().Schedule(lease_timer_, deadline_ns);
}

void Router::OnLeaseTimer(int64_t now_ns) {
  dispatcher_->Expire(now_ns);
  Continue();
}

void Router::OnTick(int64_t now_ns) {
  const int64_t next_ns = control_path_->CheckHealth(now_ns);
  dispatcher_->UpdateGauges();
  for (size_t i = 1; i < missed_.size(); ++i) {
    if (missed_[i]) SendAllMembers(i);
  }
  ScheduleLease();
  loop_.timers().Schedule(tick_, now_ns + next_ns);
}

void Router::Continue() {
  requests_->SendReady(loop_.now_ns());
  requests_->Flush();
  ScheduleLease();
}

// --- Between workers

void Router::Publish(const MemberChange& change) {
  for (size_t i = 1; i < group_->workers(); ++i) {
    const bool posted =
        group_->Post(i, [change](Router& other) { other.OnChangeElsewhere(change); });
    // One that is not there yet will ask for everything.
    if (!posted) missed_[i] = true;
  }
}

void Router::SendAllMembers(size_t worker) {
  missed_[worker] =
      !group_->Post(worker, [all = members_->All()](Router& other) { other.OnAllMembers(all); });
}

void Router::OnAllMembers(absl::Span<const MemberChange> members) {
  members_->ApplyAll(members, loop_.now_ns());
  Continue();
}

void Router::OnChangeElsewhere(const MemberChange& change) {
  if (change.kind == MemberChange::Kind::kHeard) {
    Member* const member = members_->Find(change.server.address);
    if (member == nullptr) return;
    member->life.knows_weft = true;
    control_path_->Heard(*member, loop_.now_ns(), change.life);
  } else {
    members_->Apply(change, loop_.now_ns());
  }
  Continue();
}

void Router::OnUnreachableElsewhere(const Address& server) {
  if (const Member* const member = members_->Find(server)) {
    control_path_->OnUnreachable(members_->PeerOf(member->index), false);
    Continue();
  }
}

void Router::TellOutstanding(const Address& server) {
  const Member* const member = members_->Find(server);
  const uint32_t outstanding =
      member != nullptr ? dispatcher_->servers().outstanding(member->index) : 0;
  group_->Post(0, [server, worker = worker_, outstanding](Router& first) {
    first.OnOutstandingElsewhere(server, worker, outstanding);
  });
}

void Router::OnOutstandingElsewhere(const Address& server, size_t worker, uint32_t outstanding) {
  Member* const member = members_->Find(server);
  if (member == nullptr || worker >= member->elsewhere.size()) return;
  member->elsewhere[worker] = outstanding;
}

void Router::OnMembershipElsewhere(const ControlRequest& request) {
  control_path_->OnMembershipElsewhere(request, loop_.now_ns());
}

void Router::TakePassedOn() {
  control_path_->TakePassedOn(loop_.now_ns());
  ScheduleLease();
}

}  // namespace weft::router
