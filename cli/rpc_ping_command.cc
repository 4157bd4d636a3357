// SPDX-License-Identifier: Apache-2.0

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "weft/cli/command.h"
#include "weft/cli/endpoint.h"
#include "weft/cli/flags.h"
#include "weft/cli/rpc_ping_report.h"
#include "weft/core/loop.h"
#include "weft/core/suggest.h"
#include "weft/host/host.h"
#include "weft/r2p2/policy/policy.h"
#include "weft/router/config_check.h"
#include "weft/rpc/balancer.h"
#include "weft/rpc/client.h"
#include "weft/rpc/describe.h"
#include "weft/rpc/load_generator.h"
#include "weft/rpc/metrics.h"
#include "weft/rpc/options.h"
#include "weft/transports/address.h"

namespace weft::cli {
namespace {

constexpr uint64_t kSessionsMax = 65536;
constexpr char kNoAddress[] = "no ADDRESS given";

struct PingOptions {
  EndpointOptions endpoint;
  std::string servers;                     // several, with commas
  const char* servers_from = "--servers";  // who says which
  std::string policy;                      // empty: the configuration's
  uint64_t count = 1000;
  uint64_t size = 64;
  uint64_t rate = 0;
  uint64_t outstanding = 1;
  uint64_t sessions = 0;
  absl::Duration timeout;  // zero: the configuration's
  std::string wire;        // empty: the configuration's
  bool as_json = false;
};

struct WireName {
  const char* name;
  config::Rpc::Wire wire;
};
constexpr WireName kWires[] = {{"auto", config::Rpc::AUTO},
                               {"original", config::Rpc::ORIGINAL},
                               {"extended", config::Rpc::EXTENDED}};

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

// A client that asks as the options say, and tells how it went when it ends.
class Pinger {
 public:
  Pinger(std::unique_ptr<rpc::Client> client, const Peer& server, Worker& worker,
         PingReport& report)
      : client_(std::move(client)),
        load_(*client_, server, report.load),
        progress_(worker.loop(), load_),
        report_(report) {
    load_.Start([&worker] { worker.Stop(); });
  }
  Pinger(std::unique_ptr<rpc::Client> client, std::unique_ptr<rpc::Balancer> balancer,
         Worker& worker, PingReport& report)
      : client_(std::move(client)),
        balancer_(std::move(balancer)),
        load_(*balancer_, report.load),
        progress_(worker.loop(), load_),
        report_(report) {
    load_.Start([&worker] { worker.Stop(); });
  }
  ~Pinger() {
    report_.stats = load_.stats();
    report_.latency = load_.latency().Snapshot();
    report_.first_error = load_.first_error();
    report_.Take(*client_, balancer_.get());
  }

