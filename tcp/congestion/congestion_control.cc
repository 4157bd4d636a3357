// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/congestion/congestion_control.h"

#include <algorithm>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "weft/core/suggest.h"
#include "weft/tcp/congestion/cubic.h"
#include "weft/tcp/congestion/dctcp.h"
#include "weft/tcp/congestion/new_reno.h"

namespace weft::tcp {
namespace {

struct Table {
  absl::Mutex mutex;
  std::vector<const CongestionAlgorithm*> algorithms ABSL_GUARDED_BY(mutex) = {
      &Cubic(),
      &NewReno(),
      &Dctcp(),
  };
};

Table& TheTable() {
  static Table* const table = new Table;
  return *table;
}

const CongestionAlgorithm* Find(const std::vector<const CongestionAlgorithm*>& algorithms,
                                absl::string_view name) {
  for (const CongestionAlgorithm* algorithm : algorithms) {
    if (algorithm->name() == name) return algorithm;
  }
  return nullptr;
}

bool IsName(absl::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

}  // namespace

void CongestionState::Undo(const CongestionState& before) {
  const uint32_t cwnd = std::max(cwnd_bytes, before.cwnd_bytes);
  // Somebody may have chosen another algorithm since; what the former one remembered is not his.
  if (algorithm == before.algorithm) *this = before;
  cwnd_bytes = cwnd;
  ssthresh_bytes = std::max(ssthresh_bytes, before.ssthresh_bytes);
}

void CongestionState::AfterIdle(uint32_t mss, uint32_t initial_window_packets) {
  const uint64_t initial = uint64_t{mss} * initial_window_packets;
  if (cwnd_bytes <= initial) return;
  ssthresh_bytes = std::max(ssthresh_bytes, cwnd_bytes / 4 * 3);
  SetWindow(initial);
}

absl::StatusOr<const CongestionAlgorithm*> FindCongestionAlgorithm(absl::string_view name) {
  {
    Table& table = TheTable();
    absl::MutexLock lock(&table.mutex);
    if (const CongestionAlgorithm* found = Find(table.algorithms, name)) return found;
  }
  return absl::NotFoundError(absl::StrCat("there is no congestion control '", name, "'",
                                          Suggest(name, CongestionAlgorithmNames())));
}

std::vector<std::string> CongestionAlgorithmNames() {
  Table& table = TheTable();
  absl::MutexLock lock(&table.mutex);
  std::vector<std::string> names;
  for (const CongestionAlgorithm* algorithm : table.algorithms) {
    names.emplace_back(algorithm->name());
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status RegisterCongestionAlgorithm(const CongestionAlgorithm* algorithm) {
  const absl::string_view name = algorithm->name();
  if (!IsName(name)) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", name, "' is no name of a congestion control: [a-z0-9_]+"));
  }
  Table& table = TheTable();
  absl::MutexLock lock(&table.mutex);
  if (Find(table.algorithms, name) != nullptr) {
    return absl::AlreadyExistsError(
        absl::StrCat("there is a congestion control '", name, "' already"));
  }
  table.algorithms.push_back(algorithm);
  return absl::OkStatus();
}

}  // namespace weft::tcp
