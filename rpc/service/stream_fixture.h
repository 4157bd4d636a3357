// SPDX-License-Identifier: Apache-2.0
//
// For tests: streams of bytes between a client and a server over a simulated network, without what
// services add to them.
//
//   StreamPair pair;
//   pair.serve = [](ServerStream& stream, ServerCall&) { return EchoAll(stream); };
//   TaskGroup tasks;
//   tasks.Spawn(Talk(pair));
//   pair.RunUntil([&] { return tasks.size() == 0; });
#ifndef WEFT_RPC_SERVICE_STREAM_FIXTURE_H_
#define WEFT_RPC_SERVICE_STREAM_FIXTURE_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/rpc/service/client_streams.h"
#include "weft/rpc/service/server_streams.h"
#include "weft/rpc/service/service_wire.h"
#include "weft/rpc/service/stream_io.h"
#include "weft/rpc/test_router.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {

inline Payload Bytes(absl::string_view text) {
  return Payload::Copy({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

template <typename Stream>
auto ReadFrom(Stream& stream, BufferChain* message) {
  auto* const state = &stream.state();
  return StreamRead<std::remove_pointer_t<decltype(state)>, RawBytes>(state, message);
}
// `message` must live until it is awaited.
template <typename Stream>
auto WriteTo(Stream& stream, const Payload& message) {
  auto* const state = &stream.state();
  return StreamWrite<std::remove_pointer_t<decltype(state)>, RawBytes>(state, message);
}

struct StreamPairOptions {
  sim::LinkOptions link = {.latency_ns = 5000};
  size_t buffers = 4096;
  ClientOptions client = {.timeout = absl::Seconds(1), .wire = Wire::kExtended};
  ServerOptions server = {};
  StreamOptions client_streams = {};
  StreamOptions server_streams = {};
  uint64_t seed = 1;
  bool router = false;  // between the two
};

class StreamPair {
 public:
  using Serve = std::function<Task<absl::Status>(ServerStream& stream, ServerCall& call)>;

  explicit StreamPair(StreamPairOptions options = {})
      : options_(std::move(options)),
        network_(options_.seed, options_.link),
        transport_(sim::OpenTransport(&network_, {.count = options_.buffers})),
        loop_({}, network_) {
    options_.server.key_seed = options_.seed;
    options_.client.request_id_seed = options_.seed + 1;
    options_.client_streams.seed = options_.seed + 2;
    StartServer();
    client_ = *Client::Create(loop_, *transport_->OpenDatagramPort({.local = Address::Sim("c")}),
                              options_.client);
    if (options_.router) {
      router_ = std::make_unique<TestRouter>(
          loop_, *transport_->OpenDatagramPort({.local = Address::Sim("r")}),
          TestRouter::Options{.seed = options_.seed + 3});
      router_->Add(Address::Sim("s"));
    }
    peer_ = *client_->Resolve(Address::Sim(options_.router ? "r" : "s"));
    streams_ = std::make_unique<ClientStreams>(*client_, peer_, options_.client_streams);
  }
  ~StreamPair() {
    streams_.reset();
    client_.reset();
    server_.reset();
  }

  void StartServer() {
    server_.reset();
    server_streams_.reset();
    server_ = *Server::Create(
        loop_, *transport_->OpenDatagramPort({.local = Address::Sim("s")}), options_.server,
        [this](HandlerTasks& tasks, ServerCall call) { return OnCall(tasks, std::move(call)); });
    server_streams_ = std::make_unique<ServerStreams>(*server_, options_.server_streams);
  }
  void EndServer() { server_.reset(); }

  // The handler of OPENs.
  Serve serve;

  // Begins a stream whose OPEN has an empty body.
  void Start(ClientStream& stream, const CallOptions& call_options = {}) {
    std::array<uint8_t, kRequestHeadBytesMax> head;
    const size_t size =
        WriteRequestHead({.kind = RequestKind::kOpen, .id = 1, .number = stream.id()}, head.data());
    stream.Start(Payload::Copy({head.data(), size}), call_options);
  }
  // What an OPEN's reply says.
  static absl::Status StatusOf(const absl::StatusOr<BufferChain>& reply) {
    ReplyHead head;
    if (!reply.ok()) return reply.status();
    if (!ReadReplyHead(reply->front(), RequestKind::kOpen, &head)) {
      return absl::InternalError("no head");
    }
    return head.code == absl::StatusCode::kOk ? absl::OkStatus() : absl::Status(head.code, "");
  }

  bool RunUntil(absl::FunctionRef<bool()> done, int64_t end_ns = INT64_MAX) {
    return RunVirtual(network_, {&loop_}, done, end_ns);
  }
  void RunFor(int64_t duration_ns) {
    bool over = false;
    network_.events().At(network_.NowNs() + duration_ns, [&over] { over = true; });
    RunUntil([&over] { return over; });
  }

  sim::Network& network() { return network_; }
  Loop& loop() { return loop_; }
  Client& client() { return *client_; }
  Server& server() { return *server_; }
  TestRouter& router() { return *router_; }
  const Peer& peer() const { return peer_; }
  ClientStreams& streams() { return *streams_; }
  ServerStreams& server_streams() { return *server_streams_; }
  void EndClient() {
    streams_.reset();
    client_.reset();
  }

 private:
  HandlerTasks::Running* OnCall(HandlerTasks& tasks, ServerCall call) {
    RequestHead head;
    if (!ReadRequestHead(call.request().front(), &head)) {
      (void)call.Reply(absl::Span<const uint8_t>());
      return nullptr;
    }
    call.request().TrimFront(head.bytes());
    switch (head.kind) {
      case RequestKind::kUnary:
        (void)call.Reply(std::move(call.request()));
        return nullptr;
      case RequestKind::kPush:
        server_streams_->OnPush(std::move(call), head);
        return nullptr;
      case RequestKind::kPull:
        server_streams_->OnPull(std::move(call), head);
        return nullptr;
      case RequestKind::kOpen:
        break;
    }
    return tasks.Spawn(Open(*this, std::move(call), head.number));
  }

  static Task<void> Open(StreamPair& self, ServerCall call, uint64_t id) {
    ServerStream stream(*self.server_streams_, call, id);
    absl::Status status = stream.status();
    uint64_t batches = 0;
    if (status.ok()) {
      status = co_await self.serve(stream, call);
      co_await stream.Flush();
      status = stream.Close(std::move(status));
      batches = stream.batches_sent();
    }
    std::array<uint8_t, kReplyHeadBytesMax> head;
    WriteReplyHead({.code = status.code(), .number = batches}, RequestKind::kOpen, head.data());
    (void)call.Reply(head);
  }

  StreamPairOptions options_;
  sim::Network network_;
  std::unique_ptr<Transport> transport_;
  Loop loop_;
  std::unique_ptr<ServerStreams> server_streams_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<TestRouter> router_;
  std::unique_ptr<Client> client_;
  Peer peer_;
  std::unique_ptr<ClientStreams> streams_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_STREAM_FIXTURE_H_
