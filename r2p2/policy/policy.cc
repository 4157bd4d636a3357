// SPDX-License-Identifier: Apache-2.0
#include "weft/r2p2/policy/policy.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace weft::r2p2 {
namespace {

// Made when the first policy registers, whichever that is.
std::map<absl::string_view, PolicyFactory>& Registry() {
  static auto* const registry = new std::map<absl::string_view, PolicyFactory>();
  return *registry;
}

}  // namespace

PolicyRegistrar::PolicyRegistrar(absl::string_view name, PolicyFactory factory) {
  if (Registry().emplace(name, factory).second) return;
  std::fprintf(stderr, "two policies are called '%s'\n", std::string(name).c_str());
  std::abort();
}

std::vector<absl::string_view> PolicyNames() {
  std::vector<absl::string_view> names;
  for (const auto& [name, factory] : Registry()) names.push_back(name);
  return names;
}

absl::StatusOr<std::unique_ptr<BalancingPolicy>> MakePolicy(absl::string_view name, uint64_t seed) {
  const auto found = Registry().find(name);
  if (found != Registry().end()) return found->second(seed);
  return absl::InvalidArgumentError(
      absl::StrCat("unknown policy '", name, "'; there are ", absl::StrJoin(PolicyNames(), ", ")));
}

}  // namespace weft::r2p2
