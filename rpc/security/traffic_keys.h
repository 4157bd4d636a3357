// SPDX-License-Identifier: Apache-2.0
//
// The keys of one direction of a connection, epoch after epoch. The first secret comes from the
// handshake; each epoch's key, nonce and next secret are derived from its secret by HKDF-Expand
// (RFC 5869, SHA-256), so that who learns a key learns none of an earlier epoch.
//
//   key  = Expand(secret, "weft key")
//   iv   = Expand(secret, "weft iv")
//   next = Expand(secret, "weft next")
#ifndef WEFT_RPC_SECURITY_TRAFFIC_KEYS_H_
#define WEFT_RPC_SECURITY_TRAFFIC_KEYS_H_

#include <openssl/crypto.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "weft/rpc/security/aead.h"
#include "weft/rpc/security/replay_window.h"

namespace weft::rpc {

// 32 bytes that are overwritten when they are dropped.
class TrafficSecret {
 public:
  static constexpr size_t kBytes = 32;

  TrafficSecret() = default;
  // `bytes` has kBytes.
  explicit TrafficSecret(absl::Span<const uint8_t> bytes);
  TrafficSecret(const TrafficSecret&) = default;
  TrafficSecret& operator=(const TrafficSecret&) = default;
  ~TrafficSecret() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

  // False when OpenSSL fails.
  bool MakeNext(TrafficSecret* next) const;
  bool MakeKey(Cipher cipher, Aead::Use use, Aead* aead) const;

 private:
  bool Expand(absl::string_view label, absl::Span<uint8_t> out) const;

  std::array<uint8_t, kBytes> bytes_ = {};
};

// When a direction's next epoch begins.
struct RotationLimits {
  uint64_t packets = uint64_t{1} << 22;
  int64_t time_ns = int64_t{3600} * 1'000'000'000;
};

class SendKeys {
 public:
  // Epoch 0. False when OpenSSL fails.
  bool Start(const TrafficSecret& secret, Cipher cipher, int64_t now_ns,
             const RotationLimits& limits);

  // As Aead::Seal(), with the next number; *number and *phase, which the peer needs, are set.
  // Begins the next epoch first, if it is time to.
  bool Seal(int64_t now_ns, const RotationLimits& limits, uint8_t* data, size_t size,
            absl::Span<const uint8_t> tail, uint64_t* number, uint8_t* phase) {
    if (number_ >= epoch_end_ || now_ns >= epoch_end_ns_) [[unlikely]] {
      if (!Rotate(now_ns, limits)) return false;
    }
    *number = number_;
    *phase = phase_;
    return aead_.Seal(number_++, data, size, tail);
  }

  uint64_t next_number() const { return number_; }
  uint64_t rotations() const { return rotations_; }

 private:
  bool Rotate(int64_t now_ns, const RotationLimits& limits);
  void BeginEpoch(int64_t now_ns, const RotationLimits& limits);

  Aead aead_;
  uint64_t number_ = 0;
  uint64_t epoch_end_ = 0;
  int64_t epoch_end_ns_ = 0;
  Cipher cipher_ = Cipher::kAes128Gcm;
  uint8_t phase_ = 0;  // low bits of the epoch
  uint64_t rotations_ = 0;
  TrafficSecret secret_;
};

class ReceiveKeys {
 public:
  enum class Result : uint8_t {
    kOpened,
    kReplayed,    // or older than the window
    kForged,      // not sealed with our keys
    kOtherEpoch,  // neither of this epoch nor of one beside it
  };

  bool Start(const TrafficSecret& secret, Cipher cipher);

  // As Aead::Open(). The first datagram of the next epoch moves on to it; the keys of the previous
  // one are kept for those that are late.
  Result Open(uint8_t phase, uint64_t number, uint8_t* data, size_t size);

  uint64_t rotations() const { return rotations_; }

 private:
  Aead* KeyOf(uint8_t phase);
  bool Advance();

  Aead current_;
  uint8_t phase_ = 0;
  Cipher cipher_ = Cipher::kAes128Gcm;
  ReplayWindow window_;
  Aead previous_;
  Aead next_;  // made when a datagram first claims to be of the next epoch
  TrafficSecret secret_;
  uint64_t rotations_ = 0;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SECURITY_TRAFFIC_KEYS_H_
