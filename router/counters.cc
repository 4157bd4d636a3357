// SPDX-License-Identifier: Apache-2.0
#include "weft/router/counters.h"

namespace weft::router {
namespace {

constexpr Named<RouterStats> kRouterCounters[] = {
    {"requests", "Requests that arrived to be placed.", &RouterStats::requests},
    {"anycasts", "Of those, the ones in the extended format.", &RouterStats::anycasts},
    {"fixed", "Of those, the ones for the first server.", &RouterStats::fixed},
    {"strays", "Later packets of requests, passed on to their server.", &RouterStats::strays},
    {"hellos", "Clients that asked, and were told that this is a router.", &RouterStats::hellos},
    {"pings", "Questions of clients whether the router is there.", &RouterStats::pings},
    {"cancels", "Requests that clients cancelled before they heard of a server.",
     &RouterStats::cancels},
    {"malformed", "Datagrams that are not R2P2.", &RouterStats::malformed},
    {"no_keys", "Clients with `security` that were told that routers take no sealed requests.",
     &RouterStats::no_keys},
    {"unexpected", "Packets that a router has nothing to do with.", &RouterStats::unexpected},
    {"replicated", "Requests for replicas, refused.", &RouterStats::replicated},
    {"feedback_datagrams", "FEEDBACK that arrived.", &RouterStats::feedback_datagrams},
    {"feedback_unknown_source", "FEEDBACK of nobody who is a server.",
     &RouterStats::feedback_unknown_source},
    {"feedback_unknown_request", "FEEDBACK for requests that are not at that server.",
     &RouterStats::feedback_unknown_request},
    {"feedback_repeated", "Entries of FEEDBACK that had come before.",
     &RouterStats::feedback_repeated},
    {"feedback_lost", "Entries of FEEDBACK that never came.", &RouterStats::feedback_lost},
    {"feedback_passed_on", "FEEDBACK that other workers were told of.",
     &RouterStats::feedback_passed_on},
    {"feedback_overflows", "FEEDBACK that other workers had no room for.",
     &RouterStats::feedback_overflows},
    {"joins", "Servers that joined, or joined anew.", &RouterStats::joins},
    {"joins_refused", "Servers that were not let in.", &RouterStats::joins_refused},
    {"leaves", "Servers that left.", &RouterStats::leaves},
    {"probes", "Questions to servers that had not been heard of.", &RouterStats::probes},
    {"servers_lost", "Times that a server was found to be down.", &RouterStats::servers_lost},
    {"servers_found", "Times that a server was up again.", &RouterStats::servers_found},
    {"servers_restarted", "Times that a server was found to have begun anew.",
     &RouterStats::servers_restarted},
    {"member_overflows", "Changes of servers that found no room.", &RouterStats::member_overflows},
    {"drops", "Requests answered by DROP.", &RouterStats::drops},
    {"copied", "Requests copied for want of room in front of them.", &RouterStats::copied},
    {"send_overflows", "Packets given up because the port was blocked.",
     &RouterStats::send_overflows},
};

constexpr Named<RouterStats, Gauge> kRouterGauges[] = {
    {"servers_up", "Servers that get requests.", &RouterStats::servers_up},
    {"servers_draining", "Servers that get no more requests.", &RouterStats::servers_draining},
    {"servers_down", "Servers that are not heard of, or have left.", &RouterStats::servers_down},
};

constexpr Named<DispatcherStats> kDispatcherCounters[] = {
    {"forwarded", "Requests that took a slot of a server.", &DispatcherStats::forwarded},
    {"repeated", "Requests that came again and went to their server again.",
     &DispatcherStats::repeated},
    {"queued", "Requests that had to wait.", &DispatcherStats::queued},
    {"superseded", "Requests that waited until their client gave them up.",
     &DispatcherStats::superseded},
    {"cancelled", "Requests that waited until their client cancelled them.",
     &DispatcherStats::cancelled},
    {"duplicates", "Requests that waited already, or came too late.", &DispatcherStats::ignored},
    {"done", "Slots that FEEDBACK gave back.", &DispatcherStats::done},
    {"overtaken", "Slots that came back before FEEDBACK, with the client's next request.",
     &DispatcherStats::overtaken},
    {"leases_expired", "Slots that came back for want of FEEDBACK.",
     &DispatcherStats::leases_expired},
    {"placements_lost", "Slots that came back because their server had gone.",
     &DispatcherStats::placements_lost},
    {"forgotten", "Requests that are not remembered any more.", &DispatcherStats::forgotten},
    {"refused_no_server", "Requests refused because no server was up.",
     &DispatcherStats::refused_no_server},
    {"refused_queue_full", "Requests refused because too many waited.",
     &DispatcherStats::refused_queue_full},
    {"refused_tenant", "Of those, the ones that gave way to another tenant.",
     &DispatcherStats::refused_tenant},
    {"refused_table_full", "Requests refused because too many were at servers.",
     &DispatcherStats::refused_table_full},
    {"refused_server_lost", "Repeated requests refused because their server had gone.",
     &DispatcherStats::refused_server_lost},
    {"refused_reply_gone", "Repeated requests refused because nobody remembers them.",
     &DispatcherStats::refused_reply_gone},
};

constexpr Named<DispatcherStats, Gauge> kDispatcherGauges[] = {
    {"queue_length", "Requests that wait.", &DispatcherStats::queue_length},
    {"outstanding", "Slots that are taken.", &DispatcherStats::outstanding},
    {"remembered", "Requests that are done and known.", &DispatcherStats::remembered},
};

}  // namespace

absl::Span<const Named<RouterStats>> RouterCounters() { return kRouterCounters; }
absl::Span<const Named<RouterStats, Gauge>> RouterGauges() { return kRouterGauges; }
absl::Span<const Named<DispatcherStats>> DispatcherCounters() { return kDispatcherCounters; }
absl::Span<const Named<DispatcherStats, Gauge>> DispatcherGauges() { return kDispatcherGauges; }

}  // namespace weft::router
