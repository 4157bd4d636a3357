// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/wire/group_message.h"

#include <cassert>
#include <cstring>

#include "weft/core/bytes.h"
#include "weft/netstack/wire/checksum.h"
#include "weft/netstack/wire/icmp.h"

namespace weft::netstack {
namespace {

constexpr int64_t kMsNs = 1'000'000;
constexpr int64_t kSNs = 1'000'000'000;

enum class IgmpType : uint8_t {
  kQuery = 0x11,
  kReportV1 = 0x12,
  kReportV2 = 0x16,
  kLeave = 0x17,
  kReportV3 = 0x22,
};

constexpr size_t kIgmpBytes = 8;                  // of all messages but those of version 3
constexpr size_t kMldBytes = 24;                  // the same for MLD
constexpr size_t kMldV2ReportBytes = 8;           // before the records
constexpr size_t kReportHeaderBytes = 8;          // of version 3, of both families
constexpr int64_t kIgmpV1ResponseNs = 10 * kSNs;  // RFC 3376, 7.2.1

// Numbers that grow by powers of two beyond a half of what their bits hold (RFC 3376, 4.1.1 and
// 4.1.7; RFC 3810, 5.1.3).
int64_t ReadCode8(uint8_t code) {
  return code < 0x80 ? code : int64_t{(code & 0x0f) | 0x10} << ((code >> 4 & 7) + 3);
}
int64_t ReadCode16(uint16_t code) {
  return code < 0x8000 ? code : int64_t{(code & 0x0fff) | 0x1000} << ((code >> 12 & 7) + 3);
}

// What follows the group in queries of version 3 of both families: | S QRV | QQIC | sources | ...
bool ReadQueryTail(absl::Span<const uint8_t> tail, size_t address_bytes, GroupMessage* message) {
  if (tail.size() < 4) return false;
  message->version = 3;
  message->robustness = tail[0] & 7;
  message->query_interval_ns = ReadCode8(tail[1]) * kSNs;
  return tail.size() >= 4 + LoadBig16(tail.data() + 2) * address_bytes;
}

bool ParseIgmpQuery(absl::Span<const uint8_t> bytes, GroupMessage* message) {
  message->kind = GroupMessage::Kind::kQuery;
  if (!message->group.is_unspecified() && !message->group.is_multicast()) return false;
  const uint8_t code = bytes[1];
  if (bytes.size() == kIgmpBytes) {
    message->version = code == 0 ? 1 : 2;
    message->max_response_ns = code == 0 ? kIgmpV1ResponseNs : code * 100 * kMsNs;
    return true;
  }
  message->max_response_ns = ReadCode8(code) * 100 * kMsNs;
  return ReadQueryTail(bytes.subspan(kIgmpBytes), 4, message);
}

bool ParseMldQuery(absl::Span<const uint8_t> bytes, GroupMessage* message) {
  message->kind = GroupMessage::Kind::kQuery;
  const bool is_group = message->group.is_v6() && message->group.is_multicast();
  if (!message->group.is_unspecified() && !is_group) return false;
  const uint16_t code = LoadBig16(bytes.data() + 4);
  if (bytes.size() == kMldBytes) {
    message->version = 2;
    message->max_response_ns = code * kMsNs;
    return true;
  }
  message->max_response_ns = ReadCode16(code) * kMsNs;
  return ReadQueryTail(bytes.subspan(kMldBytes), 16, message);
}

IpAddress LinkLocalGroup(bool v6, uint8_t last) {
  const uint8_t v6_group[16] = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last};
  return v6 ? IpAddress::V6(v6_group) : IpAddress::V4(0xe0000000u | last);
}

size_t WriteIgmp(uint8_t* to, IgmpType type, const IpAddress& group) {
  WriteIcmp(to, static_cast<uint8_t>(type), 0, group.v4());
  StoreBig16(to + 2, Checksum({to, kIgmpBytes}));
  return kIgmpBytes;
}
size_t WriteMld(uint8_t* to, Icmpv6Type type, const IpAddress& group) {
  WriteIcmp(to, static_cast<uint8_t>(type), 0, 0);
  std::memcpy(to + kIcmpHeaderBytes, group.bytes(), 16);
  return kMldBytes;
}

}  // namespace

