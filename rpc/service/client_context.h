// SPDX-License-Identifier: Apache-2.0
//
// What a caller says of a call beside its request, and learns beside the response. Most calls need
// none.
//
//   rpc::ClientContext context;
//   context.set_timeout(absl::Milliseconds(2));
//   context.request_metadata().Add("tenant", "blue");
//   absl::Status status = co_await store.Get(request, &response, &context);
//   if (auto shard = context.reply_metadata().Find("shard")) ...
//
//   rpc::ClientContext next(server_context);  // in a method: hands on its deadline and trace
//
// Must live until the call has ended; may then be used for the next one. One thread.
#ifndef WEFT_RPC_SERVICE_CLIENT_CONTEXT_H_
#define WEFT_RPC_SERVICE_CLIENT_CONTEXT_H_

#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "weft/rpc/call.h"
#include "weft/rpc/service/metadata.h"
#include "weft/rpc/service/server_context.h"
#include "weft/rpc/service/service_wire.h"
#include "weft/rpc/trace/trace_parent.h"

namespace weft::rpc {

class ClientContext {
 public:
  ClientContext() = default;
  // For a call that is made to answer another one: nobody works for a caller that waits no longer.
  explicit ClientContext(const ServerContext& parent) {
    options_.deadline_ns = parent.deadline_ns();
    if (parent.trace() == nullptr) return;
    trace_ = *parent.trace();
    if (const auto state = parent.request_metadata().Find(kTraceStateKey)) {
      request_metadata_.Add(kTraceStateKey, *state);
    }
  }
  ClientContext(const ClientContext&) = delete;
  ClientContext& operator=(const ClientContext&) = delete;

  // From when the call begins. Zero: the channel's.
  void set_timeout(absl::Duration timeout) { options_.timeout = timeout; }
  // In the loop's time, if that is earlier.
  void set_deadline_ns(int64_t deadline_ns) { options_.deadline_ns = deadline_ns; }
  // Which servers may answer.
  void set_policy(Policy policy) { options_.policy = policy; }
  // Where servers are chosen by affinity: calls with the same one go to the same server.
  void set_affinity(uint64_t affinity) { options_.affinity = affinity; }
  // The span that the call belongs to.
  void set_trace(const TraceParent& trace) { trace_ = trace; }

  Metadata& request_metadata() { return request_metadata_; }
  const Metadata& request_metadata() const { return request_metadata_; }
  // Of the last call that has ended.
  const Metadata& reply_metadata() const { return reply_metadata_; }
  Metadata& mutable_reply_metadata() { return reply_metadata_; }

  const CallOptions& options() const { return options_; }
  const std::optional<TraceParent>& trace() const { return trace_; }

  // As it was made, but that memory is kept.
  void Reset() {
    options_ = {};
    trace_.reset();
    request_metadata_.Clear();
    reply_metadata_.Clear();
  }

 private:
  CallOptions options_;
  std::optional<TraceParent> trace_;
  Metadata request_metadata_;
  Metadata reply_metadata_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_CLIENT_CONTEXT_H_
