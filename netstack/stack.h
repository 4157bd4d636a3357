// SPDX-License-Identifier: Apache-2.0
//
// One interface with its protocols on one frame port: Ethernet, ARP and neighbour discovery, IPv4,
// IPv6, ICMP, group membership, and the way of UDP datagrams to and from the ports of udp_port.h.
//
// TCP segments go to the handler of segment_handler.h and come from it.
//
// Programs get it through netstack_transport.h. It takes frames when a port is polled and reads no
// clock but the one it is given, so that it runs on a simulated network as on a wire.
//
// Threads: a stack and all ports on it belong to one thread; several workers have several stacks on
// several queues of one device, see siblings.h.
#ifndef WEFT_NETSTACK_STACK_H_
#define WEFT_NETSTACK_STACK_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/core/clock.h"
#include "weft/core/json_writer.h"
#include "weft/core/prng.h"
#include "weft/core/timer_wheel.h"
#include "weft/core/unique_fd.h"
#include "weft/netstack/destination_cache.h"
#include "weft/netstack/fifo.h"
#include "weft/netstack/icmp_errors.h"
#include "weft/netstack/interface.h"
#include "weft/netstack/membership.h"
#include "weft/netstack/neighbor_cache.h"
#include "weft/netstack/options.h"
#include "weft/netstack/path_mtu.h"
#include "weft/netstack/reassembler.h"
#include "weft/netstack/route_table.h"
#include "weft/netstack/segment_bursts.h"
#include "weft/netstack/segment_handler.h"
#include "weft/netstack/siblings.h"
#include "weft/netstack/stack_stats.h"
#include "weft/netstack/token_bucket.h"
#include "weft/netstack/udp_table.h"
#include "weft/netstack/wire/ethernet.h"
#include "weft/netstack/wire/icmp.h"
#include "weft/netstack/wire/ipv4.h"
#include "weft/netstack/wire/ipv6.h"
#include "weft/transports/datagram_port.h"
#include "weft/transports/frame_port.h"

namespace weft::netstack {

class UdpPort;

// What is told of echo requests that SendEcho() sent.
class EchoObserver {
 public:
  virtual ~EchoObserver() = default;
  virtual void OnEchoReply(const IpAddress& from, uint16_t id, uint16_t sequence, uint8_t ttl,
                           size_t bytes) = 0;
  // `error`: an errno.
  virtual void OnEchoError(const IpAddress& to, uint16_t id, uint16_t sequence, int error) = 0;
};

class Stack final : private NeighborCache::Delegate, private Membership::Delegate {
 public:
  struct World {
    const Clock* clock;
    TimerWheel* timers;  // null: the stack advances a wheel of its own when it is polled
    std::shared_ptr<Siblings> siblings;
    int queue = 0;  // which of them it is
    // Says which thread the stack belongs to, until it is gone altogether: then it is null.
    std::shared_ptr<std::atomic<const void*>> owner;
    // What strangers cannot know, so that they cannot guess ports and ids of fragments either. The
    // same each time in a simulation.
    uint64_t secret = 0;
  };

  // `exception`: a port to the kernel, for what is not for this stack; may be null.
  // InvalidArgument where `options` do not fit the device, naming it and what it has.
  static absl::StatusOr<std::shared_ptr<Stack>> Open(
      const StackOptions& options, World world, std::unique_ptr<FramePort> device,
      std::unique_ptr<FramePort> exception = nullptr);
  ~Stack() override;

  const Interface& interface() const { return interface_; }
  FramePort& device() { return *device_; }
  const StackOptions& options() const { return options_; }
  const StackStats& stats() const { return stats_; }
  int queue() const { return world_.queue; }
  // How many workers have a stack on this device, or may have.
  int queues() const { return world_.siblings->count(); }
  // The largest UDP payload that is sent over IPv4, or over IPv6.
  size_t PayloadMax(bool v4) const;

  // Ports. `binding.port` is not 0. AlreadyExists, InvalidArgument for a foreign address.
  absl::Status Bind(const PortBinding& binding, bool shared, UdpPort* port);
  // With a port number that nobody has, from the ephemeral range (RFC 6056, algorithm 1). `shared`:
  // other stacks may Bind() it from then on.
  absl::StatusOr<PortBinding> BindEphemeral(const IpAddress& address, bool shared, UdpPort* port);
  void Unbind(UdpPort* port);

  // Receives a burst of frames and does what is due. Datagrams for `port` go to `out` as long as
  // there is room, others to the queues of their ports. Returns how many are in `out`.
  size_t Poll(UdpPort* port, absl::Span<Datagram> out);

