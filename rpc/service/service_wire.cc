// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/service_wire.h"

#include <cstring>

#include "weft/core/bytes.h"

namespace weft::rpc {
namespace {

constexpr uint8_t kTraced = 0x01;
constexpr uint8_t kEndOfMessages = 0x02;
constexpr auto kStatusCodeMax = static_cast<uint8_t>(absl::StatusCode::kUnauthenticated);

uint8_t* StoreBig24(uint8_t* out, uint32_t value) {
  out[0] = static_cast<uint8_t>(value >> 16);
  out[1] = static_cast<uint8_t>(value >> 8);
  out[2] = static_cast<uint8_t>(value);
  return out + 3;
}

uint32_t LoadBig24(const uint8_t* in) {
  return uint32_t{in[0]} << 16 | uint32_t{in[1]} << 8 | uint32_t{in[2]};
}

bool IsOurs(absl::Span<const uint8_t> bytes, size_t least) {
  return bytes.size() >= least && LoadBig16(bytes.data()) == kServiceMagic &&
         bytes[2] == kServiceVersion;
}

}  // namespace

size_t WriteRequestHead(const RequestHead& head, uint8_t* out) {
  uint8_t* at = out;
  StoreBig16(at, kServiceMagic);
  at[2] = kServiceVersion;
  at[3] = static_cast<uint8_t>(head.kind);
  at[4] = (head.traced ? kTraced : 0) | (head.end_of_messages ? kEndOfMessages : 0);
  at = StoreBig24(at + 5, head.metadata_bytes);
  StoreBig64(at, head.id);
  at += 8;
  if (head.kind != RequestKind::kUnary) {
    StoreBig64(at, head.number);
    at += 8;
  }
  if (head.traced) {
    std::memcpy(at, head.trace.trace_id.data(), 16);
    std::memcpy(at + 16, head.trace.span_id.data(), 8);
    at[24] = head.trace.flags;
    at += kTraceParentBytes;
  }
  return static_cast<size_t>(at - out);
}

bool ReadRequestHead(absl::Span<const uint8_t> bytes, RequestHead* head) {
  if (!IsOurs(bytes, kRequestHeadBytesMin)) return false;
  const uint8_t* at = bytes.data();
  const uint8_t flags = at[4];
  if (at[3] > kRequestKindMax || (flags & ~(kTraced | kEndOfMessages)) != 0) return false;
  head->kind = static_cast<RequestKind>(at[3]);
  head->traced = (flags & kTraced) != 0;
  head->end_of_messages = (flags & kEndOfMessages) != 0;
  head->metadata_bytes = LoadBig24(at + 5);
  head->id = LoadBig64(at + 8);
  if (bytes.size() < head->bytes()) return false;
  at += kRequestHeadBytesMin;
  head->number = 0;
  if (head->kind != RequestKind::kUnary) {
    head->number = LoadBig64(at);
    at += 8;
  }
  head->trace = {};
  if (head->traced) [[unlikely]] {
    std::memcpy(head->trace.trace_id.data(), at, 16);
    std::memcpy(head->trace.span_id.data(), at + 16, 8);
    head->trace.flags = at[24];
  }
  return true;
}

size_t WriteReplyHead(const ReplyHead& head, RequestKind kind, uint8_t* out) {
  StoreBig16(out, kServiceMagic);
  out[2] = kServiceVersion;
  out[3] = static_cast<uint8_t>(head.code);
  out[4] = head.end_of_messages ? kEndOfMessages : 0;
  StoreBig24(out + 5, head.trailer_bytes);
  if (ReplyHasNumber(kind)) StoreBig64(out + kReplyHeadBytesMin, head.number);
  return ReplyHead::Bytes(kind);
}

bool ReadReplyHead(absl::Span<const uint8_t> bytes, RequestKind kind, ReplyHead* head) {
  if (!IsOurs(bytes, ReplyHead::Bytes(kind))) return false;
  const uint8_t* const at = bytes.data();
  if (at[3] > kStatusCodeMax || (at[4] & ~kEndOfMessages) != 0) return false;
  head->code = static_cast<absl::StatusCode>(at[3]);
  head->end_of_messages = (at[4] & kEndOfMessages) != 0;
  head->trailer_bytes = LoadBig24(at + 5);
  head->number = ReplyHasNumber(kind) ? LoadBig64(at + kReplyHeadBytesMin) : 0;
  return true;
}

}  // namespace weft::rpc
