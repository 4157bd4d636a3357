// SPDX-License-Identifier: Apache-2.0
#include "weft/router/members.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/r2p2/route_wire.h"

namespace weft::router {

const char* NameOf(Member::State state) {
  switch (state) {
    case Member::State::kUp:
      return "up";
    case Member::State::kDraining:
      return "draining";
    case Member::State::kDown:
      return "down";
    case Member::State::kLeft:
      return "left";
  }
  return "";
}

Members::Members(Dispatcher& dispatcher, DatagramPort& listen, DatagramPort* control,
                 RouterStats& stats)
    : dispatcher_(dispatcher),
      listen_(listen),
      control_(control),
      stats_(stats),
      members_(dispatcher.servers().servers_max()),
      peers_(members_.size()) {}

absl::StatusOr<Member*> Members::Add(const RouterOptions::Server& server, bool configured,
                                     int64_t now_ns) {
  if (Find(server.address) != nullptr) {
    return absl::AlreadyExistsError(
        absl::StrCat(server.address.ToString(), " is a server already"));
  }
  const absl::StatusOr<Peer> peer = listen_.Resolve(server.address);
  if (!peer.ok()) return peer.status();
  const uint64_t name = r2p2::ClientIdOf(server.address);
  const ServerIndex index = dispatcher_.AddServer(name, SlotsOf(server), server.weight);
  if (index == kNoServerIndex) {
    return absl::ResourceExhaustedError(
        absl::StrCat("there are servers_max = ", members_.size(), " servers already"));
  }
  auto member = std::make_unique<Member>();
  member->server = server;
  member->name = name;
  member->index = index;
  member->configured = configured;
  member->life = {
      .keepalive_ns = keepalive_ns_, .heard_ns = now_ns, .asked_ns = now_ns, .busy_ns = now_ns};
  peers_[index] = *peer;
  by_name_[name] = index;
  Member& added = *(members_[index] = std::move(member));
  AddPeer(added, *peer, false);
  if (control_ != nullptr) {
    const absl::StatusOr<Peer> control_peer = control_->Resolve(server.address);
    if (control_peer.ok()) AddPeer(added, *control_peer, true);
  }
  payload_max_ = std::min(payload_max_, listen_.MaxPayloadTo(*peer));
  Count();
  Tell(MemberChange::Kind::kAdd, added);
  return &added;
}

void Members::AddPeer(Member& member, const Peer& peer, bool control) {
  control = control && control_ != nullptr;
  auto& by_peer = control ? by_control_peer_ : by_peer_;
  const auto [found, inserted] = by_peer.try_emplace(peer, member.index);
  // Another server's stays that one's.
  if (!inserted) return;
  if (member.peers.size() >= Member::kPeersMax) {
    // The first ones are those of its address.
    const size_t first = control_ != nullptr ? 2 : 1;
    const Member::Known oldest = member.peers[first];
    (oldest.control ? by_control_peer_ : by_peer_).erase(oldest.peer);
    member.peers.erase(member.peers.begin() + static_cast<ptrdiff_t>(first));
  }
  member.peers.push_back({peer, control});
}

void Members::Resolve(Member& member) {
  if (member.server.address.is_ip()) return;
  ResolveOn(/*control=*/false, member);
  if (control_ != nullptr) ResolveOn(/*control=*/true, member);
}

void Members::ResolveOn(bool control, Member& member) {
  const absl::StatusOr<Peer> peer = (control ? *control_ : listen_).Resolve(member.server.address);
  if (!peer.ok()) return;  // it is not there
  const auto own = std::ranges::find(member.peers, control, &Member::Known::control);
  const Peer former = own != member.peers.end() ? own->peer : Peer();
  if (former == *peer) return;
  auto& by_peer = control ? by_control_peer_ : by_peer_;
  if (by_peer.try_emplace(*peer, member.index).first->second != member.index) return;
  by_peer.erase(former);
  std::erase_if(member.peers, [&](const Member::Known& known) {
    return known.control == control && (known.peer == former || known.peer == *peer);
  });
  member.peers.insert(member.peers.begin(), {*peer, control});
  if (!control) peers_[member.index] = *peer;
}

void Members::Update(Member& member, const RouterOptions::Server& server) {
  if (member.server == server) return;
  member.server = server;
  dispatcher_.SetSlots(member.index, SlotsOf(server));
  dispatcher_.SetWeight(member.index, server.weight);
  Tell(MemberChange::Kind::kAdd, member);
}

void Members::set_slots(uint32_t slots) {
  slots_ = slots;
  ForEach([this](Member& member) { dispatcher_.SetSlots(member.index, SlotsOf(member.server)); });
}

void Members::SetState(Member& member, Member::State state) {
  if (std::exchange(member.on_trial, false)) --trials_;
  dispatcher_.SetAvailable(member.index, state == Member::State::kUp);
  if (std::exchange(member.state, state) == state) return;
  member.life.up = state == Member::State::kUp;
  if (member.life.up) Resolve(member);
  Count();
  Tell(MemberChange::Kind::kState, member);
}

void Members::Lose(Member& member) {
  dispatcher_.Lose(member.index);
  Tell(MemberChange::Kind::kLose, member);
}

void Members::Remove(Member& member) {
  if (member.on_trial) --trials_;
  Tell(MemberChange::Kind::kRemove, member);
  const ServerIndex index = member.index;
  for (const Member::Known& known : member.peers) {
    (known.control ? by_control_peer_ : by_peer_).erase(known.peer);
  }
  by_name_.erase(member.name);
  dispatcher_.RemoveServer(index);
  members_[index].reset();
  peers_[index] = {};
  Count();
}

void Members::Try(Member& member) {
  if (member.on_trial || member.state != Member::State::kDown) return;
  member.on_trial = true;
  member.trial_forwarded = member.forwarded;
  ++trials_;
  dispatcher_.SetAvailable(member.index, true);
}

void Members::EndTrials() {
  if (trials_ == 0) [[likely]]
    return;
  ForEach([this](Member& member) {
    if (!member.on_trial || member.forwarded == member.trial_forwarded) return;
    member.on_trial = false;
    --trials_;
    dispatcher_.SetAvailable(member.index, false);
  });
}

void Members::Apply(const MemberChange& change, int64_t now_ns) {
  const auto listener = std::exchange(listener_, nullptr);
  Member* const member = Find(change.server.address);
  switch (change.kind) {
    case MemberChange::Kind::kAdd:
      if (member != nullptr) {
        Update(*member, change.server);
        member->removing = false;
        SetState(*member, change.state);
      } else if (auto added = Add(change.server, true, now_ns);
                 added.ok() && change.state != Member::State::kUp) {
        SetState(**added, change.state);
      }
      break;
    case MemberChange::Kind::kState:
      if (member != nullptr) SetState(*member, change.state);
      break;
    case MemberChange::Kind::kLose:
      if (member != nullptr) Lose(*member);
      break;
    case MemberChange::Kind::kRemove:
      if (member == nullptr) break;
      if (dispatcher_.servers().outstanding(member->index) == 0) {
        Remove(*member);
      } else {
        SetState(*member, Member::State::kDraining);
        member->removing = true;
      }
      break;
    case MemberChange::Kind::kHeard:
      break;
  }
  listener_ = listener;
}

void Members::ApplyAll(absl::Span<const MemberChange> members, int64_t now_ns) {
  for (const MemberChange& member : members) Apply(member, now_ns);
  ForEach([&](Member& member) {
    const bool there = std::ranges::any_of(members, [&member](const MemberChange& other) {
      return other.server.address == member.server.address;
    });
    if (!there) {
      Apply({.kind = MemberChange::Kind::kRemove, .server = member.server}, now_ns);
    }
  });
}

std::vector<MemberChange> Members::All() const {
  std::vector<MemberChange> all;
  ForEach([&all](const Member& member) {
    all.push_back({MemberChange::Kind::kAdd, member.server, member.state});
  });
  return all;
}

Member* Members::Find(const Address& address) {
  Member* const member = FindName(r2p2::ClientIdOf(address));
  return member != nullptr && member->server.address == address ? member : nullptr;
}

Member* Members::FindName(uint64_t name) {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : members_[found->second].get();
}

void Members::ForEach(absl::FunctionRef<void(Member&)> f) {
  const size_t end = dispatcher_.servers().index_end();
  for (size_t i = 0; i < end; ++i) {
    if (members_[i] != nullptr) f(*members_[i]);
  }
}

void Members::ForEach(absl::FunctionRef<void(const Member&)> f) const {
  const size_t end = dispatcher_.servers().index_end();
  for (size_t i = 0; i < end; ++i) {
    if (members_[i] != nullptr) f(*members_[i]);
  }
}

void Members::Tell(MemberChange::Kind kind, const Member& member) {
  if (listener_) listener_({kind, member.server, member.state});
}

void Members::Count() {
  int64_t up = 0;
  int64_t draining = 0;
  int64_t down = 0;
  std::as_const(*this).ForEach([&](const Member& member) {
    ++(member.state == Member::State::kUp         ? up
       : member.state == Member::State::kDraining ? draining
                                                  : down);
  });
  stats_.servers_up.Set(up);
  stats_.servers_draining.Set(draining);
  stats_.servers_down.Set(down);
}

}  // namespace weft::router
