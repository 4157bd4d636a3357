// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/security/tls_failure.h"

#include <openssl/err.h>
#include <openssl/sslerr.h>
#include <openssl/x509_vfy.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "weft/rpc/security/openssl_ptr.h"

namespace weft::rpc {
namespace {

// Of a certificate that this side has looked at.
Failure OfVerifyResult(long result) {  // NOLINT(google-runtime-int): OpenSSL's
  switch (result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return Failure::kCertificateExpired;
    case X509_V_ERR_CERT_REVOKED:
      return Failure::kCertificateRevoked;
    case X509_V_ERR_HOSTNAME_MISMATCH:
      return Failure::kCertificateWrongName;
    default:
      return Failure::kCertificateUntrusted;
  }
}

// What the peer thinks of this side, by its alert; kOther if the error is no alert.
Failure OfAlert(int reason) {
  switch (reason) {
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
      return Failure::kCertificateExpired;
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
      return Failure::kCertificateRevoked;
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
      return Failure::kCertificateUntrusted;
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
      return Failure::kCertificateMissing;
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
      return Failure::kTlsVersion;
    case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
      return Failure::kWrongKey;
    default:
      return reason > SSL_AD_REASON_OFFSET ? Failure::kRefused : Failure::kOther;
  }
}

absl::Status Refused(Failure failure, const std::string& reason) {
  const char* what = "the peer refused the handshake";
  if (failure == Failure::kCertificateExpired) what = "the peer found this certificate expired";
  if (failure == Failure::kCertificateRevoked) what = "the peer found this certificate revoked";
  if (failure == Failure::kCertificateUntrusted) {
    what = "the peer does not trust this certificate: is it of one of the peer's authorities?";
  }
  if (failure == Failure::kCertificateMissing) what = "the peer wants a certificate";
  if (failure == Failure::kTlsVersion) what = "the peer speaks another version of TLS";
  if (failure == Failure::kWrongKey) {
    what = "the peer has another key under this identity";
  }
  return absl::UnauthenticatedError(absl::StrCat(what, " (", reason, ")"));
}

}  // namespace

TlsFailure ExplainTlsFailure(const SSL* ssl, Role role, const TlsQuestion& question) {
  const int reason = ERR_GET_REASON(ERR_peek_last_error());
  const std::string text = TakeOpensslError();
  const char* const whose = role == Role::kClient ? "the server's" : "the client's";
  if (question.unknown_identity) {
    return {Failure::kUnknownIdentity,
            absl::UnauthenticatedError("the client's identity is not known")};
  }
  if (const long verdict = SSL_get_verify_result(ssl);  // NOLINT(google-runtime-int)
      reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    const Failure failure = OfVerifyResult(verdict);
    std::string what = X509_verify_cert_error_string(verdict);
    if (failure == Failure::kCertificateWrongName) {
      what = absl::StrCat("it is not for '", question.server_name, "'");
    }
    return {failure,
            absl::UnauthenticatedError(absl::StrCat(whose, " certificate is not good: ", what))};
  }
  switch (reason) {
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return {Failure::kCertificateMissing,
              absl::UnauthenticatedError("the client has no certificate")};
    case SSL_R_BINDER_DOES_NOT_VERIFY:
      return {Failure::kWrongKey,
              absl::UnauthenticatedError(absl::StrCat(
                  "the client has another key under the identity '", question.identity, "'"))};
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_WRONG_SSL_VERSION:
      return {Failure::kTlsVersion,
              absl::UnauthenticatedError("the peer speaks another version of TLS")};
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
      if (role == Role::kClient && !question.identity.empty()) {
        return {Failure::kUnknownIdentity,
                absl::UnauthenticatedError(absl::StrCat("the server does not know the identity '",
                                                        question.identity, "' (", text, ")"))};
      }
      break;
    case SSL_R_SSLV3_ALERT_ILLEGAL_PARAMETER:
      // What OpenSSL says to a pre-shared key that is not the right one.
      if (role == Role::kClient && !question.identity.empty()) {
        return {Failure::kWrongKey, Refused(Failure::kWrongKey, text)};
      }
      break;
    default:
      break;
  }
  if (const Failure alert = OfAlert(reason); alert != Failure::kOther) {
    return {alert, Refused(alert, text)};
  }
  return {Failure::kOther,
          absl::UnauthenticatedError(absl::StrCat("the handshake failed: ", text))};
}

}  // namespace weft::rpc
