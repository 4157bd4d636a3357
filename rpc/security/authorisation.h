// SPDX-License-Identifier: Apache-2.0
//
// Which methods the peers of one port may call: what Security::Allows() says, looked up once for
// each peer, so that a call costs a comparison and a bit. Not for users.
//
//   Authorisation authorisation(
//       [&](absl::string_view method, absl::string_view identity) {
//         return security.Allows(method, identity);
//       },
//       {"kv.KeyValue/Get", "kv.KeyValue/Put"});
//   if (!authorisation.Allows(port, peer, /*method=*/1)) ...
//
// Relies on a peer's identity being the same as long as the peer lives
// (DatagramPort::IdentityOf()). One thread.
#ifndef WEFT_RPC_SECURITY_AUTHORISATION_H_
#define WEFT_RPC_SECURITY_AUTHORISATION_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/container/node_hash_map.h"
#include "absl/strings/string_view.h"
#include "weft/transports/datagram_port.h"

namespace weft::rpc {

class Authorisation {
 public:
  using Rule = std::function<bool(absl::string_view method, absl::string_view identity)>;

  // `rule` is asked for each method as soon as an identity is new. `methods`: as it knows them; a
  // request that belongs to none is the method "".
  Authorisation(Rule rule, std::vector<std::string> methods);
  Authorisation(const Authorisation&) = delete;
  Authorisation& operator=(const Authorisation&) = delete;

  // Whether the peer may call the method of that index.
  bool Allows(const DatagramPort& port, const Peer& peer, size_t method) {
    const Place& place = places_[IndexOf(peer)];
    if (place.peer == peer && place.granted != nullptr) [[likely]] {
      return Has(*place.granted, method);
    }
    return Has(GrantedTo(port, peer), method);
  }

 private:
  using Granted = std::vector<uint64_t>;  // a bit a method
  struct Place {
    Peer peer;
    const Granted* granted = nullptr;
  };
  static constexpr size_t kPlaces = 256;
  // Of identities that are remembered. One more, and they are looked up anew.
  static constexpr size_t kIdentitiesMax = 4096;

  static bool Has(const Granted& granted, size_t method) {
    return (granted[method / 64] >> method % 64 & 1) != 0;
  }
  static size_t IndexOf(const Peer& peer) {
    const uint64_t mixed = (peer.words[0] ^ peer.words[1] ^ peer.words[2]) * 0x9E3779B97F4A7C15u;
    return mixed >> 56;
  }
  const Granted& GrantedTo(const DatagramPort& port, const Peer& peer);

  const Rule rule_;
  const std::vector<std::string> methods_;
  std::array<Place, kPlaces> places_;
  absl::node_hash_map<std::string, Granted> by_identity_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SECURITY_AUTHORISATION_H_
