// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/counters.h"

namespace weft::rpc {
namespace {

constexpr Named<ClientStats> kClientCounters[] = {
    {"calls", "Calls begun.", &ClientStats::calls},
    {"replies", "Calls that ended with a reply.", &ClientStats::replies},
    {"timeouts", "Calls that ended for want of a reply.", &ClientStats::timeouts},
    {"drops", "Calls that a server refused.", &ClientStats::drops},
    {"failures", "Calls that failed in another way.", &ClientStats::failures},
    {"malformed", "Datagrams that are not R2P2 or contradict others.", &ClientStats::malformed},
    {"unexpected", "Packets for no outstanding call: late, duplicate or forged.",
     &ClientStats::unexpected},
    {"send_overflows", "Packets given up because their server blocked the port.",
     &ClientStats::send_overflows},
    {"cancelled", "Calls that their caller gave up.", &ClientStats::cancelled},
    {"retransmissions", "Packets sent again.", &ClientStats::retransmissions},
    {"sessions_opened", "Sessions opened, and opened again.", &ClientStats::sessions_opened},
    {"sessions_lost", "Sessions whose server was not heard of, not reachable, or has restarted.",
     &ClientStats::sessions_lost},
    {"sessions_refused", "Sessions that a server refused.", &ClientStats::sessions_refused},
    {"fallbacks", "Servers taken to speak the original format only.", &ClientStats::fallbacks},
    {"routed", "Requests sent to a router that picks the server, those sent again included.",
     &ClientStats::routed},
    {"members_opened", "Sessions begun with servers behind a router.",
     &ClientStats::members_opened},
    {"bulk_sent", "Requests announced, for the server to fetch.", &ClientStats::bulk_sent},
    {"bulk_received", "Replies fetched from the server.", &ClientStats::bulk_received},
    {"bulk_failed", "Messages that were announced, and then went in packets.",
     &ClientStats::bulk_failed},
};

constexpr Named<ServerStats> kServerCounters[] = {
    {"requests", "Requests handed to the handler.", &ServerStats::requests},
    {"replies", "Replies sent.", &ServerStats::replies},
    {"unanswered", "Requests that the handler left without a reply.", &ServerStats::unanswered},
    {"refused", "Requests and sessions refused, for whatever reason.", &ServerStats::refused},
    {"refused_by_application", "Requests that the application refused.",
     &ServerStats::refused_by_application},
    {"refused_overloaded", "Requests refused for want of handlers or buffers.",
     &ServerStats::refused_overloaded},
    {"refused_too_large", "Requests refused for their length.", &ServerStats::refused_too_large},
    {"refused_shutting_down", "Requests refused because the server drains.",
     &ServerStats::refused_shutting_down},
    {"refused_unsupported", "Requests refused as they are for replicas.",
     &ServerStats::refused_unsupported},
    {"refused_forbidden", "Requests of clients that may not make them.",
     &ServerStats::refused_forbidden},
    {"refused_amplification",
     "Replies that are longer than their request and would go to an address that may be forged.",
     &ServerStats::refused_amplification},
    {"feedbacks", "FEEDBACK datagrams sent to routers.", &ServerStats::feedbacks},
    {"feedback_entries", "Requests whose end was told to a router.",
     &ServerStats::feedback_entries},
    {"feedback_lost", "Requests whose end could not be told to a router.",
     &ServerStats::feedback_lost},
    {"routed", "Datagrams that came with their client's address.", &ServerStats::routed},
    {"routed_untrusted", "Datagrams that came with a client's address from no router.",
     &ServerStats::routed_untrusted},
    {"routed_unreachable", "Datagrams of clients that this server cannot send to.",
     &ServerStats::routed_unreachable},
    {"joins", "JOIN sent to routers.", &ServerStats::joins},
    {"join_refusals", "JOIN refused by routers.", &ServerStats::join_refusals},
    {"send_overflows", "Packets that found no buffer or no room to wait.",
     &ServerStats::send_overflows},
    {"malformed", "Datagrams that are not R2P2 or contradict others.", &ServerStats::malformed},
    {"unexpected", "Packets of no known request, or of a type for others.",
     &ServerStats::unexpected},
    {"duplicates", "Packets that had come before.", &ServerStats::duplicates},
    {"expired", "Incomplete requests given up for lack of progress.", &ServerStats::expired},
    {"evicted", "Incomplete requests given up for others.", &ServerStats::evicted},
    {"sessions_opened", "Sessions that clients opened.", &ServerStats::sessions_opened},
    {"half_open_expired", "Half-open sessions that stayed so for too long.",
     &ServerStats::half_open_expired},
    {"half_open_evicted", "Half-open sessions that gave way to others.",
     &ServerStats::half_open_evicted},
    {"wrong_address", "Packets for a session from another address than its client's.",
     &ServerStats::wrong_address},
    {"sessions_closed", "Sessions that ended in good order.", &ServerStats::sessions_closed},
    {"sessions_lost", "Sessions whose client was not heard of, not reachable, or has restarted.",
     &ServerStats::sessions_lost},
    {"sessions_refused", "Sessions that clients could not open.", &ServerStats::sessions_refused},
    {"resets", "Packets for sessions that are not known.", &ServerStats::resets},
    {"picked", "Requests that a router picked this server for, those sent again included.",
     &ServerStats::picked},
    {"duplicates_answered", "Requests that came again and got the same answer again.",
     &ServerStats::duplicates_answered},
    {"replies_gone", "Requests that came again when their reply was not kept any more.",
     &ServerStats::replies_gone},
    {"cancelled", "Requests that their client gave up.", &ServerStats::cancelled},
    {"deadlines", "Requests whose deadline passed before there was a reply.",
     &ServerStats::deadlines},
    {"retransmissions", "Packets of replies sent again.", &ServerStats::retransmitted},
    {"bulk_sent", "Replies announced, for the client to fetch.", &ServerStats::bulk_sent},
    {"bulk_received", "Requests fetched from the client.", &ServerStats::bulk_received},
    {"bulk_failed", "Messages that were announced, and then went in packets.",
     &ServerStats::bulk_failed},
    {"bulk_over_share",
     "Replies sent in packets as others of their client held its share of the buffers.",
     &ServerStats::bulk_over_share},
};

constexpr Named<ServerStats, Gauge> kServerGauges[] = {
    {"executing", "Requests that are neither answered nor given up.", &ServerStats::executing},
    {"parked", "Requests that wait and are not executed: those of streams.", &ServerStats::parked},
    {"sessions", "Open sessions.", &ServerStats::sessions},
    {"sessions_half_open", "Sessions whose client has not shown that it is where it says.",
     &ServerStats::sessions_half_open},
    {"kept_reply_bytes", "Replies kept in case that they are lost.",
     &ServerStats::kept_reply_bytes},
};

constexpr Named<BalancerStats> kBalancerCounters[] = {
    {"calls", "Calls begun, and those that could not begin.", &BalancerStats::calls},
    {"replies", "Calls that ended with a reply.", &BalancerStats::replies},
    {"failures", "Calls that ended otherwise; cancelled ones do not count.",
     &BalancerStats::failures},
    {"queued", "Calls that had to wait for a slot.", &BalancerStats::queued},
    {"refused", "Calls that found no server, or too many others waiting.", &BalancerStats::refused},
    {"ejections", "Servers that were left alone because they failed.", &BalancerStats::ejections},
    {"probes", "Servers asked whether they are back.", &BalancerStats::probes},
    {"trials", "Calls to servers that had answered a probe.", &BalancerStats::trials},
    {"recoveries", "Servers that were used again.", &BalancerStats::recoveries},
};

constexpr Named<BalancerStats, Gauge> kBalancerGauges[] = {
    {"servers", "Servers, those that are not used included.", &BalancerStats::servers},
    {"available", "Servers that may be given a call.", &BalancerStats::available},
    {"waiting", "Calls that wait for a slot.", &BalancerStats::waiting},
};

}  // namespace

absl::Span<const Named<BalancerStats>> BalancerCounters() { return kBalancerCounters; }
absl::Span<const Named<BalancerStats, Gauge>> BalancerGauges() { return kBalancerGauges; }
absl::Span<const Named<ClientStats>> ClientCounters() { return kClientCounters; }
absl::Span<const Named<ServerStats>> ServerCounters() { return kServerCounters; }
absl::Span<const Named<ServerStats, Gauge>> ServerGauges() { return kServerGauges; }

const char* NameOf(DropReason reason) {
  switch (reason) {
    case DropReason::kNone:
      return "unknown";
    case DropReason::kRefused:
      return "refused";
    case DropReason::kOverloaded:
      return "overloaded";
    case DropReason::kTooLarge:
      return "too_large";
    case DropReason::kShuttingDown:
      return "shutting_down";
    case DropReason::kReplyGone:
      return "reply_gone";
    case DropReason::kCancelled:
      return "cancelled";
    case DropReason::kNoSessions:
      return "no_sessions";
    case DropReason::kDeadline:
      return "deadline";
    case DropReason::kUnanswered:
      return "unanswered";
    case DropReason::kUnsupported:
      return "unsupported";
    case DropReason::kForbidden:
      return "forbidden";
    case DropReason::kNoServer:
      return "no_server";
    case DropReason::kServerLost:
      return "server_lost";
  }
  return "unknown";
}

}  // namespace weft::rpc
