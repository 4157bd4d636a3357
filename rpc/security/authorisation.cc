// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/security/authorisation.h"

#include <utility>

namespace weft::rpc {

Authorisation::Authorisation(Rule rule, std::vector<std::string> methods)
    : rule_(std::move(rule)), methods_(std::move(methods)) {}

const Authorisation::Granted& Authorisation::GrantedTo(const DatagramPort& port, const Peer& peer) {
  const absl::string_view identity = port.IdentityOf(peer);
  if (by_identity_.size() >= kIdentitiesMax && !by_identity_.contains(identity)) {
    places_.fill({});
    by_identity_.clear();
  }
  const auto [it, is_new] = by_identity_.try_emplace(identity);
  Granted& granted = it->second;
  if (is_new) {
    granted.resize(methods_.size() / 64 + 1);
    for (size_t i = 0; i < methods_.size(); ++i) {
      if (rule_(methods_[i], identity)) granted[i / 64] |= uint64_t{1} << i % 64;
    }
  }
  // A peer may prove later who it is.
  if (!identity.empty()) places_[IndexOf(peer)] = {peer, &granted};
  return granted;
}

}  // namespace weft::rpc
