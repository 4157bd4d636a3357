// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/metrics.h"

#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/rpc/counters.h"
#include "weft/rpc/security/secure_port.h"
#include "weft/rpc/security/secure_stats.h"

namespace weft::rpc {
namespace {

template <typename Stats>
void AddCounters(const Stats& stats, absl::Span<const Named<Stats>> counters, MetricGroup& group) {
  for (const Named<Stats>& counter : counters) {
    group.Add(absl::StrCat(counter.name, "_total").c_str(), counter.help, &(stats.*counter.metric));
  }
}

// Of a protected port: weft_rpc_client_secure_* and weft_rpc_server_secure_*.
void AddSecure(const DatagramPort& port, MetricGroup& group) {
  const SecureStats* const stats = SecurePort::StatsOf(port);
  if (stats == nullptr) return;
  for (const SecureCounter& counter : SecureCounters()) {
    group.Add(absl::StrCat("secure_", counter.name, "_total").c_str(), counter.help,
              &(stats->*counter.counter));
  }
  for (size_t i = 0; i < kFailures; ++i) {
    const char* const reason = FailureName(static_cast<Failure>(i));
    group.Add(absl::StrCat("secure_handshakes_failed_", reason, "_total").c_str(),
              "Handshakes that failed for this reason.", &stats->handshakes_failed[i]);
  }
  group.Add("secure_connections", "Peers with keys.", &stats->connections);
  group.Add("secure_handshakes", "Handshakes of clients that are remembered.", &stats->handshakes);
}

}  // namespace

MetricGroup RegisterMetrics(MetricRegistry& registry, const Client& client,
                            MetricGroup::Labels labels) {
  const ClientStats& stats = client.stats();
  MetricGroup group(registry, "weft_rpc_client_", std::move(labels));
  AddCounters(stats, ClientCounters(), group);
  for (size_t i = 1; i < stats.drops_by_reason.size(); ++i) {
    const char* const reason = NameOf(static_cast<DropReason>(i));
    group.Add(absl::StrCat("drops_", reason, "_total").c_str(), "Of drops, those with this reason.",
              &stats.drops_by_reason[i]);
  }
  AddSecure(client.port(), group);
  return group;
}

MetricGroup RegisterMetrics(MetricRegistry& registry, const Caller& caller,
                            MetricGroup::Labels labels) {
  const CallerStats& s = caller.stats();
  MetricGroup group(registry, "weft_rpc_caller_", std::move(labels));
  group.Add("calls_total", "Calls begun.", &s.calls);
  group.Add("replies_total", "Calls that ended with a reply.", &s.replies);
  group.Add("failures_total", "Calls that failed after all attempts.", &s.failures);
  group.Add("cancelled_total", "Calls whose caller went away.", &s.cancelled);
  group.Add("attempts_total", "Attempts of all kinds.", &s.attempts);
  group.Add("retries_total", "Attempts after another had failed.", &s.retries);
  group.Add("hedges_total", "Attempts beside another that took long.", &s.hedges);
  group.Add("hedges_won_total", "Hedges whose reply came first.", &s.hedges_won);
  group.Add("budget_refusals_total", "Retries and hedges that the budget did not allow.",
            &s.budget_refusals);
  return group;
}

MetricGroup RegisterMetrics(MetricRegistry& registry, const Balancer& balancer,
                            MetricGroup::Labels labels) {
  const BalancerStats& stats = balancer.stats();
  MetricGroup group(registry, "weft_rpc_balancer_", std::move(labels));
  AddCounters(stats, BalancerCounters(), group);
  for (const Named<BalancerStats, Gauge>& gauge : BalancerGauges()) {
    group.Add(gauge.name, gauge.help, &(stats.*gauge.metric));
  }
  return group;
}

MetricGroup RegisterMetrics(MetricRegistry& registry, const Server& server,
                            MetricGroup::Labels labels) {
  const ServerStats& stats = server.stats();
  MetricGroup group(registry, "weft_rpc_server_", std::move(labels));
  AddCounters(stats, ServerCounters(), group);
  for (const Named<ServerStats, Gauge>& gauge : ServerGauges()) {
    group.Add(gauge.name, gauge.help, &(stats.*gauge.metric));
  }
  AddSecure(server.port(), group);
  return group;
}

}  // namespace weft::rpc
