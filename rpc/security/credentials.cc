// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/security/credentials.h"

#include <openssl/pem.h>
#include <openssl/x509_vfy.h>

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/rpc/security/tls_callbacks.h"

namespace weft::rpc {
namespace {

// The client's choice. Servers take all, in the client's order.
const char* CipherSuites(config::Security::Cipher cipher) {
  switch (cipher) {
    case config::Security::AES_128_GCM:
      return "TLS_AES_128_GCM_SHA256";
    case config::Security::AES_256_GCM:
      return "TLS_AES_256_GCM_SHA384";
    case config::Security::CHACHA20_POLY1305:
      return "TLS_CHACHA20_POLY1305_SHA256";
  }
  return "";
}
constexpr char kAllCipherSuites[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

std::vector<std::string> FilesOf(const config::Security& config) {
  std::vector<std::string> files;
  const auto add = [&files](const std::string& path) {
    if (!path.empty()) files.push_back(path);
  };
  if (config.has_psk()) {
    add(config.psk().key_file());
    add(config.psk().peers_file());
  } else if (config.has_x509()) {
    add(config.x509().certificate_file());
    add(config.x509().private_key_file());
    add(config.x509().ca_file());
    add(config.x509().crl_file());
  }
  return files;
}

absl::Status BadFile(const std::string& path, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": ", what, " (OpenSSL: ", TakeOpensslError(), ")"));
}

}  // namespace

std::string Credentials::StampNow(const config::Security& config) {
  std::string stamp;
  for (const std::string& file : FilesOf(config)) absl::StrAppend(&stamp, FileStamp(file), "\n");
  return stamp;
}

absl::StatusOr<std::shared_ptr<const Credentials>> Credentials::Read(
    const config::Security& config) {
  std::shared_ptr<Credentials> credentials(new Credentials(config));
  // Before the files are read: a change in between is then seen the next time.
  credentials->stamp_ = StampNow(config);
  absl::Status status = config.has_psk() ? credentials->ReadPsk() : credentials->ReadX509();
  if (!status.ok()) return status;
  for (const Role role : {Role::kClient, Role::kServer}) {
    absl::StatusOr<SslContextPtr> context = credentials->NewContext(role);
    if (!context.ok()) return context.status();
    (role == Role::kClient ? credentials->client_ : credentials->server_) = *std::move(context);
  }
  return credentials;
}

absl::Status Credentials::ReadPsk() {
  const config::Psk& psk = config_.psk();
  if (!psk.key_file().empty()) {
    absl::StatusOr<PreSharedKey> key = ReadKeyFile(psk.key_file());
    if (!key.ok()) return key.status();
    own_.emplace(psk.identity(), *std::move(key));
  }
  if (psk.peers_file().empty()) {
    peers_ = own_;
    return absl::OkStatus();
  }
  absl::StatusOr<PreSharedKeys> peers = ReadPeersFile(psk.peers_file());
  if (!peers.ok()) return peers.status();
  peers_ = *std::move(peers);
  return absl::OkStatus();
}

// OpenSSL says little about files, so that each is looked at here first.
absl::Status Credentials::ReadX509() {
  for (const std::string& file : FilesOf(config_)) {
    if (absl::StatusOr<std::string> text = ReadFile(file); !text.ok()) return text.status();
  }
  return absl::OkStatus();
}

absl::Status Credentials::LoadCertificates(SSL_CTX* context) const {
  const config::X509& x509 = config_.x509();
  if (SSL_CTX_use_certificate_chain_file(context, x509.certificate_file().c_str()) != 1) {
    return BadFile(x509.certificate_file(), "holds no certificate in PEM");
  }
  const std::string& key = x509.private_key_file();
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    // OpenSSL compares it with the certificate by itself.
    const bool other = ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH;
    if (other) {
      ERR_clear_error();
      return absl::FailedPreconditionError(
          absl::StrCat(key, ": is not the private key of ", x509.certificate_file()));
    }
    return BadFile(key, "holds no private key in PEM that can be read without a password");
  }
  if (SSL_CTX_check_private_key(context) != 1) {
    ERR_clear_error();
    return absl::FailedPreconditionError(
        absl::StrCat(key, ": is not the private key of ", x509.certificate_file()));
  }
  if (SSL_CTX_load_verify_file(context, x509.ca_file().c_str()) != 1) {
    return BadFile(x509.ca_file(), "holds no certificate in PEM");
  }
  return x509.crl_file().empty() ? absl::OkStatus() : LoadRevoked(context);
}

absl::Status Credentials::LoadRevoked(SSL_CTX* context) const {
  const std::string& path = config_.x509().crl_file();
  X509_STORE* const store = SSL_CTX_get_cert_store(context);
  X509_LOOKUP* const lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
  if (lookup == nullptr || X509_load_crl_file(lookup, path.c_str(), X509_FILETYPE_PEM) < 1) {
    return BadFile(path, "holds no certificate revocation list in PEM");
  }
  X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
  ERR_clear_error();
  return absl::OkStatus();
}

absl::StatusOr<SslContextPtr> Credentials::NewContext(Role role) const {
  const bool server = role == Role::kServer;
  SslContextPtr context(SSL_CTX_new(server ? TLS_server_method() : TLS_client_method()));
  const char* const suites = server ? kAllCipherSuites : CipherSuites(config_.cipher());
  if (context == nullptr || SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_max_proto_version(context.get(), TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_ciphersuites(context.get(), suites) != 1 ||
      SSL_CTX_set1_groups_list(context.get(), "X25519:P-256") != 1 ||
      SSL_CTX_set_num_tickets(context.get(), 0) != 1) {
    return absl::InternalError(absl::StrCat("OpenSSL: ", TakeOpensslError()));
  }
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);
  if (uses_certificates()) {
    if (absl::Status status = LoadCertificates(context.get()); !status.ok()) return status;
  }
  SetTlsCallbacks(context.get(), role, uses_certificates());
  return context;
}

absl::Status Credentials::CheckRole(Role role) const {
  if (uses_certificates()) return absl::OkStatus();
  if (role == Role::kClient && own_.empty()) {
    return absl::FailedPreconditionError(
        "a client needs a key of its own: give security.psk.identity and key_file");
  }
  return absl::OkStatus();
}

SslPtr Credentials::NewSsl(Role role) const {
  SSL_CTX* const context = role == Role::kServer ? server_.get() : client_.get();
  SslPtr ssl(SSL_new(context));
  if (ssl == nullptr) return nullptr;
  BIO* const in = BIO_new(BIO_s_mem());
  BIO* const out = BIO_new(BIO_s_mem());
  if (in == nullptr || out == nullptr) {
    BIO_free(in);
    BIO_free(out);
    return nullptr;
  }
  SSL_set_bio(ssl.get(), in, out);
  role == Role::kServer ? SSL_set_accept_state(ssl.get()) : SSL_set_connect_state(ssl.get());
  return ssl;
}

const PreSharedKey* Credentials::own_key() const {
  return own_.empty() ? nullptr : &own_.begin()->second;
}

const PreSharedKey* Credentials::FindPeer(absl::string_view identity) const {
  const auto found = peers_.find(identity);
  return found == peers_.end() ? nullptr : &found->second;
}

}  // namespace weft::rpc
