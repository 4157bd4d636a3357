// SPDX-License-Identifier: Apache-2.0
//
// Network: a network within one process, on a virtual clock. A seed fixes everything that is random
// and events happen in one fixed order, so that the same seed and the same calls give the same run,
// bit for bit; digest() shows it.
//
//   weft::sim::Network network(/*seed=*/7, {.latency_ns = 5'000, .loss = 0.01});
//   auto transport = weft::OpenSimTransport(network);        // sim_transport.h: ports on it
//   ...
//   weft::RunVirtual(network, loops, [&] { return done; });  // core/virtual_time.h
//
// The model is a star: every node is joined to one switch by a wire of its own, each way with a
// bandwidth and a queue that drops what finds it full.
//
//   node ──queue─► uplink ──► latency, loss, duplication, reordering, corruption ──queue─► downlink
//   ──► node
//
// SetLink() gives two nodes, in one direction, a wire of their own, beside the switch and with
// properties of its own.
#ifndef WEFT_TRANSPORTS_SIM_NETWORK_H_
#define WEFT_TRANSPORTS_SIM_NETWORK_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/prng.h"
#include "weft/core/virtual_time.h"
#include "weft/transports/sim/bulk_space.h"
#include "weft/transports/sim/event_queue.h"

namespace weft::sim {

// A node for the life of its network.
using NodeId = uint32_t;

// Packets of different channels never meet, as with protocols over IP.
enum class Channel : uint8_t { kDatagrams, kStreams, kFrames, kMemory };
inline constexpr size_t kChannels = 4;

// What a wire does to packets. Probabilities hold for each packet, independent of each other.
struct LinkOptions {
  int64_t latency_ns = 10'000;
  int64_t jitter_ns = 0;                    // bound of a random delay on top; it may reorder
  uint64_t bandwidth_bps = 10'000'000'000;  // 0 is unlimited
  uint32_t queue_packets = 1024;            // waiting or being sent; 1 or more
  double loss = 0;
  double duplicate = 0;
  double reorder = 0;                  // held back, so that others may overtake
  int64_t reorder_delay_ns = 100'000;  // bound of that time
  double corrupt = 0;                  // one flipped bit

  friend bool operator==(const LinkOptions&, const LinkOptions&) = default;
};

// Since the network was made.
struct NetworkStats {
  uint64_t sent = 0;       // packets handed to the network
  uint64_t delivered = 0;  // packets handed to a receiver
  uint64_t delivered_bytes = 0;
  uint64_t lost = 0;
  uint64_t duplicated = 0;
  uint64_t reordered = 0;
  uint64_t corrupted = 0;
  uint64_t queue_dropped = 0;  // found the queue of a wire full
  uint64_t partitioned = 0;    // between nodes that are, or came to be, separated
  uint64_t unreachable = 0;    // nobody was attached where they arrived
  uint64_t overflowed = 0;     // beyond kMaxPackets in flight
};

struct Packet {
  NodeId from = 0;
  NodeId to = 0;
  Channel channel = Channel::kDatagrams;
  uint32_t from_queue = 0;
  uint32_t flow = 0;  // arrives at the queue with this number, modulo their count
  NodeId at = 0;      // who sends it: `from`, or one who sends it on
  bool reliable = false;
  std::vector<uint8_t> bytes;
};
using PacketPtr = std::unique_ptr<Packet>;

// The receiving half of a port. Called while time advances.
class Receiver {
 public:
  virtual ~Receiver() = default;
  virtual void OnPacket(PacketPtr packet) = 0;
  // `packet`, which this receiver's queue sent, came back: nobody is attached at its destination.
  virtual void OnUnreachable(PacketPtr packet) = 0;
};

class Network;

// A receiver's place at a node, given up when destroyed. Movable, may be empty. Must not outlive
// the network.
class Attachment {
 public:
  Attachment() = default;
  Attachment(Attachment&& other) noexcept { *this = std::move(other); }
  Attachment& operator=(Attachment&& other) noexcept;
  ~Attachment();

