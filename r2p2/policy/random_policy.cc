// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "weft/core/prng.h"
#include "weft/r2p2/policy/policy.h"

namespace weft::r2p2 {
namespace {

class RandomPolicy : public BalancingPolicy {
 public:
  explicit RandomPolicy(uint64_t seed) : random_(seed) {}

  absl::string_view name() const override { return "random"; }
  bool bounded() const override { return false; }

  size_t Pick(absl::Span<const uint64_t> affinities, ServerSet& servers,
              absl::Span<ServerIndex> picked) override {
    const absl::Span<const ServerIndex> available = servers.available();
    if (available.empty()) return 0;
    for (size_t i = 0; i < affinities.size(); ++i) {
      picked[i] = available[random_.Below(available.size())];
      servers.Take(picked[i]);
    }
    return affinities.size();
  }

 private:
  Prng random_;
};

const PolicyRegistrar registrar("random", [](uint64_t seed) -> std::unique_ptr<BalancingPolicy> {
  return std::make_unique<RandomPolicy>(seed);
});

}  // namespace
}  // namespace weft::r2p2
