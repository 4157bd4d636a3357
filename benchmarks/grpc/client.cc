// SPDX-License-Identifier: Apache-2.0

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "weft/benchmarks/floors/closed_loop.h"
#include "weft/benchmarks/grpc/connection.h"
#include "weft/benchmarks/grpc/echo.grpc.pb.h"
#include "weft/benchmarks/grpc/grpc_peer.h"
#include "weft/benchmarks/grpc/roles.h"

namespace weft::benchmarks::grpc_peer {
namespace {

using floors::MedianRoundTripNs;
using floors::RepliesPerSecond;

constexpr char kEcho[] = "/weft.benchmarks.grpc_peer.Echo/Echo";
constexpr char kStream[] = "/weft.benchmarks.grpc_peer.Echo/Stream";
constexpr int kPatienceS = 5;

// What is asked for.
struct Order {
  Figure figure;
  int64_t duration_ns;
  bool latency() const { return figure == Figure::kLatency || figure == Figure::kSpinningLatency; }
  size_t outstanding() const { return figure == Figure::kThroughput ? kThroughputOutstanding : 1; }
  size_t bytes() const { return figure == Figure::kBandwidth ? kLongBytes : kSmallBytes; }
};

// Serialized messages that are sent in turn: long ones are more than caches hold.
class Messages {
 public:
  explicit Messages(size_t bytes) {
    EchoMessage message;
    message.set_payload(std::string(bytes, 'x'));
    const grpc::Slice slice(message.SerializeAsString());
    for (size_t i = 0; i < (bytes == kLongBytes ? kLongMessages : 1); ++i) {
      const grpc::Slice copy(slice.begin(), slice.size());
      messages_.emplace_back(&copy, 1);
    }
  }
  const grpc::ByteBuffer& Next() { return messages_[number_++ % messages_.size()]; }
  size_t size() const { return messages_.front().Length(); }  // of each

 private:
  static constexpr size_t kLongMessages = 16;
  std::vector<grpc::ByteBuffer> messages_;
  size_t number_ = 0;
};

// The synchronous API, which parses what it gets: one call at a time, or a stream.
absl::StatusOr<double> AskSync(const std::shared_ptr<grpc::Channel>& channel, const Order& order) {
  const std::unique_ptr<Echo::Stub> stub = Echo::NewStub(channel);
  EchoMessage request, reply;
  request.set_payload(std::string(order.bytes(), 'x'));
  const auto call = [&] {
    grpc::ClientContext context;
    return stub->Echo(&context, request, &reply).ok() && reply.payload().size() == order.bytes();
  };
  switch (order.figure) {
    case Figure::kLatency:
    case Figure::kSpinningLatency:
      return MedianRoundTripNs(order.duration_ns, call);
    case Figure::kThroughput:
      return absl::UnimplementedError("one thread has one call at a time");
    case Figure::kBandwidth:
      return RepliesPerSecond(order.duration_ns, 1, [&](size_t) -> size_t { return call(); });
    case Figure::kStreaming:
      break;
  }
  grpc::ClientContext context;
  const auto reader = stub->Stream(&context, request);
  absl::StatusOr<double> rate = RepliesPerSecond(order.duration_ns, 1, [&](size_t) -> size_t {
    return reader->Read(&reply) && reply.payload().size() == order.bytes();
  });
  context.TryCancel();
  while (reader->Read(&reply)) {
  }
  reader->Finish();
  return rate;
}

// Replies or messages a second, of which other threads count `replies`.
double CountPerSecond(int64_t duration_ns, const std::atomic<uint64_t>& replies) {
  const Clock& clock = RealClock();
  std::this_thread::sleep_for(std::chrono::nanoseconds(duration_ns / 10));
  const uint64_t first = replies;
  const int64_t first_ns = clock.NowNs();
  std::this_thread::sleep_for(std::chrono::nanoseconds(duration_ns - duration_ns / 10));
  while (replies == first && clock.NowNs() - first_ns < duration_ns + floors::kPatienceNs) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const uint64_t counted = replies - first;
  return static_cast<double>(counted) * 1e9 / static_cast<double>(clock.NowNs() - first_ns);
}

// One place of those that the callback API keeps in flight: a reply makes the next call.
class CallbackCaller {
 public:
  CallbackCaller(grpc::GenericStub* stub, Messages* messages, std::atomic<uint64_t>* replies,
                 std::atomic<bool>* stop)
      : stub_(stub), messages_(messages), replies_(replies), stop_(stop) {}

