// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/security/security.h"

#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "weft/config/validate.h"

namespace weft::rpc {
namespace {

Security::Mode ModeOf(const config::Security& config) {
  if (config.has_psk()) return Security::Mode::kPsk;
  return config.has_x509() ? Security::Mode::kX509 : Security::Mode::kPlaintext;
}

// `pattern` is a whole name, or the beginning of one with a '*' behind it.
bool Matches(absl::string_view pattern, absl::string_view name) {
  if (!absl::ConsumeSuffix(&pattern, "*")) return name == pattern;
  return absl::StartsWith(name, pattern);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Security>> Security::Open(const config::Security& config) {
  config::Config whole;
  *whole.mutable_security() = config;
  if (absl::Status status = config::Validate(whole); !status.ok()) return status;
  std::shared_ptr<Security> security(new Security(config, ModeOf(config)));
  if (security->mode_ != Mode::kPlaintext) {
    return absl::UnimplementedError("security.psk and security.x509");
  }
  return security;
}

Security::Security(const config::Security& config, Mode mode) : config_(config), mode_(mode) {}

Security::~Security() = default;

absl::StatusOr<std::unique_ptr<DatagramPort>> Security::Protect(Loop&,
                                                                std::unique_ptr<DatagramPort> port,
                                                                Role) const {
  if (mode_ == Mode::kPlaintext) return port;
  return absl::UnimplementedError("security.psk and security.x509");
}

bool Security::Allows(absl::string_view method, absl::string_view identity) const {
  if (config_.allow().empty()) return true;
  for (const config::Allow& rule : config_.allow()) {
    if (Matches(rule.method(), method) && Matches(rule.peer(), identity)) return true;
  }
  return false;
}

}  // namespace weft::rpc
