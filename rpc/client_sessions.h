// SPDX-License-Identifier: Apache-2.0
//
// Calls of a client in the extended format, and the sessions that they go through
// (docs/protocols/r2p2_extended.md). Not for users: `Client` (client.h) is.
//
// client_sessions.cc opens and watches sessions, client_session_end.cc ends them. client_calls.cc
// sends requests and receives replies, client_recovery.cc sends again and cancels.
// client_transfers.cc does what messages of several packets need beyond, and client_bulk.cc what
// those need that are fetched instead. client_pools.cc is about sessions with routers, and with the
// servers behind them.
#ifndef WEFT_RPC_CLIENT_SESSIONS_H_
#define WEFT_RPC_CLIENT_SESSIONS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/prng.h"
#include "weft/rpc/client_base.h"
#include "weft/rpc/client_session.h"
#include "weft/rpc/original_calls.h"
#include "weft/rpc/session_event.h"
#include "weft/rpc/wire.h"

namespace weft::rpc {

class ClientSessions {
 public:
  // `original` takes the calls to servers that speak the original format only.
  ClientSessions(ClientBase& base, OriginalCalls& original);
  // Tells the servers of open sessions, as far as the port takes it.
  ~ClientSessions();

  // `copy`: the bytes of `request`, ClientCall::kSmallBytes at most, live only until this returns.
  absl::StatusOr<CallId> Begin(const Target& target, Payload&& request, bool copy,
                               Callback&& callback, Policy policy, int64_t deadline_ns,
                               int64_t now_ns, const CallOptions& options);
  // `quietly`: its answer is going to come by itself.
  void Cancel(CallId id, bool quietly = false);
  void CountResent(CallId id, uint32_t* count);
  bool IsConnected(SessionId id) { return Find(id) != nullptr; }
  SessionShape ShapeOf(SessionId id);

  absl::StatusOr<SessionId> Connect(const Peer& server);
  void Disconnect(SessionId id);

  // A datagram with an extended header; EndBurst() after the last of those received together.
  void OnDatagram(const Peer& peer, Buffer&& datagram);
  void EndBurst() {
    if (!to_acknowledge_.empty()) [[unlikely]]
      AcknowledgeReplies();
  }
  // While fetches are under way, each round. Returns how many have ended.
  size_t TakeFetched();

  void OnPeerEvent(const Peer& peer, const absl::Status& error);
  void FailAll(const absl::Status& error);

  void set_events(absl::AnyInvocable<void(const SessionEvent&)> events) {
    events_ = std::move(events);
  }
  size_t outstanding() const { return outstanding_; }
  const RttOptions& rtt_options() const { return rtt_; }

  static bool IsExtended(CallId id) { return (id.value & kExtendedCall) != 0; }

  // Calls `f(const ClientSession&)` for each session that is in use.
  template <typename F>
  void ForEach(F f) const {
    for (const auto& session : sessions_) {
      if (session->state != ClientSession::State::kFree) f(*session);
    }
  }

 private:
  friend struct ClientCall;
  friend struct ClientSession;
  static constexpr uint64_t kExtendedCall = uint64_t{1} << 63;
  // Whatever a server says: a session is not given up faster.
  static constexpr int64_t kTimeoutLeastNs = 1'000'000;

