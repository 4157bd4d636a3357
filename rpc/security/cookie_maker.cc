// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/security/cookie_maker.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstdlib>

#include "weft/core/bytes.h"

namespace weft::rpc {

CookieMaker::CookieMaker() {
  // A machine without randomness can protect nothing.
  if (RAND_bytes(secret_.data(), static_cast<int>(secret_.size())) != 1) std::abort();
}

CookieMaker::~CookieMaker() { OPENSSL_cleanse(secret_.data(), secret_.size()); }

Cookie CookieMaker::Make(const Peer& peer, uint32_t connection, uint64_t attempt,
                         int64_t now_ns) const {
  Cookie cookie{.time_ns = static_cast<uint64_t>(now_ns)};
  Sign(peer, connection, attempt, &cookie);
  return cookie;
}

// Sets the MAC of a cookie of that time. False when OpenSSL fails.
bool CookieMaker::Sign(const Peer& peer, uint32_t connection, uint64_t attempt,
                       Cookie* cookie) const {
  std::array<uint8_t, 44> message;
  for (size_t i = 0; i < 3; ++i) StoreBig64(&message[i * 8], peer.words[i]);
  StoreBig32(&message[24], connection);
  StoreBig64(&message[28], attempt);
  StoreBig64(&message[36], cookie->time_ns);
  std::array<uint8_t, 32> digest = {};
  unsigned size = digest.size();
  if (HMAC(EVP_sha256(), secret_.data(), static_cast<int>(secret_.size()), message.data(),
           message.size(), digest.data(), &size) == nullptr) {
    return false;
  }
  std::copy_n(digest.begin(), cookie->mac.size(), cookie->mac.begin());
  return true;
}

bool CookieMaker::Check(const Cookie& cookie, const Peer& peer, uint32_t connection,
                        uint64_t attempt, int64_t now_ns) const {
  // Unsigned: what is wrong about the time, of the future too, becomes a great age.
  const uint64_t age_ns = static_cast<uint64_t>(now_ns) - cookie.time_ns;
  if (age_ns > static_cast<uint64_t>(kLifetimeNs)) return false;
  Cookie right{.time_ns = cookie.time_ns};
  return Sign(peer, connection, attempt, &right) &&
         CRYPTO_memcmp(right.mac.data(), cookie.mac.data(), right.mac.size()) == 0;
}

}  // namespace weft::rpc
