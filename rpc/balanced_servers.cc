// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/balanced_servers.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/r2p2/route_wire.h"
#include "weft/rpc/call_status.h"
#include "weft/rpc/client_session.h"

namespace weft::rpc {
namespace {

using State = BalancedServer::State;

constexpr uint32_t kBackoffShiftMax = 6;         // 64 times
constexpr int64_t kProbeLookNs = 2'000'000;      // how often a probe is looked at
constexpr int64_t kProbeLeastNs = 50'000'000;    // and for how long at least
constexpr int64_t kProbeMostNs = 1'000'000'000;  // and at most

// What the end of a call says of its server.
enum class Verdict : uint8_t { kWell, kNothing, kFailed, kGone };

// A server that refuses a request as wrong, or has lost a reply, is well all the same.
Verdict VerdictOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      return Verdict::kGone;
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kAborted:
      return Verdict::kFailed;
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kFailedPrecondition:
      return Verdict::kNothing;
    default:
      return Verdict::kWell;
  }
}

// Over some transports there is an address only as long as somebody listens.
bool MayComeLater(const absl::Status& status) {
  return absl::IsNotFound(status) || absl::IsUnavailable(status);
}

absl::Status NoSuchServer(const Address& address) {
  return absl::NotFoundError(absl::StrCat(address.ToString(), " is none of the servers"));
}

}  // namespace

const char* NameOf(State state) {
  switch (state) {
    case State::kUp:
      return "up";
    case State::kPaused:
      return "paused";
    case State::kEjected:
      return "ejected";
    case State::kProbed:
      return "probed";
    case State::kTrial:
      return "on trial";
    case State::kDraining:
      return "draining";
  }
  return "";
}

BalancedServers::BalancedServers(Client& client, const Options& options, BalancerStats& stats,
                                 absl::AnyInvocable<void()> on_room)
    : client_(client),
      options_(options),
      stats_(stats),
      on_room_(std::move(on_room)),
      set_(options.servers_max) {}

BalancedServers::~BalancedServers() {
  for (const std::unique_ptr<Server>& server : servers_) {
    EndProbe(*server);
    loop().timers().Cancel(server->timer);
  }
}

// --- Membership

BalancedServers::Server* BalancedServers::Find(const Address& address) {
  for (const std::unique_ptr<Server>& server : servers_) {
    if (set_.contains(server->index) && server->address == address) return server.get();
  }
  return nullptr;
}

absl::Status BalancedServers::Add(const Address& address, uint32_t weight) {
  if (Server* const known = Find(address)) {
    if (known->state != State::kDraining) {
      return absl::AlreadyExistsError(absl::StrCat(address.ToString(), " is a server already"));
    }
    set_.SetWeight(known->index, weight);
    Recover(*known);  // it goes on
    return absl::OkStatus();
  }
  absl::StatusOr<Peer> peer = client_.Resolve(address);
  if (!peer.ok() && !MayComeLater(peer.status())) return peer.status();
  const r2p2::ServerIndex index = set_.Add(r2p2::ClientIdOf(address), options_.slots, weight);
  if (index == r2p2::kNoServerIndex) {
    return absl::ResourceExhaustedError(
        absl::StrCat("there are ", set_.size(), " servers, as many as servers_max allows"));
  }
  while (servers_.size() <= index) servers_.push_back(std::make_unique<Server>(this));
  Server& server = *servers_[index];
  static_cast<BalancedServer&>(server) =
      BalancedServer{.address = address, .peer = peer.value_or(Peer()), .index = index};
  ++server.generation;
  stats_.servers.Add(1);
  stats_.available.Add(1);
  if (!peer.ok()) Eject(server);
  on_room_();
  return absl::OkStatus();
}

absl::Status BalancedServers::Remove(const Address& address) {
  Server* const server = Find(address);
  if (server == nullptr) return NoSuchServer(address);
  Release(*server);
  return absl::OkStatus();
}

absl::Status BalancedServers::Drain(const Address& address) {
  Server* const server = Find(address);
  if (server == nullptr) return NoSuchServer(address);
  EndProbe(*server);
  loop().timers().Cancel(server->timer);
  SetAvailable(*server, false);
  server->state = State::kDraining;
  if (set_.outstanding(server->index) == 0) Release(*server);
  return absl::OkStatus();
}

