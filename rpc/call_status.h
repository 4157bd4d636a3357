// SPDX-License-Identifier: Apache-2.0
//
// How a call that a server refused ends at its caller, and what else the error says: whether the
// request may have been executed, and when to try again.
#ifndef WEFT_RPC_CALL_STATUS_H_
#define WEFT_RPC_CALL_STATUS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "weft/rpc/wire.h"

namespace weft::rpc {

// The error of a call that ended with a DROP in the extended format:
//   kRefused, kOverloaded, kNoSessions   ResourceExhausted
//   kTooLarge                            InvalidArgument
//   kShuttingDown                        Unavailable
//   kReplyGone                           DataLoss
//   kCancelled                           Cancelled
//   kDeadline                            DeadlineExceeded
//   kUnanswered                          Aborted
//   kUnsupported                         Unimplemented
//   kForbidden                           PermissionDenied
//   kNoServer                            ResourceExhausted
//   kServerLost                          Unavailable
absl::Status DropStatus(DropReason reason, uint32_t retry_after_us);

// Marks `status`, an error, as that of a request that certainly was not executed.
absl::Status NotExecuted(absl::Status status);
// Whether the request of a call that ended with `status` certainly was not executed, so that even
// one with side effects may be tried again. False when nobody knows. In the original format, which
// cannot tell a duplicate from a new request, it takes a network that does not duplicate: else one
// copy may be executed and another one refused.
bool WasNotExecuted(const absl::Status& status);
// Takes that mark away.
absl::Status PerhapsExecuted(absl::Status status);

// When the server that refused expects to have room; zero: it did not say.
absl::Duration RetryAfter(const absl::Status& status);

}  // namespace weft::rpc

#endif  // WEFT_RPC_CALL_STATUS_H_
