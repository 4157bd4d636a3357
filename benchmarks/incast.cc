// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/incast.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "weft/core/histogram.h"
#include "weft/core/loop.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::benchmarks {
namespace {

using Direction = IncastOptions::Direction;

constexpr size_t kShortBytes = 64;
constexpr int64_t kSampleNs = 1'000;
constexpr char kReceiver[] = "receiver";
// A receiver has room for all that may be on the way to it.
constexpr BufferPoolOptions kBuffers = {.count = 16384};
// Nothing that a working protocol reaches.
constexpr absl::Duration kCallTimeout = absl::Seconds(10);

double Ratio(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

// (sum x)^2 / (n sum x^2), of Jain, Chiu and Hawe, 1984.
double JainIndex(absl::Span<const uint64_t> shares) {
  double sum = 0;
  double squares = 0;
  for (const uint64_t share : shares) {
    const auto x = static_cast<double>(share);
    sum += x;
    squares += x * x;
  }
  return squares == 0 ? 0 : sum * sum / (static_cast<double>(shares.size()) * squares);
}

class Incast {
 public:
  explicit Incast(const IncastOptions& options)
      : options_(options),
        message_(options.message_bytes, 'x'),
        network_(options.seed, {.latency_ns = options.latency_ns,
                                .bandwidth_bps = options.bandwidth_bps,
                                .queue_packets = options.queue_packets}),
        transport_(sim::OpenTransport(&network_, kBuffers)),
        loop_({}, network_),
        ended_(options.senders) {
    session_.congestion.algorithm = options.algorithm;
  }

  absl::StatusOr<IncastResult> Run() {
    if (absl::Status made = Make(); !made.ok()) return made;
    for (size_t i = 0; i < options_.senders; ++i) {
      for (size_t n = 0; n < options_.outstanding; ++n) CallOnce(i);
    }
    SampleQueue();
    RunUntil(absl::ToInt64Nanoseconds(options_.warm_up));
    const Counts before = Count();
    measuring_ = true;
    RunUntil(network_.NowNs() + absl::ToInt64Nanoseconds(options_.duration));
    measuring_ = false;
    const Counts after = Count();
    if (!status_.ok()) return status_;
    return Evaluate(before, after);
  }

 private:
  struct Counts {
    uint64_t sent = 0;
    uint64_t dropped = 0;
    uint64_t retransmitted = 0;
  };

  absl::StatusOr<std::unique_ptr<DatagramPort>> Open(const std::string& name) {
    return transport_->OpenDatagramPort({.local = Address::Sim(name)});
  }

  absl::Status MakeServer(const std::string& name) {
    auto port = Open(name);
    if (!port.ok()) return port.status();
    auto server = rpc::Server::Create(loop_, *std::move(port),
                                      {.session = session_, .key_seed = options_.seed},
                                      [this](rpc::ServerCall call) { Serve(std::move(call)); });
    if (!server.ok()) return server.status();
    servers_.push_back(*std::move(server));
    return absl::OkStatus();
  }

  absl::Status MakeClient(const std::string& name, uint64_t number) {
    auto port = Open(name);
    if (!port.ok()) return port.status();
    auto client = rpc::Client::Create(
        loop_, *std::move(port),
        {.timeout = kCallTimeout,
         .outstanding_max = std::max<size_t>(1024, options_.senders * options_.outstanding),
         .request_id_seed = options_.seed + number,
         .wire = rpc::Wire::kExtended,
         .session = session_});
    if (!client.ok()) return client.status();
    clients_.push_back(*std::move(client));
    return absl::OkStatus();
  }

  absl::Status Make() {
    if (options_.senders == 0 || options_.outstanding == 0 || options_.message_bytes == 0) {
      return absl::InvalidArgumentError("there is nothing to send");
    }
    const bool requests = options_.direction == Direction::kRequests;
    absl::Status made = requests ? MakeServer(kReceiver) : MakeClient(kReceiver, 0);
    for (size_t i = 0; i < options_.senders && made.ok(); ++i) {
      const std::string name = absl::StrCat("sender-", i);
      made = requests ? MakeClient(name, i) : MakeServer(name);
      if (!made.ok()) break;
      // As each sender's calls know it.
      auto peer = (requests ? clients_[i] : clients_[0])
                      ->Resolve(Address::Sim(requests ? kReceiver : name));
      if (!peer.ok()) return peer.status();
      peers_.push_back(*peer);
    }
    if (!made.ok()) return made;
    auto receiver = network_.AddNode(kReceiver);
    if (!receiver.ok()) return receiver.status();
    receiver_ = *receiver;
    return absl::OkStatus();
  }

  absl::Span<const uint8_t> Short() const {
    return absl::MakeConstSpan(message_).first(std::min(kShortBytes, message_.size()));
  }

  void Serve(rpc::ServerCall call) {
    const bool requests = options_.direction == Direction::kRequests;
    Note(call.Reply(requests ? rpc::Payload::Copy(Short()) : rpc::Payload::External(message_)));
  }

  void CallOnce(size_t sender) {
    const bool requests = options_.direction == Direction::kRequests;
    rpc::Client& client = requests ? *clients_[sender] : *clients_[0];
    Note(client
             .Call(peers_[sender], rpc::Payload::External(requests ? message_ : Short()),
                   [this, sender, start_ns = network_.NowNs()](absl::StatusOr<BufferChain> reply) {
                     OnEnd(sender, start_ns, reply.status());
                   })
             .status());
  }

  void OnEnd(size_t sender, int64_t start_ns, const absl::Status& status) {
    if (measuring_ && status.ok()) {
      ++ended_[sender];
      latency_.Record(network_.NowNs() - start_ns);
    }
    if (!status.ok()) ++failures_;
    CallOnce(sender);
  }

  // The first thing that goes wrong ends the run.
  void Note(const absl::Status& status) {
    if (!status.ok() && status_.ok()) status_ = status;
  }

  void SampleQueue() {
    if (measuring_) queue_.Record(static_cast<int64_t>(network_.QueuedFor(receiver_)));
    network_.events().At(network_.NowNs() + kSampleNs, [this] { SampleQueue(); });
  }

  void RunUntil(int64_t end_ns) {
    RunVirtual(network_, {&loop_}, [&] { return network_.NowNs() >= end_ns || !status_.ok(); });
  }

  Counts Count() const {
    Counts counts = {.sent = network_.stats().sent, .dropped = network_.stats().queue_dropped};
    for (const auto& client : clients_) counts.retransmitted += client->stats().retransmissions;
    for (const auto& server : servers_) counts.retransmitted += server->stats().retransmitted;
    return counts;
  }

  IncastResult Evaluate(const Counts& before, const Counts& after) const {
    uint64_t calls = 0;
    for (const uint64_t ended : ended_) calls += ended;
    const double capacity_bytes =
        static_cast<double>(options_.bandwidth_bps) / 8 * absl::ToDoubleSeconds(options_.duration);
    const HistogramSnapshot queue = queue_.Snapshot();
    const HistogramSnapshot latency = latency_.Snapshot();
    const uint64_t sent = after.sent - before.sent;
    return {.goodput = static_cast<double>(calls * options_.message_bytes) / capacity_bytes,
            .fairness = JainIndex(ended_),
            .queue_mean = Ratio(queue.sum(), queue.count()),
            .queue_p99 = static_cast<double>(queue.Percentile(99)),
            .queue_max = static_cast<double>(queue.max()),
            .retransmitted = Ratio(after.retransmitted - before.retransmitted, sent),
            .dropped = Ratio(after.dropped - before.dropped, sent),
            .p50_us = static_cast<double>(latency.Percentile(50)) / 1e3,
            .p99_us = static_cast<double>(latency.Percentile(99)) / 1e3,
            .calls = calls,
            .failures = failures_};
  }

  const IncastOptions options_;
  const std::vector<uint8_t> message_;
  rpc::SessionOptions session_;
  sim::Network network_;
  std::unique_ptr<Transport> transport_;
  Loop loop_;
  std::vector<std::unique_ptr<rpc::Server>> servers_;
  std::vector<std::unique_ptr<rpc::Client>> clients_;
  std::vector<Peer> peers_;  // whom each sender's calls go to
  sim::NodeId receiver_ = 0;

  bool measuring_ = false;
  absl::Status status_;
  std::vector<uint64_t> ended_;  // calls, by sender
  uint64_t failures_ = 0;
  Histogram queue_;
  Histogram latency_;
};

}  // namespace

std::string IncastOptions::Name() const {
  const IncastOptions defaults;
  std::string name =
      absl::StrCat("incast ", senders, direction == Direction::kRequests ? " requests" : " replies",
                   " of ", message_bytes, " B");
  if (outstanding != defaults.outstanding) absl::StrAppend(&name, " x ", outstanding);
  absl::StrAppend(&name, ", ", algorithm);
  if (queue_packets != defaults.queue_packets) {
    absl::StrAppend(&name, ", queue of ", queue_packets);
  }
  return name;
}

absl::StatusOr<IncastResult> RunIncast(const IncastOptions& options) {
  return std::make_unique<Incast>(options)->Run();
}

}  // namespace weft::benchmarks
