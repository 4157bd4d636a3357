// SPDX-License-Identifier: Apache-2.0
//
// Who is alive: what a router concludes of what it has heard of a server, and of what not.
//
//   a server that JOINs        says so again every keepalive
//   a server of weft that is   is asked by a PING for no session, which it answers by RESET, when
//   only configured            nothing was heard of it for a keepalive
//   a server of the original   answers no questions: FEEDBACK is its only sign of life. With
//                              requests and without FEEDBACK it is suspected, and tried with one
//                              request each keepalive
//
// Silence for three keepalives means down. It is looked for every eighth of a keepalive, and so
// called silence an eighth and a bit earlier.
#ifndef WEFT_ROUTER_HEALTH_H_
#define WEFT_ROUTER_HEALTH_H_

#include <algorithm>
#include <cstdint>

namespace weft::router {

// Of one server. Times are those of the router's clock.
struct Life {
  bool up = true;
  bool joined = false;       // JOIN says that it lives
  bool knows_weft = false;   // it has joined, answered a question, or sent numbered FEEDBACK
  int64_t keepalive_ns = 0;  // agreed with it
  int64_t heard_ns = 0;      // the last sign of life, or when it was added
  int64_t asked_ns = 0;      // the last question
  int64_t busy_ns = 0;       // since then it has had requests without a break
  int64_t tried_ns = 0;      // when it was last given a request though it seemed down
};

enum class Judgement : uint8_t {
  kFine,
  kAsk,      // by a PING
  kDown,     // what it had is lost
  kSuspect,  // no more requests for now; what it has, it may still answer
  kTry,      // let one request go to it
  kForget,   // it joined, and has been gone for long
};

inline constexpr int64_t kChecksPerKeepalive = 8;
inline constexpr int64_t kForgetNs = 30'000'000'000;

inline int64_t SilenceNs(const Life& life) { return 3 * life.keepalive_ns - life.keepalive_ns / 4; }

// To be asked kChecksPerKeepalive times a keepalive. `outstanding`: requests that it has.
inline Judgement Judge(Life& life, uint32_t outstanding, int64_t now_ns) {
  if (outstanding == 0) life.busy_ns = now_ns;
  const int64_t silent_ns = now_ns - life.heard_ns;
  const bool silent = silent_ns >= SilenceNs(life);
  if (life.joined) {
    if (life.up) return silent ? Judgement::kDown : Judgement::kFine;
    return silent_ns >= std::max(kForgetNs, 10 * life.keepalive_ns) ? Judgement::kForget
                                                                    : Judgement::kFine;
  }
  if (life.up && life.knows_weft && silent) return Judgement::kDown;
  if (life.up && !life.knows_weft &&
      now_ns - std::max(life.busy_ns, life.heard_ns) >= SilenceNs(life)) {
    return Judgement::kSuspect;
  }
  if (silent_ns >= life.keepalive_ns && now_ns - life.asked_ns >= life.keepalive_ns) {
    life.asked_ns = now_ns;
    return Judgement::kAsk;
  }
  if (!life.up && !life.knows_weft && now_ns - life.tried_ns >= life.keepalive_ns) {
    life.tried_ns = now_ns;
    return Judgement::kTry;
  }
  return Judgement::kFine;
}

}  // namespace weft::router

#endif  // WEFT_ROUTER_HEALTH_H_