  NodeId node() const { return node_; }
  uint32_t queue() const { return queue_; }

 private:
  friend class Network;
  Attachment(Network* network, NodeId node, Channel channel, uint32_t queue)
      : network_(network), node_(node), channel_(channel), queue_(queue) {}

  Network* network_ = nullptr;
  NodeId node_ = 0;
  Channel channel_ = Channel::kDatagrams;
  uint32_t queue_ = 0;
};

// Threads: one. All ports of a network belong to the thread that attached the first of them, or
// that called Port::BindToThisThread() since.
class Network final : public VirtualTime {
 public:
  static constexpr size_t kMaxNodes = 65536;
  static constexpr size_t kMaxQueues = 256;
  static constexpr size_t kMaxPackets = 1 << 20;  // in flight; one more is dropped and counted

  explicit Network(uint64_t seed, const LinkOptions& defaults = {});
  ~Network() override;
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  // The node of that name, made if need be. ResourceExhausted when there are kMaxNodes.
  absl::StatusOr<NodeId> AddNode(const std::string& name);
  // A node that nobody is attached to, with a name of the network's choice.
  absl::StatusOr<NodeId> AddAnonymousNode();
  const std::string& NameOf(NodeId node) const { return nodes_[node].name; }
  bool IsNode(uint64_t id) const { return id < nodes_.size(); }

  // From now on `receiver` gets what arrives at queue `queue` of `queues` of a node's channel.
  // AlreadyExists if another does; InvalidArgument if the queues attached so far were opened as
  // another number of queues; FailedPrecondition on a foreign thread.
  absl::StatusOr<Attachment> Attach(NodeId node, Channel channel, int queue, int queues,
                                    Receiver* receiver);
  // FailedPrecondition if the ports that are open belong to another thread.
  absl::Status CheckThread() const;
  // The calling thread uses the network, and all of its ports, from now on.
  void BindToThisThread() { thread_ = std::this_thread::get_id(); }

  // Sends a copy of `bytes` and of `more` behind them, as one packet. What becomes of it, the
  // statistics show.
  void Send(NodeId from, NodeId to, Channel channel, uint32_t from_queue, uint32_t flow,
            absl::Span<const uint8_t> bytes, absl::Span<const uint8_t> more = {});
  // Sends on, as Send(), what `from` has sent to `at` before: over the wires of `at` and under the
  // name of `from`, whom errors return to.
  void Forward(NodeId at, NodeId from, NodeId to, Channel channel, absl::Span<const uint8_t> bytes,
               absl::Span<const uint8_t> more = {});
  // Sends as a device does that repeats what is lost, until it gives up: loss, damage and full
  // queues cost time only, and what was sent with the same `*last_ns` (0 at first) arrives in
  // order. A partition loses it for good.
  void SendReliably(NodeId from, NodeId to, Channel channel, absl::Span<const uint8_t> bytes,
                    absl::Span<const uint8_t> more, int64_t* last_ns);
  // Sends a copy to every other node that somebody is attached to on this channel, once over the
  // uplink.
  void Broadcast(NodeId from, Channel channel, uint32_t flow, absl::Span<const uint8_t> bytes);
  // Gives back a packet that was received. Optional; it saves an allocation.
  void Recycle(PacketPtr packet);

  // Replaces the way from `from` to `to` by a wire of their own.
  void SetLink(NodeId from, NodeId to, const LinkOptions& options);

  // Separates the groups from each other and from all nodes that are in none, which stay together.
  // Packets on their way across are lost. Replaces the partition before; a node must not be in two
  // groups (InvalidArgument). Heal() ends it.
  absl::Status Partition(absl::Span<const std::vector<NodeId>> groups);
  void Heal();

  // Lets time stop only at multiples of `tick_ns`, 1 or more (1 at first). Nothing on the wires
  // changes, but what arrives within a tick is seen at its end and together, as with a device that
  // moderates interrupts. With thousands of busy endpoints it saves polling all of them for every
  // packet.
  void set_tick_ns(int64_t tick_ns) { tick_ns_ = tick_ns; }

