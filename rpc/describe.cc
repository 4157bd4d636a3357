// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/describe.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "weft/rpc/client_session.h"
#include "weft/rpc/counters.h"

namespace weft::rpc {
namespace {

constexpr double kNsPerUs = 1e3;
constexpr int64_t kNsPerMs = 1'000'000;

std::string NameOf(const DatagramPort& port, const Peer& peer) {
  const absl::StatusOr<Address> address = port.AddressOf(peer);
  return address.ok() ? address->ToString() : "gone";
}

const char* NameOf(ClientSession::State state) {
  switch (state) {
    case ClientSession::State::kFree:
      return "free";
    case ClientSession::State::kIdle:
      return "idle";
    case ClientSession::State::kConnecting:
      return "connecting";
    case ClientSession::State::kOpen:
      return "open";
    case ClientSession::State::kChoosing:
      return "choosing";
    case ClientSession::State::kDraining:
      return "draining";
    case ClientSession::State::kClosing:
      return "closing";
    case ClientSession::State::kOriginal:
      return "original";
  }
  return "";
}

template <typename Stats>
void WriteStats(const Stats& stats, absl::Span<const Named<Stats>> counters, JsonWriter& json) {
  for (const Named<Stats>& counter : counters) {
    json.Field(counter.name, (stats.*counter.metric).value());
  }
}

// Puts the `count` items first that `key` has the greatest pair for, in order, and drops the rest.
template <typename T, typename Key>
void KeepGreatest(size_t count, Key key, std::vector<T>* items) {
  count = std::min(count, items->size());
  std::partial_sort(items->begin(), items->begin() + static_cast<ptrdiff_t>(count), items->end(),
                    [&key](const T& a, const T& b) { return key(a) > key(b); });
  items->erase(items->begin() + static_cast<ptrdiff_t>(count), items->end());
}

// Where the peer is and, if it had to prove it, who.
void WritePeer(const DatagramPort& port, const Peer& peer, JsonWriter& json) {
  json.Field("peer", NameOf(port, peer));
  const absl::string_view identity = port.IdentityOf(peer);
  if (!identity.empty()) json.Field("identity", identity);
}

void Write(const SessionInfo& session, const Server& server, const DatagramPort& port,
           JsonWriter& json) {
  json.BeginObject();
  json.Field("session", session.session);
  WritePeer(port, session.peer, json);
  json.Field("state", server.draining() ? "draining" : "open");
  json.Field("age_ms", session.age_ns / kNsPerMs);
  json.Field("silent_ms", session.silent_ns / kNsPerMs);
  json.Field("requests", session.requests);
  json.Field("in_flight", session.executing);
  json.Field("kept_replies", session.kept_replies);
  json.Field("slots", session.slots);
  json.Field("packet_bytes", session.packet_bytes);
  json.Field("credits", session.credits);
  json.Field("retransmissions", session.retransmissions);
  json.Field("drops", session.refused);
  if (session.window_packets > 0) json.Field("window", session.window_packets);
  if (session.srtt_ns > 0) {
    json.Field("srtt_us", static_cast<double>(session.srtt_ns) / kNsPerUs);
    json.Field("rttvar_us", static_cast<double>(session.rttvar_ns) / kNsPerUs);
  }
  json.EndObject();
}

void Write(const RouterInfo& router, JsonWriter& json) {
  json.BeginObject();
  json.Field("control", router.control.ToString());
  json.Field("state", rpc::NameOf(router.state));
  if (router.refusal != DropReason::kNone) json.Field("refusal", rpc::NameOf(router.refusal));
  json.Field("feedback", router.knows_weft ? "batches" : "original");
  json.Field("entries", router.feedback_entries);
  if (router.silent_ns >= 0) json.Field("silent_ms", router.silent_ns / kNsPerMs);
  json.Field("keepalive_ms", static_cast<double>(router.keepalive_ns) / 1e6);
  if (router.state == RouterState::kLeaving) json.Field("outstanding", router.outstanding);
  json.EndObject();
}

size_t InFlight(const ClientSession& session) {
  return session.pool != nullptr ? session.pinned : session.slots_in_use();
}

void WriteTimes(const ClientSession& session, const RttOptions& rtt, int64_t now_ns,
                JsonWriter& json) {
  const auto field = [&json](const char* name, int64_t ns) {
    json.Field(name, static_cast<double>(ns) / kNsPerUs);
  };
  field("srtt_us", session.rtt.srtt_ns());
  field("rttvar_us", session.rtt.rttvar_ns());
  field("min_rtt_us", session.rtt.min_rtt_ns(rtt, now_ns));
  field("response_us", session.response_time.srtt_ns());
  field("rto_us", session.response_time.rto_ns(rtt));
}

void Write(const ClientSession& session, const ClientSessions& sessions, const DatagramPort& port,
           int64_t now_ns, JsonWriter& json) {
  const bool open = session.is_open();
  json.BeginObject();
  json.Field("session", session.number);
  WritePeer(port, session.peer, json);
  json.Field("state", NameOf(session.state));
  if (session.is_pool()) json.Field("servers", session.servers->members.size());
  if (session.pool != nullptr) json.Field("pool", session.pool->number);
  json.Field("age_ms", open ? (now_ns - session.opened_ns) / kNsPerMs : 0);
  json.Field("silent_ms", open ? (now_ns - session.heard_ns) / kNsPerMs : 0);
  json.Field("requests", session.calls);
  json.Field("in_flight", InFlight(session));
  json.Field("waiting", session.waiting.size());
  json.Field("retransmissions", session.retransmissions);
  json.Field("drops", session.drops);
  if (open) {
    json.Field("slots", session.slots_max);
    json.Field("packet_bytes", session.packet_payload_bytes + kExtendedHeaderBytes);
    json.Field("credits", session.credits);
    if (session.congestion != nullptr) json.Field("window", session.congestion->window());
    WriteTimes(session, sessions.rtt_options(), now_ns, json);
  }
  json.EndObject();
}

void Write(const BalancedServer& server, const Balancer& balancer, int64_t now_ns,
           JsonWriter& json) {
  const r2p2::ServerSet& set = balancer.set();
  json.BeginObject();
  json.Field("address", server.address.ToString());
  json.Field("state", NameOf(server.state));
  json.Field("weight", set.weight(server.index));
  json.Field("outstanding", set.outstanding(server.index));
  json.Field("calls", server.calls);
  json.Field("failed", server.failed);
  json.Field("failures_in_a_row", server.failures);
  json.Field("for_ms", std::max<int64_t>(server.until_ns - now_ns, 0) / kNsPerMs);
  json.EndObject();
}

}  // namespace

void Describe(Balancer& balancer, size_t sessions_max, JsonWriter& json) {
  std::vector<BalancedServer> servers = balancer.servers();
  json.BeginObject();
  json.Field("kind", "balancer");
  json.Field("policy", balancer.policy());
  json.Field("outstanding", balancer.outstanding());
  json.Field("waiting", balancer.waiting());
  json.Field("servers_total", servers.size());
  KeepGreatest(
      sessions_max,
      [&balancer](const BalancedServer& server) {
        return std::pair(balancer.set().outstanding(server.index), server.calls);
      },
      &servers);
  json.Key("servers").BeginArray();
  const int64_t now_ns = balancer.client().loop().now_ns();
  for (const BalancedServer& server : servers) Write(server, balancer, now_ns, json);
  json.EndArray();
  json.Key("stats").BeginObject();
  WriteStats(balancer.stats(), BalancerCounters(), json);
  json.EndObject();
  json.EndObject();
}

void Describe(Server& server, size_t sessions_max, JsonWriter& json) {
  const DatagramPort& port = server.port();
  std::vector<SessionInfo> sessions;
  server.ForEachSession([&sessions](const SessionInfo& session) { sessions.push_back(session); });
  json.BeginObject();
  json.Field("kind", "server");
  json.Field("address", port.local_address().ToString());
  json.Field("draining", server.draining());
  json.Field("sessions_total", sessions.size());
  KeepGreatest(
      sessions_max,
      [](const SessionInfo& session) { return std::pair(session.executing, session.requests); },
      &sessions);
  json.Key("sessions").BeginArray();
  for (const SessionInfo& session : sessions) Write(session, server, port, json);
  json.EndArray();
  if (server.has_routers()) {
    json.Key("routers").BeginArray();
    server.ForEachRouter([&json](const RouterInfo& router) { Write(router, json); });
    json.EndArray();
  }
  json.Key("stats").BeginObject();
  WriteStats(server.stats(), ServerCounters(), json);
  for (const Named<ServerStats, Gauge>& gauge : ServerGauges()) {
    json.Field(gauge.name, (server.stats().*gauge.metric).value());
  }
  json.EndObject();
  json.EndObject();
}

void Describe(Client& client, size_t sessions_max, JsonWriter& json) {
  const DatagramPort& port = client.port();
  std::vector<const ClientSession*> sessions;
  client.sessions().ForEach(
      [&sessions](const ClientSession& session) { sessions.push_back(&session); });
  json.BeginObject();
  json.Field("kind", "client");
  json.Field("address", port.local_address().ToString());
  json.Field("sessions_total", sessions.size());
  KeepGreatest(
      sessions_max,
      [](const ClientSession* session) { return std::pair(InFlight(*session), session->calls); },
      &sessions);
  json.Key("sessions").BeginArray();
  const int64_t now_ns = client.loop().now_ns();
  for (const ClientSession* session : sessions) {
    Write(*session, client.sessions(), port, now_ns, json);
  }
  json.EndArray();
  json.Key("stats").BeginObject();
  WriteStats(client.stats(), ClientCounters(), json);
  json.EndObject();
  json.Key("drops").BeginObject();
  const auto& drops = client.stats().drops_by_reason;
  for (size_t i = 1; i < drops.size(); ++i) {
    json.Field(NameOf(static_cast<DropReason>(i)), drops[i].value());
  }
  json.EndObject();
  json.EndObject();
}

}  // namespace weft::rpc
