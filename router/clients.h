// SPDX-License-Identifier: Apache-2.0
//
// Who a client is: its id, its tenant, and where need be its address. Not for users.
//
//   Clients clients(port, tenants);
//   const Client& client = clients.Of(datagram.peer);   // valid until the next Of()
//
// What is dear to find out is remembered, in a cache of fixed size in which two clients may share a
// place: then it is found out again and again, which is slower, and that is all.
#ifndef WEFT_ROUTER_CLIENTS_H_
#define WEFT_ROUTER_CLIENTS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "weft/netstack/ip_address.h"
#include "weft/r2p2/route_wire.h"
#include "weft/router/options.h"
#include "weft/transports/datagram_port.h"

namespace weft::router {

struct Client {
  Peer peer;
  uint64_t id = 0;  // r2p2::ClientIdOf()
  uint16_t tenant = 0;
  Address address;  // of a peer that has gone: none
};

// Which tenant a client belongs to. A plain value.
class Tenants {
 public:
  Tenants() = default;
  // InvalidArgument "tenants[2].clients[0]: ..." for what is neither a prefix nor the beginning of
  // names.
  static absl::StatusOr<Tenants> From(const std::vector<RouterOptions::Tenant>& tenants);

  // The index of the tenant whose prefix is the longest; of those who belong to none, their number.
  uint16_t Of(const Address& address) const;
  bool empty() const { return prefixes_.empty() && names_.empty(); }
  // With those who belong to none at the end.
  const std::vector<uint32_t>& weights() const { return weights_; }

 private:
  struct Prefix {
    netstack::IpPrefix prefix;
    uint16_t tenant = 0;
  };
  struct Name {
    std::string begin;  // with its kind: "shm:batch-"
    uint16_t tenant = 0;
  };
  std::vector<Prefix> prefixes_;  // the longest first
  std::vector<Name> names_;       // likewise
  std::vector<uint32_t> weights_ = {1};
};

class Clients {
 public:
  static constexpr size_t kCached = 4096;

  // `with_address`: Client::address is wanted.
  Clients(const DatagramPort& port, Tenants tenants, bool with_address)
      : port_(port),
        is_ip_(port.local_address().is_ip()),
        with_address_(with_address),
        tenants_(std::move(tenants)) {
    Reset();
  }

  void SetTenants(Tenants tenants) {
    tenants_ = std::move(tenants);
    Reset();
  }
  const Tenants& tenants() const { return tenants_; }

  const Client& Of(const Peer& peer) {
    if (cache_.empty()) {
      simple_.peer = peer;
      simple_.id = r2p2::ClientIdOf(peer);
      return simple_;
    }
    Client& cached = cache_[r2p2::ClientIdOf(peer) % kCached];
    if (!(cached.peer == peer)) [[unlikely]]
      Find(peer, &cached);
    return cached;
  }

 private:
  void Reset() {
    cache_.clear();
    if (!is_ip_ || with_address_ || !tenants_.empty()) cache_.resize(kCached);
    simple_ = {};
    simple_.tenant = static_cast<uint16_t>(tenants_.weights().size() - 1);
  }
  void Find(const Peer& peer, Client* client) const;

  const DatagramPort& port_;
  const bool is_ip_;
  const bool with_address_;
  Tenants tenants_;
  std::vector<Client> cache_;  // none where a client is as quickly found out
  Client simple_;
};

}  // namespace weft::router

#endif  // WEFT_ROUTER_CLIENTS_H_
