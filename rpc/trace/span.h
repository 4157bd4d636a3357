// SPDX-License-Identifier: Apache-2.0
//
// One side of one call, as it is traced: what OpenTelemetry calls a span. Made by a Tracer
// (tracer.h), filled in while the call goes on, written by a SpanWriter.
#ifndef WEFT_RPC_TRACE_SPAN_H_
#define WEFT_RPC_TRACE_SPAN_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "weft/rpc/service/service_wire.h"

namespace weft::rpc {

// A text of at most kMax bytes; what is longer is cut.
template <size_t kMax>
class ShortText {
 public:
  absl::string_view view() const { return {bytes_, size_}; }
  void Set(absl::string_view text) {
    size_ = static_cast<uint16_t>(std::min(text.size(), kMax));
    if (size_ > 0) std::memcpy(bytes_, text.data(), size_);
  }

 private:
  uint16_t size_ = 0;
  char bytes_[kMax];
};

// Trivially copyable, so that it goes through a ring.
struct Span {
  enum class Kind : uint8_t { kServer = 2, kClient = 3 };  // as OTLP numbers them

  TraceParent context;                    // the trace, and this span's id
  std::array<uint8_t, 8> parent_id = {};  // all zero: the root
  Kind kind = Kind::kClient;
  absl::StatusCode code = absl::StatusCode::kOk;
  absl::string_view method;  // "package.Service/Method"; lives as long as the program
  int64_t begin_ns = 0;      // in the loop's time
  int64_t end_ns = 0;
  // Of messages, without heads and metadata; of a stream, of all of them.
  uint64_t request_bytes = 0;
  uint64_t response_bytes = 0;
  uint64_t messages_in = 0;  // of a stream
  uint64_t messages_out = 0;
  uint32_t retransmissions = 0;  // packets of the request that were sent again
  ShortText<62> peer;            // its address
  ShortText<94> message;         // of an error
  ShortText<126> state;          // tracestate
};
static_assert(std::is_trivially_copyable_v<Span>);
static_assert(sizeof(Span) <= 448);

}  // namespace weft::rpc

#endif  // WEFT_RPC_TRACE_SPAN_H_
