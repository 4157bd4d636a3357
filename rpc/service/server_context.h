// SPDX-License-Identifier: Apache-2.0
//
// What a method of a service knows of the call that it answers.
//
//   Task<absl::Status> Get(rpc::ServerContext& context, const GetRequest& request,
//                          GetResponse* response) override {
//     if (context.remaining() < absl::Microseconds(50)) {
//       co_return absl::DeadlineExceededError("no time left to ask the backend");
//     }
//     rpc::ClientContext next(context);  // hands on the deadline and the trace
//     co_return co_await backend_.Get(next_request, &next_response, &next);
//   }
//
// Lives as long as the method's coroutine. One thread.
#ifndef WEFT_RPC_SERVICE_SERVER_CONTEXT_H_
#define WEFT_RPC_SERVICE_SERVER_CONTEXT_H_

#include <cstdint>
#include <memory>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "weft/core/loop.h"
#include "weft/rpc/server_call.h"
#include "weft/rpc/service/metadata.h"
#include "weft/rpc/service/method.h"
#include "weft/rpc/service/service_wire.h"

namespace weft::rpc {

class ServerContext {
 public:
  ServerContext(const ServerCall& call, const Method& method, const RequestHead& head)
      : call_(call), method_(method), traced_(head.traced) {
    if (traced_) [[unlikely]]
      trace_ = head.trace;
  }
  ServerContext(const ServerContext&) = delete;
  ServerContext& operator=(const ServerContext&) = delete;

  const Method& method() const { return method_; }
  Loop& loop() const { return call_.loop(); }
  Peer peer() const { return call_.client(); }
  // Who the peer has proved to be (config: `security`); "" when it did not have to, or has gone.
  // Valid until the method waits for something.
  absl::string_view identity() const { return call_.identity(); }

  // When the client gives up, in the loop's time; ServerCall::kNever if it did not say. The method
  // is cancelled then: its coroutine is destroyed.
  int64_t deadline_ns() const { return call_.deadline_ns(); }
  // Until then: zero when it has passed, InfiniteDuration() when there is no deadline.
  absl::Duration remaining() const { return call_.remaining(); }

  // What came with the request, and what goes with the reply.
  const Metadata& request_metadata() const {
    static const Metadata* const kNone = new Metadata();
    return metadata_ == nullptr ? *kNone : metadata_->request;
  }
  Metadata& reply_metadata() { return Both().reply; }

  // The caller's place in its trace; null: it is not traced.
  const TraceParent* trace() const { return traced_ ? &trace_ : nullptr; }

  // For the server and interceptors.
  Metadata& mutable_request_metadata() { return Both().request; }
  // Null: there is none.
  const Metadata* reply_metadata_if_any() const {
    return metadata_ == nullptr ? nullptr : &metadata_->reply;
  }
  void set_trace(const TraceParent& trace) {
    traced_ = true;
    trace_ = trace;
  }

 private:
  struct CallMetadata {
    Metadata request;
    Metadata reply;
  };
  CallMetadata& Both() {
    if (metadata_ == nullptr) metadata_ = std::make_unique<CallMetadata>();
    return *metadata_;
  }

  const ServerCall& call_;
  const Method& method_;
  std::unique_ptr<CallMetadata> metadata_;  // apart, as few calls have any
  bool traced_;
  TraceParent trace_;  // if traced_
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_SERVER_CONTEXT_H_
