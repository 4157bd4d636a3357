// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/session_workload.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <fstream>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "weft/benchmarks/endpoint.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/prng.h"
#include "weft/core/timer_wheel.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"

namespace weft::benchmarks {
namespace {

constexpr absl::Duration kPassTimeout = absl::Seconds(60);  // for a call in each session
constexpr size_t kConnecting = 64;                          // at a time
constexpr size_t kIdleOutstanding = 32;
// So that a busy machine looks like no dead peer.
constexpr absl::Duration kSessionTimeout = absl::Minutes(2);
constexpr absl::Duration kReplyCacheTime = absl::Seconds(1);
// Until the server's sweep has passed all sessions since.
constexpr absl::Duration kIdle = absl::Seconds(4);

// Arguments: transport, address to listen at. Reports the port that it got, or 0. Echoes.
absl::Status Serve(Peer& peer) {
  absl::StatusOr<Endpoint> endpoint =
      OpenEndpoint({.transport = peer.arguments()[0], .local = peer.arguments()[1]});
  if (!endpoint.ok()) return endpoint.status();
  Loop loop({.mode = LoopMode::kBusy}, RealClock());
  auto server = rpc::Server::Create(
      loop, std::move(endpoint->port),
      {.session = {.timeout = kSessionTimeout}, .reply_cache_time = kReplyCacheTime},
      [](rpc::ServerCall call) { (void)call.Reply(std::move(call.request())); });
  if (!server.ok()) return server.status();
  peer.Report((*server)->port().local_address().port());
  loop.Run();
  return absl::OkStatus();
}

// Sessions of one client, and calls in them.
class Sessions {
 public:
  Sessions(Loop& loop, rpc::Client& client, const ::weft::Peer& server)
      : loop_(loop), client_(client), server_(server) {
    client.set_session_events([this](const rpc::SessionEvent& event) { OnEvent(event); });
  }

  // Opens so many, and mixes them.
  absl::Status Open(size_t count) {
    wanted_ = count;
    for (size_t i = 0; i < std::min(count, kConnecting); ++i) Connect();
    RunUntilDone();
    Prng random(1);
    for (size_t i = sessions_.size(); i > 1; --i) {
      std::swap(sessions_[i - 1], sessions_[random.Below(i)]);
    }
    return status_;
  }

  // Makes `count` calls, `outstanding` at a time; 0: for `duration_ns`. Returns how many were
  // answered.
  absl::StatusOr<uint64_t> Call(uint64_t count, size_t outstanding, int64_t duration_ns) {
    left_ = count > 0 ? count : UINT64_MAX;
    replies_ = 0;
    over_ = false;
    if (count == 0) loop_.timers().Schedule(over_timer_, RealClock().NowNs() + duration_ns);
    for (size_t i = 0; i < outstanding && left_ > 0; ++i) CallNext();
    RunUntilDone();
    if (!status_.ok()) return status_;
    return replies_;
  }

  void Sleep(absl::Duration duration) {
    over_ = true;
    loop_.timers().Schedule(over_timer_, RealClock().NowNs() + absl::ToInt64Nanoseconds(duration));
    RunUntilDone();
  }

 private:
  // A loop that was stopped does not run again.
  void RunUntilDone() {
    done_ = false;
    while (!done_ && status_.ok()) loop_.RunOnce();
  }

  void Fail(const absl::Status& status) {
    if (status_.ok()) status_ = status;
  }

  void Connect() {
    absl::StatusOr<rpc::SessionId> session = client_.Connect(server_);
    if (!session.ok()) return Fail(session.status());
    sessions_.push_back(*session);
  }

  void OnEvent(const rpc::SessionEvent& event) {
    if (event.kind != rpc::SessionEvent::Kind::kOpened) {
      return Fail(absl::UnavailableError(
          absl::StrCat("a session was refused or lost after ", open_, " were opened")));
    }
    if (sessions_.size() < wanted_) Connect();
    if (++open_ == wanted_) done_ = true;
  }

  void CallNext() {
    --left_;
    const rpc::SessionId session = sessions_[next_++ % sessions_.size()];
    const absl::StatusOr<rpc::CallId> begun =
        client_.Call(session, request_, [this](const absl::StatusOr<BufferChain>& reply) {
          --outstanding_;
          if (!reply.ok()) return Fail(reply.status());
          if (!over_) ++replies_;
          if (!over_ && left_ > 0) {
            CallNext();
          } else if (outstanding_ == 0) {
            done_ = true;
          }
        });
    if (!begun.ok()) return Fail(begun.status());
    ++outstanding_;
  }

  static void OnOver(void* self, int64_t) {
    auto& sessions = *static_cast<Sessions*>(self);
    sessions.over_ = true;
    if (sessions.outstanding_ == 0) sessions.done_ = true;
  }

