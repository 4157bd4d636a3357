// SPDX-License-Identifier: Apache-2.0
//
// TokenBucket: so many a second on average, after a burst of so many (RFC 4443, 2.4f names it for
// ICMP errors).
//
//   TokenBucket errors(1000, 50, now_ns);
//   if (errors.Take(now_ns)) SendError();
#ifndef WEFT_NETSTACK_TOKEN_BUCKET_H_
#define WEFT_NETSTACK_TOKEN_BUCKET_H_

#include <algorithm>
#include <cstdint>

namespace weft::netstack {

// A plain value; one thread. Exact: no fraction of a token is lost, however often it is asked.
class TokenBucket {
 public:
  // Full at `now_ns`. `rate_per_s` 0: never gives any, not even a burst. `burst` at least 1; both
  // at most 10^9.
  TokenBucket(uint64_t rate_per_s, uint64_t burst, int64_t now_ns)
      : rate_per_s_(rate_per_s), full_(burst * kToken), level_(full_), updated_ns_(now_ns) {}

  // Takes a token if there is one. A `now_ns` before an earlier one adds nothing.
  bool Take(int64_t now_ns) {
    if (rate_per_s_ == 0) return false;
    if (now_ns > updated_ns_) {
      // A rate of 1 a second is 1 part of a token each nanosecond.
      const auto gained = static_cast<unsigned __int128>(now_ns - updated_ns_) * rate_per_s_;
      level_ = static_cast<uint64_t>(std::min<unsigned __int128>(full_, gained + level_));
      updated_ns_ = now_ns;
    }
    if (level_ < kToken) return false;
    level_ -= kToken;
    return true;
  }

 private:
  static constexpr uint64_t kToken = 1'000'000'000;

  uint64_t rate_per_s_;
  uint64_t full_;   // in parts of a token
  uint64_t level_;  // the same
  int64_t updated_ns_;
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_TOKEN_BUCKET_H_
