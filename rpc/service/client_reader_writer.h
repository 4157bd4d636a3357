// SPDX-License-Identifier: Apache-2.0
//
// Calls of streaming methods: what stubs return.
//
//   rpc::ClientReader<Row> rows = store.Scan(request);
//   Row row;
//   while (co_await rows.Read(&row)) ...
//   absl::Status status = co_await rows.Finish();
//
//   LoadResponse response;
//   rpc::ClientWriter<PutRequest> puts = store.Load(&response);
//   for (const PutRequest& put : all) {
//     if (!co_await puts.Write(put)) break;       // Finish() says why
//   }
//   absl::Status status = co_await puts.Finish();  // WritesDone() included
//
//   rpc::ClientReaderWriter<WatchRequest, Event> watch = store.Watch();  // both
//
// The call begins at once. Read() gives false when there are no more messages, Write() when no more
// can be sent: the stream has ended then, or will soon, and Finish() gives its status. Otherwise
// both wait: Read() for a message; Write() for room, so that a server that does not read stops its
// client. Messages that are written one after the other share packets, and leave when the loop goes
// on.
//
// A server is not kept waiting by those who read slowly, but its method is, when the packets of the
// window (`ChannelOptions::streams`) are full.
//
// A stream has the deadline of its context; without one it lives until it ends. Destroying the call
// before Finish() has ended cancels it: the method at the server is destroyed. Messages, response
// and context must live as long as the call. It stays where the stub returned it: neither copied
// nor moved.
//
// Errors: those of the method and of UnaryCall (unary_call.h), and FailedPrecondition if the client
// speaks the original format only, or the channel is of a session. A server that knows the original
// format only is Unavailable.
//
// One coroutine may read while another one writes, but never two do the same. The message type
// weft.rpc.RawBytes is a BufferChain to read and a Payload to write. In steady state, messages of
// up to a packet allocate nothing beyond what protobuf does.
#ifndef WEFT_RPC_SERVICE_CLIENT_READER_WRITER_H_
#define WEFT_RPC_SERVICE_CLIENT_READER_WRITER_H_

#include <coroutine>
#include <cstddef>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "weft/core/buffer_chain.h"
#include "weft/rpc/service/channel.h"
#include "weft/rpc/service/client_streams.h"
#include "weft/rpc/service/message_codec.h"
#include "weft/rpc/service/stream_io.h"
#include "weft/rpc/service/unary_call.h"

namespace weft::rpc {

// What does not depend on the messages' types.
class StreamCallBase : public UnaryCallBase {
 public:
  class FinishAwaiter;

  // `co_await` gives the status of the call, an absl::Status, once the server has ended it. What is
  // written ends with this, if WritesDone() was not called. Messages that were not read are lost,
  // but a server that waits for room to write them is waited for.
  FinishAwaiter Finish();

 protected:
  StreamCallBase(Channel& channel, const Channel::BoundMethod& method, ClientContext* context,
                 const StreamDirections& directions);
  ~StreamCallBase() { Leave(nullptr); }

  // Sends the OPEN, `body_bytes` of which `write(out)` writes.
  template <typename F>
  void Start(size_t body_bytes, F write) {
    const size_t head_bytes = Begin();
    if (head_bytes == 0) return;
    EncodedMessage open = AllocateMessage(channel_.client().port().pool(), head_bytes + body_bytes);
    if (open.head == nullptr) return Fail();
    WriteHead(open.head);
    write(open.head + head_bytes);
    observed_.AddRequestBytes(body_bytes);
    Send(std::move(open.payload));
  }
  template <typename Request>
  void StartWith(const Request& request) {
    Start(request.ByteSizeLong(),
          [&](uint8_t* out) { request.SerializeWithCachedSizesToArray(out); });
  }
  void StartWith(Payload request);
  void StartWithNothing() {
    Start(0, [](uint8_t*) {});
  }

