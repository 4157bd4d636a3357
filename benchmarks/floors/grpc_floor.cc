// SPDX-License-Identifier: Apache-2.0

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "weft/benchmarks/floors/closed_loop.h"
#include "weft/benchmarks/floors/floors.h"
#include "weft/benchmarks/floors/grpc_echo.grpc.pb.h"
#include "weft/benchmarks/floors/roles.h"

namespace weft::benchmarks::floors {
namespace {

class SyncEcho final : public Echo::Service {
  grpc::Status Echo(grpc::ServerContext*, const EchoMessage* request, EchoMessage* reply) override {
    reply->set_payload(request->payload());
    return grpc::Status::OK;
  }
};

class CallbackEcho final : public Echo::CallbackService {
  grpc::ServerUnaryReactor* Echo(grpc::CallbackServerContext* context, const EchoMessage* request,
                                 EchoMessage* reply) override {
    reply->set_payload(request->payload());
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

// One call of the completion-queue server: waits for a request, answers it, and starts over.
class AsyncCall {
 public:
  AsyncCall(Echo::AsyncService* service, grpc::ServerCompletionQueue* queue)
      : service_(service), queue_(queue) {
    Wait();
  }

  void Proceed(bool ok) {
    if (state_ == nullptr || state_->answered || !ok) {
      Wait();
      return;
    }
    state_->answered = true;
    state_->reply.set_payload(state_->request.payload());
    state_->writer.Finish(state_->reply, grpc::Status::OK, this);
  }

 private:
  struct State {
    grpc::ServerContext context;
    EchoMessage request;
    EchoMessage reply;
    grpc::ServerAsyncResponseWriter<EchoMessage> writer{&context};
    bool answered = false;
  };

  void Wait() {
    state_ = std::make_unique<State>();
    service_->RequestEcho(&state_->context, &state_->request, &state_->writer, queue_, queue_,
                          this);
  }

  Echo::AsyncService* const service_;
  grpc::ServerCompletionQueue* const queue_;
  std::unique_ptr<State> state_;
};

void ServeQueue(Echo::AsyncService* service, grpc::ServerCompletionQueue* queue) {
  std::vector<std::unique_ptr<AsyncCall>> calls;
  for (int i = 0; i < 2 * kThroughputOutstanding; ++i) {
    calls.push_back(std::make_unique<AsyncCall>(service, queue));
  }
  void* tag;
  bool ok;
  while (queue->Next(&tag, &ok)) static_cast<AsyncCall*>(tag)->Proceed(ok);
}

// Calls that are outstanding at the same time, over one channel and completion queue.
class AsyncClient {
 public:
  AsyncClient(Echo::Stub* stub, size_t outstanding) : stub_(stub), calls_(outstanding) {
    request_.set_payload(std::string(kRequestBytes, 'x'));
    for (auto& call : calls_) idle_.push_back(&call);
  }

  ~AsyncClient() {
    queue_.Shutdown();
    void* tag;
    bool ok;
    while (queue_.Next(&tag, &ok)) {
    }
  }

  // Starts `n` calls, waits for one to end and returns how many have, failed ones included.
  size_t Exchange(size_t n) {
    for (size_t i = 0; i < n; ++i) Start();
    size_t ended = 0;
    auto deadline = std::chrono::system_clock::now() + std::chrono::milliseconds(100);
    void* tag;
    bool ok;
    while (queue_.AsyncNext(&tag, &ok, deadline) == grpc::CompletionQueue::GOT_EVENT) {
      auto* const call = static_cast<Call*>(tag);
      failures_ += !call->state->status.ok();
      idle_.push_back(call);
      ++ended;
      deadline = std::chrono::system_clock::time_point();
    }
    return ended;
  }

  size_t failures() const { return failures_; }

 private:
  struct State {
    grpc::ClientContext context;
    EchoMessage reply;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<EchoMessage>> reader;
  };
  struct Call {
    std::unique_ptr<State> state;
  };

  void Start() {
    Call* const call = idle_.back();
    idle_.pop_back();
    call->state = std::make_unique<State>();
    State& state = *call->state;
    state.reader = stub_->AsyncEcho(&state.context, request_, &queue_);
    state.reader->Finish(&state.reply, &state.status, call);
  }

  Echo::Stub* const stub_;
  grpc::CompletionQueue queue_;
  EchoMessage request_;
  std::vector<Call> calls_;
  std::vector<Call*> idle_;
  size_t failures_ = 0;
};

}  // namespace

absl::Status GrpcAvailable() { return absl::OkStatus(); }

absl::Status ServeGrpc(Peer& peer) {
  const std::string kind = peer.arguments().empty() ? "" : peer.arguments()[0];
  SyncEcho sync;
  CallbackEcho callback;
  Echo::AsyncService async;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  std::unique_ptr<grpc::ServerCompletionQueue> queue;
  if (kind == "sync") {
    builder.RegisterService(&sync);
  } else if (kind == "callback") {
    builder.RegisterService(&callback);
  } else {
    builder.RegisterService(&async);
    queue = builder.AddCompletionQueue();
  }
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0)
    return absl::UnavailableError("gRPC cannot listen on loopback");
  peer.Report(port);
  if (queue != nullptr) ServeQueue(&async, queue.get());
  server->Wait();
  return absl::OkStatus();
}

absl::Status AskGrpc(Peer& peer) {
  const int64_t duration_ns = peer.Number(0);
  const auto outstanding = static_cast<size_t>(peer.Number(1));
  const auto channel = grpc::CreateChannel(absl::StrCat("127.0.0.1:", peer.Number(2)),
                                           grpc::InsecureChannelCredentials());
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(5))) {
    return absl::UnavailableError("gRPC cannot connect on loopback");
  }
  const std::unique_ptr<Echo::Stub> stub = Echo::NewStub(channel);

  absl::StatusOr<double> result;
  if (outstanding == 1) {
    EchoMessage request;
    request.set_payload(std::string(kRequestBytes, 'x'));
    result = MedianRoundTripNs(duration_ns, [&] {
      grpc::ClientContext context;
      EchoMessage reply;
      return stub->Echo(&context, request, &reply).ok() && reply.payload().size() == kRequestBytes;
    });
  } else {
    AsyncClient client(stub.get(), outstanding);
    result =
        RepliesPerSecond(duration_ns, outstanding, [&](size_t n) { return client.Exchange(n); });
    if (client.failures() > 0) {
      return absl::InternalError(absl::StrCat(client.failures(), " gRPC calls failed"));
    }
  }
  if (result.ok()) peer.Report(*result);
  return result.status();
}

}  // namespace weft::benchmarks::floors
