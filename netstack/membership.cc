// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/membership.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace weft::netstack {
namespace {

constexpr int64_t kSNs = 1'000'000'000;
constexpr int64_t kAnswerGapNs = 100'000'000;  // between two answers about the same
// Unsolicited Report Interval (RFC 3376, 8.11; RFC 3810, 9.11; RFC 2236, 8.10; RFC 2710, 7.10).
constexpr int64_t kRepeatNs = 1 * kSNs;
constexpr int64_t kOldRepeatNs = 10 * kSNs;
constexpr int64_t kQueryResponseNs = 10 * kSNs;  // RFC 3376, 8.3
constexpr int kRobustness = 2;                   // RFC 3376, 8.1
constexpr int64_t kQueryIntervalNs = 125 * kSNs;
// What fits every link: 576 bytes less an IPv4 header with options, and 1280 less those of IPv6.
constexpr size_t kReportBytesMaxV4 = 512;
constexpr size_t kReportBytesMaxV6 = 1232;

}  // namespace

Membership::Membership(const MembershipOptions& options, const Prng& random, TimerWheel* timers,
                       Delegate* delegate)
    : options_(options), random_(random), timers_(timers), delegate_(delegate) {}

Membership::~Membership() = default;

absl::Status Membership::Join(const IpAddress& group, int64_t now_ns) {
  if (!group.is_multicast()) {
    return absl::InvalidArgumentError(
        absl::StrCat(group.ToString(), " is not the address of a group (224.0.0.0/4 or ff00::/8)"));
  }
  UpdateVersion(FamilyOf(group), now_ns);
  Group* joined = Find(group);
  if (joined == nullptr) {
    if (groups_.size() >= options_.groups_max) {
      return absl::ResourceExhaustedError(absl::StrCat("no room for group ", group.ToString(), ": ",
                                                       options_.groups_max,
                                                       " are joined; leave one first"));
    }
    joined =
        groups_.emplace(group, std::make_unique<Group>(FamilyOf(group), group)).first->second.get();
  }
  if (++joined->references == 1) StartChange(joined, now_ns);
  return absl::OkStatus();
}

absl::Status Membership::Leave(const IpAddress& group, int64_t now_ns) {
  UpdateVersion(FamilyOf(group), now_ns);
  Group* joined = Find(group);
  if (joined == nullptr || joined->references == 0) {
    return absl::NotFoundError(absl::StrCat("group ", group.ToString(), " is not joined"));
  }
  if (--joined->references == 0) {
    timers_->Cancel(joined->answer);
    StartChange(joined, now_ns);
  }
  return absl::OkStatus();
}

bool Membership::Contains(const IpAddress& group) const {
  const auto it = groups_.find(group);
  return it != groups_.end() && it->second->references > 0;
}

void Membership::OnLinkUp(int64_t now_ns) {
  for (Family* family : {&v4_, &v6_}) {
    UpdateVersion(family, now_ns);
    if (family->version == 3) {
      // All in few messages, and once more, as if that had been asked for.
      SendAllGroups(*family, GroupRecord::kToExclude);
      ScheduleAnswer(&family->timer, family->answered_ns, kRepeatNs, now_ns);
      continue;
    }
    for (auto& [address, group] : groups_) {
      if (group->family == family && group->references > 0) StartChange(group.get(), now_ns);
    }
  }
}

void Membership::OnIgmp(absl::Span<const uint8_t> message, const IpAddress& source,
                        int64_t now_ns) {
  GroupMessage parsed;
  if (!ParseIgmp(message, &parsed) || source.is_v6() || source.is_multicast()) {
    ++stats_.malformed;
    return;
  }
  On(&v4_, parsed, now_ns);
}

void Membership::OnMld(absl::Span<const uint8_t> message, const IpAddress& source,
                       bool router_alert, uint8_t hop_limit, int64_t now_ns) {
  GroupMessage parsed;
  const bool honest = ParseMld(message, &parsed) && router_alert && hop_limit == 1 &&
                      source.is_v6() &&
                      // A host that has no address yet reports too (RFC 3590).
                      (source.is_link_local() ||
                       (source.is_unspecified() && parsed.kind != GroupMessage::Kind::kQuery));
  if (!honest) {
    ++stats_.malformed;
    return;
  }
  On(&v6_, parsed, now_ns);
}

