// SPDX-License-Identifier: Apache-2.0
//
// Messages about membership of groups: IGMP (RFC 2236, RFC 3376) and MLD (RFC 2710, RFC 3810), as
// hosts read and write them. MLD is IGMP for IPv6: MLDv1 says what IGMPv2 says, MLDv2 what IGMPv3
// says. So both have one form here, with the version numbers of IGMP.
#ifndef WEFT_NETSTACK_WIRE_GROUP_MESSAGE_H_
#define WEFT_NETSTACK_WIRE_GROUP_MESSAGE_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "weft/netstack/ip_address.h"

namespace weft::netstack {

// What a received message says.
struct GroupMessage {
  enum class Kind : uint8_t {
    kQuery,
    kReport,  // another host's, of version 1 or 2
    kOther,   // leave messages, reports of version 3: for routers
  };
  Kind kind = Kind::kOther;
  int version = 3;  // of a query
  IpAddress group;  // unspecified in a query for all groups
  int64_t max_response_ns = 0;
  // Of a query of version 3; 0: it does not say.
  int robustness = 0;
  int64_t query_interval_ns = 0;
};

// `bytes`: the payload of IPv4, or an ICMPv6 message of the types 130, 131, 132 and 143. False for
// what is malformed: too short for its type or for the sources it claims, a group that is none, for
// IGMP a wrong checksum (ICMPv6's is the caller's).
bool ParseIgmp(absl::Span<const uint8_t> bytes, GroupMessage* message);
bool ParseMld(absl::Span<const uint8_t> bytes, GroupMessage* message);

// Types of group records of version 3, each with no sources (RFC 3376, 4.2.12).
enum class GroupRecord : uint8_t {
  kIsExclude = 2,  // is a member
  kToInclude = 3,  // has left
  kToExclude = 4,  // has joined
};

// The destination of reports of version 3: 224.0.0.22, ff02::16; of leave messages of version 2:
// 224.0.0.2, ff02::2.
IpAddress ReportGroup(bool v6);
IpAddress AllRoutersGroup(bool v6);

// A report of version 3 with one record for each group that was added.
//
//   GroupReportWriter report(/*v6=*/false, buffer);
//   report.Add(GroupRecord::kIsExclude, group);
//   Send(report.Finish());
class GroupReportWriter {
 public:
  static constexpr size_t kBytesMin = 28;  // with one record, of either family

  // At least kBytesMin of `buffer`; groups are of that family.
  GroupReportWriter(bool v6, absl::Span<uint8_t> buffer);
  // False, and nothing changed, if there is no room for another.
  bool Add(GroupRecord record, const IpAddress& group);
  size_t records() const { return records_; }
  // The message, in `buffer`; the checksum of ICMPv6 is 0. Begins again.
  absl::Span<const uint8_t> Finish();

 private:
  bool v6_;
  absl::Span<uint8_t> buffer_;
  size_t size_;
  size_t records_ = 0;
};

// Version 1 and 2: a report of `group` (version 1 of IGMP alone), or that it is left (version 2).
// Into at least 24 bytes; returns how many. The checksum of ICMPv6 is 0.
inline constexpr size_t kGroupMessageBytesMax = 24;
size_t WriteGroupReport(uint8_t* to, const IpAddress& group, int version);
size_t WriteGroupLeave(uint8_t* to, const IpAddress& group);

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_WIRE_GROUP_MESSAGE_H_
