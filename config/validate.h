// SPDX-License-Identifier: Apache-2.0

#ifndef WEFT_CONFIG_VALIDATE_H_
#define WEFT_CONFIG_VALIDATE_H_

#include <vector>

#include "absl/status/status.h"
#include "weft/config/config.h"
#include "weft/config/problem.h"

namespace weft::config {

// Everything that is wrong with the values of a configuration that was read:
// the `(rule)` of each field in the schema, and what must hold between fields.
// Addresses and names of transports from outside are left to those who know
// them. `locations` adds where each field stands.
std::vector<Problem> FindProblems(const Config& config, const Locations& locations);

// The same for a configuration that a program made itself.
absl::Status Validate(const Config& config);

}  // namespace weft::config

#endif  // WEFT_CONFIG_VALIDATE_H_