  // Where the response of a client's stream goes to.
  void SetResponse(void* response, bool (*decode)(BufferChain&& bytes, void* response)) {
    response_ = response;
    decode_ = decode;
  }
  // Null: the stream could not begin, or has ended with Finish().
  ClientStreamState* state() { return stream_.has_value() ? &stream_->state() : nullptr; }
  void CloseWrites() {
    if (stream_.has_value()) stream_->state().Close();
  }

 private:
  size_t Begin();
  void Send(Payload open);
  void Fail();
  void OnEnd(absl::StatusOr<BufferChain> reply);
  // The stream has ended like that; null: given up.
  void Leave(const absl::Status* status) {
    stream_.reset();
    if (picked_) [[unlikely]]
      channel_.EndStream(picked_, status);
  }

  Picked picked_;  // of a balancer, while it has it
  std::optional<ClientStream> stream_;
  void* response_ = nullptr;
  bool (*decode_)(BufferChain&& bytes, void* response) = nullptr;
};

class [[nodiscard]] StreamCallBase::FinishAwaiter {
 public:
  explicit FinishAwaiter(StreamCallBase& call) : call_(call) {}
  bool await_ready() {
    if (!call_.stream_.has_value()) return true;
    call_.CloseWrites();
    end_.emplace(call_.stream_->state());
    return end_->await_ready();
  }
  void await_suspend(std::coroutine_handle<> coroutine) { end_->await_suspend(coroutine); }
  absl::Status await_resume() {
    if (end_.has_value()) call_.OnEnd(end_->await_resume());
    return call_.status_;
  }

 private:
  StreamCallBase& call_;
  std::optional<ClientStream::EndAwaiter> end_;
};

inline StreamCallBase::FinishAwaiter StreamCallBase::Finish() { return FinishAwaiter(*this); }

template <typename R>
class [[nodiscard]] ClientReader : public StreamCallBase {
 public:
  // For generated code.
  template <typename Request>
  ClientReader(Channel& channel, const Channel::BoundMethod& method, Request&& request,
               ClientContext* context)
      : StreamCallBase(channel, method, context, {.reads = true}) {
    StartWith(std::forward<Request>(request));
  }

  // `co_await` gives a bool. `message` must live until then.
  StreamRead<ClientStreamState, R> Read(Received<R>* message) { return {state(), message}; }
};

template <typename W>
class [[nodiscard]] ClientWriter : public StreamCallBase {
 public:
  // For generated code. `Response` is a message or a BufferChain.
  template <typename Response>
  ClientWriter(Channel& channel, const Channel::BoundMethod& method, Response* response,
               ClientContext* context)
      : StreamCallBase(channel, method, context, {.writes = true}) {
    SetResponse(response, [](BufferChain&& bytes, void* to) {
      if constexpr (std::is_same_v<Response, BufferChain>) {
        *static_cast<BufferChain*>(to) = std::move(bytes);
        return true;
      } else {
        return DecodeMessage(bytes, static_cast<Response*>(to));
      }
    });
    StartWithNothing();
  }

  // `co_await` gives a bool. `message` must live until then.
  StreamWrite<ClientStreamState, W> Write(const Sent<W>& message) { return {state(), message}; }
  // There will be no more messages.
  void WritesDone() { CloseWrites(); }
};

// `W` is written, `R` is read.
template <typename W, typename R>
class [[nodiscard]] ClientReaderWriter : public StreamCallBase {
 public:
  // For generated code.
  ClientReaderWriter(Channel& channel, const Channel::BoundMethod& method, ClientContext* context)
      : StreamCallBase(channel, method, context, {.reads = true, .writes = true}) {
    StartWithNothing();
  }

  // As of ClientReader and ClientWriter.
  StreamRead<ClientStreamState, R> Read(Received<R>* message) { return {state(), message}; }
  StreamWrite<ClientStreamState, W> Write(const Sent<W>& message) { return {state(), message}; }
  void WritesDone() { CloseWrites(); }
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_CLIENT_READER_WRITER_H_
