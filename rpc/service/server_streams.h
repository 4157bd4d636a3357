// SPDX-License-Identifier: Apache-2.0
//
// The streams of a server: finds the one that a PUSH or PULL is for, and keeps what makes them
// bounded. Not for users: ServiceServer has one.
//
//   ServerStreams streams(server, options);
//
//   // In the handler of the server, with the head taken off the request:
//   case RequestKind::kPush: return streams.OnPush(std::move(call), head);
//   case RequestKind::kPull: return streams.OnPull(std::move(call), head);
//
//   // In the coroutine that answers an OPEN:
//   ServerStream stream(streams, call, head.number);
//   if (!stream.status().ok()) ...                  // to be the answer
//   absl::Status status = co_await handler(..., stream, ...);
//   co_await stream.Flush();                        // until the client has room for the last batch
//   status = stream.Close(std::move(status));       // answers what is parked
//   call.Reply(... status, stream.batches_sent() ...);
//
// The stream lives as long as the ServerStream: when the OPEN is cancelled, its coroutine is
// destroyed, and the ServerStream in it answers what is parked. Each stream has at most `window`
// PULLs and `window` PUSHes parked here, which count as ServerStats::parked and not against
// executing_max; their number is limited by streams_max. What a client sends beyond is refused with
// ResourceExhausted, and it tries again later.
//
// A server that drains refuses all new requests, PULLs and PUSHes too, so streams cannot go on:
// reads find no more messages, writes fail, and a handler that has not ended after drain_timeout is
// destroyed. Either way clients see Unavailable.
//
// Threads: the server's, which it must outlive.
#ifndef WEFT_RPC_SERVICE_SERVER_STREAMS_H_
#define WEFT_RPC_SERVICE_SERVER_STREAMS_H_

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "weft/core/timer_wheel.h"
#include "weft/rpc/gatherer.h"
#include "weft/rpc/server.h"
#include "weft/rpc/server_call.h"
#include "weft/rpc/service/service_wire.h"
#include "weft/rpc/service/stream_options.h"
#include "weft/rpc/service/stream_receiver.h"
#include "weft/rpc/service/stream_sender.h"

namespace weft::rpc {

class ServerStreams;

// What a server keeps of one stream. Used again for another one when it has ended.
class ServerStreamState final : public StreamSender, public StreamReceiver {
 public:
  explicit ServerStreamState(ServerStreams& streams);

  // Ends it for the handler; its status becomes `error` unless the handler has a worse one.
  void Break(absl::Status error);
  BufferPool& pool();
  // Told of messages in both directions, a batch at a time; lives as long as the stream is open.
  void set_observer(ObservedCall* observer) {
    StreamSender::set_observer(observer);
    StreamReceiver::set_observer(observer);
  }

 private:
  friend class ServerStream;
  friend class ServerStreams;

  // StreamSender
  bool CanSend() override;
  void SendBatch(Outgoing batch) override;
  size_t BatchBytes() override { return batch_bytes_; }
  void WantFlush() override;
  // StreamReceiver
  void OnConsumed(uint64_t sequence) override;

  void Begin(std::pair<uint32_t, uint64_t> name, const ServerCall& open);
  // The oldest PULL that is parked, of at least one.
  ServerCall TakePull();
  void AnswerParked();

  ServerStreams& streams_;
  std::pair<uint32_t, uint64_t> name_;  // session and stream id; 0, 0: not open
  ServerCall::Name open_;
  uint64_t generation_ = 0;
  size_t batch_bytes_ = 0;
  uint64_t sent_ = 0;      // batches
  bool gathered_ = false;  // in the list of those to be flushed
  absl::Status error_;
  // PULLs wait in a ring, oldest at pulls_begin_; PUSHes by their sequence.
  std::vector<std::optional<ServerCall>> pulls_;
  size_t pulls_begin_ = 0;
  size_t pulls_count_ = 0;
  std::vector<std::optional<ServerCall>> pushes_;
};

class ServerStreams final : public Gatherer {
 public:
  ServerStreams(Server& server, const StreamOptions& options);

  // A call whose head has been taken off its request.
  void OnPush(ServerCall call, const RequestHead& head);
  void OnPull(ServerCall call, const RequestHead& head);

  // Open streams.
  size_t size() const { return open_.size(); }
  // Of all streams: bytes that readers have not read.
  size_t bytes_held() const;
  const StreamStats& stats() const { return stats_; }

 private:
  friend class ServerStream;
  friend class ServerStreamState;

  void Flush() override;
  void OnDrain() override;
  static void OnDrainTimeout(void* self, int64_t now_ns);
  void Gather(ServerStreamState& state) {
    if (std::exchange(state.gathered_, true)) return;
    to_flush_.push_back(&state);
    Want();
  }
  ServerStreamState* Find(const ServerCall& call, const RequestHead& head);
  absl::StatusOr<ServerStreamState*> Open(ServerCall& open, uint64_t id);
  void Release(ServerStreamState& state);
  static void Answer(ServerCall& call, RequestKind kind, const ReplyHead& head);

  Server& server_;
  const StreamOptions options_;
  StreamBlocks blocks_;
  absl::flat_hash_map<std::pair<uint32_t, uint64_t>, ServerStreamState*> open_;
  std::vector<std::unique_ptr<ServerStreamState>> states_;
  std::vector<ServerStreamState*> unused_;
  std::vector<ServerStreamState*> to_flush_;
  StreamStats stats_;
  Timer drain_timeout_;
};

// A stream as its handler's coroutine has it. Not movable.
class ServerStream {
 public:
  // The stream that `open`, an OPEN, asks for under `id`.
  ServerStream(ServerStreams& streams, ServerCall& open, uint64_t id);
  ~ServerStream();
  ServerStream(const ServerStream&) = delete;
  ServerStream& operator=(const ServerStream&) = delete;

  // ResourceExhausted: there are too many; AlreadyExists: the client uses the id already;
  // FailedPrecondition: not in the original format. Only a stream that is OK may be used.
  const absl::Status& status() const { return status_; }

  StreamSender& sender() { return *state_; }
  StreamReceiver& receiver() { return *state_; }
  ServerStreamState& state() { return *state_; }

  // `co_await stream.Flush()` waits until all messages that were written are on their way, or never
  // will be.
  auto Flush() { return FlushAwaiter(*state_); }

  // Answers what is parked; nothing can be read or written any more. Returns the status that the
  // client is to get when the handler's is `of_handler`.
  absl::Status Close(absl::Status of_handler);
  uint64_t batches_sent() const { return state_->sent_; }

 private:
  class FlushAwaiter {
   public:
    explicit FlushAwaiter(ServerStreamState& state) : state_(state) {}
    bool await_ready() { return state_.FlushBatch(); }
    void await_suspend(std::coroutine_handle<> coroutine) {
      waiter_.Wait(state_.room(), coroutine);
    }
    void await_resume() const {}

   private:
    ServerStreamState& state_;
    StreamWaiter waiter_;
  };

  ServerStreams& streams_;
  ServerStreamState* state_ = nullptr;
  absl::Status status_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_SERVER_STREAMS_H_
