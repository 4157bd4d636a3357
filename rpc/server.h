// SPDX-License-Identifier: Apache-2.0
//
// The server side of R2P2: receives requests, runs the handler, sends replies.
//
//   // Echo, without a copy:
//   auto server = rpc::Server::Create(loop, std::move(port), options, [](rpc::ServerCall call) {
//     call.Reply(std::move(call.request()));
//   });
//
//   // A coroutine as the handler:
//   Task<void> Handle(rpc::ServerCall call) {
//     co_await call.loop().Sleep(absl::Microseconds(10));
//     call.Reply(Compute(call.request()));
//   }
//   auto server = rpc::Server::Create(loop, std::move(port), options, &Handle);
//
// What arrives and makes no sense is counted and dropped (ServerStats). A request that came in part
// and does not go on expires. A request for replicated execution is refused: this server is not a
// replica. R2P2 has no request ids wide enough to recognise an old one, so a request that the
// network duplicates in one packet is executed twice.
//
// Threads: a server belongs to its loop's thread, as do its calls; several workers each have one
// over their own port. The handler and its coroutines must not destroy the server.
#ifndef WEFT_RPC_SERVER_H_
#define WEFT_RPC_SERVER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/buffer_chain.h"
#include "weft/core/loop.h"
#include "weft/core/metrics.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/rpc/incoming_requests.h"
#include "weft/rpc/options.h"
#include "weft/rpc/packet_queue.h"
#include "weft/rpc/packets.h"
#include "weft/rpc/wire.h"
#include "weft/transports/datagram_port.h"

namespace weft::rpc {

class Server;

// One request, to be answered once. Move-only. One that is destroyed unanswered leaves the client
// to its timeout. Must not outlive the server.
class ServerCall {
 public:
  ServerCall(ServerCall&& other) noexcept
      : server_(std::exchange(other.server_, nullptr)),
        client_(other.client_),
        request_id_(other.request_id_),
        policy_(other.policy_),
        request_(std::move(other.request_)) {}
  ServerCall& operator=(ServerCall&&) = delete;
  ~ServerCall();

  BufferChain& request() { return request_; }
  const BufferChain& request() const { return request_; }
  Peer client() const { return client_; }
  Policy policy() const { return policy_; }
  Loop& loop() const;

  // A buffer for a reply of up to kPacketPayloadBytes that is sent without a copy; null when the
  // pool is empty.
  Buffer Allocate();

  // Sends the reply; afterwards the call is over and only to be destroyed. Bytes are copied.
  // Buffers of a message of one piece are sent as they are; longer ones are cut anew, with a copy.
  // ResourceExhausted when buffers or the sending queue ran out, InvalidArgument for a null buffer
  // and for one that is longer than `message_packets_max` allows: nothing was sent then, and
  // another reply, a shorter one perhaps, may be tried.
  absl::Status Reply(absl::Span<const uint8_t> reply);
  absl::Status Reply(Buffer reply);
  absl::Status Reply(BufferChain reply);

  // Tells the client that the request is refused.
  void Drop();

 private:
  friend class Server;
  ServerCall(Server* server, Peer client, const Header& header, BufferChain request)
      : server_(server),
        client_(client),
        request_id_(header.request_id),
        policy_(header.policy),
        request_(std::move(request)) {}

  absl::Status Finish(absl::Status sent);

  Server* server_;  // null once answered
  Peer client_;
  uint16_t request_id_;
  Policy policy_;
  BufferChain request_;
};

struct ServerStats {
  Counter requests;        // handed to the handler
  Counter replies;         // of the handler
  Counter unanswered;      // calls destroyed without a reply
  Counter refused;         // DROPs sent
  Counter feedbacks;       // sent to the router
  Counter send_overflows;  // replies and control messages that found no buffer or no room to wait
  Counter malformed;       // datagrams that are not R2P2, or contradict what came before
  Counter unexpected;  // well-formed packets of no request that is known, or of a type for others
  Counter duplicates;  // packets that had come before
  Counter expired;     // requests given up for lack of progress
  Counter evicted;     // requests given up for others, at a limit
};

class Server : public Pollable {
 public:
  // Decides on a request by its sender and first packet's payload before it is accepted; false
  // refuses it with a DROP. This is the application's flow control.
  using Admission = absl::AnyInvocable<bool(Peer client, absl::Span<const uint8_t> first_payload)>;