  // --- client_sessions.cc
  absl::StatusOr<ClientSession*> SessionFor(const Target& target) {
    if (!target.session && latest_ != nullptr && latest_peer_ == target.server) [[likely]]
      return latest_;
    return FindOrOpen(target);
  }
  absl::StatusOr<ClientSession*> FindOrOpen(const Target& target);
  absl::StatusOr<ClientSession*> NewSession(const Peer& server, bool own);
  bool FreeUnused();
  ClientSession* Find(SessionId id);
  static SessionId IdOf(const ClientSession& session);
  void StartConnecting(ClientSession& session);
  void NextNonce(ClientSession& session);
  void SendHello(ClientSession& session);
  size_t PacketBytesTo(const Peer& peer) const;
  // HELLO_ACK of a server, or POOL of a router.
  void OnHelloAck(const ExtendedHeader& header, absl::Span<const uint8_t> body);
  void OpenSession(ClientSession& session, const ExtendedHeader& header, const Hello& hello);
  void OnRefusal(ClientSession& session, const ExtendedHeader& header,
                 absl::Span<const uint8_t> body);
  void OnDrain(ClientSession& session);
  void AskAgain(ClientSession& session, int64_t now_ns);
  bool MayFallBack(const ClientSession& session) const;
  void FallBack(ClientSession& session);
  void OnControl(ClientSession& session, const ExtendedHeader& header,
                 absl::Span<const uint8_t> body);
  void SendControl(ClientSession& session, ControlKind kind, uint64_t request_id = 0);
  void KeepAlive(ClientSession& session, int64_t now_ns);
  void Watch(ClientSession& session, int64_t when_ns);
  static int64_t PingPeriodNs(const ClientSession& session);
  static void OnSessionTimer(void* session, int64_t now_ns);

  // --- client_session_end.cc
  // Ends the session and what is in flight on it with `error`. Calls that wait end as well, or wait
  // for a new one.
  enum class Waiting { kEnd, kReconnect };
  void Lose(ClientSession& session, const absl::Status& error, SessionEvent::Kind kind,
            Waiting waiting);
  void EndCallsOf(ClientSession& session, const absl::Status& error, Waiting waiting);
  // Those that end with the session, by name, as callbacks may call again.
  std::vector<CallId> CallsOf(const ClientSession& session, Waiting waiting) const;
  void EndCalls(absl::Span<const CallId> ending, const absl::Status& error);
  void Forget(ClientSession& session);
  void FreeSession(ClientSession& session);
  void CloseIfDrained(ClientSession& session);
  void Report(const ClientSession& session, SessionEvent::Kind kind);

