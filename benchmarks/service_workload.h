// SPDX-License-Identifier: Apache-2.0
//
// One measurement of a typed service through generated code: client and server in two processes,
// each pinned to a core and busy.

#ifndef WEFT_BENCHMARKS_SERVICE_WORKLOAD_H_
#define WEFT_BENCHMARKS_SERVICE_WORKLOAD_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/benchmarks/rpc_workload.h"

namespace weft::benchmarks {

struct ServiceWorkload {
  enum class Kind {
    kLatency,     // the median round trip in us: messages of 64 bytes, one at a time
    kThroughput,  // such calls a second, 32 outstanding
    kBandwidth,   // GB/s (10^9 bytes) of raw bytes that are sent back, 8 MiB at a time
    kStreaming,   // messages of 64 bytes a second that one call's server sends
  };
  enum class Guise {
    kPlain,
    kTls,       // certificates of both sides, every packet encrypted
    kObserved,  // metrics, and traces of 1 % of the calls, on both sides
  };
  std::string transport;
  Kind kind = Kind::kLatency;
  Guise guise = Guise::kPlain;

  // "typed linux busy, p50", "typed TLS shm busy, 32 outstanding".
  std::string Name() const;
  const char* Unit() const;
};

// `directory` has the files of rpc::WriteTestCertificates(), and gets those with traces. Fails if
// the transport is not available, and if a call fails.
absl::StatusOr<double> MeasureService(const ServiceWorkload& workload, const std::string& directory,
                                      const RpcOptions& options);

// What a program that calls it must be able to run.
absl::Span<const PeerRole> ServiceRoles();

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_SERVICE_WORKLOAD_H_
