// SPDX-License-Identifier: Apache-2.0
//
// Spans as OTLP writes them in JSON: protobuf's JSON mapping of opentelemetry.proto.trace.v1.
// TracesData, with ids in hexadecimal, 64-bit integers as decimal texts and enumerators as numbers.
// A collector reads a file with such an object in each line (docs/observability.md). Not for users.
#ifndef WEFT_RPC_TRACE_OTLP_JSON_H_
#define WEFT_RPC_TRACE_OTLP_JSON_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "weft/core/json_writer.h"
#include "weft/rpc/trace/span.h"

namespace weft::rpc {

// What all spans of a process have in common: OpenTelemetry's resource.
struct TraceResource {
  std::string service_name;
  std::string host_name;
  int64_t process_id = 0;
};

// Writes one object with all `spans` into `json`, which is of one line. `unix_offset_ns` added,
// the times of spans count from 1970.
void WriteOtlp(const TraceResource& resource, absl::Span<const Span> spans, int64_t unix_offset_ns,
               JsonWriter& json);

}  // namespace weft::rpc

#endif  // WEFT_RPC_TRACE_OTLP_JSON_H_
