// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/decorators/pcap_writer.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "weft/core/bytes.h"

namespace weft {
namespace {

constexpr size_t kEthernetBytes = 14;
constexpr size_t kIpv4Bytes = 20;
constexpr size_t kIpv6Bytes = 40;
constexpr size_t kJumboBytes = 8;
constexpr size_t kUdpBytes = 8;
constexpr uint8_t kProtocolHopByHop = 0;
constexpr uint8_t kProtocolUdp = 17;

// 02: locally administered. They only tell the two sides apart.
constexpr uint8_t kLocalMac[6] = {0x02, 0, 0, 0, 0, 1};
constexpr uint8_t kPeerMac[6] = {0x02, 0, 0, 0, 0, 2};
constexpr uint16_t kNamedPort = 30565;

// pcapng is written in the byte order of the machine, which the section header shows.
template <typename T>
void AppendNative(RecordFile& file, T value) {
  file.Append({reinterpret_cast<const char*>(&value), sizeof(value)});
}

absl::string_view AsText(absl::Span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The sum of RFC 1071 over `bytes`, as big-endian words, on top of `sum`. Only the last piece may
// have an odd length.
uint64_t AddWords(uint64_t sum, absl::Span<const uint8_t> bytes) {
  size_t i = 0;
  for (; i + 1 < bytes.size(); i += 2) sum += LoadBig16(&bytes[i]);
  if (i < bytes.size()) sum += uint64_t{bytes[i]} << 8;
  return sum;
}

uint16_t Fold(uint64_t sum) {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

struct Endpoint {
  Address::Ipv6Bytes ip;  // IPv4 in the last four bytes of its mapped form
  uint16_t port;
};

Endpoint EndpointOf(const Address& address) {
  switch (address.kind()) {
    case Address::Kind::kIpv4: {
      const Address::Ipv4Bytes v4 = address.ipv4();
      return {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]},
              address.port()};
    }
    case Address::Kind::kIpv6:
      return {address.ipv6(), address.port()};
    case Address::Kind::kNone:
    case Address::Kind::kShm:
    case Address::Kind::kSim:
      break;
  }
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : address.ToString()) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  Endpoint endpoint{{0xfd, 0x77, 0x65, 0x66, 0x74}, kNamedPort};
  StoreBig64(&endpoint.ip[8], hash);
  return endpoint;
}

// What packets of IPv4 have on a socket that takes both families: its own address is "::" while it
// is bound to none.
bool IsMapped(const Endpoint& endpoint) {
  constexpr uint8_t kPrefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return std::memcmp(endpoint.ip.data(), kPrefix, sizeof(kPrefix)) == 0;
}
bool IsUnspecified(const Endpoint& endpoint) { return endpoint.ip == Address::Ipv6Bytes{}; }

bool IsIpv4(const Endpoint& a, const Endpoint& b) {
  return IsMapped(a) ? IsMapped(b) || IsUnspecified(b) : IsUnspecified(a) && IsMapped(b);
}

// The headers of one datagram, all fields but the checksums being zero or set.
class Headers {
 public:
  Headers(const Endpoint& from, const Endpoint& to, bool sent, bool v4,
          absl::Span<const uint8_t> payload) {
    std::memcpy(Grow(6), sent ? kPeerMac : kLocalMac, 6);
    std::memcpy(Grow(6), sent ? kLocalMac : kPeerMac, 6);
    StoreBig16(Grow(2), v4 ? 0x0800 : 0x86dd);
    const size_t udp_bytes = kUdpBytes + payload.size();
    // The addresses, as they are summed up for UDP too.
    const absl::Span<const uint8_t> addresses =
        v4 ? Ipv4(from, to, udp_bytes) : Ipv6(from, to, udp_bytes);
    uint8_t* udp = Grow(kUdpBytes);
    StoreBig16(udp, from.port);
    StoreBig16(udp + 2, to.port);
    StoreBig16(udp + 4, FitOrZero(udp_bytes));
    uint64_t sum = AddWords(0, addresses) + kProtocolUdp + udp_bytes;
    sum = AddWords(AddWords(sum, {udp, kUdpBytes}), payload);
    const uint16_t checksum = Fold(sum);
    StoreBig16(udp + 6, checksum == 0 ? 0xffff : checksum);  // 0 would say that there is none
  }

  absl::Span<const uint8_t> bytes() const { return {bytes_.data(), size_}; }

 private:
  static uint16_t FitOrZero(size_t length) {
    return length <= UINT16_MAX ? static_cast<uint16_t>(length) : 0;
  }

  uint8_t* Grow(size_t n) {
    uint8_t* begin = bytes_.data() + size_;
    size_ += n;
    return begin;
  }

  absl::Span<const uint8_t> Ipv4(const Endpoint& from, const Endpoint& to, size_t udp_bytes) {
    uint8_t* ip = Grow(kIpv4Bytes);
    ip[0] = 0x45;  // version 4, five words
    StoreBig16(ip + 2, FitOrZero(kIpv4Bytes + udp_bytes));
    ip[6] = 0x40;  // do not fragment
    ip[8] = 64;    // hops
    ip[9] = kProtocolUdp;
    std::memcpy(ip + 12, &from.ip[12], 4);
    std::memcpy(ip + 16, &to.ip[12], 4);
    StoreBig16(ip + 10, Fold(AddWords(0, {ip, kIpv4Bytes})));
    return {ip + 12, 8};
  }

