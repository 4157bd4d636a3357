// SPDX-License-Identifier: Apache-2.0
//
// Consistent hashing on a ring (Karger et al., "Consistent Hashing and Random Trees", STOC 1997):
// each server has kPointsPerServer places on a ring of 2^64, and a key belongs to the next place of
// an available server. Who has which place depends on nothing but the names of the servers, so that
// all routers and clients of a pool send a key to the same server; one that comes takes keys from
// all others and moves none between them, and one that goes, or is not available, leaves its keys
// to all others.
//
// Tables that are looked up in one step (Maglev, Eisenbud et al., NSDI 2016) spread keys more
// evenly, but are made anew, and move more keys, whenever a server fails. Here that costs a further
// step, and a server's part of the keys is its due +- 9 % (1 / sqrt(kPointsPerServer)).
//
// A table of the ring's parts shows where to begin, so that a look-up takes two steps as a rule. A
// server takes 1.5 KiB of memory.
#include <algorithm>
#include <array>
#include <bit>
#include <memory>
#include <vector>

#include "weft/r2p2/policy/policy.h"
#include "weft/r2p2/route_wire.h"

namespace weft::r2p2 {
namespace {

constexpr size_t kPointsPerServer = 128;
constexpr size_t kAtOnce = 32;

struct Point {
  uint32_t place;  // the upper half of where it is on the ring
  ServerIndex server;
};

class AffinityPolicy : public BalancingPolicy {
 public:
  absl::string_view name() const override { return "affinity"; }
  bool bounded() const override { return false; }

  size_t Pick(absl::Span<const uint64_t> affinities, ServerSet& servers,
              absl::Span<ServerIndex> picked) override {
    if (generation_ != servers.members_generation()) [[unlikely]]
      Build(servers);
    if (servers.available().empty()) return 0;
    for (size_t i = 0; i < affinities.size(); i += kAtOnce) {
      const size_t count = std::min(kAtOnce, affinities.size() - i);
      PickSome(affinities.subspan(i, count), servers, picked.subspan(i, count));
    }
    return affinities.size();
  }

 private:
  // Each step of a look-up misses the caches where there are many servers: many go side by side.
  void PickSome(absl::Span<const uint64_t> affinities, ServerSet& servers,
                absl::Span<ServerIndex> picked) {
    std::array<uint32_t, kAtOnce> places;
    for (size_t i = 0; i < affinities.size(); ++i) {
      places[i] = static_cast<uint32_t>(internal::Mix(affinities[i] ^ kSalt) >> 32);
      __builtin_prefetch(&parts_[places[i] >> part_shift_]);
    }
    for (size_t i = 0; i < affinities.size(); ++i) {
      picked[i] = parts_[places[i] >> part_shift_];
      __builtin_prefetch(points_.data() + picked[i]);
    }
    for (size_t i = 0; i < affinities.size(); ++i) {
      picked[i] = Find(picked[i], places[i], servers);
      servers.Take(picked[i]);
    }
  }

  // The server of `place`, whose point is at `at` or after it. At least one is available.
  ServerIndex Find(size_t at, uint32_t place, const ServerSet& servers) const {
    while (at < points_.size() && points_[at].place < place) ++at;
    for (;; ++at) {
      if (at >= points_.size()) at = 0;
      if (servers.is_available(points_[at].server)) [[likely]]
        return points_[at].server;
    }
  }

  void Build(const ServerSet& servers) {
    generation_ = servers.members_generation();
    points_.clear();
    points_.reserve(servers.size() * kPointsPerServer);
    for (size_t i = 0; i < servers.index_end(); ++i) {
      const auto server = static_cast<ServerIndex>(i);
      if (!servers.contains(server)) continue;
      for (size_t k = 0; k < kPointsPerServer; ++k) {
        const uint64_t hash = internal::Mix(servers.name(server) + k * kStep);
        points_.push_back({static_cast<uint32_t>(hash >> 32), server});
      }
    }
    // Servers whose points coincide come in the order of their names: indices depend on history.
    std::sort(points_.begin(), points_.end(), [&servers](const Point& a, const Point& b) {
      return a.place != b.place ? a.place < b.place
                                : servers.name(a.server) < servers.name(b.server);
    });
    const int bits = std::bit_width(std::max<size_t>(points_.size(), 2) - 1);
    part_shift_ = 32 - bits;
    parts_.assign(size_t{1} << bits, 0);
    size_t at = 0;
    for (size_t part = 0; part < parts_.size(); ++part) {
      while (at < points_.size() && points_[at].place >> part_shift_ < part) ++at;
      parts_[part] = static_cast<uint32_t>(at);
    }
  }

  // Keys of clients and names of servers are hashes of addresses alike.
  static constexpr uint64_t kSalt = 0x5851f42d4c957f2d;
  static constexpr uint64_t kStep = 0x9e3779b97f4a7c15;

  uint64_t generation_ = UINT64_MAX;  // of the set that the ring is for
  std::vector<Point> points_;         // by place
  std::vector<uint32_t> parts_;       // the first point in each part of the ring, or after it
  int part_shift_ = 31;
};

const PolicyRegistrar registrar("affinity", [](uint64_t) -> std::unique_ptr<BalancingPolicy> {
  return std::make_unique<AffinityPolicy>();
});

}  // namespace
}  // namespace weft::r2p2