std::vector<Membership::Entry> Membership::Snapshot() const {
  std::vector<Entry> entries;
  entries.reserve(groups_.size());
  for (const auto& [address, group] : groups_) {
    if (group->references > 0) {
      entries.push_back({address, group->references, IsReported(address)});
    }
  }
  return entries;
}

int Membership::Family::VersionAt(int64_t now_ns) const {
  if (now_ns < older_until_ns[0]) return 1;
  return now_ns < older_until_ns[1] ? 2 : 3;
}

void Membership::OnGeneralTimer(void* family, int64_t now_ns) {
  auto* f = static_cast<Family*>(family);
  f->answered_ns = now_ns;
  f->owner->SendAllGroups(*f, GroupRecord::kIsExclude);
}

void Membership::OnChangeTimer(void* group, int64_t now_ns) {
  auto* g = static_cast<Group*>(group);
  g->family->owner->SendChange(g, now_ns);
}

void Membership::OnAnswerTimer(void* group, int64_t now_ns) {
  auto* g = static_cast<Group*>(group);
  g->answered_ns = now_ns;
  g->reported_last = true;
  g->family->owner->Send(*g, GroupRecord::kIsExclude);
}

// All hosts are in 224.0.0.1 and ff02::1; the scopes 0 and 1 do not leave the host.
bool Membership::IsReported(const IpAddress& group) {
  if (group.is_v4()) return group.v4() != 0xe0000001;
  const int scope = group.bytes()[1] & 0xf;
  static const IpAddress kAllNodes = *IpAddress::Parse("ff02::1");
  return scope > 1 && group != kAllNodes;
}

Membership::Group* Membership::Find(const IpAddress& group) {
  const auto it = groups_.find(group);
  return it == groups_.end() ? nullptr : it->second.get();
}

void Membership::On(Family* family, const GroupMessage& message, int64_t now_ns) {
  if (message.kind == GroupMessage::Kind::kQuery) {
    OnQuery(family, message, now_ns);
  } else if (message.kind == GroupMessage::Kind::kReport) {
    OnReport(family, message.group);
  }
}

void Membership::OnQuery(Family* family, const GroupMessage& query, int64_t now_ns) {
  ++stats_.queries;
  const bool general = query.group.is_unspecified();
  if (query.version == 3) {
    family->robustness = query.robustness > 0 ? query.robustness : kRobustness;
    family->query_interval_ns =
        query.query_interval_ns > 0 ? query.query_interval_ns : kQueryIntervalNs;
  } else if (general) {
    // Older Version Querier Present Timeout (RFC 3376, 8.12).
    family->older_until_ns[query.version - 1] =
        now_ns + family->robustness * family->query_interval_ns + kQueryResponseNs;
  }
  UpdateVersion(family, now_ns);
  if (general && family->version == 3) {
    ScheduleAnswer(&family->timer, family->answered_ns, query.max_response_ns, now_ns);
    return;
  }
  for (auto& [address, group] : groups_) {
    if (group->family != family || group->references == 0 || !IsReported(address)) continue;
    if (!general && address != query.group) continue;
    ScheduleAnswer(&group->answer, group->answered_ns, query.max_response_ns, now_ns);
  }
}

// Of the older versions, one report of a group is enough for the routers (RFC 2236, 3).
void Membership::OnReport(Family* family, const IpAddress& group) {
  ++stats_.reports_heard;
  Group* joined = Find(group);
  if (family->version == 3 || joined == nullptr || joined->references == 0) return;
  if (joined->answer.armed() || joined->change.armed()) ++stats_.reports_suppressed;
  timers_->Cancel(joined->answer);
  timers_->Cancel(joined->change);
  joined->changes_left = 0;
  joined->reported_last = false;
}

