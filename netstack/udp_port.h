// SPDX-License-Identifier: Apache-2.0
//
// Datagrams over UDP (RFC 768) of weft's own stack.
//
// A Peer is the address itself, so that no table fills up however many peers there are, and the
// same one that kernel sockets have:
//   words[0..1]  IP address in network order, IPv4 as ::ffff:a.b.c.d
//   words[2]     port in network order
#ifndef WEFT_NETSTACK_UDP_PORT_H_
#define WEFT_NETSTACK_UDP_PORT_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/bytes.h"
#include "weft/core/unique_fd.h"
#include "weft/netstack/fifo.h"
#include "weft/netstack/stack.h"
#include "weft/netstack/udp_table.h"
#include "weft/transports/datagram_port.h"
#include "weft/transports/event_queue.h"
#include "weft/transports/transport.h"

namespace weft::netstack {

class UdpPort final : public DatagramPort {
 public:
  // On the thread of `stack`, which lives as long as one of its ports. `shared`: other workers may
  // listen at the same address.
  static absl::StatusOr<std::unique_ptr<UdpPort>> Open(std::shared_ptr<Stack> stack,
                                                       const Address& local, bool shared,
                                                       const Capabilities& capabilities);
  ~UdpPort() override;

  Address local_address() const override;
  absl::StatusOr<Peer> Resolve(const Address& address) override;
  absl::StatusOr<Address> AddressOf(const Peer& peer) const override;
  size_t MaxPayloadTo(const Peer& peer) const override;
  size_t Send(absl::Span<Datagram> burst) override;
  size_t Forward(absl::Span<Datagram> burst, absl::Span<const Peer> sources) override;
  size_t Receive(absl::Span<Datagram> burst) override;

  int wait_fd() const override { return wait_fd_.get(); }
  bool Arm() override;
  void Disarm() override { stack_->Disarm(); }
  // Moves the stack, and with it all ports on it.
  void BindToThisThread() override;

  // Receives what is sent to `group` too, once the port listens at it or at any address.
  // InvalidArgument for what is no group.
  absl::Status JoinGroup(const IpAddress& group);
  absl::Status LeaveGroup(const IpAddress& group);

  Stack& stack() { return *stack_; }
  const PortBinding& binding() const { return binding_; }

  static Peer PeerOf(const IpAddress& ip, uint16_t port) {
    uint8_t bytes[2];
    StoreBig16(bytes, port);
    uint16_t stored;
    std::memcpy(&stored, bytes, sizeof(stored));
    return {{ip.words()[0], ip.words()[1], stored}};
  }
  static uint16_t PortOf(const Peer& peer) {
    const auto stored = static_cast<uint16_t>(peer.words[2]);
    uint8_t bytes[2];
    std::memcpy(bytes, &stored, sizeof(stored));
    return LoadBig16(bytes);
  }
  static IpAddress IpOf(const Peer& peer) {
    return IpAddress::FromWords(peer.words[0], peer.words[1]);
  }

 private:
  friend class Stack;
  static constexpr size_t kBurst = 32;

  UdpPort(std::shared_ptr<Stack> stack, const Capabilities& capabilities);

  // For the stack. False: the queue is full.
  bool Queue(const Peer& peer, Buffer& payload);
  void CountReceived(size_t bytes) {
    ++stats_.received;
    stats_.received_bytes += bytes;
  }
  void AddEvent(const PortEvent& event) { events_.Add(event); }
  void Die(const absl::Status& status) { status_.Update(status); }

  size_t DoTakeEvents(absl::Span<PortEvent> events) override {
    AssertOwner();
    return events_.Take(events);
  }
  bool Sendable(const Datagram& datagram) const;
  // Puts UDP, IP and Ethernet headers in front of the payload. False without room for them, and to
  // the other family.
  bool Encapsulate(Buffer& payload, uint16_t port, const Destination& to);
  void WriteUdpHeader(Buffer& payload, uint16_t port, const IpAddress& source,
                      const Destination& to);
  // Has the device complete the checksum of a packet that will go to `to`.
  static void RequestChecksum(const Destination& to, Buffer& packet);
  // For what needs more than that. False: no buffer is free, and the datagram is still the
  // caller's.
  bool SendSlowly(Datagram& datagram);
  void DropUnsendable(Datagram& datagram);
  bool HasRoomForHeaders(const Datagram& datagram) const;
  // By a copy, where there is none. False: no buffer is free. One that fits none is dropped.
  bool MakeRoomForHeaders(Datagram& datagram);
  // Headers of UDP and IP alone, for Stack::Output().
  void WriteIpPacket(Buffer& payload, const Peer& peer, const IpAddress& source,
                     uint16_t source_port, uint8_t ttl);
  // Sends the frames that were made of burst[begin...]; gives back what is not taken. All of them
  // are from Send(), or all from Forward().
  bool Flush(absl::Span<Datagram> burst, size_t* begin, bool forwarded = false);

  // udp_forward.cc. What a datagram was before it was made a frame in place.
  struct Forwarded {
    FrameOffload offload;
    uint8_t hops;
  };
  // Makes a frame of a datagram that is as it was received. False: it is something else, or its
  // destination is not ready.
  bool ForwardInPlace(Datagram& datagram, const Peer& source);
  static void RestoreForwarded(const Forwarded& before, Buffer& payload);
  // As SendSlowly().
  bool ForwardSlowly(Datagram& datagram, const Peer& source);

  const std::shared_ptr<Stack> stack_;
  PortBinding binding_;
  Address local_address_;
  UniqueFd wait_fd_;
  const size_t queue_max_;
  Fifo<Datagram> queue_;
  PortEventQueue events_{&has_events_};
  std::vector<IpAddress> groups_;

  Buffer frames_[kBurst];
  uint8_t header_bytes_[kBurst];
  Forwarded forwarded_[kBurst];
  size_t frame_count_ = 0;
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_UDP_PORT_H_