  // Adds itself to `loop`, which must outlive it, and runs over `port`, all of whose messages are
  // its own. `handler` is called with a ServerCall and returns void or Task<void>. Errors: of the
  // options, and of resolving the router.
  template <typename F>
  static absl::StatusOr<std::unique_ptr<Server>> Create(Loop& loop,
                                                        std::unique_ptr<DatagramPort> port,
                                                        const ServerOptions& options, F handler) {
    std::unique_ptr<Server> server(new Server(loop, std::move(port), options));
    if constexpr (std::is_void_v<std::invoke_result_t<F&, ServerCall>>) {
      server->handler_ = std::move(handler);
    } else {
      server->handler_ = [server = server.get(),
                          handler = std::move(handler)](ServerCall call) mutable {
        server->tasks_.Spawn(handler(std::move(call)));
      };
    }
    if (absl::Status status = server->Init(); !status.ok()) return status;
    return server;
  }
  // Destroys the coroutines of the handler that have not ended, and sends what the port still
  // takes.
  ~Server() override;

  void set_admission(Admission admission) { admission_ = std::move(admission); }

  // Ok, or why the port is dead, and with it the server.
  const absl::Status& status() const { return port_->status(); }
  const ServerStats& stats() const { return stats_; }
  // Requests of which only some packets are here.
  size_t incomplete() const { return incoming_.size(); }
  DatagramPort& port() { return *port_; }
  Loop& loop() { return loop_; }

  size_t Poll() override;
  int wait_fd() const override { return port_->wait_fd(); }
  bool Arm() override { return sending_.empty() && port_->Arm(); }
  void Disarm() override { port_->Disarm(); }

 private:
  friend class ServerCall;
  Server(Loop& loop, std::unique_ptr<DatagramPort> port, const ServerOptions& options);
  absl::Status Init();

  size_t OnEvents();
  void OnDatagram(Datagram& datagram);
  void OnRequest(const Peer& client, const Header& header, Buffer payload);
  void OnFirstOfSeveral(const Peer& client, const Header& header, Buffer payload);
  void OnLaterPacket(const Peer& client, const Header& header, Buffer payload);
  void Dispatch(const Peer& client, const Header& header, BufferChain request);
  static void OnExpiry(void* self, int64_t now_ns);

  // `reply` fits in a packet and has headroom.
  absl::Status SendReply(const ServerCall& call, Buffer reply);
  // Cuts `size` bytes, which lie in the pieces from `piece` on, into packets.
  template <typename Pieces>
  absl::Status CopyReply(const ServerCall& call, size_t size, Pieces piece);
  absl::Status NoRoom(size_t packets);
  void SendControl(MessageType type, const Peer& client, uint16_t request_id,
                   absl::string_view payload);
  void Refuse(const Peer& client, uint16_t request_id);
  // Every request that was accepted or refused ends here, once.
  void Done(const Peer& client, uint16_t request_id);

  Loop& loop_;
  std::unique_ptr<DatagramPort> port_;
  const ServerOptions options_;
  const size_t burst_;
  const int64_t reassembly_timeout_ns_;
  size_t packet_payload_bytes_ = 0;
  Peer router_;
  Admission admission_;
  ServerStats stats_;
  IncomingRequests incoming_;
  Timer expiry_;
  PacketQueue sending_;
  std::array<Datagram, kMaxBurst> received_;
  absl::AnyInvocable<void(ServerCall)> handler_;  // may hold calls, which use what is above
  TaskGroup tasks_;                               // last: tasks use the handler too
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVER_H_
