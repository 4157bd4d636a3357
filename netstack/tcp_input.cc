// SPDX-License-Identifier: Apache-2.0
//
// TCP segments as they come in: which are good, and whose they are.
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/netstack/stack.h"
#include "weft/netstack/wire/checksum.h"
#include "weft/netstack/wire/tcp.h"

namespace weft::netstack {
namespace {

constexpr uint16_t kBothGood = FrameOffload::kIpChecksumGood | FrameOffload::kL4ChecksumGood;

// Of both ends: everything of one connection to one worker, as a device's hash of the flow has it.
uint32_t FlowHash(const IpAddress& source, const IpAddress& destination, uint32_t ports) {
  uint64_t hash = ports;
  for (const IpAddress* ip : {&source, &destination}) {
    for (const uint64_t word : ip->words()) hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
  }
  return static_cast<uint32_t>(hash >> 32);
}

}  // namespace

void Stack::InputTcp(Buffer packet, const IpFields& ip, Cast cast, const From& from) {
  // Silently (RFC 9293, MUST-57; RFC 1122, 4.2.3.10).
  if (cast != Cast::kUnicast) {
    ++stats_.not_for_us;
    return;
  }
  if (ip.source.is_unspecified()) {
    ++stats_.bad_source;
    return;
  }
  const absl::Span<const uint8_t> bytes = std::as_const(packet).bytes().subspan(ip.ip_bytes);
  TcpView tcp;
  if (!TcpView::Parse(bytes, &tcp)) {
    ++stats_.malformed;
    return;
  }
  if ((packet.offload().flags & FrameOffload::kL4ChecksumGood) == 0) {
    const uint64_t sum = PseudoHeaderSum(ip.source, ip.destination,
                                         static_cast<uint8_t>(IpProtocol::kTcp), bytes.size());
    if (FinishChecksum(AddToChecksum(sum, bytes)) != 0) {
      ++stats_.bad_checksum;
      return;
    }
  }
  // Nobody knows how long a connection keeps it.
  if (!reassembler_.MayWait(packet)) {
    ++stats_.queue_full;
    return;
  }
  if (options_.receive_packet_steering && !from.sibling && SteerSegment(packet, ip)) return;
  ReceivedBurst& burst = received_segments_;
  if (burst.n == kBurst) DeliverSegments();
  packet.offload() = {};
  packet.TrimFront(ip.ip_bytes);
  burst.ip_bytes[burst.n] = static_cast<uint16_t>(ip.ip_bytes);
  burst.of_sibling[burst.n] = from.sibling;
  burst.segments[burst.n++] = {.buffer = std::move(packet),
                               .source = ip.source,
                               .destination = ip.destination,
                               .ecn = ip.ecn,
                               .ttl = ip.ttl};
}

// Hands a packet to the one of the workers that share its port whose the flow is. False: it is this
// one, or nobody shares it.
bool Stack::SteerSegment(Buffer& packet, const IpFields& ip) {
  if (world_.siblings->count() == 1) return false;
  const uint8_t* const tcp = packet.data() + ip.ip_bytes;
  const uint16_t port = LoadBig16(tcp + 2);
  const int to =
      tcp_owners_.Spread(ip.destination, port, FlowHash(ip.source, ip.destination, LoadBig32(tcp)));
  if (to < 0 || to == world_.queue) return false;
  packet.offload().flags |= kBothGood;
  PushTo(to, packet);
  return true;
}

void Stack::DeliverSegments() {
  ReceivedBurst& burst = received_segments_;
  const absl::Span<ReceivedSegment> all(burst.segments, burst.n);
  // What the handler sends meanwhile to ourselves comes by the loopback queue, and not here.
  burst.n = 0;
  if (segment_handler_ == nullptr) {  // taken away since they came
    for (ReceivedSegment& segment : all) segment.buffer.Reset();
    return;
  }
  stats_.segments_received += all.size();
  segment_handler_->OnSegments(all);
  size_t strays = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    ReceivedSegment& segment = all[i];
    if (!segment.buffer) [[likely]]
      continue;
    if (!burst.of_sibling[i] && HandOverSegment(segment, burst.ip_bytes[i])) continue;
    if (strays != i) std::swap(all[strays], segment);
    ++strays;
  }
  if (strays == 0) return;
  stats_.segments_stray += strays;
  segment_handler_->OnStraySegments(all.first(strays));
  for (ReceivedSegment& segment : all.first(strays)) segment.buffer.Reset();
}

// To the worker that listens there, or whose connections use this port. False: nobody else's.
bool Stack::HandOverSegment(ReceivedSegment& segment, size_t ip_bytes) {
  if (world_.siblings->count() == 1) return false;
  Buffer& packet = segment.buffer;
  const uint16_t port = LoadBig16(packet.data() + 2);
  int to = tcp_owners_.FindOther(
      segment.destination, port, world_.queue,
      FlowHash(segment.source, segment.destination, LoadBig32(packet.data())));
  if (to < 0) to = TcpPortOwner(port);
  if (to < 0 || to == world_.queue) return false;
  packet.Prepend(ip_bytes);
  packet.offload() = {.flags = kBothGood};
  PushTo(to, packet);
  packet.Reset();
  return true;
}

void Stack::DeliverErrors() {
  while (!segment_errors_.empty()) {
    const IcmpErrorReport report = segment_errors_.pop_front();
    if (segment_handler_ != nullptr) segment_handler_->OnIcmpError(report);
  }
}

absl::Status Stack::AddTcpListener(const PortBinding& binding, bool shared, bool first) {
  const IpAddress& ip = binding.address;
  if (!ip.is_unspecified() && !interface_.Has(ip)) {
    return absl::InvalidArgumentError(absl::StrCat(
        ip.ToString(), " is no address of ", interface_.ToString(), "; listen at one of these"));
  }
  return world_.siblings->tcp().Add({.binding = binding, .queue = world_.queue, .shared = shared},
                                    first);
}

void Stack::RemoveTcpListener(const PortBinding& binding) {
  world_.siblings->tcp().Remove({.binding = binding, .queue = world_.queue});
}

bool Stack::HasTcpListener(uint16_t port) {
  for (const PortDirectory::Owner& owner : tcp_owners_.Get()) {
    if (owner.binding.port == port) return true;
  }
  return false;
}

int Stack::TcpPortOwner(uint16_t port) const {
  if (port < options_.ephemeral_port_min || port > options_.ephemeral_port_max) return -1;
  return (port - options_.ephemeral_port_min) % world_.siblings->count();
}

}  // namespace weft::netstack
