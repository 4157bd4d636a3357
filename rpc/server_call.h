// SPDX-License-Identifier: Apache-2.0
//
// One request that a server's handler is given, to be answered once.
//
//   [](rpc::ServerCall call) { (void)call.Reply(std::move(call.request())); }
//
// A handler that does not answer at once keeps the call (it is move-only). In the extended format
// the call may then be cancelled: the client gave it up or is gone, or the deadline that came with
// the request passed. A coroutine that is the handler is destroyed then; others see cancelled() or
// are told by OnCancel(). A reply to a cancelled call goes nowhere.
#ifndef WEFT_RPC_SERVER_CALL_H_
#define WEFT_RPC_SERVER_CALL_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/core/buffer_chain.h"
#include "weft/core/loop.h"
#include "weft/core/timer_wheel.h"
#include "weft/rpc/payload.h"
#include "weft/rpc/wire.h"
#include "weft/transports/port.h"

namespace weft::rpc {

struct ServerCore;

// Move-only. Must not outlive the server. One that is destroyed unanswered leaves a client that
// speaks the original format to its timeout; in the extended format the client is told.
class ServerCall {
 public:
  static constexpr int64_t kNever = TimerWheel::kNever;

  ServerCall(ServerCall&& other) noexcept
      : core_(std::exchange(other.core_, nullptr)),
        ids_(other.ids_),
        client_(other.client_),
        deadline_ns_(other.deadline_ns_),
        parked_(other.parked_),
        request_(std::move(other.request_)) {}
  ServerCall& operator=(ServerCall&&) = delete;
  ~ServerCall() {
    if (core_ != nullptr) [[unlikely]]
      Abandon();
  }

  // What finds the call again, in the extended format, as long as it is not answered.
  struct Name {
    uint32_t session = 0;
    uint32_t key = 0;
    uint64_t request_id = 0;
  };

  Name name() const { return {ids_.session, ids_.key, ids_.request_id}; }
  BufferChain& request() { return request_; }
  const BufferChain& request() const { return request_; }
  Peer client() const { return client_; }
  Policy policy() const { return ids_.policy; }
  // Who the client has proved to be, as long as the call is not answered; "" without security.
  absl::string_view identity() const;
  // The server's number of the client's session; 0 in the original format.
  uint32_t session() const { return ids_.session; }
  // The longest reply of one packet. Of a call that is cancelled: any value.
  size_t packet_payload_bytes() const;
  Loop& loop() const;

  // When the client gives up, in the loop's time; kNever if it did not say.
  int64_t deadline_ns() const { return deadline_ns_; }
  // The time until then: zero when it has passed, InfiniteDuration() when there is no deadline.
  absl::Duration remaining() const;

  // Whether nobody waits for the reply any more. Never in the original format, nor once answered.
  bool cancelled() const;
  // Calls `callback` when the call is cancelled; at once if it is already. Not called once the call
  // is answered or destroyed. It may answer or destroy other calls and destroy this one. One
  // callback a call: a later one replaces it.
  void OnCancel(absl::AnyInvocable<void()> callback);

  // The call is going to wait for long without keeping anything busy: from now on it does not count
  // against `executing_max`. Whoever parks calls limits their number.
  void Park();

  // A buffer that a reply of one packet can be written into, to be sent without a copy; null when
  // the pool is empty.
  Buffer Allocate();
  // A buffer that a reply of `bytes` can be written into. Over a port that has a way for them
  // (DatagramPort::bulk()), a long one is then fetched by the client from where it is, and neither
  // cut nor copied. Null when there is none so long, or none left: a Payload of anything else goes
  // in packets. A long request comes in such a buffer too, and may go back in it. There are few of
  // them: whoever keeps one for long keeps other messages from that way, and copies it instead.
  Buffer Allocate(size_t bytes);

  // Sends the reply; afterwards the call is over and only to be destroyed. Bytes of a span are
  // copied. Buffers of a reply of one piece and one packet are sent as they are.
  //
  // Longer replies are, in the original format, cut anew, with a copy. In the extended format they
  // are kept until the client has them, as is all that a Payload holds (payload.h); a span is
  // copied for it once.
  //
  // Errors; but for the last, another reply, a shorter one perhaps, may be tried:
  // InvalidArgument for a null buffer and for more than the client or this server takes
  // (message_packets_max, message_bytes_max); ResourceExhausted when buffers or the sending queue
  // ran out; FailedPrecondition, original format in plain text from beyond this machine, for a
  // reply longer than its request: the client was told that it is refused, and the call is over;
  // Cancelled when nobody waits any more.
  absl::Status Reply(absl::Span<const uint8_t> reply);
  absl::Status Reply(Buffer reply);
  absl::Status Reply(BufferChain reply);
  absl::Status Reply(Payload reply);

  // Tells the client that the request is refused.
  void Drop();

 private:
  friend struct ServerCore;
  friend class ExtendedServer;
  friend class OriginalServer;

  // What the answer needs of the question.
  struct Ids {
    uint64_t request_id = 0;
    uint32_t session = 0;      // 0: original format
    uint32_t key = 0;          // of the session; original format: bytes of the request's packets
    uint32_t pool_number = 0;  // the client's, of a request whose server a router picked; else 0
    Policy policy = Policy::kFixedRoute;
    uint8_t router = 0;      // that it came through (RouterLinks)
    int64_t arrived_ns = 0;  // loop time, if the server has to do with routers
  };

  ServerCall(ServerCore* core, const Ids& ids, const Peer& client, int64_t deadline_ns,
             BufferChain request)
      : core_(core),
        ids_(ids),
        client_(client),
        deadline_ns_(deadline_ns),
        request_(std::move(request)) {}

  bool extended() const { return ids_.session != 0; }
  absl::Status Finish(absl::Status sent);
  void Leave();
  void Abandon();

  ServerCore* core_;  // null once answered
  Ids ids_;
  Peer client_;
  int64_t deadline_ns_;
  bool parked_ = false;
  BufferChain request_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVER_CALL_H_
