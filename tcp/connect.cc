// SPDX-License-Identifier: Apache-2.0
//
// Connections that are begun here (RFC 9293, 3.10.1).
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/tcp/engine_core.h"

namespace weft::tcp {
namespace {

// A flow that rests may be begun anew when its timestamps have moved on for certain, as Linux has
// it (tcp_tw_reuse): the old one's segments fail PAWS (RFC 6191, 2).
constexpr int64_t kReuseAfterNs = 1'000'000'000;

}  // namespace

absl::StatusOr<StreamId> EngineCore::Connect(const Flow& wanted, int64_t now_ns, uint16_t user) {
  now_ns_ = now_ns;
  if (wanted.remote_port == 0 || wanted.remote.is_multicast() || wanted.remote.is_unspecified() ||
      wanted.remote.is_limited_broadcast() || wanted.local.is_unspecified() ||
      wanted.local.is_v4() != wanted.remote.is_v4()) {
    return absl::InvalidArgumentError(absl::StrCat("cannot connect to ", wanted.remote.ToString(),
                                                   " port ", wanted.remote_port, " from ",
                                                   wanted.local.ToString()));
  }
  Flow flow = wanted;
  uint32_t rests = TimeWaitTable::kNone;
  const auto usable = [&] {
    const uint32_t hash = HashOf(flow, table_secret_);
    const auto matches = [&](uint32_t index) { return slab_.At(index)->flow == flow; };
    if (table_.Find(hash, matches) != ConnectionTable::kNone) return false;
    rests = time_wait_.Find(flow, hash);
    if (rests == TimeWaitTable::kNone) return true;
    const TimeWaitEntry& entry = time_wait_[rests];
    const int64_t since_ns = now_ns - (entry.expires.ToNs(now_ns) - time_wait_.rest_ns());
    return options_.timestamps && entry.timestamps && !entry.fin_wait_2 && since_ns > kReuseAfterNs;
  };
  if (flow.local_port == 0) {
    // RFC 6056, 3.3.3: from an offset that the secret gives each destination, up. Of the ports,
    // those that are this worker's.
    const uint32_t count =
        (world_.port_max - world_.port_min + 1u + world_.workers - 1 - world_.worker) /
        world_.workers;
    const uint32_t offset = secret_.PortOffset(flow);
    bool found = false;
    for (uint32_t i = 0; i < count && !found; ++i) {
      const uint32_t nth = (offset + port_counter_++) % count;
      flow.local_port =
          static_cast<uint16_t>(world_.port_min + nth * world_.workers + world_.worker);
      found = !listeners_of_port_.contains(flow.local_port) &&
              !(world_.is_listened_at && world_.is_listened_at(flow.local_port)) && usable();
    }
    if (!found) {
      ++stats_.connections_refused;
      return absl::ResourceExhaustedError(absl::StrCat(
          "no port is free to connect to ", flow.remote.ToString(), " port ", flow.remote_port));
    }
  } else if (!usable()) {
    return absl::AlreadyExistsError(absl::StrCat("a connection from port ", flow.local_port, " to ",
                                                 flow.remote.ToString(), " port ", flow.remote_port,
                                                 " is there, or rests"));
  }
  Tcb* tcb = NewTcb(flow, HashOf(flow, table_secret_), now_ns);
  if (tcb == nullptr) return absl::ResourceExhaustedError("tcp.connections_max is reached");
  tcb->user = user;
  tcb->iss = secret_.InitialSequence(flow, now_ns);
  if (rests != TimeWaitTable::kNone) {
    // Above everything that the old one has sent (RFC 9293, 3.4.3).
    constexpr uint32_t kAbove = 0x10002;
    tcb->iss = Max(tcb->iss, time_wait_[rests].snd_nxt + kAbove);
    time_wait_.Remove(rests);
    ++stats_.time_wait_reused;
  }
  tcb->snd_una = tcb->iss;
  tcb->snd_nxt = tcb->iss;
  tcb->send.Start(tcb->iss + 1);
  tcb->state = State::kSynSent;
  Announce(*tcb);
  tcb->syn_due = true;
  SetRetransmit(*tcb, Retransmit::kHandshake);
  ++stats_.active_opens;
  Touch(*tcb);
  Arm(*tcb);
  return TcbSlab::IdOf(*tcb);
}

}  // namespace weft::tcp
