// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "weft/r2p2/policy/policy.h"

namespace weft::r2p2 {
namespace {

class RoundRobinPolicy : public BalancingPolicy {
 public:
  // Not all who have the same servers begin at the same one.
  explicit RoundRobinPolicy(uint64_t seed) : next_(seed % ServerSet::kServersLimit) {}

  absl::string_view name() const override { return "round_robin"; }
  bool bounded() const override { return false; }

  size_t Pick(absl::Span<const uint64_t> affinities, ServerSet& servers,
              absl::Span<ServerIndex> picked) override {
    const absl::Span<const ServerIndex> available = servers.available();
    if (available.empty()) return 0;
    if (next_ >= available.size()) next_ %= available.size();
    for (size_t i = 0; i < affinities.size(); ++i) {
      picked[i] = available[next_];
      servers.Take(picked[i]);
      if (++next_ == available.size()) next_ = 0;
    }
    return affinities.size();
  }

 private:
  size_t next_;  // in available()
};

const PolicyRegistrar registrar("round_robin",
                                [](uint64_t seed) -> std::unique_ptr<BalancingPolicy> {
                                  return std::make_unique<RoundRobinPolicy>(seed);
                                });

}  // namespace
}  // namespace weft::r2p2
