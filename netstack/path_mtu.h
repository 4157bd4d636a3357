// SPDX-License-Identifier: Apache-2.0
//
// PathMtuCache: how long a packet may be on its way to a destination, where errors have told that
// it is less than the link allows (RFC 1191, RFC 8201).
//
//   PathMtuCache mtus({.link_mtu = 1500});
//   mtus.Lower(destination, error.mtu, now_ns);   // an error that was checked against live traffic
//   mtus.Get(destination, now_ns);
#ifndef WEFT_NETSTACK_PATH_MTU_H_
#define WEFT_NETSTACK_PATH_MTU_H_

#include <cstddef>
#include <cstdint>
#include <list>

#include "absl/container/flat_hash_map.h"
#include "weft/core/metrics.h"
#include "weft/netstack/ip_address.h"

namespace weft::netstack {

// No error lowers a path of IPv4 below this. RFC 791 knows links of 68 bytes, but present networks
// have none, and whoever forges errors would make us send crumbs; Linux has the same floor. At the
// floor, send without "don't fragment". That of IPv6 is kIpv6MtuMin.
inline constexpr size_t kPathMtuFloorV4 = 552;

struct PathMtuOptions {
  size_t link_mtu = 1500;
  int64_t forget_ns = 600'000'000'000;
  size_t paths_max = 1024;  // at least 1
};

struct PathMtuStats {
  Counter lowered;
  Counter ignored;    // raise nothing, or below what IPv6 allows
  Counter forgotten;  // after forget_ns
  Counter evictions;  // for want of room
};

// One thread.
class PathMtuCache {
 public:
  explicit PathMtuCache(const PathMtuOptions& options) : options_(options) {}

  // Bytes, IP header included. `valid_until_ns`, if not null: until then, and while generation()
  // stays the same, the answer does not change.
  size_t Get(const IpAddress& destination, int64_t now_ns, int64_t* valid_until_ns = nullptr);

  // What an error said: true if it makes the path's MTU lower. It never raises it (RFC 1191, 3); a
  // value that is not lower only keeps a learnt one from being forgotten. IPv4: `mtu` 0 is what
  // routers of old say, whose path is taken to have the next lower plateau (RFC 1191, 7.1); others
  // below kPathMtuFloorV4 count as that. IPv6: below 1280 it is ignored (RFC 8201, 4). When there
  // are paths_max others, the one learnt first is forgotten.
  bool Lower(const IpAddress& destination, size_t mtu, int64_t now_ns);

  // Changes whenever an answer of Get() does before its time.
  uint64_t generation() const { return generation_; }

  size_t size() const { return by_destination_.size(); }
  const PathMtuStats& stats() const { return stats_; }

 private:
  struct Path {
    IpAddress destination;
    size_t mtu;
    int64_t expires_ns;
  };
  using Paths = std::list<Path>;

  void Expire(int64_t now_ns);
  void Forget(Paths::iterator path);

  const PathMtuOptions options_;
  Paths by_time_;  // the one that is forgotten first in front
  absl::flat_hash_map<IpAddress, Paths::iterator> by_destination_;
  uint64_t generation_ = 1;
  PathMtuStats stats_;
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_PATH_MTU_H_