  void Call() {
    context_ = std::make_unique<grpc::ClientContext>();
    stub_->UnaryCall(context_.get(), kEcho, grpc::StubOptions(), &messages_->Next(), &reply_,
                     [this](const grpc::Status& status) {
                       if (!status.ok() || reply_.Length() != messages_->size() || *stop_) {
                         ended_ = true;
                         return;
                       }
                       replies_->fetch_add(1, std::memory_order_relaxed);
                       Call();
                     });
  }
  bool ended() const { return ended_; }

 private:
  grpc::GenericStub* const stub_;
  Messages* const messages_;
  std::atomic<uint64_t>* const replies_;
  std::atomic<bool>* const stop_;
  std::unique_ptr<grpc::ClientContext> context_;
  grpc::ByteBuffer reply_;
  std::atomic<bool> ended_ = false;
};

class CallbackReader final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  CallbackReader(grpc::GenericStub* stub, const grpc::ByteBuffer& request,
                 std::atomic<uint64_t>* messages)
      : size_(request.Length()), messages_(messages) {
    stub->PrepareBidiStreamingCall(&context_, kStream, grpc::StubOptions(), this);
    StartWriteLast(&request, grpc::WriteOptions());
    StartRead(&message_);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (!ok || message_.Length() != size_) return;
    messages_->fetch_add(1, std::memory_order_relaxed);
    StartRead(&message_);
  }
  void OnDone(const grpc::Status&) override { ended_ = true; }
  void Cancel() { context_.TryCancel(); }
  bool ended() const { return ended_; }

