// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/rdma_rpc.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/benchmarks/endpoint.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/clock.h"
#include "weft/core/histogram.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/rpc/client.h"
#include "weft/rpc/payload.h"
#include "weft/rpc/server.h"
#include "weft/transports/rdma/rdma_datagram_port.h"

namespace weft::benchmarks {
namespace {

constexpr absl::Duration kFirstReplyTimeout = absl::Milliseconds(100);
// Of long messages, that are sent in turn.
constexpr size_t kMessages = 16;
// Before it counts, each message has been sent, and so has been made known to the device.
constexpr uint64_t kWarmUpCalls = 2 * kMessages;
// A request this long asks what the server has counted.
constexpr size_t kCountsRequestBytes = 1;

// What one side has counted since it began.
struct Counts {
  static constexpr size_t kCount = 8;
  static constexpr size_t kAllocations = 7;
  // In the order of the fields of RdmaRpcResult.
  std::array<double, kCount> values = {};
};

Counts CountsOf(const DatagramPort& port) {
  Counts counts;
  if (const auto* const rdma = dynamic_cast<const rdma::RdmaDatagramPort*>(&port)) {
    const rdma::UdQueue::Counts device = rdma->counts();
    const uint64_t values[] = {device.send_posts,        device.send_doorbells,
                               device.send_completions,  device.receive_posts,
                               device.receive_doorbells, device.receive_completions};
    std::copy(std::begin(values), std::end(values), counts.values.begin());
  }
  counts.values[6] = static_cast<double>(port.stats().copied_bytes.value());
  counts.values[Counts::kAllocations] = static_cast<double>(AllocationsOfThisThread());
  return counts;
}

// Messages of one length. Long ones lie where the port's peers can fetch them, and are not touched
// any more.
class Messages {
 public:
  Messages(DatagramPort& port, size_t bytes) : bytes_(bytes) {
    const bool bulk = port.bulk() != nullptr && port.capabilities().bulk_min_bytes <= bytes;
    for (size_t i = 0; bulk && i < kMessages; ++i) {
      Buffer message = port.bulk()->Allocate(bytes);
      if (!message) break;
      std::memset(message.Append(bytes), 'x', bytes);
      buffers_.push_back(std::move(message));
    }
    if (buffers_.empty()) memory_.resize(bytes, 'x');
  }

  rpc::Payload Next() {
    if (buffers_.empty()) return rpc::Payload::External(memory_);
    for (size_t i = 0; i < buffers_.size(); ++i) {
      Buffer& message = buffers_[number_++ % buffers_.size()];
      if (!message.is_shared()) return rpc::Payload(message.Share());
    }
    return rpc::Payload(buffers_[number_++ % buffers_.size()].Share());
  }
  size_t bytes() const { return bytes_; }

 private:
  const size_t bytes_;
  std::vector<Buffer> buffers_;
  std::vector<uint8_t> memory_;
  size_t number_ = 0;
};

// Arguments: transport, address, bytes of a reply. Reports the port that it got, or 0.
absl::Status Serve(Peer& peer) {
  absl::StatusOr<Endpoint> endpoint =
      OpenEndpoint({.transport = peer.arguments()[0], .local = peer.arguments()[1]});
  if (!endpoint.ok()) return endpoint.status();
  DatagramPort& port = *endpoint->port;
  Messages replies(port, static_cast<size_t>(peer.Number(2)));
  // Answers to questions for counts are of another length than all others, for which a session may
  // have to make room. That is not part of what is measured.
  int64_t allocations_of_questions = 0;
  Loop loop({.mode = LoopMode::kBusy}, RealClock());
  auto server = rpc::Server::Create(
      loop, std::move(endpoint->port), {.security = rpc::Plaintext()}, [&](rpc::ServerCall call) {
        if (call.request().size() == kCountsRequestBytes) {
          const int64_t allocations = AllocationsOfThisThread();
          Counts counts = CountsOf(port);
          counts.values[Counts::kAllocations] -= static_cast<double>(allocations_of_questions);
          (void)call.Reply(
              absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(&counts), sizeof(counts)));
          allocations_of_questions += AllocationsOfThisThread() - allocations;
        } else if (call.request().size() == replies.bytes()) {
          (void)call.Reply(std::move(call.request()));
        } else {
          call.request().Clear();
          (void)call.Reply(replies.Next());
        }
      });
  if (!server.ok()) return server.status();
  peer.Report((*server)->port().local_address().port());
  loop.Run();
  return absl::OkStatus();
}

class Asker {
 public:
  Asker(rpc::Client& client, ::weft::Peer server, size_t request_bytes, size_t reply_bytes,
        int outstanding)
      : client_(client),
        clock_(client.loop().clock()),
        server_(server),
        requests_(client.port(), request_bytes),
        reply_bytes_(reply_bytes),
        outstanding_(outstanding) {}

