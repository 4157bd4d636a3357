// SPDX-License-Identifier: Apache-2.0
//
// RemoteMemory over any DatagramPort: peers' processors do by messages what a device would do by
// itself. So it is slower than one, and a peer answers only while it polls; all else is as the
// contract says (remote_memory.h), whatever the network loses, doubles, reorders or damages.
//
//   auto memory = EmulatedMemory::Create(std::move(datagrams), RealClock(), nullptr, {});
//
// Programs get it by OpenRemoteMemory() (open.h). The packets: docs/protocols/remote_memory.md.
//
// Memory: any can be registered, and atomic operations are atomic with those of processors here.
//
// Failure: without an answer for `peer_timeout` a peer is gone: kPeerUnreachable (ETIMEDOUT, or
// ECONNRESET when it has come back as another), its keys end, operations end with Unavailable. The
// next Post() or Grant() begins anew, with the same Peer. Reasons are counted (session_stats()).
//
// Limits: a Post() beyond operations_max takes less. More peers than peers_max are refused: those
// that were resolved, and those with a session, keep their places. Datagrams that come when buffers
// run short are dropped, and come again.
#ifndef WEFT_TRANSPORTS_REMOTE_MEMORY_EMULATED_MEMORY_H_
#define WEFT_TRANSPORTS_REMOTE_MEMORY_EMULATED_MEMORY_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/core/clock.h"
#include "weft/core/metric_group.h"
#include "weft/core/metrics.h"
#include "weft/core/timer_wheel.h"
#include "weft/core/unique_fd.h"
#include "weft/core/virtual_time.h"
#include "weft/transports/datagram_port.h"
#include "weft/transports/event_queue.h"
#include "weft/transports/remote_memory.h"
#include "weft/transports/remote_memory/memory_table.h"
#include "weft/transports/remote_memory/operations.h"
#include "weft/transports/remote_memory/outbox.h"
#include "weft/transports/remote_memory/peers.h"
#include "weft/transports/remote_memory/session.h"

namespace weft {

struct EmulatedMemoryOptions {
  // Whether peers beyond this machine (Address::is_within_machine()) may be talked to in plain
  // text. Not asked where time is virtual, or where the datagrams are protected below.
  bool beyond_machine = false;
  size_t peers_max = 1024;
  size_t operations_max = 128;  // under way, of all peers
  size_t regions_max = 1024;
  size_t keys_max = 65536;
  // Requests to a peer that may be unanswered: 1 to 256, a power of two; the lesser of both sides
  // counts.
  uint32_t window = 64;
  absl::Duration connect_timeout = absl::Seconds(2);
  absl::Duration peer_timeout = absl::Seconds(2);
  // A peer that says nothing for so long is asked whether it is there.
  absl::Duration keepalive = absl::Seconds(10);
};

class EmulatedMemory final : public RemoteMemory {
 public:
  static constexpr size_t kOperationBytesMax = size_t{4} << 20;

  // `clock` outlives the port. `time`: where that is virtual, so that simulations stop for the
  // port's timers; else null. InvalidArgument for options out of range, or datagrams shorter than
  // 256 bytes.
  static absl::StatusOr<std::unique_ptr<EmulatedMemory>> Create(
      std::unique_ptr<DatagramPort> port, const Clock& clock, VirtualTime* time,
      const EmulatedMemoryOptions& options);
  // Says goodbye to its peers.
  ~EmulatedMemory() override;

  Address local_address() const override { return port_->local_address(); }
  int wait_fd() const override { return wait_fd_ ? wait_fd_.get() : -1; }
  bool Arm() override;
  void Disarm() override { port_->Disarm(); }
  void BindToThisThread() override;

  absl::StatusOr<MemoryRegion> Allocate(size_t bytes) override { return table_.Allocate(bytes); }
  absl::StatusOr<MemoryRegion> Register(absl::Span<uint8_t> memory) override {
    return table_.Register(memory);
  }
  void Deregister(const MemoryRegion& region) override { table_.Deregister(region); }
  absl::StatusOr<Peer> Resolve(const Address& address) override;
  absl::StatusOr<Address> AddressOf(const Peer& peer) const override;
  absl::StatusOr<RemoteKey> Grant(const Peer& peer, const MemoryRegion& region, size_t offset,
                                  size_t bytes, MemoryAccess access) override;
  void Revoke(const RemoteKey& key) override { table_.Revoke(key); }
  size_t Post(absl::Span<const MemoryOperation> operations) override;
  size_t Poll(absl::Span<MemoryCompletion> completions) override;

