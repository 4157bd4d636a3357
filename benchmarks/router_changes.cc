// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/router_changes.h"

#include <fcntl.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "weft/benchmarks/endpoint.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/core/unique_fd.h"
#include "weft/host/http_client.h"
#include "weft/rpc/client.h"
#include "weft/rpc/load_generator.h"
#include "weft/rpc/server.h"

namespace weft::benchmarks {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(2);  // of the client, with each request
constexpr absl::Duration kLook = absl::Microseconds(500);
constexpr double kRatePerS = 5000;

// --- A server that echoes. Arguments: where to listen, where the router takes FEEDBACK. Reports
// its port.
absl::Status Serve(Peer& peer) {
  auto endpoint = OpenEndpoint({.transport = "linux", .local = peer.arguments()[0]});
  if (!endpoint.ok()) return endpoint.status();
  rpc::ServerOptions options;
  auto control = Address::Parse(peer.arguments()[1]);
  if (!control.ok()) return control.status();
  options.router.control = {*control};
  Loop loop({.mode = LoopMode::kSleep}, RealClock());
  auto server = rpc::Server::Create(
      loop, std::move(endpoint->port), options,
      [](rpc::ServerCall call) { (void)call.Reply(std::move(call.request())); });
  if (!server.ok()) return server.status();
  peer.Report((*server)->port().local_address().port());
  loop.Run();
  return absl::OkStatus();
}

// --- The client. Arguments: the router, nanoseconds. Reports 0 when replies come, and, after the
// time, how many were sent and how many failed.
Task<void> RunFor(Loop& loop, rpc::Client& client, ::weft::Peer router, Peer& peer,
                  rpc::LoadGenerator& load) {
  const std::vector<uint8_t> request(64);
  absl::Status status;
  for (int i = 0; i < 1000; ++i) {
    status = (co_await client.Call(router, request)).status();
    if (status.ok()) break;
    co_await loop.Sleep(absl::Milliseconds(5));
  }
  peer.Report(0);
  load.Start(nullptr);
  co_await loop.Sleep(absl::Nanoseconds(peer.Number(1)));
  load.Stop();
  while (!load.done()) co_await loop.Sleep(absl::Milliseconds(1));
  loop.Stop();
}

absl::Status Ask(Peer& peer) {
  auto router = Address::Parse(peer.arguments()[0]);
  if (!router.ok()) return router.status();
  auto endpoint = OpenEndpoint({.transport = "linux"});
  if (!endpoint.ok()) return endpoint.status();
  Loop loop({.mode = LoopMode::kSleep}, RealClock());
  auto client = rpc::Client::Create(
      loop, std::move(endpoint->port),
      {.timeout = kPatience, .outstanding_max = 16384, .wire = rpc::Wire::kOriginal});
  if (!client.ok()) return client.status();
  auto to = (*client)->Resolve(*router);
  if (!to.ok()) return to.status();
  rpc::LoadGenerator load(**client, *to,
                          {.outstanding_max = 16384, .rate_per_s = kRatePerS, .poisson_seed = 1});
  TaskGroup tasks;
  tasks.Spawn(RunFor(loop, **client, *to, peer, load));
  loop.Run();
  peer.Report(static_cast<double>(load.stats().sent));
  peer.Report(static_cast<double>(load.stats().unanswered()));
  return absl::OkStatus();
}

absl::Status BecomeRouter(Peer& peer) { return BecomeProgram(peer, "cli/router"); }

constexpr PeerRole kRoles[] = {
    {"changes-server", &Serve}, {"changes-client", &Ask}, {"changes-router", &BecomeRouter}};

// What the router tells of a server.
struct Seen {
  std::string state;
  double forwarded = 0;
};

// A router with servers and a configuration, which can change.
class Changing {
 public:
  Changing(std::string directory, const RpcOptions& options)
      : path_(directory + "/router.textproto"), options_(options) {}
  ~Changing() {
    if (out_[0] >= 0) close(out_[0]);
  }

