// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/overload_workload.h"

#include <array>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/benchmarks/endpoint.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/timer_wheel.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"

namespace weft::benchmarks {
namespace {

constexpr size_t kOutstandingToSaturate = 16;  // of each client
constexpr int64_t kRetryNs = 50'000;           // in a closed loop, after a refusal

// Arguments: transport, address to listen at, nanoseconds of work. Reports the port, or 0.
absl::Status Serve(Peer& peer) {
  absl::StatusOr<Endpoint> endpoint =
      OpenEndpoint({.transport = peer.arguments()[0], .local = peer.arguments()[1]});
  if (!endpoint.ok()) return endpoint.status();
  const int64_t work_ns = peer.Number(2);
  Loop loop({.mode = LoopMode::kBusy}, RealClock());
  auto server =
      rpc::Server::Create(loop, std::move(endpoint->port), {}, [work_ns](rpc::ServerCall call) {
        const int64_t end_ns = RealClock().NowNs() + work_ns;
        while (RealClock().NowNs() < end_ns) {
        }
        (void)call.Reply(std::move(call.request()));
      });
  if (!server.ok()) return server.status();
  peer.Report((*server)->port().local_address().port());
  loop.Run();
  return absl::OkStatus();
}

// Sends and counts.
class Load {
 public:
  struct Options {
    double rate_per_s;  // of all clients together; 0: closed loop
    int64_t deadline_ns;
    int64_t duration_ns;
  };

  Load(Loop& loop, const Options& options) : loop_(loop), options_(options) {}

  absl::Status AddClient(const std::string& transport, const Address& server) {
    absl::StatusOr<Endpoint> endpoint = OpenEndpoint({.transport = transport});
    if (!endpoint.ok()) return endpoint.status();
    Source& source = sources_.emplace_back();
    source.transport = std::move(endpoint->transport);
    auto client = rpc::Client::Create(
        loop_, std::move(endpoint->port),
        {.timeout = absl::Nanoseconds(options_.deadline_ns), .wire = rpc::Wire::kExtended});
    if (!client.ok()) return client.status();
    source.client = *std::move(client);
    absl::StatusOr<::weft::Peer> peer = source.client->Resolve(server);
    if (!peer.ok()) return peer.status();
    source.server = *peer;
    return absl::OkStatus();
  }

  // Replies in time a second, after a third of the duration to reach a steady state.
  double Run() {
    const int64_t now_ns = RealClock().NowNs();
    begin_ns_ = now_ns + options_.duration_ns / 3;
    end_ns_ = begin_ns_ + options_.duration_ns;
    due_ns_ = static_cast<double>(now_ns);
    if (options_.rate_per_s == 0) {
      for (size_t i = 0; i < sources_.size() * kOutstandingToSaturate; ++i) Send(now_ns);
    }
    loop_.timers().Schedule(timer_, now_ns);
    loop_.Run();
    return static_cast<double>(in_time_) * 1e9 / static_cast<double>(options_.duration_ns);
  }

 private:
  struct Source {
    std::unique_ptr<Transport> transport;
    std::unique_ptr<rpc::Client> client;
    ::weft::Peer server;
  };

  static void OnTimer(void* self, int64_t) { static_cast<Load*>(self)->Pump(); }

  void Pump() {
    const int64_t now_ns = RealClock().NowNs();
    if (now_ns >= end_ns_) return loop_.Stop();
    if (options_.rate_per_s == 0) {
      for (; refused_ > 0; --refused_) Send(now_ns);
      return loop_.timers().Schedule(timer_, now_ns + kRetryNs);
    }
    for (; due_ns_ <= static_cast<double>(now_ns); due_ns_ += 1e9 / options_.rate_per_s) {
      Send(static_cast<int64_t>(due_ns_));
    }
    loop_.timers().Schedule(timer_, static_cast<int64_t>(due_ns_));
  }

  // Those that are refused at once, on this side, are not in time either.
  void Send(int64_t due_ns) {
    Source& source = sources_[next_++ % sources_.size()];
    const absl::StatusOr<rpc::CallId> begun = source.client->Call(
        source.server, request_,
        [this, due_ns](const absl::StatusOr<BufferChain>& reply) { OnEnd(due_ns, reply.ok()); });
    if (!begun.ok() && options_.rate_per_s == 0) ++refused_;
  }

  void OnEnd(int64_t due_ns, bool ok) {
    const int64_t now_ns = RealClock().NowNs();
    const bool counts = now_ns >= begin_ns_ && now_ns < end_ns_;
    if (counts && ok && now_ns - due_ns <= options_.deadline_ns) ++in_time_;
    if (options_.rate_per_s > 0) return;
    if (ok) {
      Send(now_ns);
    } else {
      ++refused_;
    }
  }

  Loop& loop_;
  const Options options_;
  const std::array<uint8_t, 64> request_ = {};
  std::vector<Source> sources_;
  size_t next_ = 0;
  Timer timer_{&Load::OnTimer, this};
  int64_t begin_ns_ = 0;
  int64_t end_ns_ = 0;
  double due_ns_ = 0;
  uint64_t refused_ = 0;  // calls to be tried again
  uint64_t in_time_ = 0;
};

// Arguments: transport, the server's address, thousandths of a request a second, deadline and
// duration in nanoseconds, clients. Reports the goodput.
absl::Status Ask(Peer& peer) {
  absl::StatusOr<Address> address = Address::Parse(peer.arguments()[1]);
  if (!address.ok()) return address.status();
  Loop loop({.mode = LoopMode::kBusy}, RealClock());
  Load load(loop, {.rate_per_s = static_cast<double>(peer.Number(2)) / 1e3,
                   .deadline_ns = peer.Number(3),
                   .duration_ns = peer.Number(4)});
  for (int64_t i = 0; i < peer.Number(5); ++i) {
    if (absl::Status added = load.AddClient(peer.arguments()[0], *address); !added.ok()) {
      return added;
    }
  }
  peer.Report(load.Run());
  return absl::OkStatus();
}

constexpr PeerRole kRoles[] = {{"overload-server", &Serve}, {"overload-client", &Ask}};

}  // namespace

absl::StatusOr<double> MeasureGoodput(const OverloadWorkload& workload, const RpcOptions& options) {
  if (absl::Status here = TransportIsHere(workload.transport); !here.ok()) return here;
  const std::string listen = ListenAddress(workload.transport);
  const absl::Duration lifetime = 2 * options.duration + 3 * kStartTimeout;
  auto server =
      PeerProcess::Start({.role = "overload-server",
                          .core = options.server_core,
                          .arguments = {workload.transport, listen,
                                        absl::StrCat(absl::ToInt64Nanoseconds(workload.work))},
                          .lifetime = lifetime});
  if (!server.ok()) return server.status();
  const absl::StatusOr<double> port = (*server)->AwaitReport(kStartTimeout);
  if (!port.ok()) return port.status();
  auto client = PeerProcess::Start(
      {.role = "overload-client",
       .core = options.client_core,
       .arguments = {workload.transport, ServerAddress(listen, *port),
                     absl::StrCat(static_cast<int64_t>(workload.rate_per_s * 1e3)),
                     absl::StrCat(absl::ToInt64Nanoseconds(workload.deadline)),
                     absl::StrCat(absl::ToInt64Nanoseconds(options.duration)),
                     absl::StrCat(workload.clients)},
       .lifetime = lifetime});
  if (!client.ok()) return client.status();
  return (*client)->AwaitReport(2 * options.duration + kStartTimeout);
}

absl::Span<const PeerRole> OverloadRoles() { return kRoles; }

}  // namespace weft::benchmarks
