// SPDX-License-Identifier: Apache-2.0
//
// OpenSSL's errors of a handshake in the words of those who set it up.
#ifndef WEFT_RPC_SECURITY_TLS_FAILURE_H_
#define WEFT_RPC_SECURITY_TLS_FAILURE_H_

#include <openssl/ssl.h>

#include "absl/status/status.h"
#include "weft/rpc/security/secure_stats.h"
#include "weft/rpc/security/security.h"
#include "weft/rpc/security/tls_callbacks.h"

namespace weft::rpc {

struct TlsFailure {
  Failure failure = Failure::kOther;
  absl::Status status;  // Unauthenticated, or PermissionDenied where the peer refused
};

// Why the handshake of `ssl`, which is that of `role`, has just failed. Takes the error of this
// thread.
TlsFailure ExplainTlsFailure(const SSL* ssl, Role role, const TlsQuestion& question);

}  // namespace weft::rpc

#endif  // WEFT_RPC_SECURITY_TLS_FAILURE_H_
