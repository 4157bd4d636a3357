// SPDX-License-Identifier: Apache-2.0

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "weft/cli/command.h"
#include "weft/cli/endpoint.h"
#include "weft/cli/flags.h"
#include "weft/core/json_writer.h"
#include "weft/core/loop.h"
#include "weft/host/host.h"
#include "weft/rpc/client.h"
#include "weft/rpc/load_generator.h"
#include "weft/rpc/options.h"

namespace weft::cli {
namespace {

// Without any reply to so many, the rest would only make the user wait.
constexpr uint64_t kGiveUpAfter = 5;
constexpr uint64_t kRequestBytesMax = 1 << 20;  // the protocol's own limit is lower and configured

struct PingOptions {
  EndpointOptions endpoint;
  uint64_t count = 1000;
  uint64_t size = 64;
  uint64_t rate = 0;
  uint64_t outstanding = 1;
  absl::Duration timeout;  // zero: the configuration's
  std::string wire = "original";
  bool as_json = false;
};

// A line on standard error now and then, so that a long run does not look like a hang.
class Progress {
 public:
  Progress(Loop& loop, const rpc::LoadGenerator& load) : loop_(loop), load_(load) { Schedule(); }
  ~Progress() {
    if (terminal_ && shown_) std::fputs("\r\033[K", stderr);
  }

 private:
  static void Show(void* self, int64_t) {
    auto& progress = *static_cast<Progress*>(self);
    const rpc::LoadStats& stats = progress.load_.stats();
    std::fprintf(stderr, "%s%llu requests, %llu replies%s", progress.terminal_ ? "\r" : "",
                 static_cast<unsigned long long>(stats.sent),
                 static_cast<unsigned long long>(stats.replies), progress.terminal_ ? "" : "\n");
    progress.shown_ = true;
    progress.Schedule();
  }
  void Schedule() {
    loop_.timers().Schedule(timer_, loop_.clock().NowNs() + (terminal_ ? 1 : 5) * 1'000'000'000LL);
  }

  Loop& loop_;
  const rpc::LoadGenerator& load_;
  const bool terminal_ = isatty(STDERR_FILENO) != 0;
  bool shown_ = false;
  Timer timer_{&Progress::Show, this};
};

struct Summary {
  std::string transport;
  std::string address;
  rpc::LoadStats stats;
  HistogramSnapshot latency;
  absl::Status first_error;

  // Requests that have had their end; those in flight when the user interrupts have not.
  uint64_t ended() const { return stats.replies + stats.unanswered(); }
  bool gave_up() const { return stats.replies == 0 && stats.unanswered() >= kGiveUpAfter; }
  double seconds() const { return static_cast<double>(stats.end_ns - stats.begin_ns) / 1e9; }
  double replies_per_s() const {
    return seconds() > 0 ? static_cast<double>(stats.replies) / seconds() : 0;
  }
  double microseconds(double percent) const {
    return static_cast<double>(latency.Percentile(percent)) / 1e3;
  }
};

void PrintText(const Summary& s) {
  const double lost_percent = s.ended() == 0 ? 0
                                             : 100.0 * static_cast<double>(s.stats.unanswered()) /
                                                   static_cast<double>(s.ended());
  absl::PrintF("--- %s over %s ---\n", s.address, s.transport);
  absl::PrintF("%d requests, %d replies, %.3g%% lost, %.3f s, %.0f replies/s\n", s.ended(),
               s.stats.replies, lost_percent, s.seconds(), s.replies_per_s());
  if (s.stats.unanswered() > 0) {
    absl::PrintF("unanswered: %d timed out, %d refused, %d failed; the first: %s\n",
                 s.stats.timeouts, s.stats.refused, s.stats.failed,
                 std::string(s.first_error.message()));
  }
  if (s.gave_up()) absl::PrintF("gave up after %d requests without any reply\n", s.ended());
  if (s.stats.different > 0) {
    absl::PrintF("%d replies were not the request sent back\n", s.stats.different);
  }
  if (s.stats.replies == 0) return;
  absl::PrintF("latency us: min %.1f  p50 %.1f  p90 %.1f  p99 %.1f  p99.9 %.1f  max %.1f\n",
               s.microseconds(0), s.microseconds(50), s.microseconds(90), s.microseconds(99),
               s.microseconds(99.9), s.microseconds(100));
}

void PrintJson(const Summary& s, const PingOptions& options) {
  JsonWriter json;
  json.BeginObject();
  json.Field("address", s.address);
  json.Field("transport", s.transport);
  json.Field("wire", options.wire);
  json.Field("request_bytes", options.size);
  json.Field("outstanding", options.outstanding);
  json.Field("rate", options.rate);
  json.Field("requests", s.ended());
  json.Field("replies", s.stats.replies);
  json.Field("timeouts", s.stats.timeouts);
  json.Field("refused", s.stats.refused);
  json.Field("failed", s.stats.failed);
  json.Field("different", s.stats.different);
  json.Field("duration_s", s.seconds());
  json.Field("replies_per_s", s.replies_per_s());
  json.Key("latency_us").BeginObject();
  for (const auto& [name, percent] : std::initializer_list<std::pair<const char*, double>>{
           {"min", 0}, {"p50", 50}, {"p90", 90}, {"p99", 99}, {"p999", 99.9}, {"max", 100}}) {
    json.Field(name, s.microseconds(percent));
  }
  json.Field("mean", s.latency.mean() / 1e3);
  json.EndObject();
  json.EndObject();
  std::printf("%s\n", json.text().c_str());
}

// A client that asks as the options say, and tells how it went when it ends.
class Pinger {
 public:
  Pinger(std::unique_ptr<rpc::Client> client, const Peer& server, const PingOptions& options,
         Worker& worker, Summary& summary)
      : client_(std::move(client)),
        load_(*client_, server,
              {.request_bytes = options.size,
               .outstanding_max = options.outstanding,
               .rate_per_s = static_cast<double>(options.rate),
               .count = options.count,
               .give_up_after = kGiveUpAfter}),
        progress_(worker.loop(), load_),
        summary_(summary) {
    load_.Start([&worker] { worker.Stop(); });
  }
  ~Pinger() {
    summary_.stats = load_.stats();
    summary_.latency = load_.latency().Snapshot();
    summary_.first_error = load_.first_error();
  }

