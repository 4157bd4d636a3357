// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/afxdp/filter.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace weft::afxdp {
namespace {

absl::StatusOr<Address> ParseIp(const std::string& text) {
  Address::Ipv4Bytes ipv4;
  Address::Ipv6Bytes ipv6;
  if (inet_pton(AF_INET, text.c_str(), ipv4.data()) == 1) return Address::Ipv4(ipv4, 0);
  if (inet_pton(AF_INET6, text.c_str(), ipv6.data()) == 1) return Address::Ipv6(ipv6, 0);
  return absl::InvalidArgumentError(
      absl::StrCat("afxdp.addresses: \"", text,
                   "\" is no IP address; write it like \"10.0.0.2\" or \"fd00::2\", without port "
                   "and prefix length"));
}

absl::Status AllowPorts(absl::string_view text, AfxdpSettings* settings) {
  const size_t dash = text.find('-');
  const absl::string_view first_text = text.substr(0, dash);
  const absl::string_view last_text =
      dash == absl::string_view::npos ? first_text : text.substr(dash + 1);
  uint32_t first = 0;
  uint32_t last = 0;
  if (!absl::SimpleAtoi(first_text, &first) || !absl::SimpleAtoi(last_text, &last) || first < 1 ||
      last > 65535 || first > last) {
    return absl::InvalidArgumentError(
        absl::StrCat("afxdp.ports: \"", text,
                     "\" is no port; write \"7000\", or \"7000-7999\" for a range, from 1 to "
                     "65535"));
  }
  for (uint32_t port = first; port <= last; ++port) {
    settings->ports[port / 8] |= static_cast<__u8>(1 << port % 8);
  }
  settings->restrict_ports = 1;
  return absl::OkStatus();
}

// As people write it, without a port.
std::string IpText(const Address& address) {
  char text[INET6_ADDRSTRLEN] = {};
  if (address.kind() == Address::Kind::kIpv4) {
    const Address::Ipv4Bytes ip = address.ipv4();
    inet_ntop(AF_INET, ip.data(), text, sizeof(text));
  } else {
    inet_ntop(AF_INET6, address.ipv6().data(), text, sizeof(text));
  }
  return text;
}

bool SameIp(const Address& a, const Address& b) {
  return a.kind() == b.kind() &&
         (a.kind() == Address::Kind::kIpv4 ? a.ipv4() == b.ipv4() : a.ipv6() == b.ipv6());
}

}  // namespace

absl::Status CheckHostAddress(const Address& address, absl::string_view what) {
  bool good = false;
  if (address.kind() == Address::Kind::kIpv4) {
    const uint8_t first = address.ipv4()[0];
    good = first != 0 && first != 127 && first < 224;
  } else if (address.kind() == Address::Kind::kIpv6) {
    in6_addr ip;
    std::memcpy(&ip, address.ipv6().data(), sizeof(ip));
    good = !IN6_IS_ADDR_MULTICAST(&ip) && !IN6_IS_ADDR_UNSPECIFIED(&ip) &&
           !IN6_IS_ADDR_LOOPBACK(&ip) && !IN6_IS_ADDR_V4MAPPED(&ip);
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": ", address.ToString(), " is no IP address"));
  }
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, ": ", IpText(address), " is no address that an interface can have"));
}

absl::StatusOr<FilterConfig> ParseFilter(const config::Afxdp& config) {
  FilterConfig filter;
  if (config.addresses_size() > AFXDP_ADDRESSES_MAX) {
    return absl::InvalidArgumentError(
        absl::StrCat("afxdp.addresses: at most ", AFXDP_ADDRESSES_MAX));
  }
  for (const std::string& text : config.addresses()) {
    absl::StatusOr<Address> address = ParseIp(text);
    if (!address.ok()) return address.status();
    if (absl::Status s = CheckHostAddress(*address, "afxdp.addresses"); !s.ok()) return s;
    filter.addresses.push_back(*address);
  }
  for (const std::string& text : config.ports()) {
    if (absl::Status s = AllowPorts(text, &filter.settings); !s.ok()) return s;
  }
  return filter;
}

AfxdpAddress AddressKey(const Address& address) {
  AfxdpAddress key = {};
  if (address.kind() == Address::Kind::kIpv4) {
    const Address::Ipv4Bytes ip = address.ipv4();
    key.words[2] = htonl(0xffff);
    std::memcpy(&key.words[3], ip.data(), ip.size());
  } else {
    std::memcpy(key.words, address.ipv6().data(), sizeof(key.words));
  }
  return key;
}

bool IsLinkLocal(const Address& address) {
  return address.kind() == Address::Kind::kIpv6 && address.ipv6()[0] == 0xfe &&
         (address.ipv6()[1] & 0xc0) == 0x80;
}

absl::Status ShareWithKernel(absl::Span<const Address> wanted, absl::Span<const Address> kernel,
                             bool restrict_ports, absl::string_view interface,
                             std::vector<OwnedAddress>* taken) {
  absl::Status status;
  for (const Address& address : wanted) {
    const bool is_shared = std::any_of(
        kernel.begin(), kernel.end(), [&](const Address& other) { return SameIp(address, other); });
    if (!is_shared) {
      taken->push_back({address, AFXDP_OURS});
    } else if (IsLinkLocal(address)) {
      continue;
    } else if (restrict_ports) {
      taken->push_back({address, AFXDP_SHARED});
    } else {
      status.Update(absl::FailedPreconditionError(absl::StrCat(
          "the kernel has the address ", IpText(address), " on interface '", interface,
          "' and would be cut off from it: use another address, or say in afxdp.ports which ports "
          "to take")));
    }
  }
  return status;
}

}  // namespace weft::afxdp