absl::Status BalancedServers::SetWeight(const Address& address, uint32_t weight) {
  Server* const server = Find(address);
  if (server == nullptr) return NoSuchServer(address);
  set_.SetWeight(server->index, weight);
  return absl::OkStatus();
}

void BalancedServers::Release(Server& server) {
  EndProbe(server);
  loop().timers().Cancel(server.timer);
  SetAvailable(server, false);
  set_.Remove(server.index);
  ++server.generation;
  stats_.servers.Add(-1);
  on_room_();  // whoever waits may have nothing left to wait for
}

void BalancedServers::SetAvailable(Server& server, bool available) {
  if (set_.is_available(server.index) == available) return;
  set_.SetAvailable(server.index, available);
  stats_.available.Add(available ? 1 : -1);
  if (available) on_room_();
}

// --- Health

void BalancedServers::Judge(Server& server, const Picked& picked, const absl::Status& status) {
  Verdict verdict = VerdictOf(status);
  // It is a server behind the router that has gone, or has no answer.
  const bool against = verdict == Verdict::kGone || absl::IsAborted(status);
  if (against && IsRouterInTouch(server)) verdict = Verdict::kNothing;
  server.failed += verdict == Verdict::kFailed || verdict == Verdict::kGone;
  if (server.state == State::kDraining) {
    if (set_.outstanding(server.index) == 0) Release(server);
    return;
  }
  if (picked.trial && server.state == State::kTrial) {
    // Even one that is full has answered.
    if (verdict == Verdict::kNothing && status.code() == absl::StatusCode::kResourceExhausted) {
      verdict = Verdict::kWell;
    }
    if (verdict == Verdict::kWell) return Recover(server);
    if (verdict == Verdict::kNothing) return SetAvailable(server, true);
    return Eject(server);
  }
  // What calls say that began before it was ejected, is known already.
  if (server.state != State::kUp && server.state != State::kPaused) return;
  switch (verdict) {
    case Verdict::kWell:
      server.failures = 0;
      server.ejections = 0;
      return;
    case Verdict::kNothing: {
      const int64_t pause_ns = absl::ToInt64Nanoseconds(RetryAfter(status));
      if (pause_ns > 0) Pause(server, std::min(pause_ns, options_.ejection_ns));
      return;
    }
    case Verdict::kFailed:
      if (++server.failures < options_.failures_max) return;
      return Eject(server);
    case Verdict::kGone:
      ++server.failures;
      return Eject(server);
  }
}

void BalancedServers::WakeAt(Server& server, int64_t when_ns) {
  server.until_ns = when_ns;
  loop().timers().Schedule(server.timer, when_ns);
}

void BalancedServers::Eject(Server& server) {
  SetAvailable(server, false);
  server.state = State::kEjected;
  ++stats_.ejections;
  const uint32_t shift = std::min(server.ejections++, kBackoffShiftMax);
  WakeAt(server, loop().now_ns() + (options_.ejection_ns << shift));
}

void BalancedServers::Pause(Server& server, int64_t for_ns) {
  SetAvailable(server, false);
  server.state = State::kPaused;
  WakeAt(server, loop().now_ns() + for_ns);
}

// With a server that has been heard of, a session is opened only to see whether it can be.
void BalancedServers::Probe(Server& server, int64_t now_ns) {
  ++stats_.probes;
  // Over some transports, a server that has come back is another peer.
  const absl::StatusOr<Peer> peer = client_.Resolve(server.address);
  if (!peer.ok()) return Eject(server);
  server.peer = *peer;
  if (client_.options().wire == Wire::kOriginal || SpeaksOriginal(server)) {
    return AllowTrial(server);
  }
  absl::StatusOr<SessionId> session = client_.Connect(server.peer);
  if (!session.ok()) return Eject(server);
  server.probe = *session;
  server.state = State::kProbed;
  server.until_ns = now_ns + std::clamp(options_.ejection_ns, kProbeLeastNs, kProbeMostNs);
  loop().timers().Schedule(server.timer, now_ns + kProbeLookNs);
}

void BalancedServers::EndProbe(Server& server) {
  if (server.probe) client_.Disconnect(std::exchange(server.probe, SessionId()));
}

