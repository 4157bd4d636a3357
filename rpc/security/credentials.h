// SPDX-License-Identifier: Apache-2.0
//
// The keys and certificates of a program as they were read at one time, ready for handshakes. Not
// for users, who have Security.
#ifndef WEFT_RPC_SECURITY_CREDENTIALS_H_
#define WEFT_RPC_SECURITY_CREDENTIALS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/config/config.h"
#include "weft/rpc/security/key_files.h"
#include "weft/rpc/security/openssl_ptr.h"
#include "weft/rpc/security/security.h"

namespace weft::rpc {

// Immutable, so used by all threads.
class Credentials {
 public:
  // Reads the files. Errors as of Security::Open().
  static absl::StatusOr<std::shared_ptr<const Credentials>> Read(const config::Security& config);

  // What the files look like now, to be compared with stamp().
  static std::string StampNow(const config::Security& config);
  const std::string& stamp() const { return stamp_; }

  // Ok, or FailedPrecondition that says what the role lacks.
  absl::Status CheckRole(Role role) const;

  // A TLS connection of that side; null when OpenSSL fails. The credentials must outlive it.
  SslPtr NewSsl(Role role) const;

  // Pre-shared keys: this side's own, and who may connect.
  const std::string& identity() const { return config_.psk().identity(); }
  const PreSharedKey* own_key() const;
  const PreSharedKey* FindPeer(absl::string_view identity) const;
  bool uses_certificates() const { return config_.has_x509(); }
  const config::Security& config() const { return config_; }

 private:
  explicit Credentials(const config::Security& config) : config_(config) {}
  absl::Status ReadPsk();
  absl::Status ReadX509();
  absl::Status LoadCertificates(SSL_CTX* context) const;
  absl::Status LoadRevoked(SSL_CTX* context) const;
  absl::StatusOr<SslContextPtr> NewContext(Role role) const;

  const config::Security config_;
  std::string stamp_;
  PreSharedKeys own_;  // none or one
  PreSharedKeys peers_;
  SslContextPtr client_;
  SslContextPtr server_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SECURITY_CREDENTIALS_H_
