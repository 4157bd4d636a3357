// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "weft/r2p2/policy/policy.h"

namespace weft::r2p2 {
namespace {

constexpr ServerSet::Order kOrder = ServerSet::Order::kIdleThenMostFree;

class JbsqPolicy : public BalancingPolicy {
 public:
  explicit JbsqPolicy(uint64_t seed) : seed_(seed) {}

  absl::string_view name() const override { return "jbsq"; }
  bool bounded() const override { return true; }

  size_t Pick(absl::Span<const uint64_t> affinities, ServerSet& servers,
              absl::Span<ServerIndex> picked) override {
    if (servers.order() != kOrder) [[unlikely]]
      servers.OrderBy(kOrder, seed_);
    for (size_t i = 0; i < affinities.size(); ++i) {
      const ServerIndex first = servers.First();
      if (first == kNoServerIndex) return i;
      picked[i] = first;
      servers.Take(first);
    }
    return affinities.size();
  }

 private:
  const uint64_t seed_;
};

const PolicyRegistrar registrar("jbsq", [](uint64_t seed) -> std::unique_ptr<BalancingPolicy> {
  return std::make_unique<JbsqPolicy>(seed);
});

}  // namespace
}  // namespace weft::r2p2
