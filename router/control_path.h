// SPDX-License-Identifier: Apache-2.0
//
// What arrives at a router that is no request: FEEDBACK, JOIN and LEAVE of servers, their answers
// to the router's questions, HELLO and PING of clients. And the watch over who is alive. Not for
// users.
//
//   control_path.cc         what arrives; FEEDBACK; clients
//   control_membership.cc   JOIN, LEAVE
//   control_health.cc       who is up
#ifndef WEFT_ROUTER_CONTROL_PATH_H_
#define WEFT_ROUTER_CONTROL_PATH_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>

#include "absl/strings/string_view.h"
#include "weft/r2p2/route_wire.h"
#include "weft/router/dispatcher.h"
#include "weft/router/members.h"
#include "weft/router/outbox.h"
#include "weft/router/request_path.h"
#include "weft/router/router_group.h"
#include "weft/router/router_stats.h"
#include "weft/transports/datagram_port.h"

namespace weft::router {

// As in RouterOptions.
struct ControlSettings {
  bool join = false;
  std::function<bool(absl::string_view identity)> may_join;
  bool control_protected = false;
  int64_t keepalive_ns = 0;
  uint64_t incarnation = 0;
};

// A JOIN or LEAVE, wherever it came from.
struct ControlRequest {
  r2p2::ExtendedHeader question;
  r2p2::Membership membership;
  Address sender;
  bool forbidden = false;  // by may_join
};

class ControlPath {
 public:
  // `control` is null where it is `listen`; `group` where there is one worker.
  ControlPath(DatagramPort& listen, DatagramPort* control, Dispatcher& dispatcher, Members& members,
              RequestPath& requests, RouterStats& stats, RouterGroup* group, size_t worker,
              ControlSettings settings);
  ControlPath(const ControlPath&) = delete;
  ControlPath& operator=(const ControlPath&) = delete;

  void Set(ControlSettings settings) { settings_ = std::move(settings); }

  // Takes a burst from the port for control. Returns the amount of work.
  size_t Poll(int64_t now_ns);
  bool idle() const { return outbox_.empty(); }
  // One that came from either port and is no request. It may keep the buffer.
  void OnDatagram(Datagram& datagram, bool from_control, int64_t now_ns);

  // FEEDBACK that came to another worker.
  size_t TakePassedOn(int64_t now_ns);

  // Looks who is alive, and returns after how many nanoseconds to do so again.
  int64_t CheckHealth(int64_t now_ns);
  void OnUnreachable(const Peer& peer, bool from_control);
  // A sign of life.
  void Heard(Member& member, int64_t now_ns, const WhichLife& life = {});
  void Drain(Member& member);
  // Goes at once; one that JOINs stays, without requests, until it does no more.
  void Remove(Member& member);

  void OnMembership(const ControlRequest& request, const Peer& peer, bool from_control,
                    Buffer&& packet, int64_t now_ns);
  // One that came to another worker.
  void OnMembershipElsewhere(const ControlRequest& request, int64_t now_ns);

 private:
  static constexpr size_t kBurst = 32;
  static constexpr size_t kOutbox = 2048;
  // As in the configuration: who asks for less has this.
  static constexpr int64_t kKeepaliveMinNs = 1'000'000;
  static constexpr uint32_t kOwnSession = 1;  // from_session of questions, session of answers

  int64_t KeepaliveOf(const r2p2::Membership& wish) const {
    return std::max(kKeepaliveMinNs,
                    std::min(int64_t{wish.keepalive_us} * 1000, settings_.keepalive_ns));
  }
  bool judges() const { return group_ == nullptr || worker_ == 0; }
  void OnExtended(Datagram& datagram, bool from_control, int64_t now_ns);
  void OnHello(Datagram& datagram, const r2p2::ExtendedHeader& header);
  void OnAnswer(const Datagram& datagram, const r2p2::ExtendedHeader& header, bool from_control,
                int64_t now_ns);
  void OnFeedback(const Datagram& datagram, bool from_control, int64_t now_ns);
  void OnFeedbackBatch(const Datagram& datagram, Member& member, int64_t now_ns);
  void OnDone(Member& member, uint64_t request, int64_t now_ns);

  void ReceiveMembership(Datagram& datagram, const r2p2::ExtendedHeader& header, bool from_control,
                         int64_t now_ns);
  r2p2::DropReason Join(const ControlRequest& request, const Peer& peer, bool from_control,
                        int64_t now_ns, Member** joined);
  r2p2::DropReason Leave(const ControlRequest& request, const Peer& peer, bool from_control,
                         uint32_t* outstanding);
  // Requests of other workers at a server that leaves, as they told last; they are asked once more.
  uint32_t OutstandingElsewhere(Member& member, bool first);
  absl::StatusOr<Member*> AddJoined(const RouterOptions::Server& server, int64_t now_ns);

  void CheckOne(Member& member, int64_t now_ns);
  void Ask(Member& member);
  // Takes in which life of the server speaks: of one that has begun anew, what the former one had
  // is lost. False: it is the former one, whose words are late.
  bool Recognise(Member& member, uint64_t incarnation);
  void GoDown(Member& member, bool lost);
  uint32_t NonceOf(const Member& member) const {
    return static_cast<uint32_t>(r2p2::internal::Mix(settings_.incarnation ^ member.name));
  }

  DatagramPort& PortOf(bool from_control) {
    return from_control && control_ != nullptr ? *control_ : listen_;
  }
  void Answer(const Peer& to, bool from_control, Buffer&& packet) {
    if (from_control && control_ != nullptr) {
      outbox_.Push(to, std::move(packet));
    } else {
      requests_.Answer(to, std::move(packet));
    }
  }

  DatagramPort& listen_;
  DatagramPort* const control_;
  Dispatcher& dispatcher_;
  Members& members_;
  RequestPath& requests_;
  RouterStats& stats_;
  RouterGroup* const group_;
  const size_t worker_;
  ControlSettings settings_;
  Outbox outbox_;  // of control_
  std::array<Datagram, kBurst> received_;
};

}  // namespace weft::router

#endif  // WEFT_ROUTER_CONTROL_PATH_H_