  Task<void> Run(absl::Duration duration) {
    co_await AwaitServer();
    if (status_.ok()) co_await CallFor(duration / 10, kWarmUpCalls);
    const Counts server_before = co_await AskCounts();
    const Counts before = CountsOf(client_.port());
    latency_.emplace();
    if (status_.ok()) co_await CallFor(duration, /*calls_min=*/1);
    const Counts after = CountsOf(client_.port());
    const Counts server_after = co_await AskCounts();
    if (status_.ok()) {
      Finish(before, after);
      Finish(server_before, server_after);
    }
    client_.loop().Stop();
  }

  const absl::Status& status() const { return status_; }
  const RdmaRpcResult& result() const { return result_; }

 private:
  // The way to the server may take its time to be there.
  Task<void> AwaitServer() {
    const std::vector<uint8_t> request(64);
    const int64_t give_up_ns = clock_.NowNs() + absl::ToInt64Nanoseconds(kStartTimeout);
    do {
      const absl::StatusOr<BufferChain> reply =
          co_await client_.Call(server_, request, {.timeout = kFirstReplyTimeout});
      status_ = reply.status();
      if (!status_.ok()) co_await client_.loop().Sleep(absl::Milliseconds(1));
    } while (!status_.ok() && clock_.NowNs() < give_up_ns);
  }

  Task<Counts> AskCounts() {
    Counts counts;
    if (!status_.ok()) co_return counts;
    const std::vector<uint8_t> request(kCountsRequestBytes);
    const absl::StatusOr<BufferChain> reply = co_await client_.Call(server_, request);
    if (reply.ok() && reply->size() == sizeof(counts)) {
      const std::string bytes = reply->ToString();
      std::memcpy(&counts, bytes.data(), sizeof(counts));
    } else {
      status_ = reply.ok() ? absl::InternalError("counts of another size") : reply.status();
    }
    co_return counts;
  }

  Task<void> CallFor(absl::Duration duration, uint64_t calls_min) {
    calls_ = 0;
    calls_min_ = calls_min;
    begin_ns_ = clock_.NowNs();
    end_ns_ = begin_ns_ + absl::ToInt64Nanoseconds(duration);
    for (int i = 0; i < outstanding_; ++i) tasks_.Spawn(CallInTurn());
    while (tasks_.size() > 0) co_await client_.loop().Sleep(absl::Microseconds(200));
    last_ns_ = clock_.NowNs();
  }

  Task<void> CallInTurn() {
    int64_t now_ns = clock_.NowNs();
    do {
      const int64_t sent_ns = now_ns;
      const absl::StatusOr<BufferChain> reply = co_await client_.Call(server_, requests_.Next());
      now_ns = clock_.NowNs();
      if (!reply.ok() || reply->size() != reply_bytes_) {
        status_ = reply.ok() ? absl::InternalError("a reply of another size") : reply.status();
        co_return;
      }
      ++calls_;
      if (latency_.has_value()) latency_->Record(now_ns - sent_ns);
    } while ((now_ns < end_ns_ || calls_ < calls_min_) && status_.ok());
  }

  // Adds what one side has counted.
  void Finish(const Counts& before, const Counts& after) {
    const auto calls = static_cast<double>(calls_);
    double* const fields[Counts::kCount] = {
        &result_.send_posts,    &result_.send_doorbells,    &result_.send_completions,
        &result_.receive_posts, &result_.receive_doorbells, &result_.receive_completions,
        &result_.copied_bytes,  &result_.allocations};
    for (size_t i = 0; i < Counts::kCount; ++i) {
      *fields[i] = std::max(*fields[i], (after.values[i] - before.values[i]) / calls);
    }
    result_.p50_us = static_cast<double>(latency_->Snapshot().Percentile(50)) / 1e3;
    result_.replies_per_s = calls * 1e9 / static_cast<double>(last_ns_ - begin_ns_);
  }

