// SPDX-License-Identifier: Apache-2.0
//
// The way of requests through a router: from the port, by the dispatcher's decision, to a server,
// to the queue, or back as a DROP. Not for users.
//
// A burst costs one call of the policy and one or two of the port; a request is moved, not copied,
// and nothing is allocated for it.
#ifndef WEFT_ROUTER_REQUEST_PATH_H_
#define WEFT_ROUTER_REQUEST_PATH_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "weft/r2p2/route_wire.h"
#include "weft/router/clients.h"
#include "weft/router/dispatcher.h"
#include "weft/router/members.h"
#include "weft/router/outbox.h"
#include "weft/router/router_stats.h"
#include "weft/transports/datagram_port.h"

namespace weft::router {

class ControlPath;

class RequestPath {
 public:
  struct Settings {
    bool keep_source = false;
    size_t queue_max = 0;
    uint64_t incarnation = 0;
    uint32_t retry_after_us = 0;  // what clients are told when no server is up
  };

  RequestPath(DatagramPort& port, Dispatcher& dispatcher, Members& members, RouterStats& stats,
              Tenants tenants, const Settings& settings);
  RequestPath(const RequestPath&) = delete;
  RequestPath& operator=(const RequestPath&) = delete;

  // Takes a burst from the port; what is no request goes to `control`. Returns the amount of work.
  size_t Poll(int64_t now_ns, ControlPath& control);
  // Sends those that have waited, as far as there is room for them now.
  void SendReady(int64_t now_ns);
  // What is to go out that is no request: answers.
  void Answer(const Peer& to, Buffer&& packet) { answers_.Push(to, std::move(packet)); }
  size_t Flush();
  // Nothing waits for the port.
  bool idle() const { return requests_.empty() && answers_.empty(); }

  void SetQueueMax(size_t queue_max);
  void SetTenants(Tenants tenants) { clients_.SetTenants(std::move(tenants)); }
  bool keeps_source() const { return settings_.keep_source; }
  // That a client may send, for it to fit with what is put in front of it.
  size_t payload_max() const;
  // Of a client, as all routers and servers name it.
  uint64_t ClientIdOf(const Peer& peer) { return clients_.Of(peer).id; }

 private:
  static constexpr size_t kBurst = 32;
  static constexpr size_t kReadyBurst = Dispatcher::kBurstMax;
  static constexpr size_t kOutbox = 2048;

  // A request that waits for a server.
  struct Kept {
    Buffer buffer;
    Peer source;
  };
  // A CANCEL: received_[index], of which request.
  struct Cancelled {
    uint32_t index;
    uint64_t key;
    uint64_t request_id;
  };
  // A request on its way to a server: received_[index], or kept_[index].
  struct Sending {
    ServerIndex server;
    uint32_t index;
  };

  // Adds the datagram to arrivals_, refuses it, or passes it to `control`.
  void Classify(Datagram& datagram, uint32_t index, ControlPath& control, int64_t now_ns);
  void OnOriginal(Datagram& datagram, uint32_t index);
  void OnAnycast(Datagram& datagram, uint32_t index);
  void OnStray(Datagram& datagram, const r2p2::Header& header);
  void Decide(int64_t now_ns);
  void OnCancel(const Cancelled& cancelled);
  void Keep(Datagram& datagram, uint32_t ticket);
  // Tells the client why its request goes nowhere. Takes the buffer.
  void Refuse(Fate fate, const Peer& client, Buffer&& request, int64_t waited_ns);
  void Drop(r2p2::DropReason reason, const Peer& client, Buffer&& request, uint32_t retry_after_us,
            int64_t waited_ns);
  void Send(ServerIndex server, Buffer&& request, const Peer& source);
  // By `sending_[0..count)`, whose order servers see.
  void SendAll(size_t count);
  bool PrependAddress(Buffer& request, const Peer& source);
  // Some more on their way out would be too many.
  bool IsBlocked() const {
    return std::max(requests_.size(), answers_.size()) + kReadyBurst > kOutbox / 2;
  }

  DatagramPort& port_;
  Dispatcher& dispatcher_;
  Members& members_;
  RouterStats& stats_;
  Clients clients_;
  Settings settings_;
  const size_t burst_;
  Outbox requests_;
  Outbox answers_;
  std::vector<Kept> kept_;  // by ticket

  std::array<Datagram, kBurst> received_;
  std::array<Arrival, kBurst> arrivals_;
  std::array<uint32_t, kBurst> arrived_;  // index in received_ of each
  size_t arrival_count_ = 0;
  std::array<Cancelled, kBurst> cancelled_;
  size_t cancelled_count_ = 0;
  std::array<Decision, kBurst> decisions_;
  std::array<Sending, kBurst> sending_;
  std::array<Ready, kReadyBurst> ready_;
};

}  // namespace weft::router

#endif  // WEFT_ROUTER_REQUEST_PATH_H_
