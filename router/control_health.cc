// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "weft/router/control_path.h"
#include "weft/router/router.h"

namespace weft::router {

int64_t ControlPath::CheckHealth(int64_t now_ns) {
  int64_t shortest_ns = settings_.keepalive_ns;
  members_.ForEach([&](Member& member) {
    shortest_ns = std::min(shortest_ns, member.life.keepalive_ns);
    member.rates.Update(member.forwarded, now_ns);
    CheckOne(member, now_ns);
  });
  // Slots may have come back, or the last server may have gone.
  requests_.SendReady(now_ns);
  requests_.Flush();
  if (control_ != nullptr) outbox_.Send(*control_);
  return shortest_ns / kChecksPerKeepalive;
}

void ControlPath::CheckOne(Member& member, int64_t now_ns) {
  const uint32_t outstanding = dispatcher_.servers().outstanding(member.index);
  if (member.removing && outstanding == 0) return members_.Remove(member);
  if (!judges()) return;
  const bool silent = now_ns - member.life.heard_ns >= SilenceNs(member.life);
  if (member.state == Member::State::kDraining) {
    if (silent && member.life.knows_weft && outstanding > 0) members_.Lose(member);
    // One that goes on to JOIN, or whose JOIN comes late, would be back at once if it were
    // forgotten. A server that was refused does so rarely.
    const int64_t kept_ns = member.leaving ? SilenceNs(member.life)
                                           : std::max(kForgetNs, 20 * member.life.keepalive_ns);
    const bool may_join = member.life.joined && now_ns - member.life.heard_ns < kept_ns &&
                          !(member.leaving && member.configured);
    if (dispatcher_.servers().outstanding(member.index) > 0 || may_join) return;
    if (member.leaving && member.configured) {
      member.leaving = false;
      return members_.SetState(member, Member::State::kLeft);
    }
    return members_.Remove(member);
  }
  if (member.state == Member::State::kLeft) {
    // It has ended; what is heard from now on is another one.
    if (silent) {
      member.life.joined = false;
      members_.SetState(member, Member::State::kDown);
    }
    return;
  }
  switch (Judge(member.life, outstanding, now_ns)) {
    case Judgement::kFine:
      return;
    case Judgement::kAsk:
      if (member.state == Member::State::kDown) members_.Resolve(member);
      return Ask(member);
    case Judgement::kDown:
      return GoDown(member, /*lost=*/true);
    case Judgement::kSuspect:
      return GoDown(member, /*lost=*/false);
    case Judgement::kTry:
      return members_.Try(member);
    case Judgement::kForget:
      return members_.Remove(member);
  }
}

void ControlPath::Ask(Member& member) {
  ++stats_.probes;
  const bool from_control = control_ != nullptr;
  DatagramPort& port = PortOf(from_control);
  for (const Member::Known& known : member.peers) {
    if (known.control != from_control) continue;
    Buffer packet = port.pool().Allocate();
    if (!packet) return;
    uint8_t* const out = packet.Append(r2p2::kExtendedHeaderBytes + r2p2::kIncarnationBytes);
    r2p2::WriteExtendedHeader({.type = r2p2::MessageType::kAck,
                               .first = true,
                               .last = true,
                               .from_session = kOwnSession,
                               .key = NonceOf(member),
                               .kind = r2p2::ControlKind::kPing},
                              out);
    r2p2::WriteIncarnation(0, out + r2p2::kExtendedHeaderBytes);
    Answer(known.peer, from_control, std::move(packet));
    return;  // the first is its address
  }
}

void ControlPath::GoDown(Member& member, bool lost) {
  ++stats_.servers_lost;
  members_.SetState(member, Member::State::kDown);
  if (lost) members_.Lose(member);
  // It may come back without JOIN, and so is asked.
  if (member.configured) member.life.joined = false;
}

void ControlPath::OnUnreachable(const Peer& peer, bool from_control) {
  Member* const member = members_.FindPeer(peer, from_control);
  if (member == nullptr || member->state != Member::State::kUp) return;
  if (judges()) {
    GoDown(*member, /*lost=*/true);
    return;
  }
  const Address address = member->server.address;
  const bool posted =
      group_->Post(0, [address](Router& first) { first.OnUnreachableElsewhere(address); });
  if (!posted) ++stats_.member_overflows;
}

bool ControlPath::Recognise(Member& member, uint64_t incarnation) {
  const uint64_t server = r2p2::ServerOf(incarnation);
  if (server == member.incarnation) return true;
  if (server == member.former_incarnation) return false;
  if (member.incarnation != 0) {
    ++stats_.servers_restarted;
    members_.Lose(member);
    members_.Resolve(member);
  }
  member.former_incarnation = std::exchange(member.incarnation, server);
  return true;
}

void ControlPath::Heard(Member& member, int64_t now_ns, const WhichLife& life) {
  member.life.heard_ns = now_ns;
  const uint64_t server = r2p2::ServerOf(life.incarnation);
  const bool is_news =
      server != 0 && server != member.incarnation && server != member.former_incarnation;
  if (judges()) {
    if (is_news && life.proved) Recognise(member, server);
    // FEEDBACK is easily forged: it is but a reason to ask.
    if (is_news && !life.proved && now_ns - member.life.asked_ns >= member.life.keepalive_ns) {
      member.life.asked_ns = now_ns;
      Ask(member);
    }
    if (member.state != Member::State::kDown) return;
    ++stats_.servers_found;
    members_.SetState(member, Member::State::kUp);
    return;
  }
  // A few times a keepalive is enough, but for answers.
  const bool told = now_ns - member.told_ns < settings_.keepalive_ns / kChecksPerKeepalive;
  if (told && !(is_news && life.proved)) return;
  member.told_ns = now_ns;
  const MemberChange heard = {
      .kind = MemberChange::Kind::kHeard, .server = member.server, .life = life};
  const bool posted = group_->Post(0, [heard](Router& first) { first.OnChangeElsewhere(heard); });
  if (!posted) ++stats_.member_overflows;
}

void ControlPath::Drain(Member& member) { members_.SetState(member, Member::State::kDraining); }

void ControlPath::Remove(Member& member) {
  if (!member.life.joined) return members_.Remove(member);
  member.configured = false;
  Drain(member);
  members_.Lose(member);
}

}  // namespace weft::router
