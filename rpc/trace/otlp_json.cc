// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/trace/otlp_json.h"

#include <algorithm>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "weft/rpc/trace/trace_parent.h"

namespace weft::rpc {
namespace {

constexpr int kStatusError = 2;  // STATUS_CODE_ERROR; unset stands for success

void Attribute(absl::string_view key, absl::string_view value, JsonWriter& json) {
  json.BeginObject();
  json.Field("key", key);
  json.Key("value").BeginObject();
  json.Field("stringValue", value);
  json.EndObject();
  json.EndObject();
}

void Attribute(absl::string_view key, uint64_t value, JsonWriter& json) {
  json.BeginObject();
  json.Field("key", key);
  json.Key("value").BeginObject();
  json.Field("intValue", absl::StrCat(value));
  json.EndObject();
  json.EndObject();
}

// "10.0.0.2:7000" and "[::1]:7000" have a port; "shm:echo" has none.
void WritePeer(absl::string_view peer, JsonWriter& json) {
  if (peer.empty()) return;
  const size_t colon = peer.rfind(':');
  uint32_t port = 0;
  if (colon == absl::string_view::npos || !absl::SimpleAtoi(peer.substr(colon + 1), &port)) {
    return Attribute("network.peer.address", peer, json);
  }
  absl::string_view host = peer.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  Attribute("network.peer.address", host, json);
  Attribute("network.peer.port", port, json);
}

void WriteAttributes(const Span& span, JsonWriter& json) {
  const size_t slash = span.method.find('/');
  Attribute("rpc.system", "weft", json);
  Attribute("rpc.service", span.method.substr(0, slash), json);
  if (slash != absl::string_view::npos) {
    Attribute("rpc.method", span.method.substr(slash + 1), json);
  }
  WritePeer(span.peer.view(), json);
  Attribute("rpc.response.status_code", absl::StatusCodeToString(span.code), json);
  Attribute("rpc.request.size", span.request_bytes, json);
  Attribute("rpc.response.size", span.response_bytes, json);
  if (span.messages_in > 0) Attribute("rpc.weft.messages_in", span.messages_in, json);
  if (span.messages_out > 0) Attribute("rpc.weft.messages_out", span.messages_out, json);
  if (span.retransmissions > 0) {
    Attribute("rpc.weft.retransmissions", uint64_t{span.retransmissions}, json);
  }
}

void WriteSpan(const Span& span, int64_t unix_offset_ns, JsonWriter& json) {
  json.BeginObject();
  json.Field("traceId", TraceIdText(span.context.trace_id));
  json.Field("spanId", TraceIdText(span.context.span_id));
  if (!span.state.view().empty()) json.Field("traceState", span.state.view());
  if (span.parent_id != decltype(span.parent_id){}) {
    json.Field("parentSpanId", TraceIdText(span.parent_id));
  }
  json.Field("name", span.method);
  json.Field("kind", static_cast<int>(span.kind));
  const int64_t end_ns = std::max(span.begin_ns, span.end_ns);
  json.Field("startTimeUnixNano", absl::StrCat(span.begin_ns + unix_offset_ns));
  json.Field("endTimeUnixNano", absl::StrCat(end_ns + unix_offset_ns));
  json.Key("attributes").BeginArray();
  WriteAttributes(span, json);
  json.EndArray();
  json.Key("status").BeginObject();
  if (span.code != absl::StatusCode::kOk) {
    json.Field("code", kStatusError);
    if (!span.message.view().empty()) json.Field("message", span.message.view());
  }
  json.EndObject();
  json.Field("flags", uint32_t{span.context.flags});
  json.EndObject();
}

}  // namespace

void WriteOtlp(const TraceResource& resource, absl::Span<const Span> spans, int64_t unix_offset_ns,
               JsonWriter& json) {
  json.BeginObject();
  json.Key("resourceSpans").BeginArray();
  json.BeginObject();
  json.Key("resource").BeginObject();
  json.Key("attributes").BeginArray();
  Attribute("service.name", resource.service_name, json);
  if (!resource.host_name.empty()) Attribute("host.name", resource.host_name, json);
  Attribute("process.pid", static_cast<uint64_t>(resource.process_id), json);
  Attribute("telemetry.sdk.name", "weft", json);
  Attribute("telemetry.sdk.language", "cpp", json);
  json.EndArray();
  json.EndObject();
  json.Key("scopeSpans").BeginArray();
  json.BeginObject();
  json.Key("scope").BeginObject();
  json.Field("name", "weft.rpc");
  json.EndObject();
  json.Key("spans").BeginArray();
  for (const Span& span : spans) WriteSpan(span, unix_offset_ns, json);
  json.EndArray();
  json.EndObject();
  json.EndArray();
  json.EndObject();
  json.EndArray();
  json.EndObject();
}

}  // namespace weft::rpc
