// SPDX-License-Identifier: Apache-2.0
//
// What changes a running router: another configuration, and people.
#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/r2p2/policy/policy.h"
#include "weft/router/clients.h"
#include "weft/router/control_path.h"
#include "weft/router/request_path.h"
#include "weft/router/router.h"

namespace weft::router {
namespace {

absl::Status NeedsRestart(const char* field) {
  return absl::FailedPreconditionError(
      absl::StrCat("router.", field,
                   ": takes effect when the router starts; leave it as it was, or start anew"));
}

absl::Status NoSuchServer(const Address& address) {
  return absl::NotFoundError(absl::StrCat(address.ToString(), " is not one of the servers"));
}

}  // namespace

absl::Status Router::Apply(const RouterOptions& options) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  if (options.listen != options_.listen) return NeedsRestart("listen");
  if (options.control != options_.control) return NeedsRestart("control");
  if (options.servers_max != options_.servers_max) return NeedsRestart("servers_max");
  if (options.forwarding != options_.forwarding) return NeedsRestart("forwarding");
  for (size_t i = 0; i < options.servers.size(); ++i) {
    const Address& address = options.servers[i].address;
    if (members_->Find(address) != nullptr) continue;
    if (const auto peer = listen_->Resolve(address); !peer.ok()) {
      return absl::Status(
          peer.status().code(),
          absl::StrCat("router.servers[", i, "].address: ", peer.status().message()));
    }
  }
  if (absl::Status status = ApplyHere(options); !status.ok()) return status;
  for (size_t i = 1; group_ != nullptr && i < group_->workers(); ++i) {
    group_->Post(i, [options](Router& other) { other.ApplyElsewhere(options); });
  }
  const absl::Status status = ApplyServers(options);
  Continue();
  return status;
}

absl::Status Router::ApplyHere(const RouterOptions& options) {
  auto tenants = Tenants::From(options.tenants);
  if (!tenants.ok()) return tenants.status();
  if (absl::Status status = dispatcher_->SetPolicy(options.policy); !status.ok()) return status;
  const RouterOptions before = std::exchange(options_, options);
  options_.seed = before.seed;
  options_.placements_max = before.placements_max;
  options_.queue_max =
      std::min(options.queue_max, std::max<size_t>(listen_->pool().count() / 2, 1));
  requests_->SetQueueMax(options_.queue_max);
  dispatcher_->SetQueueMax(options_.queue_max);
  dispatcher_->SetTenantWeights(tenants->weights());
  requests_->SetTenants(*std::move(tenants));
  dispatcher_->SetLease(absl::ToInt64Nanoseconds(options_.lease));
  members_->set_slots(options_.slots);
  members_->set_keepalive(absl::ToInt64Nanoseconds(options_.keepalive));
  control_path_->Set(SettingsOfControl());
  // The lease may be shorter than it was.
  loop_.timers().Cancel(lease_timer_);
  Continue();
  return absl::OkStatus();
}

absl::Status Router::ApplyServers(const RouterOptions& options) {
  const int64_t now_ns = loop_.now_ns();
  const int64_t keepalive_ns = absl::ToInt64Nanoseconds(options_.keepalive);
  members_->ForEach([keepalive_ns](Member& member) {
    member.life.keepalive_ns =
        member.life.joined ? std::min(member.life.keepalive_ns, keepalive_ns) : keepalive_ns;
  });
  absl::flat_hash_set<Address> stay;
  absl::Status status;
  // The new ones first: there is no moment without a server.
  for (const RouterOptions::Server& server : options.servers) {
    stay.insert(server.address);
    Member* const member = members_->Find(server.address);
    if (member == nullptr) {
      const auto added = members_->Add(server, /*configured=*/true, now_ns);
      if (added.ok()) continue;
      ++stats_.member_overflows;
      status.Update(absl::Status(added.status().code(),
                                 absl::StrCat(server.address.ToString(), " is left out: ",
                                              added.status().message(), "; the rest is applied")));
      continue;
    }
    member->configured = true;
    member->removing = false;
    members_->Update(*member, server);
    if (member->state == Member::State::kDraining && !member->leaving) {
      members_->SetState(*member, Member::State::kUp);
    }
  }
  members_->ForEach([this, &stay](Member& member) {
    if (stay.contains(member.server.address)) return;
    if (!std::exchange(member.configured, false) || member.life.joined) return;
    control_path_->Drain(member);
  });
  return status;
}

absl::Status Router::Add(const RouterOptions::Server& server) {
  absl::Status status = RouterOptions::CheckServer(server.address, listen_->local_address());
  if (!status.ok()) return status;
  if (server.address == options_.control) {
    return absl::InvalidArgumentError(
        absl::StrCat(server.address.ToString(), " is where the router itself listens"));
  }
  Member* const member = members_->Find(server.address);
  // Whoever adds a server that drains has changed his mind.
  if (member != nullptr && member->state == Member::State::kDraining) {
    member->configured = true;
    member->leaving = false;
    members_->Update(*member, server);
    members_->SetState(*member, Member::State::kUp);
  } else {
    const auto added = members_->Add(server, /*configured=*/true, loop_.now_ns());
    if (!added.ok()) return added.status();
  }
  Continue();
  return absl::OkStatus();
}

absl::Status Router::Drain(const Address& address) {
  Member* const member = members_->Find(address);
  if (member == nullptr) return NoSuchServer(address);
  member->leaving = false;
  control_path_->Drain(*member);
  Continue();
  return absl::OkStatus();
}

void Router::RefuseAll() {
  members_->set_listener(nullptr);
  members_->ForEach(
      [this](Member& member) { members_->SetState(member, Member::State::kDraining); });
  Continue();
}

absl::Status Router::Remove(const Address& address) {
  Member* const member = members_->Find(address);
  if (member == nullptr) return NoSuchServer(address);
  control_path_->Remove(*member);
  Continue();
  return absl::OkStatus();
}

}  // namespace weft::router
