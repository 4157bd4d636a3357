// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/service_workload.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/benchmarks/endpoint.h"
#include "weft/benchmarks/service_echo.weft.h"
#include "weft/core/clock.h"
#include "weft/core/histogram.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/rpc/client.h"
#include "weft/rpc/security/security.h"
#include "weft/rpc/service/call_observers.h"
#include "weft/rpc/service/channel.h"
#include "weft/rpc/service/service_server.h"
#include "weft/rpc/trace/span_writer.h"
#include "weft/rpc/trace/tracer.h"

namespace weft::benchmarks {
namespace {

using Guise = ServiceWorkload::Guise;
using Kind = ServiceWorkload::Kind;

constexpr size_t kSmallBytes = 64;
constexpr size_t kOutstanding = 32;
constexpr size_t kLongBytes = size_t{8} << 20;
// Long messages that are sent in turn are more than caches hold.
constexpr size_t kLongMessages = 16;
constexpr uint32_t kBuffersForLong = 16384;  // half of which may hold one long message
constexpr double kSampleRatio = 0.01;

class EchoServer final : public EchoService {
  Task<absl::Status> Call(rpc::ServerContext&, const EchoMessage& request,
                          EchoMessage* response) override {
    response->set_payload(request.payload());
    co_return absl::OkStatus();
  }
  Task<absl::Status> CallRaw(rpc::ServerContext&, BufferChain& request,
                             rpc::Payload* response) override {
    *response = rpc::Payload(std::move(request));
    co_return absl::OkStatus();
  }
  Task<absl::Status> Stream(rpc::ServerContext&, const EchoMessage& request,
                            rpc::ServerWriter<EchoMessage>& messages) override {
    bool wanted = true;  // GCC 12 makes an illegal instruction of co_await before an empty body.
    while (wanted) wanted = co_await messages.Write(request);
    co_return absl::OkStatus();
  }
};

// Null for plain text. `side`: server or client.
absl::StatusOr<std::shared_ptr<const rpc::Security>> SecurityOf(Guise guise,
                                                                const std::string& directory,
                                                                const std::string& side) {
  if (guise != Guise::kTls) return rpc::Plaintext();
  config::Security config;
  config::X509& x509 = *config.mutable_x509();
  x509.set_ca_file(absl::StrCat(directory, "/ca.pem"));
  x509.set_certificate_file(absl::StrCat(directory, "/", side, ".pem"));
  x509.set_private_key_file(absl::StrCat(directory, "/", side, ".key"));
  if (side == "client") x509.set_server_name("localhost");
  return rpc::Security::Open(config);
}

// Those of a worker of weft::Host whose configuration asks for them.
class Observers {
 public:
  absl::Status Open(Guise guise, const std::string& directory, const std::string& side,
                    const Clock& clock) {
    if (guise != Guise::kObserved) return absl::OkStatus();
    auto writer = rpc::SpanWriter::Start(
        {.file = absl::StrCat(directory, "/", side, "-spans.jsonl"), .service_name = side});
    if (!writer.ok()) return writer.status();
    tracer_ = std::make_unique<rpc::Tracer>(*std::move(writer), clock,
                                            rpc::TracerOptions{.sample_ratio = kSampleRatio});
    observers_ = {.methods = &methods_, .tracer = tracer_.get()};
    return absl::OkStatus();
  }
  const rpc::CallObservers& observers() const { return observers_; }

 private:
  rpc::MethodTable methods_;
  std::unique_ptr<rpc::Tracer> tracer_;
  rpc::CallObservers observers_;
};

uint32_t BuffersFor(Kind kind) { return kind == Kind::kBandwidth ? kBuffersForLong : 0; }

// Arguments: transport, address to listen at, kind, guise, directory. Reports the port that it got,
// or 0.
absl::Status Serve(Peer& peer) {
  absl::StatusOr<Endpoint> endpoint =
      OpenEndpoint({.transport = peer.arguments()[0],
                    .local = peer.arguments()[1],
                    .buffers = BuffersFor(static_cast<Kind>(peer.Number(2)))});
  if (!endpoint.ok()) return endpoint.status();
  const auto guise = static_cast<Guise>(peer.Number(3));
  auto security = SecurityOf(guise, peer.arguments()[4], "server");
  if (!security.ok()) return security.status();
  Loop loop({.mode = LoopMode::kBusy}, RealClock());
  Observers observers;
  if (auto opened = observers.Open(guise, peer.arguments()[4], "server", loop.clock());
      !opened.ok()) {
    return opened;
  }
  EchoServer echo;
  auto server = rpc::ServiceServer::Create(loop, std::move(endpoint->port),
                                           {.security = *std::move(security)},
                                           {.observers = observers.observers()}, {&echo});
  if (!server.ok()) return server.status();
  peer.Report((*server)->server().port().local_address().port());
  loop.Run();
  return absl::OkStatus();
}

// What the coroutines that keep calling have in common.
struct Load {
  Load(EchoClient& echo, Loop& loop) : echo(echo), loop(loop), clock(loop.clock()) {}

