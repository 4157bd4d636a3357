// SPDX-License-Identifier: Apache-2.0
//
// Datagrams over one unconnected kernel UDP socket.
//
// A Peer is the address itself, so that there is no table to fill up or to leak however many peers
// send:
//   words[0..1]  IPv6 address in network order, IPv4 as ::ffff:a.b.c.d
//   words[2]     port in network order in the low 16 bits, scope in the high 32
#ifndef WEFT_TRANSPORTS_LINUX_LINUX_DATAGRAM_PORT_H_
#define WEFT_TRANSPORTS_LINUX_LINUX_DATAGRAM_PORT_H_

#include <linux/udp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cstring>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/config/config.h"
#include "weft/transports/datagram_port.h"
#include "weft/transports/event_queue.h"
#include "weft/transports/linux/raw_sender.h"
#include "weft/transports/linux/socket.h"
#include "weft/transports/transport.h"

namespace weft::linux_transport {

class LinuxDatagramPort final : public DatagramPort {
 public:
  static absl::StatusOr<std::unique_ptr<DatagramPort>> Open(const config::Linux& config,
                                                            const BufferPoolOptions& buffers,
                                                            const Capabilities& capabilities,
                                                            const PortOptions& options);

  Address local_address() const override { return local_address_; }
  absl::StatusOr<Peer> Resolve(const Address& address) override;
  absl::StatusOr<Address> AddressOf(const Peer& peer) const override;
  size_t MaxPayloadTo(const Peer& peer) const override;
  size_t Send(absl::Span<Datagram> burst) override;
  size_t Forward(absl::Span<Datagram> burst, absl::Span<const Peer> sources) override;
  size_t Receive(absl::Span<Datagram> burst) override;

  int wait_fd() const override { return fd_.get(); }
  bool Arm() override;

 private:
  // Bounds of one system call; beyond them a larger batch gains nothing.
  static constexpr size_t kSendMessages = 16;
  static constexpr size_t kReceiveMessages = 8;
  // Segments of one GSO message: what the oldest kernel with UDP_SEGMENT takes.
  static constexpr size_t kSegments = 64;
  static constexpr size_t kUdpPayloadMax = 65507;

  LinuxDatagramPort(const config::Linux& config, const BufferPoolOptions& buffers,
                    const Capabilities& capabilities, UniqueFd fd, const SocketAddress& local);
  void SetSocketOptions(const config::Linux& config);
  void BuildHeaders();
  size_t DoTakeEvents(absl::Span<PortEvent> events) override { return events_.Take(events); }

  // Peers. PortOf() is in network order.
  static uint16_t PortOf(const Peer& peer) { return static_cast<uint16_t>(peer.words[2]); }
  static bool IsIpv4(const Peer& peer);
  static Peer PeerOf(const sockaddr_in6& name);
  static Peer PeerOf(const SocketAddress& name);
  static sockaddr_in6 NameOf(const Peer& peer);
  void SetName(const Peer& peer, SocketAddress* name) const;

  static size_t LayOut(Datagram& datagram, iovec* pieces);
  // Sending. The first three return how many datagrams they took: 0 means that the socket is full.
  size_t SendOne(Datagram& datagram);
  size_t SendMany(absl::Span<Datagram> burst);
  size_t SendUnsegmented(absl::Span<Datagram> run, int error);
  bool Sendable(const Datagram& datagram) const;
  size_t Gather(absl::Span<Datagram> burst);
  size_t RunLength(absl::Span<const Datagram> burst) const;
  bool RetrySend(int error);
  void Sent(absl::Span<Datagram> datagrams);
  void Drop(absl::Span<Datagram> datagrams);
  void Fail(absl::Span<Datagram> datagrams, int error);

  // Sending on: linux_forward.cc.
  bool Forwardable(const Datagram& datagram, const Peer& source) const;
  size_t ForwardMany(absl::Span<Datagram> burst, absl::Span<const Peer> sources);

  // Receiving.
  bool Fill(size_t wanted);
  bool FillScattered();
  void MissScattered();
  void ScatterBy(size_t bytes);
  void ConsiderScattering(size_t segment_bytes);
  int ReceiveOne();
  void StartCoalescing();
  void ProvideBuffer(size_t index);
  void RenewHeader(size_t index);
  size_t Deliver(absl::Span<Datagram> burst);
  bool DeliverWhole(size_t index, Datagram& out);
  size_t SegmentBytes(size_t index) const;
  size_t DeliverSegments(size_t index, size_t segment_bytes, absl::Span<Datagram> burst);
  Buffer TakeSegment(size_t index, size_t segment_bytes, size_t size);
  void CopyOut(size_t index, size_t offset, absl::Span<uint8_t> out) const;