  const emulated::SessionStats& session_stats() const { return session_stats_; }
  // Shows them as weft_memory_*; the group must be destroyed before the port. Its status() tells of
  // labels that are taken or wrong.
  MetricGroup RegisterMetrics(MetricRegistry& registry, MetricGroup::Labels labels) const;
  DatagramPort& datagrams() { return *port_; }

 private:
  using Packet = emulated::Packet;
  using PeerRecord = emulated::PeerRecord;
  static constexpr size_t kBurst = 32;
  static constexpr int kBursts = 4;  // of a Poll()
  static constexpr int kPollsWithoutTimers = 16;

  EmulatedMemory(std::unique_ptr<DatagramPort> port, const Clock& clock, VirtualTime* time,
                 const EmulatedMemoryOptions& options, const Capabilities& capabilities);
  size_t DoTakeEvents(absl::Span<PortEvent> events) override { return events_.Take(events); }

  // emulated_port.cc.
  static std::unique_ptr<PeerRecord> MakeRecord(void* self);
  static void OnTimer(void* record, int64_t now_ns);
  void OnTime(PeerRecord* record, int64_t now_ns);
  void Schedule(PeerRecord* record);
  void ScheduleVirtual();
  bool OpenWaitFd();
  void ArmTimer();

  // emulated_memory.cc.
  absl::StatusCode Check(const MemoryOperation& operation, const PeerRecord* record) const;
  void ReceiveAll(int64_t now_ns);
  void OnDatagram(const Peer& from, Buffer* buffer, int64_t now_ns);
  void OnSessionPacket(const Peer& from, const Packet& packet, Buffer* buffer, int64_t now_ns);
  void OnPortEvents();
  void EndAll();
  void PumpDirty(int64_t now_ns);
  void MarkDirty(PeerRecord* record);

  // emulated_handshake.cc.
  bool MayTalkTo(const Address& address) const;
  PeerRecord* Find(const Peer& from);
  uint64_t CookieFor(const Peer& from, uint64_t nonce);
  size_t PacketMaxTo(const Peer& wire) const;
  void Greet(PeerRecord* record, int64_t now_ns);
  void SendHello(PeerRecord* record, int64_t now_ns);
  bool SendTo(const Peer& to, const Packet& packet);
  void OnHandshake(const Peer& from, const Packet& packet, int64_t now_ns);
  void OnHello(const Peer& from, const Packet& hello);
  void OnRefuse(const Peer& from, const Packet& refuse);
  void OnCookie(const Peer& from, const Packet& cookie);
  void OnConfirm(const Peer& from, const Packet& confirm, int64_t now_ns);
  void OnReady(const Packet& ready, int64_t now_ns);
  void BeginSession(PeerRecord* record, const Packet& packet, int64_t now_ns);
  void SendReady(PeerRecord* record);
  void EndPeer(PeerRecord* record, PortEvent::Kind kind, int error);

  const std::unique_ptr<DatagramPort> port_;
  const Clock& clock_;
  VirtualTime* const time_;
  const EmulatedMemoryOptions options_;
  emulated::Secrets secrets_;
  emulated::MemoryTable table_;
  emulated::Operations operations_;
  emulated::Outbox outbox_;
  emulated::SessionStats session_stats_;
  emulated::SessionShared shared_;
  TimerWheel timers_;
  emulated::Peers peers_;
  std::vector<PeerRecord*> dirty_;
  std::vector<PeerRecord*> pumped_;
  std::array<Datagram, kBurst> received_;
  bool more_received_ = false;  // there was more than a Poll() takes
  int polls_without_timers_ = 0;
  PortEventQueue events_{&has_events_};
  Timer virtual_timer_;
  UniqueFd wait_fd_;  // an epoll: the port's and the timer's
  UniqueFd timer_fd_;
  int64_t armed_ns_ = INT64_MAX;  // what the timer is set to
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_REMOTE_MEMORY_EMULATED_MEMORY_H_
