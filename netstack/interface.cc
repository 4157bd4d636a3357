// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/interface.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace weft::netstack {

bool Interface::IsBroadcast(const IpAddress& ip) const {
  if (!ip.is_v4()) return false;
  if (ip.is_limited_broadcast()) return true;
  for (const IpPrefix& own : addresses) {
    if (own.Broadcast() == ip) return true;
  }
  return false;
}

IpAddress Interface::SourceFor(const IpAddress& destination) const {
  const bool v4 = destination.is_v4();
  // Multicast of link-local scope and link-local addresses are talked to from such an address.
  const bool link_scope =
      !v4 && (destination.is_link_local() ||
              (destination.is_multicast() && (destination.bytes()[1] & 0xf) <= 2));
  IpAddress best;
  int best_rank = -1;
  for (const IpPrefix& own : addresses) {
    if (own.address.is_v4() != v4) continue;
    if (own.address == destination) return destination;
    const int rank =
        (own.address.is_link_local() == link_scope ? 1 : 0) + (own.Contains(destination) ? 2 : 0);
    if (rank <= best_rank) continue;
    best = own.address;
    best_rank = rank;
  }
  return best;
}

std::string Interface::ToString() const {
  const std::string have = absl::StrJoin(
      addresses, ", ",
      [](std::string* out, const IpPrefix& own) { absl::StrAppend(out, own.ToString()); });
  return absl::StrCat(name, " (", have.empty() ? "no address" : have, ")");
}

}  // namespace weft::netstack