  absl::Span<const uint8_t> Ipv6(const Endpoint& from, const Endpoint& to, size_t udp_bytes) {
    uint8_t* ip = Grow(kIpv6Bytes);
    ip[0] = 0x60;  // version 6
    StoreBig16(ip + 4, FitOrZero(udp_bytes));
    ip[6] = kProtocolUdp;
    ip[7] = 64;  // hops
    std::memcpy(ip + 8, from.ip.data(), 16);
    std::memcpy(ip + 24, to.ip.data(), 16);
    if (udp_bytes > UINT16_MAX) {
      ip[6] = kProtocolHopByHop;
      AddJumboPayload(udp_bytes);
    }
    return {ip + 8, 32};
  }

  // The length that has no room in the header before (RFC 2675, section 2).
  void AddJumboPayload(size_t udp_bytes) {
    uint8_t* option = Grow(kJumboBytes);
    option[0] = kProtocolUdp;
    option[2] = 0xc2;  // Jumbo Payload
    option[3] = 4;     // bytes
    StoreBig32(option + 4, static_cast<uint32_t>(kJumboBytes + udp_bytes));
  }

  std::array<uint8_t, kEthernetBytes + kIpv6Bytes + kJumboBytes + kUdpBytes> bytes_ = {};
  size_t size_ = 0;
};

}  // namespace

PcapWriter::PcapWriter(RecordFile file, uint32_t snap_length)
    : file_(std::move(file)), snap_length_(snap_length) {
  // Section header.
  AppendNative<uint32_t>(file_, 0x0a0d0d0a);
  AppendNative<uint32_t>(file_, 28);  // length of the block
  AppendNative<uint32_t>(file_, 0x1a2b3c4d);
  AppendNative<uint16_t>(file_, 1);  // version 1.0
  AppendNative<uint16_t>(file_, 0);
  AppendNative<int64_t>(file_, -1);  // length of the section: not known
  AppendNative<uint32_t>(file_, 28);
  // Interface description.
  AppendNative<uint32_t>(file_, 1);
  AppendNative<uint32_t>(file_, 32);
  AppendNative<uint16_t>(file_, 1);  // LINKTYPE_ETHERNET
  AppendNative<uint16_t>(file_, 0);
  AppendNative<uint32_t>(file_, snap_length_);
  AppendNative<uint16_t>(file_, 9);  // if_tsresol, 1 byte and its padding: 10^-9 s
  AppendNative<uint16_t>(file_, 1);
  file_.Append(absl::string_view("\x09\0\0\0", 4));
  AppendNative<uint32_t>(file_, 0);  // end of options
  AppendNative<uint32_t>(file_, 32);
}

void PcapWriter::WriteDatagram(const PacketRecord& record, const Address& local,
                               const Address& peer) {
  const Endpoint from = EndpointOf(record.sent ? local : peer);
  const Endpoint to = EndpointOf(record.sent ? peer : local);
  // IPv4 has no jumbograms.
  const bool v4 = IsIpv4(from, to) && record.bytes.size() + kUdpBytes + kIpv4Bytes <= UINT16_MAX;
  WriteBlock(record, Headers(from, to, record.sent, v4, record.bytes).bytes());
}

void PcapWriter::WriteFrame(const PacketRecord& record) { WriteBlock(record, {}); }

void PcapWriter::WriteBlock(const PacketRecord& record, absl::Span<const uint8_t> headers) {
  constexpr size_t kFixedBytes = 32;   // of the block, its length at both ends included
  constexpr size_t kOptionBytes = 12;  // epb_flags and the end of options
  const size_t packet_bytes = headers.size() + record.bytes.size();
  const size_t kept_bytes = std::min<size_t>(packet_bytes, snap_length_);
  const size_t padding = -kept_bytes % 4;
  const auto block_bytes = static_cast<uint32_t>(kFixedBytes + kept_bytes + padding + kOptionBytes);
  const auto time = static_cast<uint64_t>(record.time_ns);

  AppendNative<uint32_t>(file_, 6);  // enhanced packet
  AppendNative<uint32_t>(file_, block_bytes);
  AppendNative<uint32_t>(file_, 0);  // interface
  AppendNative<uint32_t>(file_, static_cast<uint32_t>(time >> 32));
  AppendNative<uint32_t>(file_, static_cast<uint32_t>(time));
  AppendNative<uint32_t>(file_, static_cast<uint32_t>(kept_bytes));
  AppendNative<uint32_t>(file_, static_cast<uint32_t>(packet_bytes));
  const size_t kept_headers = std::min(headers.size(), kept_bytes);
  file_.Append(AsText(headers.first(kept_headers)));
  file_.Append(AsText(record.bytes.first(kept_bytes - kept_headers)));
  file_.Append(absl::string_view("\0\0\0", padding));
  AppendNative<uint16_t>(file_, 2);  // epb_flags: inbound or outbound
  AppendNative<uint16_t>(file_, 4);
  AppendNative<uint32_t>(file_, record.sent ? 2 : 1);
  AppendNative<uint32_t>(file_, 0);  // end of options
  AppendNative<uint32_t>(file_, block_bytes);
}

}  // namespace weft