  static bool IsAboutMessage(int error);
  // Turns the socket's queued ICMP errors into events; returns how many there were.
  size_t TakeSocketErrors();

  const UniqueFd fd_;
  const sa_family_t family_;
  const Address local_address_;
  std::unique_ptr<RawSender> raw_;  // null where sources are not kept

  // Largest segment for which UDP_SEGMENT is tried: 0 where there is none, and less than the
  // segments that were found not to fit the path.
  size_t gso_segment_max_ = 0;
  // UDP_GRO makes a lone message some percent slower, so that it is not used before messages pile
  // up.
  enum class Gro : uint8_t { kOff, kOnDemand, kOn } gro_ = Gro::kOff;
  bool send_blocked_ = false;

  // One sendmmsg(): messages_[i] carries segments_[i] datagrams.
  mmsghdr send_headers_[kSendMessages] = {};
  SocketAddress send_names_[kSendMessages];
  iovec send_pieces_[2 * kSegments];  // a datagram's buffer, and its tail if it has one
  size_t segments_[kSendMessages];
  struct GsoControl {
    alignas(cmsghdr) char bytes[CMSG_SPACE(sizeof(uint16_t))];
  } gso_controls_[kSendMessages];

  // One recvmmsg(): the first bytes of a message go to a buffer, what does not fit to a stretch of
  // `tails_`. Messages from receive_next_ to receive_filled_ are still to be delivered.
  mmsghdr receive_headers_[kReceiveMessages] = {};
  SocketAddress receive_names_[kReceiveMessages];
  iovec receive_pieces_[kReceiveMessages][2] = {};
  struct GroControl {
    alignas(cmsghdr) char bytes[CMSG_SPACE(sizeof(int))];
  } gro_controls_[kReceiveMessages];
  Buffer receive_buffers_[kReceiveMessages];
  std::unique_ptr<uint8_t[]> tails_;
  size_t receive_batch_ = 1;    // messages to ask for: follows the load
  uint32_t full_receives_ = 0;  // of one message, since the last that was not full
  size_t receive_next_ = 0;
  size_t receive_filled_ = 0;
  size_t receive_offset_ = 0;  // of what is still to be delivered of a coalesced message

  // A message that is expected to be coalesced from segments of scatter_bytes_ is received into a
  // buffer for each, as the first of receive_headers_, and alone. 0 while none is expected.
  size_t scatter_bytes_ = 0;
  size_t scatter_room_ = 0;  // bytes of the last such message that the buffers hold
  uint32_t scatter_misses_ = 0;
  Buffer scatter_buffers_[kSegments];
  iovec scatter_pieces_[kSegments + 1] = {};

  PortEventQueue events_{&has_events_};
};

inline bool LinuxDatagramPort::IsIpv4(const Peer& peer) {
  return peer.words[0] == 0 && static_cast<uint32_t>(peer.words[1]) == htonl(0x0000ffff);
}

inline Peer LinuxDatagramPort::PeerOf(const sockaddr_in6& name) {
  Peer peer;
  std::memcpy(peer.words, &name.sin6_addr, sizeof(name.sin6_addr));
  peer.words[2] = name.sin6_port | uint64_t{name.sin6_scope_id} << 32;
  return peer;
}

inline Peer LinuxDatagramPort::PeerOf(const SocketAddress& name) {
  if (name.any.sa_family == AF_INET6) return PeerOf(name.v6);
  Peer peer;
  peer.words[1] = uint64_t{name.v4.sin_addr.s_addr} << 32 | htonl(0x0000ffff);
  peer.words[2] = name.v4.sin_port;
  return peer;
}

inline sockaddr_in6 LinuxDatagramPort::NameOf(const Peer& peer) {
  sockaddr_in6 name = {};
  name.sin6_family = AF_INET6;
  name.sin6_port = PortOf(peer);
  std::memcpy(&name.sin6_addr, peer.words, sizeof(name.sin6_addr));
  name.sin6_scope_id = static_cast<uint32_t>(peer.words[2] >> 32);
  return name;
}

}  // namespace weft::linux_transport

#endif  // WEFT_TRANSPORTS_LINUX_LINUX_DATAGRAM_PORT_H_
