// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/security/traffic_keys.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace weft::rpc {

TrafficSecret::TrafficSecret(absl::Span<const uint8_t> bytes) {
  std::copy(bytes.begin(), bytes.end(), bytes_.begin());
}

bool TrafficSecret::Expand(absl::string_view label, absl::Span<uint8_t> out) const {
  static EVP_KDF* const kHkdf = EVP_KDF_fetch(nullptr, "HKDF", nullptr);
  const OpensslPtr<EVP_KDF_CTX, &EVP_KDF_CTX_free> context(EVP_KDF_CTX_new(kHkdf));
  if (context == nullptr) return false;
  int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
  char digest[] = "SHA256";
  // OpenSSL takes what it only reads by pointers to non-const.
  auto* const secret = const_cast<uint8_t*>(bytes_.data());
  auto* const info = const_cast<char*>(label.data());
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, secret, kBytes),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, label.size()),
      OSSL_PARAM_construct_end()};
  return EVP_KDF_derive(context.get(), out.data(), out.size(), parameters) == 1;
}

bool TrafficSecret::MakeNext(TrafficSecret* next) const {
  return Expand("weft next", absl::MakeSpan(next->bytes_));
}

bool TrafficSecret::MakeKey(Cipher cipher, Aead::Use use, Aead* aead) const {
  std::array<uint8_t, 32> key;
  Aead::Iv iv;
  const auto used = absl::MakeSpan(key).first(KeyBytes(cipher));
  const bool made = Expand("weft key", used) && Expand("weft iv", absl::MakeSpan(iv)) &&
                    aead->SetKey(cipher, used, iv, use);
  OPENSSL_cleanse(key.data(), key.size());
  OPENSSL_cleanse(iv.data(), iv.size());
  return made;
}

bool SendKeys::Start(const TrafficSecret& secret, Cipher cipher, int64_t now_ns,
                     const RotationLimits& limits) {
  secret_ = secret;
  cipher_ = cipher;
  number_ = 0;
  phase_ = 0;
  BeginEpoch(now_ns, limits);
  return secret_.MakeKey(cipher, Aead::Use::kSeal, &aead_);
}

bool SendKeys::Rotate(int64_t now_ns, const RotationLimits& limits) {
  TrafficSecret next;
  Aead aead;
  if (!secret_.MakeNext(&next) || !next.MakeKey(cipher_, Aead::Use::kSeal, &aead)) return false;
  secret_ = next;
  aead_ = std::move(aead);
  ++phase_;
  ++rotations_;
  BeginEpoch(now_ns, limits);
  return true;
}

void SendKeys::BeginEpoch(int64_t now_ns, const RotationLimits& limits) {
  epoch_end_ = number_ + limits.packets;
  epoch_end_ns_ = now_ns + std::min(limits.time_ns, std::numeric_limits<int64_t>::max() - now_ns);
}

bool ReceiveKeys::Start(const TrafficSecret& secret, Cipher cipher) {
  secret_ = secret;
  cipher_ = cipher;
  phase_ = 0;
  window_ = ReplayWindow();
  previous_.Reset();
  next_.Reset();
  return secret_.MakeKey(cipher, Aead::Use::kOpen, &current_);
}

// The key that a datagram of that phase was sealed with, if it is one of ours; else null.
Aead* ReceiveKeys::KeyOf(uint8_t phase) {
  if (phase == phase_) [[likely]] {
    return &current_;
  }
  if (phase == static_cast<uint8_t>(phase_ - 1)) return previous_.has_key() ? &previous_ : nullptr;
  if (phase != static_cast<uint8_t>(phase_ + 1)) return nullptr;
  TrafficSecret next;
  if (!next_.has_key() &&
      !(secret_.MakeNext(&next) && next.MakeKey(cipher_, Aead::Use::kOpen, &next_))) {
    return nullptr;
  }
  return &next_;
}

bool ReceiveKeys::Advance() {
  TrafficSecret next;
  if (!secret_.MakeNext(&next)) return false;
  secret_ = next;
  previous_ = std::move(current_);
  current_ = std::move(next_);
  next_.Reset();
  ++phase_;
  ++rotations_;
  return true;
}

ReceiveKeys::Result ReceiveKeys::Open(uint8_t phase, uint64_t number, uint8_t* data, size_t size) {
  Aead* const key = KeyOf(phase);
  if (key == nullptr) return Result::kOtherEpoch;
  if (!window_.IsNew(number)) return Result::kReplayed;
  if (!key->Open(number, data, size)) return Result::kForged;
  if (key == &next_ && !Advance()) return Result::kForged;
  window_.Mark(number);
  return Result::kOpened;
}

}  // namespace weft::rpc
