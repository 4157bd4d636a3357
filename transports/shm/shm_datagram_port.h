// SPDX-License-Identifier: Apache-2.0
//
// Datagrams through a pair of record rings for each peer.
//
// Full rings. A message that does not fit stops Send() there, as the contract says. That must not
// let one peer hold up all others for ever: one that has consumed less than half of its ring within
// kPatienceNs of being found full is stuck. Messages that do not fit it are then taken, dropped and
// counted as send_failed until it has consumed that half, and kPeerUnreachable (ETIMEDOUT) says so
// once. Each time a peer gets stuck halves the patience it is met with, until it has gone
// kForgiveNs without: a peer that plays at being slow gets a few percent of a port's time at the
// most.
#ifndef WEFT_TRANSPORTS_SHM_SHM_DATAGRAM_PORT_H_
#define WEFT_TRANSPORTS_SHM_SHM_DATAGRAM_PORT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/transports/datagram_port.h"
#include "weft/transports/event_queue.h"
#include "weft/transports/shm/control.h"
#include "weft/transports/shm/record_ring.h"
#include "weft/transports/shm/session.h"
#include "weft/transports/transport.h"

namespace weft::shm {

class ShmTransport;
struct Settings;

class ShmDatagramPort final : public DatagramPort, private ControlHandler {
 public:
  static constexpr int64_t kPatienceNs = 1'000'000'000;
  static constexpr int64_t kForgiveNs = 60'000'000'000;
  // Rings that one Receive() looks at; the next goes on with the others.
  static constexpr size_t kMaxLooks = 64;
  static constexpr size_t kMaxBurst = 64;

  static absl::StatusOr<std::unique_ptr<ShmDatagramPort>> Open(ShmTransport* transport,
                                                               const Settings& settings,
                                                               const PortOptions& options);
  // Says good-bye to all peers. What was sent is still received.
  ~ShmDatagramPort() override;

  Address local_address() const override { return Address::Shm(name_); }
  int wait_fd() const override { return control_->wait_fd(); }
  bool Arm() override;
  void Disarm() override;

  absl::StatusOr<Peer> Resolve(const Address& address) override;
  absl::StatusOr<Address> AddressOf(const Peer& peer) const override;
  size_t MaxPayloadTo(const Peer& peer) const override;
  size_t Send(absl::Span<Datagram> burst) override;
  size_t Receive(absl::Span<Datagram> burst) override;

 private:
  enum class State : uint8_t {
    kFree,
    kOpen,
    kLeaving,  // the other side has gone: only what it left in the ring remains to be received
  };

  // A peer. Its place in links_ is used again for another, under the next generation.
  struct Link {
    RecordReader reader;
    RecordWriter writer;
    Peer peer;  // {index + 1, generation}; nobody when free
    State state = State::kFree;
    bool blocked = false;  // the last message did not fit
    bool stuck = false;
    size_t burst = 1;       // how many records Receive() looks for at once
    bool resolved = false;  // we connected to it, rather than it to us
    Session session;
    uint64_t generation = 0;

    // How slow it is: since when it has been found full, and how far it had consumed then.
    int64_t full_since_ns = 0;
    uint64_t full_at = 0;
    int64_t stuck_at_ns = INT64_MIN / 2;  // the last time it got stuck
    int64_t patience_ns = kPatienceNs;

    // kLeaving: the event to come when the ring is empty, and the position beyond which an honest
    // peer cannot have written.
    PortEvent farewell = {};
    uint64_t drain_end = 0;

    std::shared_ptr<Listener> listener;  // through which it connected
    int queue = 0;
  };

  explicit ShmDatagramPort(const Settings& settings);
  absl::Status Start(ShmTransport* transport, const PortOptions& options);

  // Data path (shm_datapath.cc).
  Link* Find(const Peer& peer) const {
    const uint64_t index = peer.words[0] - 1;
    if (index >= links_.size() || links_[index]->peer != peer) return nullptr;
    return links_[index].get();
  }
  size_t ReceiveFrom(Link& link, absl::Span<Datagram> burst);
  bool OnFull(Link& link);
  void Show(Link& link);
  void Drop(Datagram& datagram);

  // Peers come and go.
  bool full() const { return active_.size() >= max_peers_; }
  absl::StatusOr<Link*> AddLink(Session&& session);
  void SayFarewell(Link& link, PortEvent::Kind kind, int error);
  void FinishLeaving();
  void Remove(Link& link, PortEvent::Kind kind, int error);
  int OnSession(Session& session, const std::shared_ptr<Listener>& listener, int queue) override;
  void OnReadable(uint32_t index) override;
  size_t DoTakeEvents(absl::Span<PortEvent> events) override { return events_.Take(events); }

  const Directory directory_;
  const uint32_t ring_bytes_;
  const uint32_t max_peers_;
  const size_t max_payload_;
  std::string name_;
  std::unique_ptr<Control> control_;
  std::vector<std::unique_ptr<Link>> links_;
  std::vector<Link*> active_;  // those that are not free, in any order
  size_t cursor_ = 0;          // in active_: where the next Receive() begins
  size_t leaving_ = 0;         // how many of active_ are
  PortEventQueue events_{&has_events_};
};

}  // namespace weft::shm

#endif  // WEFT_TRANSPORTS_SHM_SHM_DATAGRAM_PORT_H_
