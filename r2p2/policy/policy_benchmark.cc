// SPDX-License-Identifier: Apache-2.0
//
// What a request costs a policy: picked in bursts of 32, and returned later, while each server has
// one or two on average.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "benchmark/benchmark.h"
#include "weft/core/prng.h"
#include "weft/r2p2/policy/policy.h"
#include "weft/r2p2/server_set.h"

namespace weft::r2p2 {
namespace {

constexpr size_t kBurst = 32;

void BM_Pick(benchmark::State& state, absl::string_view name) {
  const auto count = static_cast<size_t>(state.range(0));
  const std::unique_ptr<BalancingPolicy> policy = MakePolicy(name, 1).value();
  ServerSet servers(count);
  Prng random(1);
  for (size_t i = 0; i < count; ++i) servers.Add(random.Next(), 4, 1 + i % 4);
  // Requests under way, of which the oldest are done first.
  std::vector<ServerIndex> under_way(((count * 3 / 2) / kBurst + 1) * kBurst);
  std::vector<uint64_t> affinities(1 << 16);
  for (uint64_t& affinity : affinities) affinity = random.Next();
  const auto pick = [&](size_t at) {
    const size_t keys = at % affinities.size() / kBurst * kBurst;
    return policy->Pick(absl::MakeConstSpan(affinities).subspan(keys, kBurst), servers,
                        absl::MakeSpan(&under_way[at], kBurst));
  };
  for (size_t at = 0; at < under_way.size(); at += kBurst) pick(at);
  size_t at = 0;
  size_t picked = kBurst;
  for (auto _ : state) {
    for (size_t i = 0; i < kBurst; ++i) servers.Return(under_way[at + i]);
    picked = pick(at);
    if (picked != kBurst) state.SkipWithError("no free slot");
    at = at + kBurst == under_way.size() ? 0 : at + kBurst;
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kBurst));
}

}  // namespace
}  // namespace weft::r2p2

int main(int argc, char** argv) {
  for (const absl::string_view name : weft::r2p2::PolicyNames()) {
    for (const int64_t servers : {16, 1024, 65536}) {
      benchmark::RegisterBenchmark(std::string(name).c_str(), &weft::r2p2::BM_Pick, name)
          ->Arg(servers);
    }
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
