// SPDX-License-Identifier: Apache-2.0
//
// A model of an RDMA device in virtual time: its packets travel over a sim::Network, which loses,
// delays, duplicates, reorders and damages them as its seed says. One device a node.
//
//   sim::Network network(/*seed=*/7, {.loss = 0.01});
//   std::unique_ptr<SimNic> nic = *SimNic::Open(&network, Address::Sim("server"));
//   auto transport = OpenTransport(nic.get(), ...);     // rdma_transport.h
//
// What is modelled, since the layers above depend on it: bounded queues; memory of a send is read
// when the device comes to it, so that one that was changed too early shows; completions of
// signalled sends only; a datagram that finds no receive posted is lost and COUNTED (ud_overruns);
// ICRC: a damaged packet never arrives; queue keys; loss of the link; asynchronous events. The GRH
// is 40 bytes of 0xee in front of the data.
//
// Connections and windows are in sim_nic_rc.cc.
//
// Threads: that of the network. It outlives all that it opened.
#ifndef WEFT_TRANSPORTS_RDMA_SIM_NIC_H_
#define WEFT_TRANSPORTS_RDMA_SIM_NIC_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/transports/address.h"
#include "weft/transports/rdma/nic.h"
#include "weft/transports/sim/network.h"

namespace weft::rdma {

class SimNic;

// What takes packets for a queue pair, of either kind.
class SimQueuePair {
 public:
  virtual ~SimQueuePair() = default;
  // The packet's body, behind its SimHeader.
  virtual void OnPacket(const Gid& from, uint32_t from_qpn, uint32_t qkey,
                        absl::Span<const uint8_t> body) = 0;
  // The device is gone: to the error state.
  virtual void OnRemoved() = 0;
};

struct SimNicOptions {
  NicLimits limits = {.path_mtu_bytes = 1024,
                      .inline_bytes = 128,
                      .reads_in_flight = 16,
                      .max_message_bytes = 1 << 30,
                      .memory_windows = true,
                      .atomic_with_processor = false,
                      .is_software = true};
  int64_t work_request_ns = 300;  // that the device takes for each
  // After which a request to a connection that has failed completes, as flushed. 0: at once.
  int64_t flush_ns = 0;
  size_t max_paths = 32'768;  // address handles of a queue pair
};

class SimNic final : public Nic, private sim::Receiver {
 public:
  struct Stats {
    uint64_t ud_sent = 0, ud_received = 0;
    uint64_t ud_overruns = 0;  // no receive was posted
    uint64_t ud_too_long = 0;  // for the buffer
    uint64_t wrong_qkey = 0;
    uint64_t no_queue = 0;   // for a queue pair that is not there
    uint64_t damaged = 0;    // ICRC
    uint64_t link_lost = 0;  // while the link was down
  };

  // `address`: sim:NAME, the node that it is plugged into. AlreadyExists when that has a device.
  static absl::StatusOr<std::unique_ptr<SimNic>> Open(sim::Network* network, const Address& address,
                                                      const SimNicOptions& options = {});
  ~SimNic() override;

  const NicLimits& limits() const override { return options_.limits; }
  absl::StatusOr<std::unique_ptr<CompletionQueue>> OpenCompletionQueue() override;
  absl::StatusOr<std::unique_ptr<Registration>> Register(absl::Span<uint8_t> memory,
                                                         bool windows) override;
  absl::StatusOr<std::unique_ptr<Window>> OpenWindow() override;
  std::unique_ptr<Subscription> Subscribe() override;

  // What a test does to it.
  void SetLink(bool up);
  void Remove();
  // As a fault of the device: the queue pair fails, with kQueueFailed.
  void FailQueue(uint32_t qpn);

  const Stats& stats() const { return stats_; }
  sim::Network& network() { return *network_; }
  const Gid& gid() const { return gid_; }
  bool removed() const { return removed_; }
  size_t queue_pairs() const { return queue_pairs_.size(); }
  size_t registrations() const { return registrations_.size(); }

  // For queue pairs.
  Stats& mutable_stats() { return stats_; }
  void CountUdSent() { ++stats_.ud_sent; }
  int64_t work_request_ns() const { return options_.work_request_ns; }
  int64_t flush_ns() const { return options_.flush_ns; }
  size_t max_paths() const { return options_.max_paths; }
  // A new one gets a number that was not in use for long.
  uint32_t AddQueuePair(SimQueuePair* queue_pair);
  void RemoveQueuePair(uint32_t qpn) { queue_pairs_.erase(qpn); }
  void Transmit(const Gid& to, uint32_t to_qpn, uint32_t from_qpn, uint32_t qkey,
                absl::Span<const uint8_t> body);
  // Memory of a piece, if the registration with its key holds all of it; null otherwise.
  uint8_t* MemoryAt(const Piece& piece) const;
  // Whether some registration holds all of it.
  bool IsRegistered(const uint8_t* data, size_t bytes) const;

 private:
  friend class SimRegistration;
  friend class SimSubscription;

  SimNic(sim::Network* network, const SimNicOptions& options)
      : network_(network), options_(options) {}
  void OnPacket(sim::PacketPtr packet) override;
  void OnUnreachable(sim::PacketPtr packet) override { network_->Recycle(std::move(packet)); }
  void Publish(NicEvent event);

  sim::Network* const network_;
  const SimNicOptions options_;
  Gid gid_;
  Stats stats_;
  bool link_up_ = true;
  bool removed_ = false;
  uint32_t last_qpn_ = 0x10;
  uint32_t last_key_ = 0x100;
  absl::flat_hash_map<uint32_t, SimQueuePair*> queue_pairs_;          // by number
  absl::flat_hash_map<uint32_t, absl::Span<uint8_t>> registrations_;  // by key
  std::vector<std::vector<NicEvent>*> subscribers_;
  sim::Attachment attachment_;
};

// In sim_nic_rc.cc. Completions of connections are pushed to `completions` of the completion queue.
struct SimCompletions {
  std::vector<RcCompletion> ready;
};
absl::StatusOr<std::unique_ptr<RcQueue>> OpenSimRcQueue(
    SimNic* nic, const CompletionQueue::RcOptions& options,
    const std::shared_ptr<SimCompletions>& completions);
absl::StatusOr<std::unique_ptr<Window>> OpenSimWindow(SimNic* nic);

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_SIM_NIC_H_
