// SPDX-License-Identifier: Apache-2.0
//
// What OpenSSL asks of us within a handshake: pre-shared keys, and whether a certificate is the one
// that was wanted.
#ifndef WEFT_RPC_SECURITY_TLS_CALLBACKS_H_
#define WEFT_RPC_SECURITY_TLS_CALLBACKS_H_

#include <openssl/ssl.h>

#include <string>

#include "weft/rpc/security/security.h"

namespace weft::rpc {

class Credentials;

// What the callbacks of one handshake read and find out; bound to its SSL by BindTls().
struct TlsQuestion {
  const Credentials* credentials = nullptr;
  std::string server_name;  // client with certificates: what the server's must be for

  std::string identity;           // pre-shared keys: the peer's, if it is known
  bool unknown_identity = false;  // the peer named one that is not
  bool wrong_name = false;        // the certificate is not for server_name
};

// `question` outlives the handshake.
void BindTls(SSL* ssl, TlsQuestion* question);

void SetTlsCallbacks(SSL_CTX* context, Role role, bool uses_certificates);

// The identity that a verified certificate stands for: the first URI of its alternative names, else
// the first DNS name, else the subject's common name; empty if there is none, or one with a NUL.
std::string IdentityOfCertificate(const X509* certificate);

// Whether the certificate is for the DNS name, IP address or URI.
bool CertificateIsFor(X509* certificate, const std::string& name);

}  // namespace weft::rpc

#endif  // WEFT_RPC_SECURITY_TLS_CALLBACKS_H_
