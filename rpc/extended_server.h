// SPDX-License-Identifier: Apache-2.0
//
// The part of a server that answers in the extended format: sessions, requests that are executed
// once however often they come, replies that are kept until they have arrived
// (docs/protocols/r2p2_extended.md). Not for users.
//
// One file for each part of the protocol:
//   extended_server.cc    what arrives, and what a burst of it needs from memory
//   extended_sessions.cc  HELLO, PING, CLOSE, RESET, DRAIN; sessions that have gone silent
//   extended_requests.cc  REQUEST and CANCEL; handlers and their end
//   extended_replies.cc   RESPONSE and DROP; what is kept of them and for how long
//   extended_large_requests.cc, extended_large_replies.cc
//                         PROGRESS; messages of several packets
//   extended_bulk.cc      messages that are fetched instead
#ifndef WEFT_RPC_EXTENDED_SERVER_H_
#define WEFT_RPC_EXTENDED_SERVER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/core/timer_wheel.h"
#include "weft/rpc/execution.h"
#include "weft/rpc/packets.h"
#include "weft/rpc/payload.h"
#include "weft/rpc/reply_cache.h"
#include "weft/rpc/server_call.h"
#include "weft/rpc/server_core.h"
#include "weft/rpc/server_session.h"
#include "weft/rpc/server_transfer.h"
#include "weft/rpc/session_event.h"
#include "weft/rpc/session_table.h"
#include "weft/rpc/wire.h"

namespace weft::rpc {

class ExtendedServer {
 public:
  using Events = absl::AnyInvocable<void(const SessionEvent&)>;

  explicit ExtendedServer(ServerCore& core);

  // Errors: of the options.
  absl::Status Init();

  // At most kMaxBurst datagrams, each IsExtended() or IsAnycast().
  void OnBurst(absl::Span<Datagram* const> burst);
  // Once its answers have been sent.
  void AfterBurst(size_t packets);
  // Ends the sessions of clients that have gone, some at once and the others in calls of
  // ForgetSome(), so that it never takes long. Not while is_forgetting().
  void Forget(absl::Span<const Peer> clients);
  bool is_forgetting() const { return !gone_.empty(); }
  void ForgetSome();
  // Tells sessions that the server drains; some of them at each call. True: all have been told.
  bool TellOfDraining();
  // Ends all sessions; clients are told, as far as the port takes it.
  void CloseAll();

  void set_events(Events events) { events_ = std::move(events); }
  void ForEachSession(absl::FunctionRef<void(const ServerSession&)> f);
  // Replies of several packets that have not arrived as a whole.
  size_t replies_under_way() const { return replies_under_way_; }
  // Requests of which only some packets are here.
  size_t incomplete() const { return incomplete_; }
  // Goes on with replies that found no room in the sending queue; false: nothing was sent.
  bool SendWaiting() { return !waiting_.empty() && Resume(); }
  // While fetches are under way, each round. Returns how many have ended.
  size_t TakeFetched();

  // For ServerCall.
  bool IsExecuting(const ServerCall& call) { return Find(call).slot != nullptr; }
  size_t PacketPayloadBytes(const ServerCall& call) {
    const Place place = Find(call);
    return place.slot != nullptr ? place.session->payload_bytes() : 0;
  }
  void Cancel(const ServerCall::Name& call);
  void OnCancel(const ServerCall& call, absl::AnyInvocable<void()> callback);
  absl::Status Reply(const ServerCall& call, absl::Span<const uint8_t> reply);
  absl::Status Reply(const ServerCall& call, Buffer reply);
  absl::Status Reply(const ServerCall& call, Payload reply);
  void Drop(const ServerCall& call, DropReason reason);

 private:
  bool Resume();

  // The slot in which a request is executed; nulls if it is not any more.
  struct Place {
    ServerSession* session = nullptr;
    ServerSlot* slot = nullptr;
  };

  // --- What arrives. The header has been taken off the datagram.
  void OnPacket(Datagram& datagram, const ExtendedHeader& header);
  void OnControl(ServerSession& session, Datagram& datagram, const ExtendedHeader& header);
  // Requests for which a router has picked this server. False: it is none.
  [[gnu::noinline]] bool ReadPicked(const Datagram& datagram, ExtendedHeader* header);
  [[gnu::noinline]] void OnPicked(Datagram& datagram, const ExtendedHeader& header);
  bool MayBeOlder(const ExtendedHeader& header, const ServerSession& session) const;
  void Prefetch(const ExtendedHeader& header);

