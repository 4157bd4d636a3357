// SPDX-License-Identifier: Apache-2.0
//
// Datagrams and frames over a simulated network. Programs open them through sim_transport.h.
#ifndef WEFT_TRANSPORTS_SIM_SIM_PORTS_H_
#define WEFT_TRANSPORTS_SIM_SIM_PORTS_H_

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/transports/datagram_port.h"
#include "weft/transports/event_queue.h"
#include "weft/transports/frame_port.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_bulk.h"
#include "weft/transports/transport.h"

namespace weft::sim {

// The node at `address`, made if need be; InvalidArgument for an address of another kind.
absl::StatusOr<NodeId> NodeAt(Network* network, const Address& address);

// Attaches the receiving half of a port to the node that `options` asks for, or to an anonymous
// one.
absl::StatusOr<Attachment> AttachPort(Network* network, const PortOptions& options, Channel channel,
                                      Receiver* receiver);

// Packets that wait to be received by a port: those that find it full are dropped and counted.
class Inbox {
 public:
  static constexpr size_t kMaxPackets = 4096;

  Inbox(Network* network, BufferPool* pool, PortStats* stats)
      : network_(network), pool_(pool), stats_(stats) {}

  void Push(PacketPtr packet);
  // Takes the oldest packet, as a buffer of the pool. Null when there is none, or no buffer for it.
  Buffer Pop(NodeId* from);

 private:
  Network* const network_;
  BufferPool* const pool_;
  PortStats* const stats_;
  std::deque<PacketPtr> packets_;
};

class SimDatagramPort final : public DatagramPort, private Receiver {
 public:
  static absl::StatusOr<std::unique_ptr<SimDatagramPort>> Open(Network* network,
                                                               const PortOptions& options,
                                                               const Capabilities& capabilities,
                                                               const BufferPoolOptions& buffers,
                                                               const BulkOptions& bulk);

  Address local_address() const override;
  absl::StatusOr<Peer> Resolve(const Address& address) override;
  absl::StatusOr<Address> AddressOf(const Peer& peer) const override;
  size_t Send(absl::Span<Datagram> burst) override;
  size_t Forward(absl::Span<Datagram> burst, absl::Span<const Peer> sources) override;
  size_t Receive(absl::Span<Datagram> burst) override;
  BulkTransfers* bulk() override { return bulk_.has_value() ? &*bulk_ : nullptr; }
  void BindToThisThread() override {
    Port::BindToThisThread();
    network_->BindToThisThread();
    if (bulk_.has_value()) bulk_->BindToThisThread();
  }

 private:
  SimDatagramPort(Network* network, const Capabilities& capabilities,
                  const BufferPoolOptions& buffers)
      : DatagramPort(capabilities, buffers), network_(network), inbox_(network, &pool_, &stats_) {}
  size_t DoTakeEvents(absl::Span<PortEvent> events) override {
    AssertOwner();
    return events_.Take(events);
  }
  void OnPacket(PacketPtr packet) override { inbox_.Push(std::move(packet)); }
  void OnUnreachable(PacketPtr packet) override;
  // `source`: the node whose name it goes under.
  void SendOne(const Datagram& datagram, uint64_t source);

  Network* const network_;
  Inbox inbox_;
  PortEventQueue events_{&has_events_};
  std::optional<SimBulk> bulk_;
  Attachment attachment_;  // last, so that nothing arrives once the rest is going
};

// The MAC address is 02:00 and the node's number. The switch knows the address of every port: a
// frame goes to the port it is for, and one for a group to all others; one for nobody is dropped
// there.
class SimFramePort final : public FramePort, private Receiver {
 public:
  static absl::StatusOr<std::unique_ptr<SimFramePort>> Open(Network* network,
                                                            const PortOptions& options,
                                                            const Capabilities& capabilities,
                                                            const BufferPoolOptions& buffers);

  Address local_address() const override;
  MacAddress mac() const override;
  bool link_up() const override { return true; }
  size_t Send(absl::Span<Buffer> burst) override;
  size_t Receive(absl::Span<Buffer> burst) override;
  void BindToThisThread() override {
    Port::BindToThisThread();
    network_->BindToThisThread();
  }

 private:
  SimFramePort(Network* network, const Capabilities& capabilities, const BufferPoolOptions& buffers)
      : FramePort(capabilities, buffers), network_(network), inbox_(network, &pool_, &stats_) {}
  void OnPacket(PacketPtr packet) override { inbox_.Push(std::move(packet)); }
  void OnUnreachable(PacketPtr) override {}
  void SendOne(const Buffer& frame);

  Network* const network_;
  Inbox inbox_;
  Attachment attachment_;  // last, so that nothing arrives once the rest is going
};

}  // namespace weft::sim

#endif  // WEFT_TRANSPORTS_SIM_SIM_PORTS_H_