  // Of the way from `from` to `to`.
  const LinkOptions& OptionsOf(NodeId from, NodeId to) const {
    const auto link = links_.find(uint64_t{from} << 32 | to);
    return link != links_.end() ? link->second.options : defaults_;
  }
  // Whether no partition separates them.
  bool Reaches(NodeId a, NodeId b) const { return !Separated(a, b); }
  BulkSpace& bulk() { return bulk_; }

  // Packets from the switch to `node` that wait for its wire or are on it.
  size_t QueuedFor(NodeId node) const;

  // Things to happen: changes to the network that a test plans, timers of ports.
  EventQueue& events() { return events_; }
  Prng& random() { return random_; }
  // 1, 2, ...: never the same twice.
  uint64_t NextUnique() { return ++last_unique_; }

  int64_t NowNs() const override { return events_.now_ns(); }
  int64_t NextEventNs() const override;
  void AdvanceTo(int64_t time_ns) override { events_.AdvanceTo(time_ns); }

  const NetworkStats& stats() const { return stats_; }
  // A hash of every delivery so far, in order: time, ends, channel, bytes.
  uint64_t digest() const { return digest_; }

 private:
  friend class Attachment;

  // A queue and the transmitter that empties it.
  struct Wire {
    int64_t free_ns = 0;             // when everything accepted will have been sent
    uint64_t remainder = 0;          // fraction of that nanosecond, in units of 1 / bandwidth
    std::deque<int64_t> departures;  // of what waits or is being sent
  };
  struct Link {
    LinkOptions options;
    Wire wire;
  };
  struct Node {
    std::string name;
    bool anonymous = false;
    uint32_t group = 0;  // of the partition
    int attached = 0;    // receivers below that are not null
    Wire up;
    Wire down;
    std::array<std::vector<Receiver*>, kChannels>
        receivers;  // by queue; null where none is attached
  };

  void Detach(NodeId node, Channel channel, uint32_t queue);
  void Depart(PacketPtr packet, absl::Span<const uint8_t> more);
  std::optional<int64_t> Transmit(const LinkOptions& options, size_t bytes, Wire* wire);
  void Travel(int64_t start_ns, const LinkOptions& options, bool direct, PacketPtr packet);
  void Fly(int64_t start_ns, const LinkOptions& options, bool direct, PacketPtr packet);
  void Arrive(int64_t arrival_ns, bool direct, PacketPtr packet);
  void EnterDownlink(PacketPtr packet);
  void Deliver(PacketPtr packet);
  void ReturnToSender(PacketPtr packet);
  void Drop(PacketPtr packet, uint64_t* counter);
  bool Separated(NodeId a, NodeId b) const { return nodes_[a].group != nodes_[b].group; }
  Receiver* ReceiverAt(NodeId node, Channel channel, uint32_t flow) const;
  Link* FindLink(NodeId from, NodeId to);
  PacketPtr NewPacket(const Packet& envelope, absl::Span<const uint8_t> bytes);
  void Digest(const Packet& packet);

  const LinkOptions defaults_;
  LinkOptions endless_;  // the same, for packets that a full queue does not drop
  EventQueue events_;
  int64_t tick_ns_ = 1;
  Prng random_;
  uint64_t last_unique_ = 0;
  uint64_t digest_;
  NetworkStats stats_;
  BulkSpace bulk_;

  std::deque<Node> nodes_;
  absl::flat_hash_map<std::string, NodeId> by_name_;
  std::deque<NodeId> idle_anonymous_;          // longest idle first
  absl::flat_hash_map<uint64_t, Link> links_;  // by from and to
  size_t attached_ = 0;
  std::thread::id thread_;  // while somebody is attached

  size_t in_flight_ = 0;
  std::vector<PacketPtr> spare_;
};

}  // namespace weft::sim

#endif  // WEFT_TRANSPORTS_SIM_NETWORK_H_
