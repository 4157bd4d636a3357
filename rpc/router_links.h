// SPDX-License-Identifier: Apache-2.0
//
// What a server has to do with routers (docs/protocols/router.md): requests that come through them,
// FEEDBACK, and JOIN and LEAVE. Not for users.
//
//   router_links.cc       which router sent a request on, and for which client; FEEDBACK
//   router_membership.cc  JOIN and LEAVE
#ifndef WEFT_RPC_ROUTER_LINKS_H_
#define WEFT_RPC_ROUTER_LINKS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/core/loop.h"
#include "weft/core/timer_wheel.h"
#include "weft/r2p2/route_wire.h"
#include "weft/rpc/options.h"
#include "weft/rpc/packet_queue.h"
#include "weft/rpc/router_link.h"
#include "weft/rpc/server_group.h"
#include "weft/rpc/server_stats.h"
#include "weft/rpc/wire.h"
#include "weft/transports/datagram_port.h"

namespace weft::rpc {

// Of one server, on its loop's thread. FEEDBACK costs neither an allocation nor a system call of
// its own while there are replies to be sent.
class RouterLinks final : private Pollable {
 public:
  // Instead of the number of a router: which one it was is not known, and so all are meant.
  static constexpr uint8_t kAnyRouter = 0xFF;

  // For the server over `port`, which sends what is in `sending`. All outlive it.
  RouterLinks(Loop& loop, DatagramPort& port, PacketQueue& sending, ServerStats& stats);
  ~RouterLinks() override;

  // Errors: of the options, of opening and protecting the routers' own port, and of resolving
  // routers; but not that one is not there, as it may come.
  absl::Status Init(const ServerOptions& options);

  // --- Requests

  // `datagram` is IsRouted(). Takes the client's address off it and makes that its peer. False: it
  // is none, or nobody is trusted who sends such, which has been counted.
  bool TakeRoute(Datagram& datagram, uint8_t* router);

  // --- FEEDBACK

  // The server is done with a request, named as in RequestKey().
  void Done(const Peer& client, uint32_t number, uint16_t rid, uint8_t router, uint32_t service_ns);
  bool has_feedback() const { return untold_ > 0; }
  // Once a loop round, when there are no more requests to be done with in it.
  void SendFeedback();

  // --- Control packets

  // Of no session. True: it was for a router's link.
  bool OnControl(const Datagram& datagram, const ExtendedHeader& header);
  void OnGone(const Peer& peer);

  // Asks routers for no more requests, and calls `done` when they wait for none, or after a while.
  // Once.
  void Leave(absl::AnyInvocable<void()> done);
  bool has_joined() const;
  // Of the server, as in its JOIN.
  uint64_t server_incarnation() const { return group_->incarnation(); }
  // The server ends: what has not been said is, LEAVE too, in one go.
  void End();

  void ForEach(absl::FunctionRef<void(const RouterInfo&)> f) const;

 private:
  // What is known of a peer of a port whose peers are not IP addresses.
  struct Known {
    Peer peer;
    uint64_t client_id = 0;
    bool trusted = false;
    uint8_t router = kAnyRouter;
  };
  struct TrustedIp {
    uint64_t words[2];
    uint64_t port_word;  // 0: any port
    uint8_t router;
  };
  struct Resolved {
    Address address;
    Peer peer;
  };
  static constexpr size_t kCached = 256;

  absl::Status InitOwnPort(const RouterOptions& options);
  absl::Status InitTrust();
  // Of the peer that sent a routed datagram.
  bool IsTrusted(const Peer& peer, uint8_t* router);
  const Known& Look(const Peer& peer);
  Peer PeerOf(const Address& client);
  uint64_t ClientId(const Peer& client);
  void ComplainOfStranger(const Peer& peer);
  // Of the port for JOIN and FEEDBACK.
  void OnUnreachable(const Peer& peer);

  // The original format has no words for requests in the extended one.
  void Tell(RouterLink& link, const FeedbackEntry& entry, const Peer& client, uint32_t number,
            uint16_t rid) {
    link.knows_weft || number != 0 ? AddEntry(link, entry) : SendOriginal(link, client, rid);
  }
  void AddEntry(RouterLink& link, const FeedbackEntry& entry);
  void OnOwnPacket(Datagram& datagram);
  void SendOriginal(RouterLink& link, const Peer& client, uint16_t rid);
  void SendBatch(RouterLink& link);
  static void OnRepeat(void* link, int64_t now_ns);

  // The address can be sent to. Errors: that this will never be.
  absl::Status Resolve(RouterLink& link);
  void Ask(RouterLink& link, int64_t now_ns);
  void SendMembership(RouterLink& link, ControlKind kind);
  // Takes in what the router has said last, to whichever worker it was.
  void Judge(RouterLink& link, int64_t now_ns);
  void TakeAnswer(RouterLink& link, const ServerGroup::Answer& answer);
  void OnTimer(RouterLink& link, int64_t now_ns);
  void CheckLeft();
  static void OnControlTimer(void* link, int64_t now_ns);
  static void OnLeaveLimit(void* self, int64_t now_ns);
  void Log(const RouterLink& link) const;

  // Of the routers' own port.
  size_t Poll() override;
  int wait_fd() const override { return own_port_->wait_fd(); }
  bool Arm() override { return sending_->empty() && own_port_->Arm(); }
  void Disarm() override { own_port_->Disarm(); }

  Loop& loop_;
  DatagramPort& requests_port_;
  PacketQueue& requests_sending_;
  ServerStats& stats_;
  RouterOptions options_;
  // With keys: a port for JOIN and FEEDBACK alone.
  std::unique_ptr<DatagramPort> own_port_;
  std::optional<PacketQueue> own_sending_;
  DatagramPort* port_;  // for JOIN and FEEDBACK
  PacketQueue* sending_;
  size_t batch_bytes_max_ = 0;

  std::shared_ptr<ServerGroup> group_;
  std::shared_ptr<ServerGroup> answers_;  // where routers' answers are shared
  uint64_t incarnation_ = 0;              // of this member
  std::vector<std::unique_ptr<RouterLink>> links_;
  size_t untold_ = 0;  // links with entries that were never sent

  bool ip_ = false;  // peers of requests are IP addresses, made alike by all ports
  std::vector<TrustedIp> trusted_ips_;
  std::vector<Known> known_;        // not ip_: by hash of the peer
  std::vector<Resolved> resolved_;  // not ip_: by hash of the address
  bool complained_of_stranger_ = false;

  bool leaving_ = false;
  int64_t leave_began_ns_ = 0;
  absl::AnyInvocable<void()> left_;
  Timer leave_limit_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_ROUTER_LINKS_H_
