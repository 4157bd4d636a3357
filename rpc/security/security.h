// SPDX-License-Identifier: Apache-2.0
//
// Who may talk to whom, and that nobody else reads or changes it: the `security` section of a
// configuration (config/config.proto), opened once and shared by all threads of a program.
//
//   ASSIGN_OR_RETURN(auto security, Security::Open(config.security()));
//   ASSIGN_OR_RETURN(port, security->Protect(loop, std::move(port), Role::kServer));
//
// A protected port is a DatagramPort like any other. When something is first sent to a peer that it
// resolved, it shakes hands with it: TLS 1.3 (RFC 8446), in which both sides prove who they are.
// From then on each datagram is encrypted and authenticated as a whole (docs/protocols/secure.md).
// It talks to nobody who cannot prove an identity, and tells who a peer is:
// DatagramPort::IdentityOf(). What is protected from whom, and what is not: docs/security.md.
//
// Key files are read by Open() and again when they change; handshakes under way and connections
// that exist keep what they began with.
#ifndef WEFT_RPC_SECURITY_SECURITY_H_
#define WEFT_RPC_SECURITY_SECURITY_H_

#include <cstdint>
#include <memory>
#include <mutex>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/config/config.h"
#include "weft/core/loop.h"
#include "weft/transports/datagram_port.h"

namespace weft::rpc {

class Credentials;

enum class Role : uint8_t {
  kClient,  // connects to those that it resolves
  kServer,  // accepts those that connect, too
};

// Thread-safe.
class Security : public std::enable_shared_from_this<Security> {
 public:
  enum class Mode : uint8_t {
    kPlaintext,  // chosen by name: no protection, to other machines too
    kPsk,
    kX509,
  };

  // Reads the files that `config` names. Errors, each with the name of the file or field:
  // InvalidArgument (a combination that the loader would refuse, a file that holds no such key),
  // NotFound, PermissionDenied (a file that is not there, or not readable), FailedPrecondition (a
  // certificate that does not belong to the key).
  static absl::StatusOr<std::shared_ptr<const Security>> Open(const config::Security& config);
  ~Security();
  Security(const Security&) = delete;
  Security& operator=(const Security&) = delete;

  Mode mode() const { return mode_; }
  const config::Security& config() const { return config_; }

  // `port` as it is for plain text, else wrapped: what is sent and received through the result is
  // protected. `loop` is that of the thread that uses it, and outlives it. Errors:
  // FailedPrecondition where keys for the role are missing; InvalidArgument for a port whose
  // messages are too short.
  absl::StatusOr<std::unique_ptr<DatagramPort>> Protect(Loop& loop,
                                                        std::unique_ptr<DatagramPort> port,
                                                        Role role) const;

  // Whether the rules (config.allow) let the peer of that identity call the method, as in
  // "package.Service/Method"; "" stands for a request that belongs to no typed service. Without
  // rules, and for plain text, everybody may call everything.
  bool Allows(absl::string_view method, absl::string_view identity) const;

  // The keys for a handshake that begins now. Reads the files anew if they were last looked at
  // config.reload_s ago or more, in the time of `now_ns`, and have changed since; files that cannot
  // be used then leave the keys as they are; reload_status() and the log say why.
  std::shared_ptr<const Credentials> CredentialsAt(int64_t now_ns) const;
  absl::Status reload_status() const;

 private:
  Security(const config::Security& config, Mode mode);

  const config::Security config_;
  const Mode mode_;

  mutable std::mutex mutex_;  // guards the rest
  mutable std::shared_ptr<const Credentials> credentials_;
  mutable int64_t looked_ns_ = INT64_MAX;
  mutable absl::Status reload_status_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SECURITY_SECURITY_H_