 private:
  const std::unique_ptr<rpc::Client> client_;
  rpc::LoadGenerator load_;
  const Progress progress_;
  Summary& summary_;
};

absl::StatusOr<std::shared_ptr<void>> StartPinger(Worker& worker, const Address& address,
                                                  const PingOptions& options, Summary& summary) {
  absl::StatusOr<std::unique_ptr<DatagramPort>> port = worker.OpenDatagramPort();
  if (!port.ok()) return port.status();
  rpc::ClientOptions client_options = rpc::ClientOptions::From(worker.config().rpc());
  if (options.timeout > absl::ZeroDuration()) client_options.timeout = options.timeout;
  client_options.outstanding_max = options.outstanding;
  absl::StatusOr<std::unique_ptr<rpc::Client>> client =
      rpc::Client::Create(worker.loop(), *std::move(port), client_options);
  if (!client.ok()) return client.status();
  absl::StatusOr<Peer> server = (*client)->Resolve(address);
  // Nobody there is the answer to this command, not a mistake in it.
  if (absl::IsNotFound(server.status())) {
    return absl::UnavailableError(server.status().message());
  }
  if (!server.ok()) return server.status();
  return std::make_shared<Pinger>(*std::move(client), *server, options, worker, summary);
}

absl::StatusOr<Summary> Measure(Endpoint& endpoint, const PingOptions& options) {
  endpoint.config.mutable_host()->set_workers(1);
  absl::StatusOr<std::unique_ptr<Host>> host = Host::Open(endpoint.config);
  if (!host.ok()) return host.status();
  Summary summary{.transport = endpoint.config.transport().name(),
                  .address = endpoint.address.ToString(),
                  .stats = {},
                  .latency = {},
                  .first_error = {}};
  absl::Status status = (*host)->Run(
      [&](Worker& worker) { return StartPinger(worker, endpoint.address, options, summary); });
  if (!status.ok()) return status;
  // The very first was refused on this side: it is the request that is wrong.
  if (summary.stats.sent == 0 && !summary.first_error.ok()) return summary.first_error;
  return summary;
}

}  // namespace

int RpcPing(Arguments arguments) {
  PingOptions options;
  Flags flags("rpc ping",
              "Sends requests to a server and measures the time until each reply. The kind of the\n"
              "address chooses the transport if neither an option nor a configuration does.\n"
              "Exit status: 0 if all were answered, 1 if not, 2 if nothing could be sent.");
  flags.Argument("ADDRESS", "of the server, such as 127.0.0.1:7000, [::1]:7000 or shm:echo",
                 &options.endpoint.address);
  flags.Number("count", "N", "requests in all; 0: until interrupted", &options.count, 0,
               UINT64_MAX);
  flags.Number("size", "BYTES", "payload of a request", &options.size, 0, kRequestBytesMax);
  flags.Number("rate", "N", "requests a second; 0: as fast as replies come", &options.rate, 0,
               1'000'000'000);
  flags.Number("outstanding", "N", "requests in flight at most", &options.outstanding, 1, 32768);
  flags.Duration("timeout",
                 "until a request counts as lost (rpc.timeout_us of the configuration: 1s)",
                 &options.timeout);
  flags.Text("wire", "FORMAT", "'original', the 8-byte header of R2P2 (original)", &options.wire);
  flags.Bool("json", "the summary for programs", &options.as_json);
  flags.Config(&options.endpoint.config, &options.endpoint.transport);
  if (std::optional<int> status = flags.Parse(arguments)) return *status;
  if (options.wire != "original") {
    return flags.UsageError(
        absl::StrCat("--wire: '", options.wire, "' is not a wire format; there is: original"));
  }
  absl::StatusOr<Endpoint> endpoint = ChooseEndpoint(options.endpoint);
  const absl::StatusOr<Summary> summary =
      endpoint.ok() ? Measure(*endpoint, options) : endpoint.status();
  if (!summary.ok()) {
    flags.Complain(summary.status().message());
    return ExitStatus(summary.status());
  }
  options.as_json ? PrintJson(*summary, options) : PrintText(*summary);
  return summary->stats.unanswered() == 0 && summary->stats.replies > 0 ? kExitOk : kExitFailed;
}

}  // namespace weft::cli
