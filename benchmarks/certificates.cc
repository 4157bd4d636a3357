// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/certificates.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <memory>

#include "absl/strings/str_cat.h"

namespace weft::benchmarks {
namespace {

template <auto kFree>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Free<&EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Free<&X509_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Free<&X509_EXTENSION_free>>;

constexpr long kValidS = 24 * 60 * 60;
constexpr long kClockSkewS = 60 * 60;

struct Identity {
  Key key;
  Certificate certificate;
};

bool AddExtension(X509* certificate, X509* issuer, int kind, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, kind, value));
  return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

// Signed by `issuer`, or by itself: an authority.
bool MakeIdentity(const char* name, int serial, const Identity* issuer, Identity* made) {
  made->key.reset(EVP_EC_gen("P-256"));
  made->certificate.reset(X509_new());
  X509* const certificate = made->certificate.get();
  if (made->key == nullptr || certificate == nullptr) return false;
  X509* const signer = issuer != nullptr ? issuer->certificate.get() : certificate;
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -kClockSkewS);
  X509_gmtime_adj(X509_getm_notAfter(certificate), kValidS);
  X509_set_pubkey(certificate, made->key.get());
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name), -1, -1, 0);
  X509_set_issuer_name(certificate, X509_get_subject_name(signer));
  const bool extended =
      issuer == nullptr
          ? AddExtension(certificate, signer, NID_basic_constraints, "critical,CA:TRUE") &&
                AddExtension(certificate, signer, NID_key_usage, "critical,keyCertSign")
          : AddExtension(certificate, signer, NID_basic_constraints, "critical,CA:FALSE") &&
                AddExtension(certificate, signer, NID_ext_key_usage, "serverAuth,clientAuth") &&
                AddExtension(certificate, signer, NID_subject_alt_name,
                             "DNS:localhost,IP:127.0.0.1");
  return extended && X509_sign(certificate, issuer != nullptr ? issuer->key.get() : made->key.get(),
                               EVP_sha256()) > 0;
}

bool Write(const std::string& path, const Identity& identity, bool with_key) {
  std::FILE* const certificate = std::fopen(absl::StrCat(path, ".pem").c_str(), "we");
  if (certificate == nullptr) return false;
  bool written = PEM_write_X509(certificate, identity.certificate.get()) == 1;
  written = std::fclose(certificate) == 0 && written;
  if (!written || !with_key) return written;
  std::FILE* const key = std::fopen(absl::StrCat(path, ".key").c_str(), "we");
  if (key == nullptr) return false;
  written =
      PEM_write_PrivateKey(key, identity.key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1;
  return std::fclose(key) == 0 && written;
}

}  // namespace

absl::Status WriteCertificates(const std::string& directory) {
  Identity authority, server, client;
  if (!MakeIdentity("weft benchmark authority", 1, nullptr, &authority) ||
      !MakeIdentity("server", 2, &authority, &server) ||
      !MakeIdentity("client", 3, &authority, &client)) {
    return absl::InternalError("cannot make certificates");
  }
  if (!Write(absl::StrCat(directory, "/ca"), authority, /*with_key=*/false) ||
      !Write(absl::StrCat(directory, "/server"), server, /*with_key=*/true) ||
      !Write(absl::StrCat(directory, "/client"), client, /*with_key=*/true)) {
    return absl::UnavailableError(absl::StrCat("cannot write certificates to ", directory));
  }
  return absl::OkStatus();
}

}  // namespace weft::benchmarks
