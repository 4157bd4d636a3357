// SPDX-License-Identifier: Apache-2.0
//
// What stands in front of the messages of services, in requests and replies of R2P2:
// docs/protocols/services.md. All integers are in network byte order.
//
//   request | head 16 | OPEN: stream id 8; PUSH, PULL: sequence 8 | trace 25, if flagged
//           | metadata | body |
//   reply   | head 8 | OPEN: batches 8; PULL: sequence 8 | trailer | body |
//
//   uint8_t bytes[kRequestHeadBytesMax];
//   const size_t size = WriteRequestHead({.kind = RequestKind::kUnary, .id = method.id}, bytes);
//
// Parsing never trusts its input: what is refused here was written by no correct peer.
#ifndef WEFT_RPC_SERVICE_SERVICE_WIRE_H_
#define WEFT_RPC_SERVICE_SERVICE_WIRE_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace weft::rpc {

inline constexpr uint16_t kServiceMagic = 0x5753;  // "WS"
inline constexpr uint8_t kServiceVersion = 1;

inline constexpr size_t kTraceParentBytes = 25;
// Of UNARY without a trace; of OPEN, PUSH or PULL with one.
inline constexpr size_t kRequestHeadBytesMin = 16;
inline constexpr size_t kRequestHeadBytesMax = kRequestHeadBytesMin + 8 + kTraceParentBytes;
// Of UNARY and PUSH; of OPEN and PULL.
inline constexpr size_t kReplyHeadBytesMin = 8;
inline constexpr size_t kReplyHeadBytesMax = kReplyHeadBytesMin + 8;
// The most that the lengths of metadata and trailers can say.
inline constexpr uint32_t kMetadataBytesLimit = 0xFFFFFF;

enum class RequestKind : uint8_t {
  kUnary = 0,  // one request, one reply
  kOpen = 1,   // begins a stream; its reply is the stream's end
  kPush = 2,   // messages from the client to the server
  kPull = 3,   // asks for messages from the server to the client
};
inline constexpr uint8_t kRequestKindMax = 3;

// Who called: W3C Trace Context (https://www.w3.org/TR/trace-context/), in binary.
struct TraceParent {
  std::array<uint8_t, 16> trace_id = {};  // all zero: none
  std::array<uint8_t, 8> span_id = {};    // of the caller
  uint8_t flags = 0;                      // 0x01: sampled
  friend bool operator==(const TraceParent&, const TraceParent&) = default;
};

struct RequestHead {
  RequestKind kind = RequestKind::kUnary;
  bool traced = false;           // `trace` is in the head
  bool end_of_messages = false;  // PUSH: the client sends no more
  uint32_t metadata_bytes = 0;   // at most kMetadataBytesLimit; directly behind the head
  uint64_t id = 0;               // UNARY, OPEN: MethodId(); PUSH, PULL: the stream's
  uint64_t number = 0;           // OPEN: the stream's id; PUSH, PULL: sequence from 0; UNARY: none
  TraceParent trace = {};

  size_t bytes() const {
    return kRequestHeadBytesMin + (kind == RequestKind::kUnary ? 0 : 8) +
           (traced ? kTraceParentBytes : 0);
  }
  friend bool operator==(const RequestHead&, const RequestHead&) = default;
};

// Writes head.bytes() bytes, which is what it returns.
size_t WriteRequestHead(const RequestHead& head, uint8_t* out);
// `bytes` are the first of a request, all of it or kRequestHeadBytesMax. False: no head of a
// version that is known here.
bool ReadRequestHead(absl::Span<const uint8_t> bytes, RequestHead* head);

// Whether a reply to a request of this kind has a number in its head.
constexpr bool ReplyHasNumber(RequestKind kind) {
  return kind == RequestKind::kOpen || kind == RequestKind::kPull;
}

struct ReplyHead {
  absl::StatusCode code = absl::StatusCode::kOk;
  bool end_of_messages = false;  // PULL: the server sends no more
  uint32_t trailer_bytes = 0;    // at most kMetadataBytesLimit; directly behind the head
  uint64_t number = 0;           // PULL: sequence; OPEN: how many batches were sent in all

  static constexpr size_t Bytes(RequestKind kind) {
    return ReplyHasNumber(kind) ? kReplyHeadBytesMax : kReplyHeadBytesMin;
  }
  friend bool operator==(const ReplyHead&, const ReplyHead&) = default;
};

// As for requests; `kind` is that of the request.
size_t WriteReplyHead(const ReplyHead& head, RequestKind kind, uint8_t* out);
bool ReadReplyHead(absl::Span<const uint8_t> bytes, RequestKind kind, ReplyHead* head);

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_SERVICE_WIRE_H_
