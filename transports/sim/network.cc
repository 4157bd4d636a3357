// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/sim/network.h"

#include <algorithm>
#include <cassert>

#include "absl/strings/str_cat.h"
#include "weft/transports/sim/hash.h"

namespace weft::sim {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;

uint64_t PairKey(NodeId from, NodeId to) { return uint64_t{from} << 32 | to; }

}  // namespace

Attachment& Attachment::operator=(Attachment&& other) noexcept {
  std::swap(network_, other.network_);
  std::swap(node_, other.node_);
  std::swap(channel_, other.channel_);
  std::swap(queue_, other.queue_);
  return *this;
}

Attachment::~Attachment() {
  if (network_ != nullptr) network_->Detach(node_, channel_, queue_);
}

Network::Network(uint64_t seed, const LinkOptions& defaults)
    : defaults_(defaults), endless_(defaults), random_(seed), digest_(seed) {
  endless_.queue_packets = UINT32_MAX;
}

Network::~Network() { assert(attached_ == 0 && "a port outlives its network"); }

absl::StatusOr<NodeId> Network::AddNode(const std::string& name) {
  const auto known = by_name_.find(name);
  if (known != by_name_.end()) return known->second;
  if (nodes_.size() >= kMaxNodes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "no room for '", name, "': the simulated network has its limit of ", kMaxNodes, " nodes"));
  }
  const auto id = static_cast<NodeId>(nodes_.size());
  nodes_.emplace_back().name = name;
  by_name_.emplace(name, id);
  return id;
}

absl::StatusOr<NodeId> Network::AddAnonymousNode() {
  if (!idle_anonymous_.empty()) {
    const NodeId id = idle_anonymous_.front();
    idle_anonymous_.pop_front();
    return id;
  }
  std::string name;
  do {
    name = absl::StrCat("anonymous-", NextUnique());
  } while (by_name_.contains(name));
  absl::StatusOr<NodeId> id = AddNode(name);
  if (id.ok()) nodes_[*id].anonymous = true;
  return id;
}

int64_t Network::NextEventNs() const {
  const int64_t next_ns = events_.NextNs();
  const int64_t into_tick_ns = next_ns % tick_ns_;
  if (into_tick_ns == 0 || next_ns > INT64_MAX - tick_ns_) return next_ns;
  return next_ns + (tick_ns_ - into_tick_ns);
}

absl::Status Network::CheckThread() const {
  if (attached_ == 0 || thread_ == std::this_thread::get_id()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "a simulated network is used by one thread: open all of its ports on the thread that opened "
      "the first");
}

absl::StatusOr<Attachment> Network::Attach(NodeId node, Channel channel, int queue, int queues,
                                           Receiver* receiver) {
  if (queues < 1 || static_cast<size_t>(queues) > kMaxQueues || queue < 0 || queue >= queues) {
    return absl::InvalidArgumentError(absl::StrCat(
        "queue ", queue, " of ", queues, ": a simulated address has 1 to ", kMaxQueues, " queues"));
  }
  if (absl::Status status = CheckThread(); !status.ok()) return status;
  Node& n = nodes_[node];
  std::vector<Receiver*>& receivers = n.receivers[static_cast<size_t>(channel)];
  const bool unused =
      std::all_of(receivers.begin(), receivers.end(), [](Receiver* r) { return r == nullptr; });
  if (unused) receivers.assign(queues, nullptr);
  if (receivers.size() != static_cast<size_t>(queues)) {
    return absl::InvalidArgumentError(absl::StrCat("sim:", n.name, " is open with ",
                                                   receivers.size(), " queues, not with ", queues));
  }
  if (receivers[queue] != nullptr) {
    return absl::AlreadyExistsError(
        absl::StrCat("sim:", n.name, " is in use (queue ", queue, " of ", queues, ")"));
  }
  receivers[queue] = receiver;
  ++n.attached;
  if (attached_++ == 0) thread_ = std::this_thread::get_id();
  return Attachment(this, node, channel, static_cast<uint32_t>(queue));
}

