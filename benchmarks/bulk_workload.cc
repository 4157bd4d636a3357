// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/bulk_workload.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/benchmarks/endpoint.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/rpc/client.h"
#include "weft/rpc/payload.h"
#include "weft/rpc/server.h"

namespace weft::benchmarks {
namespace {

using Direction = BulkWorkload::Direction;

// Messages that are sent in turn: long ones are more than caches hold, as for the copy that they
// are compared with.
constexpr size_t kMessages = 16;
// Half of them may hold one long message.
constexpr uint32_t kBuffers = 16384;

// Messages of the application, one after the other.
class Messages {
 public:
  explicit Messages(size_t bytes) : bytes_(bytes), memory_(kMessages * bytes, 'x') {}

  rpc::Payload Next() {
    const size_t at = number_++ % kMessages * bytes_;
    return rpc::Payload::External(absl::MakeConstSpan(memory_).subspan(at, bytes_));
  }

 private:
  const size_t bytes_;
  const std::vector<uint8_t> memory_;
  size_t number_ = 0;
};

// Arguments: transport, address to listen at, bytes of a reply. Reports the port that it got, or 0.
absl::Status Serve(Peer& peer) {
  absl::StatusOr<Endpoint> endpoint = OpenEndpoint(
      {.transport = peer.arguments()[0], .local = peer.arguments()[1], .buffers = kBuffers});
  if (!endpoint.ok()) return endpoint.status();
  Messages replies(static_cast<size_t>(peer.Number(2)));
  Loop loop({.mode = LoopMode::kBusy}, RealClock());
  auto server =
      rpc::Server::Create(loop, std::move(endpoint->port), {}, [&replies](rpc::ServerCall call) {
        call.request().Clear();
        (void)call.Reply(replies.Next());
      });
  if (!server.ok()) return server.status();
  peer.Report((*server)->port().local_address().port());
  loop.Run();
  return absl::OkStatus();
}

struct Transfer {
  size_t request_bytes;
  size_t reply_bytes;
  absl::Duration duration;
};

Task<void> CallAndMeasure(rpc::Client& client, ::weft::Peer server, Transfer transfer,
                          absl::StatusOr<double>* bytes_per_ns) {
  Messages requests(transfer.request_bytes);
  const Clock& clock = client.loop().clock();
  const int64_t duration_ns = absl::ToInt64Nanoseconds(transfer.duration);
  const int64_t warm_ns = clock.NowNs() + duration_ns / 10;
  int64_t begin_ns = 0;  // once warm
  int64_t now_ns = 0;
  uint64_t bytes = 0;
  do {
    const absl::StatusOr<BufferChain> reply = co_await client.Call(server, requests.Next());
    if (reply.ok() && reply->size() == transfer.reply_bytes) {
      bytes += std::max(transfer.request_bytes, transfer.reply_bytes);
    } else {
      *bytes_per_ns = reply.ok() ? absl::InternalError("a reply of another size") : reply.status();
      client.loop().Stop();
      co_return;
    }
    now_ns = clock.NowNs();
    if (begin_ns == 0 && now_ns >= warm_ns) {
      begin_ns = now_ns;
      bytes = 0;
    }
  } while (begin_ns == 0 || bytes == 0 || now_ns - begin_ns < duration_ns);
  *bytes_per_ns = static_cast<double>(bytes) / static_cast<double>(now_ns - begin_ns);
  client.loop().Stop();
}

// Arguments: transport, the server's address, bytes of a request and of a reply, duration in
// nanoseconds. Reports bytes a nanosecond.
absl::Status Ask(Peer& peer) {
  absl::StatusOr<Address> address = Address::Parse(peer.arguments()[1]);
  if (!address.ok()) return address.status();
  absl::StatusOr<Endpoint> endpoint =
      OpenEndpoint({.transport = peer.arguments()[0], .buffers = kBuffers});
  if (!endpoint.ok()) return endpoint.status();
  Loop loop({.mode = LoopMode::kBusy}, RealClock());
  auto client = rpc::Client::Create(loop, std::move(endpoint->port),
                                    {.timeout = kStartTimeout, .wire = rpc::Wire::kExtended});
  if (!client.ok()) return client.status();
  absl::StatusOr<::weft::Peer> server = (*client)->Resolve(*address);
  if (!server.ok()) return server.status();
  absl::StatusOr<double> bytes_per_ns;
  TaskGroup tasks;
  tasks.Spawn(CallAndMeasure(**client, *server,
                             {.request_bytes = static_cast<size_t>(peer.Number(2)),
                              .reply_bytes = static_cast<size_t>(peer.Number(3)),
                              .duration = absl::Nanoseconds(peer.Number(4))},
                             &bytes_per_ns));
  loop.Run();
  if (!bytes_per_ns.ok()) return bytes_per_ns.status();
  peer.Report(*bytes_per_ns);
  return absl::OkStatus();
}

constexpr PeerRole kRoles[] = {{"bulk-server", &Serve}, {"bulk-client", &Ask}};

}  // namespace

std::string BulkWorkload::Name() const {
  const bool mib = bytes % (size_t{1} << 20) == 0;
  return absl::StrCat("rpc extended ", transport, " busy, ",
                      direction == Direction::kRequests ? "requests" : "replies", " of ",
                      mib ? bytes >> 20 : bytes, mib ? " MiB" : " B");
}

absl::StatusOr<double> MeasureBulk(const BulkWorkload& workload, const RpcOptions& options) {
  if (absl::Status here = TransportIsHere(workload.transport); !here.ok()) return here;
  const bool requests = workload.direction == Direction::kRequests;
  const std::string request_bytes = absl::StrCat(requests ? workload.bytes : 1);
  const std::string reply_bytes = absl::StrCat(requests ? 1 : workload.bytes);
  const std::string listen = ListenAddress(workload.transport);
  const absl::Duration lifetime = options.duration + 3 * kStartTimeout;
  auto server = PeerProcess::Start({.role = "bulk-server",
                                    .core = options.server_core,
                                    .arguments = {workload.transport, listen, reply_bytes},
                                    .lifetime = lifetime});
  if (!server.ok()) return server.status();
  const absl::StatusOr<double> port = (*server)->AwaitReport(kStartTimeout);
  if (!port.ok()) return port.status();
  auto client = PeerProcess::Start(
      {.role = "bulk-client",
       .core = options.client_core,
       .arguments = {workload.transport, ServerAddress(listen, *port), request_bytes, reply_bytes,
                     absl::StrCat(absl::ToInt64Nanoseconds(options.duration))},
       .lifetime = lifetime});
  if (!client.ok()) return client.status();
  return (*client)->AwaitReport(options.duration + 2 * kStartTimeout);
}

absl::Span<const PeerRole> BulkRoles() { return kRoles; }

}  // namespace weft::benchmarks
