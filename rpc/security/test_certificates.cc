// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/security/test_certificates.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weft::rpc {
namespace {

constexpr int kX509Version3 = 2;

absl::Status OpensslError(const char* what) {
  return absl::InternalError(absl::StrCat(what, ": ", TakeOpensslError()));
}

// Writes a file by one of OpenSSL's PEM functions.
template <typename F>
absl::Status WritePem(const std::string& path, F write) {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "w"), &std::fclose);
  if (file == nullptr) return absl::NotFoundError(absl::StrCat(path, ": cannot be written"));
  return write(file.get()) == 1 ? absl::OkStatus() : OpensslError(path.c_str());
}

bool AddExtension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const OpensslPtr<X509_EXTENSION, &X509_EXTENSION_free> extension(
      X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

// A certificate without extensions and signature.
CertificatePtr NewCertificate(const std::string& common_name, long serial,  // NOLINT
                              int from_s, int until_s, EVP_PKEY* key) {
  CertificatePtr certificate(X509_new());
  X509_NAME* const name = X509_get_subject_name(certificate.get());
  const auto* const text = reinterpret_cast<const unsigned char*>(common_name.c_str());
  if (X509_set_version(certificate.get(), kX509Version3) != 1 ||
      ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), serial) != 1 ||
      X509_gmtime_adj(X509_getm_notBefore(certificate.get()), from_s) == nullptr ||
      X509_gmtime_adj(X509_getm_notAfter(certificate.get()), until_s) == nullptr ||
      X509_set_pubkey(certificate.get(), key) != 1 ||
      X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, text, -1, -1, 0) != 1) {
    return nullptr;
  }
  return certificate;
}

std::string AlternativeNames(const TestCertificateOptions& options) {
  std::string names;
  const auto add = [&names](const char* kind, const std::string& name) {
    if (!name.empty()) absl::StrAppend(&names, names.empty() ? "" : ",", kind, ":", name);
  };
  for (const std::string& dns : options.dns) add("DNS", dns);
  for (const std::string& ip : options.ips) add("IP", ip);
  add("URI", options.uri);
  return names;
}

}  // namespace

absl::StatusOr<TestAuthority> TestAuthority::Make(const std::string& common_name) {
  TestAuthority authority;
  authority.key_.reset(EVP_EC_gen("P-256"));
  if (authority.key_ == nullptr) return OpensslError("EVP_EC_gen");
  authority.certificate_ = NewCertificate(common_name, 1, -3600, 24 * 3600, authority.key_.get());
  X509* const certificate = authority.certificate_.get();
  if (certificate == nullptr ||
      X509_set_issuer_name(certificate, X509_get_subject_name(certificate)) != 1 ||
      !AddExtension(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE") ||
      !AddExtension(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign") ||
      !AddExtension(certificate, certificate, NID_subject_key_identifier, "hash") ||
      X509_sign(certificate, authority.key_.get(), EVP_sha256()) == 0) {
    return OpensslError("authority");
  }
  return authority;
}

absl::Status TestAuthority::Write(const std::string& directory, const std::string& name,
                                  const TestCertificateOptions& options) {
  const KeyPtr key(EVP_EC_gen("P-256"));
  if (key == nullptr) return OpensslError("EVP_EC_gen");
  const CertificatePtr certificate = NewCertificate(
      options.common_name, ++serial_, options.valid_from_s, options.valid_until_s, key.get());
  const std::string names = AlternativeNames(options);
  X509* const issuer = certificate_.get();
  if (certificate == nullptr ||
      X509_set_issuer_name(certificate.get(), X509_get_subject_name(issuer)) != 1 ||
      !AddExtension(certificate.get(), issuer, NID_basic_constraints, "critical,CA:FALSE") ||
      !AddExtension(certificate.get(), issuer, NID_ext_key_usage, "serverAuth,clientAuth") ||
      (!names.empty() && !AddExtension(certificate.get(), issuer, NID_subject_alt_name, names)) ||
      X509_sign(certificate.get(), key_.get(), EVP_sha256()) == 0) {
    return OpensslError("certificate");
  }
  const std::string path = absl::StrCat(directory, "/", name);
  absl::Status status =
      WritePem(path + ".pem", [&](FILE* file) { return PEM_write_X509(file, certificate.get()); });
  status.Update(WritePem(path + ".key", [&](FILE* file) {
    return PEM_write_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  }));
  return status;
}

absl::Status TestAuthority::WriteAuthority(const std::string& directory,
                                           const std::string& name) const {
  return WritePem(absl::StrCat(directory, "/", name),
                  [&](FILE* file) { return PEM_write_X509(file, certificate_.get()); });
}

absl::Status TestAuthority::WriteRevoked(const std::string& directory,
                                         const std::string& name) const {
  const OpensslPtr<X509_CRL, &X509_CRL_free> list(X509_CRL_new());
  const OpensslPtr<ASN1_TIME, &ASN1_TIME_free> now(X509_gmtime_adj(nullptr, -60));
  const OpensslPtr<ASN1_TIME, &ASN1_TIME_free> next(X509_gmtime_adj(nullptr, 3600));
  const OpensslPtr<ASN1_INTEGER, &ASN1_INTEGER_free> serial(ASN1_INTEGER_new());
  OpensslPtr<X509_REVOKED, &X509_REVOKED_free> revoked(X509_REVOKED_new());
  if (X509_CRL_set_version(list.get(), 1) != 1 ||
      X509_CRL_set_issuer_name(list.get(), X509_get_subject_name(certificate_.get())) != 1 ||
      X509_CRL_set1_lastUpdate(list.get(), now.get()) != 1 ||
      X509_CRL_set1_nextUpdate(list.get(), next.get()) != 1 ||
      ASN1_INTEGER_set(serial.get(), serial_) != 1 ||
      X509_REVOKED_set_serialNumber(revoked.get(), serial.get()) != 1 ||
      X509_REVOKED_set_revocationDate(revoked.get(), now.get()) != 1 ||
      X509_CRL_add0_revoked(list.get(), revoked.get()) != 1) {
    return OpensslError("revocation list");
  }
  static_cast<void>(revoked.release());
  if (X509_CRL_sort(list.get()) != 1 || X509_CRL_sign(list.get(), key_.get(), EVP_sha256()) == 0) {
    return OpensslError("revocation list");
  }
  return WritePem(absl::StrCat(directory, "/", name),
                  [&](FILE* file) { return PEM_write_X509_CRL(file, list.get()); });
}

absl::Status WriteTestCertificates(const std::string& directory) {
  absl::StatusOr<TestAuthority> authority = TestAuthority::Make("test authority");
  if (!authority.ok()) return authority.status();
  absl::Status status = authority->WriteAuthority(directory, "ca.pem");
  status.Update(authority->Write(
      directory, "server",
      {.common_name = "server", .dns = {"localhost"}, .ips = {"127.0.0.1", "::1"}}));
  status.Update(authority->Write(directory, "client", {.common_name = "client"}));
  return status;
}

}  // namespace weft::rpc