// A change of version ends all that is pending (RFC 3376, 7.2.1). Deletes groups that are left.
void Membership::UpdateVersion(Family* family, int64_t now_ns) {
  const int version = family->VersionAt(now_ns);
  if (version == family->version) return;
  family->version = version;
  timers_->Cancel(family->timer);
  for (auto& [address, group] : groups_) {
    if (group->family != family) continue;
    timers_->Cancel(group->answer);
    timers_->Cancel(group->change);
    group->changes_left = 0;
  }
  absl::erase_if(groups_, [family](const auto& entry) {
    return entry.second->family == family && entry.second->references == 0;
  });
}

// After the first Join() or the last Leave(). Deletes `group` when it has no more to say.
void Membership::StartChange(Group* group, int64_t now_ns) {
  const Family* family = group->family;
  const bool left = group->references == 0;
  timers_->Cancel(group->change);
  group->changes_left = 0;
  if (!IsReported(group->address)) {
    if (left) groups_.erase(group->address);
    return;
  }
  if (family->version == 3 || !left) {
    group->changes_left = family->robustness;
  } else if (family->version == 2 && group->reported_last) {
    group->changes_left = 1;
  }
  SendChange(group, now_ns);
}

void Membership::SendChange(Group* group, int64_t now_ns) {
  const bool left = group->references == 0;
  if (group->changes_left > 0) {
    --group->changes_left;
    group->reported_last = true;
    Send(*group, left ? GroupRecord::kToInclude : GroupRecord::kToExclude);
  }
  if (group->changes_left > 0) {
    const int64_t within_ns = group->family->version == 3 ? kRepeatNs : kOldRepeatNs;
    timers_->Schedule(group->change, now_ns + Random(within_ns));
  } else if (left) {
    groups_.erase(IpAddress(group->address));  // not the key's own: that goes with it
  }
}

// One message about one group.
void Membership::Send(const Group& group, GroupRecord record) {
  const Family& family = *group.family;
  uint8_t bytes[GroupReportWriter::kBytesMin];
  static_assert(sizeof(bytes) >= kGroupMessageBytesMax);
  if (family.version == 3) {
    GroupReportWriter report(family.v6, absl::MakeSpan(bytes));
    report.Add(record, group.address);
    ++stats_.reports_sent;
    delegate_->SendMembership(ReportGroup(family.v6), report.Finish());
  } else if (record == GroupRecord::kToInclude) {
    ++stats_.leaves_sent;
    const size_t size = WriteGroupLeave(bytes, group.address);
    delegate_->SendMembership(AllRoutersGroup(family.v6), {bytes, size});
  } else {
    ++stats_.reports_sent;
    const size_t size = WriteGroupReport(bytes, group.address, family.version);
    delegate_->SendMembership(group.address, {bytes, size});
  }
}

// Of version 3: all groups in as few messages as may be.
void Membership::SendAllGroups(const Family& family, GroupRecord record) {
  uint8_t bytes[kReportBytesMaxV6];
  const size_t bytes_max = family.v6 ? kReportBytesMaxV6 : kReportBytesMaxV4;
  GroupReportWriter report(family.v6, absl::MakeSpan(bytes, bytes_max));
  const auto send = [&] {
    ++stats_.reports_sent;
    delegate_->SendMembership(ReportGroup(family.v6), report.Finish());
  };
  for (const auto& [address, group] : groups_) {
    if (group->family != &family || group->references == 0 || !IsReported(address)) continue;
    if (report.Add(record, address)) continue;
    send();
    report.Add(record, address);
  }
  if (report.records() > 0) send();
}

// At a random time, no later than an answer that is pending already (RFC 3376, 5.2).
void Membership::ScheduleAnswer(Timer* timer, int64_t answered_ns, int64_t within_ns,
                                int64_t now_ns) {
  const int64_t due_ns = std::max(now_ns + Random(within_ns), answered_ns + kAnswerGapNs);
  if (!timer->armed() || due_ns < timer->deadline_ns()) timers_->Schedule(*timer, due_ns);
}

int64_t Membership::Random(int64_t below_ns) {
  return below_ns <= 0 ? 0 : static_cast<int64_t>(random_.Below(static_cast<uint64_t>(below_ns)));
}

}  // namespace weft::netstack
