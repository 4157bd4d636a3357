// SPDX-License-Identifier: Apache-2.0
//
// Walker's alias method (Vose, "A linear algorithm for generating random numbers with a given
// distribution", IEEE TSE 1991): a column a server, each as high as the mean weight. What a light
// server leaves free of its column belongs to one heavier server, so that a random place in a
// random column is a server with the probability that its weight asks for.
#include <memory>
#include <vector>

#include "weft/core/prng.h"
#include "weft/r2p2/policy/policy.h"

namespace weft::r2p2 {
namespace {

class WeightedPolicy : public BalancingPolicy {
 public:
  explicit WeightedPolicy(uint64_t seed) : random_(seed) {}

  absl::string_view name() const override { return "weighted"; }
  bool bounded() const override { return false; }

  size_t Pick(absl::Span<const uint64_t> affinities, ServerSet& servers,
              absl::Span<ServerIndex> picked) override {
    if (generation_ != servers.generation()) [[unlikely]]
      Build(servers);
    if (columns_.empty()) return 0;
    for (size_t i = 0; i < affinities.size(); ++i) {
      const Column& column = columns_[random_.Below(columns_.size())];
      picked[i] = random_.Below(height_) < column.own ? column.server : column.other;
      servers.Take(picked[i]);
    }
    return affinities.size();
  }

 private:
  struct Column {
    uint64_t own = 0;  // of the height: `server`; the rest: `other`
    ServerIndex server = kNoServerIndex;
    ServerIndex other = kNoServerIndex;
  };

  // Weights are multiplied by the number of servers, which makes the mean the sum of the weights:
  // all is exact in whole numbers.
  void Build(const ServerSet& servers) {
    generation_ = servers.generation();
    const absl::Span<const ServerIndex> available = servers.available();
    columns_.assign(available.size(), Column());
    height_ = 0;
    for (const ServerIndex server : available) height_ += servers.weight(server);
    std::vector<size_t> low;
    std::vector<size_t> high;
    for (size_t i = 0; i < available.size(); ++i) {
      columns_[i] = {.own = uint64_t{servers.weight(available[i])} * available.size(),
                     .server = available[i],
                     .other = available[i]};
      (columns_[i].own < height_ ? low : high).push_back(i);
    }
    while (!low.empty() && !high.empty()) {
      Column& filled = columns_[low.back()];
      low.pop_back();
      Column& heavy = columns_[high.back()];
      filled.other = heavy.server;
      heavy.own -= height_ - filled.own;
      if (heavy.own < height_) {
        low.push_back(high.back());
        high.pop_back();
      }
    }
  }

  Prng random_;
  uint64_t generation_ = UINT64_MAX;  // of the set that the columns are for
  uint64_t height_ = 1;
  std::vector<Column> columns_;
};

const PolicyRegistrar registrar("weighted", [](uint64_t seed) -> std::unique_ptr<BalancingPolicy> {
  return std::make_unique<WeightedPolicy>(seed);
});

}  // namespace
}  // namespace weft::r2p2