void Network::Detach(NodeId node, Channel channel, uint32_t queue) {
  Node& n = nodes_[node];
  Receiver*& receiver = n.receivers[static_cast<size_t>(channel)][queue];
  assert(receiver != nullptr);
  receiver = nullptr;
  --attached_;
  if (--n.attached == 0 && n.anonymous) idle_anonymous_.push_back(node);
}

void Network::Send(NodeId from, NodeId to, Channel channel, uint32_t from_queue, uint32_t flow,
                   absl::Span<const uint8_t> bytes, absl::Span<const uint8_t> more) {
  Depart(NewPacket({from, to, channel, from_queue, flow, from, false, {}}, bytes), more);
}

void Network::Forward(NodeId at, NodeId from, NodeId to, Channel channel,
                      absl::Span<const uint8_t> bytes, absl::Span<const uint8_t> more) {
  Depart(NewPacket({from, to, channel, /*from_queue=*/0, /*flow=*/from, at, false, {}}, bytes),
         more);
}

void Network::Depart(PacketPtr packet, absl::Span<const uint8_t> more) {
  ++stats_.sent;
  packet->bytes.insert(packet->bytes.end(), more.begin(), more.end());
  Link* link = FindLink(packet->at, packet->to);
  const LinkOptions& options = link != nullptr ? link->options : defaults_;
  Wire* const wire = link != nullptr ? &link->wire : &nodes_[packet->at].up;
  const auto departed = Transmit(options, packet->bytes.size(), wire);
  if (!departed.has_value()) return Drop(std::move(packet), &stats_.queue_dropped);
  Travel(*departed, options, link != nullptr, std::move(packet));
}

void Network::SendReliably(NodeId from, NodeId to, Channel channel, absl::Span<const uint8_t> bytes,
                           absl::Span<const uint8_t> more, int64_t* last_ns) {
  constexpr int kMaxRepeats = 7;
  constexpr int64_t kRepeatNs = 100'000;
  PacketPtr packet = NewPacket({from, to, channel, 0, /*flow=*/from, from, true, {}}, bytes);
  ++stats_.sent;
  packet->bytes.insert(packet->bytes.end(), more.begin(), more.end());
  Link* link = FindLink(from, to);
  LinkOptions options = link != nullptr ? link->options : defaults_;
  options.queue_packets = UINT32_MAX;
  Wire* const wire = link != nullptr ? &link->wire : &nodes_[from].up;
  int64_t arrival_ns = *Transmit(options, packet->bytes.size(), wire) + options.latency_ns;
  if (Separated(from, to)) return Drop(std::move(packet), &stats_.partitioned);
  for (int n = 0; random_.Chance(options.loss) || random_.Chance(options.corrupt); ++n) {
    if (n == kMaxRepeats) return Drop(std::move(packet), &stats_.lost);
    arrival_ns += 2 * options.latency_ns + kRepeatNs;
  }
  if (options.jitter_ns > 0) {
    arrival_ns += static_cast<int64_t>(random_.Below(options.jitter_ns + 1));
  }
  *last_ns = arrival_ns = std::max(arrival_ns, *last_ns);
  Arrive(arrival_ns, link != nullptr, std::move(packet));
}

void Network::Broadcast(NodeId from, Channel channel, uint32_t flow,
                        absl::Span<const uint8_t> bytes) {
  const auto departed = Transmit(defaults_, bytes.size(), &nodes_[from].up);
  for (NodeId to = 0; to < nodes_.size(); ++to) {
    if (to == from || ReceiverAt(to, channel, flow) == nullptr) continue;
    if (FindLink(from, to) != nullptr) {
      Send(from, to, channel, 0, flow, bytes);
      continue;
    }
    ++stats_.sent;
    PacketPtr packet = NewPacket({from, to, channel, 0, flow, from, false, {}}, bytes);
    if (departed.has_value()) {
      Travel(*departed, defaults_, /*direct=*/false, std::move(packet));
    } else {
      Drop(std::move(packet), &stats_.queue_dropped);
    }
  }
}

