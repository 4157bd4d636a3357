// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/security/secure_stats.h"

namespace weft::rpc {

const char* FailureName(Failure failure) {
  switch (failure) {
    case Failure::kUnknownIdentity:
      return "unknown_identity";
    case Failure::kWrongKey:
      return "wrong_key";
    case Failure::kCertificateMissing:
      return "certificate_missing";
    case Failure::kCertificateExpired:
      return "certificate_expired";
    case Failure::kCertificateUntrusted:
      return "certificate_untrusted";
    case Failure::kCertificateRevoked:
      return "certificate_revoked";
    case Failure::kCertificateWrongName:
      return "certificate_wrong_name";
    case Failure::kTlsVersion:
      return "tls_version";
    case Failure::kRefused:
      return "refused";
    case Failure::kTimeout:
      return "timeout";
    case Failure::kOther:
      return "other";
  }
  return "other";
}

absl::Span<const SecureCounter> SecureCounters() {
  using S = SecureStats;
  static constexpr SecureCounter kCounters[] = {
      {"handshakes_started", "Handshakes begun as client.", &S::handshakes_started},
      {"handshakes_accepted", "Handshakes of clients whose address is proven.",
       &S::handshakes_accepted},
      {"handshakes_completed", "Handshakes that made keys.", &S::handshakes_completed},
      {"handshakes_evicted", "Handshakes of clients given up for newer ones.",
       &S::handshakes_evicted},
      {"handshake_packets_sent", "Packets of handshakes sent.", &S::handshake_packets_sent},
      {"handshake_packets_received", "Packets of handshakes received.",
       &S::handshake_packets_received},
      {"handshake_malformed", "Packets that are none of a handshake, or of none that is under way.",
       &S::handshake_malformed},
      {"handshake_dropped", "Packets of handshakes dropped because there were too many.",
       &S::handshake_dropped},
      {"cookies_sent", "Cookies sent to clients.", &S::cookies_sent},
      {"cookies_wrong", "Packets without a right cookie.", &S::cookies_wrong},
      {"resets_sent", "Hints that a record is of no connection known here.", &S::resets_sent},
      {"resets_received", "Such hints that led to a handshake.", &S::resets_received},
      {"resets_ignored", "Such hints that did not.", &S::resets_ignored},
      {"records_sealed", "Datagrams sealed.", &S::records_sealed},
      {"records_opened", "Datagrams opened.", &S::records_opened},
      {"records_unknown", "Records of no connection known here.", &S::records_unknown},
      {"records_replayed", "Records received before, or too old to tell.", &S::records_replayed},
      {"records_forged", "Records not sealed with the right keys, or changed on the way.",
       &S::records_forged},
      {"records_other_epoch", "Records of keys that are gone, or not there yet.",
       &S::records_other_epoch},
      {"records_malformed", "Records that no peer writes.", &S::records_malformed},
      {"plaintext_dropped", "Datagrams that are not protected.", &S::plaintext_dropped},
      {"key_updates_sent", "Changes of keys by this side.", &S::key_updates_sent},
      {"key_updates_received", "Changes of keys by peers.", &S::key_updates_received},
      {"held_dropped", "Datagrams that waited for a handshake in vain.", &S::held_dropped},
      {"connections_evicted", "Peers forgotten for others.", &S::connections_evicted},
  };
  return kCounters;
}

}  // namespace weft::rpc
