// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/test_packets.h"

#include <algorithm>
#include <string>

#include "absl/strings/escaping.h"

namespace weft::netstack {
namespace {

void Put16(Bytes& to, size_t value) {
  to.push_back(static_cast<uint8_t>(value >> 8));
  to.push_back(static_cast<uint8_t>(value));
}
void Put(Bytes& to, absl::Span<const uint8_t> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}
void PutAddress(Bytes& to, const char* text) {
  const IpAddress ip = IpAddress::Parse(text).value();
  Put(to, {ip.bytes() + (ip.is_v4() ? 12 : 0), ip.is_v4() ? 4u : 16u});
}

}  // namespace

Bytes FromHex(absl::string_view hex) {
  std::string digits(hex);
  digits.erase(std::remove(digits.begin(), digits.end(), ' '), digits.end());
  const std::string bytes = absl::HexStringToBytes(digits);
  return {bytes.begin(), bytes.end()};
}

Bytes Slice(absl::Span<const uint8_t> bytes, size_t from, size_t n) {
  const absl::Span<const uint8_t> slice = bytes.subspan(from, n);
  return {slice.begin(), slice.end()};
}

Bytes Join(absl::Span<const Bytes> pieces) {
  Bytes all;
  for (const Bytes& piece : pieces) Put(all, piece);
  return all;
}

Bytes Pattern(size_t n, uint64_t seed) {
  Bytes bytes(n);
  for (size_t i = 0; i < n; ++i) {
    bytes[i] = static_cast<uint8_t>((i * 2654435761u + seed * 40503u) >> 13);
  }
  return bytes;
}

uint16_t NaiveChecksum(absl::Span<const uint8_t> bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); i += 2) {
    sum += static_cast<uint32_t>(bytes[i] << 8 | (i + 1 < bytes.size() ? bytes[i + 1] : 0));
    if (sum > 0xffff) sum = (sum & 0xffff) + 1;
  }
  return static_cast<uint16_t>(~sum);
}

uint16_t NaiveL4Checksum(const IpAddress& source, const IpAddress& destination, uint8_t protocol,
                         absl::Span<const uint8_t> message) {
  Bytes all;
  const size_t from = source.is_v4() ? 12 : 0;
  Put(all, {source.bytes() + from, 16 - from});
  Put(all, {destination.bytes() + from, 16 - from});
  if (source.is_v4()) {
    Put(all, Bytes{0, protocol});
    Put16(all, message.size());
  } else {
    Put16(all, message.size() >> 16);
    Put16(all, message.size());
    Put(all, Bytes{0, 0, 0, protocol});
  }
  Put(all, message);
  return NaiveChecksum(all);
}

Bytes Ipv4Packet(const Ipv4Spec& spec, const Bytes& payload) {
  const size_t header_bytes = 20 + spec.options.size();
  Bytes packet = {static_cast<uint8_t>(0x40 | header_bytes / 4), spec.tos};
  Put16(packet, header_bytes + payload.size());
  Put16(packet, spec.id);
  Put16(packet, spec.offset / 8 | (spec.more ? 0x2000u : 0u) | (spec.dont_fragment ? 0x4000u : 0u));
  Put(packet, Bytes{64, spec.protocol, 0, 0});
  PutAddress(packet, spec.source);
  PutAddress(packet, spec.destination);
  Put(packet, spec.options);
  const uint16_t checksum = NaiveChecksum(packet);
  packet[10] = static_cast<uint8_t>(checksum >> 8);
  packet[11] = static_cast<uint8_t>(checksum);
  Put(packet, payload);
  return packet;
}

Bytes Ipv6Packet(const Ipv6Spec& spec, const Bytes& payload) {
  Bytes packet = {static_cast<uint8_t>(0x60 | spec.traffic_class >> 4),
                  static_cast<uint8_t>(spec.traffic_class << 4), 0, 0};
  Put16(packet, payload.size());
  Put(packet, Bytes{spec.next_header, 64});
  PutAddress(packet, spec.source);
  PutAddress(packet, spec.destination);
  Put(packet, payload);
  return packet;
}

Bytes Ipv6FragmentPayload(const FragmentSpec& spec, const Bytes& payload) {
  Bytes bytes = {spec.next_header, 0};
  Put16(bytes, spec.offset | (spec.more ? 1u : 0u));
  Put16(bytes, spec.id >> 16);
  Put16(bytes, spec.id);
  Put(bytes, payload);
  return bytes;
}

}  // namespace weft::netstack
