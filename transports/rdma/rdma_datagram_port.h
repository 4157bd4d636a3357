// SPDX-License-Identifier: Apache-2.0
//
// Datagrams over an unreliable-datagram queue pair. Peers find each other by a Rendezvous at the
// port's address; each datagram carries a header (header.h) by which the receiver knows the sender,
// and credits (credits.h), so that no receive queue overruns. docs/protocols/rdma.md has the whole.
//
// A peer is asked for when the first datagram goes to it. Until it has answered, and while it has
// given no credit, datagrams wait: an eighth of the port's buffers in all, and for each peer at
// most half of what the others have left, and kMaxWaiting. Beyond they are dropped and counted as
// send_failed. What waits for a peer
// that cannot be reached is dropped then, and counted as send_failed as well as sent. Send() stops
// short only while the device's send queue is full.
//
// Buffers up to NicLimits::inline_bytes are free when Send() returns, longer ones of this port's
// pool when the device has sent them; longer ones from elsewhere are copied.
//
// Two files: rdma_datapath.cc, and the rest: rdma_datagram_port.cc, rdma_peers.cc.
#ifndef WEFT_TRANSPORTS_RDMA_RDMA_DATAGRAM_PORT_H_
#define WEFT_TRANSPORTS_RDMA_RDMA_DATAGRAM_PORT_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/config/config.h"
#include "weft/core/clock.h"
#include "weft/core/metrics.h"
#include "weft/core/timer_wheel.h"
#include "weft/core/unique_fd.h"
#include "weft/core/virtual_time.h"
#include "weft/transports/datagram_port.h"
#include "weft/transports/event_queue.h"
#include "weft/transports/rdma/bulk_path.h"
#include "weft/transports/rdma/credits.h"
#include "weft/transports/rdma/header.h"
#include "weft/transports/rdma/nic.h"
#include "weft/transports/rdma/peer_table.h"
#include "weft/transports/rdma/rendezvous.h"

