// SPDX-License-Identifier: Apache-2.0
//
// An AF_XDP socket with its rings, bound to one queue of an interface.
//
// The rings are libxdp's; addresses in them are offsets into the UMEM, the memory that is shared
// with the kernel.
#ifndef WEFT_TRANSPORTS_AFXDP_XDP_SOCKET_H_
#define WEFT_TRANSPORTS_AFXDP_XDP_SOCKET_H_

#include <xdp/xsk.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/config/config.h"
#include "weft/transports/afxdp/interface.h"

namespace weft::afxdp {

// Of Linux 6.6's <linux/if_xdp.h>; Debian 12 has that of 6.1. XDP_USE_SG: the socket takes frames
// of several descriptors. XDP_PKT_CONTD: the frame goes on in the next one.
inline constexpr uint16_t kUseMultiBuffer = 1 << 4;
inline constexpr uint32_t kFrameContinues = 1 << 0;

// The kernel leaves so much of a chunk in front of a received frame (XDP_PACKET_HEADROOM), besides
// the headroom that it is asked for.
inline constexpr size_t kKernelHeadroomBytes = 256;

struct XdpSocketOptions {
  const Interface* interface;
  uint32_t queue = 0;
  absl::Span<uint8_t> umem;  // page-aligned
  uint32_t chunk_bytes = 0;  // 2048 or 4096
  uint32_t headroom = 0;     // of each chunk, which the kernel does not touch
  const config::Afxdp* config;
  bool multi_buffer = false;
};

struct XdpSocket {
  // Errors: as Transport::OpenFramePort().
  static absl::StatusOr<std::unique_ptr<XdpSocket>> Open(const XdpSocketOptions& options);
  ~XdpSocket();
  XdpSocket() = default;
  XdpSocket(const XdpSocket&) = delete;
  XdpSocket& operator=(const XdpSocket&) = delete;

  int fd() const { return xsk_socket__fd(socket); }
  bool IsZeroCopy() const;

  xsk_umem* umem = nullptr;
  xsk_socket* socket = nullptr;
  xsk_ring_prod fill = {};        // chunks for the kernel to receive into
  xsk_ring_cons completion = {};  // chunks that have been sent
  xsk_ring_cons rx = {};
  xsk_ring_prod tx = {};

 private:
  // 0, or an errno, and whether it was about the UMEM or about the socket.
  int Create(const XdpSocketOptions& options, bool* umem_failed);
};

}  // namespace weft::afxdp

#endif  // WEFT_TRANSPORTS_AFXDP_XDP_SOCKET_H_
