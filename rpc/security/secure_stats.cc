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

}  // namespace weft::rpc
