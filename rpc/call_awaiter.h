// SPDX-License-Identifier: Apache-2.0
//
// What `co_await` of a call is made of, for all who make calls: begins the call when it is awaited,
// resumes the coroutine with its result, and cancels it if the coroutine is destroyed before. Not
// for users: Client::Call() and Balancer::Call() return it.
#ifndef WEFT_RPC_CALL_AWAITER_H_
#define WEFT_RPC_CALL_AWAITER_H_

#include <coroutine>
#include <tuple>
#include <utility>

#include "absl/status/statusor.h"
#include "weft/core/buffer_chain.h"
#include "weft/rpc/call.h"
#include "weft/rpc/payload.h"

namespace weft::rpc {

// `Where`: what `Caller::Call()` takes before the request.
template <typename Caller, typename... Where>
class [[nodiscard]] CallAwaiter {
 public:
  CallAwaiter(Caller& caller, const Where&... where, Payload&& request, const CallOptions& options)
      : caller_(caller), where_(where...), request_(std::move(request)), options_(options) {}
  CallAwaiter(const CallAwaiter&) = delete;
  CallAwaiter& operator=(const CallAwaiter&) = delete;
  ~CallAwaiter() {
    if (call_) caller_.Cancel(call_);
  }

  bool await_ready() const { return false; }
  bool await_suspend(std::coroutine_handle<> awaiting) {
    awaiting_ = awaiting;
    absl::StatusOr<CallId> begun = std::apply(
        [this](const Where&... where) {
          return caller_.Call(
              where..., std::move(request_),
              [this](absl::StatusOr<BufferChain>&& result) {
                call_ = CallId();
                result_ = std::move(result);
                awaiting_.resume();
              },
              options_);
        },
        where_);
    if (!begun.ok()) {
      result_ = begun.status();
      return false;
    }
    call_ = *begun;
    return true;
  }
  absl::StatusOr<BufferChain> await_resume() { return std::move(result_); }

 private:
  Caller& caller_;
  const std::tuple<Where...> where_;
  Payload request_;
  const CallOptions options_;
  CallId call_;  // while it is outstanding
  std::coroutine_handle<> awaiting_;
  absl::StatusOr<BufferChain> result_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_CALL_AWAITER_H_