  // TCP. `handler` gets the segments from now on; null, as at first: nobody speaks TCP here, and
  // who tries it is told so by ICMP. It outlives the stack, or is taken away.
  void SetSegmentHandler(SegmentHandler* handler) { segment_handler_ = handler; }
  // As Poll() of a port, for a handler that is nobody's port.
  void PollSegments() { Poll(nullptr, {}); }
  // Sends a burst; returns how many of its first ones were taken: the rest stays the caller's as it
  // was, as the device, or what waits in its stead, is full. Segments that can never be sent are
  // taken, dropped and counted: null or shorter than their header, without the headroom, to a group
  // or to where no route leads. One that is longer than its path takes, and does not ask to be cut,
  // goes in fragments.
  size_t SendSegments(absl::Span<OutgoingSegment> burst);
  // In front of a segment's TCP header: IPv6, Ethernet, a VLAN tag.
  static constexpr size_t kSegmentHeadroom = 64;
  // Whether the device cuts large segments; if not, the stack does, by copying them.
  bool segmentation_offload() const { return segmentation_offload_; }
  // How long IP packets to there may be at present, headers included.
  size_t PathMtu(const IpAddress& destination);
  // What is sent there arrives: the neighbour on the way is there (RFC 4861, 7.3.1). Not meant for
  // each packet.
  void ConfirmReachable(const IpAddress& destination);
  // A handler listens there, or does so no more: segments that other workers get and have no
  // listener for are handed to it. `shared`: workers may listen at the same address; the device's
  // flow hash, or, with receive_packet_steering, a software hash decides who gets what.
  // `first`: for a number that nobody has; shared or not, others may add it only afterwards.
  // AlreadyExists, InvalidArgument for a foreign address.
  absl::Status AddTcpListener(const PortBinding& binding, bool shared, bool first = false);
  void RemoveTcpListener(const PortBinding& binding);
  // Whether any worker listens at this port: it is none for connections that go out.
  bool HasTcpListener(uint16_t port);
  // The worker whose connections use this port of the ephemeral range, so that what comes back
  // finds its way by the number alone: (port - ephemeral_port_min) % workers. -1: out of range.
  int TcpPortOwner(uint16_t port) const;

  // Waiting, for all ports together; each has a descriptor of its own from DuplicateWaitFd().
  absl::StatusOr<UniqueFd> DuplicateWaitFd() const;
  bool Arm();
  void Disarm();

  // The way out, for ports: where to, and frames that are complete.
  const Destination* FindDestination(const IpAddress& ip) {
    return destinations_.Find(ip, now_ns_);
  }
  const Destination& LookAtDestination(const IpAddress& ip) {
    return destinations_.Look(ip, now_ns_);
  }
  bool HasRoute(const IpAddress& ip) const;  // or it is ours
  size_t SendFrames(absl::Span<Buffer> frames) { return device_->Send(frames); }
  // A datagram was not sent on as its hop limit is used up.
  // `packet`, of IP and UDP, may not be sent on: counts it, and tells its source.
  void HopsExceeded(absl::Span<const uint8_t> packet);
  // An IP packet whole, of any length and to anywhere: to ourselves, in fragments, after its
  // neighbour was asked for. Taken in any case; what cannot be sent is counted.
  void Output(Buffer packet);
  // A buffer of the device's with room for every header; null when there is none.
  Buffer Allocate() { return device_->pool().Allocate(); }
  bool checksum_offload() const { return checksum_offload_; }

  // How many datagrams may wait in a port's queue at present: as many as are left for all ports
  // together, which may have half of the device's buffers. So a port that nobody polls holds a
  // quarter of them, two of them a sixth each, and there is always something left for the next.
  size_t QueueRoom() const { return queued_max_ - std::min(queued_, queued_max_); }
  // `n` more wait, or fewer.
  void CountQueued(ptrdiff_t n) { queued_ += static_cast<size_t>(n); }

  // Groups, for ports; counted, so that each Join() needs a Leave().
  absl::Status Join(const IpAddress& group);
  void Leave(const IpAddress& group);

  // Ping. The observer hears of replies to requests with any id; one at a time.
  absl::Status SendEcho(const IpAddress& to, uint16_t id, uint16_t sequence, size_t payload_bytes);
  void SetEchoObserver(EchoObserver* observer) { echo_observer_ = observer; }

  // Interface, routes, neighbours, groups and counters, as members of the object that is open.
  void Describe(JsonWriter& json) const;

  void BindToThisThread();
  // The time as of the last few polls, which is that of all protocols above, and timers for them: a
  // port that is armed wakes up for these, too.
  int64_t now_ns() const { return now_ns_; }
  TimerWheel& timers() { return timers_; }
  // For who must know it exactly. Fires no timers.
  void ReadClock() { now_ns_ = world_.clock->NowNs(); }

