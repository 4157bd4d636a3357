// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/address.h"

#include <arpa/inet.h>
#include <net/if.h>

#include <algorithm>
#include <cassert>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace weft {
namespace {

constexpr size_t kNameMax = 64;
constexpr char kForms[] =
    "expected 10.0.0.1:8000, [2001:db8::1]:8000, [fe80::1%eth0]:8000, shm:NAME or sim:NAME";

absl::Status Bad(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("address '", text, "': ", why));
}

bool IsName(absl::string_view name) {
  return !name.empty() && name.size() <= kNameMax && name[0] != '.' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' ||
                  c == '-';
         });
}

bool IsNumber(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
}

bool ParsePort(absl::string_view text, uint16_t* port) {
  // SimpleAtoi also takes signs and spaces.
  uint32_t value;
  if (!IsNumber(text) || !absl::SimpleAtoi(text, &value) || value > UINT16_MAX) return false;
  *port = static_cast<uint16_t>(value);
  return true;
}

bool ParseScope(absl::string_view text, uint32_t* scope) {
  if (IsNumber(text)) return absl::SimpleAtoi(text, scope) && *scope != 0;
  *scope = if_nametoindex(std::string(text).c_str());
  return *scope != 0;
}

absl::StatusOr<Address> ParseIpv6(absl::string_view text) {
  const size_t end = text.find("]:");
  if (end == absl::string_view::npos)
    return Bad(text, "an IPv6 address and port are written [ADDRESS]:PORT");
  absl::string_view host = text.substr(1, end - 1);
  uint32_t scope = 0;
  if (const size_t percent = host.find('%'); percent != absl::string_view::npos) {
    if (!ParseScope(host.substr(percent + 1), &scope)) {
      return Bad(text,
                 absl::StrCat("no interface '", host.substr(percent + 1), "' on this machine"));
    }
    host = host.substr(0, percent);
  }
  uint16_t port;
  if (!ParsePort(text.substr(end + 2), &port)) return Bad(text, "the port must be 0 to 65535");
  Address::Ipv6Bytes ip;
  if (inet_pton(AF_INET6, std::string(host).c_str(), ip.data()) != 1) {
    return Bad(text, absl::StrCat("'", host, "' is not an IPv6 address"));
  }
  return Address::Ipv6(ip, port, scope);
}

absl::StatusOr<Address> ParseIpv4(absl::string_view text) {
  const size_t colon = text.find(':');
  if (colon == absl::string_view::npos) {
    return Bad(text, absl::StrCat("no port; ", kForms));
  }
  if (text.find(':', colon + 1) != absl::string_view::npos) {
    return Bad(text, "an IPv6 address stands in brackets: [ADDRESS]:PORT");
  }
  uint16_t port;
  if (!ParsePort(text.substr(colon + 1), &port)) return Bad(text, "the port must be 0 to 65535");
  const absl::string_view host = text.substr(0, colon);
  Address::Ipv4Bytes ip = {127, 0, 0, 1};
  if (host != "localhost" && inet_pton(AF_INET, std::string(host).c_str(), ip.data()) != 1) {
    return Bad(
        text,
        absl::StrCat("'", host, "' is not an IPv4 address, and names are not looked up; ", kForms));
  }
  return Address::Ipv4(ip, port);
}

}  // namespace

Address Address::Ipv4(const Ipv4Bytes& ip, uint16_t port) {
  Address address;
  address.kind_ = Kind::kIpv4;
  std::copy(ip.begin(), ip.end(), address.ip_.begin());
  address.port_ = port;
  return address;
}

Address Address::Ipv6(const Ipv6Bytes& ip, uint16_t port, uint32_t scope) {
  Address address;
  address.kind_ = Kind::kIpv6;
  address.ip_ = ip;
  address.port_ = port;
  address.scope_ = scope;
  return address;
}

Address Address::Shm(absl::string_view name) {
  assert(IsName(name));
  Address address;
  address.kind_ = Kind::kShm;
  address.name_ = std::string(name);
  return address;
}

Address Address::Sim(absl::string_view name) {
  assert(IsName(name));
  Address address;
  address.kind_ = Kind::kSim;
  address.name_ = std::string(name);
  return address;
}

bool Address::is_within_machine() const {
  static constexpr Ipv6Bytes kLoopback = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  static constexpr uint8_t kMappedLoopback[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 127};
  switch (kind_) {
    case Kind::kNone:
      return false;
    case Kind::kIpv4:
      return ip_[0] == 127;
    case Kind::kIpv6:
      return ip_ == kLoopback ||
             std::equal(std::begin(kMappedLoopback), std::end(kMappedLoopback), ip_.begin());
    case Kind::kShm:
    case Kind::kSim:
      return true;
  }
  return false;
}

absl::StatusOr<Address> Address::Parse(absl::string_view text) {
  if (text.empty()) return Bad(text, kForms);
  // Nor would the system's parsers, which are given C strings, see what follows a zero byte.
  if (!std::all_of(text.begin(), text.end(), absl::ascii_isgraph)) {
    return Bad(absl::Utf8SafeCHexEscape(text), "has a space or a character that is not ASCII");
  }
  if (text[0] == '[') return ParseIpv6(text);
  for (const auto& [prefix, make] : {std::pair{"shm:", &Address::Shm}, {"sim:", &Address::Sim}}) {
    if (text.substr(0, 4) != prefix) continue;
    const absl::string_view name = text.substr(4);
    if (IsName(name)) return make(name);
    return Bad(text, "a name is 1 to 64 of A-Z a-z 0-9 _ . - and does not begin with a dot");
  }
  return ParseIpv4(text);
}

std::string Address::ToString() const {
  switch (kind_) {
    case Kind::kNone:
      return "none";
    case Kind::kIpv4: {
      char host[INET_ADDRSTRLEN];
      inet_ntop(AF_INET, ip_.data(), host, sizeof(host));
      return absl::StrCat(host, ":", port_);
    }
    case Kind::kIpv6: {
      char host[INET6_ADDRSTRLEN];
      inet_ntop(AF_INET6, ip_.data(), host, sizeof(host));
      if (scope_ == 0) return absl::StrCat("[", host, "]:", port_);
      char interface[IF_NAMESIZE];
      // A name that Parse() would read as something else is as good as none.
      if (if_indextoname(scope_, interface) == nullptr || !IsName(interface) ||
          IsNumber(interface)) {
        return absl::StrCat("[", host, "%", scope_, "]:", port_);
      }
      return absl::StrCat("[", host, "%", interface, "]:", port_);
    }
    case Kind::kShm:
      return absl::StrCat("shm:", name_);
    case Kind::kSim:
      return absl::StrCat("sim:", name_);
  }
  return "none";
}

absl::string_view KindName(Address::Kind kind) {
  switch (kind) {
    case Address::Kind::kNone:
      return "none";
    case Address::Kind::kIpv4:
      return "IPv4";
    case Address::Kind::kIpv6:
      return "IPv6";
    case Address::Kind::kShm:
      return "shm";
    case Address::Kind::kSim:
      return "sim";
  }
  return "none";
}

}  // namespace weft
