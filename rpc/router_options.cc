// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "weft/rpc/options.h"

namespace weft::rpc {
namespace {

absl::Status Wrong(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("rpc.router.", field, ": ", what));
}

absl::StatusOr<Address> ParseFull(absl::string_view field, const std::string& text) {
  absl::StatusOr<Address> address = Address::Parse(text);
  if (!address.ok()) return Wrong(field, address.status().message());
  if (address->is_ip() && address->port() == 0) {
    return Wrong(field, absl::StrCat(text, " has no port; it is to look like \"10.0.0.1:9000\""));
  }
  return address;
}

// An address of which the port does not count, and may be missing.
absl::StatusOr<Address> ParseHost(absl::string_view field, const std::string& text) {
  absl::StatusOr<Address> address = Address::Parse(text);
  if (address.ok()) return address;
  const bool bare_ipv6 = text.find(':') != text.rfind(':') && text.find(']') == std::string::npos;
  const std::string with_port = bare_ipv6 ? absl::StrCat("[", text, "]:0") : text + ":0";
  if (absl::StatusOr<Address> ip = Address::Parse(with_port); ip.ok() && ip->is_ip()) return ip;
  return Wrong(field, address.status().message());
}

}  // namespace

absl::Status RouterOptions::Validate() const {
  if (control.size() > kControlMax) {
    return Wrong("control",
                 absl::StrCat("there are ", control.size(),
                              " routers; a server has to do with at most ", kControlMax));
  }
  for (const Address& router : control) {
    if (router.kind() == Address::Kind::kNone || router.is_any()) {
      return Wrong("control", "a router's own address is needed, as in \"10.0.0.1:9000\"");
    }
  }
  if (control.empty() && join) {
    return Wrong("join", "there is nobody to ask: `control` needs the address of a router");
  }
  if (address.is_any()) {
    return Wrong("address", absl::StrCat(address.ToString(),
                                         " means any address; routers need one to send to"));
  }
  if (weight == 0) return Wrong("weight", "it is 0; it must be 1 to 65535");
  if (keepalive < kKeepaliveMin || keepalive > kKeepaliveMax) {
    return Wrong("keepalive_us", "it must be 1 ms to 1 min");
  }
  return absl::OkStatus();
}

absl::StatusOr<RouterOptions> RouterOptions::From(const config::Routers& config) {
  RouterOptions options{
      .join = config.join(),
      .slots = static_cast<uint16_t>(config.slots()),
      .weight = static_cast<uint16_t>(config.weight()),
      .keepalive = absl::Microseconds(config.keepalive_us()),
  };
  for (const std::string& text : config.control()) {
    absl::StatusOr<Address> control = ParseFull("control", text);
    if (!control.ok()) return control.status();
    options.control.push_back(*std::move(control));
  }
  for (const std::string& text : config.forwards_from()) {
    absl::StatusOr<Address> forwarder = ParseHost("forwards_from", text);
    if (!forwarder.ok()) return forwarder.status();
    options.forwards_from.push_back(*std::move(forwarder));
  }
  if (!config.address().empty()) {
    absl::StatusOr<Address> address = ParseFull("address", config.address());
    if (!address.ok()) return address.status();
    options.address = *std::move(address);
  }
  if (config.has_security()) {
    auto security = Security::Open(config.security());
    if (!security.ok()) return security.status();
    options.security = *std::move(security);
  }
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  return options;
}

}  // namespace weft::rpc
