// SPDX-License-Identifier: Apache-2.0
//
// The cores of a benchmark whose client and server spin, and so need one each.

#ifndef WEFT_BENCHMARKS_CORES_H_
#define WEFT_BENCHMARKS_CORES_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/core/cpu.h"

namespace weft::benchmarks {

// At least two: the client's and the server's. `flag`: those of --cores, as in "0,1"; empty: all
// that this process may run on.
inline absl::StatusOr<std::vector<int>> ClientAndServerCores(absl::string_view flag) {
  absl::StatusOr<std::vector<int>> cores = AllowedCores();
  if (!flag.empty()) cores = ParseCoreList(flag);
  if (cores.ok() && cores->size() < 2) {
    return absl::InvalidArgumentError("client and server spin and need two cores, one each");
  }
  return cores;
}

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_CORES_H_
