// SPDX-License-Identifier: Apache-2.0
//
// Membership: the groups that an interface receives, and what routers and snooping switches are
// told of them: IGMPv3 (RFC 3376) and MLDv2 (RFC 3810), or their older versions while a querier of
// those is heard. Any-source membership only. No sockets, no clock: the owner hands in messages and
// sends out what it is given.
//
//   Membership groups({}, Prng(seed), &wheel, this);
//   groups.Join(*IpAddress::Parse("239.1.2.3"), now_ns);
//   groups.OnIgmp(payload, source, now_ns);
//
// Limits. Group addresses: groups_max. Queries: a pending answer is moved, never doubled, and two
// answers about the same thing are at least 100 ms apart, so that a flood of queries makes at most
// ten reports a second for each group and ten for all.
#ifndef WEFT_NETSTACK_MEMBERSHIP_H_
#define WEFT_NETSTACK_MEMBERSHIP_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "weft/core/metrics.h"
#include "weft/core/prng.h"
#include "weft/core/timer_wheel.h"
#include "weft/netstack/ip_address.h"
#include "weft/netstack/wire/group_message.h"

namespace weft::netstack {

struct MembershipOptions {
  size_t groups_max = 256;  // of both families; those just left count while they are told of
};

struct MembershipStats {
  Counter queries;        // heard, taken
  Counter reports_heard;  // of others, of IGMPv1, IGMPv2 and MLDv1
  Counter reports_sent;
  Counter leaves_sent;         // messages of their own: of IGMPv2 and MLDv1
  Counter reports_suppressed;  // as another host has reported the group
  Counter malformed;           // messages that no honest peer sends
};

// One thread: that of the timer wheel.
class Membership {
 public:
  class Delegate {
   public:
    virtual ~Delegate() = default;
    // Send an IGMP message, complete, in an IPv4 packet with TTL 1 and the router-alert option (RFC
    // 3376, 4), or, if `destination` is of IPv6, an ICMPv6 message whose checksum is 0 and the
    // owner's to fill in, with hop limit 1, a hop-by-hop header with router alert and a link-local
    // or the unspecified source (RFC 3810, 5). Called from within Join(), Leave(), OnLinkUp() and
    // timers; must not call back.
    virtual void SendMembership(const IpAddress& destination,
                                absl::Span<const uint8_t> message) = 0;
  };

  // `timers` and `delegate` must outlive it.
  Membership(const MembershipOptions& options, const Prng& random, TimerWheel* timers,
             Delegate* delegate);
  ~Membership();
  Membership(const Membership&) = delete;
  Membership& operator=(const Membership&) = delete;

  // Counts references: as many Leave() as Join() end the membership. 224.0.0.1, ff02::1 and groups
  // of the scopes 0 and 1 are joined too, but nobody is told (RFC 3376, 6; RFC 3810, 6).
  // InvalidArgument if it is no group, ResourceExhausted beyond groups_max.
  absl::Status Join(const IpAddress& group, int64_t now_ns);
  // NotFound if it was not joined.
  absl::Status Leave(const IpAddress& group, int64_t now_ns);
  bool Contains(const IpAddress& group) const;

  // The link is there (again): all groups are told of once more, for switches that have lost them.
  void OnLinkUp(int64_t now_ns);

  // An IGMP message, the payload of an IPv4 packet from `source`. The checksum is verified here.
  void OnIgmp(absl::Span<const uint8_t> message, const IpAddress& source, int64_t now_ns);
  // An ICMPv6 message of MLD whose checksum was verified. Counted as malformed unless it is from a
  // link-local source, with hop limit 1 and router alert (RFC 3810, 6.2).
  void OnMld(absl::Span<const uint8_t> message, const IpAddress& source, bool router_alert,
             uint8_t hop_limit, int64_t now_ns);

  struct Entry {
    IpAddress group;
    int references;
    bool reported;  // routers are told of it
  };
  // In no order.
  std::vector<Entry> Snapshot() const;
  // Of the protocol that is spoken at present: 1 to 3 of IGMP, 1 or 2 of MLD.
  int igmp_version(int64_t now_ns) const { return v4_.VersionAt(now_ns); }
  int mld_version(int64_t now_ns) const { return v6_.VersionAt(now_ns) - 1; }

  size_t size() const { return groups_.size(); }
  const MembershipStats& stats() const { return stats_; }

 private:
  // Versions are counted as those of IGMP: MLDv1 is the IGMPv2 of IPv6, and MLDv2 its IGMPv3.
  struct Family {
    Family(Membership* owner, bool v6) : owner(owner), v6(v6), timer(&OnGeneralTimer, this) {}
    int VersionAt(int64_t now_ns) const;

    Membership* owner;
    bool v6;
    int robustness = 2;                                  // RFC 3376, 8.1; as queriers say
    int64_t query_interval_ns = 125'000'000'000;         // RFC 3376, 8.2; as queriers say
    int64_t older_until_ns[2] = {INT64_MIN, INT64_MIN};  // version 1 and 2 were heard
    int version = 3;                                     // the one that pending messages are for
    int64_t answered_ns = INT64_MIN;
    Timer timer;  // answer to a general query, of version 3
  };
  struct Group {
    Group(Family* family, const IpAddress& address)
        : family(family),
          address(address),
          change(&OnChangeTimer, this),
          answer(&OnAnswerTimer, this) {}
    Family* family;
    IpAddress address;
    int references = 0;          // 0: left, and still being told of
    int changes_left = 0;        // messages about the latest Join() or Leave() still to be sent
    bool reported_last = false;  // version 2: nobody else has reported it since (RFC 2236, 6)
    int64_t answered_ns = INT64_MIN;
    Timer change;  // the next of `changes_left`
    Timer answer;  // to a query
  };

  static void OnGeneralTimer(void* family, int64_t now_ns);
  static void OnChangeTimer(void* group, int64_t now_ns);
  static void OnAnswerTimer(void* group, int64_t now_ns);
  static bool IsReported(const IpAddress& group);

  Family* FamilyOf(const IpAddress& group) { return group.is_v4() ? &v4_ : &v6_; }
  Group* Find(const IpAddress& group);
  void On(Family* family, const GroupMessage& message, int64_t now_ns);
  void OnQuery(Family* family, const GroupMessage& query, int64_t now_ns);
  void OnReport(Family* family, const IpAddress& group);
  void UpdateVersion(Family* family, int64_t now_ns);
  void StartChange(Group* group, int64_t now_ns);
  void SendChange(Group* group, int64_t now_ns);
  void Send(const Group& group, GroupRecord record);
  void SendAllGroups(const Family& family, GroupRecord record);
  void ScheduleAnswer(Timer* timer, int64_t answered_ns, int64_t within_ns, int64_t now_ns);
  int64_t Random(int64_t below_ns);

  const MembershipOptions options_;
  Prng random_;
  TimerWheel* const timers_;
  Delegate* const delegate_;
  Family v4_{this, false};
  Family v6_{this, true};
  absl::flat_hash_map<IpAddress, std::unique_ptr<Group>> groups_;
  MembershipStats stats_;
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_MEMBERSHIP_H_