  // --- Sessions.
  void OnHello(Datagram& datagram, const ExtendedHeader& header);
  ServerSession* OpenSession(const Datagram& datagram, const SessionTable::Client& client,
                             uint32_t nonce, const Hello& hello);
  // A packet with the key has come from where the HELLO did. False: the session is over.
  bool Confirm(ServerSession& session);
  void EndHalfOpen(ServerSession& session, Counter& why);
  void ExpireHalfOpen(int64_t now_ns);
  void CountSessions();
  void RefuseHello(Datagram& datagram, const ExtendedHeader& header, DropReason reason);
  void SendHelloAck(ServerSession& session, Datagram& datagram, const ExtendedHeader& header);
  void OnClose(ServerSession& session, Datagram& datagram, const ExtendedHeader& header);
  void SendReset(Datagram& datagram, const ExtendedHeader& header);
  void EndSession(ServerSession& session, SessionEvent::Kind why);
  // Sends a DRAIN or CLOSE.
  void Tell(ServerSession& session, ControlKind kind, DropReason code);
  static void OnHalfOpenTimer(void* self, int64_t now_ns);
  static void OnSweep(void* self, int64_t now_ns);
  void Sweep(int64_t now_ns);
  void ScheduleSweep(int64_t now_ns);

  // --- Requests.
  void OnRequest(ServerSession& session, Datagram& datagram, const ExtendedHeader& header);
  void OnDuplicate(ServerSession& session, ServerSlot& slot, Datagram& datagram,
                   const ExtendedHeader& header);
  void OnCancelPacket(ServerSession& session, Datagram& datagram, const ExtendedHeader& header);
  DropReason ReasonToRefuse(const ServerSession& session, const Datagram& datagram,
                            const ExtendedHeader& header);
  void Refuse(ServerSession& session, ServerSlot& slot, DropReason reason, Buffer packet);
  // A router may wait for the end of the request that a packet is of, or of a slot's.
  void TellRouter(const ServerSession& session, uint64_t request_id) {
    core_.DoneRouted(session.peer, session.pool_number, static_cast<uint16_t>(request_id));
  }
  void Execute(ServerSession& session, ServerSlot& slot, const ExtendedHeader& header,
               BufferChain request, uint16_t packets);
  Execution& ExecutionOf(ServerSession& session, ServerSlot& slot);
  // Ends what the slot's handler does; the slot is then as given.
  void CancelExecution(ServerSession& session, ServerSlot& slot, DropReason reason);
  // Lets go of what the slot still does or keeps for its latest request, but for the block.
  void Retire(ServerSession& session, ServerSlot& slot);
  static void OnDeadline(void* execution, int64_t now_ns);
  Place Find(uint32_t number, uint32_t key, uint64_t request_id) {
    ServerSession* const session = sessions_.Find(number, key);
    const auto index = static_cast<uint16_t>(request_id);
    if (session == nullptr || index >= session->slot_count) return {};
    ServerSlot& slot = session->slots[index];
    if (slot.request_id != request_id || slot.state != ServerSlot::State::kExecuting) return {};
    return {session, &slot};
  }
  Place Find(const ServerCall& call) {
    return Find(call.ids_.session, call.ids_.key, call.ids_.request_id);
  }

  // --- Replies. Packets are null, or empty and with room for a header.
  bool Keep(ServerSession& session, ServerSlot& slot, absl::Span<const uint8_t> reply);
  void Replied(ServerSession& session, ServerSlot& slot, ServerSlot::State state, int64_t now_ns);
  absl::Status ReplyWithPacket(const Place& place, absl::Span<const uint8_t> bytes, Buffer packet);
  void ResendKept(ServerSession& session, ServerSlot& slot, Buffer packet);
  void SendDrop(ServerSession& session, ServerSlot& slot, Buffer packet);
  void SendProgress(ServerSession& session, ServerSlot& slot, uint16_t packets, Buffer packet);
  // Of one session: what was kept for long enough, and requests that do not go on.
  void FreeOld(ServerSession& session, uint32_t now_ms);
  void MakeRoomForReplies();

  // --- Requests of several packets.
  void BeginRequest(ServerSession& session, ServerSlot& slot, bool admitted);
  void OnRequestPacket(ServerSession& session, ServerSlot& slot, Datagram& datagram,
                       const ExtendedHeader& header);
  bool MakeRoom(ServerSession& session, ServerSlot& slot, size_t packets);
  void OnRoom(LargeRequest& request);
  // Whether there are buffers for what was promised and so many more.
  bool HasBuffers(size_t more) const;
  void AcknowledgeRequests();
  void AcknowledgeRequest(ServerSession& session, ServerSlot& slot);
  void EndRequest(ServerSession& session, ServerSlot& slot);

  // --- Requests that are announced.
  void OnAnnouncement(ServerSession& session, ServerSlot& slot, Datagram& datagram,
                      const ExtendedHeader& header);
  bool WaitsForWay(size_t bytes, size_t packets) const;
  void AcknowledgeLater(LargeRequest& request);
  void OnFetched(ServerSession& session, ServerSlot& slot, Buffer message);
  void OnFetchFailed(ServerSession& session, ServerSlot& slot, Buffer room);

