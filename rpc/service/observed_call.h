// SPDX-License-Identifier: Apache-2.0
//
// One side of one call, towards those who observe it (call_observers.h): lies in the call or in the
// frame of its handler, and says that it was cancelled when it is destroyed before it has ended.
// Not for users.
#ifndef WEFT_RPC_SERVICE_OBSERVED_CALL_H_
#define WEFT_RPC_SERVICE_OBSERVED_CALL_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "weft/core/loop.h"
#include "weft/rpc/service/call_observers.h"
#include "weft/rpc/service/method_stats.h"
#include "weft/rpc/trace/tracer.h"

namespace weft::rpc {

// A method as observers know it; made once, for each side. What is null is not wanted.
struct ObservedMethod {
  ObservedMethod() = default;
  // `method` lives as long as the program.
  ObservedMethod(const CallObservers& observers, Side side, absl::string_view method)
      : name(method),
        stats(observers.methods == nullptr ? nullptr : &observers.methods->Of(side, method)),
        tracer(observers.tracer) {}

  absl::string_view name;
  MethodStats* stats = nullptr;
  Tracer* tracer = nullptr;
};

class ObservedCall {
 public:
  ObservedCall() = default;
  ~ObservedCall() {
    if (stats_ != nullptr || span_ != nullptr) [[unlikely]]
      EndCancelled();
  }
  ObservedCall(const ObservedCall&) = delete;
  ObservedCall& operator=(const ObservedCall&) = delete;

  // The call begins. `method` and `loop` outlive it.
  void Begin(const ObservedMethod& method, Loop& loop) {
    loop_ = &loop;
    tracer_ = method.tracer;
    if (method.stats == nullptr) return;
    stats_ = method.stats;
    begin_ns_ = loop.now_ns();
    stats_->OnBegin(0);
  }
  // Decides whether it is traced; null: it is not. `parent`: the trace that it belongs to, null for
  // none. Once a call, after Begin().
  Span* BeginSpan(Span::Kind kind, const ObservedMethod& method, const TraceParent* parent) {
    if (tracer_ != nullptr) span_ = tracer_->Begin(kind, parent, method.name);
    return span_;
  }
  Span* span() { return span_; }

  void AddRequestBytes(size_t bytes) {
    if (stats_ != nullptr) stats_->request_bytes.Add(bytes);
    if (span_ != nullptr) [[unlikely]]
      span_->request_bytes += bytes;
  }
  void AddResponseBytes(size_t bytes) {
    if (stats_ != nullptr) stats_->response_bytes.Add(bytes);
    if (span_ != nullptr) [[unlikely]]
      span_->response_bytes += bytes;
  }
  // Messages of a stream, with their bytes, as this side sees them.
  void OnMessagesIn(size_t messages, size_t bytes) {
    if (stats_ != nullptr) stats_->OnMessagesIn(messages, bytes);
    if (span_ != nullptr) [[unlikely]] {
      span_->messages_in += messages;
      (span_->kind == Span::Kind::kServer ? span_->request_bytes : span_->response_bytes) += bytes;
    }
  }
  void OnMessagesOut(size_t messages, size_t bytes) {
    if (stats_ != nullptr) stats_->OnMessagesOut(messages, bytes);
    if (span_ != nullptr) [[unlikely]] {
      span_->messages_out += messages;
      (span_->kind == Span::Kind::kServer ? span_->response_bytes : span_->request_bytes) += bytes;
    }
  }

  // The call has ended. Nothing happens if it never began, or has ended before.
  void End(const absl::Status& status) {
    if (stats_ != nullptr) {
      std::exchange(stats_, nullptr)->OnEnd(status.code(), loop_->now_ns() - begin_ns_, 0);
    }
    if (span_ != nullptr) [[unlikely]]
      tracer_->End(std::exchange(span_, nullptr), status);
  }

 private:
  void EndCancelled();

  Loop* loop_ = nullptr;
  MethodStats* stats_ = nullptr;  // until it has ended
  Tracer* tracer_ = nullptr;
  Span* span_ = nullptr;  // until it has ended
  int64_t begin_ns_ = 0;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_OBSERVED_CALL_H_
