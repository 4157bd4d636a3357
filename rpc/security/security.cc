// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/security/security.h"

#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "weft/config/validate.h"
#include "weft/core/log.h"
#include "weft/rpc/security/credentials.h"
#include "weft/rpc/security/secure_port.h"

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
    auto credentials = Credentials::Read(config);
    if (!credentials.ok()) return credentials.status();
    security->credentials_ = *std::move(credentials);
  }
  return security;
}

Security::Security(const config::Security& config, Mode mode) : config_(config), mode_(mode) {}

Security::~Security() = default;

absl::StatusOr<std::unique_ptr<DatagramPort>> Security::Protect(Loop& loop,
                                                                std::unique_ptr<DatagramPort> port,
                                                                Role role) const {
  if (mode_ == Mode::kPlaintext) return port;
  absl::Status status = CredentialsAt(loop.now_ns())->CheckRole(role);
  if (!status.ok()) return status;
  return SecurePort::Create(loop, std::move(port), role, shared_from_this());
}

std::shared_ptr<const Credentials> Security::CredentialsAt(int64_t now_ns) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const int64_t every_ns = int64_t{config_.reload_s()} * 1'000'000'000;
  // The clocks of simulations differ from each other: time that goes back counts as gone by.
  if (every_ns == 0 || (now_ns >= looked_ns_ && now_ns - looked_ns_ < every_ns)) {
    return credentials_;
  }
  looked_ns_ = now_ns;
  if (Credentials::StampNow(config_) == credentials_->stamp()) return credentials_;
  auto read = Credentials::Read(config_);
  if (!read.ok() && read.status() != reload_status_) {
    WEFT_LOG(kWarning, "changed key files cannot be used; the keys stay as they were",
             {"reason", read.status().message()});
  }
  reload_status_ = read.status();
  if (read.ok()) credentials_ = *std::move(read);
  return credentials_;
}

absl::Status Security::reload_status() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return reload_status_;
}

bool Security::Allows(absl::string_view method, absl::string_view identity) const {
  if (config_.allow().empty()) return true;
  for (const config::Allow& rule : config_.allow()) {
    if (Matches(rule.method(), method) && Matches(rule.peer(), identity)) return true;
  }
  return false;
}

}  // namespace weft::rpc
