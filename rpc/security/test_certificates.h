// SPDX-License-Identifier: Apache-2.0
//
// Certificates and keys for tests and benchmarks, made when they are needed and worth nothing
// elsewhere.
//
//   RETURN_IF_ERROR(WriteTestCertificates(directory));   // ca.pem, server.pem, server.key, ...
//
//   ASSIGN_OR_RETURN(TestAuthority authority, TestAuthority::Make("test authority"));
//   RETURN_IF_ERROR(authority.Write(directory, "client", {.uri = "weft://reader"}));
#ifndef WEFT_RPC_SECURITY_TEST_CERTIFICATES_H_
#define WEFT_RPC_SECURITY_TEST_CERTIFICATES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/rpc/security/openssl_ptr.h"

namespace weft::rpc {

struct TestCertificateOptions {
  std::string common_name = "test";
  // Alternative names; empty ones are left out.
  std::vector<std::string> dns = {};
  std::vector<std::string> ips = {};
  std::string uri = {};
  // From now, in seconds.
  int valid_from_s = -3600;
  int valid_until_s = 24 * 3600;
};

// A certificate authority of its own.
class TestAuthority {
 public:
  static absl::StatusOr<TestAuthority> Make(const std::string& common_name);

  // Writes DIRECTORY/NAME.pem and NAME.key: a certificate for servers and clients, and its private
  // key (ECDSA, P-256).
  absl::Status Write(const std::string& directory, const std::string& name,
                     const TestCertificateOptions& options);
  // Writes DIRECTORY/NAME: this authority's own certificate.
  absl::Status WriteAuthority(const std::string& directory, const std::string& name) const;
  // Writes DIRECTORY/NAME: a list that says that the certificate written last is revoked.
  absl::Status WriteRevoked(const std::string& directory, const std::string& name) const;

 private:
  TestAuthority() = default;

  KeyPtr key_;
  CertificatePtr certificate_;
  long serial_ = 1;  // NOLINT(google-runtime-int): OpenSSL's
};

// ca.pem, server.pem, server.key (for localhost, 127.0.0.1 and ::1), client.pem, client.key.
absl::Status WriteTestCertificates(const std::string& directory);

}  // namespace weft::rpc

#endif  // WEFT_RPC_SECURITY_TEST_CERTIFICATES_H_
