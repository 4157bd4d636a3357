// SPDX-License-Identifier: Apache-2.0
#include "weft/cli/rpc_ping_report.h"

#include <cstdio>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "weft/core/json_writer.h"
#include "weft/rpc/counters.h"
#include "weft/rpc/wire.h"

namespace weft::cli {
namespace {

// Those reasons for which something was refused.
std::vector<std::pair<std::string, uint64_t>> Drops(const PingReport& report) {
  std::vector<std::pair<std::string, uint64_t>> drops;
  for (size_t i = 1; i < report.client.drops_by_reason.size(); ++i) {
    const uint64_t count = report.client.drops_by_reason[i];
    if (count > 0) drops.emplace_back(rpc::NameOf(static_cast<rpc::DropReason>(i)), count);
  }
  return drops;
}

void PrintWire(const PingReport& report) {
  const rpc::ClientStats& client = report.client;
  const std::string spoken = report.spoken();
  if (spoken == "none" || spoken == "original") {
    if (spoken == "original") absl::PrintF("wire: original\n");
    return;
  }
  absl::PrintF("wire: %s; sessions opened: %d, lost: %d; packets sent again: %d\n",
               spoken == "both" ? "extended, at times original" : "extended",
               client.sessions_opened.value(), client.sessions_lost.value(),
               client.retransmissions.value());
  if (report.packet_bytes > 0) {
    absl::PrintF("network: round trip %.1f us +- %.1f, packets of up to %d bytes\n", report.srtt_us,
                 report.rttvar_us, report.packet_bytes);
  }
}

}  // namespace

void PingReport::Take(const rpc::Client& from, const rpc::Balancer* balancer) {
  client = from.stats();
  if (balancer != nullptr) {
    policy = std::string(balancer->policy());
    servers = balancer->servers();
  }
  size_t measured = 0;
  from.sessions().ForEach([&](const rpc::ClientSession& session) {
    if (session.state != rpc::ClientSession::State::kOpen) return;
    if (packet_bytes == 0) {
      packet_bytes = session.packet_payload_bytes + rpc::kExtendedHeaderBytes;
    }
    if (!session.rtt.has_sample()) return;
    ++measured;
    srtt_us += static_cast<double>(session.rtt.srtt_ns()) / 1e3;
    rttvar_us += static_cast<double>(session.rtt.rttvar_ns()) / 1e3;
  });
  if (measured == 0) return;
  srtt_us /= static_cast<double>(measured);
  rttvar_us /= static_cast<double>(measured);
}

const char* PingReport::spoken() const {
  const bool extended = client.sessions_opened > 0;
  const bool original = stats.replies > 0 && (wire == "original" || client.fallbacks > 0);
  if (extended && original) return "both";
  if (extended) return "extended";
  return original ? "original" : "none";
}

void PrintText(const PingReport& report) {
  const rpc::LoadStats& stats = report.stats;
  const double lost_percent =
      report.ended() == 0
          ? 0
          : 100.0 * static_cast<double>(stats.unanswered()) / static_cast<double>(report.ended());
  absl::PrintF("--- %s over %s ---\n", report.address, report.transport);
  absl::PrintF("%d requests, %d replies, %.3g%% lost, %.3f s, %.0f replies/s\n", report.ended(),
               stats.replies, lost_percent, report.seconds(), report.replies_per_s());
  if (stats.unanswered() > 0) {
    absl::PrintF("unanswered: %d timed out, %d refused, %d failed; the first: %s\n", stats.timeouts,
                 stats.refused, stats.failed, std::string(report.first_error.message()));
  }
  if (const auto drops = Drops(report); !drops.empty()) {
    absl::PrintF("refused by the server: %s\n",
                 absl::StrJoin(drops, ", ", absl::PairFormatter(" ")));
  }
  if (report.gave_up()) {
    absl::PrintF("gave up after %d requests without any reply\n", report.ended());
  }
  for (const rpc::BalancedServer& server : report.servers) {
    absl::PrintF("%s: %d requests, %d failed, %s\n", server.address.ToString(), server.calls,
                 server.failed, rpc::NameOf(server.state));
  }
  if (stats.different > 0) {
    absl::PrintF("%d replies were not the request sent back\n", stats.different);
  }
  PrintWire(report);
  if (stats.replies == 0) return;
  absl::PrintF("latency us: min %.1f  p50 %.1f  p90 %.1f  p99 %.1f  p99.9 %.1f  max %.1f\n",
               report.microseconds(0), report.microseconds(50), report.microseconds(90),
               report.microseconds(99), report.microseconds(99.9), report.microseconds(100));
}

void PrintJson(const PingReport& report) {
  const rpc::ClientStats& client = report.client;
  JsonWriter json;
  json.BeginObject();
  json.Field("address", report.address);
  json.Field("transport", report.transport);
  json.Field("wire", report.wire);
  json.Field("request_bytes", report.load.request_bytes);
  json.Field("outstanding", report.load.outstanding_max);
  json.Field("rate", report.load.rate_per_s);
  json.Field("requests", report.ended());
  json.Field("replies", report.stats.replies);
  json.Field("timeouts", report.stats.timeouts);
  json.Field("refused", report.stats.refused);
  json.Field("failed", report.stats.failed);
  json.Field("different", report.stats.different);
  json.Field("duration_s", report.seconds());
  json.Field("replies_per_s", report.replies_per_s());
  json.Key("latency_us").BeginObject();
  for (const auto& [name, percent] : std::initializer_list<std::pair<const char*, double>>{
           {"min", 0}, {"p50", 50}, {"p90", 90}, {"p99", 99}, {"p999", 99.9}, {"max", 100}}) {
    json.Field(name, report.microseconds(percent));
  }
  json.Field("mean", report.latency.mean() / 1e3);
  json.EndObject();
  if (!report.policy.empty()) {
    json.Field("policy", report.policy);
    json.Key("servers").BeginArray();
    for (const rpc::BalancedServer& server : report.servers) {
      json.BeginObject();
      json.Field("address", server.address.ToString());
      json.Field("requests", server.calls);
      json.Field("failed", server.failed);
      json.Field("state", rpc::NameOf(server.state));
      json.EndObject();
    }
    json.EndArray();
  }
  json.Field("spoken", report.spoken());
  json.Field("sessions", report.load.sessions);
  json.Field("sessions_opened", client.sessions_opened.value());
  json.Field("sessions_lost", client.sessions_lost.value());
  json.Field("sessions_refused", client.sessions_refused.value());
  json.Field("retransmissions", client.retransmissions.value());
  json.Key("drops").BeginObject();
  for (const auto& [reason, count] : Drops(report)) json.Field(reason, count);
  json.EndObject();
  json.Field("packet_bytes", report.packet_bytes);
  json.Key("network_us").BeginObject();
  json.Field("srtt", report.srtt_us);
  json.Field("rttvar", report.rttvar_us);
  json.EndObject();
  json.EndObject();
  std::printf("%s\n", json.text().c_str());
}

}  // namespace weft::cli
