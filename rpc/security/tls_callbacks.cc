// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/security/tls_callbacks.h"

#include <arpa/inet.h>
#include <openssl/x509v3.h>

#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "weft/rpc/security/credentials.h"

namespace weft::rpc {
namespace {

// Names the protocol within TLS (RFC 7301), so that no packet of another one's handshake is taken
// for one of this.
constexpr unsigned char kProtocol[] = "\x06weft/1";
constexpr unsigned kProtocolBytes = sizeof(kProtocol) - 1;

TlsQuestion& QuestionOf(const SSL* ssl) {
  return *static_cast<TlsQuestion*>(SSL_get_app_data(ssl));
}

// OpenSSL's form of a pre-shared key, for use with that cipher suite.
SSL_SESSION* MakePskSession(const PreSharedKey& key, const SSL_CIPHER* cipher) {
  SessionPtr session(SSL_SESSION_new());
  if (session == nullptr || cipher == nullptr ||
      SSL_SESSION_set1_master_key(session.get(), key.bytes().data(), key.bytes().size()) != 1 ||
      SSL_SESSION_set_cipher(session.get(), cipher) != 1 ||
      SSL_SESSION_set_protocol_version(session.get(), TLS1_3_VERSION) != 1) {
    return nullptr;
  }
  return session.release();
}

int UsePsk(SSL* ssl, const EVP_MD* digest, const unsigned char** id, size_t* id_bytes,
           SSL_SESSION** session) {
  TlsQuestion& question = QuestionOf(ssl);
  const PreSharedKey* const key = question.credentials->own_key();
  *session = nullptr;
  if (key == nullptr) return 0;
  // A client offers one cipher suite.
  const SSL_CIPHER* const cipher = sk_SSL_CIPHER_value(SSL_get_ciphers(ssl), 0);
  if (digest != nullptr && SSL_CIPHER_get_handshake_digest(cipher) != digest) return 0;
  *session = MakePskSession(*key, cipher);
  if (*session == nullptr) return 0;
  question.identity = question.credentials->identity();
  *id = reinterpret_cast<const unsigned char*>(question.credentials->identity().data());
  *id_bytes = question.credentials->identity().size();
  return 1;
}

int FindPsk(SSL* ssl, const unsigned char* id, size_t id_bytes, SSL_SESSION** session) {
  TlsQuestion& question = QuestionOf(ssl);
  const absl::string_view identity(reinterpret_cast<const char*>(id), id_bytes);
  const PreSharedKey* const key = question.credentials->FindPeer(identity);
  *session = nullptr;
  if (key == nullptr) {
    question.unknown_identity = true;
    return 1;  // TLS goes on without a key, and fails for want of a certificate
  }
  question.identity = std::string(identity);
  *session = MakePskSession(*key, SSL_get_pending_cipher(ssl));
  return *session != nullptr ? 1 : 0;
}

int SelectProtocol(SSL*, const unsigned char** out, unsigned char* out_bytes,
                   const unsigned char* in, unsigned in_bytes, void*) {
  unsigned char* selected = nullptr;
  if (SSL_select_next_proto(&selected, out_bytes, kProtocol, kProtocolBytes, in, in_bytes) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = selected;
  return SSL_TLSEXT_ERR_OK;
}

// After OpenSSL's own verdict on each certificate of the chain, the peer's own last.
int Verify(int good, X509_STORE_CTX* store) {
  if (good != 1 || X509_STORE_CTX_get_error_depth(store) != 0) return good;
  const auto* ssl = static_cast<const SSL*>(
      X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  TlsQuestion& question = QuestionOf(ssl);
  X509* const certificate = X509_STORE_CTX_get_current_cert(store);
  if (question.server_name.empty() || CertificateIsFor(certificate, question.server_name)) {
    return 1;
  }
  question.wrong_name = true;
  X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH);
  return 0;
}

absl::string_view TextOf(const ASN1_STRING* text) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
          static_cast<size_t>(ASN1_STRING_length(text))};
}

// Calls f(type, text) with each alternative name that is a text, until it returns true.
template <typename F>
bool AnyAlternativeName(const X509* certificate, F f) {
  const OpensslPtr<GENERAL_NAMES, &GENERAL_NAMES_free> names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    int type = 0;
    const void* value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), i), &type);
    if (type != GEN_URI && type != GEN_DNS) continue;
    if (f(type, TextOf(static_cast<const ASN1_STRING*>(value)))) return true;
  }
  return false;
}

std::string CommonName(const X509* certificate) {
  const X509_NAME* const subject = X509_get_subject_name(certificate);
  const int index = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (index < 0) return "";
  unsigned char* utf8 = nullptr;
  const int size =
      ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, index)));
  if (size < 0) return "";
  std::string name(reinterpret_cast<const char*>(utf8), static_cast<size_t>(size));
  OPENSSL_free(utf8);
  return name;
}

}  // namespace

void BindTls(SSL* ssl, TlsQuestion* question) { SSL_set_app_data(ssl, question); }

void SetTlsCallbacks(SSL_CTX* context, Role role, bool uses_certificates) {
  if (role == Role::kClient) {
    SSL_CTX_set_alpn_protos(context, kProtocol, kProtocolBytes);
  } else {
    SSL_CTX_set_alpn_select_cb(context, &SelectProtocol, nullptr);
  }
  if (uses_certificates) {
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, &Verify);
  } else if (role == Role::kClient) {
    // A server that would rather show a certificate than know the key proves nothing.
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
    SSL_CTX_set_psk_use_session_callback(context, &UsePsk);
  } else {
    SSL_CTX_set_psk_find_session_callback(context, &FindPsk);
  }
}

std::string IdentityOfCertificate(const X509* certificate) {
  std::string uri;
  std::string dns;
  AnyAlternativeName(certificate, [&](int type, absl::string_view text) {
    std::string& name = type == GEN_URI ? uri : dns;
    if (name.empty()) name = std::string(text);
    return !uri.empty();
  });
  const std::string identity = !uri.empty() ? uri : !dns.empty() ? dns : CommonName(certificate);
  return absl::StrContains(identity, '\0') ? "" : identity;
}

bool CertificateIsFor(X509* certificate, const std::string& name) {
  if (absl::StrContains(name, "://")) {
    return AnyAlternativeName(certificate, [&name](int type, absl::string_view text) {
      return type == GEN_URI && text == name;
    });
  }
  uint8_t ip[16];
  if (inet_pton(AF_INET, name.c_str(), ip) == 1) {
    return X509_check_ip(certificate, ip, 4, 0) == 1;
  }
  if (inet_pton(AF_INET6, name.c_str(), ip) == 1) {
    return X509_check_ip(certificate, ip, 16, 0) == 1;
  }
  constexpr unsigned kFlags =
      X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
  return !name.empty() &&
         X509_check_host(certificate, name.data(), name.size(), kFlags, nullptr) == 1;
}

}  // namespace weft::rpc