  // --- client_calls.cc
  ClientCall& NewCall();
  ClientCall* Find(CallId id);
  static CallId IdOf(const ClientCall& call);
  size_t WindowOf(const ClientSession& session) const;
  bool CanStart(const ClientSession& session) const;
  void Start(ClientCall& call, int64_t now_ns);
  static bool IsTooLate(const ClientSession& session, const ClientCall& call, int64_t now_ns);
  void Pump(ClientSession& session);
  void SchedulePacing(ClientSession& session);
  static void OnPacingTimer(void* session, int64_t now_ns);
  void SendRequest(ClientCall& call, int64_t now_ns);
  void SendPieces(ClientCall& call, ClientSession& way, const ExtendedHeader& header);
  // Appends `request` to `packet`, which has room. Returns what is left out of it, as a port that
  // gathers takes it from where it is.
  absl::Span<const uint8_t> AppendPieces(ClientCall& call, const Payload& request, Buffer& packet);
  // Of a message of one packet, which the sender may change.
  ExtendedHeader HeaderTo(const ClientSession& session, MessageType type, uint64_t request_id,
                          int64_t now_ns) const {
    return {.type = type,
            .first = true,
            .last = true,
            .session = session.remote_number,
            .from_session = session.number,
            .key = session.key,
            .request_id = request_id,
            .timestamp = static_cast<uint32_t>(now_ns),
            .credits = static_cast<uint16_t>(base_.options.session.credits)};
  }
  ExtendedHeader RequestHeader(const ClientCall& call, const ClientSession& way,
                               int64_t now_ns) const;
  // Puts `header` and `bytes` together and into the sending queue. `view` where a port that gathers
  // may read the bytes later, as they are those of a call's request.
  void SendPacket(ClientSession& session, const ExtendedHeader& header,
                  absl::Span<const uint8_t> bytes, ClientCall* view);
  void PushPacket(ClientSession& session, Buffer packet, absl::Span<const uint8_t> tail);
  // A packet has been sent.
  void Pace(ClientSession& session) {
    if (const int64_t gap_ns = session.gap_ns(); gap_ns > 0) [[unlikely]] {
      session.pacer.OnSent(base_.loop.now_ns(), gap_ns, kPacedBurst, 1);
    }
  }
  void Arm(ClientCall& call, int64_t now_ns, int64_t wait_ns);
  // How long to wait for an answer. Twice the usual time at least: in a queue that congestion
  // control keeps short, round trips vary too little for RFC 6298 to allow for its next packet.
  int64_t RtoOf(const RttEstimator& rtt, uint32_t tries = 0) const {
    return std::max(rtt.rto_ns(rtt_, tries), std::min(2 * rtt.srtt_ns(), rtt_.rto_max_ns));
  }
  int64_t FirstRtoOf(const ClientCall& call) const {
    return RtoOf(call.held ? call.session->rtt : call.session->response_time);
  }
  int64_t NextRtoOf(const ClientCall& call) const;
  // A request of one packet is not in the network any more.
  static void Landed(ClientCall& call) {
    if (std::exchange(call.counted, false)) --call.session->in_flight;
  }
  void Uncount(const ClientCall& call) {
    --outstanding_;
    if (call.held) --held_;
  }
  void OnResponse(ClientSession& session, const ExtendedHeader& header, Buffer&& datagram);
  void OnDrop(ClientSession& session, const ExtendedHeader& header, absl::Span<const uint8_t> body);
  void OnRoundTrip(ClientSession& session, const ExtendedHeader& header, uint32_t packets);
  ClientCall* CallOf(ClientSession& session, const ExtendedHeader& header);
  void End(ClientCall& call, absl::StatusOr<BufferChain>&& result);
  void Fail(ClientCall& call, absl::Status error);
  // Gives slot, timer and memory back; Free() must follow. The callback stays until then.
  void Release(ClientCall& call);
  void Free(ClientCall& call);
  // Ends a call that nobody waits for.
  void Discard(ClientCall& call);
  void ReleaseRequest(ClientCall& call);

  // --- client_recovery.cc
  void OnRetransmissionTimeout(ClientCall& call, int64_t now_ns);
  void SlowDown(const ClientCall& call, int64_t now_ns, int64_t wait_ns);
  static void OnCallTimer(void* call, int64_t now_ns);

  // --- client_transfers.cc
  void AcknowledgeReplies();
  // Whether a request is longer than it may be at all, or than its session could number.
  absl::Status CheckSize(const ClientSession& session, const Payload& request) const {
    if (request.size() <= session.packet_payload_bytes &&
        request.size() <= base_.options.session.message_bytes_max) [[likely]] {
      return absl::OkStatus();
    }
    return CheckSizeOfLong(session, request);
  }
  absl::Status CheckSizeOfLong(const ClientSession& session, const Payload& request) const;
  void StartTransfer(ClientCall& call);
  void PumpTransfer(ClientCall& call);
  void SendRequestPacket(ClientCall& call, size_t index, int64_t now_ns);
  void OnProgress(ClientSession& session, const ExtendedHeader& header,
                  absl::Span<const uint8_t> body);
  void OnReplyPacket(ClientCall& call, const ExtendedHeader& header, Buffer&& payload);
  void OnTransferTimeout(ClientCall& call, int64_t now_ns);
  void SendProgress(ClientCall& call, bool resent);
  // All packets of the request have arrived.
  void FinishRequest(ClientCall& call);
  bool MakeRoom(ClientCall& call, const ExtendedHeader& header);
  void EndTransfer(ClientCall& call);