  rpc::Client& client_;
  const Clock& clock_;
  const ::weft::Peer server_;
  Messages requests_;
  const size_t reply_bytes_;
  const int outstanding_;
  absl::Status status_;
  RdmaRpcResult result_;
  std::optional<Histogram> latency_;  // none while it warms up
  uint64_t calls_ = 0;
  uint64_t calls_min_ = 0;
  int64_t begin_ns_ = 0;
  int64_t end_ns_ = 0;
  int64_t last_ns_ = 0;
  TaskGroup tasks_;
};

// Arguments: transport, own address, the server's, bytes of a request and of a reply, calls
// outstanding, duration in nanoseconds. Reports the fields of RdmaRpcResult.
absl::Status Ask(Peer& peer) {
  absl::StatusOr<Address> address = Address::Parse(peer.arguments()[2]);
  if (!address.ok()) return address.status();
  absl::StatusOr<Endpoint> endpoint =
      OpenEndpoint({.transport = peer.arguments()[0], .local = peer.arguments()[1]});
  if (!endpoint.ok()) return endpoint.status();
  Loop loop({.mode = LoopMode::kBusy}, RealClock());
  auto client = rpc::Client::Create(
      loop, std::move(endpoint->port),
      {.timeout = kStartTimeout, .wire = rpc::Wire::kExtended, .security = rpc::Plaintext()});
  if (!client.ok()) return client.status();
  absl::StatusOr<::weft::Peer> server = (*client)->Resolve(*address);
  if (!server.ok()) return server.status();
  Asker asker(**client, *server, static_cast<size_t>(peer.Number(3)),
              static_cast<size_t>(peer.Number(4)), static_cast<int>(peer.Number(5)));
  TaskGroup tasks;
  tasks.Spawn(asker.Run(absl::Nanoseconds(peer.Number(6))));
  loop.Run();
  if (!asker.status().ok()) return asker.status();
  const RdmaRpcResult& result = asker.result();
  for (const double value :
       {result.p50_us, result.replies_per_s, result.send_posts, result.send_doorbells,
        result.send_completions, result.receive_posts, result.receive_doorbells,
        result.receive_completions, result.copied_bytes, result.allocations}) {
    peer.Report(value);
  }
  return absl::OkStatus();
}

constexpr PeerRole kRoles[] = {{"rdma-rpc-server", &Serve}, {"rdma-rpc-client", &Ask}};

}  // namespace

absl::StatusOr<RdmaRpcResult> MeasureRdmaRpc(const RdmaRpcWorkload& workload,
                                             const RpcOptions& options) {
  if (absl::Status here = TransportIsHere(workload.transport); !here.ok()) return here;
  const absl::Duration lifetime = options.duration + 3 * kStartTimeout;
  auto server = PeerProcess::Start({.role = "rdma-rpc-server",
                                    .core = options.server_core,
                                    .arguments = {workload.transport, workload.server_address,
                                                  absl::StrCat(workload.reply_bytes)},
                                    .lifetime = lifetime});
  if (!server.ok()) return server.status();
  const absl::StatusOr<double> port = (*server)->AwaitReport(kStartTimeout);
  if (!port.ok()) return port.status();
  auto client = PeerProcess::Start(
      {.role = "rdma-rpc-client",
       .core = options.client_core,
       .arguments = {workload.transport, workload.client_address,
                     ServerAddress(workload.server_address, *port),
                     absl::StrCat(workload.request_bytes), absl::StrCat(workload.reply_bytes),
                     absl::StrCat(workload.outstanding),
                     absl::StrCat(absl::ToInt64Nanoseconds(options.duration))},
       .lifetime = lifetime});
  if (!client.ok()) return client.status();
  RdmaRpcResult result;
  for (double* value :
       {&result.p50_us, &result.replies_per_s, &result.send_posts, &result.send_doorbells,
        &result.send_completions, &result.receive_posts, &result.receive_doorbells,
        &result.receive_completions, &result.copied_bytes, &result.allocations}) {
    absl::StatusOr<double> report = (*client)->AwaitReport(options.duration + 2 * kStartTimeout);
    if (!report.ok()) return report.status();
    *value = *report;
  }
  return result;
}

absl::Span<const PeerRole> RdmaRpcRoles() { return kRoles; }

}  // namespace weft::benchmarks
