// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/congestion_control.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "weft/core/suggest.h"
#include "weft/rpc/new_reno.h"
#include "weft/rpc/swift.h"

namespace weft::rpc {
namespace {

constexpr CongestionAlgorithm kAlgorithms[] = {
    {"swift", &Swift::Make},
    {"new_reno", &NewReno::Make},
    {"none", nullptr},
};

constexpr int64_t kTargetMaxNs = 10'000'000'000;

const CongestionAlgorithm* Find(absl::string_view name) {
  for (const CongestionAlgorithm& algorithm : kAlgorithms) {
    if (algorithm.name == name) return &algorithm;
  }
  return nullptr;
}

absl::Status UnknownAlgorithm(absl::string_view name) {
  std::vector<std::string> known;
  for (const CongestionAlgorithm& algorithm : kAlgorithms) known.emplace_back(algorithm.name);
  return absl::InvalidArgumentError(
      absl::StrCat("algorithm: there is no '", name, "'", Suggest(name, known)));
}

}  // namespace

absl::Status CongestionOptions::Validate() const {
  if (Find(algorithm) == nullptr) return UnknownAlgorithm(algorithm);
  // Conditions are those of what is right, so that a NaN is not.
  const struct {
    bool right;
    absl::string_view rule;
  } rules[] = {
      {window_max_packets >= 1 && window_max_packets <= 65536, "window_max_packets: 1 to 65536"},
      {window_initial_packets >= 1 && window_initial_packets <= window_max_packets,
       "window_initial_packets: 1 to window_max_packets"},
      {window_min_packets >= 0.001 && window_min_packets <= 1, "window_min_packets: 0.001 to 1"},
      {target_delay_ns >= 1000 && target_delay_ns <= kTargetMaxNs, "target_delay: 1 us to 10 s"},
      {target_range_ns >= 0 && target_range_ns <= kTargetMaxNs, "target_range: 0 to 10 s"},
      {target_range_packets_min >= 0.001, "target_range_packets_min: at least 0.001"},
      {target_range_packets_max > target_range_packets_min && target_range_packets_max <= 65536,
       "target_range_packets_max: above target_range_packets_min, at most 65536"},
      {increase_packets > 0 && increase_packets <= 1000, "increase_packets: above 0, at most 1000"},
      {decrease_factor > 0 && decrease_factor <= 1, "decrease_factor: above 0, at most 1"},
      {decrease_max > 0 && decrease_max < 1, "decrease_max: above 0, below 1"},
      {timeouts_max >= 1, "timeouts_max: at least 1"},
  };
  for (const auto& [right, rule] : rules) {
    if (!right) return absl::InvalidArgumentError(absl::StrCat("out of range: ", rule));
  }
  return absl::OkStatus();
}

absl::Span<const CongestionAlgorithm> CongestionAlgorithms() { return kAlgorithms; }

std::unique_ptr<CongestionControl> MakeCongestionControl(const CongestionOptions& options) {
  const CongestionAlgorithm* algorithm = Find(options.algorithm);
  if (algorithm == nullptr || algorithm->make == nullptr) return nullptr;
  return algorithm->make(options);
}

}  // namespace weft::rpc
