// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/call_status.h"

#include <optional>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace weft::rpc {
namespace {

constexpr char kNotExecutedUrl[] = "weft.rpc/not_executed";
constexpr char kRetryAfterUrl[] = "weft.rpc/retry_after_us";

absl::Status ErrorOf(DropReason reason) {
  switch (reason) {
    case DropReason::kOverloaded:
      return NotExecuted(absl::ResourceExhaustedError("the server is overloaded"));
    case DropReason::kTooLarge:
      return NotExecuted(
          absl::InvalidArgumentError("the server does not take requests of this size"));
    case DropReason::kShuttingDown:
      return NotExecuted(absl::UnavailableError("the server is shutting down"));
    case DropReason::kReplyGone:
      return absl::DataLossError("executed, but the server does not keep the reply any more");
    case DropReason::kCancelled:
      return absl::CancelledError("cancelled");
    case DropReason::kNoSessions:
      return NotExecuted(absl::ResourceExhaustedError("the server takes no more sessions"));
    case DropReason::kDeadline:
      return absl::DeadlineExceededError("the server had no reply before the deadline");
    case DropReason::kUnanswered:
      return absl::AbortedError("the server's handler ended without a reply");
    case DropReason::kUnsupported:
      return NotExecuted(absl::UnimplementedError("the server is not a replica"));
    case DropReason::kForbidden:
      return NotExecuted(absl::PermissionDeniedError("this client may not call that server"));
    case DropReason::kNoServer:
      return NotExecuted(absl::ResourceExhaustedError("the router has no server with room"));
    case DropReason::kServerLost:
      return absl::UnavailableError(
          "the server that the router picked has gone; the request may or may not have been "
          "executed");
    case DropReason::kNone:
    case DropReason::kRefused:
      break;
  }
  return NotExecuted(absl::ResourceExhaustedError("the server refused the request (DROP)"));
}

}  // namespace

absl::Status DropStatus(DropReason reason, uint32_t retry_after_us) {
  absl::Status status = ErrorOf(reason);
  if (retry_after_us > 0) {
    status.SetPayload(kRetryAfterUrl, absl::Cord(absl::StrCat(retry_after_us)));
  }
  return status;
}

absl::Status NotExecuted(absl::Status status) {
  status.SetPayload(kNotExecutedUrl, absl::Cord());
  return status;
}

bool WasNotExecuted(const absl::Status& status) {
  return status.GetPayload(kNotExecutedUrl).has_value();
}

absl::Status PerhapsExecuted(absl::Status status) {
  status.ErasePayload(kNotExecutedUrl);
  return status;
}

absl::Duration RetryAfter(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kRetryAfterUrl);
  uint32_t microseconds = 0;
  if (!payload.has_value() || !absl::SimpleAtoi(std::string(*payload), &microseconds)) {
    return absl::ZeroDuration();
  }
  return absl::Microseconds(microseconds);
}

}  // namespace weft::rpc