bool BalancedServers::SpeaksOriginal(const Server& server) const {
  bool original = false;
  client_.sessions().ForEach([&](const ClientSession& session) {
    original = original ||
               (session.peer == server.peer && session.state == ClientSession::State::kOriginal);
  });
  return original;
}

// Of a router that has gone, its sessions are lost before their calls end.
bool BalancedServers::IsRouterInTouch(const Server& server) const {
  bool in_touch = false;
  client_.sessions().ForEach([&](const ClientSession& session) {
    in_touch = in_touch || (session.peer == server.peer && session.is_pool() && session.is_open());
  });
  return in_touch;
}

void BalancedServers::AllowTrial(Server& server) {
  server.state = State::kTrial;
  SetAvailable(server, true);
}

// One call at a time.
void BalancedServers::BeginTrial(Server& server) {
  ++stats_.trials;
  SetAvailable(server, false);
}

void BalancedServers::Recover(Server& server) {
  if (server.state == State::kTrial) ++stats_.recoveries;
  server.state = State::kUp;
  server.failures = server.ejections = 0;
  SetAvailable(server, true);
}

void BalancedServers::OnTimer(void* context, int64_t now_ns) {
  auto& server = *static_cast<Server*>(context);
  server.owner->OnTimer(server, now_ns);
}

void BalancedServers::OnTimer(Server& server, int64_t now_ns) {
  switch (server.state) {
    case State::kEjected:
      return Probe(server, now_ns);
    case State::kProbed:
      if (client_.ShapeOf(server.probe).slots > 0) {
        EndProbe(server);
        return AllowTrial(server);
      }
      if (now_ns >= server.until_ns) {
        EndProbe(server);
        return Eject(server);
      }
      loop().timers().Schedule(server.timer, now_ns + kProbeLookNs);
      return;
    case State::kPaused:
      server.state = State::kUp;
      return SetAvailable(server, true);
    case State::kUp:
    case State::kTrial:
    case State::kDraining:
      return;
  }
}

void BalancedServers::OnCancelled(const Picked& picked) {
  if (!contains(picked)) return;
  set_.Return(picked.server);
  Server& server = *servers_[picked.server];
  if (server.state == State::kDraining) {
    if (set_.outstanding(server.index) == 0) Release(server);
  } else if (picked.trial && server.state == State::kTrial) {
    SetAvailable(server, true);
  }
}

absl::Status BalancedServers::WhyNone() {
  size_t paused = 0;
  size_t draining = 0;
  int64_t soonest_ns = INT64_MAX;
  const int64_t now_ns = loop().now_ns();
  // Where nothing else is left, long ejections would only prolong what may be over by now.
  const bool hurry = now_ns - hurried_ns_ >= options_.ejection_ns;
  if (hurry) hurried_ns_ = now_ns;
  for (const std::unique_ptr<Server>& server : servers_) {
    if (!set_.contains(server->index)) continue;
    if (server->state == State::kEjected && hurry &&
        server->until_ns > now_ns + options_.ejection_ns) {
      WakeAt(*server, now_ns + options_.ejection_ns);
    }
    paused += server->state == State::kPaused;
    draining += server->state == State::kDraining;
    if (server->state == State::kPaused || server->state == State::kEjected) {
      soonest_ns = std::min(soonest_ns, server->until_ns);
    }
  }
  if (set_.size() == 0) return NotExecuted(absl::UnavailableError("there are no servers"));
  if (paused > 0) {
    return NotExecuted(absl::ResourceExhaustedError(
        absl::StrCat("all ", set_.size(), " servers are overloaded or fail")));
  }
  if (draining == set_.size()) {
    return NotExecuted(absl::UnavailableError("all servers are being drained"));
  }
  std::string when;
  if (soonest_ns != INT64_MAX) {
    const int64_t wait_ms = std::max<int64_t>(soonest_ns - now_ns, 0) / 1'000'000;
    when = absl::StrCat("; the first is tried again in ", wait_ms, " ms");
  }
  return NotExecuted(
      absl::UnavailableError(absl::StrCat("all ", set_.size(), " servers have failed", when)));
}

}  // namespace weft::rpc
