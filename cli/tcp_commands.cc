// SPDX-License-Identifier: Apache-2.0
//
// weft tcp connections and stats: weft's own TCP in a running host, as ss(8) and nstat(8) show the
// kernel's.

#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "weft/cli/command.h"
#include "weft/cli/flags.h"
#include "weft/cli/host_json.h"
#include "weft/cli/table.h"
#include "weft/host/http_client.h"

namespace weft::cli {
namespace {

// Connections of each worker (host/tcp_pages.h).
constexpr uint64_t kLimitDefault = 100;
constexpr uint64_t kLimitMax = 10'000;

using Rows = std::vector<std::vector<std::string>>;

bool Is(const JsonObject& object, const char* name) {
  const auto found = object.fields().find(name);
  return found != object.fields().end() && found->second.bool_value();
}

std::string Milliseconds(double us) { return absl::StrFormat("%.3g", us / 1e3); }

// "1.25Gbps", of bytes a second.
std::string BitRate(double bytes) {
  double bits = 8 * bytes;
  const char* const units[] = {"bps", "kbps", "Mbps", "Gbps", "Tbps"};
  size_t unit = 0;
  for (; bits >= 1000 && unit + 1 < std::size(units); ++unit) bits /= 1000;
  return absl::StrFormat("%.4g%s", bits, units[unit]);
}

double Segments(const JsonObject& connection, const char* name) {
  const double mss = NumberOf(connection, "send_mss_bytes");
  return mss > 0 ? NumberOf(connection, name) / mss : 0;
}

// What `ss -i` writes below a connection, in its words. What is 0 is left out.
std::string InfoLine(const JsonObject& connection) {
  std::vector<std::string> parts;
  const auto number = [&](const char* name) { return NumberOf(connection, name); };
  const auto add = [&](bool shown, auto... text) {
    if (shown) parts.push_back(absl::StrCat(text...));
  };
  const auto count = [&](const char* label, const char* name) {
    add(number(name) != 0, label, ":", Whole(number(name)));
  };
  const auto part = [&](const char* label, const char* name) {  // of the time it was busy
    if (number(name) == 0) return;
    const double busy_us = number("busy_us");
    parts.push_back(absl::StrFormat("%s:%.0fms(%.1f%%)", label, number(name) / 1e3,
                                    busy_us > 0 ? 100 * number(name) / busy_us : 0));
  };
  add(Is(connection, "timestamps"), "ts");
  add(Is(connection, "sack"), "sack");
  add(Is(connection, "ecn"), "ecn");
  const std::string algorithm = TextOf(connection, "congestion_control");
  add(!algorithm.empty(), algorithm);
  add(Is(connection, "window_scaling"), "wscale:", Whole(number("send_window_scale")), ",",
      Whole(number("receive_window_scale")));
  add(number("rto_us") != 0, "rto:", Milliseconds(number("rto_us")));
  count("backoff", "backoff");
  add(number("rtt_us") != 0, "rtt:", Milliseconds(number("rtt_us")), "/",
      Milliseconds(number("rttvar_us")));
  add(!TextOf(connection, "recovery").empty(), TextOf(connection, "recovery"));
  count("mss", "send_mss_bytes");
  count("pmtu", "path_mtu_bytes");
  count("rcvmss", "receive_mss_bytes");
  add(number("cwnd_bytes") != 0, "cwnd:", Whole(Segments(connection, "cwnd_bytes")));
  add(number("ssthresh_bytes") != 0, "ssthresh:", Whole(Segments(connection, "ssthresh_bytes")));
  count("bytes_sent", "bytes_sent");
  count("bytes_retrans", "bytes_retransmitted");
  count("bytes_acked", "bytes_acked");
  count("bytes_received", "bytes_received");
  count("segs_out", "segments_sent");
  count("segs_in", "segments_received");
  const double rtt_us = number("rtt_us");
  add(rtt_us > 0, "send ", BitRate(number("cwnd_bytes") * 1e6 / rtt_us));
  add(number("last_sent_ms") != 0, "lastsnd:", Whole(number("last_sent_ms")));
  add(number("last_received_ms") != 0, "lastrcv:", Whole(number("last_received_ms")));
  add(number("pacing_rate_bytes") != 0, "pacing_rate ", BitRate(number("pacing_rate_bytes")));
  add(number("delivery_rate_bytes") != 0, "delivery_rate ", BitRate(number("delivery_rate_bytes")));
  count("delivered", "delivered_segments");
  count("delivered_ce", "delivered_ce_segments");
  add(number("busy_us") != 0, "busy:", Whole(number("busy_us") / 1e3), "ms");
  part("rwnd_limited", "receive_window_limited_us");
  part("sndbuf_limited", "send_buffer_limited_us");
  count("unacked", "unacked_segments");
  add(number("retransmissions") != 0, "retrans:", Whole(number("retransmitted_segments")), "/",
      Whole(number("retransmissions")));
  count("lost", "lost_segments");
  count("sacked", "sacked_segments");
  count("dsack_dups", "dsack_duplicates");
  count("reord_seen", "reordering_seen");
  count("rcv_ooopack", "segments_out_of_order");
  add(number("receive_rtt_us") != 0, "rcv_rtt:", Milliseconds(number("receive_rtt_us")));
  count("rcv_space", "receive_window_bytes");
  count("notsent", "unsent_bytes");
  add(number("min_rtt_us") != 0, "minrtt:", Milliseconds(number("min_rtt_us")));
  count("snd_wnd", "send_window_bytes");
  return absl::StrJoin(parts, " ");
}

void PrintConnections(const std::vector<JsonObject>& workers, bool with_info) {
  Rows rows = {
      {"WORKER", "STATE", "RECV-Q", "SEND-Q", "LOCAL", "REMOTE", "RTT MS", "CWND", "RETRANS"}};
  std::vector<std::string> infos = {""};
  for (const JsonObject& worker : workers) {
    for (const auto& value : ListOf(worker, "connections").values()) {
      const JsonObject& one = value.struct_value();
      const bool rests = NumberOf(one, "cwnd_bytes") == 0;
      rows.push_back({Whole(NumberOf(worker, "worker")), TextOf(one, "state"),
                      Whole(NumberOf(one, "unread_bytes")),
                      Whole(NumberOf(one, "unacked_bytes") + NumberOf(one, "unsent_bytes")),
                      TextOf(one, "local"), TextOf(one, "remote"),
                      NumberOf(one, "rtt_us") > 0 ? Milliseconds(NumberOf(one, "rtt_us")) : "-",
                      rests ? "-" : Whole(Segments(one, "cwnd_bytes")),
                      rests ? "-" : Whole(NumberOf(one, "retransmissions"))});
      infos.push_back(with_info ? InfoLine(one) : "");
    }
  }
  const std::vector<std::string> lines = TableLines(rows);
  for (size_t i = 0; i < lines.size(); ++i) {
    std::printf("%s\n", lines[i].c_str());
    if (!infos[i].empty()) std::printf("    %s\n", infos[i].c_str());
  }
}

void PrintListeners(const std::vector<JsonObject>& workers) {
  Rows rows = {{"WORKER", "LOCAL", "WAITING", "BACKLOG", "HALF-OPEN"}};
  for (const JsonObject& worker : workers) {
    for (const auto& value : ListOf(worker, "listeners").values()) {
      const JsonObject& one = value.struct_value();
      rows.push_back({Whole(NumberOf(worker, "worker")), TextOf(one, "local"),
                      Whole(NumberOf(one, "waiting")), Whole(NumberOf(one, "backlog")),
                      Whole(NumberOf(one, "half_open"))});
    }
  }
  PrintTable(rows);
}

// Of each worker: what it has, and what is not shown of it.
void PrintSums(const std::vector<JsonObject>& workers, const char* list, const char* total) {
  for (const JsonObject& worker : workers) {
    const JsonObject& stats = ObjectOf(worker, "stats");
    std::string left;
    const double shown = ListOf(worker, list).values_size();
    if (const double of = NumberOf(worker, total); shown < of) {
      left = absl::StrCat("; ", Whole(of - shown), " of ", Whole(of), " ", list,
                          " left out, see --limit");
    }
    std::printf(
        "worker %s: %s connections, %s established, %s half-open; %s in TIME-WAIT%s\n",
        Whole(NumberOf(worker, "worker")).c_str(), Whole(NumberOf(stats, "connections")).c_str(),
        Whole(NumberOf(stats, "established")).c_str(), Whole(NumberOf(stats, "half_open")).c_str(),
        Whole(NumberOf(stats, "time_wait")).c_str(), left.c_str());
    const std::string error = TextOf(worker, "device_error");
    if (!error.empty()) std::printf("  its device is dead: %s\n", Printable(error).c_str());
  }
}

// Of each counter, what each worker has. Those that nobody has are left out.
void PrintStats(const std::vector<JsonObject>& workers) {
  PrintSums(workers, "", "");
  Rows rows = {{"COUNTER"}};
  std::map<std::string, std::vector<double>> counters;
  for (size_t i = 0; i < workers.size(); ++i) {
    rows[0].push_back(absl::StrCat("WORKER ", Whole(NumberOf(workers[i], "worker"))));
    for (const auto& [name, value] : ObjectOf(workers[i], "stats").fields()) {
      if (value.number_value() == 0) continue;
      std::vector<double>& values = counters[name];
      values.resize(workers.size());
      values[i] = value.number_value();
    }
  }
  for (const auto& [name, values] : counters) {
    std::vector<std::string>& row = rows.emplace_back(std::vector<std::string>{name});
    for (const double value : values) row.push_back(Whole(value));
  }
  std::printf("\n");
  PrintTable(rows);
}

}  // namespace

int TcpConnections(Arguments arguments) {
  std::vector<std::string> states;
  std::string local;
  std::string remote;
  uint64_t limit = kLimitDefault;
  bool with_info = false;
  bool listening = false;
  Flags flags(
      "tcp connections",
      "Shows the connections of weft's own TCP in a running host, of each worker, as ss(8)\n"
      "does for the kernel's. Exit status 1 if a worker does not answer.\n"
      "\n"
      "  weft tcp connections 9100 --info --state established --remote 10.0.0.0/24\n"
      "  weft tcp connections 9100 --local :80 --state time-wait\n"
      "  weft tcp connections 9100 --listening");
  flags.Texts("state", "STATE",
              "only those in this state, as RFC 9293 or ss(8) name it; may be given several times",
              &states);
  flags.Text("local", "END",
             "only those with this end here: ADDRESS, NETWORK/LENGTH, :PORT or both", &local);
  flags.Text("remote", "END", "the same of the peer's end", &remote);
  flags.Number("limit", "N", "how many of each worker are shown", &limit, 1, kLimitMax);
  flags.Bool("info", "with a line of what is known of each, as of ss -i; times are in ms",
             &with_info);
  flags.Bool("listening", "the listeners instead: what waits there to be accepted, half-open ones",
             &listening);
  const auto target = [&] {
    // As with ss, those that listen are of a kind of their own.
    const auto is_listening = [](const std::string& state) {
      return absl::EqualsIgnoreCase(state, "listen") || absl::EqualsIgnoreCase(state, "listening");
    };
    listening |= std::erase_if(states, is_listening) > 0;
    std::string page = absl::StrCat("/tcp?limit=", limit);
    const auto add = [&page](const char* name, const std::string& value) {
      if (!value.empty()) absl::StrAppend(&page, "&", name, "=", HttpEncode(value));
    };
    add("state", absl::StrJoin(states, ","));
    add("local", local);
    add("remote", remote);
    return page;
  };
  return ShowWorkers(flags, arguments, target, [&](const std::vector<JsonObject>& workers) {
    if (listening) {
      PrintListeners(workers);
      PrintSums(workers, "listeners", "listeners_total");
    } else {
      PrintConnections(workers, with_info);
      PrintSums(workers, "connections", "matching");
    }
  });
}

int TcpStats(Arguments arguments) {
  Flags flags("tcp stats",
              "Shows what weft's own TCP in a running host has counted, without what is zero.\n"
              "docs/tcp.md explains it. Exit status 1 if a worker does not answer.");
  return ShowWorkers(
      flags, arguments, [] { return "/tcp?limit=0"; }, &PrintStats);
}

}  // namespace weft::cli