 private:
  const size_t size_;
  std::atomic<uint64_t>* const messages_;
  grpc::ClientContext context_;
  grpc::ByteBuffer message_;
  std::atomic<bool> ended_ = false;
};

absl::StatusOr<double> AskCallback(grpc::GenericStub* stub, const Order& order) {
  if (order.latency()) {
    return absl::UnimplementedError("threads that hand over a reply are never the fastest");
  }
  Messages messages(order.bytes());
  std::atomic<uint64_t> replies = 0;
  if (order.figure == Figure::kStreaming) {
    CallbackReader reader(stub, messages.Next(), &replies);
    const double rate = CountPerSecond(order.duration_ns, replies);
    reader.Cancel();
    while (!reader.ended()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return rate;
  }
  std::atomic<bool> stop = false;
  std::vector<std::unique_ptr<CallbackCaller>> callers;
  for (size_t i = 0; i < order.outstanding(); ++i) {
    callers.push_back(std::make_unique<CallbackCaller>(stub, &messages, &replies, &stop));
    callers.back()->Call();
  }
  const double rate = CountPerSecond(order.duration_ns, replies);
  stop = true;
  for (const auto& caller : callers) {
    while (!caller->ended()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return rate;
}

// Completion queues, waited for or polled without ever sleeping.
class Queue {
 public:
  explicit Queue(bool spin) : spin_(spin) {}

  // The next event's tag, or null when there is none for a while.
  void* Next(bool* ok) {
    void* tag;
    if (!spin_) {
      const auto until = std::chrono::system_clock::now() + std::chrono::seconds(kPatienceS);
      return queue_.AsyncNext(&tag, ok, until) == grpc::CompletionQueue::GOT_EVENT ? tag : nullptr;
    }
    int64_t give_up_ns = 0;
    for (uint32_t turn = 1;; ++turn) {
      if (Poll(&tag, ok)) return tag;
      if (turn % 1024 != 0) continue;
      const int64_t now_ns = RealClock().NowNs();
      if (give_up_ns == 0) give_up_ns = now_ns + floors::kPatienceNs;
      if (now_ns > give_up_ns) return nullptr;
    }
  }

  // Whether there is an event now.
  bool Poll(void** tag, bool* ok) {
    return queue_.AsyncNext(tag, ok, gpr_inf_past(GPR_CLOCK_MONOTONIC)) ==
           grpc::CompletionQueue::GOT_EVENT;
  }

  void Drain() {
    queue_.Shutdown();
    void* tag;
    bool ok;
    while (queue_.Next(&tag, &ok)) {
    }
  }

  grpc::CompletionQueue* get() { return &queue_; }

 private:
  const bool spin_;
  grpc::CompletionQueue queue_;
};

// Unary calls, `outstanding` at the same time.
class QueueCaller {
 public:
  QueueCaller(grpc::GenericStub* stub, Queue* queue, const Order& order)
      : stub_(stub), queue_(queue), messages_(order.bytes()), calls_(order.outstanding()) {
    for (auto& call : calls_) idle_.push_back(&call);
  }

  // Starts `n` calls, waits for one to end and returns how many have been answered.
  size_t Exchange(size_t n) {
    for (size_t i = 0; i < n; ++i) Start();
    size_t answered = 0;
    bool ok;
    void* tag = queue_->Next(&ok);
    while (tag != nullptr) {
      auto* const call = static_cast<Call*>(tag);
      if (!(*call)->status.ok() || (*call)->reply.Length() != messages_.size()) return 0;
      idle_.push_back(call);
      ++answered;
      if (idle_.size() == calls_.size() || !queue_->Poll(&tag, &ok)) break;
    }
    return answered;
  }

 private:
  struct State {
    grpc::ClientContext context;
    grpc::ByteBuffer reply;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<grpc::ByteBuffer>> reader;
  };
  using Call = std::unique_ptr<State>;

  void Start() {
    Call* const call = idle_.back();
    idle_.pop_back();
    *call = std::make_unique<State>();
    State& state = **call;
    state.reader = stub_->PrepareUnaryCall(&state.context, kEcho, messages_.Next(), queue_->get());
    state.reader->StartCall();
    state.reader->Finish(&state.reply, &state.status, call);
  }

  grpc::GenericStub* const stub_;
  Queue* const queue_;
  Messages messages_;
  std::vector<Call> calls_;
  std::vector<Call*> idle_;
};

absl::StatusOr<double> ReadFromQueue(grpc::GenericStub* stub, Queue* queue, const Order& order) {
  Messages messages(order.bytes());
  grpc::ClientContext context;
  const auto stream = stub->PrepareCall(&context, kStream, queue->get());
  grpc::ByteBuffer message;
  char started, sent, read;  // what events are tagged with
  bool ok;
  stream->StartCall(&started);
  if (queue->Next(&ok) == nullptr || !ok) return absl::UnavailableError("no stream");
  stream->Write(messages.Next(), grpc::WriteOptions().set_last_message(), &sent);
  stream->Read(&message, &read);
  const absl::StatusOr<double> rate = RepliesPerSecond(order.duration_ns, 1, [&](size_t) -> size_t {
    const void* const tag = queue->Next(&ok);
    if (tag != &read) return 0;
    const size_t n = ok && message.Length() == messages.size();
    if (ok) stream->Read(&message, &read);
    return n;
  });
  context.TryCancel();
  grpc::Status status;
  stream->Finish(&status, &started);
  queue->Drain();
  return rate;
}

absl::StatusOr<double> AskQueue(grpc::GenericStub* stub, const Order& order, bool spin) {
  Queue queue(spin);
  if (order.figure == Figure::kStreaming) return ReadFromQueue(stub, &queue, order);
  QueueCaller caller(stub, &queue, order);
  absl::StatusOr<double> result;
  if (order.latency()) {
    result = MedianRoundTripNs(order.duration_ns, [&] { return caller.Exchange(1) == 1; });
  } else {
    result = RepliesPerSecond(order.duration_ns, order.outstanding(),
                              [&](size_t n) { return caller.Exchange(n); });
  }
  queue.Drain();
  return result;
}

}  // namespace

absl::Status Ask(Peer& peer) {
  const std::string& api = peer.arguments()[0];
  const auto channel = Connect(peer.arguments()[1], peer.arguments()[2]);
  if (!channel.ok()) return channel.status();
  const Order order = {.figure = static_cast<Figure>(peer.Number(3)),
                       .duration_ns = peer.Number(4)};
  grpc::GenericStub stub(*channel);
  absl::StatusOr<double> result = api == "sync"       ? AskSync(*channel, order)
                                  : api == "callback" ? AskCallback(&stub, order)
                                                      : AskQueue(&stub, order, api == "spinning");
  if (!result.ok()) return result.status();
  if (*result == 0) return absl::UnavailableError("no reply");
  peer.Report(order.figure == Figure::kBandwidth ? *result * kLongBytes : *result);
  return absl::OkStatus();
}

}  // namespace weft::benchmarks::grpc_peer
