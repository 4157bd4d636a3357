// SPDX-License-Identifier: Apache-2.0
//
// Two interfaces that are joined by a cable, in a network namespace of their own, for as long as a
// benchmark needs them. The thread that makes it is in that namespace until it is destroyed, and so
// are the processes that it starts meanwhile.
//
//   absl::StatusOr<std::unique_ptr<VethPair>> pair = VethPair::Make();
//   PeerProcess::Start({.role = "server", .arguments = {VethPair::kServer}});

#ifndef WEFT_BENCHMARKS_VETH_PAIR_H_
#define WEFT_BENCHMARKS_VETH_PAIR_H_

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "weft/core/unique_fd.h"

namespace weft::benchmarks {

class VethPair {
 public:
  // Names of the ends.
  static constexpr char kClient[] = "weftclient0";
  static constexpr char kServer[] = "weftserver0";

  // Fails with PermissionDenied where namespaces cannot be made.
  static absl::StatusOr<std::unique_ptr<VethPair>> Make();
  ~VethPair();
  VethPair(const VethPair&) = delete;
  VethPair& operator=(const VethPair&) = delete;

 private:
  explicit VethPair(UniqueFd original) : original_(std::move(original)) {}
  UniqueFd original_;  // the namespace to return to
};

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_VETH_PAIR_H_
