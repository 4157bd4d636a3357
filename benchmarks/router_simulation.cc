// SPDX-License-Identifier: Apache-2.0
#include "weft/benchmarks/router_simulation.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <queue>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/core/histogram.h"
#include "weft/core/prng.h"
#include "weft/r2p2/route_wire.h"
#include "weft/router/dispatcher.h"
#include "weft/router/feedback.h"
#include "weft/rpc/feedback_stream.h"

namespace weft::benchmarks {
namespace {

using Feedback = RouterSimulationOptions::Feedback;
using r2p2::ServerIndex;
using router::Dispatcher;

constexpr double kUnitNs = 100'000;  // the mean service time: 100 us
constexpr uint32_t kNone = UINT32_MAX;
// After a FEEDBACK with nothing behind it, it is repeated (docs/protocols/router.md).
constexpr int64_t kRepeatNs[] = {200'000, 2'000'000};

int64_t Ns(double units) { return static_cast<int64_t>(units * kUnitNs + 0.5); }

struct Request {
  int64_t sent_ns = 0;
  int64_t service_ns = 0;
  uint64_t key = 0;
  uint32_t router = 0;
  uint32_t next = kNone;  // in its server's queue, or unused
};

struct FeedbackMessage {
  uint32_t router = 0;
  ServerIndex server = 0;
  size_t bytes = 0;
  uint8_t data[rpc::FeedbackStream::kBytesMax] = {};
};

struct Event {
  enum class Kind : uint8_t { kAtRouter, kAtServer, kServed, kFeedback, kRepeat };
  int64_t ns;
  uint64_t order;  // of those at the same time
  Kind kind;
  uint32_t what;   // a request or a message; kServed, kRepeat: nothing
  uint32_t where;  // a server; kRepeat: server and router

  friend bool operator<(const Event& a, const Event& b) {
    return a.ns != b.ns ? a.ns > b.ns : a.order > b.order;  // the earliest is the greatest
  }
};

// What a server tells one router.
struct FeedbackPath {
  std::unique_ptr<rpc::FeedbackStream> stream;
  int64_t sent_ns = 0;
  int repeats = 0;     // that were made since
  bool waits = false;  // an event is to come
};

struct SimulatedServer {
  uint32_t first = kNone;  // it is being served
  uint32_t last = kNone;
};

struct SimulatedRouter {
  std::unique_ptr<Dispatcher> dispatcher;
  std::vector<router::FeedbackSources> sources;  // by server
  std::vector<uint32_t> waiting;                 // requests, by ticket
};

class Simulation {
 public:
  explicit Simulation(const RouterSimulationOptions& options)
      : options_(options),
        random_(options.seed),
        gap_ns_(kUnitNs / (options.load * static_cast<double>(options.servers))),
        delay_ns_(Ns(options.delay)),
        servers_(options.servers),
        paths_(options.servers * options.routers) {}

  absl::Status Prepare() {
    for (size_t r = 0; r < options_.routers; ++r) {
      auto dispatcher =
          Dispatcher::Create({.policy = options_.policy,
                              .servers_max = options_.servers,
                              .queue_max = options_.queue_max,
                              .placements_max = std::max(size_t{1} << 18, options_.servers * 256),
                              .lease_ns = Ns(options_.lease),
                              .seed = random_.Next()});
      if (!dispatcher.ok()) return dispatcher.status();
      SimulatedRouter& router = routers_.emplace_back();
      router.dispatcher = *std::move(dispatcher);
      router.sources.resize(options_.servers);
      router.waiting.resize(options_.queue_max, kNone);
      for (size_t s = 0; s < options_.servers; ++s) {
        router.dispatcher->AddServer(r2p2::RequestKey(s, 0, 0), SlotsOf(r, s), 1);
      }
    }
    return absl::OkStatus();
  }

  RouterSimulationResult Run() {
    double next_ns = 0;  // of a nanosecond's parts, too: many servers have many requests in it
    while (sent_ < options_.requests) {
      const auto arrival_ns = static_cast<int64_t>(next_ns);
      while (!events_.empty() && events_.top().ns <= arrival_ns) Step();
      Arrive(arrival_ns);
      next_ns += -std::log1p(-random_.Unit()) * gap_ns_;
    }
    while (!events_.empty()) Step();
    return Conclude();
  }

 private:
  // What is left over when slots are divided goes to other routers for other servers.
  uint32_t SlotsOf(size_t router, size_t server) const {
    const auto routers = static_cast<uint32_t>(options_.routers);
    const bool one_more = (router + server) % routers < options_.slots % routers;
    return std::max<uint32_t>(options_.slots / routers + one_more, 1);
  }

  void At(int64_t ns, Event::Kind kind, uint32_t what, uint32_t where) {
    events_.push({ns, order_++, kind, what, where});
  }
  void Step() {
    const Event event = events_.top();
    events_.pop();
    now_ns_ = event.ns;
    switch (event.kind) {
      case Event::Kind::kAtRouter:
        return Route(event.what);
      case Event::Kind::kAtServer:
        return Enqueue(event.what, event.where);
      case Event::Kind::kServed:
        return EndService(event.where);
      case Event::Kind::kFeedback:
        OnFeedback(messages_[event.what]);
        unused_messages_.push_back(event.what);
        return;
      case Event::Kind::kRepeat:
        return Repeat(event.where);
    }
  }

  // --- Clients

  void Arrive(int64_t ns) {
    now_ns_ = ns;
    if (unused_ == kNone) {
      unused_ = static_cast<uint32_t>(requests_.size());
      requests_.emplace_back();
    }
    const uint32_t id = unused_;
    Request& request = requests_[id];
    unused_ = request.next;
    request = {.sent_ns = ns,
               .service_ns = std::max<int64_t>(Ns(options_.service.Draw(random_)), 1),
               .key = r2p2::RequestKey(r2p2::internal::Mix((sent_ >> 16) + 1), 0,
                                       static_cast<uint16_t>(sent_)),
               .router = static_cast<uint32_t>(random_.Below(options_.routers))};
    ++sent_;
    if (delay_ns_ == 0) return Route(id);
    At(ns + delay_ns_, Event::Kind::kAtRouter, id, 0);
  }
  void Free(uint32_t id) {
    requests_[id].next = unused_;
    unused_ = id;
  }

  // --- Routers

  void Route(uint32_t id) {
    const Request& request = requests_[id];
    SimulatedRouter& router = routers_[request.router];
    Expire(router);
    if (request.sent_ns >= measured_from_ns()) {
      ++queue_samples_;
      queue_sum_ += router.dispatcher->queue_length();
    }
    const router::Arrival arrival = {.key = request.key};
    router::Decision decision;
    router.dispatcher->Arrive({&arrival, 1}, now_ns_, {&decision, 1});
    switch (decision.fate) {
      case router::Fate::kForward:
        return Forward(id, decision.server);
      case router::Fate::kQueue:
        router.waiting[decision.ticket] = id;
        return;
      default:
        ++result_.refused;
        return Free(id);
    }
  }

  void Forward(uint32_t id, ServerIndex server) {
    if (options_.request_loss > 0 && random_.Chance(options_.request_loss)) {
      ++result_.requests_lost;
      return Free(id);
    }
    if (delay_ns_ == 0) return Enqueue(id, server);
    At(now_ns_ + delay_ns_, Event::Kind::kAtServer, id, server);
  }

  void Expire(SimulatedRouter& router) {
    if (router.dispatcher->NextDeadlineNs() > now_ns_) [[likely]]
      return;
    router.dispatcher->Expire(now_ns_);
    TakeReady(router);
  }

  void TakeReady(SimulatedRouter& router) {
    router::Ready ready[16];
    size_t count;
    do {
      count = router.dispatcher->TakeReady(now_ns_, absl::MakeSpan(ready));
      for (size_t i = 0; i < count; ++i) {
        Forward(std::exchange(router.waiting[ready[i].ticket], kNone), ready[i].server);
      }
    } while (count == std::size(ready));
  }

  void OnFeedback(const FeedbackMessage& message) {
    SimulatedRouter& router = routers_[message.router];
    const absl::Span<const uint8_t> datagram(message.data, message.bytes);
    if (options_.feedback == Feedback::kOriginal) {
      router.dispatcher->Done(message.server, LoadBig64(message.data), now_ns_);
    } else {
      r2p2::FeedbackBatch batch;
      if (!r2p2::ReadFeedbackBatch(datagram, &batch)) std::abort();
      const router::FeedbackSources::News news =
          router.sources[message.server].Accept(batch, now_ns_);
      result_.feedback_missed += news.missing;
      for (size_t i = news.begin; i < batch.count; ++i) {
        router.dispatcher->Done(message.server, r2p2::ReadFeedbackEntry(datagram, i).request,
                                now_ns_);
      }
    }
    Expire(router);
    TakeReady(router);
  }

  // --- Servers

  void Enqueue(uint32_t id, ServerIndex index) {
    SimulatedServer& server = servers_[index];
    requests_[id].next = kNone;
    if (server.first == kNone) {
      server.first = server.last = id;
      At(now_ns_ + requests_[id].service_ns, Event::Kind::kServed, 0, index);
    } else {
      requests_[server.last].next = id;
      server.last = id;
    }
  }

  void EndService(ServerIndex index) {
    SimulatedServer& server = servers_[index];
    const uint32_t id = server.first;
    const Request done = requests_[id];
    server.first = done.next;
    if (server.first != kNone) {
      At(now_ns_ + requests_[server.first].service_ns, Event::Kind::kServed, 0, index);
    }
    ++result_.replies;
    if (done.sent_ns >= measured_from_ns()) times_ns_.Record(now_ns_ + delay_ns_ - done.sent_ns);
    Free(id);
    Tell(index, done);
  }

  void Tell(ServerIndex server, const Request& done) {
    if (options_.feedback == Feedback::kOriginal) {
      message_.router = done.router;
      message_.server = server;
      message_.bytes = sizeof(done.key);
      StoreBig64(message_.data, done.key);
      return Send(message_);
    }
    FeedbackPath& path = paths_[server * options_.routers + done.router];
    if (path.stream == nullptr) path.stream = std::make_unique<rpc::FeedbackStream>(server + 1);
    path.stream->Add({.request = done.key});
    path.repeats = 0;
    SendBatch(server, done.router, path);
  }
  void SendBatch(ServerIndex server, uint32_t router, FeedbackPath& path) {
    path.sent_ns = now_ns_;
    if (options_.feedback_loss > 0 && !path.waits && path.repeats < 2) {
      path.waits = true;
      At(now_ns_ + kRepeatNs[path.repeats], Event::Kind::kRepeat, 0,
         static_cast<uint32_t>(server * options_.routers + router));
    }
    message_.router = router;
    message_.server = server;
    message_.bytes = path.stream->Write(sizeof(message_.data), message_.data);
    Send(message_);
  }
  void Repeat(uint32_t where) {
    FeedbackPath& path = paths_[where];
    path.waits = false;
    const int64_t due_ns = path.sent_ns + kRepeatNs[path.repeats];
    if (now_ns_ < due_ns) {
      // Another one has been sent meanwhile.
      path.waits = true;
      return At(due_ns, Event::Kind::kRepeat, 0, where);
    }
    ++path.repeats;
    const auto routers = static_cast<uint32_t>(options_.routers);
    SendBatch(where / routers, where % routers, path);
  }
  void Send(const FeedbackMessage& message) {
    if (options_.feedback_loss > 0 && random_.Chance(options_.feedback_loss)) {
      ++result_.feedback_lost;
      return;
    }
    if (delay_ns_ == 0) return OnFeedback(message);
    if (unused_messages_.empty()) {
      unused_messages_.push_back(static_cast<uint32_t>(messages_.size()));
      messages_.emplace_back();
    }
    const uint32_t id = unused_messages_.back();
    unused_messages_.pop_back();
    FeedbackMessage& copy = messages_[id];
    copy.router = message.router;
    copy.server = message.server;
    copy.bytes = message.bytes;
    std::memcpy(copy.data, message.data, message.bytes);
    At(now_ns_ + delay_ns_, Event::Kind::kFeedback, id, 0);
  }

  // --- The end

  int64_t measured_from_ns() const {
    return static_cast<int64_t>(gap_ns_ * static_cast<double>(options_.requests) / 10);
  }

  RouterSimulationResult Conclude() {
    for (SimulatedRouter& router : routers_) {
      // Requests that wait until slots come back may be served yet.
      while (router.dispatcher->NextDeadlineNs() != INT64_MAX || !events_.empty()) {
        if (!events_.empty()) {
          Step();
          continue;
        }
        now_ns_ = std::max(now_ns_, router.dispatcher->NextDeadlineNs());
        Expire(router);
      }
      result_.leases_expired += router.dispatcher->stats().leases_expired.value();
    }
    for (SimulatedRouter& router : routers_) {
      result_.slots_lost += router.dispatcher->servers().outstanding();
    }
    const HistogramSnapshot times = times_ns_.Snapshot();
    result_.mean = times.mean() / kUnitNs;
    result_.p50 = static_cast<double>(times.Percentile(50)) / kUnitNs;
    result_.p99 = static_cast<double>(times.Percentile(99)) / kUnitNs;
    result_.p999 = static_cast<double>(times.Percentile(99.9)) / kUnitNs;
    result_.queue_mean =
        queue_samples_ == 0 ? 0
                            : static_cast<double>(queue_sum_) / static_cast<double>(queue_samples_);
    return result_;
  }

  const RouterSimulationOptions& options_;
  Prng random_;
  const double gap_ns_;  // between arrivals, on average
  const int64_t delay_ns_;
  int64_t now_ns_ = 0;
  uint64_t sent_ = 0;
  uint64_t order_ = 0;
  std::priority_queue<Event> events_;
  std::vector<Request> requests_;
  uint32_t unused_ = kNone;
  std::vector<FeedbackMessage> messages_;  // on their way
  std::vector<uint32_t> unused_messages_;
  FeedbackMessage message_;
  std::vector<SimulatedRouter> routers_;
  std::vector<SimulatedServer> servers_;
  std::vector<FeedbackPath> paths_;  // by server, then router
  Histogram times_ns_;
  uint64_t queue_samples_ = 0;
  uint64_t queue_sum_ = 0;
  RouterSimulationResult result_;
};

absl::Status Check(const RouterSimulationOptions& options) {
  const auto part = [](double value) { return value >= 0 && value < 1; };
  if (options.servers == 0 || options.servers > r2p2::ServerSet::kServersLimit) {
    return absl::InvalidArgumentError(
        absl::StrCat("servers: 1 to ", r2p2::ServerSet::kServersLimit));
  }
  if (options.routers == 0 || options.routers > 256 || options.slots == 0 ||
      options.requests == 0 || options.queue_max == 0) {
    return absl::InvalidArgumentError("slots, requests, queue_max: at least 1; routers: 1 to 256");
  }
  if (!(options.load > 0 && options.load <= 1) || !part(options.request_loss) ||
      !part(options.feedback_loss)) {
    return absl::InvalidArgumentError("load: more than 0, at most 1; losses: 0 to less than 1");
  }
  if (!(options.delay >= 0 && options.delay <= 1e6) || !(options.lease > 0)) {
    return absl::InvalidArgumentError("delay: 0 to 1e6; lease: more than 0");
  }
  return absl::OkStatus();
}

}  // namespace

std::string RouterSimulationOptions::Name() const {
  const RouterSimulationOptions usual;
  std::string name = policy;
  if (policy == "jbsq") absl::StrAppend(&name, "(", slots, ")");
  absl::StrAppend(&name, ", ", servers, " servers, load ", load);
  if (routers > 1) absl::StrAppend(&name, ", ", routers, " routers");
  if (delay > 0) absl::StrAppend(&name, ", delay ", delay);
  if (request_loss > 0) absl::StrAppend(&name, ", requests lost ", request_loss);
  if (feedback_loss > 0) absl::StrAppend(&name, ", feedback lost ", feedback_loss);
  if (lease != usual.lease) absl::StrAppend(&name, ", lease ", lease);
  if (feedback != usual.feedback) absl::StrAppend(&name, ", original feedback");
  return name;
}

absl::StatusOr<RouterSimulationResult> SimulateRouter(const RouterSimulationOptions& options) {
  if (absl::Status status = Check(options); !status.ok()) return status;
  Simulation simulation(options);
  if (absl::Status status = simulation.Prepare(); !status.ok()) return status;
  return simulation.Run();
}

double TheoryRandom(double load) { return std::log(100) / (1 - load); }

double TheoryOneQueue(size_t servers, double load) {
  const auto n = static_cast<double>(servers);
  // Erlang's B by recursion, from which C: the probability of having to wait.
  double b = 1;
  for (double k = 1; k <= n; ++k) b = load * n * b / (k + load * n * b);
  const double wait = b / (1 - load * (1 - b));
  // The rate at which the queue is served beyond arrivals. Time = service, and with probability
  // `wait` a waiting time, both exponential.
  const double rate = n * (1 - load);
  const auto longer = [&](double t) {
    if (std::abs(rate - 1) < 1e-9) return std::exp(-t) * (1 + wait * t);
    return std::exp(-t) + wait * (std::exp(-t) - std::exp(-rate * t)) / (rate - 1);
  };
  double low = 0;
  double high = 1;
  while (longer(high) > 0.01) high *= 2;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (longer(middle) > 0.01 ? low : high) = middle;
  }
  return low;
}

}  // namespace weft::benchmarks
