// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "weft/router/answers.h"
#include "weft/router/control_path.h"
#include "weft/router/router.h"

namespace weft::router {

using r2p2::ControlKind;
using r2p2::DropReason;
using r2p2::ExtendedHeader;
using r2p2::kExtendedHeaderBytes;

void ControlPath::ReceiveMembership(Datagram& datagram, const ExtendedHeader& header,
                                    bool from_control, int64_t now_ns) {
  if (!from_control && settings_.control_protected) {
    ++stats_.unexpected;
    return;
  }
  ControlRequest request;
  request.question = header;
  DatagramPort& port = PortOf(from_control);
  const absl::StatusOr<Address> sender = port.AddressOf(datagram.peer);
  if (header.session != 0 || !sender.ok() ||
      !r2p2::ReadMembership(datagram.buffer.bytes().subspan(kExtendedHeaderBytes),
                            &request.membership)) {
    ++stats_.malformed;
    return;
  }
  request.sender = *sender;
  if (request.membership.address.kind() == Address::Kind::kNone) {
    request.membership.address = *sender;
  }
  request.forbidden =
      settings_.may_join != nullptr && !settings_.may_join(port.IdentityOf(datagram.peer));
  if (judges()) {
    OnMembership(request, datagram.peer, from_control, std::move(datagram.buffer), now_ns);
    return;
  }
  const bool posted = group_ != nullptr && group_->Post(0, [request](Router& first) {
    first.OnMembershipElsewhere(request);
  });
  if (!posted) ++stats_.member_overflows;
}

void ControlPath::OnMembershipElsewhere(const ControlRequest& request, int64_t now_ns) {
  // It came to the address that all workers have, where there is no port of its own for control.
  const absl::StatusOr<Peer> peer = listen_.Resolve(request.sender);
  Buffer packet = listen_.pool().Allocate();
  if (!peer.ok() || !packet) {
    ++stats_.member_overflows;
    return;
  }
  OnMembership(request, *peer, /*from_control=*/false, std::move(packet), now_ns);
  requests_.SendReady(now_ns);
  requests_.Flush();
}

void ControlPath::OnMembership(const ControlRequest& request, const Peer& peer, bool from_control,
                               Buffer&& packet, int64_t now_ns) {
  r2p2::MembershipAck ack = {
      .incarnation = settings_.incarnation,
      .server = request.membership.incarnation,
      .keepalive_us = static_cast<uint32_t>(KeepaliveOf(request.membership) / 1000)};
  const bool join = request.question.kind == ControlKind::kJoin;
  DropReason code;
  if (join) {
    Member* member = nullptr;
    code = Join(request, peer, from_control, now_ns, &member);
    if (code != DropReason::kNone) {
      ++stats_.joins_refused;
    } else if (member != nullptr) {
      ack.outstanding = dispatcher_.servers().outstanding(member->index);
    } else {
      return;  // a late one
    }
  } else {
    code = Leave(request, peer, from_control, &ack.outstanding);
  }
  uint8_t body[r2p2::kMembershipAckBytes];
  r2p2::WriteMembershipAck(ack, body);
  if (MakeControl(join ? ControlKind::kJoinAck : ControlKind::kLeaveAck, request.question, body,
                  packet, code)) {
    Answer(peer, from_control, std::move(packet));
  }
}

DropReason ControlPath::Join(const ControlRequest& request, const Peer& peer, bool from_control,
                             int64_t now_ns, Member** joined) {
  const r2p2::Membership& wish = request.membership;
  Member* member = members_.Find(wish.address);
  // A server that is configured may say that it lives, from its own address.
  const bool own =
      member != nullptr && member->configured && members_.FindPeer(peer, from_control) == member;
  if (request.forbidden || (!settings_.join && !own)) return DropReason::kForbidden;
  // A router that sent requests to itself would never end.
  if (!RouterOptions::CheckServer(wish.address, listen_.local_address()).ok()) {
    return DropReason::kForbidden;
  }
  const RouterOptions::Server server = {
      .address = wish.address, .slots = wish.slots, .weight = wish.weight};
  if (member == nullptr) {
    const absl::StatusOr<Member*> added = AddJoined(server, now_ns);
    if (!added.ok()) {
      return absl::IsResourceExhausted(added.status()) ? DropReason::kNoSessions
                                                       : DropReason::kForbidden;
    }
    member = *added;
    member->incarnation = r2p2::ServerOf(wish.incarnation);
    ++stats_.joins;
  } else {
    const uint64_t before = member->incarnation;
    if (!Recognise(*member, wish.incarnation)) return DropReason::kNone;
    if (!member->life.joined || member->incarnation != before) ++stats_.joins;
    if (member->leaving && member->incarnation != member->left_incarnation) {
      member->leaving = false;
      members_.SetState(*member, Member::State::kUp);
    }
  }
  if (member->state == Member::State::kDraining) {
    if (!member->leaving) member->life.heard_ns = now_ns;
    return DropReason::kShuttingDown;
  }
  if (member->state == Member::State::kLeft) {
    if (member->incarnation == member->left_incarnation) return DropReason::kNone;
    members_.SetState(*member, Member::State::kUp);
  }
  if (!member->configured) members_.Update(*member, server);
  members_.AddPeer(*member, peer, from_control);
  member->life.joined = true;
  member->life.knows_weft = true;
  member->life.keepalive_ns = KeepaliveOf(wish);
  Heard(*member, now_ns);
  *joined = member;
  return DropReason::kNone;
}

absl::StatusOr<Member*> ControlPath::AddJoined(const RouterOptions::Server& server,
                                               int64_t now_ns) {
  absl::StatusOr<Member*> added = members_.Add(server, /*configured=*/false, now_ns);
  if (added.ok() || !absl::IsResourceExhausted(added.status())) return added;
  // One that joined and has gone gives way.
  Member* oldest = nullptr;
  members_.ForEach([&oldest](Member& member) {
    if (member.configured || member.state != Member::State::kDown) return;
    if (oldest == nullptr || member.life.heard_ns < oldest->life.heard_ns) oldest = &member;
  });
  if (oldest == nullptr) return added;
  members_.Remove(*oldest);
  return members_.Add(server, /*configured=*/false, now_ns);
}

DropReason ControlPath::Leave(const ControlRequest& request, const Peer& peer, bool from_control,
                              uint32_t* outstanding) {
  *outstanding = 0;
  Member* const member = members_.Find(request.membership.address);
  if (member == nullptr) return DropReason::kNone;  // it has gone
  if (request.forbidden || members_.FindPeer(peer, from_control) != member) {
    return DropReason::kForbidden;
  }
  // A late one of a former life says nothing about this one.
  const uint64_t incarnation = r2p2::ServerOf(request.membership.incarnation);
  if (member->incarnation != 0 && member->incarnation != incarnation) return DropReason::kNone;
  const bool first = !member->leaving && member->state != Member::State::kLeft;
  if (first) {
    ++stats_.leaves;
    member->leaving = true;
    member->left_incarnation = incarnation;
    if (member->state != Member::State::kDraining) Drain(*member);
  }
  *outstanding = dispatcher_.servers().outstanding(member->index);
  if (group_ != nullptr) *outstanding += OutstandingElsewhere(*member, first);
  return DropReason::kNone;
}

uint32_t ControlPath::OutstandingElsewhere(Member& member, bool first) {
  // Until they have told, they may still be sending; the server repeats its LEAVE.
  if (first || member.elsewhere.empty()) member.elsewhere.assign(group_->workers(), 1);
  uint32_t outstanding = 0;
  for (size_t i = 1; i < group_->workers(); ++i) {
    outstanding += member.elsewhere[i];
    const Address address = member.server.address;
    const bool posted =
        group_->Post(i, [address](Router& other) { other.TellOutstanding(address); });
    if (!posted) ++stats_.member_overflows;
  }
  return outstanding;
}

}  // namespace weft::router
