// SPDX-License-Identifier: Apache-2.0
//
// Streams over a simulated network. Programs open it through sim_transport.h.
#ifndef WEFT_TRANSPORTS_SIM_SIM_STREAM_PORT_H_
#define WEFT_TRANSPORTS_SIM_SIM_STREAM_PORT_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/segment.h"
#include "weft/transports/sim/stream.h"
#include "weft/transports/stream_port.h"
#include "weft/transports/transport.h"

namespace weft::sim {

class SimStreamPort final : public StreamPort, private Receiver, private StreamOwner {
 public:
  // Streams at a time, those included that linger after their end. One more is not accepted.
  static constexpr size_t kMaxStreams = 65536;

  static absl::StatusOr<std::unique_ptr<SimStreamPort>> Open(Network* network,
                                                             const PortOptions& options,
                                                             const Capabilities& capabilities,
                                                             const BufferPoolOptions& buffers);
  // Resets the streams that are open.
  ~SimStreamPort() override;

  Address local_address() const override;
  absl::StatusOr<Address> Listen(const Address& address, int backlog) override;
  absl::StatusOr<StreamId> Connect(const Address& address) override;
  size_t Poll(absl::Span<StreamEvent> events) override;
  absl::Span<const uint8_t> ReadView(StreamId stream) override;
  void Consume(StreamId stream, size_t n) override;
  absl::Span<uint8_t> Reserve(StreamId stream, size_t wanted) override;
  void Commit(StreamId stream, size_t n) override;
  void CloseWrite(StreamId stream) override;
  void Close(StreamId stream) override;
  void Abort(StreamId stream) override;
  absl::StatusOr<Address> PeerAddress(StreamId stream) const override;
  absl::StatusOr<Address> LocalAddress(StreamId stream) const override;
  void BindToThisThread() override {
    Port::BindToThisThread();
    network_->BindToThisThread();
  }

 private:
  struct Entry {
    std::unique_ptr<Stream> stream;
    bool ready = false;  // in ready_
  };
  struct Listener {
    int backlog;
    int waiting = 0;  // streams whose kAccepted has not been taken
  };

  SimStreamPort(Network* network, const PortOptions& options, const Capabilities& capabilities,
                const BufferPoolOptions& buffers)
      : StreamPort(capabilities, buffers),
        network_(network),
        queue_(options.queue),
        queues_(options.queues) {}

  void OnPacket(PacketPtr packet) override;
  void OnUnreachable(PacketPtr packet) override;
  void OnStreamReady(const Stream& stream) override;
  void OnSyn(const Packet& packet, const Segment& syn);
  void Refuse(const Packet& packet, const Segment& segment);

  Stream* NewStream(NodeId local, NodeId peer);
  Stream* Find(uint64_t id) const;    // null if there is none
  Stream* Usable(StreamId id) const;  // null if there is none for the application

  Network* const network_;
  const int queue_;
  const int queues_;
  absl::btree_map<uint64_t, Entry>
      streams_;  // ordered, so that what happens to all happens in order
  absl::flat_hash_map<uint64_t, uint64_t> accepted_;  // ids by the peers' ids
  absl::flat_hash_map<NodeId, Listener> listeners_;
  std::deque<uint64_t> ready_;           // streams with events, or gone
  std::vector<uint64_t> expired_;        // gone; what arrived can be read until the next Poll()
  std::vector<Attachment> attachments_;  // the first is the port's own node
};

}  // namespace weft::sim

#endif  // WEFT_TRANSPORTS_SIM_SIM_STREAM_PORT_H_
