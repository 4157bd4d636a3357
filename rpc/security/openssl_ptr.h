// SPDX-License-Identifier: Apache-2.0
//
// Owners of OpenSSL's objects, and its errors as text.
#ifndef WEFT_RPC_SECURITY_OPENSSL_PTR_H_
#define WEFT_RPC_SECURITY_OPENSSL_PTR_H_

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

namespace weft::rpc {

template <auto kFree>
struct OpensslDeleter {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};

template <typename T, auto kFree>
using OpensslPtr = std::unique_ptr<T, OpensslDeleter<kFree>>;

// BIO_free() tells of errors that nobody can do anything about.
inline void FreeBio(BIO* bio) { BIO_free(bio); }

using BioPtr = OpensslPtr<BIO, &FreeBio>;
using CipherContextPtr = OpensslPtr<EVP_CIPHER_CTX, &EVP_CIPHER_CTX_free>;
using KeyPtr = OpensslPtr<EVP_PKEY, &EVP_PKEY_free>;
using SessionPtr = OpensslPtr<SSL_SESSION, &SSL_SESSION_free>;
using SslContextPtr = OpensslPtr<SSL_CTX, &SSL_CTX_free>;
using SslPtr = OpensslPtr<SSL, &SSL_free>;
using CertificatePtr = OpensslPtr<X509, &X509_free>;

// What this thread's last failed call into OpenSSL says, in words; forgets it.
inline std::string TakeOpensslError() {
  const unsigned long error = ERR_peek_last_error();  // NOLINT(google-runtime-int)
  ERR_clear_error();
  const char* const reason = ERR_reason_error_string(error);
  return reason != nullptr ? reason : "no reason given";
}

}  // namespace weft::rpc

#endif  // WEFT_RPC_SECURITY_OPENSSL_PTR_H_