// When a packet that joins the wire's queue now will have been sent; nothing if the queue is full.
std::optional<int64_t> Network::Transmit(const LinkOptions& options, size_t bytes, Wire* wire) {
  if (options.bandwidth_bps == 0) return NowNs();
  while (!wire->departures.empty() && wire->departures.front() <= NowNs())
    wire->departures.pop_front();
  if (wire->departures.size() >= options.queue_packets) return std::nullopt;
  if (wire->free_ns < NowNs()) {
    wire->free_ns = NowNs();
    wire->remainder = 0;
  }
  // Fractions of nanoseconds add up over a queue: dropping them would make a 10 Gb/s wire a few
  // percent faster.
  const uint64_t work = bytes * 8 * kSecondNs + wire->remainder;
  wire->free_ns += static_cast<int64_t>(work / options.bandwidth_bps);
  wire->remainder = work % options.bandwidth_bps;
  wire->departures.push_back(wire->free_ns);
  return wire->free_ns;
}

size_t Network::QueuedFor(NodeId node) const {
  const std::deque<int64_t>& departures = nodes_[node].down.departures;
  const auto gone = std::upper_bound(departures.begin(), departures.end(), NowNs());
  return static_cast<size_t>(departures.end() - gone);
}

// From the moment when a packet has left its sender: loss and duplication, then flight.
void Network::Travel(int64_t start_ns, const LinkOptions& options, bool direct, PacketPtr packet) {
  if (Separated(packet->at, packet->to)) return Drop(std::move(packet), &stats_.partitioned);
  if (random_.Chance(options.loss)) return Drop(std::move(packet), &stats_.lost);
  if (random_.Chance(options.duplicate)) {
    ++stats_.duplicated;
    Fly(start_ns, options, direct, NewPacket(*packet, packet->bytes));
  }
  Fly(start_ns, options, direct, std::move(packet));
}

