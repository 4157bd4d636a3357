// SPDX-License-Identifier: Apache-2.0
//
// What a server knows of one of its routers. Not for users, but for RouterInfo.
#ifndef WEFT_RPC_ROUTER_LINK_H_
#define WEFT_RPC_ROUTER_LINK_H_

#include <cstddef>
#include <cstdint>

#include "weft/core/timer_wheel.h"
#include "weft/rpc/feedback_stream.h"
#include "weft/rpc/wire.h"
#include "weft/transports/address.h"
#include "weft/transports/port.h"

namespace weft::rpc {

class RouterLinks;

enum class RouterState : uint8_t {
  kFeedbackOnly,  // it has the server in its own configuration
  kJoining,       // it has not answered yet
  kJoined,        // sends requests
  kRefused,       // wants none of this server
  kSilent,        // had answered, and does not any more
  kLeaving,       // has been told to send no more
  kLeft,          // sends no more, and waits for none
};
// "joined".
const char* NameOf(RouterState state);

// For people to look at.
struct RouterInfo {
  Address control;
  RouterState state = RouterState::kFeedbackOnly;
  bool knows_weft = false;                 // else it is sent FEEDBACK in the original format
  DropReason refusal = DropReason::kNone;  // kRefused
  int64_t silent_ns = -1;                  // since its last answer; -1: there was none
  int64_t keepalive_ns = 0;                // as agreed
  uint64_t feedback_entries = 0;           // that it was told
  uint32_t outstanding = 0;                // kLeaving: requests that it still waits for
};

struct RouterLink {
  RouterLink(RouterLinks& owner, uint8_t index, const Address& control, uint64_t incarnation,
             Timer::Callback on_repeat, Timer::Callback on_control)
      : owner(owner),
        control(control),
        index(index),
        feedback(incarnation),
        repeat(on_repeat, this),
        timer(on_control, this) {}

  RouterLinks& owner;
  const Address control;
  const uint8_t index;
  // It has shown that it knows more than the original format of FEEDBACK.
  bool knows_weft = false;
  RouterState state = RouterState::kFeedbackOnly;
  Peer peer;  // nobody: cannot be resolved at present

  FeedbackStream feedback;
  Timer repeat;        // of the last datagram
  int64_t new_ns = 0;  // when there last was something new
  size_t repeats = 0;  // since then

  Timer timer;  // for JOIN and LEAVE, and to resolve the address
  uint32_t nonce = 0;
  int64_t asked_ns = 0;      // the last JOIN
  size_t unanswered = 0;     // JOINs in a row
  int64_t keepalive_ns = 0;  // as agreed
  DropReason refusal = DropReason::kNone;
  int64_t answered_ns = -1;  // when it last answered; -1: never
  bool leave_answered = false;
  uint32_t outstanding = 0;  // LEAVE_ACK
  bool complained = false;   // that it is not there
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_ROUTER_LINK_H_
