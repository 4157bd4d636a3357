// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/peer_metrics.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "weft/rpc/client_session.h"

namespace weft::rpc {
namespace {

constexpr double kNsPerS = 1e9;

// What is known of one session.
struct Session {
  uint32_t number = 0;
  int64_t name = 0;  // differs between sessions that had the same number
  Peer peer;
  uint64_t requests = 0;
  uint64_t in_flight = 0;
  uint64_t credits = 0;
  uint64_t retransmissions = 0;
  uint64_t drops = 0;
  int64_t srtt_ns = 0;  // 0: not known
};

// Of one peer: the sum of its sessions.
struct Row {
  Peer peer;
  uint64_t recent = 0;  // requests since somebody last looked
  uint64_t sessions = 0;
  uint64_t requests = 0;
  uint64_t in_flight = 0;
  uint64_t credits = 0;
  uint64_t retransmissions = 0;
  uint64_t drops = 0;
  int64_t srtt_ns = 0;  // the longest
};

class Peers {
 public:
  Peers(const char* side, const DatagramPort& port, const Loop& loop, MetricGroup::Labels labels)
      : port_(port), loop_(loop), labels_(std::move(labels)), looked_ns_(loop.now_ns()) {
    labels_.emplace_back("side", side);
    labels_.emplace_back("local", port.local_address().ToString());
  }

  void Add(const Session& session) {
    if (session.number >= seen_.size()) seen_.resize(session.number + 1);
    Seen& seen = seen_[session.number];
    if (seen.name != session.name) seen = {.name = session.name, .requests = 0};
    Row& row = rows_[session.peer];
    row.peer = session.peer;
    row.recent += session.requests - std::min(seen.requests, session.requests);
    ++row.sessions;
    row.requests += session.requests;
    row.in_flight += session.in_flight;
    row.credits += session.credits;
    row.retransmissions += session.retransmissions;
    row.drops += session.drops;
    row.srtt_ns = std::max(row.srtt_ns, session.srtt_ns);
    seen.requests = session.requests;
  }

  // Appends the metrics of the `limit` busiest of what was added, and begins anew.
  void Take(size_t limit, std::vector<MetricSample>* samples) {
    std::vector<Row> rows;
    for (const auto& [peer, row] : rows_) rows.push_back(row);
    rows_.clear();
    limit = std::min(limit, rows.size());
    std::partial_sort(rows.begin(), rows.begin() + static_cast<ptrdiff_t>(limit), rows.end(),
                      [](const Row& a, const Row& b) {
                        return std::pair(a.recent, a.in_flight) > std::pair(b.recent, b.in_flight);
                      });
    rows.resize(limit);
    const int64_t now_ns = loop_.now_ns();
    const double elapsed_s = static_cast<double>(now_ns - looked_ns_) / kNsPerS;
    looked_ns_ = now_ns;
    for (const Row& row : rows) Append(row, elapsed_s, samples);
  }

 private:
  // A session when somebody last looked.
  struct Seen {
    int64_t name = 0;
    uint64_t requests = 0;
  };

  void Append(const Row& row, double elapsed_s, std::vector<MetricSample>* samples) const {
    const absl::StatusOr<Address> address = port_.AddressOf(row.peer);
    MetricGroup::Labels labels = labels_;
    labels.emplace_back("peer", address.ok() ? address->ToString() : "gone");
    const auto add = [&](const char* name, const char* help, MetricType type, double value) {
      samples->push_back({{std::string("weft_rpc_peer_") + name, help, labels}, type, value});
    };
    const auto count = [&](const char* name, const char* help, uint64_t value) {
      add(name, help, MetricType::kCounter, static_cast<double>(value));
    };
    const auto gauge = [&](const char* name, const char* help, double value) {
      add(name, help, MetricType::kGauge, value);
    };
    count("requests_total", "Requests of sessions that are open now.", row.requests);
    gauge("requests_per_second", "Requests since somebody last looked.",
          elapsed_s > 0 ? static_cast<double>(row.recent) / elapsed_s : 0);
    gauge("in_flight", "Requests in flight.", static_cast<double>(row.in_flight));
    gauge("sessions", "Open sessions.", static_cast<double>(row.sessions));
    gauge("credits", "Packets that may be on their way to the server.",
          static_cast<double>(row.credits));
    count("retransmissions_total", "Packets sent again.", row.retransmissions);
    count("drops_total", "Requests that the server refused.", row.drops);
    if (row.srtt_ns > 0) {
      gauge("round_trip_seconds", "Round trip of the network, smoothed.",
            static_cast<double>(row.srtt_ns) / kNsPerS);
    }
  }

  const DatagramPort& port_;
  const Loop& loop_;
  MetricGroup::Labels labels_;
  std::vector<Seen> seen_;  // by the session's number
  int64_t looked_ns_;       // when somebody last looked
  absl::flat_hash_map<Peer, Row> rows_;
};

}  // namespace

MetricSampler PeerSampler(Client& client, MetricGroup::Labels labels) {
  auto peers = std::make_shared<Peers>("client", client.port(), client.loop(), std::move(labels));
  return [peers, &client](size_t limit, std::vector<MetricSample>* samples) {
    client.sessions().ForEach([&](const ClientSession& session) {
      if (!session.is_open()) return;
      peers->Add({.number = session.number,
                  .name = session.opened_ns,
                  .peer = session.peer,
                  .requests = session.calls,
                  .in_flight = session.pool != nullptr ? session.pinned : session.slots_in_use(),
                  .credits = session.credits,
                  .retransmissions = session.retransmissions,
                  .drops = session.drops,
                  .srtt_ns = session.rtt.srtt_ns()});
    });
    peers->Take(limit, samples);
  };
}

MetricSampler PeerSampler(Server& server, MetricGroup::Labels labels) {
  auto peers = std::make_shared<Peers>("server", server.port(), server.loop(), std::move(labels));
  return [peers, &server](size_t limit, std::vector<MetricSample>* samples) {
    const int64_t now_ns = server.loop().now_ns();
    server.ForEachSession([&](const SessionInfo& session) {
      peers->Add({.number = session.session,
                  .name = now_ns - session.age_ns,
                  .peer = session.peer,
                  .requests = session.requests,
                  .in_flight = session.executing,
                  .credits = session.credits,
                  .retransmissions = session.retransmissions,
                  .drops = session.refused,
                  .srtt_ns = session.srtt_ns});
    });
    peers->Take(limit, samples);
  };
}

}  // namespace weft::rpc
