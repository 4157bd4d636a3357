// SPDX-License-Identifier: Apache-2.0
//
// What a protected port counts.
#ifndef WEFT_RPC_SECURITY_SECURE_STATS_H_
#define WEFT_RPC_SECURITY_SECURE_STATS_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "weft/core/metrics.h"

namespace weft::rpc {

// Why a handshake failed.
enum class Failure : uint8_t {
  kUnknownIdentity,       // a pre-shared key's that is not in the file
  kWrongKey,              // a key that is not the one of that identity
  kCertificateMissing,    // the peer has none
  kCertificateExpired,    // or is not valid yet
  kCertificateUntrusted,  // not from one of the authorities, or forged
  kCertificateRevoked,
  kCertificateWrongName,  // not for the server that was wanted
  kTlsVersion,            // less than TLS 1.3
  kRefused,               // by the peer, for a reason of its own
  kTimeout,
  kOther,
};
inline constexpr size_t kFailures = static_cast<size_t>(Failure::kOther) + 1;

// The name of its counter: "unknown_identity", ...
const char* FailureName(Failure failure);

// Any thread may read.
struct SecureStats {
  Counter handshakes_started;   // as client
  Counter handshakes_accepted;  // as server, of a peer whose address is proven
  Counter handshakes_completed;
  std::array<Counter, kFailures> handshakes_failed;
  Counter handshakes_evicted;  // given up for newer ones
  Counter handshake_packets_sent;
  Counter handshake_packets_received;
  Counter handshake_malformed;  // no such packet, or one that nobody asked for
  Counter handshake_dropped;    // too many at once
  Counter cookies_sent;
  Counter cookies_wrong;
  Counter resets_sent;      // for records of no connection that is known
  Counter resets_received;  // that led to a handshake
  Counter resets_ignored;
  Counter records_sealed;
  Counter records_opened;
  Counter records_unknown;  // of no connection that is known, or from another address
  Counter records_replayed;
  Counter records_forged;       // not sealed with our keys, or changed on the way
  Counter records_other_epoch;  // of keys that are gone, or far ahead
  Counter records_malformed;
  Counter plaintext_dropped;  // what is neither a record nor of a handshake
  Counter key_updates_sent;
  Counter key_updates_received;
  Counter held_dropped;  // waited for a handshake, which there were too many of or which failed
  Counter connections_evicted;
  Gauge connections;  // with keys
  Gauge handshakes;   // as server, that have not ended
};

// All counters but handshakes_failed, with their names and what they say.
struct SecureCounter {
  const char* name;
  const char* help;
  Counter SecureStats::*counter;
};
absl::Span<const SecureCounter> SecureCounters();

}  // namespace weft::rpc

#endif  // WEFT_RPC_SECURITY_SECURE_STATS_H_
