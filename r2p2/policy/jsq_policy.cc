// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "weft/r2p2/policy/policy.h"

namespace weft::r2p2 {
namespace {

constexpr ServerSet::Order kOrder = ServerSet::Order::kFewestOutstanding;

class JsqPolicy : public BalancingPolicy {
 public:
  explicit JsqPolicy(uint64_t seed) : seed_(seed) {}

  absl::string_view name() const override { return "jsq"; }
  bool bounded() const override { return false; }

  size_t Pick(absl::Span<const uint64_t> affinities, ServerSet& servers,
              absl::Span<ServerIndex> picked) override {
    if (servers.order() != kOrder) [[unlikely]]
      servers.OrderBy(kOrder, seed_);
    if (servers.available().empty()) return 0;
    for (size_t i = 0; i < affinities.size(); ++i) {
      picked[i] = servers.First();
      servers.Take(picked[i]);
    }
    return affinities.size();
  }

 private:
  const uint64_t seed_;
};

const PolicyRegistrar registrar("jsq", [](uint64_t seed) -> std::unique_ptr<BalancingPolicy> {
  return std::make_unique<JsqPolicy>(seed);
});

}  // namespace
}  // namespace weft::r2p2