 private:
  static constexpr size_t kBurst = 32;
  static_assert(kBurst == kSegmentBurst);
  static constexpr size_t kLoopbackMax = 1024;
  static constexpr BufferPoolOptions kLargePool = {.count = 16, .bytes = 65536 + 128};
  static constexpr uint32_t kIdlePollsPerTick = 64;
  static constexpr uint32_t kBusyPollsPerTick = 4;

  Stack(const StackOptions& options, World world, std::unique_ptr<FramePort> device,
        std::unique_ptr<FramePort> exception);
  absl::Status SetUp();
  absl::Status SetUpAddresses();
  absl::Status SetUpRoutes();
  absl::Status SetUpWaiting();
  absl::Status UpdateFilter();
  void Announce();

  // stack.cc
  void Tick();
  static void OnReassemblyTimer(void* self, int64_t now_ns);
  void ScheduleReassemblyTimer();
  void ReceiveFrames();
  void ReceiveLoopback();
  void ReceiveFromSiblings();
  void ReceiveFromException();
  void ForwardLinkEvents();
  void SetWakeUp();

  // ethernet_input.cc
  void InputFrame(Buffer frame);
  void InputArp(absl::Span<const uint8_t> bytes, bool from_sibling);
  void ReplyToArp(const IpAddress& target, const IpAddress& asker, const MacAddress& mac);
  // A frame that this stack has no use for: it goes to the kernel, where there is one.
  void Foreign(Buffer frame);
  // The same with an Ethernet header that was trimmed off.
  void ForeignPacket(Buffer packet, size_t ethernet_bytes);

  // What was for a group and so may be for the kernel too, after the stack has seen it.
  void ShareWithKernel(Buffer packet, size_t ethernet_bytes);

  // ip_input.cc. `ethernet_bytes`: of the header in front of the packet, 0 if there is none.
  struct From {
    size_t ethernet_bytes = 0;
    bool to_group_mac = false;
    bool sibling = false;  // handed over: it goes no further
  };
  void InputIpv4(Buffer packet, const From& from);
  void InputIpv6(Buffer packet, const From& from);
  enum class Cast : uint8_t { kForeign, kUnicast, kBroadcast, kMulticast };
  Cast CastOf(const IpAddress& destination) const;
  bool IsHonestSource(const IpAddress& source) const;

  // tcp_input.cc. The packet begins at its IP header; `ip_bytes` of headers stand before TCP's.
  struct IpFields {
    size_t ip_bytes;
    IpAddress source;
    IpAddress destination;
    uint8_t ecn;
    uint8_t ttl;
  };
  void InputTcp(Buffer packet, const IpFields& ip, Cast cast, const From& from);
  bool SteerSegment(Buffer& packet, const IpFields& ip);
  // Gives what has gathered to the handler, and what that leaves to others.
  void DeliverSegments();
  bool HandOverSegment(ReceivedSegment& segment, size_t ip_bytes);
  void DeliverErrors();

  // tcp_output.cc
  bool EncapsulateSegment(OutgoingSegment& segment, const Destination& to);
  bool FlushSegments(absl::Span<OutgoingSegment> burst, size_t* begin);
  // False: not now.
  bool SendSegmentSlowly(OutgoingSegment& segment);
  bool CutSegment(OutgoingSegment& segment, const Destination& to);
  void WriteSegmentPacket(OutgoingSegment& segment, const Destination& to, bool cut);

  // udp_input.cc. The packet begins at its IP header; `udp_offset` is where UDP begins.
  void InputUdp(Buffer packet, size_t udp_offset, const IpAddress& source,
                const IpAddress& destination, Cast cast, const From& from);
  absl::Status CheckPortsMax() const;
  bool Deliver(UdpPort* port, const Peer& peer, Buffer payload);
  void PushTo(int worker, Buffer& packet);
  // Hands a packet to the one of the workers that share the binding whose the peer is. False: it is
  // this one, or nobody shares it.
  bool Steer(const Peer& from, const PortBinding& binding, Buffer& packet);
  // Hands a packet to the worker that has the port. False: nobody has it.
  bool HandOver(const IpAddress& destination, uint16_t port, Buffer& packet);
  void HandToAll(absl::Span<const uint8_t> packet);

  // icmp_input.cc
  void InputIcmp(Buffer packet, const Ipv4View& ip, Cast cast, const From& from);
  void InputIcmpv6(Buffer packet, const IpAddress& source, const IpAddress& destination,
                   uint8_t hop_limit, size_t icmp_offset, bool router_alert, Cast cast,
                   const From& from);
  // `packet` from the ICMP header on.
  void AnswerEcho(Buffer packet, const IpAddress& source, const IpAddress& destination, Cast cast);
  void InputEchoReply(absl::Span<const uint8_t> message, const IpAddress& source, uint8_t ttl);
  // False: it is about nothing of ours.
  bool InputError(const IcmpErrorReport& report);
  void LowerPathMtu(const IpAddress& destination, size_t mtu);
  void InputNeighbor(absl::Span<const uint8_t> message, const IpAddress& source,
                     const IpAddress& destination, const From& from);
  void AnswerSolicitation(const NeighborMessage& asked, const IpAddress& source);

