// SPDX-License-Identifier: Apache-2.0
//
// weft rpc stats: the sessions of a running program's RPC, and what it has counted.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "weft/cli/command.h"
#include "weft/cli/flags.h"
#include "weft/cli/host_json.h"
#include "weft/cli/table.h"

namespace weft::cli {
namespace {

struct Session {
  std::string worker;
  std::string kind;  // of the side that tells
  JsonObject json;

  std::pair<double, double> activity() const {
    return {NumberOf(json, "in_flight"), NumberOf(json, "requests")};
  }
};

// A field of a session with so many decimals, "-" where there is no such thing.
std::string Cell(const JsonObject& session, const std::string& name, int decimals) {
  const auto found = session.fields().find(name);
  if (found == session.fields().end()) return "-";
  return absl::StrFormat("%.*f", decimals, found->second.number_value());
}

std::vector<std::string> Row(const Session& session) {
  const JsonObject& json = session.json;
  const auto whole = [&json](const char* name) { return Cell(json, name, 0); };
  const auto tenths = [&json](const char* name) { return Cell(json, name, 1); };
  return {session.worker,        session.kind,
          whole("session"),      TextOf(json, "peer"),
          TextOf(json, "state"), absl::StrFormat("%.1f s", NumberOf(json, "age_ms") / 1e3),
          whole("requests"),     whole("in_flight"),
          tenths("srtt_us"),     tenths("rttvar_us"),
          tenths("rto_us"),      whole("retransmissions"),
          whole("credits"),      tenths("window"),
          whole("kept_replies")};
}

// The busiest sessions of all workers.
void PrintSessions(const std::vector<JsonObject>& workers, uint64_t limit) {
  double total = 0;
  std::vector<Session> sessions;
  for (const JsonObject& worker : workers) {
    for (const auto& item : ListOf(worker, "items").values()) {
      total += NumberOf(item.struct_value(), "sessions_total");
      for (const auto& session : ListOf(item.struct_value(), "sessions").values()) {
        sessions.push_back({Whole(NumberOf(worker, "worker")), TextOf(item.struct_value(), "kind"),
                            session.struct_value()});
      }
    }
  }
  std::stable_sort(sessions.begin(), sessions.end(),
                   [](const Session& a, const Session& b) { return a.activity() > b.activity(); });
  sessions.resize(std::min<size_t>(sessions.size(), limit));
  std::printf("%s sessions", Whole(total).c_str());
  if (static_cast<double>(sessions.size()) < total && !sessions.empty()) {
    std::printf(", the %zu busiest of them", sessions.size());
  }
  std::printf("\n");
  if (sessions.empty()) return;
  std::vector<std::vector<std::string>> rows = {
      {"WORKER", "SIDE", "SESSION", "PEER", "STATE", "AGE", "REQUESTS", "IN FLIGHT", "SRTT US",
       "RTTVAR US", "RTO US", "RESENT", "CREDITS", "WINDOW", "KEPT"}};
  for (const Session& session : sessions) rows.push_back(Row(session));
  PrintTable(rows);
}

// What the servers of all workers have to do with routers, if anything.
void PrintRouters(const std::vector<JsonObject>& workers) {
  std::vector<std::vector<std::string>> rows = {
      {"WORKER", "ROUTER", "STATE", "SILENT MS", "KEEPALIVE MS", "FEEDBACK", "ENTRIES"}};
  for (const JsonObject& worker : workers) {
    for (const auto& item : ListOf(worker, "items").values()) {
      for (const auto& value : ListOf(item.struct_value(), "routers").values()) {
        const JsonObject& router = value.struct_value();
        std::string state = TextOf(router, "state");
        if (const std::string why = TextOf(router, "refusal"); !why.empty()) {
          absl::StrAppend(&state, " (", why, ")");
        }
        rows.push_back({Whole(NumberOf(worker, "worker")), TextOf(router, "control"), state,
                        Cell(router, "silent_ms", 0), Cell(router, "keepalive_ms", 0),
                        TextOf(router, "feedback"), Whole(NumberOf(router, "entries"))});
      }
    }
  }
  if (rows.size() == 1) return;
  std::printf("\n");
  PrintTable(rows);
}

// Of each counter, what each worker has. Those that nobody has are left out.
void PrintCounters(const std::vector<JsonObject>& workers) {
  std::vector<std::vector<std::string>> rows = {{"COUNTER"}};
  std::map<std::string, std::vector<double>> counters;
  const auto add = [&](const std::string& prefix, const JsonObject& values, size_t worker) {
    for (const auto& [name, value] : values.fields()) {
      if (value.number_value() == 0) continue;
      std::vector<double>& of_workers = counters[absl::StrCat(prefix, name)];
      of_workers.resize(workers.size());
      of_workers[worker] += value.number_value();
    }
  };
  for (size_t i = 0; i < workers.size(); ++i) {
    rows[0].push_back(absl::StrCat("WORKER ", Whole(NumberOf(workers[i], "worker"))));
    for (const auto& item : ListOf(workers[i], "items").values()) {
      const std::string kind = TextOf(item.struct_value(), "kind");
      add(absl::StrCat(kind, "."), ObjectOf(item.struct_value(), "stats"), i);
      add(absl::StrCat(kind, ".drops."), ObjectOf(item.struct_value(), "drops"), i);
    }
  }
  for (const auto& [name, values] : counters) {
    std::vector<std::string>& row = rows.emplace_back(std::vector<std::string>{name});
    for (const double value : values) row.push_back(Whole(value));
  }
  PrintTable(rows);
}

}  // namespace

int RpcStats(Arguments arguments) {
  uint64_t limit = 20;
  Flags flags(
      "rpc stats",
      "Shows the RPC servers and clients of a running program: their sessions, and what\n"
      "they have counted, without what is zero. Exit status 1 if a worker does not answer.");
  flags.Number("limit", "N", "of the sessions, the N with most requests in flight or ever", &limit,
               0, 1000);
  return ShowWorkers(
      flags, arguments, [&limit] { return absl::StrCat("/rpc?limit=", limit); },
      [&limit](const std::vector<JsonObject>& workers) {
        PrintSessions(workers, limit);
        PrintRouters(workers);
        std::printf("\n");
        PrintCounters(workers);
      });
}

}  // namespace weft::cli
