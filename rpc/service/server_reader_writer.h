// SPDX-License-Identifier: Apache-2.0
//
// What the handlers of streaming methods are given to read the client's messages and write their
// own.
//
//   Task<absl::Status> Watch(rpc::ServerContext& context,
//                            rpc::ServerReaderWriter<WatchRequest, Event>& stream) override {
//     WatchRequest request;
//     while (co_await stream.Read(&request)) {
//       if (!co_await stream.Write(Find(request))) break;
//     }
//     co_return absl::OkStatus();
//   }
//
// Read() gives false when the client has sent its last message. Write() gives false when nothing
// more can be sent: the stream is broken, and its status says why, whatever the handler returns.
// Otherwise both wait: a reader for messages, a writer until the client has room, which it has as
// long as it reads. Messages that are written while the loop is busy with the handler share
// packets, and leave before the loop does anything else for long.
//
// When the client goes away, or the deadline passes, the handler's coroutine is destroyed where it
// waits.
//
// One coroutine may read while another one writes, but never two do the same. `Read(&message)` of a
// message of weft.rpc.RawBytes gives a BufferChain, in the buffers that it came in if it came
// alone; `Write()` copies the bytes of a Payload.
#ifndef WEFT_RPC_SERVICE_SERVER_READER_WRITER_H_
#define WEFT_RPC_SERVICE_SERVER_READER_WRITER_H_

#include "weft/rpc/service/message_codec.h"
#include "weft/rpc/service/server_streams.h"
#include "weft/rpc/service/stream_io.h"

namespace weft::rpc {

template <typename M>
class ServerReader {
 public:
  explicit ServerReader(ServerStream& stream) : state_(&stream.state()) {}

  // `co_await` gives a bool. `message` must live until then.
  StreamRead<ServerStreamState, M> Read(Received<M>* message) { return {state_, message}; }

 private:
  ServerStreamState* const state_;
};

template <typename M>
class ServerWriter {
 public:
  explicit ServerWriter(ServerStream& stream) : state_(&stream.state()) {}

  // `co_await` gives a bool. `message` must live until then.
  StreamWrite<ServerStreamState, M> Write(const Sent<M>& message) { return {state_, message}; }

 private:
  ServerStreamState* const state_;
};

// `R` is read, `W` is written.
template <typename R, typename W>
class ServerReaderWriter : public ServerReader<R>, public ServerWriter<W> {
 public:
  explicit ServerReaderWriter(ServerStream& stream)
      : ServerReader<R>(stream), ServerWriter<W>(stream) {}
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_SERVER_READER_WRITER_H_