  // --- client_bulk.cc
  // How long to wait for an answer to what was last said of a request or reply of several packets.
  int64_t TransferRtoOf(const ClientCall& call) const;
  // False: the request is to go in packets.
  bool Announce(ClientCall& call);
  void SendAnnouncement(ClientCall& call, bool resent, int64_t now_ns);
  void OnAnnouncedProgress(ClientCall& call, const ExtendedHeader& header,
                           const Progress& progress);
  void OnAnnouncement(ClientCall& call, const ExtendedHeader& header,
                      absl::Span<const uint8_t> body);
  void AcknowledgeLater(ClientCall& call);
  void OnFetched(ClientCall& call, BulkTransfers::Fetched&& fetched);
  bool WaitsForWay(ClientCall& call, size_t bytes, size_t packets);
  void SendComplete(const ClientCall& call);

  // --- client_pools.cc
  void OpenPool(ClientSession& session, const ExtendedHeader& header, const Hello& hello);
  void LimitSlots(ClientSession& pool, size_t slots);
  // What arrives in the session with a router, or with a server behind one.
  void OnPooledPacket(const Peer& peer, ClientSession& session, ExtendedHeader& header,
                      Buffer&& datagram);
  void OnMemberPacket(ClientSession& member, ExtendedHeader& header, Buffer&& datagram);
  // A packet in no session, perhaps of a server that a router has sent a request to.
  void OnStrayPacket(const Peer& peer, const ExtendedHeader& header);
  void OnUnknownToServer(ClientSession& pool, const Peer& server, const ExtendedHeader& header);
  void AskRouterAgain(ClientSession& pool);
  // The session with that server; null if there is none.
  ClientSession* FindMember(ClientSession& pool, const Peer& server);
  absl::StatusOr<ClientSession*> NewMember(ClientSession& pool, const Peer& server);
  void OpenMember(ClientSession& member);
  void SendAgain(ClientCall& call);
  // An application's own session is with one server behind the router: the call is that one's, or
  // makes the router pick it.
  void Choose(ClientCall& call);
  // From here on the call is that server's. True: those that waited for a choice may go on.
  bool Pin(ClientCall& call, ClientSession& member);
  // The call has ended.
  void Unpin(ClientCall& call);
  // A request of one packet: to the server that has it, or through the router.
  void SendInPool(ClientCall& call, int64_t now_ns);
  void SendAnycast(ClientCall& call, ExtendedHeader header, const Payload& body, int64_t now_ns);
  // By way of the router, which knows where the call is.
  void CancelInPool(ClientCall& call, int64_t now_ns);
  // The session that packets of the call go through: its own, or that of the server that has it.
  static ClientSession& WayOf(const ClientCall& call) {
    return call.member != nullptr ? *call.member : *call.session;
  }
  // Ends the session with a server behind a router, in good order.
  void CloseMember(ClientSession& member, const absl::Status& error);
  // The router's session knows it no more. It is to be freed when it has ended.
  void Detach(ClientSession& member);
  // The session's peer is not a router any more, or the session ends.
  void LeavePool(ClientSession& pool, const absl::Status& error);

  uint32_t RandomWord() { return static_cast<uint32_t>(random_.Next()); }

  ClientBase& base_;
  OriginalCalls& original_;
  const RttOptions rtt_;
  const int64_t timeout_ns_;
  Prng random_;
  const uint64_t incarnation_;
  std::vector<std::unique_ptr<ClientSession>> sessions_;  // by number, from 1
  std::vector<uint32_t> free_sessions_;
  absl::flat_hash_map<Peer, uint32_t> by_peer_;
  Peer latest_peer_;  // and the session found for it
  ClientSession* latest_ = nullptr;
  std::vector<std::unique_ptr<ClientCall>> calls_;  // by index
  ClientCall* free_calls_ = nullptr;
  size_t outstanding_ = 0;
  size_t held_ = 0;  // of those
  size_t cancelling_ = 0;
  ReceiveBudget budget_;
  // Calls whose transfers have packets to acknowledge at the end of the burst.
  std::vector<CallId> to_acknowledge_;
  absl::AnyInvocable<void(const SessionEvent&)> events_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_CLIENT_SESSIONS_H_
