// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "weft/core/prng.h"
#include "weft/r2p2/policy/policy.h"

namespace weft::r2p2 {
namespace {

class PowerOfTwoPolicy : public BalancingPolicy {
 public:
  explicit PowerOfTwoPolicy(uint64_t seed) : random_(seed) {}

  absl::string_view name() const override { return "power_of_two"; }
  bool bounded() const override { return false; }

  size_t Pick(absl::Span<const uint64_t> affinities, ServerSet& servers,
              absl::Span<ServerIndex> picked) override {
    const absl::Span<const ServerIndex> available = servers.available();
    if (available.empty()) return 0;
    for (size_t i = 0; i < affinities.size(); ++i) {
      picked[i] = available.size() == 1 ? available[0] : FewerOfTwo(available, servers);
      servers.Take(picked[i]);
    }
    return affinities.size();
  }

 private:
  // Where they have the same, either is as random as the other.
  ServerIndex FewerOfTwo(absl::Span<const ServerIndex> available, const ServerSet& servers) {
    const size_t first = random_.Below(available.size());
    size_t second = random_.Below(available.size() - 1);
    second += second >= first;
    const ServerIndex a = available[first];
    const ServerIndex b = available[second];
    return servers.outstanding(b) < servers.outstanding(a) ? b : a;
  }

  Prng random_;
};

const PolicyRegistrar registrar("power_of_two",
                                [](uint64_t seed) -> std::unique_ptr<BalancingPolicy> {
                                  return std::make_unique<PowerOfTwoPolicy>(seed);
                                });

}  // namespace
}  // namespace weft::r2p2
