// SPDX-License-Identifier: Apache-2.0
//
// A DatagramPort around another whose datagrams are sealed as a whole, after a handshake. Made by
// Security::Protect(); security.h says what it is for, docs/protocols/secure.md what goes over the
// wire.
//
// Peers: one that Resolve() gave lasts as long as the port, however often its keys are made anew,
// because the server has restarted or forgotten them. One that Receive() gave lasts until the peer
// connects anew from another address, or is forgotten for others (connections_max): an event says
// so. A peer that cannot be reached or proves nothing is an event too, and WhyUnreachable() says
// more.
//
// Until there are keys, a bounded number of datagrams for each peer wait for them. A datagram that
// was sealed but that the port below did not take is kept, a bounded number of them; datagrams for
// the same peer are accepted again once it is gone.
#ifndef WEFT_RPC_SECURITY_SECURE_PORT_H_
#define WEFT_RPC_SECURITY_SECURE_PORT_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "weft/core/loop.h"
#include "weft/rpc/security/connection.h"
#include "weft/rpc/security/connection_table.h"
#include "weft/rpc/security/cookie_maker.h"
#include "weft/rpc/security/secure_stats.h"
#include "weft/rpc/security/secure_wire.h"
#include "weft/rpc/security/security.h"
#include "weft/transports/datagram_port.h"
#include "weft/transports/event_queue.h"

namespace weft::rpc {

class SecurePort final : public DatagramPort {
 public:
  static absl::StatusOr<std::unique_ptr<DatagramPort>> Create(
      Loop& loop, std::unique_ptr<DatagramPort> below, Role role,
      std::shared_ptr<const Security> security);
  ~SecurePort() override;

  // Begins the handshake with a peer that Resolve() gave now, rather than when something is first
  // sent to it. Nothing happens if there are keys, or soon will be.
  void Connect(const Peer& peer);

  // Null if `port` is no such port.
  static const SecureStats* StatsOf(const DatagramPort& port);
  const SecureStats& secure_stats() const { return counts_; }

  Address local_address() const override { return below_->local_address(); }
  int wait_fd() const override { return below_->wait_fd(); }
  bool Arm() override;
  void Disarm() override { below_->Disarm(); }
  void BindToThisThread() override;

  absl::StatusOr<Peer> Resolve(const Address& address) override;
  absl::StatusOr<Address> AddressOf(const Peer& peer) const override;
  size_t MaxPayloadTo(const Peer& peer) const override;
  absl::string_view IdentityOf(const Peer& peer) const override;
  absl::Status WhyUnreachable(const Peer& peer) const override;
  size_t Send(absl::Span<Datagram> burst) override;
  size_t Receive(absl::Span<Datagram> burst) override;

 protected:
  size_t DoTakeEvents(absl::Span<PortEvent> events) override { return events_.Take(events); }

 private:
  // A handshake that a peer began. One that has completed stays for a while, to say so again.
  struct Accepting {
    std::unique_ptr<TlsHandshake> handshake;
    uint64_t attempt = 0;
    uint64_t cookie_time_ns = 0;
    uint32_t remote_number = 0;
    uint32_t number = 0;  // ours, once complete
    bool complete = false;
    int64_t deadline_ns = 0;
    std::list<Peer>::iterator place;  // in accepting_order_
  };

  static constexpr size_t kBurst = 64;        // datagrams sealed at once, and kept if need be
  static constexpr size_t kHeldMax = 64;      // for each peer, until there are keys
  static constexpr size_t kWaitingMax = 256;  // handshake packets
  static constexpr size_t kStepsPerTurn = 4;  // of TLS
  static constexpr size_t kResetsPerTurn = 32;

  SecurePort(Loop& loop, std::unique_ptr<DatagramPort> below, Role role,
             std::shared_ptr<const Security> security, size_t max_payload_bytes);