bool ParseIgmp(absl::Span<const uint8_t> bytes, GroupMessage* message) {
  if (bytes.size() < kIgmpBytes || Checksum(bytes) != 0) return false;
  *message = {};
  message->group = IpAddress::V4(bytes.data() + 4);
  switch (static_cast<IgmpType>(bytes[0])) {
    case IgmpType::kQuery:
      return ParseIgmpQuery(bytes, message);
    case IgmpType::kReportV1:
    case IgmpType::kReportV2:
      message->kind = GroupMessage::Kind::kReport;
      return message->group.is_multicast();
    default:  // leave messages, reports of version 3, and what others there may be (RFC 3376, 4)
      return true;
  }
}

bool ParseMld(absl::Span<const uint8_t> bytes, GroupMessage* message) {
  *message = {};
  if (bytes.size() < kMldV2ReportBytes) return false;
  const auto type = static_cast<Icmpv6Type>(bytes[0]);
  if (type == Icmpv6Type::kMldv2Report) return true;
  if (bytes.size() < kMldBytes) return false;
  message->group = IpAddress::V6(bytes.data() + kIcmpHeaderBytes);
  switch (type) {
    case Icmpv6Type::kMldQuery:
      return ParseMldQuery(bytes, message);
    case Icmpv6Type::kMldReport:
      message->kind = GroupMessage::Kind::kReport;
      return message->group.is_v6() && message->group.is_multicast();
    default:
      return type == Icmpv6Type::kMldDone;
  }
}

IpAddress ReportGroup(bool v6) { return LinkLocalGroup(v6, v6 ? 0x16 : 22); }
IpAddress AllRoutersGroup(bool v6) { return LinkLocalGroup(v6, 2); }

GroupReportWriter::GroupReportWriter(bool v6, absl::Span<uint8_t> buffer)
    : v6_(v6), buffer_(buffer), size_(kReportHeaderBytes) {
  assert(buffer.size() >= kBytesMin);
}

bool GroupReportWriter::Add(GroupRecord record, const IpAddress& group) {
  // | type | 0 | no sources (2) | group |
  const size_t address = v6_ ? 16 : 4;
  if (buffer_.size() - size_ < 4 + address) return false;
  uint8_t* to = buffer_.data() + size_;
  StoreBig32(to, uint32_t{static_cast<uint8_t>(record)} << 24);
  std::memcpy(to + 4, group.bytes() + 16 - address, address);
  size_ += 4 + address;
  ++records_;
  return true;
}

absl::Span<const uint8_t> GroupReportWriter::Finish() {
  const absl::Span<uint8_t> message = buffer_.first(size_);
  const auto type = v6_ ? static_cast<uint8_t>(Icmpv6Type::kMldv2Report)
                        : static_cast<uint8_t>(IgmpType::kReportV3);
  WriteIcmp(message.data(), type, 0, static_cast<uint32_t>(records_));
  if (!v6_) StoreBig16(message.data() + 2, Checksum(message));
  size_ = kReportHeaderBytes;
  records_ = 0;
  return message;
}

size_t WriteGroupReport(uint8_t* to, const IpAddress& group, int version) {
  if (group.is_v6()) return WriteMld(to, Icmpv6Type::kMldReport, group);
  return WriteIgmp(to, version == 1 ? IgmpType::kReportV1 : IgmpType::kReportV2, group);
}

size_t WriteGroupLeave(uint8_t* to, const IpAddress& group) {
  if (group.is_v6()) return WriteMld(to, Icmpv6Type::kMldDone, group);
  return WriteIgmp(to, IgmpType::kLeave, group);
}

}  // namespace weft::netstack
