// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/http_workload.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/substitute.h"
#include "absl/time/clock.h"
#include "weft/core/unique_fd.h"
#include "weft/host/http_client.h"
#include "weft/tools/testnet/testnet.h"

namespace weft::benchmarks {
namespace {

using testnet::Namespace;
using testnet::Process;

constexpr absl::Duration kStartTimeout = absl::Seconds(30);
constexpr int kConnections = 64;
constexpr char kServerIp[] = "10.0.0.1";
constexpr char kClientIp[] = "10.0.0.2";
constexpr char kPage[] = "page.html";

// nginx as it is fastest for such a page on one core, nothing written to the disk.
constexpr char kNginxSettings[] = R"(daemon off;
master_process off;
pid nginx.pid;
error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  keepalive_requests 1000000000;
  open_file_cache max=100;
  sendfile on;
  tcp_nopush on;
  types { text/html html; }
  server { listen $0 backlog=1024; root $1; }
}
)";

absl::Status NotInstalled(const std::string& what) {
  return absl::UnimplementedError(absl::StrCat("not installed: ", what, "; run tools/setup --dev"));
}

bool IsInstalled(const std::string& program) {
  for (const char* folder : {"/usr/sbin/", "/usr/bin/", "/sbin/", "/usr/local/bin/"}) {
    if (access(absl::StrCat(folder, program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

// A program of the build's output, in which this one lies too.
std::string ProgramPath(const std::string& program) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return self.parent_path().parent_path() / program;
}

// Of 127.0.0.1; nobody's at the moment.
int FreePort() {
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  const bool found = bind(fd.get(), any, length) == 0 && getsockname(fd.get(), any, &length) == 0;
  return found ? ntohs(address.sin_port) : 0;
}

double CpuSeconds(pid_t pid) {
  double sum_ns = 0;
  std::error_code error;
  for (const auto& task :
       std::filesystem::directory_iterator(absl::StrCat("/proc/", pid, "/task"), error)) {
    double ns = 0;
    std::ifstream(task.path() / "schedstat") >> ns;
    sum_ns += ns;
  }
  return sum_ns / 1e9;
}

// The sum of a counter of a host that serves its metrics at `address`; 0 where nobody answers.
double CounterOf(const std::string& address, absl::string_view name) {
  const absl::StatusOr<HttpReply> reply = HttpGet(address, "/metrics");
  double sum = 0;
  if (!reply.ok()) return sum;
  for (const absl::string_view line : absl::StrSplit(reply->body, '\n')) {
    double value = 0;
    if (!absl::StartsWith(line, name)) continue;
    if (absl::SimpleAtod(line.substr(line.rfind(' ') + 1), &value)) sum += value;
  }
  return sum;
}

// What the load has printed: "N requests in ...".
absl::StatusOr<double> RequestsIn(const std::string& output) {
  double requests = 0;
  for (const absl::string_view line : absl::StrSplit(output, '\n')) {
    const size_t at = line.find(" requests in ");
    if (at != absl::string_view::npos) (void)absl::SimpleAtod(line.substr(0, at), &requests);
  }
  const bool refused =
      absl::StrContains(output, "Non-2xx") ||
      (absl::StrContains(output, " answers of 400") && !absl::StrContains(output, ", 0 answers"));
  if (requests > 0 && !refused) return requests;
  return absl::UnavailableError(absl::StrCat("the load has failed: ", output));
}

}  // namespace

std::string HttpCase::Name() const {
  constexpr const char* kServers[] = {"nginx", "httpd", "lwIP", "lwIP in one thread"};
  constexpr const char* kPaths[] = {"loopback", "veth", "TAP", "virtio-user"};
  std::string path = kPaths[static_cast<int>(this->path)];
  if (this->path == HttpPath::kVeth && server == HttpServer::kHttpd) path = "AF_XDP on veth";
  return absl::StrCat(kServers[static_cast<int>(server)], " over ", path,
                      new_connections ? ", new connections" : "");
}

// One measurement: a network, a server, a load.
class HttpWorkload::Run {
 public:
  Run(const HttpCase& what, const HttpOptions& options, const std::string& directory)
      : what_(what), options_(options), directory_(directory) {}
  ~Run() {
    server_.reset();
    if (client_net_) (void)client_net_->Run("ip link del client0");
    std::error_code error;
    std::filesystem::remove(SocketPath(), error);
  }

  absl::StatusOr<HttpFigures> Measure() {
    if (absl::Status status = MakeNetwork(); !status.ok()) return status;
    if (absl::Status status = StartServer(); !status.ok()) return status;
    const double busy_before = BusySeconds();
    const double cpu_before = CpuSeconds(server_->pid());
    const absl::Time begin = absl::Now();
    const absl::StatusOr<double> requests = Load();
    const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
    const double cpu_s = CpuSeconds(server_->pid()) - cpu_before;
    // Others that have the core meanwhile have it in rounds of both kinds.
    const double busy = NeverSleeps() ? (BusySeconds() - busy_before) / seconds : 1;
    if (!requests.ok()) return requests.status();
    return HttpFigures{.requests_per_s = *requests / seconds,
                       .requests_per_cpu_s = *requests / (cpu_s * busy),
                       .idle_percent = 100 * (1 - busy)};
  }

 private:
  bool NeverSleeps() const { return what_.path == HttpPath::kVirtioUser; }
  bool ServerIsKernels() const { return what_.server == HttpServer::kNginx; }
  std::string SocketPath() const { return absl::StrCat(directory_, "/wire"); }
  std::string ServerAddress() const {
    if (what_.path == HttpPath::kLoopback) return absl::StrCat("127.0.0.1:", port_);
    return absl::StrCat(kServerIp, ":80");
  }

  absl::Status MakeNetwork() {
    if (what_.path == HttpPath::kLoopback) port_ = FreePort();
    if (what_.path == HttpPath::kLoopback || what_.path == HttpPath::kVirtioUser) {
      return absl::OkStatus();
    }
    if (geteuid() != 0) return absl::UnimplementedError("makes networks: run as root");
    if (!IsInstalled("ethtool")) return NotInstalled("ethtool");
    for (std::optional<Namespace>* place : {&server_net_, &client_net_}) {
      absl::StatusOr<Namespace> made = Namespace::Make();
      if (!made.ok()) return absl::UnimplementedError(made.status().message());
      place->emplace(*std::move(made));
    }
    if (what_.path == HttpPath::kTap) return absl::OkStatus();
    absl::Status status = testnet::MakeVeth(*client_net_, "client0", *server_net_, "server0");
    if (status.ok()) status = Address();
    if (status.ok() && ServerIsKernels()) {
      status = server_net_->Ip(absl::StrCat("addr add ", kServerIp, "/24 dev server0"));
    }
    // AF_XDP is not told that a checksum was left to a device.
    if (status.ok() && !client_net_->Run("ethtool -K client0 tx off").ok()) {
      status = absl::UnavailableError("`ethtool -K client0 tx off` has failed");
    }
    return status;
  }

  absl::Status Address() {
    return client_net_->Ip(
        absl::StrCat("addr add ", kClientIp, "/24 dev client0 && ip link set client0 up"));
  }

  std::string Pinned(int core, const std::string& command) const {
    return absl::StrCat("exec taskset -c ", core, " ", command);
  }

  absl::Status StartServer() {
    std::string command;
    switch (what_.server) {
      case HttpServer::kNginx:
        if (!IsInstalled("nginx")) return NotInstalled("nginx-light");
        Write("nginx.conf", absl::Substitute(kNginxSettings, ServerAddress(), directory_));
        command = absl::StrCat("nginx -p ", directory_, " -c ", directory_, "/nginx.conf");
        break;
      case HttpServer::kLwip:
      case HttpServer::kLwipOneThread:
        command = absl::StrCat(ProgramPath("benchmarks/lwip/lwip_httpd"), " client0 ", kServerIp,
                               " ", directory_, "/", kPage,
                               what_.server == HttpServer::kLwip ? "" : " one-thread");
        break;
      case HttpServer::kHttpd:
        Write("httpd.textproto", HttpdSettings());
        command = absl::StrCat(ProgramPath("examples/httpd"), " --config ", directory_,
                               "/httpd.textproto");
        break;
    }
    command = Pinned(options_.server_core, command);
    // A TAP device's other end is where it was made.
    const std::optional<Namespace>& place =
        what_.path == HttpPath::kTap ? client_net_ : server_net_;
    server_ = std::make_unique<Process>(place ? place->Start(command) : Process::Start(command));
    if (absl::Status status = AwaitServer(); !status.ok()) return status;
    return what_.path == HttpPath::kTap ? Address() : absl::OkStatus();
  }

  absl::Status AwaitServer() {
    const std::string pid_file = absl::StrCat(directory_, "/nginx.pid");
    const absl::Time end = absl::Now() + kStartTimeout;
    while (absl::Now() < end) {
      const bool listens = what_.server == HttpServer::kNginx
                               ? access(pid_file.c_str(), F_OK) == 0
                               : absl::StrContains(server_->Output(), "listening");
      if (listens) {
        std::filesystem::remove(pid_file);
        return absl::OkStatus();
      }
      if (absl::StrContains(server_->Output(), "not installed")) {
        return absl::UnimplementedError(absl::StripAsciiWhitespace(server_->Output()));
      }
      absl::SleepFor(absl::Milliseconds(10));
    }
    return absl::UnavailableError(
        absl::StrCat(what_.Name(), ": the server did not start: ", server_->Output()));
  }

  std::string HttpdSettings() {
    metrics_ = absl::StrCat("127.0.0.1:", FreePort());
    std::string transport;
    switch (what_.path) {
      case HttpPath::kLoopback:
        transport = "name: 'linux'";
        break;
      case HttpPath::kVeth:
        transport = "name: 'afxdp' afxdp { interface: 'server0' }";
        break;
      case HttpPath::kTap:
        transport = "name: 'linux' linux { tap { interface: 'client0' } }";
        break;
      case HttpPath::kVirtioUser:
        transport = absl::StrCat("name: 'dpdk' dpdk { huge_pages: NEVER virtual_devices: ",
                                 "'net_vhost0,iface=", SocketPath(), "' }");
        break;
    }
    return absl::StrCat("transport { ", transport, " }\n",
                        what_.path == HttpPath::kLoopback
                            ? ""
                            : absl::StrCat("netstack { addresses: '", kServerIp, "/24' }\n"),
                        // nginx sleeps as soon as there is nothing to do.
                        what_.path == HttpPath::kLoopback || what_.path == HttpPath::kVeth
                            ? "host { loop { mode: SLEEP } }\n"
                            : "",
                        NeverSleeps() ? absl::StrCat("metrics { listen: '", metrics_, "' }\n") : "",
                        "security { plaintext { } }\n", "httpd { root: '", directory_,
                        "' listen: '", ServerAddress(), "' }\n");
  }

  double BusySeconds() const {
    return NeverSleeps() ? CounterOf(metrics_, "weft_loop_busy_ns_total") / 1e9 : 0;
  }

  absl::StatusOr<double> Load() {
    std::string command;
    const std::string url = absl::StrCat("http://", ServerAddress(), "/", kPage);
    const bool by_wrk = !NeverSleeps() && !what_.new_connections;
    if (by_wrk) {
      if (!IsInstalled("wrk")) return NotInstalled("wrk");
      command =
          absl::StrCat("wrk -t1 -c", kConnections, " -d",
                       std::max<int64_t>(absl::ToInt64Seconds(options_.duration), 1), " ", url);
    } else {
      Write(
          "client.textproto",
          absl::StrCat(NeverSleeps()
                           ? absl::StrCat("transport { name: 'dpdk' dpdk { huge_pages: NEVER ",
                                          "virtual_devices: 'net_virtio_user0,path=", SocketPath(),
                                          "' } }\nnetstack { addresses: '", kClientIp, "/24' }\n")
                           : "transport { name: 'linux' }\n",
                       "host { loop { mode: BUSY } }\nsecurity { plaintext { } }\n"));
      command = absl::StrCat(ProgramPath("examples/http_client"), " --config ", directory_,
                             "/client.textproto --connections ", kConnections, " --duration ",
                             absl::FormatDuration(options_.duration),
                             what_.new_connections ? " --close " : " ", url);
    }
    command = Pinned(options_.client_core, command);
    const absl::Duration patience = options_.duration + kStartTimeout;
    return RequestsIn(client_net_ ? client_net_->Run(command, patience).output
                                  : Process::Start(command).Wait(patience).output);
  }

  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(absl::StrCat(directory_, "/", name)) << text;
  }

  const HttpCase what_;
  const HttpOptions options_;
  const std::string directory_;
  std::optional<Namespace> client_net_;
  std::optional<Namespace> server_net_;
  int port_ = 0;  // over loopback
  std::string metrics_;
  std::unique_ptr<Process> server_;
};

absl::StatusOr<std::unique_ptr<HttpWorkload>> HttpWorkload::Make() {
  auto workload = std::make_unique<HttpWorkload>();
  std::ofstream page(absl::StrCat(workload->directory_.path(), "/", kPage));
  page << std::string(64, 'x');
  if (page.flush()) return workload;
  return absl::UnavailableError(absl::StrCat("cannot write to ", workload->directory_.path()));
}

absl::StatusOr<HttpFigures> HttpWorkload::Measure(const HttpCase& what,
                                                  const HttpOptions& options) {
  return Run(what, options, directory_.path()).Measure();
}

}  // namespace weft::benchmarks