  // --- Replies that are announced.
  Payload CopyOfReply(const ServerSession& session, absl::Span<const uint8_t> reply);
  bool HasItsShare(const ServerSession& session) const;
  // False: it is to go in packets.
  bool AnnounceReply(const Place& place, Payload& payload, size_t packets);
  void SendAnnouncement(ServerSession& session, ServerSlot& slot, bool resent);
  void OnAnnouncedProgress(ServerSession& session, ServerSlot& slot, const ExtendedHeader& header,
                           const Progress& progress);

  // --- Replies of several packets.
  absl::Status ReplyInSeveral(const Place& place, Payload reply);
  // The slot's request has been answered by that reply, which is on its way from now on.
  void BeginReply(const Place& place, LargeReply* reply);
  void OnProgress(ServerSession& session, Datagram& datagram, const ExtendedHeader& header);
  // Sends what may be sent.
  void PumpReplies(ServerSession& session);
  void SendReplyPacket(ServerSession& session, LargeReply& reply, size_t index, int64_t now_ns);
  // The client hears nothing: sends what is missing again, unless it was sent just now.
  void RecoverReply(ServerSession& session, LargeReply& reply);
  // Complete or not, the reply is not kept any more.
  void EndReply(ServerSession& session, ServerSlot& slot);
  ReplyFlow& FlowOf(ServerSession& session);
  void FreeUnusedFlow(ServerSession& session);
  void FreeFlow(ServerSession& session);
  static void OnPacing(void* flow, int64_t now_ns);

  // A header to the client of `session`.
  ExtendedHeader HeaderTo(const ServerSession& session, MessageType type, uint64_t request_id,
                          int64_t now_ns) const {
    return {.type = type,
            .first = true,
            .last = true,
            .session = session.client_number,
            .from_session = session.number,
            .key = session.key,
            .request_id = request_id,
            .timestamp = static_cast<uint32_t>(now_ns),
            .credits = core_.credits};
  }
  ExtendedHeader AnswerTo(const ServerSession& session, const ServerSlot& slot, MessageType type,
                          int64_t now_ns) const {
    ExtendedHeader header = HeaderTo(session, type, slot.request_id, now_ns);
    header.echo_valid = true;
    header.echo = slot.echo_base + header.timestamp;
    return header;
  }
  static ExtendedHeader Control(ControlKind kind, const ExtendedHeader& question);
  // Sends `body` behind `header` in `packet`, which may be null.
  void Send(const Peer& peer, const ExtendedHeader& header, absl::Span<const uint8_t> body,
            Buffer packet);
  // An empty packet of the datagram's memory, so that answers need none of the pool's.
  static Buffer Recycle(Datagram& datagram);
  int64_t NowNs() const {
    return in_burst_ && !slow_handlers_ ? now_ns_ : core_.loop.clock().NowNs();
  }

  ServerCore& core_;
  const int64_t timeout_ns_;
  const uint32_t reassembly_ms_;
  const uint32_t reply_cache_ms_;
  const RttOptions rtt_options_;
  const bool gather_;
  size_t packet_bytes_max_ = 0;  // that this side takes and sends
  uint64_t incarnation_ = 0;
  SessionTable sessions_;
  ReplyCache cache_;
  ExecutionPool executions_;
  ReceiveBudget budget_;
  size_t arrived_ = 0;  // buffers of requests that have come in part
  ObjectPool<LargeRequest> requests_;
  ObjectPool<LargeReply> replies_;
  FetchTable<RequestName> fetches_;
  size_t incomplete_ = 0;
  size_t replies_under_way_ = 0;
  size_t bulk_sessions_ = 0;                 // with replies that were announced
  std::vector<RequestName> to_acknowledge_;  // in this burst
  std::vector<RequestName> waiting_;         // sessions whose replies wait for room
  std::vector<RequestName> resumed_;         // while they go on
  Events events_;

  const ServerSlot* running_ = nullptr;  // its handler was started and has not answered
  bool slow_handlers_ = false;           // in the last burst
  bool picked_ = false;                  // the request that has come, by a router
  bool in_burst_ = false;
  int64_t now_ns_ = 0;  // while in_burst_
  uint32_t burst_ = 0;  // counts them
  std::array<ExtendedHeader, kMaxBurst> headers_;

  const int64_t half_open_ns_;
  Timer half_open_timer_;  // while there are any: for the oldest
  Timer sweep_;
  int64_t sweep_period_ns_;  // for all sessions
  int64_t sweep_due_ns_ = 0;
  int64_t lenient_until_ns_ = INT64_MIN / 2;  // nobody is taken for dead
  size_t sweep_hand_ = 0;                     // places before it have been looked at
  size_t reply_hand_ = 0;                     // places before it have given up their replies
  size_t drain_hand_ = 0;                     // places before it have been told
  std::vector<Peer> gone_;                    // whose sessions end
  size_t gone_hand_ = 0;                      // places before it have been looked at
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_EXTENDED_SERVER_H_
