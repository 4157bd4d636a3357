// SPDX-License-Identifier: Apache-2.0

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "weft/benchmarks/grpc/connection.h"
#include "weft/benchmarks/grpc/echo.grpc.pb.h"
#include "weft/benchmarks/grpc/grpc_peer.h"
#include "weft/benchmarks/grpc/roles.h"

namespace weft::benchmarks::grpc_peer {
namespace {

// Lets the messages of a stream share what is written to the socket. The first one must not wait
// for others: the stream's headers would wait with it.
class Gathering {
 public:
  grpc::WriteOptions Next() {
    grpc::WriteOptions options;
    if (number_++ % kGathered != 0) options.set_buffer_hint();
    return options;
  }

 private:
  static constexpr uint32_t kGathered = 16;
  uint32_t number_ = 0;
};

class SyncEcho final : public Echo::Service {
  grpc::Status Echo(grpc::ServerContext*, const EchoMessage* request, EchoMessage* reply) override {
    // What a server does that has no further use for the request.
    reply->mutable_payload()->swap(*const_cast<EchoMessage*>(request)->mutable_payload());
    return grpc::Status::OK;
  }
  grpc::Status Stream(grpc::ServerContext*, const EchoMessage* request,
                      grpc::ServerWriter<EchoMessage>* writer) override {
    Gathering gathering;
    while (writer->Write(*request, gathering.Next())) {
    }
    return grpc::Status::OK;
  }
};

// Byte buffers in place of messages.
using RawCallbackService =
    Echo::WithRawCallbackMethod_Echo<Echo::WithRawCallbackMethod_Stream<Echo::Service>>;
using RawQueueService = Echo::WithRawMethod_Echo<Echo::WithRawMethod_Stream<Echo::Service>>;

class EndlessReactor final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  explicit EndlessReactor(const grpc::ByteBuffer& message) : message_(message) {
    StartWrite(&message_, gathering_.Next());
  }
  void OnWriteDone(bool ok) override {
    if (ok) {
      StartWrite(&message_, gathering_.Next());
    } else {
      Finish(grpc::Status::CANCELLED);
    }
  }
  void OnDone() override { delete this; }

 private:
  const grpc::ByteBuffer message_;
  Gathering gathering_;
};

class CallbackEcho final : public RawCallbackService {
  grpc::ServerUnaryReactor* Echo(grpc::CallbackServerContext* context,
                                 const grpc::ByteBuffer* request,
                                 grpc::ByteBuffer* reply) override {
    *reply = *request;  // counts references
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Stream(grpc::CallbackServerContext*,
                                                     const grpc::ByteBuffer* request) override {
    return new EndlessReactor(*request);
  }
};

// One call of the completion-queue server: waits for a request, deals with it, and starts over.
class QueueCall {
 public:
  virtual ~QueueCall() = default;
  virtual void Proceed(bool ok) = 0;
};

class UnaryQueueCall final : public QueueCall {
 public:
  UnaryQueueCall(RawQueueService* service, grpc::ServerCompletionQueue* queue)
      : service_(service), queue_(queue) {
    Wait();
  }

  void Proceed(bool ok) override {
    if (state_->answered || !ok) {
      Wait();
      return;
    }
    state_->answered = true;
    state_->writer.Finish(state_->request, grpc::Status::OK, this);
  }

 private:
  struct State {
    grpc::ServerContext context;
    grpc::ByteBuffer request;
    grpc::ServerAsyncResponseWriter<grpc::ByteBuffer> writer{&context};
    bool answered = false;
  };

  void Wait() {
    state_ = std::make_unique<State>();
    service_->RequestEcho(&state_->context, &state_->request, &state_->writer, queue_, queue_,
                          this);
  }

  RawQueueService* const service_;
  grpc::ServerCompletionQueue* const queue_;
  std::unique_ptr<State> state_;
};

class StreamQueueCall final : public QueueCall {
 public:
  StreamQueueCall(RawQueueService* service, grpc::ServerCompletionQueue* queue)
      : service_(service), queue_(queue) {
    Wait();
  }

  void Proceed(bool ok) override {
    if (state_->ended) {
      Wait();
    } else if (ok) {
      state_->writer.Write(state_->request, state_->gathering.Next(), this);
    } else {
      state_->ended = true;
      state_->writer.Finish(grpc::Status::CANCELLED, this);
    }
  }

 private:
  struct State {
    grpc::ServerContext context;
    grpc::ByteBuffer request;
    grpc::ServerAsyncWriter<grpc::ByteBuffer> writer{&context};
    Gathering gathering;
    bool ended = false;
  };

  void Wait() {
    state_ = std::make_unique<State>();
    service_->RequestStream(&state_->context, &state_->request, &state_->writer, queue_, queue_,
                            this);
  }

  RawQueueService* const service_;
  grpc::ServerCompletionQueue* const queue_;
  std::unique_ptr<State> state_;
};

void ServeQueue(RawQueueService* service, grpc::ServerCompletionQueue* queue, bool spin) {
  std::vector<std::unique_ptr<QueueCall>> calls;
  for (int i = 0; i < 2 * kThroughputOutstanding; ++i) {
    calls.push_back(std::make_unique<UnaryQueueCall>(service, queue));
  }
  calls.push_back(std::make_unique<StreamQueueCall>(service, queue));
  void* tag;
  bool ok;
  if (!spin) {
    while (queue->Next(&tag, &ok)) static_cast<QueueCall*>(tag)->Proceed(ok);
    return;
  }
  for (;;) {
    const auto next = queue->AsyncNext(&tag, &ok, gpr_inf_past(GPR_CLOCK_MONOTONIC));
    if (next == grpc::CompletionQueue::SHUTDOWN) return;
    if (next == grpc::CompletionQueue::GOT_EVENT) static_cast<QueueCall*>(tag)->Proceed(ok);
  }
}

}  // namespace

absl::Status Available() { return absl::OkStatus(); }

absl::Status Serve(Peer& peer) {
  const std::string& api = peer.arguments()[0];
  auto credentials = ServerCredentials(peer.arguments()[2]);
  if (!credentials.ok()) return credentials.status();
  SyncEcho sync;
  CallbackEcho callback;
  RawQueueService queued;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(peer.arguments()[1], *credentials, &port);
  SetLimits(&builder);
  std::unique_ptr<grpc::ServerCompletionQueue> queue;
  if (api == "sync") {
    builder.RegisterService(&sync);
  } else if (api == "callback") {
    builder.RegisterService(&callback);
  } else {
    builder.RegisterService(&queued);
    queue = builder.AddCompletionQueue();
  }
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    return absl::UnavailableError(absl::StrCat("gRPC cannot listen at ", peer.arguments()[1]));
  }
  peer.Report(port);
  if (queue != nullptr) ServeQueue(&queued, queue.get(), /*spin=*/api == "spinning");
  server->Wait();
  return absl::OkStatus();
}

}  // namespace weft::benchmarks::grpc_peer