  Loop& loop_;
  rpc::Client& client_;
  const ::weft::Peer server_;
  const std::array<uint8_t, 64> request_ = {};
  std::vector<rpc::SessionId> sessions_;
  size_t wanted_ = 0;
  size_t open_ = 0;
  size_t next_ = 0;
  size_t outstanding_ = 0;
  uint64_t left_ = 0;
  uint64_t replies_ = 0;
  bool over_ = false;  // no more calls
  bool done_ = false;
  Timer over_timer_{&Sessions::OnOver, this};
  absl::Status status_;
};

// Arguments: transport, the server's address, sessions, outstanding, duration in nanoseconds (0:
// idle sessions). Reports replies a second or, for idle sessions, how many were answered, twice.
absl::Status Ask(Peer& peer) {
  absl::StatusOr<Address> address = Address::Parse(peer.arguments()[1]);
  if (!address.ok()) return address.status();
  absl::StatusOr<Endpoint> endpoint = OpenEndpoint({.transport = peer.arguments()[0]});
  if (!endpoint.ok()) return endpoint.status();
  Loop loop({.mode = LoopMode::kBusy}, RealClock());
  auto client = rpc::Client::Create(loop, std::move(endpoint->port),
                                    {.timeout = absl::Seconds(10),
                                     .wire = rpc::Wire::kExtended,
                                     .session = {.timeout = kSessionTimeout}});
  if (!client.ok()) return client.status();
  absl::StatusOr<::weft::Peer> server = (*client)->Resolve(*address);
  if (!server.ok()) return server.status();

  Sessions sessions(loop, **client, *server);
  const auto count = static_cast<uint64_t>(peer.Number(2));
  const auto outstanding = static_cast<size_t>(peer.Number(3));
  const int64_t duration_ns = peer.Number(4);
  if (absl::Status open = sessions.Open(count); !open.ok()) return open;
  absl::StatusOr<uint64_t> replies = sessions.Call(count, outstanding, 0);
  if (!replies.ok()) return replies.status();
  if (duration_ns > 0) {
    replies = sessions.Call(0, outstanding, duration_ns);
    if (!replies.ok()) return replies.status();
    peer.Report(static_cast<double>(*replies) * 1e9 / static_cast<double>(duration_ns));
    return absl::OkStatus();
  }
  peer.Report(static_cast<double>(*replies));
  sessions.Sleep(kIdle + kReplyCacheTime);
  replies = sessions.Call(count, outstanding, 0);
  if (!replies.ok()) return replies.status();
  peer.Report(static_cast<double>(*replies));
  return absl::OkStatus();
}

constexpr PeerRole kRoles[] = {{"sessions-server", &Serve}, {"sessions-client", &Ask}};

struct Pair {
  std::unique_ptr<PeerProcess> server;
  std::string address;
};

absl::StatusOr<Pair> StartServer(const std::string& transport, const RpcOptions& options) {
  if (absl::Status here = TransportIsHere(transport); !here.ok()) return here;
  const std::string listen = ListenAddress(transport);
  auto server = PeerProcess::Start({.role = "sessions-server",
                                    .core = options.server_core,
                                    .arguments = {transport, listen},
                                    .lifetime = options.duration + 4 * kPassTimeout});
  if (!server.ok()) return server.status();
  const absl::StatusOr<double> port = (*server)->AwaitReport(kStartTimeout);
  if (!port.ok()) return port.status();
  return Pair{*std::move(server), ServerAddress(listen, *port)};
}

absl::StatusOr<std::unique_ptr<PeerProcess>> StartClient(const std::string& address,
                                                         const SessionWorkload& workload,
                                                         absl::Duration duration,
                                                         const RpcOptions& options) {
  return PeerProcess::Start(
      {.role = "sessions-client",
       .core = options.client_core,
       .arguments = {workload.transport, address, absl::StrCat(workload.sessions),
                     absl::StrCat(workload.outstanding),
                     absl::StrCat(absl::ToInt64Nanoseconds(duration))},
       .lifetime = duration + 3 * kPassTimeout});
}

double ResidentBytes(pid_t pid) {
  double pages = 0;
  double resident = 0;
  std::ifstream(absl::StrCat("/proc/", pid, "/statm")) >> pages >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

}  // namespace

absl::StatusOr<double> MeasureActiveSessions(const SessionWorkload& workload,
                                             const RpcOptions& options) {
  absl::StatusOr<Pair> pair = StartServer(workload.transport, options);
  if (!pair.ok()) return pair.status();
  auto client = StartClient(pair->address, workload, options.duration, options);
  if (!client.ok()) return client.status();
  return (*client)->AwaitReport(options.duration + kPassTimeout);
}

absl::StatusOr<IdleSessions> MeasureIdleSessions(const SessionWorkload& workload,
                                                 const RpcOptions& options) {
  absl::StatusOr<Pair> pair = StartServer(workload.transport, options);
  if (!pair.ok()) return pair.status();
  // What a server takes once it has served at all does not count.
  {
    auto few = StartClient(pair->address, {workload.transport, kIdleOutstanding, kIdleOutstanding},
                           options.duration, options);
    if (!few.ok()) return few.status();
    const absl::StatusOr<double> rate = (*few)->AwaitReport(options.duration + kPassTimeout);
    if (!rate.ok()) return rate.status();
  }
  const double before = ResidentBytes(pair->server->pid());
  auto client =
      StartClient(pair->address, {workload.transport, workload.sessions, kIdleOutstanding},
                  absl::ZeroDuration(), options);
  if (!client.ok()) return client.status();
  const absl::StatusOr<double> first = (*client)->AwaitReport(kPassTimeout);
  if (!first.ok()) return first.status();
  absl::SleepFor(kIdle);
  const double after = ResidentBytes(pair->server->pid());
  const absl::StatusOr<double> second = (*client)->AwaitReport(kIdle + kPassTimeout);
  if (!second.ok()) return second.status();
  const auto sessions = static_cast<double>(workload.sessions);
  return IdleSessions{.bytes = (after - before) / sessions, .served = *second / sessions};
}

absl::Span<const PeerRole> SessionRoles() { return kRoles; }

}  // namespace weft::benchmarks
