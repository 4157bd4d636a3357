// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "weft/cli/command.h"
#include "weft/cli/endpoint.h"
#include "weft/cli/flags.h"
#include "weft/cli/host_json.h"
#include "weft/core/json_writer.h"
#include "weft/host/http_client.h"

namespace weft::cli {
namespace {

struct Options {
  std::string host;
  std::string address;
  uint64_t count = 4;
  uint64_t size = 56;
  absl::Duration interval = absl::Milliseconds(200);
  bool as_json = false;
};

struct Summary {
  uint64_t requests = 0;
  std::vector<double> rtts_us;
};

// Each request is one to the host too, so that its end is seen as it comes.
absl::StatusOr<JsonObject> PingOnce(const Options& options) {
  const auto text =
      Ask(options.host, absl::StrCat("/net/ping?address=", HttpEncode(options.address),
                                     "&count=1&size=", options.size));
  if (!text.ok()) return text.status();
  const auto json = ParseJson(*text);
  if (!json.ok()) return json.status();
  const google::protobuf::ListValue& echoes = ListOf(json->struct_value(), "echoes");
  if (echoes.values().empty()) return absl::DataLossError("the answer tells of no echo request");
  return echoes.values(0).struct_value();
}

void PrintEcho(uint64_t sequence, const JsonObject& echo) {
  if (const std::string error = TextOf(echo, "error"); !error.empty()) {
    absl::PrintF("seq=%d: %s\n", sequence, error);
  } else {
    absl::PrintF("%s bytes from %s: seq=%d ttl=%s time=%.1f us\n", Whole(NumberOf(echo, "bytes")),
                 TextOf(echo, "from"), sequence, Whole(NumberOf(echo, "ttl")),
                 NumberOf(echo, "rtt_us"));
  }
  std::fflush(stdout);
}

double Mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

void PrintSummary(const Options& options, const Summary& summary) {
  const uint64_t lost = summary.requests - summary.rtts_us.size();
  absl::PrintF("--- %s from %s ---\n%d requests, %d replies, %.3g%% lost\n", options.address,
               options.host, summary.requests, summary.rtts_us.size(),
               100.0 * static_cast<double>(lost) / static_cast<double>(summary.requests));
  if (summary.rtts_us.empty()) return;
  const auto [min, max] = std::minmax_element(summary.rtts_us.begin(), summary.rtts_us.end());
  absl::PrintF("round trip us: min %.1f  mean %.1f  max %.1f\n", *min, Mean(summary.rtts_us), *max);
}

void PrintJson(const Options& options, const Summary& summary) {
  JsonWriter json;
  json.BeginObject();
  json.Field("address", options.address);
  json.Field("host", options.host);
  json.Field("request_bytes", options.size);
  json.Field("requests", summary.requests);
  json.Field("replies", summary.rtts_us.size());
  json.Key("rtt_us").BeginArray();
  for (const double rtt_us : summary.rtts_us) json.Value(rtt_us);
  json.EndArray();
  json.EndObject();
  std::printf("%s\n", json.text().c_str());
}

absl::StatusOr<Summary> Ping(const Options& options) {
  Summary summary;
  while (summary.requests < options.count) {
    if (summary.requests > 0) absl::SleepFor(options.interval);
    const absl::StatusOr<JsonObject> echo = PingOnce(options);
    if (!echo.ok()) return echo.status();
    if (!options.as_json) PrintEcho(summary.requests, *echo);
    ++summary.requests;
    if (TextOf(*echo, "error").empty()) summary.rtts_us.push_back(NumberOf(*echo, "rtt_us"));
  }
  return summary;
}

}  // namespace

int NetPing(Arguments arguments) {
  Options options;
  Flags flags(
      "net ping",
      "Has the network stack of a running host send echo requests (ICMP, ICMPv6), and\n"
      "tells of the replies. Exit status: 0 if all were answered, 1 if not, 2 if none could\n"
      "be sent.");
  flags.Argument("HOST:PORT", "metrics.listen of the host; a bare port is one of 127.0.0.1",
                 &options.host);
  flags.Argument("ADDRESS", "to ping: 10.0.0.1, fd00::1", &options.address);
  flags.Number("count", "N", "requests", &options.count, 1, 1'000'000);
  flags.Number("size", "BYTES", "payload of a request", &options.size, 0, 65507);
  flags.Duration("interval", "from a reply to the next request (200ms)", &options.interval);
  flags.Bool("json", "the summary for programs", &options.as_json);
  if (std::optional<int> status = flags.Parse(arguments)) return *status;

  const absl::StatusOr<Summary> summary = Ping(options);
  if (!summary.ok()) {
    flags.Complain(summary.status().message());
    return ExitStatus(summary.status());
  }
  options.as_json ? PrintJson(options, *summary) : PrintSummary(options, *summary);
  return summary->rtts_us.size() == summary->requests ? kExitOk : kExitFailed;
}

}  // namespace weft::cli