 private:
  const std::unique_ptr<rpc::Client> client_;
  const std::unique_ptr<rpc::Balancer> balancer_;  // with several servers
  rpc::LoadGenerator load_;
  const Progress progress_;
  PingReport& report_;
};

absl::StatusOr<rpc::ClientOptions> ClientOptionsFor(const config::Config& config,
                                                    const PingOptions& options) {
  absl::StatusOr<rpc::ClientOptions> client = rpc::ClientOptions::From(config);
  if (!client.ok()) return client;
  if (options.timeout > absl::ZeroDuration()) client->timeout = options.timeout;
  client->outstanding_max = options.outstanding;
  client->session.sessions_max = std::max<size_t>(client->session.sessions_max, options.sessions);
  return client;
}

absl::StatusOr<std::shared_ptr<void>> StartPinger(Worker& worker, const Address& address,
                                                  const PingOptions& options, PingReport& report) {
  absl::StatusOr<rpc::ClientOptions> client_options = ClientOptionsFor(worker.config(), options);
  if (!client_options.ok()) return client_options.status();
  absl::StatusOr<std::unique_ptr<DatagramPort>> port = worker.OpenDatagramPort();
  if (!port.ok()) return port.status();
  absl::StatusOr<std::unique_ptr<rpc::Client>> client =
      rpc::Client::Create(worker.loop(), *std::move(port), *client_options);
  if (!client.ok()) return client.status();
  const auto show = [&worker](rpc::Client& client) {
    worker.Show(client.port());
    worker.Show(rpc::RegisterMetrics(worker.metrics(), client, worker.labels()));
    worker.Show("rpc", rpc::Description(client));
  };
  if (worker.config().rpc().servers_size() > 1) {
    absl::StatusOr<std::unique_ptr<rpc::Balancer>> balancer =
        rpc::Balancer::Create(**client, worker.config().rpc());
    if (!balancer.ok()) return balancer.status();
    show(**client);
    worker.Show(rpc::RegisterMetrics(worker.metrics(), **balancer, worker.labels()));
    worker.Show("rpc", rpc::Description(**balancer));
    return std::make_shared<Pinger>(*std::move(client), *std::move(balancer), worker, report);
  }
  absl::StatusOr<Peer> server = (*client)->Resolve(address);
  // Nobody there is the answer to this command, not a mistake in it.
  if (absl::IsNotFound(server.status())) {
    return absl::UnavailableError(server.status().message());
  }
  if (!server.ok()) return server.status();
  show(**client);
  return std::make_shared<Pinger>(*std::move(client), *server, worker, report);
}

absl::StatusOr<PingReport> Measure(Endpoint& endpoint, const PingOptions& options) {
  endpoint.config.mutable_host()->set_workers(1);
  ProvideBuffers(options.size, endpoint.config.mutable_transport());
  config::Rpc& rpc = *endpoint.config.mutable_rpc();
  for (const WireName& wire : kWires) {
    if (wire.name == options.wire) rpc.set_wire(wire.wire);
  }
  const std::string wire = kWires[rpc.wire()].name;
  if (options.sessions > 0 && rpc.wire() == config::Rpc::ORIGINAL) {
    return absl::InvalidArgumentError("--sessions: the original format has none");
  }
  if (options.sessions > 0 && rpc.servers_size() > 1) {
    return absl::InvalidArgumentError("--sessions: only with one server");
  }
  absl::StatusOr<std::unique_ptr<Host>> host = Host::Open(endpoint.config);
  if (!host.ok()) return host.status();
  PingReport report{.transport = endpoint.config.transport().name(),
                    .address = rpc.servers_size() > 1 ? absl::StrJoin(rpc.servers(), ",")
                                                      : endpoint.address.ToString(),
                    .wire = wire,
                    .load = {.request_bytes = options.size,
                             .outstanding_max = options.outstanding,
                             .rate_per_s = static_cast<double>(options.rate),
                             .count = options.count,
                             .sessions = options.sessions,
                             .give_up_after = kGiveUpAfter},
                    .policy = {},
                    .servers = {},
                    .stats = {},
                    .latency = {},
                    .first_error = {},
                    .client = {}};
  absl::Status status = (*host)->Run(
      [&](Worker& worker) { return StartPinger(worker, endpoint.address, options, report); });
  if (!status.ok()) return status;
  // The very first was refused on this side: it is the request that is wrong.
  if (report.stats.sent == 0 && !report.first_error.ok()) return report.first_error;
  return report;
}

absl::Status CheckPolicy(const std::string& name) {
  if (name.empty()) return absl::OkStatus();
  const auto policy = r2p2::MakePolicy(name, 0);
  return policy.ok()
             ? absl::OkStatus()
             : absl::InvalidArgumentError(absl::StrCat("--policy: ", policy.status().message()));
}

// Each an address of its own.
absl::StatusOr<std::vector<std::string>> ServersOf(const PingOptions& options) {
  const std::string& list = options.servers;
  std::vector<std::string> servers;
  if (list.empty()) return servers;
  absl::flat_hash_set<Address> seen;
  for (const absl::string_view entry : absl::StrSplit(list, ',')) {
    const auto wrong = [&](absl::string_view why) {
      return absl::InvalidArgumentError(absl::StrCat(
          options.servers_from, ": ", router::NameEntry(list, servers.size()), ": ", why));
    };
    const absl::StatusOr<Address> address = Address::Parse(entry);
    if (!address.ok()) return wrong(address.status().message());
    if (!seen.insert(*address).second) return wrong("is there twice; give each server once");
    servers.emplace_back(entry);
  }
  return servers;
}

// The address and a configuration with the servers: those of the command line; without any, those
// of a configuration that has a balancer.
absl::StatusOr<Endpoint> ChooseServers(PingOptions& options) {
  if (!options.endpoint.address.empty() && !options.servers.empty()) {
    return absl::InvalidArgumentError("ADDRESS and --servers: only one of them");
  }
  const absl::StatusOr<std::vector<std::string>> servers = ServersOf(options);
  if (!servers.ok()) return servers.status();
  if (absl::Status status = CheckPolicy(options.policy); !status.ok()) return status;
  const bool named = !options.endpoint.address.empty() || !servers->empty();
  if (!options.policy.empty() && named && servers->size() < 2) {
    return absl::InvalidArgumentError("--policy: there is one server only; give more by --servers");
  }
  if (!servers->empty()) options.endpoint.address = servers->front();
  absl::StatusOr<Endpoint> endpoint = ChooseEndpoint(options.endpoint);
  if (!endpoint.ok()) return endpoint;
  config::Rpc& rpc = *endpoint->config.mutable_rpc();
  if (!named) {
    if (!rpc.has_balancer() || rpc.servers().empty()) {
      return absl::InvalidArgumentError(kNoAddress);
    }
    // The transport was chosen for another address.
    options.servers = absl::StrJoin(rpc.servers(), ",");
    options.servers_from = "rpc.servers";
    return ChooseServers(options);
  }
  rpc.clear_servers();
  for (const std::string& server : *servers) rpc.add_servers(server);
  if (!options.policy.empty()) rpc.mutable_balancer()->set_policy(options.policy);
  return endpoint;
}

absl::Status CheckWire(const std::string& name) {
  std::vector<std::string> known;
  for (const WireName& wire : kWires) known.emplace_back(wire.name);
  if (name.empty() || std::find(known.begin(), known.end(), name) != known.end()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--wire: unknown format '", name, "'", Suggest(name, known)));
}

}  // namespace

int RpcPing(Arguments arguments) {
  PingOptions options;
  Flags flags("rpc ping",
              "Sends requests to a server and measures the time until each reply. The kind of the\n"
              "address chooses the transport if neither an option nor a configuration does.\n"
              "Exit status: 0 if all were answered, 1 if not, 2 if nothing could be sent.");
  flags.OptionalArgument("ADDRESS", "of the server, such as 127.0.0.1:7000, [::1]:7000 or shm:echo",
                         &options.endpoint.address);
  flags.Text("servers", "A,B,...",
             "instead of ADDRESS: several that do the same, of which each request goes to one\n"
             "                         (rpc.servers of a configuration that has rpc.balancer)",
             &options.servers);
  flags.Text("policy", "NAME",
             "by which servers are picked: one of "
             "affinity, jbsq, jsq, power_of_two,\n"
             "                         random, round_robin, weighted (rpc.balancer.policy: "
             "power_of_two)",
             &options.policy);
  flags.Number("count", "N", "requests in all; 0: until interrupted", &options.count, 0,
               UINT64_MAX);
  flags.Number("size", "BYTES", "payload of a request", &options.size, 0, kMessageBytesMax);
  flags.Number("rate", "N", "requests a second; 0: as fast as replies come", &options.rate, 0,
               1'000'000'000);
  flags.Number("outstanding", "N", "requests in flight at most", &options.outstanding, 1, 32768);
  flags.Duration("timeout",
                 "until a request counts as lost; the server is told that nobody waits for longer\n"
                 "                         (rpc.timeout_us of the configuration: 1s)",
                 &options.timeout);
  flags.Text("wire", "FORMAT",
             "'original', the 8-byte header of R2P2; 'extended', sessions that lose nothing; or\n"
             "                         'auto', extended if the server knows it (rpc.wire of the\n"
             "                         configuration: auto)",
             &options.wire);
  flags.Number("sessions", "N",
               "spread the requests over N sessions; 0: the one that a client has with each server",
               &options.sessions, 0, kSessionsMax);
  flags.Bool("json", "the summary for programs", &options.as_json);
  flags.Config(&options.endpoint.config, &options.endpoint.transport, &options.endpoint.plaintext);
  if (std::optional<int> status = flags.Parse(arguments)) return *status;
  if (absl::Status wire = CheckWire(options.wire); !wire.ok()) {
    return flags.UsageError(wire.message());
  }
  absl::StatusOr<Endpoint> endpoint = ChooseServers(options);
  if (endpoint.status().message() == kNoAddress) {
    return flags.UsageError(absl::StrCat(kNoAddress, "\nTry 'weft rpc ping --help'."));
  }
  const absl::StatusOr<PingReport> report =
      endpoint.ok() ? Measure(*endpoint, options) : endpoint.status();
  if (!report.ok()) {
    flags.Complain(report.status().message());
    return ExitStatus(report.status());
  }
  options.as_json ? PrintJson(*report) : PrintText(*report);
  return report->stats.unanswered() == 0 && report->stats.replies > 0 ? kExitOk : kExitFailed;
}

}  // namespace weft::cli