void Network::Fly(int64_t start_ns, const LinkOptions& options, bool direct, PacketPtr packet) {
  if (in_flight_ > kMaxPackets) return Drop(std::move(packet), &stats_.overflowed);
  if (random_.Chance(options.corrupt) && !packet->bytes.empty()) {
    const uint64_t bit = random_.Below(packet->bytes.size() * 8);
    packet->bytes[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    ++stats_.corrupted;
  }
  int64_t arrival_ns = start_ns + options.latency_ns;
  if (options.jitter_ns > 0)
    arrival_ns += static_cast<int64_t>(random_.Below(options.jitter_ns + 1));
  if (random_.Chance(options.reorder) && options.reorder_delay_ns > 0) {
    arrival_ns += static_cast<int64_t>(1 + random_.Below(options.reorder_delay_ns));
    ++stats_.reordered;
  }
  Arrive(arrival_ns, direct, std::move(packet));
}

void Network::Arrive(int64_t arrival_ns, bool direct, PacketPtr packet) {
  // Two pointers at most in each closure: that much is kept without an allocation.
  if (direct) {
    events_.At(arrival_ns, [this, p = std::move(packet)]() mutable { Deliver(std::move(p)); });
  } else {
    events_.At(arrival_ns,
               [this, p = std::move(packet)]() mutable { EnterDownlink(std::move(p)); });
  }
}

void Network::EnterDownlink(PacketPtr packet) {
  const LinkOptions& options = packet->reliable ? endless_ : defaults_;
  const auto received = Transmit(options, packet->bytes.size(), &nodes_[packet->to].down);
  if (!received.has_value()) return Drop(std::move(packet), &stats_.queue_dropped);
  if (*received == NowNs()) return Deliver(std::move(packet));
  events_.At(*received, [this, p = std::move(packet)]() mutable { Deliver(std::move(p)); });
}

void Network::Deliver(PacketPtr packet) {
  if (Separated(packet->at, packet->to)) return Drop(std::move(packet), &stats_.partitioned);
  Receiver* receiver = ReceiverAt(packet->to, packet->channel, packet->flow);
  if (receiver == nullptr) {
    // As ICMP would report it; Ethernet has nobody who could.
    if (packet->channel == Channel::kFrames) return Drop(std::move(packet), &stats_.unreachable);
    ++stats_.unreachable;
    const Link* back = FindLink(packet->to, packet->from);
    const LinkOptions& options = back != nullptr ? back->options : defaults_;
    events_.At(NowNs() + options.latency_ns,
               [this, p = std::move(packet)]() mutable { ReturnToSender(std::move(p)); });
    return;
  }
  Digest(*packet);
  ++stats_.delivered;
  stats_.delivered_bytes += packet->bytes.size();
  --in_flight_;
  receiver->OnPacket(std::move(packet));
}

void Network::ReturnToSender(PacketPtr packet) {
  --in_flight_;
  if (Separated(packet->to, packet->from)) return Recycle(std::move(packet));
  Digest(*packet);
  if (Receiver* sender = ReceiverAt(packet->from, packet->channel, packet->from_queue)) {
    sender->OnUnreachable(std::move(packet));
  }
}

void Network::SetLink(NodeId from, NodeId to, const LinkOptions& options) {
  links_[PairKey(from, to)].options = options;
}

Network::Link* Network::FindLink(NodeId from, NodeId to) {
  const auto link = links_.find(PairKey(from, to));
  return link == links_.end() ? nullptr : &link->second;
}

absl::Status Network::Partition(absl::Span<const std::vector<NodeId>> groups) {
  std::vector<uint32_t> group_of(nodes_.size(), 0);
  for (size_t g = 0; g < groups.size(); ++g) {
    for (NodeId node : groups[g]) {
      if (group_of[node] != 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("sim:", NameOf(node), " is in two groups of a partition"));
      }
      group_of[node] = static_cast<uint32_t>(g + 1);
    }
  }
  for (size_t i = 0; i < nodes_.size(); ++i) nodes_[i].group = group_of[i];
  return absl::OkStatus();
}

void Network::Heal() {
  for (Node& node : nodes_) node.group = 0;
}

Receiver* Network::ReceiverAt(NodeId node, Channel channel, uint32_t flow) const {
  const std::vector<Receiver*>& receivers = nodes_[node].receivers[static_cast<size_t>(channel)];
  return receivers.empty() ? nullptr : receivers[flow % receivers.size()];
}

PacketPtr Network::NewPacket(const Packet& envelope, absl::Span<const uint8_t> bytes) {
  PacketPtr packet;
  if (spare_.empty()) {
    packet = std::make_unique<Packet>();
  } else {
    packet = std::move(spare_.back());
    spare_.pop_back();
  }
  packet->from = envelope.from;
  packet->to = envelope.to;
  packet->channel = envelope.channel;
  packet->from_queue = envelope.from_queue;
  packet->flow = envelope.flow;
  packet->at = envelope.at;
  packet->reliable = envelope.reliable;
  packet->bytes.assign(bytes.begin(), bytes.end());
  ++in_flight_;
  return packet;
}

void Network::Drop(PacketPtr packet, uint64_t* counter) {
  ++*counter;
  --in_flight_;
  Recycle(std::move(packet));
}

void Network::Recycle(PacketPtr packet) {
  constexpr size_t kMaxSpare = 4096;
  if (spare_.size() < kMaxSpare) spare_.push_back(std::move(packet));
}

void Network::Digest(const Packet& packet) {
  digest_ = HashNumber(digest_, static_cast<uint64_t>(NowNs()));
  digest_ = HashNumber(digest_, PairKey(packet.from, packet.to));
  digest_ = HashNumber(digest_, static_cast<uint64_t>(packet.channel));
  digest_ = HashBytes(digest_, packet.bytes);
}

}  // namespace weft::sim
