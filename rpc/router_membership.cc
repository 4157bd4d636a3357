// SPDX-License-Identifier: Apache-2.0
//
// JOIN, again and again as a sign of life, and LEAVE. Workers of one server share what a router
// answers, as the network hands it to any of them.
#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/core/log.h"
#include "weft/rpc/router_links.h"

namespace weft::rpc {
namespace {

// Of the keepalive: after which time a first JOIN without an answer is said again, and how much
// longer each time that wait may become.
constexpr int64_t kFirstTryPart = 4;
constexpr int64_t kTryTimesMax = 4;
// Keepalives after which a router that refused is asked again, and after which one that is silent
// is taken for gone.
constexpr int64_t kRefusedTimes = 10;
constexpr int64_t kSilentTimes = 3;
constexpr size_t kUnansweredMax = 4;  // then the log says so

constexpr int64_t kLeaveNs = 10'000'000;
// How long LEAVE may take before the server ends without the router's consent, and how long if the
// router does not answer at all. Host leaves a program a second for everything.
constexpr int64_t kLeaveLimitNs = 500'000'000;
constexpr int64_t kLeaveUnansweredNs = 100'000'000;

// The sender's number of this and of the other side, as there is no session.
constexpr uint32_t kOwnNumber = 1;

// What can be done about a refusal.
const char* AdviceFor(DropReason code) {
  switch (code) {
    case DropReason::kForbidden:
      return "set `join: true` in the router's configuration; with router.control_security it must "
             "also `allow` this server the method weft.router/JOIN";
    case DropReason::kNoSessions:
      return "the router has as many servers as it may: raise its servers_max";
    case DropReason::kShuttingDown:
      return "the server is being drained there, by hand or by a configuration without it: `weft "
             "router add` takes it back";
    default:
      return "the router's log may say why";
  }
}

const char* NameOfRefusal(DropReason code) {
  switch (code) {
    case DropReason::kForbidden:
      return "forbidden";
    case DropReason::kNoSessions:
      return "too many servers";
    case DropReason::kShuttingDown:
      return "draining";
    default:
      return "refused";
  }
}

}  // namespace

const char* NameOf(RouterState state) {
  switch (state) {
    case RouterState::kFeedbackOnly:
      return "feedback only";
    case RouterState::kJoining:
      return "joining";
    case RouterState::kJoined:
      return "joined";
    case RouterState::kRefused:
      return "refused";
    case RouterState::kSilent:
      return "silent";
    case RouterState::kLeaving:
      return "leaving";
    case RouterState::kLeft:
      return "left";
  }
  return "";
}

absl::Status RouterLinks::Resolve(RouterLink& link) {
  const absl::StatusOr<Peer> peer = port_->Resolve(link.control);
  if (peer.ok()) {
    link.peer = *peer;
  } else if (absl::IsInvalidArgument(peer.status())) {
    return absl::InvalidArgumentError(
        absl::StrCat("rpc.router.control: ", peer.status().message()));
  }
  return absl::OkStatus();
}

void RouterLinks::OnUnreachable(const Peer& peer) {
  for (const auto& link : links_) {
    // Of IP addresses it means little, and they need not be resolved again.
    if (link->peer != peer || link->control.is_ip()) continue;
    link->peer = Peer();
    if (const size_t lost = link->feedback.DropUnsent(); lost > 0) {
      stats_.feedback_lost += lost;
      --untold_;
    }
    if (!link->timer.armed()) {
      loop_.timers().Schedule(link->timer, loop_.now_ns() + link->keepalive_ns / kFirstTryPart);
    }
  }
}

void RouterLinks::OnControlTimer(void* self, int64_t now_ns) {
  auto& link = *static_cast<RouterLink*>(self);
  link.owner.OnTimer(link, now_ns);
}

void RouterLinks::OnTimer(RouterLink& link, int64_t now_ns) {
  if (!link.peer) (void)Resolve(link);
  if (!options_.join) {
    if (!link.peer) loop_.timers().Schedule(link.timer, now_ns + link.keepalive_ns);
    return;
  }
  Judge(link, now_ns);
  if (leaving_) {
    if (link.state != RouterState::kLeaving) return;
    SendMembership(link, ControlKind::kLeave);
    loop_.timers().Schedule(link.timer, now_ns + kLeaveNs);
    return;
  }
  // Any worker's JOIN that was answered counts for all.
  const int64_t times = link.state == RouterState::kRefused ? kRefusedTimes : 1;
  const int64_t due_ns = link.answered_ns + times * link.keepalive_ns;
  if (link.answered_ns >= 0 && link.answered_ns >= link.asked_ns && now_ns < due_ns) {
    loop_.timers().Schedule(link.timer, due_ns);
    return;
  }
  Ask(link, now_ns);
}

void RouterLinks::Ask(RouterLink& link, int64_t now_ns) {
  if (link.answered_ns >= link.asked_ns && link.answered_ns >= 0) link.unanswered = 0;
  const int64_t first_ns = link.keepalive_ns / kFirstTryPart;
  const int64_t wait_ns =
      std::min(first_ns << std::min<size_t>(link.unanswered, 10), kTryTimesMax * link.keepalive_ns);
  ++link.unanswered;
  link.asked_ns = now_ns;
  ++stats_.joins;
  if (link.peer) SendMembership(link, ControlKind::kJoin);
  loop_.timers().Schedule(link.timer, now_ns + wait_ns);
}

void RouterLinks::SendMembership(RouterLink& link, ControlKind kind) {
  if (!link.peer) return;
  Buffer packet;
  if (sending_->room() > 0) packet = port_->pool().Allocate();
  if (!packet) {
    ++stats_.send_overflows;
    return;
  }
  std::array<uint8_t, kMembershipBytesMax> body;
  const size_t bytes = WriteMembership(
      {.incarnation = group_->incarnation(),
       .slots = options_.slots,
       .weight = options_.weight,
       .keepalive_us = static_cast<uint32_t>(absl::ToInt64Microseconds(options_.keepalive)),
       .address = options_.address},
      body.data());
  WriteExtendedHeader({.type = MessageType::kAck,
                       .first = true,
                       .last = true,
                       .from_session = kOwnNumber,
                       .key = link.nonce,
                       .timestamp = static_cast<uint32_t>(loop_.now_ns()),
                       .kind = kind},
                      packet.Append(kExtendedHeaderBytes));
  std::copy_n(body.data(), bytes, packet.Append(bytes));
  sending_->Push(link.peer, std::move(packet));
}

bool RouterLinks::OnControl(const Datagram& datagram, const ExtendedHeader& header) {
  if (header.kind == ControlKind::kPing && header.session == 0) {
    // A router looks whether anybody is here. It gets its answer, and has shown what it knows.
    uint8_t router = kAnyRouter;
    if (own_port_ == nullptr && IsTrusted(datagram.peer, &router) && router != kAnyRouter) {
      links_[router]->knows_weft = true;
    }
    return false;
  }
  if (header.kind != ControlKind::kJoinAck && header.kind != ControlKind::kLeaveAck) return false;
  const auto link = std::find_if(links_.begin(), links_.end(),
                                 [&header](const auto& each) { return each->nonce == header.key; });
  MembershipAck ack;
  if (header.session != kOwnNumber || link == links_.end() ||
      !ReadMembershipAck(datagram.buffer.bytes(), &ack) || !group_->IsMe(ack.server)) {
    return false;
  }
  answers_->Note((*link)->control,
                 {.at_ns = loop_.now_ns(), .kind = header.kind, .code = header.code, .ack = ack});
  // LEAVE is repeated in its own time, however fast its answers come.
  if (leaving_) {
    Judge(**link, loop_.now_ns());
  } else if (options_.join) {
    OnTimer(**link, loop_.now_ns());
  }
  return true;
}

void RouterLinks::Judge(RouterLink& link, int64_t now_ns) {
  const ServerGroup::Answer answer = answers_->Last(link.control);
  if (answer.kind != ControlKind::kNone && answer.at_ns > link.answered_ns) {
    TakeAnswer(link, answer);
  } else if (link.state == RouterState::kJoined &&
             now_ns - link.answered_ns > kSilentTimes * link.keepalive_ns) {
    link.state = RouterState::kSilent;
    Log(link);
  } else if (link.state == RouterState::kJoining && link.unanswered >= kUnansweredMax &&
             !std::exchange(link.complained, true)) {
    Log(link);
  }
}

void RouterLinks::TakeAnswer(RouterLink& link, const ServerGroup::Answer& answer) {
  link.knows_weft = true;
  link.answered_ns = answer.at_ns;
  link.outstanding = answer.ack.outstanding;
  if (leaving_) {
    if (answer.kind != ControlKind::kLeaveAck || link.state != RouterState::kLeaving) return;
    link.leave_answered = true;
    if (link.outstanding == 0 || answer.code != DropReason::kNone) link.state = RouterState::kLeft;
    CheckLeft();
    return;
  }
  if (answer.kind != ControlKind::kJoinAck) return;
  if (answer.code != DropReason::kNone) {
    ++stats_.join_refusals;
    const bool known = link.state == RouterState::kRefused && link.refusal == answer.code;
    link.state = RouterState::kRefused;
    link.refusal = answer.code;
    if (!known) Log(link);
    return;
  }
  const int64_t wanted_ns = absl::ToInt64Nanoseconds(options_.keepalive);
  link.keepalive_ns =
      answer.ack.keepalive_us == 0
          ? wanted_ns
          : std::clamp(int64_t{answer.ack.keepalive_us} * 1000,
                       absl::ToInt64Nanoseconds(RouterOptions::kKeepaliveMin), wanted_ns);
  if (std::exchange(link.state, RouterState::kJoined) != RouterState::kJoined) Log(link);
}

void RouterLinks::Log(const RouterLink& link) const {
  // Each router once, not for each worker.
  if ((incarnation_ & 0xFF) != 0) return;
  const std::string router = link.control.ToString();
  switch (link.state) {
    case RouterState::kJoined:
      WEFT_LOG(kInfo, "router sends requests to this server", {"router", router},
               {"address", options_.address.ToString()});
      return;
    case RouterState::kRefused:
      WEFT_LOG(kWarning, "router refuses this server", {"router", router},
               {"reason", NameOfRefusal(link.refusal)}, {"what_to_do", AdviceFor(link.refusal)});
      return;
    case RouterState::kSilent:
      WEFT_LOG(kWarning, "router does not answer any more; it is asked on", {"router", router});
      return;
    case RouterState::kJoining:
      WEFT_LOG(kWarning,
               "router does not answer; it is asked on. Is its control address right, and does it "
               "run?",
               {"router", router});
      return;
    default:
      return;
  }
}

// --- The end

bool RouterLinks::has_joined() const {
  return options_.join && std::any_of(links_.begin(), links_.end(), [](const auto& link) {
           return link->state == RouterState::kJoined || link->state == RouterState::kSilent;
         });
}

void RouterLinks::Leave(absl::AnyInvocable<void()> done) {
  left_ = std::move(done);
  leaving_ = true;
  leave_began_ns_ = loop_.now_ns();
  for (const auto& link : links_) {
    const bool joined = link->state == RouterState::kJoined || link->state == RouterState::kSilent;
    link->state = joined ? RouterState::kLeaving : RouterState::kLeft;
    loop_.timers().Schedule(link->timer, leave_began_ns_);
  }
  loop_.timers().Schedule(leave_limit_, leave_began_ns_ + kLeaveUnansweredNs);
}

void RouterLinks::CheckLeft() {
  const bool all = std::all_of(links_.begin(), links_.end(),
                               [](const auto& link) { return link->state == RouterState::kLeft; });
  if (!all) return;
  loop_.timers().Cancel(leave_limit_);
  if (auto done = std::exchange(left_, nullptr)) done();
}

void RouterLinks::OnLeaveLimit(void* self, int64_t now_ns) {
  auto& links = *static_cast<RouterLinks*>(self);
  const int64_t limit_ns = links.leave_began_ns_ + kLeaveLimitNs;
  for (const auto& link : links.links_) {
    if (link->state != RouterState::kLeaving) continue;
    if (link->leave_answered && now_ns < limit_ns) continue;
    link->state = RouterState::kLeft;
    WEFT_LOG(kWarning, "router is left without its consent", {"router", link->control.ToString()},
             {"answers", link->leave_answered}, {"outstanding", link->outstanding});
  }
  links.loop_.timers().Schedule(links.leave_limit_, limit_ns);
  links.CheckLeft();
}

void RouterLinks::End() {
  SendFeedback();
  answers_ = nullptr;
  const bool last = group_.use_count() == 1;
  for (const auto& link : links_) {
    const bool joined = link->state == RouterState::kJoined || link->state == RouterState::kSilent;
    if (options_.join && joined && last) SendMembership(*link, ControlKind::kLeave);
  }
  if (own_port_ != nullptr) sending_->Flush(*port_);
}

void RouterLinks::ForEach(absl::FunctionRef<void(const RouterInfo&)> f) const {
  const int64_t now_ns = loop_.now_ns();
  for (const auto& link : links_) {
    f({.control = link->control,
       .state = link->state,
       .knows_weft = link->knows_weft,
       .refusal = link->state == RouterState::kRefused ? link->refusal : DropReason::kNone,
       .silent_ns = link->answered_ns >= 0 ? now_ns - link->answered_ns : -1,
       .keepalive_ns = link->keepalive_ns,
       .feedback_entries = link->feedback.next(),
       .outstanding = link->outstanding});
  }
}

}  // namespace weft::rpc
