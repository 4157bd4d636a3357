// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/death_workload.h"

#include <array>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/benchmarks/endpoint.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"

namespace weft::benchmarks {
namespace {

using Victim = DeathWorkload::Victim;

// What a call is given: that alone would not end it in time.
constexpr absl::Duration kCallTimeout = absl::Seconds(50);
constexpr size_t kOutstanding = 32;   // echoed at once, again and again
constexpr size_t kHeld = 8;           // which the server never answers
constexpr uint64_t kReplies = 1'000;  // before there is load
constexpr uint8_t kHold = 1;          // a request's first byte

// Of both sides. On a busy machine, a round trip takes so long that windows would close before
// there is load, which says nothing of deaths.
rpc::SessionOptions SessionWith(int64_t timeout_ns) {
  rpc::SessionOptions session;
  session.timeout = absl::Nanoseconds(timeout_ns);
  session.congestion.algorithm = "none";
  return session;
}

Task<void> EchoOrHold(rpc::ServerCall call) {
  const absl::Span<const uint8_t> request = call.request().front();
  if (!request.empty() && request[0] == kHold) co_await call.loop().Sleep(absl::Hours(1));
  (void)call.Reply(std::move(call.request()));
}

// Arguments: transport, address to listen at, the sessions' timeout in nanoseconds. Reports the
// port that it got, or 0; then, once a session is lost, the clock and what still executes.
absl::Status Serve(Peer& peer) {
  absl::StatusOr<Endpoint> endpoint =
      OpenEndpoint({.transport = peer.arguments()[0], .local = peer.arguments()[1]});
  if (!endpoint.ok()) return endpoint.status();
  Loop loop({.mode = LoopMode::kBusy}, RealClock());
  auto created = rpc::Server::Create(loop, std::move(endpoint->port),
                                     {.session = SessionWith(peer.Number(2))}, &EchoOrHold);
  if (!created.ok()) return created.status();
  rpc::Server& server = **created;
  server.set_session_events([&](const rpc::SessionEvent& event) {
    if (event.kind != rpc::SessionEvent::Kind::kLost) return;
    const int64_t now_ns = RealClock().NowNs();
    // Its handlers are ended in the same breath; they are counted after that.
    loop.Post([&peer, &server, now_ns] {
      peer.Report(static_cast<double>(now_ns));
      peer.Report(static_cast<double>(server.stats().executing.value()));
    });
  });
  peer.Report(server.port().local_address().port());
  loop.Run();
  return absl::OkStatus();
}

// Calls of one client to one server until they fail.
class Caller {
 public:
  Caller(Loop& loop, rpc::Client& client, const ::weft::Peer& server, Peer& control)
      : loop_(loop), client_(client), server_(server), control_(control) {}

  absl::Status Run() {
    for (size_t i = 0; i < kHeld; ++i) Call(kHold);
    for (size_t i = 0; i < kOutstanding; ++i) Call(0);
    if (status_.ok()) loop_.Run();
    return status_;
  }

 private:
  void Call(uint8_t first_byte) {
    std::array<uint8_t, 64> request = {first_byte};
    const absl::StatusOr<rpc::CallId> begun = client_.Call(
        server_, request, [this](const absl::StatusOr<BufferChain>& reply) { OnEnd(reply.ok()); });
    if (begun.ok()) {
      ++outstanding_;
      return;
    }
    status_ = begun.status();
    loop_.Stop();
  }

  // A failure is the server's death: it is not asked again.
  void OnEnd(bool ok) {
    --outstanding_;
    if (ok) {
      if (++replies_ == kReplies) control_.Report(0);
      return Call(0);
    }
    if (outstanding_ > 0) return;
    control_.Report(static_cast<double>(RealClock().NowNs()));
    control_.Report(static_cast<double>(client_.outstanding()));
    loop_.Stop();
  }

  Loop& loop_;
  rpc::Client& client_;
  const ::weft::Peer server_;
  Peer& control_;
  size_t outstanding_ = 0;
  uint64_t replies_ = 0;
  absl::Status status_;
};

// Arguments: transport, the server's address, the sessions' timeout in nanoseconds. Reports 0 once
// there is load; then, once all calls have failed, the clock and how many the client still has.
absl::Status Ask(Peer& peer) {
  absl::StatusOr<Address> address = Address::Parse(peer.arguments()[1]);
  if (!address.ok()) return address.status();
  absl::StatusOr<Endpoint> endpoint = OpenEndpoint({.transport = peer.arguments()[0]});
  if (!endpoint.ok()) return endpoint.status();
  Loop loop({.mode = LoopMode::kBusy}, RealClock());
  auto client = rpc::Client::Create(loop, std::move(endpoint->port),
                                    {.timeout = kCallTimeout,
                                     .wire = rpc::Wire::kExtended,
                                     .session = SessionWith(peer.Number(2))});
  if (!client.ok()) return client.status();
  absl::StatusOr<::weft::Peer> server = (*client)->Resolve(*address);
  if (!server.ok()) return server.status();
  return Caller(loop, **client, *server, peer).Run();
}

constexpr PeerRole kRoles[] = {{"death-server", &Serve}, {"death-client", &Ask}};

}  // namespace

absl::StatusOr<Death> MeasureDeath(const DeathWorkload& workload, const RpcOptions& options) {
  if (absl::Status here = TransportIsHere(workload.transport); !here.ok()) return here;
  const std::string listen = ListenAddress(workload.transport);
  const std::string timeout_ns = absl::StrCat(absl::ToInt64Nanoseconds(workload.timeout));
  const absl::Duration lifetime = kCallTimeout + kStartTimeout;
  auto server = PeerProcess::Start({.role = "death-server",
                                    .core = options.server_core,
                                    .arguments = {workload.transport, listen, timeout_ns},
                                    .lifetime = lifetime});
  if (!server.ok()) return server.status();
  const absl::StatusOr<double> port = (*server)->AwaitReport(kStartTimeout);
  if (!port.ok()) return port.status();
  auto client = PeerProcess::Start(
      {.role = "death-client",
       .core = options.client_core,
       .arguments = {workload.transport, ServerAddress(listen, *port), timeout_ns},
       .lifetime = lifetime});
  if (!client.ok()) return client.status();
  if (absl::StatusOr<double> load = (*client)->AwaitReport(kStartTimeout); !load.ok()) {
    return load.status();
  }

  const bool kill_server = workload.victim == Victim::kServer;
  std::unique_ptr<PeerProcess> victim = kill_server ? *std::move(server) : *std::move(client);
  PeerProcess& survivor = kill_server ? **client : **server;
  const int64_t killed_ns = RealClock().NowNs();
  victim.reset();
  const absl::StatusOr<double> noticed_ns =
      survivor.AwaitReport(10 * workload.timeout + kStartTimeout);
  if (!noticed_ns.ok()) return noticed_ns.status();
  const absl::StatusOr<double> left = survivor.AwaitReport(kStartTimeout);
  if (!left.ok()) return left.status();
  return Death{.noticed_ms = (*noticed_ns - static_cast<double>(killed_ns)) / 1e6, .left = *left};
}

absl::Span<const PeerRole> DeathRoles() { return kRoles; }

}  // namespace weft::benchmarks
