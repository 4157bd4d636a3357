// SPDX-License-Identifier: Apache-2.0
//
// The text form of a trace's context (W3C Trace Context, level 1), for programs that take a trace
// over from, or hand it on to, what does not speak weft:
//
//   traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
//                version-trace id-span id-flags, in lower-case hexadecimal
//
//   if (auto parent = rpc::ParseTraceParent(http_header)) context.set_trace(*parent);
//
// Between weft's clients and servers the same 25 bytes travel in binary, in the head of a request
// (service_wire.h).
#ifndef WEFT_RPC_TRACE_TRACE_PARENT_H_
#define WEFT_RPC_TRACE_TRACE_PARENT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "weft/rpc/service/service_wire.h"

namespace weft::rpc {

// The flag that says that spans of the trace are recorded.
inline constexpr uint8_t kTraceSampled = 0x01;

// Where `tracestate` travels, in a request's metadata; handed on as it is.
inline constexpr char kTraceStateKey[] = "tracestate";

// Whether it names a trace and a span, as one that is sent must: neither id is all zeros.
bool IsValid(const TraceParent& parent);

// None for what the recommendation says to ignore: another form, upper-case digits, ids of all
// zeros, version ff. What a later version has behind a dash after the flags is left out.
std::optional<TraceParent> ParseTraceParent(absl::string_view text);

std::string FormatTraceParent(const TraceParent& parent);

// The id of a trace or of a span, as it is written: in lower-case hexadecimal.
std::string TraceIdText(absl::Span<const uint8_t> id);

}  // namespace weft::rpc

#endif  // WEFT_RPC_TRACE_TRACE_PARENT_H_
