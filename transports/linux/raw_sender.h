// SPDX-License-Identifier: Apache-2.0
//
// Sends UDP datagrams under any source address, through raw sockets that take whole IP packets
// (raw(7), IP_HDRINCL). Needs CAP_NET_RAW.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<RawSender> raw, RawSender::Open(/*ipv6=*/true, 1 << 20));
//   raw->Add(source, destination, payload, {});
//   if (raw->Send() < 0) ...  // errno says why
//
// Headers are built in memory of its own, so that payloads may lie anywhere and stay as they are.
// The kernel routes by the destination and asks no connection tracking about the source; it does
// not fragment: what is longer than the MTU of the device is refused (EMSGSIZE). Whether the packet
// arrives depends on others too: a network or a receiver that checks by which way a source may come
// (RFC 2827; net.ipv4.conf.*.rp_filter) drops it.
//
// One thread at a time.
#ifndef WEFT_TRANSPORTS_LINUX_RAW_SENDER_H_
#define WEFT_TRANSPORTS_LINUX_RAW_SENDER_H_

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/unique_fd.h"
#include "weft/transports/linux/socket.h"

namespace weft::linux_transport {

class RawSender {
 public:
  // Datagrams of one Send().
  static constexpr size_t kMessages = 16;

  // PermissionDenied, saying what to do, without the capability. `ipv6`: for both families; else
  // for IPv4 alone. `send_buffer_bytes`: SO_SNDBUF, 0 leaves it.
  static absl::StatusOr<std::unique_ptr<RawSender>> Open(bool ipv6, uint32_t send_buffer_bytes);

  // Whether it sends over IPv6.
  bool has_ipv6() const { return static_cast<bool>(v6_); }

  // Adds a datagram of `payload` and `tail` behind it, which must stay until Send(). Both addresses
  // are of one family, IPv4 as ::ffff:a.b.c.d, and complete; all datagrams of a Send() are of that
  // family, and kMessages at most. The hop limit is 64.
  void Add(const sockaddr_in6& source, const sockaddr_in6& destination,
           absl::Span<const uint8_t> payload, absl::Span<const uint8_t> tail);
  size_t count() const { return count_; }

  // Sends what was added and forgets it. Returns how many the kernel has taken, counted from the
  // first; -1, with errno set, if that one was refused: EAGAIN while the socket is full.
  int Send();

 private:
  static constexpr size_t kHeadersMax = 40 + 8;

  RawSender(UniqueFd v4, UniqueFd v6);

  const UniqueFd v4_;
  const UniqueFd v6_;
  size_t count_ = 0;
  bool is_v4_ = true;  // those that were added
  mmsghdr messages_[kMessages] = {};
  SocketAddress names_[kMessages];
  iovec pieces_[kMessages][3] = {};
  uint8_t headers_[kMessages][kHeadersMax];
};

}  // namespace weft::linux_transport

#endif  // WEFT_TRANSPORTS_LINUX_RAW_SENDER_H_