  // Sending (secure_port_send.cc).
  size_t SealSome(absl::Span<Datagram> burst);
  bool Seal(Connection& connection, Datagram& datagram, int64_t now_ns);
  Buffer WithRoom(Buffer buffer, size_t tail_bytes);
  void Hold(Connection& connection, Datagram& datagram);
  void SendHeld(Connection& connection);
  void DropHeld(Connection& connection);
  void DropFromSend(Datagram& datagram);
  bool IsKept(const Peer& below) const;
  void FlushKept();
  void SendSealed();

  // Receiving (secure_port_receive.cc).
  size_t OpenAll(absl::Span<Datagram> burst);
  bool OpenRecord(Datagram& datagram, int64_t now_ns);
  static ConnectionKeys* KeysFor(Connection& connection, const Peer& below, uint32_t number);
  void OnUnknownRecord(const Peer& below, const RecordHead& head);
  void OnOtherEpoch(Connection& connection, const RecordHead& head);
  void SendReset(const Peer& below, const RecordHead& head);
  void TakeEventsBelow();
  void OnEventBelow(const PortEvent& event, Connection& connection);
  void RemoveConnection(Connection* connection);
  void MakeRoom();

  // Handshakes of both sides (secure_port_handshake.cc).
  void OnHandshakeDatagram(Datagram& datagram);
  void WorkOnHandshakes();
  bool OnHandshakePacket(const Peer& below, const HandshakePacket& packet);
  void SendHandshakePacket(const Peer& below, const HandshakePacket& packet);
  size_t PieceBytes() const;
  bool Establish(Connection& connection, const HandshakeResult& result, uint32_t number,
                 uint32_t remote_number);
  void CountFailure(Failure failure) { ++counts_.handshakes_failed[static_cast<size_t>(failure)]; }

  // As client (secure_port_dial.cc).
  bool Dial(Connection& connection);
  absl::Status ResolveAgain(Connection& connection);
  void StartTls(Connection& connection);
  void SendInit(Connection& connection);
  void SendFlight(Connection& connection, uint8_t flags);
  bool OnServerPacket(Connection& connection, const HandshakePacket& packet);
  void CompleteDialing(Connection& connection, uint32_t remote_number);
  bool IsDoubtful(Connection& connection);
  void FailDialing(Connection& connection, Failure failure, absl::Status status, int error);
  void OnReset(const Peer& below, const HandshakePacket& packet);
  void OnNoKeys(const Peer& below, const HandshakePacket& packet);
  static void OnDialTimer(void* self, int64_t now_ns);

  // As server (secure_port_accept.cc).
  bool OnClientFlight(const Peer& below, const HandshakePacket& packet);
  Accepting* FindAccepting(const Peer& below, const HandshakePacket& packet);
  Accepting* BeginAccepting(const Peer& below, const HandshakePacket& packet);
  void CompleteAccepting(const Peer& below, Accepting& accepting);
  void SendAnswer(const Peer& below, Accepting& accepting);
  Connection* ConnectionFor(const Peer& below, const std::string& identity);
  void EraseAccepting(const Peer& below);
  void ExpireAccepting(int64_t now_ns);
  static void OnAcceptTimer(void* self, int64_t now_ns);

  Loop& loop_;
  const std::unique_ptr<DatagramPort> below_;
  const Role role_;
  const std::shared_ptr<const Security> security_;
  const RotationLimits rotation_;
  const int64_t handshake_timeout_ns_;

  ConnectionTable connections_;
  std::array<Datagram, kBurst> sealed_;  // the first sealed_count_ are on their way
  size_t sealed_count_ = 0;
  size_t steps_left_ = 0;   // of TLS in this turn
  size_t resets_left_ = 0;  // in this turn
  std::deque<Datagram> waiting_;

  const CookieMaker cookies_;
  absl::flat_hash_map<Peer, Accepting> accepting_;  // by the peer below
  std::list<Peer> accepting_order_;                 // oldest first
  Timer accept_timer_;

  PortEventQueue events_{&has_events_};
  SecureStats counts_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SECURITY_SECURE_PORT_H_
