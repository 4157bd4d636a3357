// SPDX-License-Identifier: Apache-2.0
//
// Cookies, by which a server that has not spent anything on a client yet makes sure that it is
// where it says: HMAC-SHA256 over the client's address, its numbers and the time, with a secret of
// this port's.
#ifndef WEFT_RPC_SECURITY_COOKIE_MAKER_H_
#define WEFT_RPC_SECURITY_COOKIE_MAKER_H_

#include <array>
#include <cstdint>

#include "weft/rpc/security/secure_wire.h"
#include "weft/transports/port.h"

namespace weft::rpc {

class CookieMaker {
 public:
  static constexpr int64_t kLifetimeNs = int64_t{10} * 1'000'000'000;

  CookieMaker();
  ~CookieMaker();
  CookieMaker(const CookieMaker&) = delete;
  CookieMaker& operator=(const CookieMaker&) = delete;

  Cookie Make(const Peer& peer, uint32_t connection, uint64_t attempt, int64_t now_ns) const;
  // Whether it was made for just that, and not too long ago.
  bool Check(const Cookie& cookie, const Peer& peer, uint32_t connection, uint64_t attempt,
             int64_t now_ns) const;

 private:
  bool Sign(const Peer& peer, uint32_t connection, uint64_t attempt, Cookie* cookie) const;

  std::array<uint8_t, 32> secret_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SECURITY_COOKIE_MAKER_H_