  EchoClient& echo;
  Loop& loop;
  const Clock& clock;
  Histogram latency;  // ns
  uint64_t ended = 0;
  bool stop = false;
  size_t running = 0;
  absl::Status error;
};

absl::Status CheckSize(const absl::Status& status, size_t size, size_t wanted) {
  if (!status.ok() || size == wanted) return status;
  return absl::InternalError("a response of another size");
}

Task<void> KeepCalling(Load& load) {
  EchoMessage request, response;
  request.set_payload(std::string(kSmallBytes, 'x'));
  int64_t start_ns = load.clock.NowNs();
  while (!load.stop && load.error.ok()) {
    const absl::Status status = co_await load.echo.Call(request, &response);
    const int64_t end_ns = load.clock.NowNs();
    load.latency.Record(end_ns - start_ns);
    ++load.ended;
    start_ns = end_ns;
    if (!status.ok() || response.payload().size() != kSmallBytes) [[unlikely]] {
      load.error = CheckSize(status, response.payload().size(), kSmallBytes);
    }
  }
  --load.running;
}

Task<void> KeepEchoing(Load& load) {
  const std::vector<uint8_t> memory(kLongMessages * kLongBytes, 'x');
  BufferChain response;
  for (size_t i = 0; !load.stop && load.error.ok(); ++i) {
    const auto bytes =
        absl::MakeConstSpan(memory).subspan(i % kLongMessages * kLongBytes, kLongBytes);
    rpc::Payload request = rpc::Payload::External(bytes);
    const absl::Status status = co_await load.echo.CallRaw(std::move(request), &response);
    load.error = CheckSize(status, response.size(), kLongBytes);
    response.Clear();
    ++load.ended;
  }
  --load.running;
}

Task<void> KeepReading(Load& load) {
  EchoMessage request, message;
  request.set_payload(std::string(kSmallBytes, 'x'));
  {
    auto messages = load.echo.Stream(request);
    while (!load.stop && load.error.ok()) {
      if (co_await messages.Read(&message)) [[likely]] {
        ++load.ended;
        if (message.payload().size() == kSmallBytes) [[likely]]
          continue;
        load.error = CheckSize(absl::OkStatus(), message.payload().size(), kSmallBytes);
      } else {
        const absl::Status status = co_await messages.Finish();
        load.error = status.ok() ? absl::InternalError("the stream has ended") : status;
      }
    }
  }
  --load.running;
}

Task<void> Keep(Load& load, Kind kind) {
  return kind == Kind::kBandwidth   ? KeepEchoing(load)
         : kind == Kind::kStreaming ? KeepReading(load)
                                    : KeepCalling(load);
}

// Calls or messages a second, or the median latency in nanoseconds.
Task<void> Measure(Load& load, TaskGroup& tasks, Kind kind, int64_t duration_ns,
                   absl::StatusOr<double>* result) {
  load.running = kind == Kind::kThroughput ? kOutstanding : 1;
  for (size_t i = load.running; i > 0; --i) tasks.Spawn(Keep(load, kind));
  while (load.ended == 0 && load.error.ok()) co_await load.loop.Sleep(absl::Microseconds(100));
  co_await load.loop.Sleep(absl::Nanoseconds(duration_ns / 10));
  const uint64_t first = load.ended;
  const int64_t first_ns = load.clock.NowNs();
  int64_t now_ns = first_ns;
  while ((now_ns - first_ns < duration_ns || load.ended == first) && load.error.ok()) {
    co_await load.loop.Sleep(absl::Microseconds(100));
    now_ns = load.clock.NowNs();
  }
  const uint64_t calls = load.ended - first;
  load.stop = true;
  while (load.running > 0) co_await load.loop.Sleep(absl::Microseconds(20));
  if (!load.error.ok()) {
    *result = load.error;
  } else if (kind == Kind::kLatency) {
    *result = static_cast<double>(load.latency.Snapshot().Percentile(50));
  } else {
    *result = static_cast<double>(calls) * 1e9 / static_cast<double>(now_ns - first_ns);
  }
  load.loop.Stop();
}

// Arguments: transport, the server's address, kind, guise, directory, duration in nanoseconds.
// Reports what Measure() gives.
absl::Status Ask(Peer& peer) {
  absl::StatusOr<Address> address = Address::Parse(peer.arguments()[1]);
  if (!address.ok()) return address.status();
  const auto kind = static_cast<Kind>(peer.Number(2));
  absl::StatusOr<Endpoint> endpoint =
      OpenEndpoint({.transport = peer.arguments()[0], .buffers = BuffersFor(kind)});
  if (!endpoint.ok()) return endpoint.status();
  const auto guise = static_cast<Guise>(peer.Number(3));
  auto security = SecurityOf(guise, peer.arguments()[4], "client");
  if (!security.ok()) return security.status();
  Loop loop({.mode = LoopMode::kBusy}, RealClock());
  Observers observers;
  if (auto opened = observers.Open(guise, peer.arguments()[4], "client", loop.clock());
      !opened.ok()) {
    return opened;
  }
  auto client = rpc::Client::Create(
      loop, std::move(endpoint->port),
      {.timeout = kStartTimeout, .wire = rpc::Wire::kExtended, .security = *std::move(security)});
  if (!client.ok()) return client.status();
  absl::StatusOr<::weft::Peer> server = (*client)->Resolve(*address);
  if (!server.ok()) return server.status();
  rpc::Channel channel(**client, *server, {.observers = observers.observers()});
  EchoClient echo(channel);
  absl::StatusOr<double> result;
  Load load(echo, loop);
  TaskGroup tasks;
  tasks.Spawn(Measure(load, tasks, kind, peer.Number(5), &result));
  loop.Run();
  if (!result.ok()) return result.status();
  peer.Report(*result);
  return absl::OkStatus();
}

constexpr PeerRole kRoles[] = {{"service-server", &Serve}, {"service-client", &Ask}};

}  // namespace

std::string ServiceWorkload::Name() const {
  const char* const dressed = guise == Guise::kTls        ? "TLS "
                              : guise == Guise::kObserved ? "observed "
                                                          : "";
  const char* const what = kind == Kind::kLatency      ? ", p50"
                           : kind == Kind::kThroughput ? ", 32 outstanding"
                           : kind == Kind::kBandwidth  ? ", echo of 8 MiB"
                                                       : ", stream of 64 B";
  return absl::StrCat("typed ", dressed, transport, " busy", what);
}

const char* ServiceWorkload::Unit() const {
  return kind == Kind::kLatency      ? "us"
         : kind == Kind::kThroughput ? "requests/s"
         : kind == Kind::kBandwidth  ? "GB/s"
                                     : "messages/s";
}

absl::StatusOr<double> MeasureService(const ServiceWorkload& workload, const std::string& directory,
                                      const RpcOptions& options) {
  if (absl::Status here = TransportIsHere(workload.transport); !here.ok()) return here;
  const std::string listen = ListenAddress(workload.transport);
  const std::string kind = absl::StrCat(static_cast<int>(workload.kind));
  const std::string guise = absl::StrCat(static_cast<int>(workload.guise));
  const absl::Duration lifetime = options.duration + 3 * kStartTimeout;
  auto server =
      PeerProcess::Start({.role = "service-server",
                          .core = options.server_core,
                          .arguments = {workload.transport, listen, kind, guise, directory},
                          .lifetime = lifetime});
  if (!server.ok()) return server.status();
  const absl::StatusOr<double> port = (*server)->AwaitReport(kStartTimeout);
  if (!port.ok()) return port.status();
  auto client = PeerProcess::Start(
      {.role = "service-client",
       .core = options.client_core,
       .arguments = {workload.transport, ServerAddress(listen, *port), kind, guise, directory,
                     absl::StrCat(absl::ToInt64Nanoseconds(options.duration))},
       .lifetime = lifetime});
  if (!client.ok()) return client.status();
  const absl::StatusOr<double> value = (*client)->AwaitReport(options.duration + kStartTimeout);
  if (!value.ok()) return value;
  return workload.kind == Kind::kLatency     ? *value / 1e3
         : workload.kind == Kind::kBandwidth ? *value * kLongBytes / 1e9
                                             : *value;
}

absl::Span<const PeerRole> ServiceRoles() { return kRoles; }

}  // namespace weft::benchmarks
