// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/http_turns.h"

#include <time.h>

#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "weft/benchmarks/virtio_end.h"
#include "weft/core/temp_directory.h"
#include "weft/examples/http/server_connection.h"
#include "weft/tcp/connections.h"

namespace weft::benchmarks {
namespace {

constexpr char kServerIp[] = "10.0.0.1";
constexpr char kClientIp[] = "10.0.0.2";
constexpr uint16_t kPort = 80;
constexpr int kConnections = 64;
constexpr size_t kPageBytes = 64;
constexpr absl::Duration kWarmUp = absl::Milliseconds(100);

// Of this thread.
int64_t CpuNs() {
  timespec now = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
}

// Keeps its connections asking.
class HttpLoad {
 public:
  HttpLoad(tcp::Connections& connections, bool new_connections)
      : connections_(connections),
        new_connections_(new_connections),
        server_(*Address::Parse(absl::StrCat(kServerIp, ":", kPort))),
        request_(absl::StrCat("GET /page.html HTTP/1.1\r\nHost: ", kServerIp,
                              "\r\nUser-Agent: weft\r\n",
                              new_connections ? "Connection: close\r\n" : "", "\r\n")) {}

  void Connect() {
    const absl::Status begun = connections_.Connect(server_, std::make_unique<Asker>(*this));
    failures_ += !begun.ok();
  }
  uint64_t answers() const { return answers_; }
  uint64_t failures() const { return failures_; }

 private:
  class Asker final : public tcp::ConnectionHandler {
   public:
    explicit Asker(HttpLoad& load) : load_(load) {}
    void OnConnected(tcp::Connection& connection) override { Ask(connection); }
    void OnData(tcp::Connection& connection) override {
      const absl::Span<const uint8_t> answer = connection.ReadView();
      const absl::string_view text(reinterpret_cast<const char*>(answer.data()), answer.size());
      // It fits a segment, so that it comes in one piece.
      const bool right = absl::StartsWith(text, "HTTP/1.1 200 ") &&
                         absl::EndsWith(text, std::string(kPageBytes, 'x'));
      ++(right ? load_.answers_ : load_.failures_);
      connection.Consume(answer.size());
      if (!load_.new_connections_) Ask(connection);
    }
    void OnClose(tcp::Connection&) override { load_.Connect(); }
    void OnReset(tcp::Connection&, int) override { ++load_.failures_; }

   private:
    void Ask(tcp::Connection& connection) {
      const std::string& request = load_.request_;
      connection.Send({reinterpret_cast<const uint8_t*>(request.data()), request.size()});
    }
    HttpLoad& load_;
  };

  tcp::Connections& connections_;
  const bool new_connections_;
  const Address server_;
  const std::string request_;
  uint64_t answers_ = 0;
  uint64_t failures_ = 0;
};

// Two rounds each: what has been received is answered in the second at the latest.
void TakeTurn(Loop& loop) {
  loop.RunOnce();
  loop.RunOnce();
}

absl::StatusOr<double> TakeTurns(VirtioEnd& server, VirtioEnd& client, const HttpLoad& load,
                                 int64_t duration_ns) {
  const int64_t begin_ns = CpuNs();
  const int64_t count_from_ns = begin_ns + absl::ToInt64Nanoseconds(kWarmUp);
  int64_t server_ns = 0;
  uint64_t before = 0;
  for (int64_t now_ns = begin_ns; now_ns < count_from_ns + duration_ns;) {
    TakeTurn(client.loop);
    const int64_t turn_ns = CpuNs();
    TakeTurn(server.loop);
    now_ns = CpuNs();
    if (now_ns < count_from_ns) {
      before = load.answers();
    } else {
      server_ns += now_ns - turn_ns;
    }
  }
  const uint64_t answers = load.answers() - before;
  if (answers == 0 || load.failures() > 0) {
    return absl::UnavailableError(
        absl::StrCat(answers, " answers and ", load.failures(), " failures"));
  }
  return static_cast<double>(answers) * 1e9 / static_cast<double>(server_ns);
}

// Arguments: 1 for new connections, the duration in nanoseconds. Reports requests a second.
absl::Status Run(Peer& peer) {
  const bool new_connections = peer.Number(0) != 0;
  const TempDirectory directory;
  std::ofstream(absl::StrCat(directory.path(), "/page.html")) << std::string(kPageBytes, 'x');
  const std::string wire = absl::StrCat(directory.path(), "/wire");
  VirtioEnd server;
  absl::Status status = server.Open(absl::StrCat("net_vhost0,iface=", wire), kServerIp);
  if (!status.ok()) return status;
  auto cache = http::FileCache::Open({.root = directory.path()});
  if (!cache.ok()) return cache.status();
  http::Site site(server.loop, **cache, {});
  const auto bound = server.connections->Listen(
      *Address::Parse(absl::StrCat(kServerIp, ":", kPort)), /*backlog=*/1024,
      [&site](tcp::Connection connection) {
        std::move(connection).Serve(std::make_unique<http::ServerConnection>(site));
      });
  if (!bound.ok()) return bound.status();
  VirtioEnd client;
  status = client.Open(absl::StrCat("net_virtio_user0,path=", wire), kClientIp);
  if (!status.ok()) return status;
  HttpLoad load(*client.connections, new_connections);
  for (int i = 0; i < kConnections; ++i) load.Connect();
  const absl::StatusOr<double> rate = TakeTurns(server, client, load, peer.Number(1));
  if (rate.ok()) peer.Report(*rate);
  // Handlers go before what they use.
  client.connections.reset();
  server.connections.reset();
  return rate.status();
}

constexpr char kRole[] = "http-turns";
constexpr PeerRole kRoles[] = {{kRole, &Run}};

}  // namespace

absl::StatusOr<double> MeasureHttpTurns(bool new_connections, int core, absl::Duration duration) {
  auto peer = PeerProcess::Start(
      {.role = kRole,
       .core = core,
       .arguments = {new_connections ? "1" : "0", absl::StrCat(absl::ToInt64Nanoseconds(duration))},
       .lifetime = 10 * duration + 3 * kStartTimeout});
  if (!peer.ok()) return peer.status();
  return (*peer)->AwaitReport(10 * duration + 2 * kStartTimeout);
}

absl::Span<const PeerRole> HttpTurnsRoles() { return kRoles; }

}  // namespace weft::benchmarks
