// SPDX-License-Identifier: Apache-2.0

#ifndef WEFT_CONFIG_CORES_H_
#define WEFT_CONFIG_CORES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace weft::config {

// CPU numbers of a list such as "0-3,6", in the order in which they are written:
// the form of `taskset -c` and of the kernel's cpulist files. Empty text gives an
// empty list. InvalidArgument for other text, for a CPU named twice and for one
// beyond 4095.
absl::StatusOr<std::vector<int>> ParseCores(const std::string& text);

}  // namespace weft::config

#endif  // WEFT_CONFIG_CORES_H_
