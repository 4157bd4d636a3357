// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/raw_sender.h"

#include <cassert>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "weft/core/bytes.h"

namespace weft::linux_transport {
namespace {

constexpr size_t kIpv4Bytes = 20;
constexpr size_t kIpv6Bytes = 40;
constexpr size_t kUdpBytes = 8;
constexpr uint8_t kUdp = 17;
constexpr uint8_t kHops = 64;

// The Internet checksum's sum in the order of bytes in memory (RFC 1071, 2(B)), folded.
uint16_t Fold(uint64_t sum) {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}
uint16_t Sum(absl::Span<const uint8_t> bytes) {
  uint64_t sum = 0;
  const uint8_t* p = bytes.data();
  size_t n = bytes.size();
  for (; n >= 4; n -= 4, p += 4) {
    uint32_t word;
    std::memcpy(&word, p, sizeof(word));
    sum += word;
  }
  if (n > 0) {
    uint32_t word = 0;
    std::memcpy(&word, p, n);
    sum += word;
  }
  return Fold(sum);
}
uint16_t SwapBytes(uint16_t sum) { return static_cast<uint16_t>(sum << 8 | sum >> 8); }

// `front`: the pseudo-header's addresses; `udp`: the header, without checksum.
void WriteChecksum(absl::Span<const uint8_t> front, uint8_t* udp, absl::Span<const uint8_t> payload,
                   absl::Span<const uint8_t> tail) {
  const uint8_t protocol_and_length[] = {0, kUdp, udp[4], udp[5]};
  const uint16_t behind = Sum(tail);
  const uint64_t sum = uint64_t{Sum(front)} + Sum(protocol_and_length) + Sum({udp, kUdpBytes}) +
                       Sum(payload) + (payload.size() % 2 == 0 ? behind : SwapBytes(behind));
  uint16_t checksum = static_cast<uint16_t>(~Fold(sum));
  if (checksum == 0) checksum = 0xffff;  // 0 would say that there is none
  std::memcpy(udp + 6, &checksum, sizeof(checksum));
}

absl::StatusOr<UniqueFd> OpenRaw(int family, uint32_t send_buffer_bytes) {
  UniqueFd fd(socket(family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW));
  if (!fd) {
    if (errno == EPERM || errno == EACCES) {
      return absl::PermissionDeniedError(
          "`foreign_source: true` in the settings of transport 'linux' needs raw sockets, which "
          "this process may not open: give the program CAP_NET_RAW (`setcap cap_net_raw+ep "
          "PROGRAM`), run it as root, or set it to false");
    }
    return absl::ErrnoToStatus(errno, "cannot open a raw socket");
  }
  SetBufferBytes(fd, SO_SNDBUFFORCE, SO_SNDBUF, send_buffer_bytes);
  return fd;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RawSender>> RawSender::Open(bool ipv6, uint32_t send_buffer_bytes) {
  auto v4 = OpenRaw(AF_INET, send_buffer_bytes);
  if (!v4.ok()) return v4.status();
  if (!ipv6) return std::unique_ptr<RawSender>(new RawSender(*std::move(v4), UniqueFd()));
  auto v6 = OpenRaw(AF_INET6, send_buffer_bytes);
  if (!v6.ok()) return v6.status();
  return std::unique_ptr<RawSender>(new RawSender(*std::move(v4), *std::move(v6)));
}

RawSender::RawSender(UniqueFd v4, UniqueFd v6) : v4_(std::move(v4)), v6_(std::move(v6)) {
  for (size_t i = 0; i < kMessages; ++i) {
    msghdr& header = messages_[i].msg_hdr;
    header.msg_name = &names_[i].any;
    header.msg_iov = pieces_[i];
  }
}

void RawSender::Add(const sockaddr_in6& source, const sockaddr_in6& destination,
                    absl::Span<const uint8_t> payload, absl::Span<const uint8_t> tail) {
  assert(count_ < kMessages);
  const bool v4 = IsMappedIpv4(destination.sin6_addr);
  assert(v4 == IsMappedIpv4(source.sin6_addr));
  assert(count_ == 0 || v4 == is_v4_);
  is_v4_ = v4;
  const uint8_t* const from = source.sin6_addr.s6_addr;
  const uint8_t* const to = destination.sin6_addr.s6_addr;
  uint8_t* const ip = headers_[count_];
  const size_t ip_bytes = v4 ? kIpv4Bytes : kIpv6Bytes;
  const size_t udp_bytes = kUdpBytes + payload.size() + tail.size();
  uint8_t* const udp = ip + ip_bytes;
  std::memset(ip, 0, ip_bytes + kUdpBytes);
  if (v4) {
    // The kernel adds id and checksum.
    ip[0] = 0x45;
    StoreBig16(ip + 2, static_cast<uint16_t>(kIpv4Bytes + udp_bytes));
    ip[8] = kHops;
    ip[9] = kUdp;
    std::memcpy(ip + 12, from + 12, 4);
    std::memcpy(ip + 16, to + 12, 4);
  } else {
    ip[0] = 0x60;
    StoreBig16(ip + 4, static_cast<uint16_t>(udp_bytes));
    ip[6] = kUdp;
    ip[7] = kHops;
    std::memcpy(ip + 8, from, 16);
    std::memcpy(ip + 24, to, 16);
  }
  std::memcpy(udp, &source.sin6_port, 2);
  std::memcpy(udp + 2, &destination.sin6_port, 2);
  StoreBig16(udp + 4, static_cast<uint16_t>(udp_bytes));
  WriteChecksum(v4 ? absl::MakeConstSpan(ip + 12, 8) : absl::MakeConstSpan(ip + 8, 32), udp,
                payload, tail);

  SocketAddress& name = names_[count_];
  name = SocketAddress();
  if (v4) {
    name.v4.sin_family = AF_INET;
    std::memcpy(&name.v4.sin_addr, to + 12, 4);
    name.length = sizeof(sockaddr_in);
  } else {
    name.v6 = destination;
    name.v6.sin6_port = 0;  // it would mean a protocol
  }
  iovec* const pieces = pieces_[count_];
  pieces[0] = {ip, ip_bytes + kUdpBytes};
  pieces[1] = {const_cast<uint8_t*>(payload.data()), payload.size()};
  pieces[2] = {const_cast<uint8_t*>(tail.data()), tail.size()};
  msghdr& header = messages_[count_].msg_hdr;
  header.msg_namelen = name.length;
  header.msg_iovlen = tail.empty() ? 2 : 3;
  ++count_;
}

int RawSender::Send() {
  const auto n = static_cast<unsigned>(std::exchange(count_, 0));
  const UniqueFd& fd = is_v4_ ? v4_ : v6_;
  int sent;
  do {
    sent = sendmmsg(fd.get(), messages_, n, 0);
  } while (sent < 0 && errno == EINTR);
  return sent;
}

}  // namespace weft::linux_transport
