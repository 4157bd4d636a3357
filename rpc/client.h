// SPDX-License-Identifier: Apache-2.0
//
// The client side of R2P2: sends requests, matches replies, times out. One client talks to any
// number of servers.
//
//   auto client = rpc::Client::Create(loop, std::move(port), options);   // absl::StatusOr
//   absl::StatusOr<Peer> server = (*client)->Resolve(address);
//
//   // In a coroutine:
//   absl::StatusOr<BufferChain> reply = co_await (*client)->Call(*server, request);
//   // With a callback:
//   (*client)->Call(*server, request, [](absl::StatusOr<BufferChain> reply) { ... });
//
// A call ends once, with the reply or with an error:
//   DeadlineExceeded    no complete reply within the timeout; the request may or may not have been
//                       executed
//   ResourceExhausted   refused by the server (DROP), or on this side: too many calls outstanding,
//                       no buffers left, packets waiting to be sent; at most the first packet of a
//                       call refused on this side has been sent
//   InvalidArgument     the request is longer than `message_packets_max` allows
//   OutOfRange          the reply is
//   Unavailable         the server cannot be reached, as the network or the transport says
//   the port's status() when that is dead
// R2P2 itself does not resend: whether to try again is the caller's decision.
//
// The reply may come from another address than the one asked, as it does behind a router. Request
// ids are a keyed permutation of a counter: nobody who does not see the traffic can guess one that
// is outstanding.
//
// Threads: a client belongs to its loop's thread. Callbacks run on it, from the loop; they may make
// calls, and may not destroy the client.
#ifndef WEFT_RPC_CLIENT_H_
#define WEFT_RPC_CLIENT_H_

#include <array>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/buffer_chain.h"
#include "weft/core/loop.h"
#include "weft/core/metrics.h"
#include "weft/rpc/options.h"
#include "weft/rpc/packet_queue.h"
#include "weft/rpc/packets.h"
#include "weft/rpc/reassembly.h"
#include "weft/rpc/request_ids.h"
#include "weft/rpc/wire.h"
#include "weft/transports/datagram_port.h"

namespace weft::rpc {

struct CallOptions {
  // Zero: the client's default.
  absl::Duration timeout = absl::ZeroDuration();
  // None: the client's default.
  std::optional<Policy> policy = std::nullopt;
};

struct ClientStats {
  Counter calls;    // begun
  Counter replies;  // calls that ended well
  Counter timeouts;
  Counter drops;       // refused by a server
  Counter failures;    // ended otherwise: cancelled calls do not count
  Counter malformed;   // datagrams that are not R2P2, or contradict what came before
  Counter unexpected;  // well-formed packets for no outstanding call: late, duplicate, or forged
  Counter send_overflows;  // packets given up because their server blocked the port for too long
};

class Client : public Pollable {
 public:
  using Callback = absl::AnyInvocable<void(absl::StatusOr<BufferChain>)>;
  class CallAwaiter;

  // Adds itself to `loop`, which must outlive it, and runs over `port`, all of whose messages are
  // its own. InvalidArgument if the options do not fit together or the port.
  static absl::StatusOr<std::unique_ptr<Client>> Create(Loop& loop,
                                                        std::unique_ptr<DatagramPort> port,
                                                        const ClientOptions& options);
  // Ends what is outstanding without running callbacks; coroutines that wait for a call must be
  // gone already.
  ~Client() override;

  absl::StatusOr<Peer> Resolve(const Address& address) { return port_->Resolve(address); }

  // A buffer that a request of up to kPacketPayloadBytes can be written into and sent without a
  // copy; null when the pool is empty.
  Buffer Allocate() { return port_->pool().Allocate(); }

  // Begins a call; an error means that it did not begin and `callback` is not going to run. Bytes
  // are copied; a Buffer is sent as it is, if it has kHeaderBytes of headroom and fits in a packet,
  // else copied.
  absl::Status Call(const Peer& server, absl::Span<const uint8_t> request, Callback callback,
                    const CallOptions& options = {});
  absl::Status Call(const Peer& server, Buffer request, Callback callback,
                    const CallOptions& options = {});