namespace weft::rdma {

// What a port is made of. `time` is null for real time.
struct RdmaPortParts {
  std::shared_ptr<Nic> nic;
  std::unique_ptr<DatagramPort> rendezvous;
  std::unique_ptr<DatagramPort> asking;  // see Rendezvous::Options
  uint64_t incarnation = 0;
  uint8_t worker = 0;
  const Clock* clock = nullptr;
  VirtualTime* time = nullptr;
};

class RdmaDatagramPort final : public DatagramPort,
                               private Rendezvous::Handler,
                               private BulkPath::Peers {
 public:
  static constexpr size_t kMaxWaiting = 256;  // datagrams of a peer
  static constexpr size_t kMaxBurst = 16;
  static constexpr size_t kHeadroomBytes = 128;
  // Signalled is each so-many-th send.
  static constexpr uint32_t kSignalEvery = 16;
  static constexpr uint32_t kPostBatch = 16;
  // How often those who have sent are looked after, and for how many ticks a peer may be silent
  // before it is asked whether it is there.
  static constexpr int64_t kTickNs = 4'000'000;
  static constexpr uint32_t kQuietTicks = 25;
  // When there is no place for one more peer, or others hold what a busy one could use: how often,
  // and how many of those who have been silent are asked whether they are there, or to give it
  // back.
  static constexpr int64_t kRollCallNs = 100'000'000;
  static constexpr uint32_t kRollCall = 64;
  // Calls of Receive() between two looks at the clock, while nobody sleeps.
  static constexpr uint32_t kCallsBetweenLooks = 64;
  static constexpr uint32_t kMaxLooksPutOff = 16;

  // Beside stats().
  struct Counts {
    Counter connections;  // made; the first to each peer and those after
    Counter credits_sent, credits_received;
    Counter late;           // received: doubled, or overtaken
    Counter stray;          // received: of a connection that is not there (any more)
    Counter beyond_credit;  // received: more than the sender may send
    Counter waited;         // sends that did not go at once
    Counter starved;        // received, and dropped: no buffer to receive the next in
    Counter resumed;        // peers asked whether they are there
    Counter recalled;       // of those: asked to give back what they do not use
    Counter given_back;     // when asked so: datagrams that this side might have sent
  };

  // The buffers of a port that is given `buffers`: all of them are locked while it is open.
  static BufferPoolOptions PoolOptions(const BufferPoolOptions& buffers, size_t path_mtu_bytes);

  static absl::StatusOr<std::unique_ptr<RdmaDatagramPort>> Open(const config::Rdma& settings,
                                                                const BufferPoolOptions& buffers,
                                                                const Capabilities& capabilities,
                                                                RdmaPortParts parts);
  // Says good-bye to all peers.
  ~RdmaDatagramPort() override;

  Address local_address() const override { return rendezvous_.local_address(); }
  int wait_fd() const override { return wait_fd_.get(); }
  bool Arm() override;
  void Disarm() override;
  void BindToThisThread() override;

  absl::StatusOr<Peer> Resolve(const Address& address) override;
  absl::StatusOr<Address> AddressOf(const Peer& peer) const override;
  size_t MaxPayloadTo(const Peer& peer) const override;
  absl::Status WhyUnreachable(const Peer& peer) const override;
  size_t Send(absl::Span<Datagram> burst) override;
  size_t Receive(absl::Span<Datagram> burst) override;
  BulkTransfers* bulk() override { return bulk_.get(); }

  // Does what is due, and receives as far as it can keep what comes: for somebody who will not call
  // Receive() for a while.
  void Attend();

  const Counts& port_counts() const { return counts_; }
  // Work requests, doorbells and completions of datagrams.
  UdQueue::Counts counts() const { return ud_->counts(); }
  const SlotShares& shares() const { return shares_; }
  const Rendezvous& rendezvous() const { return rendezvous_; }
  const BulkPath* bulk_path() const { return bulk_.get(); }
  const QueueAddress& queue() const { return queue_; }

 private:
  static constexpr size_t kBatch = 32;  // of one call of the device

  RdmaDatagramPort(const config::Rdma& settings, const BufferPoolOptions& buffers,
                   const Capabilities& capabilities, RdmaPortParts parts);
  absl::Status Start();
  absl::Status StartBulk();
  absl::Status StartWaiting();

  // Data path.
  bool Sendable(const Datagram& datagram, const PeerEntry* entry) const;
  // Makes the next of sends_ of it. False when it needs a copy and there is no buffer for it.
  bool Lay(PeerEntry& entry, Buffer& buffer);
  // `header` says what it is; the rest of it is filled in.
  void LayOut(PeerEntry& entry, Header header, uint32_t sequence, Buffer buffer);
  bool Copy(Buffer& buffer);
  size_t free_send_slots() const { return in_flight_.size() - (posted_ - sent_); }
  void PostSends();
  void Reclaim();
  void Drop(Datagram& datagram);
  void Wait(PeerEntry& entry, Datagram& datagram);
  void SendCredit(PeerEntry& entry, Buffer buffer);
  void Flush();
  void FlushOne(PeerEntry& entry);
  bool Handle(UdReceived& received, Datagram* out);
  void OnEdge(PeerEntry& entry, uint32_t edge);
  void SendCredits();
  // Receives that should be posted and are not.
  uint32_t receives_short() const {
    const uint32_t wanted = shares_.margin() + shares_.outstanding();
    return wanted - std::min(wanted, receives_);
  }
  void Refill();
  // For one of so many slots that are to be posted; null when there is none.
  Buffer BufferToReceiveIn(size_t wanted);
  size_t ReceiveInto(absl::Span<Datagram> burst);

  // Peers: rdma_peers.cc.
  Offer OfferFor(const PeerEntry& entry) const;
  PeerEntry* AddPeer(const Address& address);
  PeerEntry* FindWorker(const Address& address, uint8_t worker) const;
  void Ask(PeerEntry& entry);
  void Resume(PeerEntry& entry, bool recalls = false);
  enum class RollCall : uint8_t { kForPlaces, kForSlots };
  void CallTheRoll(RollCall purpose);
  // In the next round at the latest, if one is due.
  void OweCredit(PeerEntry& entry) {
    if (!entry.in.due() || entry.credit_listed) return;
    entry.credit_listed = true;
    owed_credits_.push_back(peers_.IndexOf(entry));
  }
  bool GiveBack(PeerEntry& entry, uint32_t expected);
  absl::Status Prepare(PeerEntry& entry);
  absl::Status Connect(PeerEntry& entry, const Offer& offer);
  void Disconnect(PeerEntry& entry);
  void Lose(PeerEntry& entry, PortEvent::Kind kind, int error, const absl::Status& why);
  void DropWaiting(PeerEntry& entry);
  bool IsCurrent(const PeerEntry& entry, const Offer& offer) const;
  bool TakeResumed(PeerEntry& entry, const Offer& offer);
  void ListForFlush(PeerEntry& entry);
  uint64_t ContextOf(const PeerEntry& entry) const;
  PeerEntry* Asking(uint64_t context) const;
  std::optional<RcPeer> RcPeerOf(const Peer& peer) const override;
  absl::StatusOr<Offer> OnAsk(const Address& from, const Offer& offer) override;
  void OnAnswer(uint64_t context, const Offer& answer) override;
  void OnFailed(uint64_t context, const absl::Status& status) override;
  void OnBye(const Address& from, uint64_t incarnation) override;

  // What is not done for each datagram.
  //
  // Questions of peers are heard only when the receive queue has been emptied: they may say that
  // what was sent is lost, and that must not be said of what lies there.
  void LookIfDue(bool drained) {
    if (calls_to_look_ > 0) [[likely]] {
      --calls_to_look_;
    } else if (drained || ++looks_put_off_ >= kMaxLooksPutOff) {
      looks_put_off_ = 0;
      Look();
    }
  }
  void Look();
  void TakeNicEvents();
  void CheckQueue();
  void Tick();
  bool LookAfter(PeerEntry& entry);
  void ArmTick() {
    if (tick_ns_ == INT64_MAX) StartTick();
  }
  void StartTick();
  int64_t NextNs() const;
  void ScheduleWake();
  size_t DoTakeEvents(absl::Span<PortEvent> events) override {
    AssertOwner();
    return events_.Take(events);
  }

  const config::Rdma settings_;
  const Clock& clock_;
  VirtualTime* const time_;
  const std::shared_ptr<Nic> nic_;
  Rendezvous rendezvous_;
  std::unique_ptr<Nic::Subscription> subscription_;
  std::unique_ptr<Registration> registration_;
  std::unique_ptr<CompletionQueue> completions_;
  std::unique_ptr<UdQueue> ud_;
  QueueAddress queue_;
  std::unique_ptr<BulkPath> bulk_;  // null: there is no such way

  // Sending. Sends are numbered; those from sent_ to posted_ occupy slots, and what they are sent
  // from is kept in in_flight_, modulo its size, unless it was copied by the device.
  uint32_t local_key_ = 0;
  size_t inline_bytes_ = 0;
  std::vector<Buffer> in_flight_;
  uint64_t posted_ = 0;
  uint64_t sent_ = 0;
  uint32_t unsignalled_ = 0;
  bool buffer_held_ = false;  // by a send, and none behind it is signalled yet
  size_t laid_ = 0;           // of sends_ and laid_buffers_
  std::array<UdSend, kBatch> sends_;
  std::array<Buffer, kBatch> laid_buffers_;

  // Receiving.
  PeerTable peers_;
  SlotShares shares_;
  // Posted are as many as credits promise, and a margin: what comes goes through few buffers
  // again and again, which stay near the processor. The buffers of the other slots lie ready.
  uint32_t receives_ = 0;      // posted
  std::vector<Buffer> spare_;  // of slots that are promised to nobody
  uint32_t missing_ = 0;       // slots without a buffer
  bool starved_ = false;       // so many are not posted that what comes is dropped
  uint32_t calls_to_look_ = 0;
  uint32_t looks_put_off_ = 0;
  const uint32_t calls_between_looks_;
  std::array<UdReceived, kBatch> received_;
  std::deque<Datagram> kept_;  // by Attend()

  // Peers that are owed something, by index.
  std::vector<uint32_t> owed_credits_;
  std::vector<uint32_t> to_flush_;
  const size_t max_waiting_;  // of all peers
  size_t waiting_ = 0;

  int64_t now_ns_ = 0;           // when the clock was last read
  int64_t tick_ns_ = INT64_MAX;  // when the next tick is
  int64_t events_ns_ = 0;        // when the device is next asked for events
  // When silent peers may be asked again, and the place it goes on at, for either purpose.
  std::array<int64_t, 2> roll_call_ns_ = {};
  std::array<uint32_t, 2> roll_call_at_ = {};
  bool slots_wanted_ = false;  // a busy peer could not be lent more
  int64_t rendezvous_ns_ = 0;  // when questions are next heard
  bool was_armed_ = false;
  PortEventQueue events_{&has_events_};
  Counts counts_;

  UniqueFd wait_fd_;
  UniqueFd timer_fd_;
  int64_t timer_set_ns_ = INT64_MAX;
  Timer wake_{[](void*, int64_t) {}, nullptr};  // so that virtual time stops there
};

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_RDMA_DATAGRAM_PORT_H_