  // icmp_output.cc
  // About a packet that was received as `cast`: `v4` or `v6`, as it is of the one or the other.
  void SendError(absl::Span<const uint8_t> offending, Cast cast, const IcmpError& v4,
                 const IcmpError& v6);
  // An ICMPv6 message with hop limit 255 in a buffer of its own, IP header in front; null without.
  Buffer MakeIcmpv6(const IpAddress& source, const IpAddress& destination,
                    absl::Span<const uint8_t> message, uint8_t hop_limit);

  // Puts checksum and IP header to an ICMP message whose checksum is 0, and sends it. The last two
  // are of IPv4: a packet that may be fragmented on its way needs an id.
  void OutputIcmp(Buffer message, const IpAddress& source, const IpAddress& destination,
                  uint16_t id, bool dont_fragment);

  // ip_output.cc. The first two are of an IP packet whose header is whole.
  static IpAddress SourceOf(absl::Span<const uint8_t> packet);
  static IpAddress DestinationOf(absl::Span<const uint8_t> packet);
  void SendFrame(Buffer frame);
  void OutputTo(Buffer packet, const Destination& destination);
  void OutputFragments(Buffer packet, const Destination& destination);
  uint32_t NextFragmentId(const IpAddress& destination);
  void LoopBack(Buffer packet);
  void SendTo(Buffer packet, const MacAddress& mac, EtherType type);

  // NeighborCache::Delegate
  void Solicit(const IpAddress& target, const MacAddress* to) override;
  void SendResolved(Buffer packet, const MacAddress& mac) override;
  void Unresolved(const IpAddress& neighbor, const Buffer& packet) override;

  // Membership::Delegate
  void SendMembership(const IpAddress& to, absl::Span<const uint8_t> message) override;

  const StackOptions options_;
  const World world_;
  const std::unique_ptr<FramePort> device_;
  const bool checksum_offload_;
  const bool segmentation_offload_;
  Interface interface_;
  TimerWheel own_timers_;
  TimerWheel& timers_;
  int64_t now_ns_;
  bool is_set_up_ = false;
  // Since the clock was read.
  uint32_t idle_polls_ = 0;
  uint32_t busy_polls_ = 0;
  uint32_t polls_since_exception_ = 0;
  Prng prng_;

  RouteTable routes_;
  NeighborCache neighbors_;
  PathMtuCache path_mtu_;
  DestinationCache destinations_;
  Reassembler reassembler_;
  Timer reassembly_timer_;
  Membership membership_;
  UdpTable udp_;
  PortOwners udp_owners_;

  // TCP.
  SegmentHandler* segment_handler_ = nullptr;
  PortOwners tcp_owners_;
  ReceivedBurst received_segments_;  // in the present Poll()
  FrameBurst segment_frames_;        // of the present SendSegments()
  CutFrames cut_segments_;
  // Neighbours that do not answer, to be told at the next poll: not while something is sent.
  static constexpr size_t kSegmentErrorsMax = 64;
  Fifo<IcmpErrorReport> segment_errors_;

  BufferPool large_;  // for packets of the stack's own that no frame holds; touched when used
  TokenBucket error_limit_;
  TokenBucket echo_limit_;
  EchoObserver* echo_observer_ = nullptr;
  const std::unique_ptr<FramePort> exception_;  // to the kernel; may be null
  // Of fragmented packets: each path has a counter of its own with a random start, so that nobody
  // can tell from his what another's is (RFC 7739, 5.3).
  static constexpr size_t kFragmentCounters = 64;
  std::array<uint32_t, kFragmentCounters> fragment_ids_;
  const uint64_t fragment_secret_;
  StackStats stats_;

  // Where datagrams of the present Poll() go without a detour.
  UdpPort* direct_port_ = nullptr;
  absl::Span<Datagram> direct_;
  size_t direct_count_ = 0;

  size_t queued_ = 0;  // datagrams in the queues of ports
  const size_t queued_max_;

  Buffer burst_[kBurst];
  Fifo<Buffer> loopback_;

  UniqueFd wait_fd_;  // an epoll; none where the device cannot wait
  UniqueFd timer_fd_;
  int64_t timer_fd_ns_ = INT64_MAX;
  int armed_ = 0;
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_STACK_H_
