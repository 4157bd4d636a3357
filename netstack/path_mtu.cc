// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/path_mtu.h"

#include <algorithm>

#include "weft/netstack/wire/ipv6.h"

namespace weft::netstack {
namespace {

// The next lower MTU that links are known to have (RFC 1191, table 7-1).
size_t PlateauBelow(size_t mtu) {
  static constexpr size_t kPlateaus[] = {32000, 17914, 8166, 4352, 2002, 1492, 1006};
  for (const size_t plateau : kPlateaus) {
    if (plateau < mtu) return plateau;
  }
  return kPathMtuFloorV4;
}

}  // namespace

size_t PathMtuCache::Get(const IpAddress& destination, int64_t now_ns, int64_t* valid_until_ns) {
  Expire(now_ns);
  const auto it = by_destination_.find(destination);
  const bool known = it != by_destination_.end();
  if (valid_until_ns != nullptr) *valid_until_ns = known ? it->second->expires_ns : INT64_MAX;
  return known ? it->second->mtu : options_.link_mtu;
}

bool PathMtuCache::Lower(const IpAddress& destination, size_t mtu, int64_t now_ns) {
  const size_t before = Get(destination, now_ns);
  if (destination.is_v4()) {
    mtu = std::max(mtu == 0 ? PlateauBelow(before) : mtu, kPathMtuFloorV4);
  } else if (mtu < kIpv6MtuMin) {
    ++stats_.ignored;
    return false;
  }
  const bool lower = mtu < before;
  const auto it = by_destination_.find(destination);
  if (!lower) ++stats_.ignored;
  if (it != by_destination_.end()) {
    const Paths::iterator path = it->second;
    path->expires_ns = now_ns + options_.forget_ns;
    by_time_.splice(by_time_.end(), by_time_, path);
    if (lower) path->mtu = mtu;
  } else if (lower) {
    if (by_time_.size() >= options_.paths_max) {
      ++stats_.evictions;
      Forget(by_time_.begin());
    }
    by_destination_[destination] =
        by_time_.insert(by_time_.end(), {destination, mtu, now_ns + options_.forget_ns});
  }
  if (lower) {
    ++stats_.lowered;
    ++generation_;
  }
  return lower;
}

void PathMtuCache::Expire(int64_t now_ns) {
  while (!by_time_.empty() && by_time_.front().expires_ns <= now_ns) {
    ++stats_.forgotten;
    Forget(by_time_.begin());
  }
}

void PathMtuCache::Forget(Paths::iterator path) {
  ++generation_;
  by_destination_.erase(path->destination);
  by_time_.erase(path);
}

}  // namespace weft::netstack