  // `co_await` gives absl::StatusOr<BufferChain>. The call begins when it is awaited; `request`
  // must live until then. A coroutine that is destroyed while it waits cancels its call.
  CallAwaiter Call(const Peer& server, absl::Span<const uint8_t> request,
                   const CallOptions& options = {});
  CallAwaiter Call(const Peer& server, Buffer request, const CallOptions& options = {});

  size_t outstanding() const { return outstanding_; }
  const ClientStats& stats() const { return stats_; }
  DatagramPort& port() { return *port_; }
  Loop& loop() { return loop_; }

  size_t Poll() override;
  int wait_fd() const override { return port_->wait_fd(); }
  bool Arm() override { return sending_.empty() && port_->Arm(); }
  void Disarm() override { port_->Disarm(); }

 private:
  // A call that is outstanding. Slots are used in the order of the ids.
  struct Slot {
    Client* client = nullptr;
    bool active = false;
    uint16_t request_id = 0;
    Peer server;
    Callback callback;
    Timer timeout{&Client::OnTimeout, this};
    std::vector<Buffer> rest;                // packets of the request that follow the ACK
    std::unique_ptr<Reassembly> reassembly;  // of a reply in several packets; kept for the next one
  };

  Client(Loop& loop, std::unique_ptr<DatagramPort> port, const ClientOptions& options,
         size_t packet_payload_bytes);

  // What both faces of Call() do: the request is `buffer`, or `bytes` if that is null.
  absl::StatusOr<Slot*> Begin(const Peer& server, Buffer&& buffer, absl::Span<const uint8_t> bytes,
                              Callback&& callback, const CallOptions& options);
  // Copies what follows the first packet into packets that wait for the ACK.
  absl::Status PrepareRest(Slot& slot, absl::Span<const uint8_t> rest, Header header);
  Slot* TakeSlot();
  Slot* FindSlot(uint16_t request_id);
  // Ends a call: frees the slot, then runs its callback.
  void End(Slot& slot, absl::StatusOr<BufferChain>&& result);
  void Fail(Slot& slot, absl::Status error);
  // Of one server, or of all if that is null.
  void FailAll(const Peer* server, const absl::Status& error);
  // Ends a call whose caller has gone.
  void Cancel(Slot& slot);
  void Release(Slot& slot);

  void OnDatagram(Datagram& datagram);
  void OnReply(Slot& slot, const Header& header, Buffer&& payload);
  void OnAck(Slot& slot, const Peer& server);
  size_t OnEvents();
  static void OnTimeout(void* slot, int64_t now_ns);

  Loop& loop_;
  std::unique_ptr<DatagramPort> port_;
  const ClientOptions options_;
  const int64_t timeout_ns_;
  const size_t packet_payload_bytes_;
  const size_t burst_;
  RequestIds ids_;
  uint16_t next_sequence_ = 0;
  std::vector<Slot> slots_;  // a power of two; the slot of sequence number n is n mod their number
  size_t outstanding_ = 0;
  PacketQueue sending_;
  std::array<Datagram, kMaxBurst> received_;
  ClientStats stats_;
};

class [[nodiscard]] Client::CallAwaiter {
 public:
  CallAwaiter(const CallAwaiter&) = delete;
  CallAwaiter& operator=(const CallAwaiter&) = delete;
  ~CallAwaiter() {
    if (slot_ != nullptr) client_.Cancel(*slot_);
  }

  bool await_ready() const { return false; }
  bool await_suspend(std::coroutine_handle<> awaiting);
  absl::StatusOr<BufferChain> await_resume() { return std::move(result_); }

 private:
  friend class Client;
  CallAwaiter(Client& client, const Peer& server, Buffer buffer, absl::Span<const uint8_t> bytes,
              const CallOptions& options)
      : client_(client),
        server_(server),
        buffer_(std::move(buffer)),
        bytes_(bytes),
        options_(options) {}

  Client& client_;
  const Peer server_;
  Buffer buffer_;  // null: bytes_ is the request
  const absl::Span<const uint8_t> bytes_;
  const CallOptions options_;
  Slot* slot_ = nullptr;  // while the call is outstanding
  std::coroutine_handle<> awaiting_;
  absl::StatusOr<BufferChain> result_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_CLIENT_H_