  // Servers need to know where the router is, and the router where they are: it comes first, with
  // none of them.
  absl::Status Start(size_t servers) {
    Write({}, "jbsq");
    if (pipe2(out_, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe2");
    auto router = PeerProcess::Start({.role = "changes-router",
                                      .core = options_.server_core,
                                      .arguments = {"--config", path_},
                                      .shared_fd = out_[1],
                                      .lifetime = Lifetime()});
    close(std::exchange(out_[1], -1));
    if (!router.ok()) return router.status();
    router_ = *std::move(router);
    // "metrics at http://ADDRESS/metrics", "routing at ADDRESS (...), control at ADDRESS, ..."
    const auto metrics = ReadLineOf("router", out_[0]);
    if (!metrics.ok()) return metrics.status();
    const auto routing = ReadLineOf("router", out_[0]);
    if (!routing.ok()) return routing.status();
    http_ = Between(*metrics, "http://", "/");
    address_ = Between(*routing, "routing at ", " ");
    control_ = Between(*routing, "control at ", ",");
    for (size_t i = 0; i < servers; ++i) {
      if (absl::Status status = StartServer(i, "127.0.0.1:0"); !status.ok()) return status;
    }
    return Reload({0, 1, 2, 3}, "jbsq");
  }

  absl::Status StartServer(size_t index, const std::string& listen) {
    auto server = PeerProcess::Start({.role = "changes-server",
                                      .core = options_.client_core,
                                      .arguments = {listen, control_},
                                      .lifetime = Lifetime()});
    if (!server.ok()) return server.status();
    const auto port = (*server)->AwaitReport(kStartTimeout);
    if (!port.ok()) return port.status();
    servers_.resize(std::max(servers_.size(), index + 1));
    servers_[index] = {*std::move(server), absl::StrCat("127.0.0.1:", static_cast<int>(*port))};
    return absl::OkStatus();
  }
  // SIGKILL, and it is gone when this returns.
  void KillServer(size_t index) { servers_[index].process.reset(); }
  const std::string& server(size_t index) const { return servers_[index].address; }

  absl::Status StartClient(absl::Duration duration) {
    auto client = PeerProcess::Start(
        {.role = "changes-client",
         .core = options_.client_core,
         .arguments = {address_, absl::StrCat(absl::ToInt64Nanoseconds(duration))},
         .lifetime = Lifetime()});
    if (!client.ok()) return client.status();
    client_ = *std::move(client);
    return client_->AwaitReport(kStartTimeout).status();
  }
  PeerProcess& client() { return *client_; }

  // Has the router read a configuration with these servers, and waits until it has them.
  absl::Status Reload(const std::vector<size_t>& servers, const std::string& policy) {
    Write(servers, policy);
    kill(router_->pid(), SIGHUP);
    return Await([&] {
      for (const size_t index : servers) {
        const auto seen = Look(index);
        if (!seen.ok() || seen->state != "up") return false;
      }
      return true;
    });
  }

  absl::StatusOr<Seen> Look(size_t index) const {
    const auto page = HttpGet(http_, "/router?limit=1000");
    if (!page.ok()) return page.status();
    google::protobuf::Value json;
    if (!google::protobuf::util::JsonStringToMessage(page->body, &json).ok()) {
      return absl::DataLossError("/router is not JSON");
    }
    for (const auto& worker : json.list_value().values()) {
      for (const auto& item : worker.struct_value().fields().at("items").list_value().values()) {
        for (const auto& value : item.struct_value().fields().at("servers").list_value().values()) {
          const auto& fields = value.struct_value().fields();
          if (fields.at("address").string_value() != server(index)) continue;
          return Seen{fields.at("state").string_value(), fields.at("forwarded").number_value()};
        }
      }
    }
    return Seen{"gone", 0};
  }

  absl::Status Command(const std::string& command, size_t index) const {
    const auto host = HttpGet(http_, "/host");
    if (!host.ok()) return host.status();
    const auto reply = HttpPost(Between(host->body, "\"control\": \"", "\""),
                                absl::StrCat("/router/", command, "?address=", server(index)));
    if (!reply.ok()) return reply.status();
    return reply->status == 200 ? absl::OkStatus() : absl::UnavailableError(reply->body);
  }

  template <typename Condition>
  static absl::Status Await(Condition condition) {
    const absl::Time end = absl::Now() + kStartTimeout;
    while (!condition()) {
      if (absl::Now() > end) return absl::DeadlineExceededError("the router does not get there");
      absl::SleepFor(kLook);
    }
    return absl::OkStatus();
  }

 private:
  struct Server {
    std::unique_ptr<PeerProcess> process;
    std::string address;
  };

  absl::Duration Lifetime() const { return 4 * options_.duration + 4 * kStartTimeout; }

  static std::string Between(const std::string& text, const std::string& before,
                             const std::string& after) {
    const size_t begin = text.find(before);
    if (begin == std::string::npos) return "";
    const size_t from = begin + before.size();
    return text.substr(from, text.find(after, from) - from);
  }

  // In one piece: the router may read it at any time.
  void Write(const std::vector<size_t>& servers, const std::string& policy) const {
    std::string text = absl::StrCat(
        "transport { name: \"linux\" }\nmetrics { listen: \"0\" }\nlog { level: WARNING }\n",
        "router {\n  listen: \"127.0.0.1:0\"\n  control: \"127.0.0.1:0\"\n  policy: \"", policy,
        "\"\n  keepalive_us: ", absl::ToInt64Microseconds(kChangesKeepalive), "\n");
    for (const size_t index : servers) {
      absl::StrAppend(&text, "  servers { address: \"", server(index), "\" }\n");
    }
    std::ofstream(path_ + ".new") << text << "}\n";
    std::filesystem::rename(path_ + ".new", path_);
  }

  const std::string path_;
  const RpcOptions options_;
  int out_[2] = {-1, -1};
  std::string http_;
  std::string address_;
  std::string control_;
  std::unique_ptr<PeerProcess> router_;
  std::vector<Server> servers_;
  std::unique_ptr<PeerProcess> client_;
};

double MsSince(absl::Time begin) { return absl::ToDoubleMilliseconds(absl::Now() - begin); }

}  // namespace

absl::StatusOr<KilledServer> MeasureKilledServer(const std::string& directory,
                                                 const RpcOptions& options) {
  constexpr size_t kVictim = 1;
  Changing changing(directory, options);
  if (absl::Status status = changing.Start(4); !status.ok()) return status;
  // To the end, whenever that is: on a busy machine, a server takes seconds to start.
  if (absl::Status status = changing.StartClient(absl::Minutes(1)); !status.ok()) return status;
  absl::SleepFor(options.duration / 2);
  KilledServer result;
  const std::string address = changing.server(kVictim);
  changing.KillServer(kVictim);
  absl::Time begin = absl::Now();
  Seen seen;
  absl::Status status = changing.Await([&] {
    const auto look = changing.Look(kVictim);
    if (look.ok()) seen = *look;
    return look.ok() && look->state == "down";
  });
  if (!status.ok()) return status;
  result.detected_ms = MsSince(begin);
  absl::SleepFor(options.duration / 2);
  const auto later = changing.Look(kVictim);
  if (!later.ok()) return later.status();
  result.requests_after = later->forwarded - seen.forwarded;
  if (status = changing.StartServer(kVictim, address); !status.ok()) return status;
  begin = absl::Now();
  status = changing.Await([&] {
    const auto look = changing.Look(kVictim);
    return look.ok() && look->state == "up" && look->forwarded > later->forwarded;
  });
  if (!status.ok()) return status;
  result.used_again_ms = MsSince(begin);
  return result;
}

absl::StatusOr<ReloadedRouter> MeasureReload(const std::string& directory,
                                             const RpcOptions& options) {
  Changing changing(directory, options);
  if (absl::Status status = changing.Start(4); !status.ok()) return status;
  const absl::Duration duration = 4 * options.duration;
  if (absl::Status status = changing.StartClient(duration); !status.ok()) return status;
  ReloadedRouter result;
  const absl::Time end = absl::Now() + duration - options.duration / 2;
  const std::vector<size_t> all = {0, 1, 2, 3};
  while (absl::Now() < end) {
    for (const auto& [servers, policy] :
         {std::pair(std::vector<size_t>{0, 1, 2}, "jsq"), std::pair(all, "round_robin"),
          std::pair(std::vector<size_t>{3, 2}, "power_of_two"), std::pair(all, "jbsq")}) {
      if (absl::Status s = changing.Reload(servers, policy); !s.ok()) return s;
      ++result.reloads;
      absl::SleepFor(absl::Milliseconds(5));
    }
    if (absl::Status s = changing.Command("drain", 2); !s.ok()) return s;
    const absl::Status gone = changing.Await([&] {
      const auto seen = changing.Look(2);
      return seen.ok() && seen->state == "gone";
    });
    if (!gone.ok()) return gone;
    if (absl::Status s = changing.Command("add", 2); !s.ok()) return s;
    ++result.drains;
  }
  for (double* value : {&result.requests, &result.failed}) {
    const auto report = changing.client().AwaitReport(duration + kStartTimeout);
    if (!report.ok()) return report.status();
    *value = *report;
  }
  return result;
}

absl::Span<const PeerRole> ChangesRoles() { return kRoles; }

}  // namespace weft::benchmarks
