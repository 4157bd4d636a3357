// SPDX-License-Identifier: Apache-2.0
//
// Packets as bytes, as far as the XDP program looks at them: without checksums.
#ifndef WEFT_TRANSPORTS_AFXDP_TEST_PACKETS_H_
#define WEFT_TRANSPORTS_AFXDP_TEST_PACKETS_H_

#include <arpa/inet.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "weft/transports/afxdp/afxdp_test_util.h"
#include "weft/transports/frame_port.h"

namespace weft::afxdp {

inline std::string Be16(uint32_t value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value)};
}

// The bytes of an IPv4 or IPv6 address.
inline std::string Ip(const std::string& text) {
  char bytes[16];
  if (inet_pton(AF_INET, text.c_str(), bytes) == 1) return {bytes, 4};
  if (inet_pton(AF_INET6, text.c_str(), bytes) == 1) return {bytes, 16};
  std::abort();
}

// The MAC address that packets to a group go to (RFC 1112, RFC 2464).
inline MacAddress GroupMac(const std::string& group) {
  const std::string ip = Ip(group);
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(ip[i]); };
  if (ip.size() == 4)
    return {0x01, 0x00, 0x5e, static_cast<uint8_t>(byte(1) & 0x7f), byte(2), byte(3)};
  return {0x33, 0x33, byte(12), byte(13), byte(14), byte(15)};
}

inline std::string UdpTo(uint16_t port, const std::string& payload = "payload") {
  return Be16(4444) + Be16(port) + Be16(static_cast<uint32_t>(8 + payload.size())) + Be16(0) +
         payload;
}

inline std::string TcpTo(uint16_t port) { return Be16(4444) + Be16(port) + std::string(16, 'T'); }

// `fragment`: flags and offset; `options`: a multiple of four bytes.
inline std::string Ipv4To(const std::string& to, uint8_t protocol, const std::string& payload,
                          uint16_t fragment = 0, const std::string& options = "") {
  std::string packet = {static_cast<char>(0x45 + options.size() / 4), 0};
  packet += Be16(static_cast<uint32_t>(20 + options.size() + payload.size())) + Be16(1) +
            Be16(fragment) + std::string{64, static_cast<char>(protocol)} + Be16(0) +
            Ip("10.1.0.9") + Ip(to) + options;
  return packet + payload;
}

inline std::string Ipv6To(const std::string& to, uint8_t next, const std::string& payload) {
  return std::string("\x60\0\0\0", 4) + Be16(static_cast<uint32_t>(payload.size())) +
         std::string{static_cast<char>(next), 64} + Ip("fd01::9") + Ip(to) + payload;
}

// An extension header of eight bytes: hop-by-hop (0), routing (43) or destination options (60).
inline std::string Extension(uint8_t next, const std::string& rest) {
  return std::string{static_cast<char>(next), 0} + std::string(6, '\1') + rest;
}
inline std::string FragmentHeader(uint8_t next, uint16_t offset_and_more, const std::string& rest) {
  return std::string{static_cast<char>(next), 0} + Be16(offset_and_more) + std::string(4, '\7') +
         rest;
}

inline std::string Arp(uint16_t operation, const std::string& sender, const std::string& target) {
  return Be16(1) + Be16(0x0800) + std::string{6, 4} + Be16(operation) + std::string(6, '\2') +
         Ip(sender) + std::string(6, '\0') + Ip(target);
}

// Neighbour discovery: solicitation (135) or advertisement (136).
inline std::string Neighbor(uint8_t type, const std::string& target) {
  return std::string{static_cast<char>(type), 0} + Be16(0) + std::string(4, '\0') + Ip(target);
}

inline std::string SolicitedNode(const std::string& address) {
  const std::string ip = Ip(address);
  char text[INET6_ADDRSTRLEN];
  std::string group = Ip("ff02::1:ff00:0");
  for (size_t i = 13; i < 16; ++i) group[i] = ip[i];
  inet_ntop(AF_INET6, group.data(), text, sizeof(text));
  return text;
}

}  // namespace weft::afxdp

#endif  // WEFT_TRANSPORTS_AFXDP_TEST_PACKETS_H_
