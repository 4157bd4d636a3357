// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/ip_address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstdio>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace weft::netstack {
namespace {

// Bits in front of the address proper, in the 16 bytes.
constexpr int kV4Offset = 96;

bool SameBits(const uint8_t* a, const uint8_t* b, int bits) {
  const int whole = bits / 8;
  if (std::memcmp(a, b, static_cast<size_t>(whole)) != 0) return false;
  if (bits % 8 == 0) return true;
  const int mask = 0xff << (8 - bits % 8) & 0xff;
  return ((a[whole] ^ b[whole]) & mask) == 0;
}

// Digits alone, where SimpleAtoi() would also take signs and spaces.
bool ParseDecimal(absl::string_view text, uint32_t* value) {
  return std::all_of(text.begin(), text.end(), absl::ascii_isdigit) &&
         absl::SimpleAtoi(text, value);
}

int HexDigit(char c) {
  if (absl::ascii_isdigit(c)) return c - '0';
  return absl::ascii_isxdigit(c) ? absl::ascii_tolower(c) - 'a' + 10 : -1;
}

// "02:00:00:00:00:01" and nothing else.
bool ParseMacBytes(absl::string_view text, MacAddress* mac) {
  if (text.size() != 17) return false;
  for (size_t i = 0; i < mac->size(); ++i) {
    const int high = HexDigit(text[i * 3]);
    const int low = HexDigit(text[i * 3 + 1]);
    if (high < 0 || low < 0 || (i < 5 && text[i * 3 + 2] != ':')) return false;
    (*mac)[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return true;
}

}  // namespace

IpAddress IpAddress::From(const Address& address) {
  if (address.kind() == Address::Kind::kIpv4) return V4(address.ipv4().data());
  return V6(address.ipv6().data());
}

Address IpAddress::ToAddress(uint16_t port, uint32_t scope) const {
  if (is_v4()) {
    const uint8_t* b = bytes() + 12;
    return Address::Ipv4({b[0], b[1], b[2], b[3]}, port);
  }
  Address::Ipv6Bytes ip;
  std::memcpy(ip.data(), bytes(), ip.size());
  return Address::Ipv6(ip, port, scope);
}

absl::StatusOr<IpAddress> IpAddress::Parse(absl::string_view text) {
  const std::string copy(text.substr(0, text.find('\0')));
  uint8_t bytes[16];
  if (copy.size() == text.size()) {
    if (inet_pton(AF_INET, copy.c_str(), bytes) == 1) return V4(bytes);
    if (inet_pton(AF_INET6, copy.c_str(), bytes) == 1) return V6(bytes);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", text, "' is not an IP address such as 10.0.0.2 or fd00::2"));
}

std::string IpAddress::ToString() const {
  char text[INET6_ADDRSTRLEN];
  const bool v4 = is_v4();
  inet_ntop(v4 ? AF_INET : AF_INET6, bytes() + (v4 ? 12 : 0), text, sizeof(text));
  return text;
}

absl::StatusOr<IpPrefix> IpPrefix::Parse(absl::string_view text) {
  const size_t slash = text.find('/');
  uint32_t length = 0;
  const absl::StatusOr<IpAddress> ip = IpAddress::Parse(text.substr(0, slash));
  if (slash == absl::string_view::npos || !ip.ok() ||
      !ParseDecimal(text.substr(slash + 1), &length) || length > (ip->is_v4() ? 32u : 128u)) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text,
                     "' is not an address with a prefix length such as 10.0.0.2/24 (at most /32) "
                     "or fd00::2/64 (at most /128)"));
  }
  return IpPrefix{*ip, static_cast<uint8_t>(length)};
}

std::string IpPrefix::ToString() const {
  return absl::StrCat(address.ToString(), "/", static_cast<int>(length));
}

bool IpPrefix::Contains(const IpAddress& ip) const {
  if (ip.is_v4() != address.is_v4()) return false;
  return SameBits(ip.bytes(), address.bytes(), length + (address.is_v4() ? kV4Offset : 0));
}

IpAddress IpPrefix::Network() const {
  uint8_t bytes[16];
  std::memcpy(bytes, address.bytes(), sizeof(bytes));
  for (int bit = length + (address.is_v4() ? kV4Offset : 0); bit < 128; ++bit) {
    bytes[bit / 8] = static_cast<uint8_t>(bytes[bit / 8] & ~(0x80 >> (bit % 8)));
  }
  return IpAddress::V6(bytes);
}

MacAddress MulticastMac(const IpAddress& group) {
  const uint8_t* b = group.bytes() + 12;
  if (group.is_v4()) return {0x01, 0x00, 0x5e, static_cast<uint8_t>(b[1] & 0x7f), b[2], b[3]};
  return {0x33, 0x33, b[0], b[1], b[2], b[3]};
}

IpAddress SolicitedNodeGroup(const IpAddress& ip) {
  const uint8_t* b = ip.bytes();
  const uint8_t group[16] = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, b[13], b[14], b[15]};
  return IpAddress::V6(group);
}

IpAddress LinkLocalAddress(const MacAddress& mac) {
  const uint8_t ip[16] = {
      0xfe,   0x80,   0,    0,    0,      0,      0,     0, static_cast<uint8_t>(mac[0] ^ 2),
      mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]};
  return IpAddress::V6(ip);
}

absl::StatusOr<MacAddress> ParseMac(absl::string_view text) {
  MacAddress mac;
  if (ParseMacBytes(text, &mac)) return mac;
  return absl::InvalidArgumentError(
      absl::StrCat("'", text, "' is not a MAC address such as 02:00:00:00:00:01"));
}

std::string MacToString(const MacAddress& mac) {
  char text[18];
  std::snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
                mac[4], mac[5]);
  return text;
}

}  // namespace weft::netstack
